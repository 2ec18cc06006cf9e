"""Zonal statistics of a series of maps: area of each class in each year and zone, and from class to class.

Pixels on a zone's border count by the share of them that lies in it, each with its true ground area. Blocks are read
one after the other, so memory grows with the number of zones, not with the size of the maps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import geopandas
import numpy as np
import shapely

from catalog.errors import BadInput
from catalog.manifest import digest
from services.change.blocks import opened
from services.change.runs import Progress, Run, in_process
from services.change.series import Place, Series
from services.change.zone_counts import Counts, count_place
from services.change.zones import Zones

_NEAR = 0.1
"""Degrees round a place within which zones are looked at."""


@dataclass
class Zonal:
    """What was counted, in hectares."""

    series: Series
    zones: Zones
    areas: np.ndarray
    """Of each class number (0: mapped, but no data or cloud), `[zones, years, classes + 1]`."""
    pairs: np.ndarray
    """Sorted `(zone * (classes + 1) + from) * (classes + 1) + to`, from the first year to the last, `[n]`."""
    pair_areas: np.ndarray
    """Of each of `pairs`, `[n]`."""
    failed: dict[str, str] = field(default_factory=dict)
    """Places that could not be read, with the reason: what they map is missing."""

    @property
    def observed(self) -> np.ndarray:
        """Of land cover in each year, `[zones, years]`."""
        return self.areas[..., 1:].sum(axis=-1)

    def transitions(self, zone: int) -> np.ndarray:
        """From a class number of the first year (row) to one of the last, `[classes + 1, classes + 1]`."""
        side = self.areas.shape[-1]
        first, last = np.searchsorted(self.pairs, [zone * side**2, (zone + 1) * side**2])
        matrix = np.zeros(side**2)
        matrix[self.pairs[first:last] - zone * side**2] = self.pair_areas[first:last]
        return matrix.reshape(side, side)

    def both(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of pixels observed in the first and the last year: areas in each, and of the class kept, `[zones, classes]`.

        Shares and changes are of these, so that cloud in one of the years is no change.
        """
        side, zones = self.areas.shape[-1], len(self.areas)
        zone, before, after = self.pairs // side**2, self.pairs // side % side, self.pairs % side
        seen = (before > 0) & (after > 0)

        def summed(number: np.ndarray, which: np.ndarray) -> np.ndarray:
            flat = np.bincount((zone * side + number)[which], self.pair_areas[which], zones * side)
            return flat.reshape(zones, side)[:, 1:]

        return summed(before, seen), summed(after, seen), summed(before, seen & (before == after))


def count_zones(
    series: Series,
    zones: Zones,
    *,
    on_progress: Progress = lambda done, total: None,
    run: Run = in_process,
) -> Zonal:
    """Count all zones, in all years of a series.

    Args:
        series: the maps; where they overlap, the ground is counted twice, which the series notes.
        zones: to be counted, wherever they lie.
        on_progress: called with the places done and planned.
        run: does the counting, place by place.

    Raises:
        BadInput: no zone lies on any map, a map has no north-up grid, or none can be read.
    """
    side, count = len(series.legend.classes) + 1, len(zones.frame)
    if count * side**2 >= 2**62:
        raise BadInput(f"{count:,} zones of {side - 1} classes are too many. Give fewer zones at once.")
    counts, failed, read = Counts.empty(len(series.years)), dict(series.excluded), 0
    for outcome in run(CountPlace.of(series, zones), places_of(series, zones), on_progress):
        if outcome.failed:
            failed[outcome.place.name] = outcome.failed
        else:
            counts.add(outcome.content)
            read += 1
    if not read:
        told = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:5])
        west, south, east, north = zones.frame.total_bounds
        raise BadInput(
            f"No zone lies on a map that can be read. The zones reach from {west:.3f}, {south:.3f} to {east:.3f}, "
            f"{north:.3f} degrees. {told or 'Give zones of the mapped area.'}"
        )
    return _together(series, zones, counts, failed)


def places_of(series: Series, zones: Zones) -> tuple[Place, ...]:
    """The places of a series that a zone lies on."""
    return tuple(place for place in series.places if not _near(zones.frame.geometry, place.geometry).empty)


@dataclass(frozen=True)
class CountPlace:
    """The work of counting the zones of a place."""

    series: Series
    """Without its places."""
    shapes: geopandas.GeoSeries
    """Of all zones, longitude and latitude."""
    key: str

    @classmethod
    def of(cls, series: Series, zones: Zones) -> CountPlace:
        """For all places of a series."""
        shapes = zones.frame.geometry
        outlines = hashlib.sha256(b"".join(shapes.to_wkb())).hexdigest()
        maps = [one for place in series.places for one in place.identity]
        told = {"maps": maps, "zones": outlines, "years": series.years, "legend": series.legend.numbers().tolist()}
        return cls(replace(series, places=()), shapes, f"zonal-{digest(told | {'software': version('landloom')})}")

    def __call__(self, place: Place) -> bytes:
        """Count, in hectares."""
        counts = Counts.empty(len(self.series.years))
        with opened(self.series, place) as maps:
            count_place(counts, maps, _near(self.shapes, place.geometry))
        return counts.to_bytes()


def _together(series: Series, zones: Zones, counts: Counts, failed: dict[str, str]) -> Zonal:
    """What was counted, as tables."""
    side, shape = len(series.legend.classes) + 1, (len(zones.frame), len(series.legend.classes) + 1)
    for sums in (counts.pairs, *counts.between):
        sums.settle()
    areas = np.zeros((shape[0], len(series.years), side))
    kinds, hectares = counts.pairs.kinds, counts.pairs.hectares
    areas[:, 0] = np.bincount(kinds // side, hectares, shape[0] * side).reshape(shape)
    areas[:, -1] = np.bincount(kinds // side**2 * side + kinds % side, hectares, shape[0] * side).reshape(shape)
    for year, sums in enumerate(counts.between, start=1):
        areas[:, year] = np.bincount(sums.kinds, sums.hectares, shape[0] * side).reshape(shape)
    return Zonal(series, zones, areas, kinds, hectares, failed)


def _near(shapes: geopandas.GeoSeries, ground: shapely.Geometry) -> geopandas.GeoSeries:
    """Zones that may lie on a place, clipped round it: far from a map its coordinates mean nothing."""
    west, south, east, north = ground.bounds
    box = west - _NEAR, south - _NEAR, east + _NEAR, north + _NEAR
    near = shapes.iloc[np.sort(shapes.sindex.query(shapely.box(*box)))]
    whole = near.bounds
    cut = (whole.minx < box[0]) | (whole.miny < box[1]) | (whole.maxx > box[2]) | (whole.maxy > box[3])
    if cut.any():
        near = near.copy()
        near[cut] = near[cut].intersection(shapely.box(*box))
    return near[~near.is_empty]
