"""The vote: many looks at a pixel become one class, with how sure it is.

Each clear look gives every class its score, weighted by 1 - the look's cloud score. Within a month the looks are
averaged; then the months are added up, a month with `n` looks counting `2n / (n + 1)`: one look counts one, many
looks at most two. That is the weight of a mean of n looks (inverse of its variance) when looks within a month
differ as much as months do, so a month rich in looks is trusted more, but never drowns the others. No rule weakens
floods: one that fills two months of twelve keeps a sixth of the vote, to be read from the scores.

Snow is no land cover where it melts: it wins only where it also wins in the least snowy of the months seen.
Cloud is published only where a pixel was seen and never seen clearly.

Confidence is the probability that the class is right. Of one look that is its score; of several it is more than their
mean score: a mean of calibrated probabilities is less sure than it may be (Ranjan and Gneiting 2010, "Combining
probability forecasts"). So the shares of the vote are sharpened, the more the more looks there are, and the less the
more the looks err alike.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from catalog.legend import CLOUD, SNOW, Legend
from catalog.tree import class_tree

NO_SCORE = 255
"""Value of `scores` where a pixel has no clear look."""
STRIP = 64
"""Rows worked on at a time, so that temporaries stay in the processor's cache."""


@dataclass(frozen=True)
class Voted:
    """The outcome for a block of `[H, W]` pixels."""

    data: np.ndarray
    """uint8 `[H, W]`, published codes."""
    confidence: np.ndarray
    """uint8 `[H, W]`, per cent, 1 to 99; 0 where there is no land cover."""
    observations: np.ndarray
    """uint16 `[H, W]`, number of clear looks."""
    scores: np.ndarray | None
    """uint8 `[classes but cloud, H, W]`, share of the vote in per cent, 255 = no clear look; None if not asked for."""


