"""Zonal statistics of a series of maps: area of each class in each year and zone, and from class to class.

Pixels on a zone's border count by the share of them that lies in it (exactextract), each with its true ground area.
Blocks are read one after the other, so memory grows with the number of zones, not with the size of the maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import geopandas
import numpy as np
import pyproj
import shapely

from catalog.errors import BadInput, LandloomError, StoreError
from services.change.blocks import Block, OpenPlace, opened
from services.change.ground_area import pixel_areas
from services.change.series import Series
from services.change.zone_cells import PART, SLIVER, cell_grid, cells_of, part_grid, parts_of, pieces_of
from services.change.zones import Zones

_EDGE = 0.005
"""Degrees between points of an edge, before it is moved to a map's coordinates."""
_NEAR = 0.1
"""Degrees round a place within which zones are looked at."""
_LARGE = 16
"""Squares of `PART` pixels from which on a zone is taken apart."""
_CLASSES = 60
"""Classes up to which it is: the tables of the squares grow with their number squared."""
_CELLS = 4_000_000
"""Pixels of zones whose numbers are in memory at a time, at least one zone's."""


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
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Zonal:
    """Count all zones, in all years of a series.

    Args:
        series: the maps; where they overlap, the ground is counted twice, which the series notes.
        zones: to be counted, wherever they lie.
        on_progress: called with the places done and planned.

    Raises:
        BadInput: no zone lies on any map, a map has no north-up grid, or none can be read.
    """
    side, count = len(series.legend.classes) + 1, len(zones.frame)
    if count * side**2 >= 2**62:
        raise BadInput(f"{count:,} zones of {side - 1} classes are too many. Give fewer zones at once.")
    found = Zonal(
        series,
        zones,
        np.zeros((count, len(series.years), side)),
        np.zeros(0, np.int64),
        np.zeros(0),
        dict(series.excluded),
    )
    read = 0
    for done, place in enumerate(series.places):
        on_progress(done, len(series.places))
        near = _near(zones.frame.geometry, place.geometry)
        if near.empty:
            continue
        try:
            with opened(series, place) as maps:
                _count_place(found, maps, near)
            read += 1
        except StoreError:
            raise
        except BadInput:
            raise
        except LandloomError as error:
            found.failed[place.name] = str(error)
    on_progress(len(series.places), len(series.places))
    if not read:
        told = "; ".join(f"{name}: {reason}" for name, reason in list(found.failed.items())[:5])
        west, south, east, north = zones.frame.total_bounds
        raise BadInput(
            f"No zone lies on a map that can be read. The zones reach from {west:.3f}, {south:.3f} to {east:.3f}, "
            f"{north:.3f} degrees. {told or 'Give zones of the mapped area.'}"
        )
    return found


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


def _count_place(found: Zonal, maps: OpenPlace, near: geopandas.GeoSeries) -> None:
    grid = maps.transform
    if grid.b or grid.d or grid.e >= 0 or grid.a <= 0:
        raise BadInput(
            f"The map of {maps.place.name} has the grid {tuple(grid)[:6]}, which is rotated or upside down. Warp it to "
            "one with north up, by nearest neighbour."
        )
    to_map = pyproj.Transformer.from_crs(4326, maps.crs, always_xy=True)
    moved = shapely.transform(
        near.segmentize(_EDGE).to_numpy(), lambda xy: np.column_stack(to_map.transform(xy[:, 0], xy[:, 1]))
    )
    # Edges may cross by a rounding where they nearly touched before.
    on_map = geopandas.GeoSeries(np.where(shapely.is_valid(moved), moved, shapely.make_valid(moved)), index=near.index)
    for block in maps.blocks():
        left, top = grid @ (block.cols.start, block.rows.start)
        right, bottom = grid @ (block.cols.stop, block.rows.stop)
        here = on_map.iloc[np.sort(on_map.sindex.query(shapely.box(left, bottom, right, top)))]
        if not here.empty:
            _count_block(found, maps, block, here, (left, bottom, right, top))


