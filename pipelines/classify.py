"""Classify one block: every datatake is read, put through the network and voted, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from affine import Affine

from catalog.clear import CLOUD_EDGE, clear_pixels
from catalog.errors import BadInput
from catalog.grid import Block, Tile, blocks, owned_mask
from catalog.manifest import Manifest
from catalog.model import ModelSpec, Network
from catalog.scenes import Exclusion
from catalog.season import Season
from catalog.second_stage import SecondStage
from catalog.vote import Vote, Voted
from pipelines.block_season import close_with_season
from pipelines.radar import RadarReader
from pipelines.read import Look, SceneReader

CHIP = (1040, 704)
"""Largest rows and columns of the part of a chip that is kept: larger chips lose less to the halo, but the network's
memory grows with them (200 MB with these)."""


@dataclass(frozen=True)
class Frame:
    """What is read round a block, in pixels, each a multiple of the network's stride."""

    margin: int
    """Classified, too, so that clouds just outside the block reach into it."""
    halo: int
    """Read only: the network's receptive radius."""
    stride: int

    @classmethod
    def of(cls, spec: ModelSpec) -> Frame:
        """The frame that a network needs.

        Raises:
            BadInput: blocks do not begin on the network's stride.
        """
        if any(edge % spec.stride for one in blocks(spec.gsd) for edge in one.window):
            raise BadInput(f"Network {spec.id} has a stride of {spec.stride} px. Use one whose stride divides 16.")
        return cls(_up(CLOUD_EDGE + 2, spec.stride), _up(spec.halo, spec.stride), spec.stride)


@dataclass
class BlockReport:
    """What happened while a block was classified."""

    model: str = ""
    """Checksum of the network that answered."""
    server: dict[str, float] = field(default_factory=dict)
    """Figures of whoever ran it, by name."""
    looks: int = 0
    """Datatakes with any valid pixel in the block."""
    chips: int = 0
    pixels: int = 0
    """Pixels of the block that went through the network, halo not counted, summed over datatakes."""
    read_seconds: float = 0.0
    wait_seconds: float = 0.0
    """Part of the reading that the network had to wait for."""
    network_seconds: float = 0.0
    vote_seconds: float = 0.0
    season_seconds: float = 0.0
    """For indices, features and the second stage."""
    few_looks: int = 0
    """Pixels seen, but too rarely for a season that is to be relied on; where one is told."""
    second_stage_pixels: int = 0
    """Pixels whose class the second stage decided."""
    problems: list[Exclusion] = field(default_factory=list)
    """Scenes left out in this block."""
    warnings: list[Exclusion] = field(default_factory=list)
    """Scenes used, but odd (implausibly dark or bright)."""

    @property
    def figures(self) -> dict[str, float]:
        """Its numbers by name: looks, chips, pixels, seconds."""
        numbers = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in numbers.items() if isinstance(value, int | float)}


def classify_block(
    manifest: Manifest,
    number: int,
    reader: SceneReader,
    network: Network,
    folder: Path,
    second: SecondStage | None = None,
) -> tuple[Voted, BlockReport]:
    """Map one block of a tile-year.

    Memory does not grow with the number of datatakes: while one is classified only the next is read, and what the
    season keeps of each lies on disk.

    Args:
        manifest: of the tile-year.
        number: of the block.
        reader: of its scenes.
        network: that classifies each look.
        folder: empty, on local disk; the season is left there as `SEASON_FILE` where the manifest wants it published.
        second: the manifest's second stage, if it has one.

    Returns:
        The vote over the block, pixels of other tiles set to no data, and what happened.

    Raises:
        SourceUnavailable: a scene could not be read for minutes; the block is to be tried again later.
        ServerUnavailable: the same of the network's servers.
        BadInput: they run another network by now.
    """
    tile, here = manifest.ground, manifest.block(number)
    owned = owned_mask(tile, *here.window)
    shape = here.shape
    calibration = manifest.model.vote
    correlation = calibration.correlation if calibration else None
    vote = Vote(manifest.model.classes, manifest.legend, shape, correlation, manifest.model.parents)
    report = BlockReport()
    frame = Frame.of(network.spec)
    season = Season(manifest.model.bands, shape, folder) if manifest.sees_season else None
    for when, look in _read_ahead(manifest, tile, here, reader, frame.halo + frame.margin, report):
        valid = look.bands[0] > 0
        if not valid.any():
            continue
        started = time.perf_counter()
        scores = _score(look.bands, network, frame, owned, report)
        scored = time.perf_counter()
        report.network_seconds += scored - started
        inner = (slice(frame.halo, -frame.halo or None),) * 2
        scl = None if look.scl is None else look.scl[inner]
        model = manifest.model
        clear, seen = clear_pixels(scores, valid[inner], scl, model.classes, manifest.gsd, model.parents)
        core = (slice(frame.margin, -frame.margin),) * 2
        vote.add((when.year, when.month), scores[(slice(None), *core)], clear[core] & owned, seen[core] & owned)
        report.vote_seconds += time.perf_counter() - scored
        if season:
            started = time.perf_counter()
            border = (slice(frame.halo + frame.margin, -(frame.halo + frame.margin)),) * 2
            season.add(when, look.bands[(slice(None), *border)], clear[core] & owned)
            report.season_seconds += time.perf_counter() - started
        report.looks += 1
    report.server, report.model = network.check(), network.spec.sha256
    started, of_season = time.perf_counter(), report.season_seconds
    if season:
        with closing(season):
            voted, told = close_with_season(vote, manifest, number, season, second, folder)
        report.season_seconds += told.seconds
        report.few_looks, report.second_stage_pixels = told.few_looks, told.second_stage_pixels
    else:
        voted = vote.result(manifest.min_observations, manifest.scores)
    report.vote_seconds += time.perf_counter() - started - (report.season_seconds - of_season)
    return voted, report