Decide = Callable[[slice, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Rows of the block, and the shares of the vote, float32 `[classes but cloud, h, W]`, to other shares of the same shape
and bool `[h, W]`, where they take the place of the vote's."""


def confidence(votes: np.ndarray, correlation: float) -> np.ndarray:
    """How probable it is that the class with most votes is right.

    The shares of the vote are raised to the power n / (1 + (n - 1) r) and divided by their sum. That is how many
    independent looks n looks are worth whose errors correlate by r: the design effect of Kish 1965 (*Survey sampling*,
    Eq. 5.4.1). One look keeps its shares; with r = 1 any number does.

    Args:
        votes: float32 `[codes, ...]`, in looks: their sum is n. Fewer than one count as one.
        correlation: of the errors of two looks, r, 0 to 1.

    Returns:
        float32 `[...]`, 0 to 1.
    """
    # Not 0, whose powers would be numbers too small for the processor to handle swiftly.
    votes = np.maximum(votes, np.float32(1e-6))
    looks = np.maximum(votes.sum(axis=0), 1)
    exponent = looks / (1 + (looks - 1) * np.float32(correlation))
    return 1 / np.power(votes / votes.max(axis=0), exponent).sum(axis=0)


class Vote:
    """The running vote over one block. Looks are added in order of time, one month after the other."""

    def __init__(
        self,
        classes: tuple[str, ...],
        legend: Legend,
        shape: tuple[int, int],
        correlation: float | None = None,
        parents: tuple[tuple[str, str], ...] = (),
    ):
        """Start without any look.

        Args:
            classes: the network's classes, cloud among them.
            legend: which of them are published together: their scores are added before the largest is sought.
            shape: `(H, W)` of the block.
            correlation: of the errors of two looks; None: not known, the confidence is the plain share of the vote.
            parents: of the network's classes that are part of another: class and what it is part of.
        """
        self._correlation = 1.0 if correlation is None else correlation
        codes = legend.codes(classes)
        self._cloud = classes.index(CLOUD) if CLOUD in classes else None
        self._land = [i for i in range(len(classes)) if i != self._cloud]
        self.codes = np.array(sorted({int(codes[i]) for i in self._land}), dtype=np.uint8)
        self._members = [[k for k, i in enumerate(self._land) if codes[i] == code] for code in self.codes]
        self._split = self._published_together(classes, parents)
        rest = {k for parts in self._split for k in parts[1:]}
        self._whole_members = [[k for k in members if k not in rest] for members in self._members]
        self._cloud_code = int(codes[self._cloud]) if self._cloud is not None else legend.nodata
        self._nodata = legend.nodata
        self._snow = (
            next(k for k, members in enumerate(self._members) if self._land.index(classes.index(SNOW)) in members)
            if SNOW in classes
            else None
        )
        self._month: tuple[int, int] | None = None
        # Most months have one look: it is kept as it is, and the sums are only made when a second one comes.
        self._only: np.ndarray | None = None
        # uint32: 300 looks of 255 x 255 pass what 16 bits hold. Written to at once, so that a worker that has begun
        # does not run out of memory at the first month with two looks.
        self._month_sum = np.full((len(self._land), *shape), 0, np.uint32)
        self._month_weight = np.zeros(shape, np.uint32)
        # The first part of a class that is published as a whole holds the sum of all: so the map is to the bit that of
        # a network that does not split it.
        self._total = np.zeros((len(self._land), *shape), np.float32)
        self._looks = np.zeros(shape, np.uint16)
        self._seen = np.zeros(shape, bool)
        self._least_snow = np.full(shape, np.inf, np.float32)
        self._snow_lasts = np.zeros(shape, bool)

    def add(self, month: tuple[int, int], scores: np.ndarray, clear: np.ndarray, seen: np.ndarray) -> None:
        """Count one look.

        Args:
            month: `(year, month)` of the look; never earlier than the one before.
            scores: uint8 `[classes, H, W]`, 255 x probability.
            clear: bool `[H, W]`, whether the look counts at a pixel.
            seen: bool `[H, W]`, whether there are data at all, clear or not.

        Raises:
            ValueError: the looks are not in order of time.
        """
        if self._month is not None and month < self._month:
            raise ValueError(f"look of {month} after one of {self._month}: looks are added in order of time")
        if month != self._month:
            self._close_month()
        first, before = month != self._month, self._only
        self._month, self._only = month, scores if first else None
        for rows in self._strips():
            weight = clear[rows].astype(np.uint16)
            if self._cloud is None:
                weight *= 255
            else:
                weight *= 255 - scores[self._cloud, rows].astype(np.uint16)
            if first:
                self._month_weight[rows] = weight
            else:
                if before is not None:
                    for sums, k in zip(self._month_sum[:, rows], self._land, strict=True):
                        np.multiply(before[k, rows], self._month_weight[rows], out=sums)
                product = np.empty(weight.shape, np.uint16)
                for sums, k in zip(self._month_sum[:, rows], self._land, strict=True):
                    sums += np.multiply(scores[k, rows], weight, out=product)
                self._month_weight[rows] += weight
            self._looks[rows] += clear[rows]
            self._seen[rows] |= seen[rows]

    def result(self, min_observations: int = 1, with_scores: bool = False, decide: Decide | None = None) -> Voted:
        """Close the vote.

        Args:
            min_observations: pixels with fewer clear looks (but at least one) become no data.
            with_scores: also return the shares of all classes.
            decide: has the last word on each strip, if given; called for all strips in turn.
        """
        shape = self._looks.shape
        data, sure = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        scores = np.full((len(self._land), *shape), NO_SCORE, np.uint8) if with_scores else None
        for rows, winner, votes in self.close():
            looks = self._looks[rows]
            per_cent = np.rint(100 * confidence(votes, self._correlation))
            shares = self._shares(rows) if with_scores or decide else None
            if decide and shares is not None:
                told, used = decide(rows, self._without_melting_snow(rows, shares))
                by_code = _by_code(told, self._members)
                winner = np.where(used, by_code.argmax(axis=0), winner)
                per_cent = np.where(used, np.rint(100 * by_code.max(axis=0)), per_cent)
                np.copyto(shares, told, where=used)
            enough = looks >= min_observations
            data[rows] = np.where(enough, self.codes[winner], self._nodata)
            data[rows][self._seen[rows] & (looks == 0)] = self._cloud_code
            # Never 100: no network is that sure; and 0 is no data.
            sure[rows] = np.where(enough, per_cent.clip(1, 99), 0)
            if scores is not None and shares is not None:
                scores[:, rows] = np.where(looks > 0, np.rint(100 * shares), NO_SCORE)
        return Voted(data, sure, self._looks, scores)

    def close(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Count the last month, and give strip by strip of the block what came out. No look is added afterwards.

        Yields:
            The rows; `[h, W]`, which of `codes` won; and float32 `[codes, h, W]`, the votes in looks, 0 of snow that
            melts: looks at it tell nothing of what is below.
        """
        self._close_month()
        for rows in self._strips():
            votes = _by_code(self._total[:, rows], self._whole_members)
            if self._snow is not None:
                votes[self._snow][~self._snow_lasts[rows]] = -1.0
            # argmax takes the first of equals, so a tie goes to the lowest code.
            winner = votes.argmax(axis=0)
            yield rows, winner, np.maximum(votes, 0, out=votes)

    def _shares(self, rows: slice) -> np.ndarray:
        """Of each class but cloud, float32 `[classes, h, W]`: they sum to 1, or to 0 without a look."""
        total = self._total[:, rows]
        if self._split:
            total = total.copy()
        for first, *rest in self._split:
            total[first] = np.maximum(total[first] - total[rest].sum(axis=0), 0)
        return total / np.maximum(total.sum(axis=0), np.finfo(np.float32).tiny)

    def _without_melting_snow(self, rows: slice, shares: np.ndarray) -> np.ndarray:
        """The shares of what lies below snow that melts, summing to 1 again; as they are if nothing else was seen."""
        if self._snow is None:
            return shares
        left = shares.copy()
        for member in self._members[self._snow]:
            left[member][~self._snow_lasts[rows]] = 0
        together = left.sum(axis=0)
        return np.where(together > 0, left / np.maximum(together, np.finfo(np.float32).tiny), shares)

    def _strips(self) -> list[slice]:
        height = self._looks.shape[0]
        return [slice(row, min(row + STRIP, height)) for row in range(0, height, STRIP)]

    def _published_together(self, classes: tuple[str, ...], parents: tuple[tuple[str, str], ...]) -> list[list[int]]:
        """Numbers among the land classes of the parts of each class that the legend does not split."""
        tree, parts_of = class_tree(parents, "the network"), defaultdict(list)
        code_of = {k: code for code, members in zip(self.codes, self._members, strict=True) for k in members}
        for k, number in enumerate(self._land):
            parts_of[tree.path(classes[number])[0]].append(k)
        return [parts for parts in parts_of.values() if len(parts) > 1 and len({code_of[k] for k in parts}) == 1]

    def _close_month(self) -> None:
        for rows in self._strips() if self._month is not None else []:
            weight = self._month_weight[rows].astype(np.float32)
            if not weight.any():
                continue
            # Sums of scores x weight, or a single look's scores: what makes them a mean of 0-255 differs.
            if self._only is None:
                values, of_weight = [sums[rows] for sums in self._month_sum], np.maximum(weight, 1)
            else:
                values, of_weight = [self._only[k, rows] for k in self._land], np.ones_like(weight)
            # A month counts 2 n / (n + 1), with n = weight / 255 looks.
            counts = 2 * weight / (weight + 255)
            factor = counts / (255 * of_weight)
            share, wholes = np.empty_like(factor), list(values)
            for parts in self._split:
                wholes[parts[0]] = _together([values[k] for k in parts])
            for total, one in zip(self._total[:, rows], wholes, strict=True):
                total += np.multiply(one, factor, out=share, dtype=np.float32, casting="same_kind")
            if self._snow is not None:
                self._note_snow(rows, values, of_weight, weight > 0)

    def _note_snow(self, rows: slice, values: list[np.ndarray], of_weight: np.ndarray, looked: np.ndarray) -> None:
        """Remember of the least snowy month whether snow won in it; a tie is no snow."""
        if not self._least_snow[rows].any():
            return  # There was a month without any.
        by_code = [_together([values[k] for k in members]) for members in self._members]
        snow = by_code.pop(self._snow)  # type: ignore[arg-type]
        others = functools.reduce(np.maximum, by_code)
        share = (snow / of_weight).astype(np.float32)
        less = looked & (share < self._least_snow[rows])
        np.copyto(self._least_snow[rows], share, where=less)
        np.copyto(self._snow_lasts[rows], snow > others, where=less)


def _by_code(sums: np.ndarray, members: list[list[int]]) -> np.ndarray:
    """Add the classes that are published together: `[land classes, h, w]` to `[codes, h, w]`."""
    return np.stack([_together([sums[k] for k in some]) for some in members])


def _together(values: list[np.ndarray]) -> np.ndarray:
    """The sum of some classes' scores, or the only one as it is."""
    if len(values) == 1:
        return values[0]
    return functools.reduce(np.add, values[1:], values[0].astype(np.result_type(values[0], np.uint16)))
