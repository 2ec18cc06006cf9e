"""Which chips there could be: squares of a tile's grid, in every overpass that sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import geopandas
import numpy as np
import shapely
from affine import Affine
from pydantic import BaseModel, ConfigDict, Field
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from catalog import zones
from catalog.area import Area
from catalog.chips import cell_at
from catalog.datatakes import footprint_of, group_datatakes
from catalog.errors import BadInput
from catalog.grid import RESOLUTION, TILE_SIZE, Tile, owned_geometry
from catalog.manifest import Period
from catalog.radar import RadarScene
from catalog.scenes import Datatake
from catalog.sources import Source
from pipelines.plan import HALO_DEGREES, choose_datatakes

STEP = 16
"""Squares begin at multiples of so many pixels of the tile, so that a network's stride fits."""


class Grid(NamedTuple):
    """Where pixels lie."""

    epsg: int
    transform: Affine
    shape: tuple[int, int]

    def grown(self, margin: int) -> Grid:
        """So many pixels larger on each side."""
        rows, cols = self.shape
        moved = self.transform @ Affine.translation(-margin, -margin)
        return Grid(self.epsg, moved, (rows + 2 * margin, cols + 2 * margin))


class Square(BaseModel):
    """A candidate's place."""

    model_config = ConfigDict(frozen=True)

    row: int = Field(description="first, in pixels of the tile")
    col: int
    place: str = Field(description="the cell of half a degree in which its centre lies")
    biome: str | None = None


class Sighting(BaseModel):
    """Squares of one tile that one overpass saw."""

    model_config = ConfigDict(frozen=True)

    id: str
    tile: str
    epsg: int
    left: int = Field(description="easting of the tile's west edge, metres")
    top: int = Field(description="northing of its north edge, metres")
    datatake: Datatake
    markup: str | None = Field(default=None, description="raster of labels that is of this overpass alone")
    squares: tuple[Square, ...]
    radar: tuple[RadarScene, ...] = Field(
        default=(), description="of its month, in order of time", exclude_if=lambda radar: not radar
    )

    def name(self, number: int) -> str:
        """The ID of the chip that a square would be."""
        square = self.squares[number]
        return plain(f"{self.tile}_{self.datatake.id}_{square.row}_{square.col}")

    def grid(self, number: int, side: int) -> Grid:
        """Where the pixels of a square lie."""
        square = self.squares[number]
        x, y = self.left + square.col * RESOLUTION, self.top - square.row * RESOLUTION
        return Grid(self.epsg, Affine(RESOLUTION, 0, x, 0, -RESOLUTION, y), (side, side))

    def ground(self, side: int) -> BaseGeometry:
        """Round all of its squares, longitude and latitude."""
        rows, cols = [one.row for one in self.squares], [one.col for one in self.squares]
        west, north = self.left + min(cols) * RESOLUTION, self.top - min(rows) * RESOLUTION
        east, south = self.left + (max(cols) + side) * RESOLUTION, self.top - (max(rows) + side) * RESOLUTION
        return shapely.box(*transform_bounds(f"EPSG:{self.epsg}", "EPSG:4326", west, south, east, north))


@dataclass
class Candidates:
    """All that there could be, and what could not."""

    sightings: list[Sighting] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    """Square or markup to reason."""
    unused: dict[str, str] = field(default_factory=dict)
    """Scene to reason."""

    @property
    def count(self) -> int:
        """Those dropped among them."""
        return len(self.dropped) + sum(len(one.squares) for one in self.sightings)


@dataclass(frozen=True)
class Wanted:
    """What scenes and squares are looked for."""

    side: int
    """Pixels of a chip."""
    bands: tuple[str, ...]
    """That every scene must have."""
    also: tuple[str, ...] = ()
    """Bands that are taken where there are."""
    max_scenes: int = 24
    max_cloud: float = 100.0
    """Per cent, of scenes."""
    biomes: Biomes | None = None


class Biomes:
    """Polygons of biomes."""

    def __init__(self, path: str, column: str):
        """Read them.

        Raises:
            BadInput: no such file or column.
        """
        try:
            frame = geopandas.read_parquet(path) if path.endswith("parquet") else geopandas.read_file(path)
            frame = frame.to_crs("EPSG:4326")
        except Exception as error:
            raise BadInput(f"--biomes {path!r} cannot be read as polygons with a CRS: {error}.") from error
        if column not in frame.columns:
            raise BadInput(f"--biomes {path!r} has no column {column!r}. It has {', '.join(map(str, frame.columns))}.")
        frame = frame[frame.geometry.notna() & frame[column].notna()]
        self._names = frame[column].astype(str).to_numpy()
        self._tree = shapely.STRtree(frame.geometry.to_numpy())

    def at(self, lon: np.ndarray, lat: np.ndarray) -> list[str | None]:
        """The biome of each point, `[N]`; None where there is none."""
        points, polygons = self._tree.query(shapely.points(lon, lat), predicate="intersects")
        found: list[str | None] = [None] * len(lon)
        for point, polygon in sorted(zip(points.tolist(), polygons.tolist(), strict=True), reverse=True):
            found[point] = self._names[polygon]
        return found


