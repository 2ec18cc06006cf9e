"""What radar adds to a worker that maps: memory, core-seconds, bytes."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from affine import Affine

from benchmarks.data import TILE, YEAR, Input, kept, simulated
from benchmarks.job import map_input
from benchmarks.report import Figure
from catalog.grid import Tile, owned_geometry
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.radar import RADAR_CHANNELS
from catalog.radar_source import open_radar, search_radar
from catalog.scenes import BANDS
from pipelines.radar import RadarReader
from pipelines.radar_simulation import simulate_radar
from pipelines.read import SceneReader
from pipelines.simulate import Product
from services.inference.export import export
from services.inference.unet import UNet

BLOCK, SIDE = 1792, 2048
"""First row and column of a block, and its pixels along a side: the scenes fill it."""
_DATES = 12


def radar_cost() -> list[Figure]:
    """Twelve looks at one block, one worker: a network of six bands, one with radar channels, and with `--radar`."""
    light, radar = simulated(SIDE, _DATES, corner=BLOCK), _radar()
    with tempfile.TemporaryDirectory(prefix="landloom-bench-") as folder:
        six, ten = (_network(Path(folder), bands) for bands in (BANDS, (*BANDS, *RADAR_CHANNELS)))
        plain = map_input(light, "--model", six)
        missing = map_input(light, "--model", ten)
        there = map_input(light, "--model", ten, "--radar", str(radar.catalog))
    size = sum(path.stat().st_size for path in radar.catalog.parent.rglob("*.tiff"))
    added = there.core_seconds - missing.core_seconds
    told = (
        f"{there.core_seconds:.1f} core-seconds, {missing.core_seconds:.1f} without, {plain.core_seconds:.1f} six bands"
    )
    gigabytes = ", ".join(f"{one.peak_rss / 1e9:.2f}" for one in (there, missing, plain)) + " GB"
    alone = [
        Figure(
            f"radar by itself, {passes} overpasses a month and direction, likewise", _read_by_itself(radar, passes), ""
        )
        for passes in (1, 2)
    ]
    return [
        Figure("radar, memory of a worker, times that of six bands", there.peak_rss / plain.peak_rss, "", gigabytes),
        Figure("channels of radar that find none, likewise", missing.peak_rss / plain.peak_rss, ""),
        Figure("radar, pixels x overpasses per core-second", radar.looks / added, "", told),
        *alone,
        Figure("channels of radar, core-seconds, times six bands", missing.core_seconds / plain.core_seconds, ""),
        Figure("radar, bytes a pixel and overpass, to read", size / radar.looks, "", "two polarisations"),
    ]


def _read_by_itself(radar: Input, passes: int) -> float:
    """Pixels x overpasses per core-second of one month: read, averaged and filtered; by the processor's clock."""
    tile, channels = Tile.from_name(TILE), RADAR_CHANNELS
    found, _ = search_radar(open_radar(str(radar.catalog)), owned_geometry(tile), {(YEAR, 6)})
    # Each again under another name, as an overpass of its own.
    scenes = [one.model_copy(update={"overpass": f"{one.overpass}-{k}"}) for one in found for k in range(passes)]
    transform = tile.transform @ Affine.translation(BLOCK, BLOCK)
    reader = RadarReader(scenes, channels, SceneReader(), tile.epsg, transform, (SIDE, SIDE))
    bands, started = np.ones((len(BANDS), SIDE, SIDE), np.uint16), time.process_time()
    reader.beside(bands, datetime(YEAR, 6, 15, tzinfo=UTC))
    return len(scenes) * SIDE**2 / (time.process_time() - started)


def _radar() -> Input:
    """A pass of each orbit direction in each month, over the same ground."""

    def write(folder: Path) -> None:
        simulate_radar(folder, [Product(TILE, BLOCK, BLOCK, (SIDE, SIDE))], years=(YEAR,), passes=_DATES)
        # Where `kept` looks for it.
        (folder / "catalog.json").symlink_to("radar/catalog.json")

    catalog = kept(f"radar-{SIDE}px-{_DATES}-at{BLOCK}", write)
    return Input(catalog.parent / "radar" / catalog.name, SIDE, 2 * _DATES)


def _network(folder: Path, bands: tuple[str, ...]) -> str:
    """One of the size that is shipped, in 8-bit integers as well; what it answers does not matter here."""
    torch.manual_seed(0)
    network, file = UNet(len(bands), len(MODEL_CLASSES)), folder / f"{len(bands)}.onnx"
    spec = ModelSpec(
        id=f"random-{len(bands)}", version="1", bands=bands, classes=MODEL_CLASSES, stride=network.stride,
        halo=network.halo,
    )  # fmt: skip
    samples = np.random.default_rng(0).integers(1, 4000, (4, len(bands), 256, 256)).astype(np.uint16)
    export(network, spec, file, samples)
    return str(file)
