"""Areas of classes by year, and their net and gross change. Mapped areas: pixels counted, which is biased where the
maps err (Olofsson et al. 2014); an estimate from reference data stands in another column, where there is one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from services.change.tally import UNOBSERVED, Tally
from services.change.transitions import TransitionMatrix


def areas_by_year(tally: Tally, names: tuple[str, ...]) -> pd.DataFrame:
    """Area of each class in each year, of all pixels observed in that year.

    Args:
        tally: of a series.
        names: of all classes: one that does not occur has 0.

    Returns:
        Columns `year`, `class`, `pixels`, `mapped_hectares`, `share_percent` (of the observed area; empty for the
        row `unobserved`, no data and cloud, which is in no denominator; empty, too, where nothing was observed).
    """
    table, rows = tally.transitions, []
    for first, second in table[["from_year", "to_year"]].drop_duplicates().to_numpy():
        pair = table[(table.from_year == first) & (table.to_year == second)]
        rows += [(first, pair.groupby("from_class")), (second, pair.groupby("to_class"))]
    tables = []
    # Each year stands in two or more pairs, always with the same sums.
    for year, grouped in sorted(dict(rows).items()):
        sums = grouped[["pixels", "mapped_hectares"]].sum().reindex([*names, UNOBSERVED], fill_value=0)
        observed = sums.mapped_hectares[list(names)].sum()
        sums["share_percent"] = 100 * sums.mapped_hectares / observed if observed else np.nan
        sums.loc[UNOBSERVED, "share_percent"] = np.nan
        tables.append(sums.rename_axis("class").reset_index().assign(year=year))
    return pd.concat(tables, ignore_index=True)[["year", "class", "pixels", "mapped_hectares", "share_percent"]]


def net_and_gross(matrix: TransitionMatrix) -> pd.DataFrame:
    """Change of each class between two years, of the pixels observed in both.

    Returns:
        Columns `from_year`, `to_year`, `class`; hectares `before`, `after`, `gain`, `loss`, `net` (gain - loss),
        `gross` (gain + loss); `net_percent` of the area before, empty where the class was
        not there before: that has no relative change.
    """
    area = matrix.hectares
    kept = np.diag(area)
    before, after = area.sum(axis=1), area.sum(axis=0)
    gain, loss = after - kept, before - kept
    there = matrix.pixels.sum(axis=1) > 0
    net_percent = np.divide(100 * (gain - loss), before, out=np.full(len(before), np.nan), where=there)
    return pd.DataFrame(
        {
            "from_year": matrix.from_year,
            "to_year": matrix.to_year,
            "class": matrix.names,
            "before_hectares": before,
            "after_hectares": after,
            "gain_hectares": gain,
            "loss_hectares": loss,
            "net_hectares": gain - loss,
            "gross_hectares": gain + loss,
            "net_percent": net_percent,
        }
    )