def candidates_of_area(
    area: Area,
    periods: Sequence[Period],
    source: Source,
    wanted: Wanted,
    track: Callable[[Sequence[Tile]], Iterable[Tile]] = lambda tiles: tiles,
) -> Candidates:
    """Squares of an area in every overpass of some periods that is chosen as for a map.

    Raises:
        BadInput: the source's scenes lack bands.
        SourceUnavailable: the source does not answer.
    """
    found = Candidates()
    for tile in track(area.tiles):
        owned = owned_geometry(tile)
        part = owned if area.geometry is None else owned.intersection(area.geometry)
        corners = _squares_of(tile, part, owned, wanted.side)
        if not corners:
            continue
        squares, outlines = described(tile.epsg, (tile.left, tile.top), corners, wanted)
        seen = np.zeros(len(squares), bool)
        for period in periods:
            for datatake in _datatakes(tile, part, period, source, wanted, found):
                sees = shapely.intersects(outlines, footprint_of(datatake))
                if sees.any():
                    seen |= sees
                    there = tuple(squares[k] for k in np.flatnonzero(sees))
                    found.sightings.append(sighting(tile, datatake, there))
        for k in np.flatnonzero(~seen):
            found.dropped[f"{tile.name}_{squares[k].row}_{squares[k].col}"] = "no scene"
    return found


def sighting(
    tile: Tile, datatake: Datatake, squares: tuple[Square, ...], markup: Path | None = None, name: str = ""
) -> Sighting:
    """Squares seen by an overpass, with the raster that is of it alone, and the name of that."""
    return Sighting(
        id=plain("_".join([tile.name, datatake.id, *([name] if name else [])])),
        tile=tile.name,
        epsg=tile.epsg,
        left=tile.left,
        top=tile.top,
        datatake=datatake,
        markup=str(markup.absolute()) if markup else None,
        squares=squares,
    )


def described(
    epsg: int, corner: tuple[int, int], corners: Sequence[tuple[int, int]], wanted: Wanted
) -> tuple[list[Square], np.ndarray]:
    """Squares with place and biome, and their outlines in degrees `[N]`.

    Args:
        epsg: UTM zone.
        corner: of the tile in it, left and top, metres.
        corners: first row and column of each square.
        wanted: size and biomes.
    """
    boxes = _boxes(corner, corners, wanted.side)
    centres = shapely.get_coordinates(shapely.centroid(boxes))
    lon, lat = zones.to_lonlat(epsg, centres[:, 0], centres[:, 1])
    lon = np.where(lon < -180, lon + 360, np.where(lon >= 180, lon - 360, lon))
    biomes = wanted.biomes.at(lon, lat) if wanted.biomes else [None] * len(corners)
    squares = [
        Square(row=row, col=col, place=cell_at(*where), biome=biome)
        for (row, col), where, biome in zip(corners, zip(lon.tolist(), lat.tolist(), strict=True), biomes, strict=True)
    ]
    outlines = shapely.transform(boxes, lambda xy: np.column_stack(zones.to_lonlat(epsg, xy[:, 0], xy[:, 1])))
    return squares, outlines


def lay(first: float, last: float, side: int, limit: int | None = None) -> range:
    """Where squares begin along one axis, so that together they cover `first` to `last` as nearly as whole ones can.

    Args:
        first: pixel at which the ground to cover begins.
        last: one past its end.
        side: of a square, a multiple of `STEP`.
        limit: pixels from 0 beyond which no square may reach; None: any.
    """
    start, count = round(first / STEP) * STEP, max(1, round((last - first) / side))
    if limit is not None:
        count = min(count, limit // side)
        start = min(max(start, 0), (limit - count * side) // STEP * STEP)
    return range(start, start + count * side, side)


def plain(text: str) -> str:
    """Text as it may stand in names of files and chips."""
    return re.sub(r"[^\w.-]+", "-", text)


def _squares_of(tile: Tile, part: BaseGeometry, owned: BaseGeometry, side: int) -> list[tuple[int, int]]:
    """First rows and columns of the squares that touch a part of a tile and that the tile owns wholly."""
    if part.is_empty:
        return []
    ground = geopandas.GeoSeries([shapely.segmentize(part, 0.01)], crs=4326).to_crs(tile.epsg).iloc[0]
    left, bottom, right, top = ground.bounds
    rows = lay((tile.top - top) / RESOLUTION, (tile.top - bottom) / RESOLUTION, side, TILE_SIZE)
    cols = lay((left - tile.left) / RESOLUTION, (right - tile.left) / RESOLUTION, side, TILE_SIZE)
    corners = [(row, col) for row in rows for col in cols]
    boxes = _boxes((tile.left, tile.top), corners, side)
    kept = shapely.area(shapely.intersection(boxes, ground)) > 0
    # Else squares of two zones would show the same ground, one perhaps to learn from and the other to be tested on.
    inner = shapely.get_coordinates(_boxes((tile.left, tile.top), corners, side, RESOLUTION / 2))
    lon, lat = zones.to_lonlat(tile.epsg, inner[:, 0], inner[:, 1])
    kept &= shapely.contains_xy(owned, lon, lat).reshape(len(boxes), -1).all(axis=1)
    return [corner for corner, keep in zip(corners, kept, strict=True) if keep]


def _boxes(corner: tuple[int, int], corners: Sequence[tuple[int, int]], side: int, inset: float = 0.0) -> np.ndarray:
    """Outlines of squares in metres, `[N]`, or so much smaller on each side."""
    rows, cols = np.array(corners).T * RESOLUTION
    left, top, length = corner[0] + cols, corner[1] - rows, side * RESOLUTION
    return shapely.box(left + inset, top - length + inset, left + length - inset, top - inset)


def _datatakes(
    tile: Tile, part: BaseGeometry, period: Period, source: Source, wanted: Wanted, found: Candidates
) -> Iterator[Datatake]:
    """The overpasses to use; those scenes that are not used are noted."""
    searched = source.search(part.buffer(HALO_DEGREES), period.start, period.end, wanted.bands, wanted.also)
    datatakes, excluded = group_datatakes(searched.scenes, tile.name)
    chosen, left_out = choose_datatakes(datatakes, tile, part, wanted.max_scenes, wanted.max_cloud)
    for exclusion in (*searched.excluded, *excluded, *left_out):
        found.unused[exclusion.scene] = exclusion.reason
    yield from chosen
