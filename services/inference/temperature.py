"""Temperature: by what logits are divided so that, of pixels with a probability of 80 %, 80 % are right.

A network that matches a teacher is as unsure as its teacher, though it agrees with it far more often. One number for
all classes, fitted by maximum likelihood (Guo et al. 2017, "On calibration of modern neural networks").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from catalog.atmosphere import Level
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, Provenance
from catalog.scenes import BANDS
from services.evaluation.agreement import Tally
from services.inference.chips import CLOUD, NINE_TO_SIX, Chip

_PIXELS = 100_000
"""Drawn, of all chips together."""
_TRIED = np.geomspace(1 / 20, 20, 61)
"""Temperatures: 10 % apart; the best one lies on a parabola through the best three."""


@dataclass(frozen=True)
class Temperature:
    """What was fitted, and what it does."""

    value: float
    without: Mapping[str, float]
    """By place: the temperature that the other places give."""
    error_before: float
    """Expected calibration error at temperature 1, of the pixels that were drawn."""
    error_after: float
    """The same, each place judged with the temperature that the others give."""


def fit_temperature(
    logits_of: Callable[[np.ndarray], np.ndarray],
    chips: Sequence[Chip],
    bands: Sequence[str] = BANDS,
    level: Level | None = None,
) -> Temperature:
    """Fit a temperature on labelled chips of places that were not learned.

    Every labelled pixel counts alike, so that a large chip says more than a small one: who reads a map asks in how many
    of the pixels at 80 % the class is right.

    Args:
        logits_of: uint16 `[bands, H, W]` to logits `[classes, H, W]`.
        chips: with labels.
        bands: of the network.
        level: that it was made for.

    Raises:
        BadInput: labels in fewer than two places.
    """
    random = np.random.default_rng(0)
    labelled = [np.flatnonzero((chip.classes <= CLOUD) & chip.image[NINE_TO_SIX].all(axis=0)) for chip in chips]
    if (found := len({chip.place for chip, here in zip(chips, labelled, strict=True) if here.size})) < 2:
        raise BadInput(
            f"A temperature is fitted on places that were not learned; the split validation has labels in {found}."
        )
    share = min(1, _PIXELS / sum(here.size for here in labelled))
    surprise: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(_TRIED)))
    drawn = []
    for chip, here in zip(chips, labelled, strict=True):
        if pixels := int(np.ceil(share * here.size)):
            here = random.permutation(here)[:pixels]
            logits = logits_of(chip.shown(bands, level)).reshape(len(MODEL_CLASSES), -1)[:, here]
            wanted = chip.classes.ravel()[here]
            surprise[chip.place] += _surprise(logits, wanted)
            drawn.append((chip.place, logits, wanted))
    together = np.sum(list(surprise.values()), axis=0)
    without = {place: _best(together - own) for place, own in surprise.items()}
    return Temperature(
        value=_best(together),
        without=without,
        error_before=_error(drawn, dict.fromkeys(without, 1.0)),
        error_after=_error(drawn, without),
    )


def as_the_others_say(scores: np.ndarray, place: str, provenance: Provenance | None) -> np.ndarray:
    """Scores of a place as they were if the network's temperature had been fitted on the other places alone.

    Args:
        scores: uint8 `[classes, H, W]`, 255 x probability.
        place: where.
        provenance: of the network; without, or where it was not fitted on that place, the scores stay as they are.

    Returns:
        float32 `[classes, H, W]`; which class has the highest score stays as it is.
    """
    scores = scores.astype(np.float32)
    if provenance is None or place not in provenance.temperature_without:
        return scores
    powers = (scores / 255) ** np.float32(provenance.temperature / provenance.temperature_without[place])
    return powers * (255 / np.maximum(powers.sum(axis=0), np.finfo(np.float32).tiny))


def _surprise(logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Negative log-likelihood at each temperature tried, of logits `[classes, n]` and numbers of classes `[n]`."""
    right = logits[wanted, np.arange(wanted.size)]
    return np.array([(logsumexp(logits / t, axis=0) - right / t).sum() for t in _TRIED])


def _best(surprise: np.ndarray) -> float:
    best = int(np.clip(surprise.argmin(), 1, len(_TRIED) - 2))
    three = slice(best - 1, best + 2)
    square, slope, _ = np.polyfit(np.log(_TRIED[three]), surprise[three], 2)
    # At either end of those tried there is no parabola with a lowest point.
    return float(np.exp(-slope / (2 * square))) if square > 0 else float(_TRIED[surprise.argmin()])


def _error(drawn: Sequence[tuple[str, np.ndarray, np.ndarray]], temperatures: Mapping[str, float]) -> float:
    """Expected calibration error over all places."""
    tallies = []
    for place, logits, wanted in drawn:
        scaled = logits / temperatures[place]
        confidence = np.exp(scaled.max(axis=0) - logsumexp(scaled, axis=0))
        where = np.zeros(wanted.size, int)
        tallies.append(Tally.count([place], len(MODEL_CLASSES), where, wanted, scaled.argmax(axis=0), confidence))
    pixels, agree, confidence = Tally.together(tallies).reliability.sum(axis=0).T
    return float(np.abs(agree - confidence).sum() / pixels.sum())
