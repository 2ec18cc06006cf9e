"""Confidence limits that hold where errors are few: Jeffreys' in each stratum, put together by recovered variances.

The usual interval, estimate +- z standard errors, takes a stratum in which no error was found for one without errors.
Where few omissions are expected it covers the truth far less often than it says. Jeffreys' limits for a share in one
stratum, quantiles of a Beta distribution, do not fail so (Brown, Cai and DasGupta 2001, Statistical Science 16,
101-133). The distances from the estimate to them stand for the strata's errors (MOVER, the method of variance estimates
recovery: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702; of strata Yan and Su 2010; of ratios Newcombe 2016,
Statistical Methods in Medical Research 25, 1774-1778). Of the limits that were simulated in the strata (Wilson's,
Clopper and Pearson's, mid-P), Jeffreys' come nearest to 95 % and are the shortest; sums of Beta variables, a Dirichlet
distribution in each stratum, are biased where strata are many. No random numbers: a sample has one interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv
from scipy.stats import norm

Z = float(norm.ppf(0.975))
"""Standard errors to either side of 95 %: 1.959964."""


@dataclass(frozen=True)
class Bounded:
    """An estimate between its limits."""

    value: float
    low: float
    high: float


def jeffreys(hits: np.ndarray, units: np.ndarray, z: float = Z) -> tuple[np.ndarray, np.ndarray]:
    """Jeffreys' limits of the shares `hits / units`, each `[H]`; exactly 0 and 1 where nothing or all was hit."""
    tail = norm.sf(z)
    low = betaincinv(hits + 0.5, units - hits + 0.5, tail)
    high = betaincinv(hits + 0.5, units - hits + 0.5, 1 - tail)
    return np.where(hits == 0, 0.0, low), np.where(hits == units, 1.0, high)


def weighted_sum(
    weights: np.ndarray, hits: np.ndarray, units: np.ndarray, possible: np.ndarray, z: float = Z
) -> Bounded:
    """Limits of `sum(weights * hits / units)`.

    Args:
        weights: of the strata, `[H]`, at least 0.
        hits: units of each stratum that count, `[H]`.
        units: all its units, `[H]`.
        possible: bool `[H]`, whether any can count there. Where none can, no hit is certain knowledge.
        z: standard errors to either side.
    """
    share = hits / units
    low, high = jeffreys(hits, units, z)
    value = float(weights @ share)
    below = np.where(possible, weights * (share - low), 0.0)
    above = np.where(possible, weights * (high - share), 0.0)
    return Bounded(value, value - float(np.sqrt(below @ below)), value + float(np.sqrt(above @ above)))


def difference(one: Bounded, other: Bounded, correlation: float) -> Bounded:
    """Limits of `one - other` (Zou and Donner 2008, Eq. 5 with the correlation of the two estimates)."""
    value = one.value - other.value
    below = _joined(one.value - one.low, other.high - other.value, correlation)
    above = _joined(one.high - one.value, other.value - other.low, correlation)
    return Bounded(value, value - below, value + above)


def share_of_both(part: Bounded, rest: Bounded, correlation: float) -> Bounded:
    """Limits of `part / (part + rest)`: those t at which `(1 - t) part - t rest` cannot be told from 0.

    Each is a root of a quadratic that is not negative at 0 and 1 and not positive at the estimate.

    Args:
        part: at least 0, as `rest`; not both are 0.
        rest: of the whole.
        correlation: of the two estimates.
    """

    def excess(t: float, of_part: float, of_rest: float) -> float:
        return ((1 - t) * part.value - t * rest.value) ** 2 - _joined((1 - t) * of_part, t * of_rest, correlation) ** 2

    value = part.value / (part.value + rest.value)
    below = part.value - part.low, rest.high - rest.value
    above = part.high - part.value, rest.value - rest.low
    low = 0.0 if excess(0, *below) <= 0 else brentq(excess, 0, value, below) if excess(value, *below) < 0 else value
    high = 1.0 if excess(1, *above) <= 0 else brentq(excess, value, 1, above) if excess(value, *above) < 0 else value
    return Bounded(value, float(low), float(high))


def _joined(one: float, other: float, correlation: float) -> float:
    """Distance of a difference from its limit, from those of its two terms."""
    return float(np.sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other)))
