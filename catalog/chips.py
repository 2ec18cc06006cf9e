"""A chip of a training set: imagery and labels of one small square, and the place that decides its split.

Chips are split by place, never within one: neighbours look alike, and a network would be tested on what it has seen.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from pydantic import BaseModel, ConfigDict, Field
from shapely.geometry import Polygon, box

from catalog.atmosphere import Level
from catalog.errors import BadInput

Split = Literal["train", "validation", "test"]
UNLABELLED = 255
SCORE_STEPS = 250
"""What a probability of 1 is in a chip's scores."""
_SMALL = 1200.0
"""Metres a side below which a chip shows too little to be a place of its own."""
_DEGREE = 111_320.0
"""Metres a degree of latitude, of chips whose pixels are degrees."""
_CELL = 0.5
"""Degrees a side of the cell that is a small chip's place."""


class Chip(BaseModel):
    """What is known of a chip besides its pixels."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=r"^[\w.-]+$")
    place: str = Field(pattern=r"^[\w.-]+$", description="chips of one place stay in one split")
    split: Split
    scene: str = Field(description="what it was cut from")
    level: Level
    source: str = Field(description="where image and labels come from")
    teacher: str | None = Field(default=None, description="the network whose probabilities `scores` are")
    date: datetime | None = None
    sun_zenith: float | None = Field(default=None, description="degrees")
    biome: str | None = None
    epsg: int | None = None
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int] = Field(description="rows and columns")
    class_pixels: dict[str, int] = Field(default_factory=dict, description="labelled pixels of each class")

    @property
    def folder(self) -> str:
        """Where it lies in its training set."""
        return f"{self.place}/{self.id}"

    @property
    def gsd(self) -> float:
        """Metres along a pixel's side, north to south."""
        height = abs(self.transform[4])
        return height if height > 0.1 else height * _DEGREE


@dataclass(frozen=True)
class Pixels:
    """The rasters of a chip."""

    image: np.ndarray
    """uint16 `[bands, H, W]`."""
    labels: np.ndarray
    """uint8 `[H, W]`."""
    scores: np.ndarray | None = None
    """uint8 `[classes, H, W]`, probabilities x 250; None where no teacher was asked."""


def place_of(chip: Chip) -> str:
    """The place as it counts for the split: a small chip's is the cell of half a degree in which it lies, if known."""
    centre = _centre(chip)
    if centre is None or min(chip.shape) * chip.gsd >= _SMALL:
        return chip.place
    return cell_at(*centre)


def cell_at(lon: float, lat: float) -> str:
    """The name of the cell of half a degree in which a point lies, by its south-western corner: `p52.0p12.5`."""
    lon, lat = (math.floor(degrees / _CELL) * _CELL for degrees in (lon, lat))
    return f"{lat:+.1f}{lon:+.1f}".replace("+", "p").replace("-", "m")


def check_places(chips: Iterable[Chip]) -> None:
    """Make sure that no place lies in two splits.

    Raises:
        BadInput: one does; with its name.
    """
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for chip in chips:
        for place in {chip.place, place_of(chip)}:
            splits[place].setdefault(chip.split, chip.id)
    for place, chip_of in sorted(splits.items()):
        if len(chip_of) > 1:
            told = " and ".join(f"{chip} in {split}" for split, chip in sorted(chip_of.items()))
            raise BadInput(f"Place {place} lies in two splits: {told}. Give all chips of a place the same split.")


def outline_of(chip: Chip) -> Polygon | None:
    """A chip's footprint in longitude and latitude; None if it is not known where it lies."""
    if chip.epsg is None:
        return None
    to_lonlat = _to_lonlat(chip.epsg)
    corners = box(*rasterio.transform.array_bounds(*chip.shape, Affine(*chip.transform)))
    return shapely.transform(corners, lambda xy: np.round(np.column_stack(to_lonlat(xy[:, 0], xy[:, 1])), 7))


def _centre(chip: Chip) -> tuple[float, float] | None:
    if chip.epsg is None:
        return None
    x, y = Affine(*chip.transform) @ (chip.shape[1] / 2, chip.shape[0] / 2)
    return _to_lonlat(chip.epsg)(x, y)


@functools.lru_cache(maxsize=128)
def _to_lonlat(epsg: int) -> Callable[..., Any]:
    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform


def write_raster(file: Path, raster: np.ndarray, chip: Chip, names: Sequence[str]) -> None:
    """Write one of a chip's rasters, its bands named."""
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        count=len(raster),
        height=raster.shape[1],
        width=raster.shape[2],
        dtype=raster.dtype,
        crs=f"EPSG:{chip.epsg}" if chip.epsg else None,
        transform=Affine(*chip.transform),
        compress="ZSTD",
        predictor=2,
        interleave="pixel" if len(raster) > 1 else "band",
    ) as target:
        target.write(raster)
        target.descriptions = tuple(names)


def read_raster(href: str) -> np.ndarray:
    """All bands of a raster."""
    with rasterio.open(href) as source:
        return source.read()
