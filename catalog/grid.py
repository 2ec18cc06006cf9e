"""The grid: 100 km squares of UTM, named as Sentinel-2 names its tiles, and the blocks in which they are worked on.

Sentinel-2's products overlap; what Landloom publishes does not. A tile owns the pixels whose centres lie in its
square *and* where its UTM zone is in force, so every point between 80 S and 84 N has one tile, every pixel one owner,
and areas add up.

Pixels are of 10 m or of 30 m. Those of a zone are laid out from its false origin: from easting 0 and from the equator,
as those of Sentinel-2 and HLS are. 100 km are no multiple of 30 m, so tiles have 3,333 or 3,334 pixels of 30 m a side,
and the edge of their rasters lies up to 15 m beside that of the square. A pixel of 30 m is nine whole ones of 10 m.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from catalog import zones
from catalog.errors import BadInput
from catalog.squares import SQUARE, square_name, squares, squares_by_name

RESOLUTION = 10
"""Metres a pixel, unless a network is made for larger ones."""
TILE_SIZE = 10_000
"""Pixels of 10 m along a tile's side."""
BLOCK_EDGES = (0, 1792, 3840, 5888, 7936, 10_000)
"""Pixels at which blocks begin and end, along rows and columns. Inner edges lie in the middle of the 512 px parts of
Sentinel-2's COGs at 10 m, and a quarter from the end of those at 20 m, so that a halo of up to 250 px touches no
further one; they are multiples of 256, so chips begin on the network's stride."""
_EDGES = {RESOLUTION: BLOCK_EDGES, 30: (0, 1664, 3344)}
"""The same by resolution. At 30 m the last blocks reach 10 or 11 px beyond the tile, to a multiple of 16: nobody owns
what lies there."""
RESOLUTIONS = tuple(_EDGES)
"""Metres a pixel that maps may have."""
_EQUATOR = 10_000_000
"""False northing of the southern hemisphere, metres: it is no multiple of 30."""

Window = tuple[int, int, int, int]
"""Pixels of a tile, `(row0, row1, col0, col1)`, half open; row 0 is the northernmost."""

_EDGE = 2500
"""Metres between points on a geometry's edges: the chord is off by 1 m at 83 degrees, by less elsewhere."""
_ROUNDING = 1e-10
"""Square degrees, about a square metre: geometries that share no more only touch."""
_LEAF = 32
"""Pixels: windows that a limit cuts are halved down to this size, then decided pixel by pixel."""


