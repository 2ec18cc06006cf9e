"""Whether change lasts: what each pixel's years tell beyond its first and last.

Two maps alone cannot tell change from a year that was mapped wrongly. Of 2017 to 2023 in the annual maps of Impact
Observatory on four floodplains, only 20 to 31 % of the change between the end years was sustained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNDETERMINED, STABLE, SUSTAINED, ENDPOINT_ONLY, FLICKER, UNCONFIRMED = range(6)
KINDS = {
    UNDETERMINED: ("undetermined", "not observed in the first or in the last year", "BDBDBD"),
    STABLE: ("stable", "one class in all years", "F0F0F0"),
    SUSTAINED: ("sustained", "changed once, and the new class stood in two years or more", "1A9850"),
    ENDPOINT_ONLY: (
        "endpoint_only",
        "the end years differ, with more than one change between them; the last class stood in two years or more",
        "FDAE61",
    ),
    FLICKER: ("flicker", "left its class and has it again in the last year", "7B3294"),
    UNCONFIRMED: ("unconfirmed", "the new class was seen in the last year only", "D7191C"),
}
"""Kind to name, meaning and colour."""
CHANGED = (SUSTAINED, ENDPOINT_ONLY, UNCONFIRMED)
"""Kinds in which the end years differ."""


@dataclass(frozen=True)
class Persistence:
    """What the years of each pixel tell."""

    kind: np.ndarray
    """uint8 `[H, W]`, of `KINDS`."""
    since: np.ndarray
    """Number of the year in which the last class was first seen without a break, uint8 `[H, W]`; 0: never changed."""
    flips: np.ndarray
    """How often the class differs from that of the observed year before, uint8 `[H, W]`."""


def persistence(codes: np.ndarray) -> Persistence:
    """Tell apart sustained change, endpoint-only change, flicker and unconfirmed change.

    Years in which a pixel was not observed say nothing: it is judged by those that were.

    Args:
        codes: class numbers in order of years, uint8 `[years, H, W]`, 0 unobserved.
    """
    shape = codes.shape[1:]
    # 0 is undetermined and 1 stable, whatever the class.
    kind = np.minimum(codes[0], np.uint8(STABLE)).reshape(-1)
    since, flips = np.zeros_like(kind), np.zeros_like(kind)
    differs = codes[1] != codes[0]
    for year in range(2, len(codes)):
        differs |= codes[year] != codes[0]
    # Most pixels never change: only the others are looked at year by year.
    varied = np.flatnonzero(differs)
    if varied.size:
        kind[varied], since[varied], flips[varied] = _of_varied(codes.reshape(len(codes), -1)[:, varied])
    return Persistence(kind.reshape(shape), since.reshape(shape), flips.reshape(shape))


def _of_varied(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind, since and flips of pixels `[years, n]`."""
    last = codes[0].copy()
    flips, since = np.zeros_like(last), np.zeros_like(last)
    stood = (last > 0).astype(np.uint8)
    for year in range(1, len(codes)):
        now = codes[year]
        seen = now > 0
        changed = seen & (last > 0) & (now != last)
        flips += changed
        since[changed] = year
        stood += seen
        stood[changed] = 1
        np.copyto(last, now, where=seen)
    differ = codes[0] != codes[-1]
    kind = np.full_like(last, STABLE)
    kind[flips > 0] = FLICKER
    kind[differ] = SUSTAINED
    kind[differ & (flips > 1)] = ENDPOINT_ONLY
    kind[differ & (stood == 1)] = UNCONFIRMED
    kind[(codes[0] == 0) | (codes[-1] == 0)] = UNDETERMINED
    return kind, since, flips


def near_edge(codes: np.ndarray) -> np.ndarray:
    """Pixels within a pixel of another class: any of their eight neighbours has one, unobserved ones do not count.

    Args:
        codes: class numbers with a margin of one pixel, uint8 `[H + 2, W + 2]`, 0 unobserved.

    Returns:
        bool `[H, W]`.
    """
    # 0 - 1 wraps round to 255, so that the unobserved are never the least.
    most, least = codes, codes - np.uint8(1)
    for axis in (0, 1):
        first, middle, last = ((slice(None),) * axis + (slice(k, codes.shape[axis] - 2 + k),) for k in range(3))
        highest, lowest = np.maximum(most[first], most[middle]), np.minimum(least[first], least[middle])
        most, least = np.maximum(highest, most[last], out=highest), np.minimum(lowest, least[last], out=lowest)
    least += np.uint8(1)
    # Where all nine are unobserved, most is 0 and least is 255.
    return (most != least) & (most > 0)
