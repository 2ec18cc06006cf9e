"""A hidden Markov model over the years of a map: what each pixel most likely was, and how sure that is.

After Abercrombie and Friedl 2016 (*Improving the consistency of multitemporal land cover maps using a hidden Markov
model*, IEEE TGRS 54, 703-713): the true class follows a Markov chain from year to year, the maps are noisy looks at it
(`services.change.emissions`).

Arrays of the years are `[years, classes, pixels]`; pixels are alike to the model, whatever place they have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from catalog.errors import BadInput

CHANGE_WEIGHT = 6.0
"""How many changes that are none one missed change weighs: chosen by `benchmarks/temporal_choice.py`."""
_BLOCK = 1 << 16
"""Pixels whose probabilities are in memory at a time: some 40 MB a hundred year-classes."""
_ITERATIONS, _SETTLED = 100, 1e-5
USUAL_CHANGE, USUAL_WEIGHT = 0.02, 0.1
"""What is expected of the ground before any map is seen: the share of each class that changes in a year, to all others
alike; and how much that weighs beside the maps, as a share of them."""


@dataclass(frozen=True)
class Chain:
    """The Markov chain of the true classes."""

    initial: np.ndarray
    """Probability of each class in the first year, `[classes]`."""
    transition: np.ndarray
    """Probability of going from a class (row) to another (column) in a year, `[classes, classes]`."""

    def __post_init__(self) -> None:
        square = self.transition.shape == (self.initial.size, self.initial.size)
        whole = square and np.allclose(self.transition.sum(axis=1), 1) and np.allclose(self.initial.sum(), 1)
        if not whole or min(self.transition.min(), self.initial.min()) < 0:
            raise BadInput(
                f"Transition probabilities {self.transition.tolist()} of {self.initial.size} classes are not possible. "
                "Give a square matrix, from a class (row) to another (column), whose rows sum to 1."
            )

    @property
    def yearly_change(self) -> float:
        """Probability that a pixel of the first year changes within a year."""
        return float(1 - self.initial @ np.diag(self.transition))


def fit(log_emission: np.ndarray, weights: np.ndarray | None = None, expected: float = USUAL_WEIGHT) -> Chain:
    """Estimate the chain by expectation maximisation, the emissions fixed (Baum-Welch; Rabiner 1989, Eq. 40).

    Never from counted transitions of the maps, most of which are errors. Each row has a Dirichlet prior, of
    `USUAL_CHANGE` (maximum a posteriori: Gauvain and Lee 1994): where little changes, the likeliest rate is none at
    all, and then no look at a pixel, however clear, finds any.

    Args:
        log_emission: `[years, classes, pixels]`.
        weights: how many pixels each stands for, `[pixels]`; by default one.
        expected: how much the usual change weighs beside the maps.

    Raises:
        BadInput: fewer than two years, or no pixel.
    """
    years, classes, pixels = log_emission.shape
    if years < 2 or not pixels:
        raise BadInput(f"A series of {years} years and {pixels} pixels tells no change. Give two years or more.")
    weights = np.ones(pixels) if weights is None else np.asarray(weights, np.float64)
    chain = Chain(np.full(classes, 1 / classes), 0.95 * np.eye(classes) + 0.05 / classes)
    usual = np.full((classes, classes), USUAL_CHANGE / max(1, classes - 1))
    np.fill_diagonal(usual, 1 - USUAL_CHANGE)
    for _ in range(_ITERATIONS):
        # A pixel of each class: one that hardly occurs changes as is usual.
        moves, starts = usual.copy(), np.full(classes, 1e-3)
        for block in _blocks(pixels):
            more_moves, more_starts = _expected(log_emission[..., block], weights[block], chain)
            moves, starts = moves + more_moves, starts + more_starts
        moves += expected * moves.sum(axis=1, keepdims=True) * usual
        before, chain = chain, Chain(starts / starts.sum(), moves / moves.sum(axis=1, keepdims=True))
        if np.abs(chain.transition - before.transition).max() < _SETTLED:
            break
    return chain


def most_likely(log_emission: np.ndarray, chain: Chain, change_weight: float = CHANGE_WEIGHT) -> np.ndarray:
    """The most likely classes of all years together (Viterbi), uint8 `[years, pixels]`.

    Args:
        log_emission: `[years, classes, pixels]`.
        chain: the true classes' chain.
        change_weight: how many false changes a missed one weighs; 1 is Viterbi's path proper. Transitions to another
            class are that many times likelier.
    """
    odds = chain.transition * np.where(np.eye(chain.initial.size, dtype=bool), 1, change_weight)
    with np.errstate(divide="ignore"):
        moves, starts = np.log(odds / odds.sum(axis=1, keepdims=True)), np.log(chain.initial)
    years, classes, pixels = log_emission.shape
    path = np.empty((years, pixels), np.uint8)
    for block in _blocks(pixels):
        emission = log_emission[..., block]
        came_from = np.empty(emission.shape, np.uint8)
        best = starts[:, None] + emission[0]
        for year in range(1, years):
            after = np.empty_like(best)
            for into in range(classes):
                ways = best + moves[:, into, None]
                came_from[year, into] = ways.argmax(axis=0)
                after[into] = ways.max(axis=0)
            best = after + emission[year]
        path[-1, block] = best.argmax(axis=0)
        for year in range(years - 1, 0, -1):
            path[year - 1, block] = np.take_along_axis(came_from[year], path[year, block][None], axis=0)[0]
    return path


def posterior(log_emission: np.ndarray, chain: Chain) -> np.ndarray:
    """Probability of each class in each year, given all years (forward-backward; Rabiner 1989, Eq. 27).

    Args:
        log_emission: `[years, classes, pixels]`.
        chain: the true classes' chain.

    Returns:
        float32 `[years, classes, pixels]`, summing to 1 over classes.
    """
    found = np.empty(log_emission.shape, np.float32)
    for block in _blocks(log_emission.shape[-1]):
        forward, emission = _forward(log_emission[..., block], chain)
        backward = np.ones_like(forward[0])
        for year in range(len(forward) - 1, -1, -1):
            both = forward[year] * backward
            found[year, :, block] = both / both.sum(axis=0)
            backward = chain.transition @ (emission[year] * backward)
            backward /= backward.sum(axis=0)
    return found


def log_evidence(log_emission: np.ndarray, chain: Chain) -> float:
    """Mean log-likelihood of a pixel's years (Rabiner 1989, Eq. 103).

    Args:
        log_emission: `[years, classes, pixels]`.
        chain: the true classes' chain.
    """
    total, pixels = 0.0, log_emission.shape[-1]
    for block in _blocks(pixels):
        most = log_emission[..., block].max(axis=1, keepdims=True)
        ahead = chain.initial[:, None]
        for seen in np.exp(log_emission[..., block] - most):
            now = ahead * seen
            share = now.sum(axis=0)
            total += float(np.log(share).sum())
            ahead = chain.transition.T @ (now / share)
        total += float(most.sum())
    return total / pixels


def _expected(log_emission: np.ndarray, weights: np.ndarray, chain: Chain) -> tuple[np.ndarray, np.ndarray]:
    """Expected number of transitions `[classes, classes]`, and of pixels in each class in the first year."""
    forward, emission = _forward(log_emission, chain)
    moves, backward = np.zeros_like(chain.transition), np.ones_like(forward[0])
    for year in range(len(forward) - 1, 0, -1):
        ahead = emission[year] * backward
        before = chain.transition @ ahead
        share = weights / (forward[year - 1] * before).sum(axis=0)
        moves += chain.transition * ((forward[year - 1] * share) @ ahead.T)
        backward = before / before.sum(axis=0)
    first = forward[0] * backward
    return moves, (first / first.sum(axis=0)) @ weights


def _forward(log_emission: np.ndarray, chain: Chain) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each class given the years so far, scaled year by year; and the emissions, scaled likewise."""
    emission = np.exp(log_emission - log_emission.max(axis=1, keepdims=True))
    forward = np.empty_like(emission)
    for year, seen in enumerate(emission):
        ahead = chain.transition.T @ forward[year - 1] if year else chain.initial[:, None]
        forward[year] = ahead * seen
        forward[year] /= forward[year].sum(axis=0)
    return forward, emission


def _blocks(pixels: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, pixels, _BLOCK))
