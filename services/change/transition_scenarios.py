"""Scenario ranges of change from a published error matrix: of transitions, and of all that is added up from them.

A class's area and its net change need the matrix alone (`services.change.scenarios`). A transition also needs to know
whether the errors of the two years are the same: errors that repeat cancel, errors that do not look like change. No
matrix of one year tells that, so the range holds all correlations from 0 to 1. With correlation c, of what did not
change the share c is mapped alike in both years, and the rest as if each year erred anew; what did change is mapped
independently. As for areas, the matrix is read both ways, `p(reference | map)` and inverted `p(map | reference)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from services.change.scenarios import CORRELATIONS, drawn_readings, readings
from services.change.source_accuracy import SourceAccuracy

DRAWS = 100
"""Of the matrix, for each correlation: each takes a least-squares problem of K x K unknowns."""
_SUM = 100.0


class TransitionScenarios:
    """True transition matrices that are possible by a published error matrix.

    Args:
        hectares: mapped transitions, `[K, K]` in the classes of the matrix.
        accuracy: of both maps, with a matrix.
        correlations: of the errors of the two years.
    """

    def __init__(
        self, hectares: np.ndarray, accuracy: SourceAccuracy, correlations: Sequence[float] = CORRELATIONS
    ) -> None:
        by_row, by_column = readings(accuracy)
        self._best, self._drawn = [], []
        for c in correlations:
            self._best += [_by_row(hectares, by_row, by_row, c), _by_column(hectares, by_column, by_column, c)]
            rows, columns = drawn_readings(accuracy, c)
            draws = range(DRAWS)
            self._drawn.append(np.stack([_by_row(hectares, rows[0][d], rows[1][d], c) for d in draws]))
            self._drawn.append(np.stack([_by_column(hectares, columns[0][d], columns[1][d], c) for d in draws]))

    def area(self, cells: np.ndarray) -> tuple[float, float]:
        """Lowest and highest area of the cells `[K, K]`, hectares; cells may be weights, as -1 for a loss."""
        return self._limits(
            [(one * cells).sum(axis=(-2, -1)) for one in self._drawn], [(one * cells).sum() for one in self._best]
        )

    def share(self, cells: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
        """The same of the area of some cells over that of others, both `[K, K]`; NaN where these may have no area."""
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = [(one * cells).sum(axis=(-2, -1)) / (one * whole).sum(axis=(-2, -1)) for one in self._drawn]
            best = [(one * cells).sum() / (one * whole).sum() for one in self._best]
        low, high = self._limits(drawn, best)
        return (low, high) if np.isfinite(low) and np.isfinite(high) else (np.nan, np.nan)

    @staticmethod
    def _limits(drawn: Sequence[np.ndarray], best: Sequence[float]) -> tuple[float, float]:
        """From the lowest to the highest of all readings: 2.5th to 97.5th percentile of each, and the readings."""
        low, high = np.percentile(np.stack(drawn), [2.5, 97.5], axis=1)
        return float(min(low.min(), *best)), float(max(high.max(), *best))


def _by_row(hectares: np.ndarray, first: np.ndarray, second: np.ndarray, c: float) -> np.ndarray:
    """True transitions `[K, K]` by `p(reference | map)` of each year, `[K, K]`."""
    stayed = np.diag(hectares)
    changed = hectares - np.diag(stayed)
    apart = first.T @ changed @ second + (1 - c) * (first.T @ np.diag(stayed) @ second)
    return apart + c * np.diag(stayed @ first)


def _by_column(hectares: np.ndarray, first: np.ndarray, second: np.ndarray, c: float) -> np.ndarray:
    """The same by `p(map | reference)`: transitions of at least 0 that would be mapped most nearly as they were."""
    k, total = len(hectares), hectares.sum()
    if total == 0:
        return np.zeros_like(hectares)
    # From a true pair of classes to a mapped one.
    mapped_as = np.einsum("ki,lj->klij", first, second)
    for one in range(k):
        mapped_as[one, one] = (1 - c) * mapped_as[one, one] + c * np.diag(first[one])
    system = np.vstack([mapped_as.reshape(k * k, k * k).T, np.full(k * k, _SUM)])
    found, _ = nnls(system, np.append(hectares.ravel() / total, _SUM))
    return (found / found.sum() * total).reshape(k, k)
