"""Speckle: the grain of radar images, and a filter that takes it out in linear power.

The filter is Lee's, on SciPy's moving averages: libraries that carry one work pixel by pixel in Python (half a minute a
million pixels) or on files, and know neither missing pixels nor a number of looks that varies.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

WINDOW = 7
"""Pixels along the window's sides: 49 pixels of 4.4 looks are enough to tell texture from speckle."""
REACH = WINDOW // 2
"""Pixels round a pixel on which its filtered value depends."""


def lee_filter(power: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Lee's filter (Lee 1980, "Digital image enhancement and noise filtering by use of local statistics"), in the form
    of Lopes et al. 1990, "Adaptive speckle filters and scene heterogeneity".

    `mean + w (pixel - mean)` with `w = 1 - Cu² / Cy²`: the variation `Cy` of the window's pixels that is more than the
    speckle's own, `Cu² = 1 / looks`, is taken for the ground's. Where there is no more, the window's mean stands; a
    point or an edge stays as it is.

    Args:
        power: float32 `[H, W]`, linear power, 0 = no data: such pixels stay so and lend nothing to others.
        looks: float32 `[H, W]`, equivalent number of looks of each pixel, above 0 where there are data.

    Returns:
        float32 `[H, W]`.
    """
    known = power > 0
    share = np.maximum(_average(known.astype(np.float32)), np.float32(1e-6))
    mean = _average(power) / share
    square = _average(np.square(power)) / share
    # Relative to the mean, so that dark and bright ground are reckoned alike in single precision.
    variation = np.maximum(square - np.square(mean), 0) / np.maximum(np.square(mean), np.float32(1e-20))
    speckle = 1 / np.maximum(looks, np.float32(1e-6))
    weight = np.clip(1 - speckle / np.maximum(variation, np.float32(1e-12)), 0, 1)
    return np.where(known, mean + weight * (power - mean), 0).astype(np.float32)


def _average(values: np.ndarray) -> np.ndarray:
    return uniform_filter(values, WINDOW, mode="constant")


def looks_of(power: np.ndarray) -> float:
    """Equivalent number of looks of homogeneous ground: squared mean over variance (Oliver and Quegan 2004, section
    4.3); of linear power, pixels with data alone.
    """
    seen = power[power > 0].astype(np.float64)
    return float(seen.mean() ** 2 / seen.var())
