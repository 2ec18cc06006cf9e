"""The season of each pixel: how green it is through the year, told from the looks that a vote counts.

Two indices of each clear look, from reflectance (0 to 1) of blue, red and near infrared:

- NDVI = (n - r) / (n + r) (Tucker 1979, "Red and photographic infrared linear combinations for monitoring vegetation").
  A sum below 0.02 counts as 0.02: over dark water the quotient of two small numbers would be noise.
- EVI = 2.5 (n - r) / (n + 6 r - 7.5 b + 1) (Huete et al. 2002, "Overview of the radiometric and biophysical performance
  of the MODIS vegetation indices"). Where its denominator is below 0.5 (blue far above red: snow, glint, missed cloud)
  it would run away; there it is the index of two bands, 2.5 (n - r) / (n + 2.4 r + 1) (Jiang et al. 2008).

Reflectance above 1, which L2A has over snow and cloud, counts as 1; both indices are clipped to -1 to 1.

The curve through a year is fitted as `catalog.season_fit` says. A pixel with fewer than three looks has none, and one
with fewer than `FEW_LOOKS` is to be used with care: `looks` tells.
"""

from __future__ import annotations

import functools
import os
from datetime import datetime
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from catalog.errors import BadInput, StoreError
from catalog.season_fit import days_near, factors, harmonics, solve

INDICES = ("ndvi", "evi")
STATISTICS = ("p10", "p50", "p90", "amplitude", "peak_day", "mean", "cos1", "sin1", "cos2", "sin2", "residual")
SEASON_BANDS = (*(f"{index}_{statistic}" for index in INDICES for statistic in STATISTICS), "looks")
"""Of the asset `seasons`, in order."""
SEASON_TITLES = {
    "p10": "10th percentile of the looks",
    "p50": "Median of the looks",
    "p90": "90th percentile of the looks",
    "amplitude": "Highest less lowest point of the fitted curve",
    "peak_day": "Day on which the fitted curve is highest, to 5 days",
    "mean": "Fit: mean of the year",
    "cos1": "Fit: cosine of one wave a year",
    "sin1": "Fit: sine of one wave a year",
    "cos2": "Fit: cosine of two waves a year",
    "sin2": "Fit: sine of two waves a year",
    "residual": "Root mean square of what the fit leaves of the looks",
    "looks": "Number of clear looks",
}
SEASON_SCALE = 1e-4
"""What 1 stands for in the bands; in those of days and of looks it is 1."""
SEASON_NODATA = -32768
SEEN_BANDS = ("B02", "B04", "B08")
"""Blue, red, near infrared: what the indices are made of."""
FEW_LOOKS = 6
"""Below it a season is flagged: five numbers are fitted."""
FEWEST_LOOKS = 3
"""Below it a pixel has no fit, and a tile-year no season."""
_ROWS, _PIXELS = 32, 8192
"""Rows and pixels worked on at a time, so that temporaries stay in the processor's cache."""


def band_scales() -> tuple[float, ...]:
    """What a band's numbers are to be multiplied with, band by band."""
    return tuple(1.0 if name == "looks" or name.endswith("_day") else SEASON_SCALE for name in SEASON_BANDS)


class Season:
    """Looks at one block, kept on local disk until all are there: memory does not grow with their number."""

    def __init__(self, bands: tuple[str, ...], shape: tuple[int, int], folder: Path):
        """Start without any look.

        Args:
            bands: of the looks, in order; `SEEN_BANDS` among them.
            shape: `(H, W)` of the block.
            folder: on local disk, for four bytes a pixel and look; the caller removes it.

        Raises:
            BadInput: a band is missing.
        """
        check_bands(bands)
        self._blue, self._red, self._infrared = (bands.index(name) for name in SEEN_BANDS)
        self.shape = shape
        self._days: list[int] = []
        self._file = (folder / "looks").open("w+b", buffering=0)

    def add(self, when: datetime, bands: np.ndarray, clear: np.ndarray) -> None:
        """Keep one look.

        Args:
            when: it was taken.
            bands: uint16 `[bands, H, W]`, reflectance x 10,000, 0 = no data.
            clear: bool `[H, W]`, whether the look counts at a pixel.

        Raises:
            StoreError: there is no room on the disk.
        """
        number = len(self._days)
        for row in range(0, self.shape[0], _ROWS):
            rows = slice(row, min(row + _ROWS, self.shape[0]))
            if not clear[rows].any():
                continue  # What is not written reads as 0, which stands for no look.
            blue, red, infrared = (
                np.minimum(bands[k, rows] * np.float32(1e-4), np.float32(1))
                for k in (self._blue, self._red, self._infrared)
            )
            for index, values in enumerate(indices(blue, red, infrared)):
                scaled = np.rint(values * np.float32(1 / SEASON_SCALE)).astype(np.int16)
                scaled[scaled == 0] = 1
                scaled[~clear[rows]] = 0
                self._write(np.ascontiguousarray(scaled), self._offset(number, index, row))
        self._days.append(when.timetuple().tm_yday)

    def features(self, rows: slice) -> np.ndarray:
        """What the looks tell of some rows.

        Returns:
            int16 `[SEASON_BANDS, h, W]`. Percentiles, `amplitude` (highest less lowest point of the fitted curve),
            the terms of the fit and its `residual` (root mean square over the looks) are x 10,000; `peak_day` is the
            day of the year, 1 to 366, of the curve's highest point, to 5 days; `looks` counts. `SEASON_NODATA` where
            there is no look, of the fit where there are fewer than three.
        """
        height, width = rows.stop - rows.start, self.shape[1]
        values = np.zeros((len(INDICES), len(self._days), height * width), np.int16)
        for number in range(len(self._days)):
            for index in range(len(INDICES)):
                # Of the whole strip at once: small reads would cost more than the sums.
                os.preadv(self._file.fileno(), [values[index, number]], self._offset(number, index, rows.start))
        out = np.full((len(SEASON_BANDS), height * width), SEASON_NODATA, np.int16)
        if not self._days:
            out[-1] = 0
            return out.reshape(len(SEASON_BANDS), height, width)
        days = np.array(self._days)
        terms, seen_days = harmonics(days), days_near(days)
        # Products this small are slower on several threads, and workers are the parallelism.
        with _libraries().limit(limits=1, user_api="blas"):
            for start in range(0, height * width, _PIXELS):
                part = slice(start, start + _PIXELS)
                if not values[:, :, part].any():  # Beyond the scenes, or never clear.
                    out[-1, part] = 0
                    continue
                _describe(values[:, :, part], terms, seen_days, out[:, part])
        return out.reshape(len(SEASON_BANDS), height, width)

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)

    def _write(self, numbers: np.ndarray, offset: int) -> None:
        try:
            os.pwrite(self._file.fileno(), numbers.data, offset)
        except OSError as error:
            raise StoreError(
                f"Cannot keep the looks of a season in {self._file.name}: {error}. They take four bytes a pixel and "
                "look: set TMPDIR to a folder on a disk with room."
            ) from error

    def _offset(self, number: int, index: int, row: int) -> int:
        height, width = self.shape
        return 2 * ((number * len(INDICES) + index) * height + row) * width