@dataclass(frozen=True, order=True)
class Tile:
    """One 100 km square of the UTM grid: 10,000 x 10,000 px of 10 m."""

    name: str
    """As Sentinel-2 names it, `48QUE`: the band is that of the square's centre, whereas MGRS cuts squares at bands."""
    epsg: int
    """326 and the zone north of the equator, 327 and the zone south of it."""
    left: int
    """Easting of the west edge, metres."""
    bottom: int
    """Northing of the south edge, metres."""
    resolution: int = RESOLUTION
    """Metres a pixel, one of `RESOLUTIONS`."""

    @classmethod
    def from_name(cls, name: str, resolution: int = RESOLUTION) -> Tile:
        """The tile of a name; a square that MGRS cuts in two is found by either name, `50TMK` and `50SMK`.

        Raises:
            BadInput: no such square, or it owns nothing because other zones are in force over all of it.
        """
        return dataclasses.replace(_tile_named(name), resolution=resolution)

    @property
    def zone(self) -> int:
        """UTM zone, 1 to 60."""
        return self.epsg % 100

    @property
    def top(self) -> int:
        """Northing of the north edge, metres."""
        return self.bottom + SQUARE

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, bottom, right, top of the square, metres of UTM."""
        return self.left, self.bottom, self.left + SQUARE, self.top

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels whose centres lie in the square."""
        left, bottom, right, top = self._edges
        return (top - bottom) // self.resolution, (right - left) // self.resolution

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) to UTM coordinates."""
        left, _, _, top = self._edges
        return Affine(self.resolution, 0, left, 0, -self.resolution, top)

    @property
    def _edges(self) -> tuple[int, int, int, int]:
        """Left, bottom, right, top of its pixels: the grid's lines nearest to the square's edges, metres of UTM."""
        size, origin = self.resolution, 0 if self.epsg < 32700 else _EQUATOR

        def nearest(edge: int) -> int:
            # None lies amid a pixel: multiples of 100 km leave 0, 10 or 20 m when they are divided into 30 m.
            return (2 * edge + size) // (2 * size) * size

        bottom, top = (origin + nearest(edge - origin) for edge in (self.bottom, self.top))
        return nearest(self.left), bottom, nearest(self.left + SQUARE), top


@dataclass(frozen=True)
class Block:
    """A square part of a tile, the unit of work; rows and columns half open, in pixels of the tile."""

    number: int
    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.shape[0] * self.shape[1]

    @property
    def window(self) -> Window:
        """`(row0, row1, col0, col1)`."""
        return self.row0, self.row1, self.col0, self.col1


@functools.cache
def blocks(resolution: int = RESOLUTION) -> tuple[Block, ...]:
    """All blocks of a tile, counted along rows from the north-west: 25 at 10 m, 4 at 30 m."""
    spans = tuple(pairwise(_EDGES[resolution]))
    return tuple(Block(n, *spans[n // len(spans)], *spans[n % len(spans)]) for n in range(len(spans) ** 2))


BLOCKS = blocks()
"""All blocks of a tile of 10 m."""


def block(number: int, resolution: int = RESOLUTION) -> Block:
    """A block by its number, 0 to 24, or 0 to 3 at 30 m.

    Raises:
        BadInput: no such block.
    """
    there = blocks(resolution)
    if not 0 <= number < len(there):
        raise BadInput(f"There is no block {number} at {resolution} m. Blocks are numbered 0 to {len(there) - 1}.")
    return there[number]


def blocks_intersecting(tile: Tile, geometry: BaseGeometry | None = None) -> tuple[int, ...]:
    """Numbers of the blocks in which a tile owns a pixel, and of which it owns more than an edge of a geometry.

    Args:
        tile: to look at.
        geometry: polygon in degrees of longitude and latitude; None: the whole tile.
    """
    there = blocks(tile.resolution)
    if _decided(tile, (0, tile.shape[0], 0, tile.shape[1])):
        owned = list(there)
    else:
        owned = [one for one in there if any(True for _ in _owned_parts(tile, one.window))]
    if geometry is not None and not _prepared(geometry).covers(owned_geometry(tile)):
        inside = owned_geometry(tile).intersection(geometry)
        owned = [b for b in owned if owned_geometry(tile, b.window).intersection(inside).area > _ROUNDING]
    return tuple(one.number for one in owned)


def owned_mask(tile: Tile, row0: int, row1: int, col0: int, col1: int) -> np.ndarray:
    """Which pixels of a window the tile owns, by their centres: bool `[row1 - row0, col1 - col0]`.

    Raises:
        BadInput: the window is empty or reaches beyond the tile's blocks.
    """
    last = _EDGES[tile.resolution][-1]
    if not (0 <= row0 < row1 <= last and 0 <= col0 < col1 <= last):
        raise BadInput(
            f"Window {row0}:{row1}, {col0}:{col1} is no part of a tile. Give rows and columns from 0 to {last}."
        )
    mask = np.zeros((row1 - row0, col1 - col0), bool)
    for (top, bottom, left, right), owned in _owned_parts(tile, (row0, row1, col0, col1)):
        mask[top - row0 : bottom - row0, left - col0 : right - col0] = owned
    return mask


def owned_geometry(tile: Tile, window: Window | None = None) -> BaseGeometry:
    """The part of a tile, or of a window of it, that it owns: (multi)polygon of longitude and latitude, or empty.

    Edges are densified, so they are true to a metre. Zones end at the antimeridian, so no geometry crosses it.
    """
    row0, row1, col0, col1 = _inside(tile, window or (0, tile.shape[0], 0, tile.shape[1]))
    (left, top), (right, bottom) = tile.transform @ (col0, row0), tile.transform @ (col1, row1)
    return _owned_geometries(tile.epsg, *(np.array([edge]) for edge in (left, bottom, right, top)))[0]


def tile_at(lon: float, lat: float) -> Tile:
    """The one tile that owns a point, in degrees.

    Raises:
        BadInput: beyond 80 S or 84 N, or no longitude.
    """
    northern = lat >= 0
    epsg = zones.utm_epsg(zones.zone_at(lon, lat), northern)
    x, y = zones.from_lonlat(epsg, lon, lat)
    # On the equator a rounded northing must not fall into the other hemisphere.
    y = max(y, 0.0) if northern else min(y, 9_999_999.999)
    left, bottom = int(x // SQUARE) * SQUARE, int(y // SQUARE) * SQUARE
    return Tile(square_name(epsg, left, bottom), epsg, left, bottom)


def tiles_intersecting(geometry: BaseGeometry) -> list[Tile]:
    """The tiles that own more than an edge of a polygon, or that own a point; by name.

    Args:
        geometry: (multi)polygon or (multi)point in degrees of longitude and latitude, split at the antimeridian.

    Raises:
        BadInput: another kind of geometry, or a point off the grid.
    """
    if geometry.geom_type in ("Point", "MultiPoint"):
        return sorted({tile_at(lon, lat) for lon, lat in shapely.get_coordinates(geometry)})
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise BadInput(f"A {geometry.geom_type} has no area. Give polygons or points.")
    found = []
    for zone in range(1, 61):
        for epsg in (zones.utm_epsg(zone, True), zones.utm_epsg(zone, False)):
            region = zones.zone_region(epsg)
            if not _prepared(geometry).intersects(region):
                continue
            part = region if geometry.covers(region) else geometry.intersection(region)
            left, bottom, boxes = squares(epsg)
            west, south, east, north = part.bounds
            near = (boxes[:, 0] < east) & (boxes[:, 2] > west) & (boxes[:, 1] < north) & (boxes[:, 3] > south)
            left, bottom = left[near], bottom[near]
            owned = _owned_geometries(epsg, left, bottom, left + SQUARE, bottom + SQUARE)
            hit = shapely.covers(_prepared(part), owned) & ~shapely.is_empty(owned)
            edge = shapely.intersects(part, owned) & ~hit
            hit[edge] = shapely.area(shapely.intersection(owned[edge], part)) > _ROUNDING
            found += [
                Tile(square_name(epsg, x, y), epsg, x, y)
                for x, y in zip(left[hit].tolist(), bottom[hit].tolist(), strict=True)
            ]
    return sorted(found)


@functools.cache
def land_tiles() -> tuple[str, ...]:
    """Names of the tiles with land, from `land_tiles.txt`, which says where they come from."""
    lines = (resources.files("catalog") / "land_tiles.txt").read_text().splitlines()
    return tuple(name for line in lines if not line.startswith("#") for name in line.split())


def _owned_parts(tile: Tile, window: Window) -> Iterator[tuple[Window, np.ndarray | bool]]:
    """Windows that together hold every owned pixel, each with what is owned of it."""
    row0, row1, col0, col1 = window = _inside(tile, window)
    owned = _decided(tile, window)
    if owned is not None:
        if owned:
            yield window, True
    elif max(row1 - row0, col1 - col0) <= _LEAF:
        cols, rows = np.meshgrid(np.arange(col0, col1) + 0.5, np.arange(row0, row1) + 0.5)
        x, y = (np.asarray(axis) for axis in tile.transform @ (cols, rows))
        lon, lat = zones.to_lonlat(tile.epsg, x, y)
        mask = np.any([zones.in_box(lon, lat, box) for box in zones.zone_boxes(tile.zone)], axis=0)
        if mask.any():
            yield window, mask
    else:
        for top, bottom in _halves(row0, row1):
            for left, right in _halves(col0, col1):
                yield from _owned_parts(tile, (top, bottom, left, right))


def _inside(tile: Tile, window: Window) -> Window:
    """The part of a window that lies in the tile: the last blocks may reach beyond."""
    row0, row1, col0, col1 = window
    return row0, min(row1, tile.shape[0]), col0, min(col1, tile.shape[1])


def _decided(tile: Tile, window: Window) -> bool | None:
    """Whether all pixels of a window are owned, or none; None where a limit of the zone cuts it."""
    row0, row1, col0, col1 = window
    left, top = tile.transform @ (col0 + 0.5, row0 + 0.5)
    right, bottom = tile.transform @ (col1 - 0.5, row1 - 0.5)
    west, south, east, north = zones.extent(tile.epsg, left, bottom, right, top)
    near = [b for b in zones.zone_boxes(tile.zone) if west < b[2] and east >= b[0] and south < b[3] and north >= b[1]]
    if not near:
        return False
    inside = any(zones.in_box(west, south, box) and zones.in_box(east, north, box) for box in near)
    return True if inside else None


def _halves(start: int, stop: int) -> tuple[tuple[int, int], ...]:
    middle = (start + stop) // 2
    return ((start, middle), (middle, stop)) if stop - start > _LEAF else ((start, stop),)


def _owned_geometries(
    epsg: int, left: np.ndarray, bottom: np.ndarray, right: np.ndarray, top: np.ndarray
) -> np.ndarray:
    """What tiles of one zone own of rectangles of UTM metres, each `[N]`: geometries `[N]`, anticlockwise."""

    def to_lonlat(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(zones.to_lonlat(epsg, xy[:, 0], xy[:, 1]))

    region = zones.zone_region(epsg)
    owned = shapely.transform(shapely.segmentize(shapely.box(left, bottom, right, top), _EDGE), to_lonlat)
    cut = ~shapely.covers(region, owned)
    owned[cut] = [_polygons(part) for part in shapely.intersection(owned[cut], region)]
    return shapely.orient_polygons(owned)


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """A geometry without the lines and points in which things merely touch."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    return shapely.union_all([part for part in shapely.get_parts(geometry) if part.area > 0] or [shapely.Polygon()])


def _prepared(geometry: BaseGeometry) -> BaseGeometry:
    shapely.prepare(geometry)
    return geometry


@functools.lru_cache(maxsize=32_768)
def _tile_named(name: str) -> Tile:
    given = name.strip().upper()
    zone = int(given[:2]) if len(given) == 5 and given[:2].isdecimal() else 0
    square = squares_by_name(zone).get(given) if 1 <= zone <= 60 else None
    if square is None:
        raise BadInput(
            f"There is no Sentinel-2 tile {name!r}. Give the name of a 100 km square, as 48QUE, between 80 S and 84 N."
        )
    tile = Tile(square_name(*square), *square)
    if owned_geometry(tile).is_empty:
        raise BadInput(
            f"Tile {name!r} has no ground of its own: other UTM zones are in force over all of it, and it is mapped "
            "there. Give the place as a box or a polygon instead."
        )
    return tile
