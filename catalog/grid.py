"""The grid: 100 km squares of UTM, named as Sentinel-2 names its tiles, and the blocks in which they are worked on.

Sentinel-2's products overlap; what Landloom publishes does not. A tile owns the pixels whose centres lie in its
square *and* in its UTM zone (with the exceptions round Norway and Svalbard), so every point between 80 S and 84 N has
one tile, every pixel one owner, and areas add up.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import mgrs
import numpy as np
import pyproj
import shapely
from affine import Affine
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput

RESOLUTION = 10
"""Metres a pixel."""
TILE_SIZE = 10_000
"""Pixels along a tile's side."""
SQUARE = RESOLUTION * TILE_SIZE
SOUTH, NORTH = -80.0, 84.0
"""Where UTM ends, degrees of latitude."""

_WIDENED = {
    31: [(56, 64, 0, 3), (72, 84, 0, 9)],
    32: [(56, 64, 3, 12), (72, 84, 0, 0)],
    33: [(72, 84, 9, 21)],
    34: [(72, 84, 0, 0)],
    35: [(72, 84, 21, 33)],
    36: [(72, 84, 0, 0)],
    37: [(72, 84, 33, 42)],
}
"""Bands of latitude in which a zone has other limits: south, north, west, east (32V, 31X to 37X)."""
_MGRS = mgrs.MGRS()


@dataclass(frozen=True, order=True)
class Tile:
    """One 100 km square of the UTM grid, 10,000 x 10,000 px; row 0 is the northernmost."""

    name: str
    """As Sentinel-2 names it, `48QUE`: the latitude band is that of the square's centre."""
    epsg: int
    """326 and the zone north of the equator, 327 and the zone south of it."""
    left: int
    """Easting of the west edge, metres."""
    bottom: int
    """Northing of the south edge, metres."""

    @classmethod
    def from_name(cls, name: str) -> Tile:
        """The tile of a name; a square that MGRS splits at a latitude band is found by either name.

        Raises:
            BadInput: no such tile.
        """
        given = name.strip().upper()
        try:
            zone, hemisphere, easting, northing = _MGRS.MGRSToUTM(given)
        except Exception as error:
            raise BadInput(f"There is no Sentinel-2 tile {name!r}. Give a 100 km square's name, as 48QUE.") from error
        if len(given) != 5:
            raise BadInput(f"{name!r} is not a Sentinel-2 tile. Give the 100 km square alone, as {given[:5]}.")
        return _tile((32600 if hemisphere == "N" else 32700) + zone, easting, northing, given)

    @property
    def zone(self) -> int:
        """UTM zone, 1 to 60."""
        return self.epsg % 100

    @property
    def top(self) -> int:
        """Northing of the north edge, metres."""
        return self.bottom + SQUARE

    @property
    def transform(self) -> Affine:
        """Pixel to UTM coordinates."""
        return Affine(RESOLUTION, 0, self.left, 0, -RESOLUTION, self.top)


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
    def window(self) -> tuple[int, int, int, int]:
        """`(row0, row1, col0, col1)`."""
        return self.row0, self.row1, self.col0, self.col1


BLOCK_EDGES = (0, 1792, 3840, 5888, 7936, 10_000)
"""Blocks meet in the middle of the 512 px tiles of Sentinel-2's COGs, so that a halo of up to 200 px reaches into no
further one, and on multiples of 16, so that chips begin on the network's stride."""
BLOCKS_ALONG = len(BLOCK_EDGES) - 1


def block(number: int) -> Block:
    """Block 0 lies in the north-west; they are counted along rows."""
    row, col = divmod(number, BLOCKS_ALONG)
    return Block(number, BLOCK_EDGES[row], BLOCK_EDGES[row + 1], BLOCK_EDGES[col], BLOCK_EDGES[col + 1])


def blocks_intersecting(tile: Tile, geometry: BaseGeometry | None = None) -> tuple[int, ...]:
    """Numbers of the blocks in which the tile owns anything, within a geometry (longitude, latitude) if one is given."""
    numbers = []
    for number in range(BLOCKS_ALONG**2):
        part = owned_geometry(tile, block(number).window)
        if not part.is_empty and (geometry is None or part.intersection(geometry).area > 0):
            numbers.append(number)
    return tuple(numbers)