def _count_block(
    found: Zonal, maps: OpenPlace, block: Block, here: geopandas.GeoSeries, box: tuple[float, float, float, float]
) -> None:
    areas = pixel_areas(maps.crs, maps.transform, block.rows, block.cols)
    areas = np.broadcast_to(areas, block.codes.shape[1:])
    clipped = shapely.intersection(here.to_numpy(), shapely.box(*box))
    zone = here.index.to_numpy()
    size = PART * np.array([maps.transform.a, -maps.transform.e])
    large = (shapely.area(clipped) > _LARGE * size[0] * size[1]) & (found.areas.shape[-1] <= _CLASSES)
    if large.any():
        number, part, whole = parts_of(clipped[large], block, maps.crs, box, size)
        _add_parts(found, zone[large], number[whole], part[whole], block.codes, areas)
        pieces = pieces_of(clipped[large], number[~whole], part[~whole], block, box, size)
        clipped = np.concatenate([clipped[~large], pieces])
        zone = np.concatenate([zone[~large], zone[large][number[~whole]]])
    left = np.flatnonzero(shapely.area(clipped) > 0)
    raster = cell_grid(block.codes.shape[1:], maps.crs, box)
    flat, codes = areas.ravel(), block.codes.reshape(len(block.codes), -1)
    pixels = shapely.area(clipped[left]) / (size[0] * size[1]) * PART**2
    for some in np.split(left, _ends(pixels)):
        number, cells, coverage = cells_of(raster, clipped[some], maps.crs)
        real = coverage > SLIVER
        number, cells, coverage = number[real], cells[real], coverage[real]
        _add(found, zone[some][number], codes[:, cells], coverage * flat[cells])


def _add_parts(
    found: Zonal, zone: np.ndarray, number: np.ndarray, part: np.ndarray, codes: np.ndarray, areas: np.ndarray
) -> None:
    """Count whole parts; each of their pixels counts with their mean area, from which none differs by 0.002 %."""
    if not part.size:
        return
    side, (rows, cols) = found.areas.shape[-1], part_grid(codes.shape[1:])
    top, left = np.arange(rows) * PART, np.arange(cols) * PART
    of_row, of_col = (np.arange(length, dtype=np.int32) // PART for length in codes.shape[1:])
    where = of_row[:, None] * np.int32(cols) + of_col
    pixels = np.outer(*(np.diff(starts, append=n) for starts, n in zip((top, left), codes.shape[1:], strict=True)))
    mean = np.add.reduceat(np.add.reduceat(areas, top, axis=0), left, axis=1) / pixels
    first = np.flatnonzero(np.diff(number, prepend=-1))

    def summed(key: np.ndarray, kinds: int) -> np.ndarray:
        """Hectares of each kind in each polygon that has whole parts."""
        counts = np.bincount((where * np.int32(kinds) + key).ravel(), minlength=rows * cols * kinds).reshape(-1, kinds)
        return np.add.reduceat(counts[part] * mean.ravel()[part, None], first, axis=0)

    zones = zone[number[first]]
    pairs = summed(codes[0].astype(np.int32) * side + codes[-1], side**2)
    matrices = pairs.reshape(-1, side, side)
    found.areas[zones, 0] += matrices.sum(axis=2)
    found.areas[zones, -1] += matrices.sum(axis=1)
    for year in range(1, len(codes) - 1):
        found.areas[zones, year] += summed(codes[year], side)
    local, kind = np.nonzero(pairs)
    _add_pairs(found, zones[local] * side**2 + kind, pairs[local, kind])


def _ends(pixels: np.ndarray) -> np.ndarray:
    """Where to cut a list of zones, so that each part has some `_CELLS` pixels."""
    number = (np.cumsum(pixels) // _CELLS).astype(int)
    return np.flatnonzero(np.diff(number)) + 1


def _add(found: Zonal, zone: np.ndarray, codes: np.ndarray, hectares: np.ndarray) -> None:
    """Count cells: their zone `[n]`, class numbers `[years, n]` and hectares `[n]`."""
    side = found.areas.shape[-1]
    zones, local = np.unique(zone, return_inverse=True)
    for year, number in enumerate(codes):
        summed = np.bincount(local * side + number, hectares, zones.size * side)
        found.areas[zones, year] += summed.reshape(-1, side)
    pair = np.bincount((local * side + codes[0]) * side + codes[-1], hectares, zones.size * side**2)
    there = np.flatnonzero(pair)
    keys = zones[there // side**2] * side**2 + there % side**2
    _add_pairs(found, keys, pair[there])


def _add_pairs(found: Zonal, keys: np.ndarray, hectares: np.ndarray) -> None:
    joined = np.concatenate([found.pairs, keys])
    found.pairs, number = np.unique(joined, return_inverse=True)
    found.pair_areas = np.bincount(number, np.concatenate([found.pair_areas, hectares]), found.pairs.size)
