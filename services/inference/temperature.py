"""Temperature: by what logits are divided so that, of pixels with a probability of 80 %, 80 % are right.

A network that matches a teacher is as unsure as its teacher, though it agrees with it far more often. One number for
all classes, fitted by maximum likelihood (Guo et al. 2017, "On calibration of modern neural networks").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from catalog.tree import TEN, Tree
from services.evaluation.agreement import Tally
from services.inference.chips import CLOUD, NINE_TO_SIX, Chip

_PIXELS = 2000
"""Drawn from each chip."""
_LARGEST = 50.0


@dataclass(frozen=True)
class Temperature:
    """What was fitted, and what it does."""

    value: float
    places: int
    error_before: float
    """Expected calibration error at temperature 1."""
    error_after: float
    """The same, each place judged with the temperature that the others give."""


def fit_temperature(
    logits_of: Callable[[np.ndarray], np.ndarray],
    chips: Sequence[Chip],
    tree: Tree = TEN,
    bands: Sequence[str] = BANDS,
) -> Temperature:
    """Fit a temperature on labelled chips of places that were not learned.

    Labels may be of any depth; the calibration error is that of the ten classes.

    Args:
        logits_of: uint16 `[bands, H, W]` to logits `[leaves, H, W]`.
        chips: with labels.
        tree: whose leaves the logits are of.
        bands: of the network.

    Raises:
        BadInput: labels in fewer than two places.
    """
    random = np.random.default_rng(0)
    drawn: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for chip in chips:
        labelled = np.flatnonzero((chip.classes <= CLOUD) & chip.image[NINE_TO_SIX].all(axis=0))
        if labelled.size:
            pixels = random.permutation(labelled)[:_PIXELS]
            logits = logits_of(chip.shown(bands)).reshape(len(tree.leaves), -1)[:, pixels]
            labels = chip.labels if chip.tree == tree else chip.classes
            drawn.setdefault(chip.place, []).append((logits.astype(float), labels.ravel()[pixels]))
    if len(drawn) < 2:
        raise BadInput(
            f"A temperature is fitted on places that were not learned; the split validation has labels in {len(drawn)}."
        )
    places = {
        place: (
            np.concatenate([logits for logits, _ in parts], axis=1),
            np.concatenate([wanted for _, wanted in parts]),
        )
        for place, parts in drawn.items()
    }
    members = tree.members(tree.names, tree.leaves)
    parts = list(places.values())
    without = {place: _fit([other for name, other in places.items() if name != place], members) for place in places}
    roots = tree.members(MODEL_CLASSES, tree.leaves)
    root_of = np.array([MODEL_CLASSES.index(tree.path(name)[0]) for name in tree.names])
    rolled = {place: (logits, root_of[wanted]) for place, (logits, wanted) in places.items()}
    return Temperature(
        value=_fit(parts, members),
        places=len(places),
        error_before=_error(rolled, dict.fromkeys(places, 1.0), roots),
        error_after=_error(rolled, without, roots),
    )


def _fit(parts: Sequence[tuple[np.ndarray, np.ndarray]], members: np.ndarray) -> float:
    """On logits of leaves and labels of any depth.

    Args:
        parts: logits `[leaves, n]`, and numbers of classes `[n]`.
        members: which leaf is part of which class, bool `[classes, leaves]`.
    """
    logits = np.concatenate([logits for logits, _ in parts], axis=1)
    wanted = np.concatenate([wanted for _, wanted in parts])
    # A class is as probable as all of its leaves together.
    right = np.where(members[wanted].T, 0, -np.inf)

    def surprise(log_temperature: float) -> float:
        scaled = np.exp(-log_temperature) * logits
        return float((logsumexp(scaled, axis=0) - logsumexp(scaled + right, axis=0)).mean())

    bounds = (-np.log(_LARGEST), np.log(_LARGEST))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def _error(
    places: dict[str, tuple[np.ndarray, np.ndarray]], temperatures: dict[str, float], members: np.ndarray
) -> float:
    """Expected calibration error of the ten classes over all places; `members` are their leaves, `[10, leaves]`."""
    tallies = []
    for place, (logits, wanted) in places.items():
        scaled = logits / temperatures[place]
        shares = members.astype(float) @ np.exp(scaled - logsumexp(scaled, axis=0))
        confidence = shares.max(axis=0)
        where = np.zeros(wanted.size, int)
        tallies.append(Tally.count([place], len(MODEL_CLASSES), where, wanted, shares.argmax(axis=0), confidence))
    pixels, agree, confidence = Tally.together(tallies).reliability.sum(axis=0).T
    return float(np.abs(agree - confidence).sum() / pixels.sum())
