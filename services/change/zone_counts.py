"""Counting the pixels of one place by zone: hectares of each class, and from class to class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import geopandas
import numpy as np
import pyproj
import shapely
from affine import Affine

from catalog.errors import BadInput
from services.change.blocks import Block, OpenPlace
from services.change.ground_area import area_factors
from services.change.runs import packed, unpacked
from services.change.zone_cells import ZoneCells, cells_of
from services.change.zone_runs import Runs, class_words, words_of

_EDGE = 0.005
"""Degrees between points of an edge, before it is moved to a map's coordinates."""
_PIXELS = 1 << 20
"""Pixels that are counted at a time: what is made on the way stays in the processor's cache."""
_TABLE = 1 << 22
"""Kinds of pixels up to which a table of all of them is made to count; of more, those that occur are sorted."""
_WAITING = 1 << 20
"""Figures that are kept, at least, before those of one kind are added up."""


class Sums:
    """Hectares by kind, of which very many are possible and few occur: zone, class, and class again."""

    def __init__(self) -> None:
        self.kinds: np.ndarray = np.zeros(0, np.int64)
        self.hectares: np.ndarray = np.zeros(0)
        self._added: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def add(self, kinds: np.ndarray, hectares: np.ndarray) -> None:
        """Add hectares to kinds, both `[n]`; a kind may stand several times."""
        self._added.append((kinds, hectares))
        self._waiting += kinds.size
        # Sorting all of them for each block would take longer than counting.
        if self._waiting > max(self.kinds.size, _WAITING):
            self.settle()

    def settle(self) -> None:
        """Let `kinds`, each once and sorted, and `hectares` hold all that was added."""
        kinds = np.concatenate([self.kinds, *(one for one, _ in self._added)])
        hectares = np.concatenate([self.hectares, *(one for _, one in self._added)])
        self.kinds, number = np.unique(kinds, return_inverse=True)
        self.hectares = np.bincount(number, hectares, self.kinds.size)
        self._added, self._waiting = [], 0


@dataclass
class Counts:
    """What was counted; of several places it is added."""

    pairs: Sums
    """By `(zone * side + from) * side + to`, from the first year to the last; side: classes + 1."""
    between: tuple[Sums, ...]
    """By `zone * side + class`, of each year between them."""

    @classmethod
    def empty(cls, years: int) -> Counts:
        """Of nothing yet."""
        return cls(Sums(), tuple(Sums() for _ in range(years - 2)))

    def to_bytes(self) -> bytes:
        """All of it, for `add`."""
        arrays: dict[str, np.ndarray] = {}
        for number, sums in enumerate((self.pairs, *self.between)):
            sums.settle()
            arrays |= {f"kinds{number}": sums.kinds, f"hectares{number}": sums.hectares}
        return packed(**arrays)

    def add(self, content: bytes) -> None:
        """Add what was counted elsewhere."""
        arrays = unpacked(content)
        for number, sums in enumerate((self.pairs, *self.between)):
            sums.add(arrays[f"kinds{number}"], arrays[f"hectares{number}"])


def count_place(counts: Counts, maps: OpenPlace, zones: geopandas.GeoSeries) -> None:
    """Add what the maps of a place have of each zone.

    Args:
        counts: to be added to.
        maps: the place, opened.
        zones: polygons near it in longitude and latitude, by the zone's number.

    Raises:
        BadInput: a grid that is rotated or upside down.
    """
    grid = maps.transform
    if grid.b or grid.d or grid.e >= 0 or grid.a <= 0:
        raise BadInput(
            f"The map of {maps.place.name} has the grid {tuple(grid)[:6]}, which is rotated or upside down. Warp it to "
            "one with north up, by nearest neighbour."
        )
    to_map = pyproj.Transformer.from_crs(4326, maps.crs, always_xy=True)
    moved = shapely.transform(
        zones.segmentize(_EDGE).to_numpy(), lambda xy: np.column_stack(to_map.transform(xy[:, 0], xy[:, 1]))
    )
    # Edges may cross by a rounding where they nearly touched before.
    valid = shapely.is_valid(moved)
    moved[~valid] = shapely.make_valid(moved[~valid])
    tree, numbers = shapely.STRtree(moved), zones.index.to_numpy(np.int64)
    for block in maps.blocks():
        left, top = grid @ (block.cols.start, block.rows.start)
        right, bottom = grid @ (block.cols.stop, block.rows.stop)
        here = np.sort(tree.query(shapely.box(left, bottom, right, top)))
        if here.size:
            cells = cells_of(moved[here], grid @ Affine.translation(block.cols.start, block.rows.start), block.shape)
            _count_block(counts, maps, block, cells, numbers[here])


