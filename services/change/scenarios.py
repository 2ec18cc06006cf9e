"""Ranges of areas where no reference sample of the place exists: scenarios, never 95 % intervals.

An error matrix that was published for other places, or for the globe, says how the map errs only if it errs here in
the same way. Two readings of "in the same way" are told together, since nothing says which is nearer the truth:

- `p(reference | map)`: what is mapped as a class is truly each other class in the same shares as there. The areas are
  the mapped ones times the matrix's row shares (the inverse estimator, Czaplewski and Catts 1992, Remote Sensing of
  Environment 39, 29-43).
- `p(map | reference)`: what is truly a class is mapped as each other class in the same shares as there. The areas are
  those that would be mapped as they were (the classical estimator), found by non-negative least squares.

The matrix itself is uncertain. Its sample size is the number of validation tiles, shared out as its pixels are:
pixels of one tile are alike. Its shares are drawn from Dirichlet distributions; for the change between two years the
draws of the two are correlated, by a Gaussian copula: 1 = errors repeat from year to year, 0 = each year errs anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import nnls
from scipy.special import gammaincinv, ndtr

from services.change.source_accuracy import SourceAccuracy
from services.change.told import figure_told

DRAWS = 500
CORRELATIONS = (0.0, 0.5, 1.0)
_SEED = 0
_SUM = 100.0
"""Weight of the areas' sum beside those of the classes in least squares."""
Kind = Literal["scenario range", "scaled by overall accuracy", "no interval"]


class Range(BaseModel):
    """A mapped area and what is known of the true one. Areas in the unit that was given, hectares as a rule."""

    model_config = ConfigDict(frozen=True)

    name: str
    mapped: float
    kind: Kind = Field(description="what the range is; it is never a 95 % interval")
    low: float | None = None
    high: float | None = None
    by_row: float | None = Field(default=None, description="area by p(reference | map)")
    by_column: float | None = Field(default=None, description="area by p(map | reference), inverted")
    correlation: float | None = Field(default=None, description="of the errors of two years, for a change")
    reason: str = Field(default="", description="why there is no range")

    def statement(self, total: float) -> str:
        """As a sentence's part, in per cent of a total: `11.2 % +- 1.68 % (scaled by overall accuracy)`."""
        share = 100 * self.mapped / total
        if self.low is None or self.high is None:
            return f"{figure_told(share)} % ({self.kind}: {self.reason})"
        low, high = 100 * self.low / total, 100 * self.high / total
        if self.kind == "scaled by overall accuracy":
            return f"{figure_told(share)} % +- {figure_told((high - low) / 2, 2)} % ({self.kind})"
        return f"{figure_told(share)} %, {figure_told(low)} to {figure_told(high)} % ({self.kind})"


def area_ranges(mapped: Mapping[str, float], accuracy: SourceAccuracy) -> list[Range]:
    """The range of each class's area, by the best that is known of the map's accuracy.

    Args:
        mapped: area by class; classes that do not occur are 0.
        accuracy: of the map.
    """
    if accuracy.matrix is not None:
        return _of_matrix(mapped, accuracy)
    if accuracy.overall is not None:
        kind: Kind = "scaled by overall accuracy"
        off = 1 - accuracy.overall
        return [
            Range(name=name, mapped=area, kind=kind, low=area * (1 - off), high=area * (1 + off))
            for name, area in mapped.items()
        ]
    return [_nothing(name, area) for name, area in mapped.items()]


def change_ranges(
    before: Mapping[str, float],
    after: Mapping[str, float],
    accuracy: SourceAccuracy,
    correlations: Sequence[float] = CORRELATIONS,
) -> list[Range]:
    """The range of each class's net change between two years, for each correlation of the years' errors.

    Args:
        before: mapped area by class in the first year, of the ground that is observed in both.
        after: the same in the second.
        accuracy: of both maps.
        correlations: 0 (each year errs anew) to 1 (errors repeat).
    """
    if accuracy.matrix is None:
        reason = "overall accuracy says nothing of change" if accuracy.overall is not None else ""
        return [_nothing(name, after[name] - before[name], reason) for name in before]
    found, matrix = [], np.array(accuracy.matrix)
    first, second = (np.array([areas[name] for name in accuracy.classes]) for areas in (before, after))
    known = dict(zip(accuracy.classes, range(len(accuracy.classes)), strict=True))
    best = [one - other for one, other in zip(_adjusted(second, matrix), _adjusted(first, matrix), strict=True)]
    for correlation in correlations:
        drawn_first, drawn_second = _drawn(first, second, accuracy, correlation)
        low, high = _limits(drawn_second - drawn_first, best)
        for name in before:
            area = after[name] - before[name]
            if name not in known:
                found.append(_nothing(name, area, f"{name} is not in the error matrix"))
                continue
            k = known[name]
            found.append(
                Range(
                    name=name,
                    mapped=area,
                    kind="scenario range",
                    low=low[k],
                    high=high[k],
                    by_row=best[0][k],
                    by_column=best[1][k],
                    correlation=correlation,
                )
            )
    return found


