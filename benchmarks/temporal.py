"""Change found in simulated years, half of whose errors come back every year: raw, filtered, and by the model.

Change is a pixel whose class differs from the year before; it counts as found in the right year only. The last year of
a series is left out, since it is provisional; figures with it stand in the notes.
"""

from __future__ import annotations

import numpy as np

from benchmarks.report import Figure
from services.change.emissions import (
    REPEATED,
    codes_log_emission,
    matrix_emission,
    scores_log_emission,
    sharpened,
    usual_prior,
)
from services.change.sharpness import fit_sharpness
from services.change.steady_errors import looks_alike, path_and_probability
from services.change.temporal import fit, most_likely
from tests.services.change.simulated_years import (
    Years,
    changes_found,
    filtered,
    simulate_scores,
    simulate_years,
)

PIXELS = 60_000
OTHER_DRAWS = range(10, 16)
"""Their seeds."""
_UNITS = 300
"""Sample units of each mapped class in the error matrix."""


def temporal() -> list[Figure]:
    """Eight years with 2 % of change a year (1 %, and five years, as well), from classes and from scores."""
    figures = []
    for years, change in ((8, 0.02), (8, 0.01), (5, 0.02)):
        simulated = simulate_years(years, PIXELS, change=change)
        label = f"{years} years, {change:.0%} change a year"
        figures += _compared(f"classes, {label}", simulated.truth, simulated.mapped, _by_classes(simulated))
        scores = simulate_scores(simulated.truth, distance=3.4)
        figures += _compared(f"scores, {label}", simulated.truth, scores.argmax(axis=1), _by_scores(scores))
    return [*figures, *(one for years in (8, 5) for one in _other_draws(years))]


def _other_draws(years: int) -> list[Figure]:
    """The worst of other simulations of the same kind: one draw tells recall to a point or two."""
    lost: dict[str, list[float]] = {"classes": [], "scores": []}
    times: dict[str, list[float]] = {"classes": [], "scores": []}
    for seed in OTHER_DRAWS:
        simulated = simulate_years(years, PIXELS, seed=seed)
        scores = simulate_scores(simulated.truth, distance=3.4, seed=seed + 100)
        ways = {
            "classes": (simulated.mapped, _by_classes(simulated)),
            "scores": (scores.argmax(axis=1), _by_scores(scores)),
        }
        for name, both in ways.items():
            raw, model = (changes_found(simulated.truth, one) for one in both)
            lost[name].append(100 * (raw.recall - model.recall))
            times[name].append(model.f1 / raw.f1)
    return [
        Figure(
            f"recall lost from {name}, points, the worst of {len(OTHER_DRAWS)} other draws: {years} years",
            max(one),
            "<= 10",
            f"{', '.join(f'{points:.1f}' for points in one)}; F1 {min(times[name]):.1f} times that of the maps or more",
        )
        for name, one in lost.items()
    ]


def _by_classes(years: Years) -> np.ndarray:
    emission = matrix_emission(years.sample(_UNITS), years.map_shares)
    log_emission = codes_log_emission(years.mapped, emission)
    return most_likely(log_emission, fit(log_emission))


def _by_scores(scores: np.ndarray) -> np.ndarray:
    shares = sharpened(scores, fit_sharpness(scores))
    log_emission = scores_log_emission(shares, usual_prior(shares))
    chain = fit(log_emission)
    return path_and_probability(log_emission, chain, looks_alike(log_emission, chain), REPEATED)[0]


def _compared(label: str, truth: np.ndarray, mapped: np.ndarray, model: np.ndarray) -> list[Figure]:
    series = {"raw": mapped, "persistence filter": filtered(mapped), "model": model}
    found = {name: changes_found(truth, one) for name, one in series.items()}
    with_last = {name: changes_found(truth, one, last_year=True) for name, one in series.items()}
    told = {
        name: f"precision {one.precision:.3f}, recall {one.recall:.3f}; with the last year {with_last[name].f1:.3f} "
        f"({with_last[name].precision:.3f}, {with_last[name].recall:.3f}); right {(series[name] == truth).mean():.1%}"
        for name, one in found.items()
    }
    return [
        Figure(f"F1 of change, raw: {label}", found["raw"].f1, "", told["raw"]),
        Figure("  with the persistence filter", found["persistence filter"].f1, "", told["persistence filter"]),
        Figure("  with the model", found["model"].f1, f">= {2 * found['raw'].f1:.3f}", told["model"]),
        Figure("  recall lost to the model, points", 100 * (found["raw"].recall - found["model"].recall), "<= 10"),
    ]
