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


@dataclass(frozen=True)
class Varied:
    """The pixels of which some year differs from the first, and what their years tell; few pixels ever change."""

    at: np.ndarray
    """Where they lie in the flattened maps, int64 `[n]`."""
    codes: np.ndarray
    """Class numbers in order of years, uint8 `[years, n]`, 0 unobserved."""
    told: Persistence
    """Each `[n]`."""

    @classmethod
    def of(cls, codes: np.ndarray) -> Varied:
        """Those of some maps, uint8 `[years, …]`."""
        differs = codes[1] != codes[0]
        for year in range(2, len(codes)):
            differs |= codes[year] != codes[0]
        at = np.flatnonzero(differs)
        years = codes.reshape(len(codes), -1)[:, at]
        return cls(at, years, _told(years))

    def within(self, inside: np.ndarray) -> Varied:
        """Those of them that lie inside, bool `[H, W]`."""
        kept = inside.reshape(-1)[self.at]
        told = self.told
        return Varied(
            self.at[kept], self.codes[:, kept], Persistence(told.kind[kept], told.since[kept], told.flips[kept])
        )


def persistence(codes: np.ndarray, varied: Varied | None = None) -> Persistence:
    """Tell apart sustained change, endpoint-only change, flicker and unconfirmed change.

    Years in which a pixel was not observed say nothing: it is judged by those that were.

    Args:
        codes: class numbers in order of years, uint8 `[years, H, W]`, 0 unobserved.
        varied: those of them, if known already.
    """
    varied = Varied.of(codes) if varied is None else varied
    # 0 is undetermined and 1 stable, whatever the class.
    kind = np.minimum(codes[0], np.uint8(STABLE))
    whole = Persistence(kind, np.zeros_like(kind), np.zeros_like(kind))
    told = varied.told
    for one, part in ((whole.kind, told.kind), (whole.since, told.since), (whole.flips, told.flips)):
        one.reshape(-1)[varied.at] = part
    return whole


def _told(codes: np.ndarray) -> Persistence:
    """What the years of pixels tell, `[years, n]`."""
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
    return Persistence(kind, since, flips)


def near_edge(codes: np.ndarray) -> np.ndarray:
    """Pixels within a pixel of another class: any of their eight neighbours has one, unobserved ones do not count.

    Args:
        codes: class numbers with a margin of one pixel, uint8 `[H + 2, W + 2]`, 0 unobserved.

    Returns:
        bool `[H, W]`.
    """
    if codes.all():
        return _not_alike(codes)
    # 0 - 1 wraps round to 255, so that the unobserved are never the least.
    most, least = codes, codes - np.uint8(1)
    for axis in (0, 1):
        first, middle, last = ((slice(None),) * axis + (slice(k, codes.shape[axis] - 2 + k),) for k in range(3))
        highest, lowest = np.maximum(most[first], most[middle]), np.minimum(least[first], least[middle])
        most, least = np.maximum(highest, most[last], out=highest), np.minimum(lowest, least[last], out=lowest)
    least += np.uint8(1)
    # Where all nine are unobserved, most is 0 and least is 255.
    return (most != least) & (most > 0)


def _not_alike(codes: np.ndarray) -> np.ndarray:
    """The same where all is observed: nine are alike if the three of each row are, and the three in the middle."""
    along = codes[:, :-1] != codes[:, 1:]
    along = along[:, :-1] | along[:, 1:]
    down = codes[:-1, 1:-1] != codes[1:, 1:-1]
    found = along[:-2] | along[1:-1]
    for other in (along[2:], down[:-1], down[1:]):
        found |= other
    return found