def owned_mask(tile: Tile, row0: int, row1: int, col0: int, col1: int) -> np.ndarray:
    """Which pixels of a window the tile owns: bool `[row1 - row0, col1 - col0]`, by the pixels' centres."""
    shape = (row1 - row0, col1 - col0)
    rows, cols = np.arange(row0, row1), np.arange(col0, col1)
    corners = _owns(tile, np.array([row0, row0, row1 - 1, row1 - 1]), np.array([col0, col1 - 1, col0, col1 - 1]))
    if _is_plain(tile):
        if corners.all():
            # A meridian bends by metres over a tile, towards the pole: both ends inside means all inside.
            edges = _owns(tile, np.repeat(rows, 2), np.tile([col0, col1 - 1], len(rows)))
            if edges.all():
                return np.ones(shape, bool)
        # Along a row longitude only grows, so the owned columns are one run: find its ends by bisection.
        first = _bisect(tile, rows, col0, col1, west=True)
        last = _bisect(tile, rows, col0, col1, west=False)
        return (cols >= first[:, np.newaxis]) & (cols < last[:, np.newaxis])
    mask = np.empty(shape, bool)
    for start in range(0, shape[0], 128):
        part = rows[start : start + 128]
        grid = np.meshgrid(part, cols, indexing="ij")
        mask[start : start + 128] = _owns(tile, grid[0].ravel(), grid[1].ravel()).reshape(grid[0].shape)
    return mask


def owned_geometry(tile: Tile, window: tuple[int, int, int, int] | None = None) -> BaseGeometry:
    """The part of a tile, or of a pixel window `(row0, row1, col0, col1)` of it, that it owns; longitude and latitude.

    Edges are densified to 2.5 km, which keeps them true to a few metres. Zones end at the antimeridian, so the
    geometry never crosses it. Empty if the tile owns nothing there.
    """
    row0, row1, col0, col1 = window or (0, TILE_SIZE, 0, TILE_SIZE)
    left, top = tile.left + col0 * RESOLUTION, tile.top - row0 * RESOLUTION
    square = box(left, tile.top - row1 * RESOLUTION, tile.left + col1 * RESOLUTION, top)
    outline = shapely.transform(shapely.segmentize(square, 2500), lambda xy: _lonlat(tile.epsg, xy))
    part = shapely.intersection(shapely.make_valid(outline), _zone_region(tile.zone, tile.epsg < 32700))
    if part.geom_type == "GeometryCollection":
        part = shapely.union_all([one for one in part.geoms if one.area > 0])
    return part if part.area > 0 else shapely.Polygon()


def tile_at(lon: float, lat: float) -> Tile:
    """The one tile that owns a point, degrees.

    Raises:
        BadInput: beyond 80 S or 84 N.
    """
    if not (SOUTH <= lat < NORTH and -180 <= lon <= 180):
        raise BadInput(f"Point {lon:g},{lat:g} lies outside the grid. Give -180 to 180 and 80 S to 84 N.")
    zone = int(utm_zone(np.array([lon]), np.array([lat]))[0])
    epsg = (32600 if lat >= 0 else 32700) + zone
    x, y = _projection(epsg).transform(lon, lat, direction="INVERSE")
    # On the equator itself 0 may come back as a hair less.
    return _tile(epsg, x, max(y, 0.0) if lat >= 0 else min(y, 9_999_999.999))


def tiles_intersecting(geometry: BaseGeometry) -> list[Tile]:
    """The tiles that own a part of a polygon (longitude, latitude), by name."""
    shapely.prepare(geometry)
    found = {}
    for zone in range(1, 61):
        for northern in (True, False):
            inside = shapely.intersection(geometry, _zone_region(zone, northern))
            for part in shapely.get_parts(inside):
                if part.area > 0:
                    found.update({tile.name: tile for tile in _tiles_under(part, zone, northern)})
    return [found[name] for name in sorted(found)]


@functools.cache
def land_tiles() -> tuple[str, ...]:
    """Names of the tiles with land, from `land_tiles.txt`, which says where they come from."""
    lines = (resources.files("catalog") / "land_tiles.txt").read_text().splitlines()
    return tuple(name for line in lines if not line.startswith("#") for name in line.split())


