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
    logits_of: Callable[[np.ndarray], np.ndarray], chips: Sequence[Chip], bands: Sequence[str] = BANDS
) -> Temperature:
    """Fit a temperature on labelled chips of places that were not learned.

    Args:
        logits_of: uint16 `[bands, H, W]` to logits `[10, H, W]`.
        chips: with labels.
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
            logits = logits_of(chip.shown(bands)).reshape(len(MODEL_CLASSES), -1)[:, pixels]
            drawn.setdefault(chip.place, []).append((logits.astype(float), chip.classes.ravel()[pixels]))
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
    without = {place: _fit([other for name, other in places.items() if name != place]) for place in places}
    return Temperature(
        value=_fit(list(places.values())),
        places=len(places),
        error_before=_error(places, dict.fromkeys(places, 1.0)),
        error_after=_error(places, without),
    )


def _fit(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    logits = np.concatenate([logits for logits, _ in parts], axis=1)
    wanted = np.concatenate([wanted for _, wanted in parts])
    right = logits[wanted, np.arange(wanted.size)]

    def surprise(log_temperature: float) -> float:
        factor = np.exp(-log_temperature)
        return float((logsumexp(factor * logits, axis=0) - factor * right).mean())

    bounds = (-np.log(_LARGEST), np.log(_LARGEST))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def _error(places: dict[str, tuple[np.ndarray, np.ndarray]], temperatures: dict[str, float]) -> float:
    """Expected calibration error over all places."""
    tallies = []
    for place, (logits, wanted) in places.items():
        scaled = logits / temperatures[place]
        confidence = np.exp(scaled.max(axis=0) - logsumexp(scaled, axis=0))
        where = np.zeros(wanted.size, int)
        tallies.append(Tally.count([place], len(MODEL_CLASSES), where, wanted, scaled.argmax(axis=0), confidence))
    pixels, agree, confidence = Tally.together(tallies).reliability.sum(axis=0).T
    return float(np.abs(agree - confidence).sum() / pixels.sum())
