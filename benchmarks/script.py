"""Landloom against the plain script that a user would write instead: time and memory on the same cores."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import CORNER, TILE, simulated
from benchmarks.job import TWO_THREADS, map_input
from benchmarks.measure import python, run
from benchmarks.report import Figure
from catalog.grid import RESOLUTION, Tile
from services.inference import shipped_models


def against_script(size: int) -> list[Figure]:
    """The same map of the same 20 scenes with the same network, ONNX Runtime on both cores in the script."""
    source, tile = simulated(size, dates=20), Tile.from_name(TILE)
    left, top = tile.left + CORNER * RESOLUTION, tile.top - CORNER * RESOLUTION
    bounds = (left, top - size * RESOLUTION, left + size * RESOLUTION, top)
    (model,) = [str(path) for name, path in shipped_models().items() if name == "unet-small"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "map.tif"
        script = run(
            python("benchmarks.plain_script", str(source.catalog), model, str(out), str(tile.epsg), *map(str, bounds)),
            threads=2,
        )
    ours = map_input(source, *TWO_THREADS)
    return [
        Figure(
            "times as fast as the plain script",
            script.seconds / ours.seconds,
            ">= 1.3",
            f"{size} px, 20 scenes: {script.seconds:.1f} s and {ours.seconds:.1f} s",
        ),
        Figure(
            "peak memory, all processes, share of the script's",
            ours.total_rss / script.total_rss,
            "<= 0.5",
            f"{ours.total_rss / 1e9:.2f} GB and {script.total_rss / 1e9:.2f} GB",
        ),
    ]
