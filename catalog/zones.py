"""UTM zones: which points each is in force for, and the way between its metres and degrees."""

from __future__ import annotations

import functools

import numpy as np
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput

SOUTH, NORTH = -80.0, 84.0
"""Where UTM ends, degrees of latitude."""

Box = tuple[float, float, float, float]
"""West, south, east, north."""

_NORWAY_AND_SVALBARD: dict[int, tuple[Box, ...]] = {
    31: ((0, SOUTH, 6, 56), (0, 56, 3, 64), (0, 64, 6, 72), (0, 72, 9, NORTH)),
    32: ((6, SOUTH, 12, 56), (3, 56, 12, 64), (6, 64, 12, 72)),
    33: ((12, SOUTH, 18, 72), (9, 72, 21, NORTH)),
    34: ((18, SOUTH, 24, 72),),
    35: ((24, SOUTH, 30, 72), (21, 72, 33, NORTH)),
    36: ((30, SOUTH, 36, 72),),
    37: ((36, SOUTH, 42, 72), (33, 72, 42, NORTH)),
}
"""The zones that are wider or narrower in bands V and X (NGA.STND.0037, 2014, section 8)."""


def zone_boxes(zone: int) -> tuple[Box, ...]:
    """Where a zone is in force, degrees; west and south limits belong to a box, east and north limits do not.

    The boxes of all zones together cover the globe from 80 S to 84 N once. None crosses the antimeridian.
    """
    west = 6.0 * zone - 186
    return _NORWAY_AND_SVALBARD.get(zone, ((west, SOUTH, west + 6, NORTH),))


def zone_at(lon: float, lat: float) -> int:
    """The zone in force at a point, 1 to 60.

    Args:
        lon: degrees, -180 to 180; 180 is the same as -180.
        lat: degrees, -80 to 84, 84 itself left out.

    Raises:
        BadInput: the point lies outside.
    """
    if -180 <= lon <= 180 and SOUTH <= lat < NORTH:
        lon = -180.0 if lon == 180 else lon
        regular = int((lon + 180) // 6) + 1
        for zone in (regular, regular - 1, regular + 1):
            if any(west <= lon < east and south <= lat < north for west, south, east, north in zone_boxes(zone)):
                return zone
    raise BadInput(f"Point {lon:g},{lat:g} lies off the grid. Give LON,LAT, -180 to 180 and -80 to 84 degrees.")


def in_box(lon: np.ndarray, lat: np.ndarray, box: Box) -> np.ndarray:
    """Whether points lie in a box, west and south limits included, east and north limits not."""
    west, south, east, north = box
    return (lon >= west) & (lon < east) & (lat >= south) & (lat < north)


@functools.cache
def zone_region(epsg: int) -> BaseGeometry:
    """The part of the globe for which a zone of one hemisphere is in force, longitude and latitude."""
    hemisphere = shapely.box(-180, 0, 180, NORTH) if epsg < 32700 else shapely.box(-180, SOUTH, 180, 0)
    region = shapely.intersection(shapely.union_all([shapely.box(*box) for box in zone_boxes(epsg % 100)]), hemisphere)
    shapely.prepare(region)
    return region


def utm_epsg(zone: int, northern: bool) -> int:
    """The EPSG code of a zone on WGS 84."""
    return (32600 if northern else 32700) + zone


def central_meridian(epsg: int) -> float:
    """Degrees of longitude at easting 500,000 m."""
    return 6.0 * (epsg % 100) - 183


def to_lonlat(epsg: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UTM metres to degrees; longitudes go on across the antimeridian, so that they may be below -180 or above 180."""
    lon, lat = _projection(epsg).transform(x, y)
    meridian = central_meridian(epsg)
    return (lon - meridian + 180) % 360 - 180 + meridian, lat


def from_lonlat(epsg: int, lon: float, lat: float) -> tuple[float, float]:
    """Degrees to UTM metres."""
    return _projection(epsg).transform(lon, lat, direction="INVERSE")


def extent(
    epsg: int,
    left: np.ndarray | float,
    bottom: np.ndarray | float,
    right: np.ndarray | float,
    top: np.ndarray | float,
) -> np.ndarray:
    """The least box of longitude and latitude round rectangles of UTM metres, `[..., 4]`: west, south, east, north.

    Exact: along a row longitude only grows with the easting, along a column its distance from the central meridian
    only grows towards the pole; a row comes nearest to the pole where it is nearest to the central meridian. So
    corners and the points nearest to that meridian are enough. No rectangle may cross the equator.
    """
    nearest = np.clip(500_000.0, left, right)
    lon, lat = to_lonlat(
        epsg,
        np.stack([left, left, right, right, nearest, nearest], axis=-1),
        np.stack([bottom, top, bottom, top, bottom, top], axis=-1),
    )
    return np.stack([lon.min(-1), lat.min(-1), lon.max(-1), lat.max(-1)], axis=-1)


@functools.cache
def _projection(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
