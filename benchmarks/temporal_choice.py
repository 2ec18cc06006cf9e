"""How the temporal model's constants were chosen: on other landscapes than those it is judged by, and at random.

Each landscape has its own number of classes and years, shares, transitions, rate of change, distance between classes,
share of errors that repeat, and scores that are too sure or not sure enough; looks have heavier tails than a normal
deviate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.report import Figure
from services.change import steady_errors, temporal
from services.change.emissions import REPEATED, scores_log_emission, sharpened, usual_prior
from services.change.sharpness import fit_sharpness
from services.change.steady_errors import looks_alike, path_and_probability
from services.change.temporal import fit
from tests.services.change.simulated_years import changes_found, filtered

LANDSCAPES = range(1008, 1020)
"""Seeds of those that are judged by; the constants were chosen on 1000 to 1007."""
PIXELS = 6_000
Model = Callable[[np.ndarray], np.ndarray]


def landscape(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True classes `[years, pixels]`, and scores in whole per cent `[years, classes, pixels]`."""
    random = np.random.default_rng(seed)
    classes, years = int(random.integers(4, 9)), int(random.integers(4, 10))
    change, repeated = float(np.exp(random.uniform(np.log(0.004), np.log(0.03)))), float(random.uniform(0.25, 0.75))
    distance, sureness = float(random.uniform(2.8, 4.2)), float(random.uniform(0.6, 1.4))
    shares = 0.97 * random.dirichlet(np.full(classes, 0.7)) + 0.03 / classes
    others = random.dirichlet(np.full(classes, 0.6), classes) * (1 - np.eye(classes)) + 1e-9 * (1 - np.eye(classes))
    rates = random.uniform(0.3, 2, classes)
    rates *= change / (rates @ shares)
    moves = np.diag(1 - rates) + rates[:, None] * others / others.sum(axis=1, keepdims=True)
    truth = np.empty((years, PIXELS), int)
    truth[0] = random.choice(classes, PIXELS, p=shares)
    for year in range(1, years):
        above = random.random(PIXELS)[:, None] > moves[truth[year - 1]].cumsum(axis=1)
        truth[year] = np.minimum(above.sum(axis=1), classes - 1)
    centres = random.normal(size=(classes, classes))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    centres = (centres + np.eye(classes)) * distance / np.sqrt(8)
    steady, fresh = (random.standard_t(6, (count, PIXELS, classes)) / np.sqrt(1.5) for count in (1, years))
    looks = centres[truth] + np.sqrt(repeated) * steady + np.sqrt(1 - repeated) * fresh
    log = looks @ centres.T - (centres**2).sum(axis=1) / 2 + np.log(shares)
    scores = np.exp(sureness * (log - log.max(axis=-1, keepdims=True)))
    return truth, np.round(100 * np.moveaxis(scores / scores.sum(axis=-1, keepdims=True), -1, 1)) / 100


def temporal_choice() -> list[Figure]:
    """F1 and recall of change, as means over landscapes, of each choice with the others as they are."""
    seen = [landscape(seed) for seed in LANDSCAPES]
    likeliest = {id(scores): fit_sharpness(scores) for _, scores in seen}

    def likely(scores: np.ndarray) -> float:
        return likeliest[id(scores)]

    raw = [changes_found(truth, scores.argmax(axis=1)) for truth, scores in seen]
    ways: dict[str, Model] = {
        "maps": lambda scores: scores.argmax(axis=1),
        "persistence filter": lambda scores: filtered(scores.argmax(axis=1)),
        "model": _model(sharpness=likely),
        "prior: mean score": _model(sharpness=likely, prior=lambda shares: np.maximum(shares.mean(axis=(0, 2)), 1e-6)),
        "prior: half mean, half even": _model(
            sharpness=likely, prior=lambda shares: shares.mean(axis=(0, 2)) / 2 + _even(shares) / 2
        ),
        "prior: even": _model(sharpness=likely, prior=_even),
        "sharpness: 1": _model(sharpness=lambda scores: 1.0),
        "sharpness: 2": _model(sharpness=lambda scores: 2.0),
        "expected change weighs 0": _model(sharpness=likely, weight=0.0),
        "expected change weighs 0.5": _model(sharpness=likely, weight=0.5),
        "change weight: 1": _model(sharpness=likely, change_weight=1.0),
        "change weight: 3": _model(sharpness=likely, change_weight=3.0),
        "change weight: 6": _model(sharpness=likely, change_weight=6.0),
        "share that repeats: 0.3": _model(sharpness=likely, repeated=0.3),
        "share that repeats: 0.7": _model(sharpness=likely, repeated=0.7),
        "no error repeats": _model(sharpness=likely, repeated=0.0),
        "no error repeats, change weight 6": _model(sharpness=likely, repeated=0.0, change_weight=6.0),
    }
    figures = []
    for name, way in ways.items():
        series = [way(scores) for _, scores in seen]
        found = [changes_found(truth, one) for (truth, _), one in zip(seen, series, strict=True)]
        lost = [100 * (before.recall - after.recall) for before, after in zip(raw, found, strict=True)]
        right = np.mean([(one == truth).mean() for (truth, _), one in zip(seen, series, strict=True)])
        told = (
            f"precision {np.mean([one.precision for one in found]):.2f}, recall "
            f"{np.mean([one.recall for one in found]):.2f}, {np.mean(lost):.0f} points lost, at most {max(lost):.0f}; "
            f"right {right:.1%}"
        )
        figures.append(Figure(f"F1 of change, {name}", float(np.mean([one.f1 for one in found])), "", told))
    return figures


def _model(
    *,
    sharpness: Callable[[np.ndarray], float],
    prior: Model = usual_prior,
    weight: float = temporal.USUAL_WEIGHT,
    change_weight: float = steady_errors.CHANGE_WEIGHT,
    repeated: float = REPEATED,
) -> Model:
    def corrected(scores: np.ndarray) -> np.ndarray:
        shares = sharpened(scores, sharpness(scores))
        looks = scores_log_emission(shares, prior(shares))
        chain = fit(looks, expected=weight)
        return path_and_probability(looks, chain, looks_alike(looks, chain), repeated, change_weight)[0]

    return corrected


def _even(shares: np.ndarray) -> np.ndarray:
    return np.full(shares.shape[1], 1 / shares.shape[1])
