"""Counting a series in one pass: pixels and hectares of every transition, of every kind of persistence.

All tables are made from what is counted here, and what is counted of several places is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from services.change.blocks import Block, OpenPlace
from services.change.ground_area import alike
from services.change.map_legend import MapLegend
from services.change.persistence import KINDS, STABLE, UNDETERMINED, Persistence, Varied, near_edge, persistence

TRANSITIONS = ["from_year", "to_year", "from_class", "to_class", "persistence", "near_edge"]
PERSISTENCE = ["persistence", "near_edge", "last_class_since", "changes"]
UNOBSERVED = "unobserved"
_NUMBERS = ["pixels", "mapped_hectares"]
Sink = Callable[[Block, Persistence], None]


@dataclass(frozen=True)
class Tally:
    """What was counted."""

    transitions: pd.DataFrame
    """Columns `TRANSITIONS`, `pixels` and `mapped_hectares`: of each year to the next and of the first to the last.
    Persistence and nearness to an edge are told of change alone."""
    persistence: pd.DataFrame
    """Columns `PERSISTENCE`, `pixels` and `mapped_hectares`: of the whole series; near an edge in any of its maps."""

    @classmethod
    def together(cls, tallies: list[Tally]) -> Tally:
        """Of several places as one."""
        return cls(
            _added(pd.concat([one.transitions for one in tallies]), TRANSITIONS),
            _added(pd.concat([one.persistence for one in tallies]), PERSISTENCE),
        )


def year_pairs(years: tuple[int, ...]) -> list[tuple[int, int]]:
    """Positions of the years of each transition: every year to the next, and the first to the last."""
    steps = list(pairwise(range(len(years))))
    return steps if len(steps) == 1 else [*steps, (0, len(years) - 1)]


def tally_place(place: OpenPlace, sink: Sink | None = None) -> Tally:
    """Count one place.

    Args:
        place: opened.
        sink: is given every block with its pixels' persistence, to write them down.
    """
    years, legend = place.series.years, place.series.legend
    counted = _Counts(len(years), len(legend.classes), year_pairs(years))
    for block in place.blocks(margin=1):
        whole = Persistence(*np.zeros((3, *block.shape) if sink else (3, 0), np.uint8))
        # Part by part, so that what is made on the way stays in the processor's cache.
        for rows, cols, hectares in alike(place.crs, place.transform, block.rows, block.cols):
            around = block.codes[:, rows.start : rows.stop + 2, cols.start : cols.stop + 2]
            # A copy, so that it is read along rows by all that follows.
            codes = around[:, 1:-1, 1:-1].copy()
            varied, edges = Varied.of(codes), [near_edge(one) for one in around]
            inside = None if block.inside is None else block.inside[rows, cols]
            counted.add(codes[0], edges, varied, inside, hectares)
            if sink:
                found = persistence(codes, varied)
                for one, part in ((whole.kind, found.kind), (whole.since, found.since), (whole.flips, found.flips)):
                    one[rows, cols] = part
        if sink:
            sink(block, whole)
    return counted.tables(years, legend)


class _Counts:
    """Pixels and hectares, each `[2, …]`, by what is told apart."""

    def __init__(self, years: int, classes: int, pairs: list[tuple[int, int]]):
        self.pairs = pairs
        self._of_pair = classes + 1, classes + 1, len(KINDS), 2
        self._of_pixel = len(KINDS), 2, years, years
        self.transitions = [np.zeros((2, *self._of_pair)) for _ in pairs]
        self.persistence = np.zeros((2, *self._of_pixel))
        self._frequent = np.arange(classes + 1)
        """The most frequent class of the part before first."""

    def add(
        self, start: np.ndarray, edges: list[np.ndarray], varied: Varied, inside: np.ndarray | None, hectares: float
    ) -> None:
        """Count a part whose pixels are alike in area.

        Args:
            start: class numbers of the first year, uint8 `[h, w]`.
            edges: which pixels are near one, a year's bool `[h, w]` each.
            varied: of all years.
            inside: pixels that count, bool `[h, w]`; None: all.
            hectares: of a pixel.
        """
        any_edge = np.logical_or.reduce(edges)
        if inside is not None:
            varied, start, any_edge = varied.within(inside), np.where(inside, start, 255), any_edge & inside
        at, years, told = varied.at, varied.codes, varied.told
        near_of = [one.reshape(-1)[at] for one in edges]
        # Few pixels change: of the others it is enough how many have each class.
        of_start = self._pixels_of(start, start.size if inside is None else int(np.count_nonzero(inside)))
        unchanged = of_start - np.bincount(years[0], minlength=self._of_pair[0])
        for number, (first, second) in enumerate(self.pairs):
            before, after = years[first], years[second]
            seen = (before > 0) & (after > 0)
            changed = seen & (before != after)
            near = (near_of[first] | near_of[second]) & changed
            index = np.ravel_multi_index((before, after, told.kind * changed, near), self._of_pair)
            pixels = np.bincount(index, minlength=self.transitions[number][0].size).reshape(self._of_pair)
            pixels[..., 0, 0] += np.diag(unchanged)
            self.transitions[number] += np.stack([pixels, pixels * hectares])
        near = any_edge.reshape(-1)[at]
        index = np.ravel_multi_index((told.kind, near, told.since, told.flips), self._of_pixel)
        kinds = np.bincount(index, minlength=self.persistence[0].size).reshape(self._of_pixel)
        at_edge = np.count_nonzero(any_edge) - np.count_nonzero(near)
        never = 0
        if unchanged[0]:
            never = int(np.count_nonzero(any_edge & (start == 0)) - np.count_nonzero(near & (years[0] == 0)))
        for kind, count, count_near in (
            (UNDETERMINED, unchanged[0], never),
            (STABLE, unchanged[1:].sum(), at_edge - never),
        ):
            kinds[kind, :, 0, 0] += [count - count_near, count_near]
        self.persistence += np.stack([kinds, kinds * hectares])

    def _pixels_of(self, codes: np.ndarray, left: int) -> np.ndarray:
        """Pixels of each class number, `[classes + 1]`; few classes occur in a part, and those are looked for first."""
        counts = np.zeros(self._of_pair[0], np.int64)
        for k in self._frequent:
            if left == 0:
                break
            counts[k] = np.count_nonzero(codes == np.uint8(k))
            left -= counts[k]
        self._frequent = np.argsort(-counts, kind="stable")
        return counts

    def tables(self, years: tuple[int, ...], legend: MapLegend) -> Tally:
        names, kinds = [UNOBSERVED, *legend.names], [name for name, _, _ in KINDS.values()]
        tables = []
        for (first, second), counts in zip(self.pairs, self.transitions, strict=True):
            before, after, kind, near = np.nonzero(counts[0])
            changed = (before != after) & (before > 0) & (after > 0)
            table = {
                "from_year": years[first],
                "to_year": years[second],
                "from_class": np.take(names, before),
                "to_class": np.take(names, after),
                "persistence": np.where(changed, np.take(kinds, kind), ""),
                "near_edge": near.astype(bool),
            }
            tables.append(pd.DataFrame({**table, **_numbers(counts, (before, after, kind, near))}))
        kind, near, since, flips = np.nonzero(self.persistence[0])
        whole = {
            "persistence": np.take(kinds, kind),
            "near_edge": near.astype(bool),
            "last_class_since": np.where(since > 0, np.take(years, since), 0),
            "changes": flips,
        }
        numbers = _numbers(self.persistence, (kind, near, since, flips))
        return Tally(pd.concat(tables, ignore_index=True), pd.DataFrame({**whole, **numbers}))


def _numbers(counts: np.ndarray, at: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    return {"pixels": counts[0][at].astype(np.int64), "mapped_hectares": counts[1][at]}


def _added(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return table.groupby(by, as_index=False, sort=True)[_NUMBERS].sum()