def check_bands(bands: tuple[str, ...]) -> None:
    """Make sure that a season can be told from some bands.

    Raises:
        BadInput: one that it needs is missing.
    """
    if missing := [band for band in SEEN_BANDS if band not in bands]:
        raise BadInput(
            f"A season needs blue, red and near infrared ({', '.join(SEEN_BANDS)}); {', '.join(missing)} is not among "
            f"the bands that the network reads ({', '.join(bands)}). Map without seasons, or with another network."
        )


def indices(blue: np.ndarray, red: np.ndarray, infrared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NDVI and EVI, -1 to 1, of reflectance from 0 to 1 (float32, any shape); see the module."""
    difference = infrared - red
    ndvi = difference / np.maximum(infrared + red, np.float32(0.02))
    below = infrared + np.float32(6) * red - np.float32(7.5) * blue + np.float32(1)
    unsafe = below < np.float32(0.5)
    if unsafe.any():
        np.copyto(below, infrared + np.float32(2.4) * red + np.float32(1), where=unsafe)
    evi = np.float32(2.5) * difference / below
    return ndvi, np.clip(evi, -1, 1, out=evi)


@functools.lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """Looked for once: it walks through all that this process has loaded."""
    return ThreadpoolController()


def _describe(values: np.ndarray, terms: np.ndarray, seen_days: np.ndarray, out: np.ndarray) -> None:
    """Features of some pixels.

    Args:
        values: int16 `[indices, looks, n]`, 0 where there is no look.
        terms: `[looks, 5]`.
        seen_days: on which the curve is looked at.
        out: int16 `[SEASON_BANDS, n]`, to be filled.
    """
    known = values[0] != 0
    looks = known.sum(axis=0)
    out[-1] = looks
    if not looks.any():
        return
    weight = known.astype(np.float32)
    factored = factors(weight, terms)
    fitted, seen = looks >= FEWEST_LOOKS, harmonics(seen_days).T
    for index in range(len(INDICES)):
        first = index * len(STATISTICS)
        tenths = _percentiles(values[index], known, looks)
        # The fit is made round the median, so that single precision is enough; the mean gets it back.
        level = tenths[1] * np.float32(SEASON_SCALE)
        numbers = (values[index] * np.float32(SEASON_SCALE) - level) * weight
        fit = solve(factored, terms.T @ numbers)
        # Pixel by pixel, so that the highest point is sought in numbers that lie together.
        curve = fit.T @ seen
        peak = curve.argmax(axis=1)
        top, bottom = curve.max(axis=1), curve.min(axis=1)
        error = (terms @ fit) * weight - numbers
        residual = np.sqrt(np.einsum("ij,ij->j", error, error) / np.maximum(looks, 1))
        fit[0] += level
        of_fit = np.stack([top - bottom, np.zeros_like(top), *fit, residual]) * np.float32(1 / SEASON_SCALE)
        of_fit[1] = seen_days[peak]
        told = np.concatenate([tenths, of_fit])
        told[:3, looks == 0] = SEASON_NODATA
        told[3:, ~fitted] = SEASON_NODATA
        out[first : first + len(STATISTICS)] = np.rint(np.clip(told, SEASON_NODATA, 32767))


def _percentiles(values: np.ndarray, known: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """10th, 50th and 90th percentile of the known ones, between neighbours by proportion; float32 `[3, n]`."""
    ordered = np.sort(np.where(known, values, 32767).T, axis=1)
    pixels, last = np.arange(len(ordered)), np.maximum(looks - 1, 0)
    found = []
    for share in (0.1, 0.5, 0.9):
        position = (share * last).astype(np.float32)
        below = position.astype(np.int64)
        low, high = ordered[pixels, below], ordered[pixels, np.minimum(below + 1, last)]
        found.append(low + (position - below) * (high.astype(np.float32) - low))
    return np.stack(found).astype(np.float32)