def _read_ahead(
    manifest: Manifest, tile: Tile, here: Block, reader: SceneReader, margin: int, report: BlockReport
) -> Iterator[tuple]:
    """Yield each datatake's time and look, reading the next one meanwhile."""
    shape = (here.shape[0] + 2 * margin, here.shape[1] + 2 * margin)
    transform = tile.transform @ Affine.translation(here.col0 - margin, here.row0 - margin)

    optical, channels = manifest.model.optical, manifest.model.radar
    radar = RadarReader(manifest.radar, channels, reader, tile.epsg, transform, shape)

    def read(number: int) -> tuple[Look, float]:
        started = time.perf_counter()
        look = reader.read(manifest.datatakes[number], optical, tile.epsg, transform, shape)
        if channels:
            look.bands, unread = radar.beside(look.bands, manifest.datatakes[number].datetime)
            look.problems += unread
        return look, time.perf_counter() - started

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = pool.submit(read, 0)
        for number, datatake in enumerate(manifest.datatakes):
            started = time.perf_counter()
            look, seconds = coming.result()
            report.wait_seconds += time.perf_counter() - started
            report.read_seconds += seconds
            report.problems += look.problems
            report.warnings += look.warnings
            if number + 1 < len(manifest.datatakes):
                coming = pool.submit(read, number + 1)
            yield datatake.datetime, look
            del look


def _score(bands: np.ndarray, network: Network, frame: Frame, owned: np.ndarray, report: BlockReport) -> np.ndarray:
    """Scores of the block and the margin round it, chip by chip; where there are no data they stay 0.

    Args:
        bands: uint16 `[bands, H + 2 (margin + halo), W + 2 (margin + halo)]`.
        network: gives the scores.
        frame: margin and halo of `bands`.
        owned: bool `[H, W]`, pixels that this tile publishes.
        report: chips and pixels are counted in it.

    Returns:
        uint8 `[classes, H + 2 margin, W + 2 margin]`.
    """
    halo, margin = frame.halo, frame.margin
    useful = bands[0, halo : -halo or None, halo : -halo or None] > 0
    scores = np.zeros((len(network.spec.classes), *useful.shape), np.uint8)
    useful[margin:-margin, margin:-margin] &= owned
    if not useful.any():
        return scores
    # Blocks, margin and halo are multiples of the stride, so every chip begins on it in the tile's coordinates.
    rows, cols = (_extent(np.any(useful, axis=axis), frame.stride) for axis in (1, 0))
    pieces = [
        (row0, row1, col0, col1)
        for row0, row1 in _pieces(*rows, CHIP[0], frame.stride)
        for col0, col1 in _pieces(*cols, CHIP[1], frame.stride)
        if useful[row0:row1, col0:col1].any()
    ]
    chips = (bands[:, row0 : row1 + 2 * halo, col0 : col1 + 2 * halo] for row0, row1, col0, col1 in pieces)
    for (row0, row1, col0, col1), found in zip(pieces, network.each(chips), strict=True):
        scores[:, row0:row1, col0:col1] = found[:, halo : halo + row1 - row0, halo : halo + col1 - col0]
        report.chips += 1
        report.pixels += _inside(row0, row1, margin, owned.shape[0]) * _inside(col0, col1, margin, owned.shape[1])
    return scores


def _extent(useful: np.ndarray, stride: int) -> tuple[int, int]:
    """First and one past the last useful row (or column), moved outward to the stride."""
    found = np.flatnonzero(useful)
    return int(found[0]) // stride * stride, _up(int(found[-1]) + 1, stride)


def _pieces(start: int, stop: int, largest: int, stride: int) -> Iterator[tuple[int, int]]:
    """Cut a range into about equal pieces of at most so many pixels, each a multiple of the stride."""
    count = -(-(stop - start) // largest)
    size = _up(-(-(stop - start) // count), stride)
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _inside(start: int, stop: int, margin: int, size: int) -> int:
    """How many of `start:stop` lie in the block, not in the margin round it."""
    return max(0, min(stop, size + margin) - max(start, margin))
