"""How sure published scores are to be taken, found from the scores of a series alone.

A map's score is the mean of a year's looks: less sure than all looks together, or surer, where their errors repeat. To
the power of an exponent it is surer or less sure. Of all exponents, the likeliest makes the years of a pixel tell most
about each other, without contradicting each other.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from services.change.emissions import scores_log_emission, sharpened
from services.change.temporal import fit, log_evidence

_PIXELS = 5_000
"""Pixels that are looked at, spread over all that are given: more move the exponent by less than 0.1."""
_RANGE = 0.25, 4.0
_NEAR = 0.05
"""Of the exponent's logarithm."""


def fit_sharpness(scores: np.ndarray) -> float:
    """The exponent of scores under which their series is likeliest.

    With q the scores to the power of the exponent, made to sum to 1, and p their mean, the density of a pixel's years
    is that of its single years, whatever it is, times sum over paths of P(path) prod_t q_t(c_t) / p(c_t). That is a
    density for every exponent, since q / p has the mean 1; so exponents are compared by likelihood, each with the chain
    that is learnt with it. Scores that hedge say less of each other than they could; those too sure contradict.

    Args:
        scores: shares 0 to 1, NaN for a missing year, `[years, classes, pixels]`.
    """
    few = scores[..., :: max(1, scores.shape[-1] // _PIXELS)]

    def unlikely(log_exponent: float) -> float:
        shares = sharpened(few, float(np.exp(log_exponent)))
        looks = scores_log_emission(shares, np.maximum(np.nanmean(shares, axis=(0, 2)), 1e-9))
        return -log_evidence(looks, fit(looks))

    found = minimize_scalar(unlikely, bounds=np.log(_RANGE), method="bounded", options={"xatol": _NEAR})
    return float(np.exp(found.x))
