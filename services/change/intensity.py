"""Intensity analysis: whether change is faster or slower, and more or less directed, than if it were spread evenly.

Aldwaik and Pontius 2012, *Intensity analysis to unify measurements of size and stationarity of land changes by
interval, category, and transition*, Landscape and Urban Planning 106(1). All intensities are per cent a year of the
area observed in both years of an interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from services.change.transitions import TransitionMatrix

_COLUMNS = ["level", "from_year", "to_year", "measure", "from_class", "to_class", "intensity", "uniform", "stronger"]


def intensity(matrices: Sequence[TransitionMatrix]) -> pd.DataFrame:
    """The three levels of intensity analysis of intervals that follow each other.

    `interval`: annual change S_t (Eq. 2) against the uniform U of all intervals (Eq. 1). `category`: annual gain of a
    class over its area at the end (G, Eq. 3) and loss over its area at the start (L, Eq. 4), against S_t.
    `transition`: gain of class n from class i over i's area at the start (R, Eq. 5) against n's gain over all that was
    not n (W, Eq. 6); loss of class m to j over j's area at the end (Q, Eq. 7) against m's loss over all that is not m
    (V, Eq. 8).

    Args:
        matrices: one an interval.

    Returns:
        Columns `level`, `from_year`, `to_year`, `measure` (S, G, L, R or Q), `from_class`, `to_class`, `intensity` and
        `uniform` (per cent a year), `stronger`: whether the first is above the second. Where a class has no area the
        intensity is empty: it is not defined.
    """
    years = [one.to_year - one.from_year for one in matrices]
    uniform = 100 * _divided(
        sum(one.changed_hectares for one in matrices),
        sum(one.observed_hectares * span for one, span in zip(matrices, years, strict=True)),
    )
    rows: list[tuple[object, ...]] = []
    for one, span in zip(matrices, years, strict=True):
        area, names = one.hectares, one.names
        before, after, kept = area.sum(axis=1), area.sum(axis=0), np.diag(area)
        gain, loss, total = after - kept, before - kept, one.observed_hectares
        overall = 100 * _divided(one.changed_hectares, total * span)

        def row(
            level: str,
            measure: str,
            pair: tuple[str, str],
            value: float,
            even: float,
            interval: TransitionMatrix = one,
        ) -> None:
            rows.append((level, interval.from_year, interval.to_year, measure, *pair, value, even))

        row("interval", "S", ("", ""), overall, uniform)
        for k, name in enumerate(names):
            row("category", "G", ("", name), 100 * _divided(gain[k], span * after[k]), overall)
            row("category", "L", (name, ""), 100 * _divided(loss[k], span * before[k]), overall)
        for k, name in enumerate(names):
            gained = 100 * _divided(gain[k], span * (total - before[k]))
            lost = 100 * _divided(loss[k], span * (total - after[k]))
            for i, other in enumerate(names):
                if i != k:
                    row("transition", "R", (other, name), 100 * _divided(area[i, k], span * before[i]), gained)
                    row("transition", "Q", (name, other), 100 * _divided(area[k, i], span * after[i]), lost)
    table = pd.DataFrame(rows, columns=_COLUMNS[:-1])
    return table.assign(stronger=table.intensity > table.uniform)[_COLUMNS]


def _divided(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
