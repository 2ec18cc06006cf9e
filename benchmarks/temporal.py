"""Change found in simulated years, half of whose errors come back every year: raw, filtered, and by the model.

Change is a pixel whose class differs from the year before; it counts as found in the right year only. The last year of
a series is left out, since it is provisional; figures with it stand in the notes.
"""

from __future__ import annotations

import numpy as np

from benchmarks.report import Figure
from services.change.emissions import codes_log_emission, matrix_emission, scores_log_emission, sharpened, usual_prior
from services.change.sharpness import fit_sharpness
from services.change.temporal import fit, most_likely
from tests.services.change.simulated_years import (
    Years,
    changes_found,
    filtered,
    simulate_scores,
    simulate_years,
)

PIXELS = 60_000
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
    return figures


def _by_classes(years: Years) -> np.ndarray:
    emission = matrix_emission(years.sample(_UNITS), years.map_shares)
    log_emission = codes_log_emission(years.mapped, emission)
    return most_likely(log_emission, fit(log_emission))


def _by_scores(scores: np.ndarray) -> np.ndarray:
    shares = sharpened(scores, fit_sharpness(scores))
    log_emission = scores_log_emission(shares, usual_prior(shares))
    return most_likely(log_emission, fit(log_emission))


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
