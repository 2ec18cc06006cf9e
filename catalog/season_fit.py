"""The curve of greenness through a year, fitted to the looks at each pixel.

y(t) = m + a1 cos wt + b1 sin wt + a2 cos 2wt + b2 sin 2wt with w = 2 pi / 365.25 and t the day of the year, as in Zhu
and Woodcock 2014 ("Continuous change detection and classification of land cover using all available Landsat data"),
by least squares with a ridge (Hoerl and Kennard 1970). The ridge is the ratio of the variance of looks (0.05 squared)
to what is expected of the terms (0.2 and 0.1 squared); the mean has none. So few or uneven looks draw the curve to a
level line where nothing was seen, and twelve even ones are hardly changed. Peak and amplitude are those of the curve
within 20 days of a look at the block.
"""

from __future__ import annotations

import numpy as np

_YEAR = 365.25
_RIDGE = (0.0, 0.0625, 0.0625, 0.25, 0.25)
_EVERY, _NEAR = 5, 20
"""Days between the points at which the fitted curve is looked at for its peak and amplitude, and from a look to these
at most: in months that nobody saw the curve may have a peak of its own."""


def harmonics(days: np.ndarray) -> np.ndarray:
    """The terms of the fit on some days of the year, float32 `[days, 5]`: 1, cos, sin, cos 2, sin 2."""
    angle = 2 * np.pi * np.asarray(days, float) / _YEAR
    columns = [np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    return np.stack(columns, axis=1).astype(np.float32)


def days_near(days: np.ndarray) -> np.ndarray:
    """Days of the year on which the fitted curve is looked at: those within `_NEAR` days of a look."""
    every = np.arange(1, 367, _EVERY)
    apart = np.abs(every[:, np.newaxis] - days)
    return every[np.minimum(apart, 365 - apart).min(axis=1) <= _NEAR]


def factors(weight: np.ndarray, terms: np.ndarray) -> list[list[np.ndarray]]:
    """Cholesky factors of the normal equations of each pixel, `[5][5]` arrays `[n]`, the lower half.

    Args:
        weight: float32 `[looks, n]`, 1 where a look counts.
        terms: `[looks, 5]`.
    """
    size = terms.shape[1]
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    products = np.stack([terms[:, i] * terms[:, j] for i, j in pairs], axis=1).T @ weight
    lower: list[list[np.ndarray]] = [[np.empty(0)] * size for _ in range(size)]
    for product, (i, j) in zip(products, pairs, strict=True):
        rest = product + np.float32(_RIDGE[i] if i == j else 0)
        for k in range(j):
            rest = rest - lower[i][k] * lower[j][k]
        # A pixel without any look has no mean to be divided by.
        lower[i][j] = np.sqrt(np.maximum(rest, np.float32(1e-6))) if i == j else rest / lower[j][j]
    return lower


def solve(lower: list[list[np.ndarray]], right: np.ndarray) -> np.ndarray:
    """The terms of each pixel's fit, float32 `[5, n]`, from its factors and `[5, n]` right-hand sides."""
    found = right.copy()
    size = len(found)
    for i in range(size):
        for k in range(i):
            found[i] -= lower[i][k] * found[k]
        found[i] /= lower[i][i]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            found[i] -= lower[k][i] * found[k]
        found[i] /= lower[i][i]
    return found
