"""Stratified estimation of areas, accuracies and changes from a probability sample of reference data.

One set of estimators serves all: means and ratios of indicators (Stehman 2014, International Journal of Remote Sensing
35, 4923-4939, Eqs. 2, 25, 27 and 28). Where the strata are the map's classes they become those of Olofsson et al.
(2013, Remote Sensing of Environment 129, 122-131; 2014, 148, 42-57). Samples are small parts of their strata: the
finite population correction is left out, as in Olofsson et al.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from catalog.errors import BadInput
from services.change.intervals import Bounded, Z, difference, share_of_both, weighted_sum


class Estimate(BaseModel):
    """An estimate with two 95 % intervals: the usual one, and one that holds where errors are rare."""

    model_config = ConfigDict(frozen=True)

    value: float = Field(description="unbiased estimate (of a ratio: nearly unbiased)")
    standard_error: float
    half_width: float = Field(description="usual interval: value +- z standard errors; too short where errors are rare")
    low: float = Field(description="lower limit by Jeffreys' limits in each stratum")
    high: float = Field(description="upper limit by the same")

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit: of a share, times the whole area, an area."""
        return Estimate(
            value=self.value * factor,
            standard_error=self.standard_error * factor,
            half_width=self.half_width * factor,
            low=self.low * factor,
            high=self.high * factor,
        )


@dataclass(frozen=True)
class Count:
    """Units that count as something, by stratum."""

    units: np.ndarray
    """int64 `[H]`."""
    possible: np.ndarray
    """bool `[H]`: strata in which any unit can count. In the others, no hit is knowledge and no matter of chance."""


@dataclass(frozen=True)
class Strata:
    """Strata and how many of their units were interpreted. What is asked of them are counts of units by stratum."""

    names: tuple[str, ...]
    area: np.ndarray
    """float64 `[H]`, in any unit."""
    units: np.ndarray
    """int64 `[H]`."""
    z: float = Z
    """Standard errors to either side of an estimate; Olofsson et al. (2014) round it to 1.96."""

    @classmethod
    def of(cls, names: Sequence[str], area: Sequence[float] | np.ndarray, units: np.ndarray, z: float = Z) -> Strata:
        """Check and keep.

        Raises:
            BadInput: a stratum of no or negative area, or with fewer than two units.
        """
        sizes, counts = np.asarray(area, np.float64), np.asarray(units, np.int64)
        for name, size, count in zip(names, sizes, counts, strict=True):
            if not (math.isfinite(size) and size > 0):
                raise BadInput(f"Stratum {name!r} has the area {size:g}. Give the area of each stratum, above 0.")
            if count < 2:
                raise BadInput(
                    f"Stratum {name!r} has {count} interpreted unit{'' if count == 1 else 's'}: no error can be "
                    "estimated there. Interpret at least two of its units, or draw the sample anew with the stratum "
                    "merged into another."
                )
        return cls(tuple(names), sizes, counts, z)

    @property
    def weights(self) -> np.ndarray:
        """Share of each stratum in the area, `[H]`."""
        return self.area / self.area.sum()

    def share(self, counted: Count) -> Estimate:
        """Share of the area that counts (Stehman 2014, Eqs. 2 and 25)."""
        return self._told(self._bounded(counted), self._covariance(counted.units, counted.units, counted.units))

    def ratio(self, part: Count, rest: Count) -> Estimate | None:
        """`part / (part + rest)` of areas, as user's and producer's accuracy (Stehman 2014, Eqs. 27 and 28).

        No unit is both part and rest.

        Returns:
            None where no unit is either: there is nothing to divide by.
        """
        if not (part.units.any() or rest.units.any()):
            return None
        one, other = self._bounded(part), self._bounded(rest)
        whole, r = part.units + rest.units, one.value / (one.value + other.value)
        variance = (
            self._covariance(part.units, part.units, part.units)
            + r**2 * self._covariance(whole, whole, whole)
            - 2 * r * self._covariance(part.units, whole, part.units)
        ) / (one.value + other.value) ** 2
        correlation = self._correlation(part, rest, np.zeros_like(part.units))
        return self._told(share_of_both(one, other, correlation), variance)

    def difference(self, gain: Count, loss: Count) -> Estimate:
        """Net change as a share of the area: gain less loss. No unit has both."""
        none = np.zeros_like(gain.units)
        bounded = difference(self._bounded(gain), self._bounded(loss), self._correlation(gain, loss, none))
        variance = (
            self._covariance(gain.units, gain.units, gain.units)
            + self._covariance(loss.units, loss.units, loss.units)
            - 2 * self._covariance(gain.units, loss.units, none)
        )
        return self._told(bounded, variance)

    def relative(self, after: Count, before: Count, both: np.ndarray) -> Estimate | None:
        """Change relative to before, `after / before - 1`.

        Args:
            after: units that count afterwards.
            before: units that counted before.
            both: int `[H]`, units that do both.

        Returns:
            None where no unit counted before: there is nothing to divide by.
        """
        if not before.units.any():
            return None
        one, other = self._bounded(after), self._bounded(before)
        share = share_of_both(one, other, self._correlation(after, before, both))
        ratio = one.value / other.value
        variance = (
            self._covariance(after.units, after.units, after.units)
            + ratio**2 * self._covariance(before.units, before.units, before.units)
            - 2 * ratio * self._covariance(after.units, before.units, both)
        ) / other.value**2
        # Of what was found before there is some: the share of before is never 0, that of after never 1.
        low, high = (limit / (1 - limit) - 1 for limit in (share.low, share.high))
        return self._told(Bounded(ratio - 1, low, high), variance)

    def _bounded(self, counted: Count) -> Bounded:
        return weighted_sum(self.weights, counted.units, self.units, counted.possible, self.z)

    def _covariance(self, one: np.ndarray, other: np.ndarray, both: np.ndarray) -> float:
        """Of two estimated shares, from units `[H]` that count in the one, in the other, in both (Eq. 25)."""
        p = both / self.units - (one / self.units) * (other / self.units)
        return float((self.weights**2 * p / (self.units - 1)).sum())

    def _correlation(self, one: Count, other: Count, both: np.ndarray) -> float:
        """Of two estimated shares. By the means of Beta distributions: where all units count alike it is not 0/0."""
        n, weights = self.units, self.weights**2 / self.units
        p, q = (np.where(c.possible, (c.units + 0.5) / (n + 1), 0.0) for c in (one, other))
        covariance = float((weights * (both / n - p * q)).sum())
        spread = math.sqrt(float((weights * p * (1 - p)).sum()) * float((weights * q * (1 - q)).sum()))
        return max(-1.0, min(1.0, covariance / spread)) if spread else 0.0

    def _told(self, bounded: Bounded, variance: float) -> Estimate:
        error = math.sqrt(max(0.0, variance))
        return Estimate(
            value=bounded.value,
            standard_error=error,
            half_width=self.z * error,
            low=bounded.low,
            high=bounded.high,
        )
