"""What is known of change between two years: from a reference sample, from a published error matrix, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.change.domains import DomainSample
from services.change.estimation import Estimate
from services.change.interval_columns import Interval, from_sample
from services.change.reference import Reference
from services.change.scenarios import change_ranges
from services.change.source_accuracy import SourceAccuracy
from services.change.transition_scenarios import TransitionScenarios
from services.change.transitions import TransitionMatrix


class Pair(Protocol):
    """What is known of change between two years. Cells are bool `[K, K]`, first year by second."""

    def seen(self) -> set[tuple[int, int]]:
        """Changes that were found on the ground, as numbers of two classes: maps may lack them."""

    def area(self, cells: np.ndarray) -> Interval:
        """Of their area, hectares."""

    def percent(self, cells: np.ndarray, whole: np.ndarray) -> Interval:
        """Of their area in per cent of that of other cells, of which they are a part."""

    def net(self, number: int) -> Interval:
        """Of the net change of a class, hectares."""

    def relative(self, number: int) -> Interval:
        """Of its net change in per cent of its area in the first year."""


@dataclass(frozen=True)
class UnknownPair:
    """Nothing is known."""

    reason: str

    def seen(self) -> set[tuple[int, int]]:
        """None."""
        return set()

    def area(self, cells: np.ndarray) -> Interval:
        """None."""
        return Interval(reason=self.reason)

    def percent(self, cells: np.ndarray, whole: np.ndarray) -> Interval:
        """None."""
        return Interval(reason=self.reason)

    def net(self, number: int) -> Interval:
        """None."""
        return Interval(reason=self.reason)

    def relative(self, number: int) -> Interval:
        """None."""
        return Interval(reason=self.reason)


class MatrixPair:
    """A published error matrix is known, the same of both years."""

    def __init__(self, matrix: TransitionMatrix, accuracy: SourceAccuracy, reason: str) -> None:
        self._matrix, self._accuracy, self._reason = matrix, accuracy, reason
        self._at = [matrix.names.index(name) for name in accuracy.classes]
        self._scenarios = TransitionScenarios(matrix.hectares[np.ix_(self._at, self._at)], accuracy)
        areas = [dict(zip(matrix.names, matrix.hectares.sum(axis=axis).tolist(), strict=True)) for axis in (1, 0)]
        self._net = change_ranges(areas[0], areas[1], accuracy)

    def seen(self) -> set[tuple[int, int]]:
        """None."""
        return set()

    def area(self, cells: np.ndarray) -> Interval:
        """Scenario range."""
        return self._outside(cells) or self._range(*self._scenarios.area(self._inner(cells)))

    def percent(self, cells: np.ndarray, whole: np.ndarray) -> Interval:
        """Scenario range."""
        if found := self._outside(whole):
            return found
        low, high = self._scenarios.share(self._inner(cells), self._inner(whole))
        return self._nothing_to_divide_by() if np.isnan(low) else self._range(100 * low, 100 * high)

    def net(self, number: int) -> Interval:
        """Scenario range over all correlations of the errors of the years, 0 to 1."""
        found = [one for one in self._net if one.name == self._matrix.names[number]]
        if found[0].low is None:
            return Interval(reason=found[0].reason)
        return self._range(min(one.low or 0.0 for one in found), max(one.high or 0.0 for one in found))

    def relative(self, number: int) -> Interval:
        """Scenario range."""
        before, after = np.zeros((2, *self._matrix.hectares.shape))
        before[number], after[:, number] = 1, 1
        if found := self._outside(before + after):
            return found
        low, high = self._scenarios.share(self._inner(after - before), self._inner(before))
        return self._nothing_to_divide_by() if np.isnan(low) else self._range(100 * low, 100 * high)

    def _inner(self, cells: np.ndarray) -> np.ndarray:
        return cells[np.ix_(self._at, self._at)]

    def _outside(self, cells: np.ndarray) -> Interval | None:
        """Where a class that is mapped there is not in the error matrix."""
        there = (self._matrix.hectares > 0) & (cells != 0)
        there[np.ix_(self._at, self._at)] = False
        strange = sorted(
            {self._matrix.names[k] for pair in np.argwhere(there) for k in pair} - set(self._accuracy.classes)
        )
        asked = np.any(cells[np.ix_(self._at, self._at)])
        if strange or not asked:
            return Interval(reason=f"{', '.join(strange) or 'the class'} is not in the error matrix")
        return None

    def _range(self, low: float, high: float) -> Interval:
        return Interval("scenario range", low=low, high=high, source=self._accuracy.figure, reason=self._reason)

    def _nothing_to_divide_by(self) -> Interval:
        return Interval(reason="the class, or land, may have no area at all by the error matrix")


@dataclass(frozen=True)
class SamplePair:
    """A reference sample was interpreted in both years."""

    reference: Reference
    domain: DomainSample
    hectares: float
    """Observed in both years."""

    def seen(self) -> set[tuple[int, int]]:
        """By interpreters, in the domain."""
        first, second = self.reference.label[:, self.domain.inside]
        return {(int(i), int(j)) for i, j in zip(first, second, strict=True) if i != j}

    def area(self, cells: np.ndarray) -> Interval:
        """Estimated."""
        return self._told(self.domain.area(cells[self._at]), self.hectares / self.domain.hectares.sum())

    def percent(self, cells: np.ndarray, whole: np.ndarray) -> Interval:
        """Estimated."""
        return self._told(self.domain.ratio(cells[self._at], whole[self._at]), 100)

    def net(self, number: int) -> Interval:
        """Estimated."""
        was, becomes = self.reference.label == number
        return self._told(self.domain.net(was, becomes), 1)

    def relative(self, number: int) -> Interval:
        """Estimated."""
        was, becomes = self.reference.label == number
        return self._told(self.domain.relative(was, becomes), 100)

    @property
    def _at(self) -> tuple[np.ndarray, np.ndarray]:
        return self.reference.label[0], self.reference.label[1]

    def _told(self, estimate: Estimate | None, factor: float) -> Interval:
        return from_sample(estimate, self.reference, self.domain).scaled(factor)


def no_change(first: SourceAccuracy, second: SourceAccuracy) -> str:
    """Why published accuracies tell nothing of change."""
    if first.matrix is not None or second.matrix is not None:
        return "one error matrix of both years is needed, and there are two or there is one of one year alone"
    if first.overall is not None or second.overall is not None:
        return "overall accuracy says nothing of change"
    return "no accuracy of the source maps is known: draw a reference sample, or give an error matrix"