def _of_matrix(mapped: Mapping[str, float], accuracy: SourceAccuracy) -> list[Range]:
    matrix = np.array(accuracy.matrix)
    areas = np.array([mapped.get(name, 0.0) for name in accuracy.classes])
    best = _adjusted(areas, matrix)
    drawn, _ = _drawn(areas, areas, accuracy, 0.0)
    low, high = _limits(drawn, best)
    number = {name: k for k, name in enumerate(accuracy.classes)}
    return [
        Range(
            name=name,
            mapped=area,
            kind="scenario range",
            low=low[number[name]],
            high=high[number[name]],
            by_row=best[0][number[name]],
            by_column=best[1][number[name]],
        )
        if name in number
        else _nothing(name, area, f"{name} is not in the error matrix")
        for name, area in mapped.items()
    ]


def readings(accuracy: SourceAccuracy) -> tuple[np.ndarray, np.ndarray]:
    """`p(reference | map)`, rows the map's classes, and `p(map | reference)`, rows the reference's; each `[K, K]`."""
    matrix = np.array(accuracy.matrix)
    return _shares(matrix), _shares(matrix.T)


@lru_cache(maxsize=16)
def drawn_readings(
    accuracy: SourceAccuracy, correlation: float
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Both readings of drawn matrices, each of two years, `[DRAWS, K, K]`."""
    assert accuracy.matrix is not None and accuracy.tiles is not None
    matrix, random = np.array(accuracy.matrix), np.random.default_rng(_SEED)
    k = len(matrix)
    # One imaginary unit a row, spread evenly (Perks' prior).
    shape = matrix / matrix.sum() * accuracy.tiles + 1 / k
    normal = random.standard_normal((2, DRAWS, k, k))
    normal[1] = correlation * normal[0] + np.sqrt(1 - correlation**2) * normal[1]
    first, second = (gammaincinv(shape, np.clip(ndtr(own), 1e-12, 1 - 1e-12)) for own in normal)
    rows, columns = (
        tuple(one / one.sum(axis=2, keepdims=True) for one in both)
        for both in ((first, second), (np.swapaxes(first, 1, 2), np.swapaxes(second, 1, 2)))
    )
    return (rows[0], rows[1]), (columns[0], columns[1])


def _adjusted(areas: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas by both readings of the matrix, each `[K]`."""
    return areas @ _shares(matrix), _inverted(areas, _shares(matrix.T)[None])[0]


def _inverted(areas: np.ndarray, mapped_as: np.ndarray) -> np.ndarray:
    """True areas t >= 0 with `t @ mapped_as` nearest to the mapped ones, and of the same sum.

    Args:
        areas: mapped, `[K]`.
        mapped_as: `[draws, K, K]`.

    Returns:
        `[draws, K]`.
    """
    total = areas.sum()
    if total == 0:
        return np.zeros(mapped_as.shape[:2])
    found = np.empty(mapped_as.shape[:2])
    for one, shares in zip(found, mapped_as, strict=True):
        one[:], _ = nnls(np.vstack([shares.T, np.full(len(areas), _SUM)]), np.append(areas / total, _SUM))
    return found / found.sum(axis=1, keepdims=True) * total


def _drawn(
    first: np.ndarray, second: np.ndarray, accuracy: SourceAccuracy, correlation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Areas of two years under drawn matrices, by both readings: each `[2, DRAWS, K]`."""
    by_row, by_column = drawn_readings(accuracy, correlation)
    years = [
        np.stack([areas @ rows, _inverted(areas, columns)])
        for areas, rows, columns in zip((first, second), by_row, by_column, strict=True)
    ]
    return years[0], years[1]


def _limits(drawn: np.ndarray, best: Sequence[np.ndarray]) -> tuple[list[float], list[float]]:
    """From the lowest to the highest of both readings: 2.5th to 97.5th percentile of each, and the readings."""
    low, high = np.percentile(drawn, [2.5, 97.5], axis=1)
    whole = np.stack(list(best))
    return np.minimum(low, whole).min(axis=0).tolist(), np.maximum(high, whole).max(axis=0).tolist()


def _shares(matrix: np.ndarray) -> np.ndarray:
    """Rows divided by their sums; a row without counts says that nothing is confused."""
    sums = matrix.sum(axis=1, keepdims=True)
    return np.where(sums > 0, matrix / np.where(sums > 0, sums, 1), np.eye(len(matrix)))


def _nothing(name: str, area: float, reason: str = "") -> Range:
    reason = reason or "no accuracy of the source map is known: draw a reference sample, or give an error matrix"
    return Range(name=name, mapped=area, kind="no interval", reason=reason)
