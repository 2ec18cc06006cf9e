"""Counting the pixels of one place by zone: hectares of each class, and from class to class."""

from __future__ import annotations

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

_EDGE = 0.005
"""Degrees between points of an edge, before it is moved to a map's coordinates."""
_PIXELS = 1 << 17
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
    pairs = codes[0].astype(np.uint8 if side**2 <= 256 else np.uint16)
    pairs *= pairs.dtype.type(side)
    pairs += codes[-1]
    layers = [(counts.pairs, pairs, side**2)]
    layers += [(sums, layer, side) for sums, layer in zip(counts.between, codes[1:-1], strict=True)]
    at = np.divmod(cells.cell, cols)
    hectares = cells.share * _product(along_rows, along_cols, *at)
    for sums, layer, kinds in layers:
        _add(sums, kinds, zones, cells.border * kinds + layer[at], hectares)
    # Runs that begin before another one has ended: of zones that overlap.
    over = cells.start < np.append(0, np.maximum.accumulate(cells.stop))[:-1]
    height = max(1, _PIXELS // cols)
    for top in range(0, rows, height):
        bottom = min(top + height, rows)
        first, last = np.searchsorted(cells.start, (top * cols, bottom * cols))
        alone, others = (first + np.flatnonzero(one) for one in (~over[first:last], over[first:last]))
        if alone.size:
            here, local = np.unique(cells.run[alone], return_inverse=True)
            ends = np.stack([cells.start[alone], cells.stop[alone]], axis=1).ravel()
            lengths = np.diff(ends, prepend=top * cols, append=bottom * cols)
            # Gaps between runs are counted as one zone more, which is left out.
            numbers = np.full(lengths.size, here.size)
            numbers[1::2] = local
            hectares = (along_rows[top:bottom] @ along_cols).ravel()
            for sums, layer, kinds in layers:
                key = np.repeat(numbers * kinds, lengths)
                key += layer[top:bottom].ravel()
                _add(sums, kinds, zones[here], key, hectares)
        lengths = cells.stop[others] - cells.start[others]
        for some in np.split(others, np.flatnonzero(np.diff(np.cumsum(lengths) // _PIXELS)) + 1):
            lengths = cells.stop[some] - cells.start[some]
            skipped = np.cumsum(lengths) - lengths
            at = np.divmod(np.repeat(cells.start[some] - skipped, lengths) + np.arange(lengths.sum()), cols)
            hectares = _product(along_rows, along_cols, *at)
            for sums, layer, kinds in layers if some.size else ():
                _add(sums, kinds, zones, np.repeat(cells.run[some] * kinds, lengths) + layer[at], hectares)


def _product(along_rows: np.ndarray, along_cols: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Hectares of some pixels."""
    return np.einsum("nk,kn->n", along_rows[row], along_cols[:, col])


def _add(sums: Sums, kinds: int, zones: np.ndarray, key: np.ndarray, hectares: np.ndarray) -> None:
    """Add pixels by `number * kinds + kind` `[n]`, each of the zone with that number; greater numbers are left out."""
    size = zones.size * kinds
    if size <= _TABLE:
        table = np.bincount(key, hectares, size)[:size]
        there = np.flatnonzero(table)
        found = table[there]
    else:
        there, place = np.unique(key, return_inverse=True)
        found = np.bincount(place, hectares)[there < size]
        there = there[there < size]
    number, kind = np.divmod(there, kinds)
    sums.add(zones[number] * kinds + kind, found)