def utm_zone(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """UTM zone of points in degrees, with Norway's and Svalbard's exceptions; each limit belongs to the east."""
    lon = (np.asarray(lon, float) + 180) % 360 - 180
    zones = np.floor((lon + 180) / 6).astype(int) + 1
    for zone, bands in _WIDENED.items():
        for south, north, west, east in bands:
            zones[(lat >= south) & (lat < north) & (lon >= west) & (lon < east)] = zone
    return zones


def _tiles_under(part: BaseGeometry, zone: int, northern: bool) -> list[Tile]:
    """Tiles of one zone that own something of a polygon lying in it."""
    epsg = (32600 if northern else 32700) + zone
    outline = shapely.transform(shapely.segmentize(part, 0.1), lambda xy: _lonlat(epsg, xy, inverse=True))
    west, south, east, north = (int(v // SQUARE) for v in outline.bounds)
    tiles = []
    for col in range(west, east + 1):
        for row in range(south, north + 1):
            square = Tile("", epsg, col * SQUARE, row * SQUARE)
            if owned_geometry(square).intersection(part).area > 0:
                tiles.append(_tile(epsg, square.left, square.bottom))
    return tiles


def _tile(epsg: int, easting: float, northing: float, given: str = "") -> Tile:
    """The tile round a UTM position, named by the MGRS library: `given` is kept where the tile owns nothing."""
    left, bottom = int(easting // SQUARE) * SQUARE, int(northing // SQUARE) * SQUARE
    square = Tile(given, epsg, left, bottom)
    owned = owned_geometry(square)
    if owned.is_empty:
        return square
    # The library names a point by its natural zone, so it is asked about a point that the tile owns.
    inside = owned.representative_point()
    letters = _MGRS.toMGRS(inside.y, inside.x, MGRSPrecision=0)
    centre = _lonlat(epsg, np.array([[left + SQUARE / 2, bottom + SQUARE / 2]]))[0]
    band = _MGRS.toMGRS(float(np.clip(centre[1], SOUTH, NORTH - 1e-6)), _meridian(epsg % 100), MGRSPrecision=0)[2]
    return Tile(f"{letters[:2]}{band}{letters[3:5]}", epsg, left, bottom)


def _owns(tile: Tile, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    x = tile.left + (cols + 0.5) * RESOLUTION
    y = tile.top - (rows + 0.5) * RESOLUTION
    lon, lat = _lonlat(tile.epsg, np.column_stack([x, y])).T
    return (utm_zone(lon, lat) == tile.zone) & (lat >= SOUTH) & (lat < NORTH)


def _bisect(tile: Tile, rows: np.ndarray, col0: int, col1: int, *, west: bool) -> np.ndarray:
    """Per row, the first column at or east of the zone's west (or else east) limit."""
    limit = -3.0 if west else 3.0
    low, high = np.full(len(rows), col0), np.full(len(rows), col1)
    while (low < high).any():
        middle = (low + high) // 2
        x = tile.left + (middle + 0.5) * RESOLUTION
        y = tile.top - (rows + 0.5) * RESOLUTION
        beyond = _lonlat(tile.epsg, np.column_stack([x, y]))[:, 0] - _meridian(tile.zone) >= limit
        high, low = np.where(beyond, middle, high), np.where(beyond | (low >= high), low, middle + 1)
    return low


@functools.lru_cache(maxsize=4096)
def _is_plain(tile: Tile) -> bool:
    """Whether only the two meridians of the zone cut the tile."""
    corners = np.array([[tile.left + x, tile.bottom + y] for x in (0, SQUARE) for y in (0, SQUARE)], float)
    lat = _lonlat(tile.epsg, corners)[:, 1]
    if lat.min() < SOUTH + 0.1 or lat.max() > NORTH - 0.1:
        return False
    return not any(lat.max() >= band[0] - 0.1 and lat.min() <= band[1] + 0.1 for band in _WIDENED.get(tile.zone, []))


@functools.cache
def _zone_region(zone: int, northern: bool) -> BaseGeometry:
    """The part of the globe where a zone of one hemisphere is in force."""
    west = 6.0 * (zone - 1) - 180
    if not northern:
        return box(west, SOUTH, west + 6, 0)
    cuts = sorted({0, NORTH, *(edge for band in _WIDENED.get(zone, []) for edge in band[:2])})
    parts = []
    for south, north in zip(cuts[:-1], cuts[1:], strict=True):
        limits = next((b[2:] for b in _WIDENED.get(zone, []) if b[:2] == (south, north)), (west, west + 6))
        if limits[0] < limits[1]:
            parts.append(box(limits[0], south, limits[1], north))
    region = shapely.union_all(parts)
    shapely.prepare(region)
    return region


def _meridian(zone: int) -> float:
    return 6.0 * zone - 183


@functools.cache
def _projection(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)


def _lonlat(epsg: int, xy: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    """UTM to longitude and latitude `[n, 2]`, longitudes continuous round the zone (or back)."""
    if inverse:
        return np.column_stack(_projection(epsg).transform(xy[:, 0], xy[:, 1], direction="INVERSE"))
    lon, lat = _projection(epsg).transform(xy[:, 0], xy[:, 1])
    meridian = _meridian(epsg % 100)
    return np.column_stack([(lon - meridian + 180) % 360 - 180 + meridian, lat])
