"""How the simulator's vegetation looks through a northern year.

Crops, grass, shrub, marsh and leafy trees differ by season. On one date they are hard to tell from each other, as
they are in real scenes; through the year they are not. The courses are drawn by hand after what is commonly described
(as by Reed et al. 1994, "Measuring phenological variability from satellite imagery"), not fitted to any place:

- crops are bare soil but for their months: winter crops green from March, highest in mid-May, harvested in July; summer
  crops green from June, highest at the end of July, harvested in September. At their highest they look like meadows;
- grass is green all year, highest in May, and dry in August, when it looks like shrub;
- shrub hardly changes; in late summer it is a little drier;
- half of the trees lose their leaves from November to April, and then look like shrub;
- marsh stands under water from February to April and is green in summer, when it looks like wet grass.
"""

from __future__ import annotations

import numpy as np

EARLY_OR_LATE = (-15, 0, 15)
"""Days by which fields of one crop differ."""


def green(kind: str, day: float) -> float:
    """How green something is on a day of the year, 0 to 1."""
    if kind == "winter crops":
        return _hump(day, 60, 135, 195) + 0.25 * _hump(day, 300, 350, 420) + 0.25 * _hump(day + 365, 300, 350, 420)
    if kind == "summer crops":
        return _hump(day, 145, 208, 260)
    if kind == "grass":
        return 0.65 + 0.35 * _hump(day, 60, 140, 260) - 0.45 * _hump(day, 180, 225, 280)
    if kind == "shrub":
        return 0.9 - 0.2 * _hump(day, 180, 235, 300)
    if kind == "leafy trees":
        return 0.15 + 0.85 * min(1.0, 1.6 * _hump(day, 95, 190, 315))
    if kind == "marsh":
        return 1 - 0.85 * _hump(day, 20, 75, 130)
    raise ValueError(f"{kind!r} is no kind of vegetation")


def _hump(day: float, start: float, peak: float, end: float) -> float:
    """0 outside `start` to `end`, 1 at the peak, a cosine on either side."""
    if not start < day < end:
        return 0.0
    part = (day - peak) / ((peak - start) if day < peak else (end - peak))
    return float((1 + np.cos(np.pi * part)) / 2)


def spectra_of(day: float, spectra: np.ndarray, classes: dict[str, int]) -> tuple[np.ndarray, dict[str, list[int]]]:
    """What each kind of vegetation looks like on a day.

    Args:
        day: of the year.
        spectra: reflectance x 10,000 of the classes, `[classes, bands]`.
        classes: number of each by name.

    Returns:
        Spectra of the kinds, `[kinds, bands]`, those of crops once for each of `EARLY_OR_LATE`; and which rows a kind
        has.
    """
    soil = 0.65 * spectra[classes["bare"]] + 0.1 * spectra[classes["crops"]]
    dry, meadow, water = spectra[classes["shrub"]], spectra[classes["grass"]], spectra[classes["water"]]
    leafless = 0.75 * spectra[classes["shrub"]]
    wet_grass = 0.6 * spectra[classes["flooded_vegetation"]] + 0.4 * meadow
    ends = {
        "winter crops": (soil, meadow, EARLY_OR_LATE),
        "summer crops": (soil, meadow, EARLY_OR_LATE),
        "grass": (dry, meadow, (0,)),
        "shrub": (0.8 * dry + 0.2 * spectra[classes["bare"]], 0.9 * dry + 0.1 * meadow, (0,)),
        "leafy trees": (leafless, spectra[classes["trees"]], (0,)),
        "marsh": (0.75 * water + 0.25 * spectra[classes["flooded_vegetation"]], wet_grass, (0,)),
    }
    rows: list[np.ndarray] = []
    numbers: dict[str, list[int]] = {}
    for kind, (least, most, shifts) in ends.items():
        numbers[kind] = list(range(len(rows), len(rows) + len(shifts)))
        for shift in shifts:
            share = green(kind, (day - shift - 1) % 365 + 1)
            rows.append(least + (most - least) * share)
    return np.array(rows, np.float32), numbers
