"""Years of a pixel whose errors partly repeat: their most likely classes, and how sure that is.

What all looks at a pixel have in common says little about change; what differs between them says much. So a look is
taken for the mean look of its class, plus a deviation that the pixel has every year, plus one of that year. Both are
normal with the covariance of looks within a class, of which the steady one has the share r: a random effect of the
pixel (Searle, Casella and McCulloch 1992, *Variance components*). That integrated out, the log-likelihood of n looks
is, but for what is the same for all paths,

    sum_t l_t(c_t) / (1 - r)  -  k sum_t A(c_t)  +  k/2 sum_t sum_u G(c_t, c_u),   k = r / ((1 - r) (1 - r + n r)).

l_t(c) is the log-likelihood of class c in one look, A the sum over years of l_t(c) + G(c, c) / 2, less its mean over
classes, and G(c, d) = m_c' S^-1 m_d, with m the mean looks of the classes (about 0) and S the covariance. G asks for
neither: it is the mean of l(c) where d is true, with rows and columns moved to the mean 0. One class in all years has
sum_t l_t(c) / (1 - r + n r): looks that err alike count as fewer (Kish 1965, *Survey sampling*, Eq. 5.4.1). Where r
is 0, looks are independent.

The last term ties each year to all others, so Viterbi's algorithm does not find the best path. Paths with one change
at most are few, and all of them are compared. If the best one has a change, it goes on to more: the steady deviation
that it implies is taken off the looks, and Viterbi's path found anew. That is never a less likely one, since G is
positive semidefinite: the tangent of the last term lies below it.
"""

from __future__ import annotations

import numpy as np

from services.change.temporal import Chain, most_likely, posterior

CHANGE_WEIGHT = 2.0
"""How many changes that are none one missed change weighs: chosen by `benchmarks/temporal_choice.py`."""
_PATHS = 1 << 20
"""Paths with one change, of all pixels that are in memory at a time: some 4 MB."""
_NEVER = -1e6
"""Logarithm of what does not happen: no looks make up for it, and twice as much can be reckoned with."""


def looks_alike(log_emission: np.ndarray, chain: Chain) -> np.ndarray:
    """The G of the module: how much looks at one class speak for another, `[classes, classes]`.

    Args:
        log_emission: `[years, classes, pixels]`, 0 in a missing year.
        chain: the true classes' chain.
    """
    likely = posterior(log_emission, chain) * log_emission.any(axis=1, keepdims=True)
    mean = np.einsum("tcn,tdn->cd", log_emission, likely) / np.maximum(likely.sum(axis=(0, 2)), 1e-9)
    mean = mean - mean.mean(axis=0) - mean.mean(axis=1, keepdims=True) + mean.mean()
    return (mean + mean.T) / 2


def path_and_probability(
    log_emission: np.ndarray,
    chain: Chain,
    alike: np.ndarray,
    repeated: float,
    change_weight: float = CHANGE_WEIGHT,
) -> tuple[np.ndarray, np.ndarray]:
    """The most likely classes of all years, and the probability of each class in each year.

    Args:
        log_emission: `[years, classes, pixels]`, 0 in a missing year.
        chain: the true classes' chain.
        alike: of `looks_alike`.
        repeated: share of the deviation that a pixel has in all years, 0 to below 1.
        change_weight: how many false changes a missed one weighs. A path with a change is that many times likelier;
            probabilities are not.

    Returns:
        Classes, uint8 `[years, pixels]`, and probabilities, float32 `[years, classes, pixels]`, among the paths with
        one change at most.
    """
    years, classes, pixels = log_emission.shape
    path, probability = np.empty((years, pixels), np.uint8), np.empty(log_emission.shape, np.float32)
    alike, step = alike.astype(np.float32), max(1, _PATHS // (years * classes**2))
    for start in range(0, pixels, step):
        block = slice(start, start + step)
        looks = log_emission[..., block].astype(np.float32)
        found, probability[..., block] = _one_change(looks, chain, alike, repeated, change_weight)
        changed = np.flatnonzero(found[0] != found[-1])
        fresh = _fresh(looks[..., changed], found[:, changed], alike, repeated)
        found[:, changed] = most_likely(fresh, chain, change_weight)
        path[:, block] = found
    return path, probability


def _one_change(
    looks: np.ndarray, chain: Chain, alike: np.ndarray, repeated: float, change_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """The best of the paths with one change at most, `[years, pixels]`, and probabilities among them."""
    years, classes, pixels = looks.shape
    with np.errstate(divide="ignore"):
        start, move = (np.log(one).clip(_NEVER).astype(np.float32) for one in (chain.initial, chain.transition))
    seen = np.any(looks, axis=1)
    tie = _tie(seen, repeated)
    each = looks / np.float32(1 - repeated) - tie * _together(looks, seen, alike) * seen[:, None]
    until = np.tri(years, dtype=np.float32)
    upto, seen_upto = np.tensordot(until, each, 1), until @ seen.astype(np.float32)
    own, stay = np.diag(alike)[:, None] / 2, np.diag(move)[:, None]
    # By the first year of the second class, the first class, the second; from year 0: one class in all years.
    ways = np.full((years, classes, classes, pixels), -np.inf, np.float32)
    both = np.arange(classes)
    ways[0, both, both] = start[:, None] + (years - 1) * stay + upto[-1] + tie * seen_upto[-1] ** 2 * own
    for first in range(1, years):
        earlier, later = seen_upto[first - 1], seen_upto[-1] - seen_upto[first - 1]
        old = start[:, None] + (first - 1) * stay + upto[first - 1] + tie * earlier**2 * own
        new = (years - first - 1) * stay + upto[-1] - upto[first - 1] + tie * later**2 * own
        ways[first] = old[:, None] + new + move[..., None] + (tie * earlier * later) * alike[..., None]
        ways[first, both, both] = -np.inf
    ways -= ways.max(axis=(0, 1, 2))
    likely = np.exp(ways, out=ways)
    after = (1 - until).astype(np.float32)
    probability = np.tensordot(until, likely.sum(axis=1), 1) + np.tensordot(after, likely.sum(axis=2), 1)
    probability /= probability.sum(axis=1, keepdims=True)
    likely[1:] *= np.float32(change_weight)
    best: np.ndarray = likely.max(axis=1).reshape(-1, pixels).argmax(axis=0)
    since, second = best // classes, best % classes
    first_class = likely[since, :, second, np.arange(pixels)].argmax(axis=1)
    return np.where(np.arange(years)[:, None] < since, first_class, second), probability


def _fresh(looks: np.ndarray, path: np.ndarray, alike: np.ndarray, repeated: float) -> np.ndarray:
    """Looks less the steady deviation that a path implies, and as sure as they are without it."""
    seen = np.any(looks, axis=1)
    counts = np.stack([((path == number) & seen).sum(axis=0) for number in range(len(alike))]).astype(np.float32)
    steady = _tie(seen, repeated) * (_together(looks, seen, alike) - alike @ counts)
    return looks / np.float32(1 - repeated) - steady * seen[:, None]


def _together(looks: np.ndarray, seen: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """The A of the module, `[classes, pixels]`."""
    centred = looks.sum(axis=0) + seen.sum(axis=0) * np.diag(alike)[:, None] / 2
    return centred - centred.mean(axis=0)


def _tie(seen: np.ndarray, repeated: float) -> np.ndarray:
    """The k of the module, `[pixels]`."""
    return (repeated / ((1 - repeated) * (1 - repeated + seen.sum(axis=0) * repeated))).astype(np.float32)
