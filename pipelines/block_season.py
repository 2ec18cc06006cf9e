"""The season of a block beside its vote: told strip by strip, so that memory holds what both need of one only."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from catalog.grid import Block, Tile
from catalog.manifest import Manifest
from catalog.season import FEW_LOOKS, SEASON_BANDS, SEASON_NODATA, Season
from catalog.second_stage import SecondStage, decided
from catalog.vote import STRIP, Vote, Voted

SEASON_FILE = "season.tif"


@dataclass
class SeasonFigures:
    """What happened while a season was told."""

    seconds: float = 0.0
    few_looks: int = 0
    """Pixels seen, but too rarely for a season that is to be relied on."""
    second_stage_pixels: int = 0
    """Pixels whose class the second stage decided."""


def close_with_season(
    vote: Vote, manifest: Manifest, number: int, season: Season, second: SecondStage | None, folder: Path
) -> tuple[Voted, SeasonFigures]:
    """Close the vote of a block and tell its season.

    Args:
        vote: all looks counted.
        manifest: of the tile-year.
        number: of the block.
        season: the same looks.
        second: decides from both, if given.
        folder: where the season is written as `SEASON_FILE`, if the manifest wants it published.
    """
    figures = SeasonFigures()

    def decide(rows: slice, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        started = time.perf_counter()
        features = season.features(rows)
        looks = features[-1]
        figures.few_looks += int(((looks > 0) & (looks < FEW_LOOKS)).sum())
        if target:
            target.write(features, window=Window(0, rows.start, features.shape[2], features.shape[1]))
        told, used = shares, np.zeros(looks.shape, bool)
        if second and (looks >= FEW_LOOKS).any():
            told, used = decided(second, manifest.model.classes, shares, features)
            figures.second_stage_pixels += int(used.sum())
        figures.seconds += time.perf_counter() - started
        return told, used

    file = _season_file(folder, manifest.ground, manifest.block(number)) if manifest.seasons else nullcontext()
    with file as target:
        return vote.result(manifest.min_observations, manifest.scores, decide), figures


def _season_file(folder: Path, tile: Tile, here: Block) -> rasterio.io.DatasetWriter:
    """A plain GeoTIFF, to be written strip by strip."""
    return rasterio.open(
        folder / SEASON_FILE,
        "w",
        driver="GTiff",
        height=here.shape[0],
        width=here.shape[1],
        crs=f"EPSG:{tile.epsg}",
        transform=tile.transform @ Affine.translation(here.col0, here.row0),
        count=len(SEASON_BANDS),
        dtype="int16",
        nodata=SEASON_NODATA,
        blockysize=STRIP,
        compress="ZSTD",
        zstd_level=1,
        predictor=2,
    )