def _count_block(counts: Counts, maps: OpenPlace, block: Block, cells: ZoneCells, zones: np.ndarray) -> None:
    """Count a block; the cells' polygon k is of the zone whose number is `zones[k]`."""
    side, codes, (rows, cols) = len(maps.series.legend.classes) + 1, block.codes, block.shape
    along_rows, along_cols = area_factors(maps.crs, maps.transform, block.rows, block.cols)
    at = np.divmod(cells.cell, cols)
    hectares = cells.share * _product(along_rows, along_cols, *at)
    _add(counts.pairs, side**2, zones, cells.border * side**2 + _pairs(codes[0][at], codes[-1][at], side), hectares)
    for sums, layer in zip(counts.between, codes[1:-1], strict=True):
        _add(sums, side, zones, cells.border * side + layer[at], hectares)
    height = max(1, _PIXELS // cols)
    for top in range(0, rows, height):
        strip = slice(top, min(top + height, rows))
        runs = Runs.of(cells, strip, along_rows, along_cols)
        if runs.zone.size:
            _count_strip(counts, codes[:, strip], runs, zones, side)


def _count_strip(counts: Counts, codes: np.ndarray, runs: Runs, zones: np.ndarray, side: int) -> None:
    """Count the runs of a strip."""
    first, last = codes[0], codes[-1]
    moved = first != last
    # Few pixels change; of the others it is enough how many have each class.
    at = np.flatnonzero(moved)
    found, zone, hectares = runs.pixels(at, first.shape[1])
    pairs = _pairs(first.ravel()[at], last.ravel()[at], side)
    _add(counts.pairs, side**2, zones, zone * side**2 + pairs[found], hectares)
    stays = ~words_of(moved, runs.bits)
    stayed = ((k, words & stays) for k, words in class_words(first, side, runs.bits))
    _add(counts.pairs, side**2, zones, *_by_class(runs, stayed, side**2, side + 1))
    for sums, layer in zip(counts.between, codes[1:-1], strict=True):
        _add(sums, side, zones, *_by_class(runs, class_words(layer, side, runs.bits), side, 1))


def _by_class(
    runs: Runs, classes: Iterable[tuple[int, np.ndarray]], kinds: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Key and hectares of each class in each run; class k is the kind `k * step` of so many kinds."""
    found = {k: runs.hectares(words) for k, words in classes}
    keys = [runs.zone * kinds + k * step for k in found]
    return np.concatenate([np.zeros(0, np.int64), *keys]), np.concatenate([np.zeros(0), *found.values()])


def _pairs(before: np.ndarray, after: np.ndarray, side: int) -> np.ndarray:
    return before.astype(np.int64) * side + after


def _product(along_rows: np.ndarray, along_cols: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Hectares of some pixels."""
    return np.einsum("nk,kn->n", along_rows[row], along_cols[:, col])


def _add(sums: Sums, kinds: int, zones: np.ndarray, key: np.ndarray, hectares: np.ndarray) -> None:
    """Add hectares by `number * kinds + kind` `[n]`, each of the zone with that number."""
    size = zones.size * kinds
    if size <= _TABLE:
        table = np.bincount(key, hectares, size)
        there = np.flatnonzero(table)
        found = table[there]
    else:
        there, place = np.unique(key, return_inverse=True)
        found = np.bincount(place, hectares)
    number, kind = np.divmod(there, kinds)
    sums.add(zones[number] * kinds + kind, found)
