"""The 100 km squares of UTM and their names, as Sentinel-2 gives them.

MGRS cuts squares at the limits of its latitude bands and names the pieces apart; Sentinel-2 gives a square one name,
with the band in which the square's centre lies (`50TMK`, of which the southern rows are 50SMK to MGRS). This holds for
each of the 56,326 names of Sentinel-2's grid that reach north of 80 S.
"""

from __future__ import annotations

import functools

import mgrs
import numpy as np

from catalog import zones

SQUARE = 100_000
"""Metres along a square's side."""
_MGRS = mgrs.MGRS()


def square_name(epsg: int, left: int, bottom: int) -> str:
    """A square's name.

    The MGRS library names a position by the zone in force there. So it is asked for the row near the central
    meridian, and for the column near the equator, where every zone reaches over all eight columns.
    """
    zone, northern = epsg % 100, epsg < 32700
    # A kilometre west of the central meridian, since 31V ends there. North and south are clamped to 84 N and 80 S.
    y = min(bottom + SQUARE // 2, 9_328_000) if northern else max(bottom + SQUARE // 2, 1_119_000)
    row = _MGRS.UTMToMGRS(zone, "N" if northern else "S", 499_000, y, 0)
    column = _MGRS.UTMToMGRS(zone, "N", min(max(left + SQUARE // 2, 180_000), 820_000), SQUARE // 2, 0)
    return f"{zone:02d}{row[2]}{column[3]}{row[4]}"


@functools.cache
def squares(epsg: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares of a zone and hemisphere whose extent touches the zone: left `[N]`, bottom `[N]`, extent `[N, 4]`.

    Left and bottom are metres of UTM; the extent is west, south, east and north in degrees. Sentinel-2 leaves out
    some of them at the zone's edge, where products of the next zone cover the ground.
    """
    northings = np.arange(0, 95) if epsg < 32700 else np.arange(10, 100)
    bottom, left = (SQUARE * axis.ravel() for axis in np.meshgrid(northings, np.arange(1, 9)))
    extents = zones.extent(epsg, left, bottom, left + SQUARE, bottom + SQUARE)
    west, south, east, north = zones.zone_region(epsg).bounds
    near = (extents[:, 0] < east) & (extents[:, 2] > west) & (extents[:, 1] < north) & (extents[:, 3] > south)
    return left[near], bottom[near], extents[near]


@functools.cache
def squares_by_name(zone: int) -> dict[str, tuple[int, int, int]]:
    """The squares of a zone, as (EPSG, left, bottom), by name, and by MGRS's other name where it cuts them."""
    names, others = {}, {}
    for epsg in (zones.utm_epsg(zone, True), zones.utm_epsg(zone, False)):
        for left, bottom, (_, south, _, north) in zip(*(axis.tolist() for axis in squares(epsg)), strict=True):
            name = square_name(epsg, left, bottom)
            names[name] = (epsg, left, bottom)
            for lat in (max(south, zones.SOUTH), min(north, zones.NORTH - 1e-6)):
                band = _MGRS.toMGRS(lat, zones.central_meridian(epsg), MGRSPrecision=0)[2]
                others[f"{name[:2]}{band}{name[3:]}"] = (epsg, left, bottom)
    return others | names
