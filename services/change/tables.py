"""All tables of a change product, from what was counted."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from services.change.areas import areas_by_year, net_and_gross
from services.change.degradation import DegradationMatrix, degradation_table
from services.change.intensity import intensity
from services.change.map_legend import MapLegend
from services.change.tally import Tally, year_pairs
from services.change.themes import Theme, by_theme
from services.change.transitions import TransitionMatrix, components, matrix_of, ranked

TITLES = {
    "areas": "Mapped area of each class in each year, hectares",
    "net_change": "Gain, loss, net and gross change of each class, hectares",
    "transitions": "Transitions, the largest first, and what of them lasts, hectares and per cent",
    "components": "Quantity, exchange and shift (Pontius and Santacruz 2014), hectares",
    "intensity": "Intensity analysis (Aldwaik and Pontius 2012), per cent a year",
    "themes": "Deforestation, agricultural expansion and other themes, hectares",
    "degradation": "Degradation, stability and improvement by land cover, hectares and per cent of land",
    "persistence": "Sustained change, flicker and others, by year of change, hectares",
}


def end_matrix(tally: Tally, legend: MapLegend, years: tuple[int, ...]) -> TransitionMatrix:
    """The matrix from the first year to the last."""
    return matrix_of(tally, legend.names, years[0], years[-1])


def change_tables(
    tally: Tally,
    legend: MapLegend,
    years: tuple[int, ...],
    themes: dict[str, Theme],
    accuracy: str,
    degradation: DegradationMatrix | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables, by the names of `TITLES`.

    Args:
        tally: what was counted.
        legend: of the maps.
        years: of the series.
        themes: groups of transitions.
        accuracy: of the source maps, told in every row: a table may be read without its item.
        degradation: meaning of the transitions; None: the table `degradation` is left out.

    Raises:
        BadInput: a transition that occurs has no meaning.
    """
    matrices = [matrix_of(tally, legend.names, years[first], years[second]) for first, second in year_pairs(years)]
    steps = [one for one in matrices if (one.from_year, one.to_year) in set(pairwise(years))]
    tables = {
        "areas": areas_by_year(tally, legend.names),
        "net_change": pd.concat([net_and_gross(one) for one in matrices], ignore_index=True),
        "transitions": pd.concat([ranked(one) for one in matrices], ignore_index=True),
        "components": pd.concat([components(one) for one in matrices], ignore_index=True),
        "intensity": intensity(steps),
        "themes": pd.concat([by_theme(one, themes) for one in matrices], ignore_index=True),
        "persistence": tally.persistence,
    }
    if degradation:
        tables["degradation"] = pd.concat([degradation_table(one, degradation) for one in matrices], ignore_index=True)
    return {name: table.assign(source_accuracy=accuracy) for name, table in tables.items()}


def summary(tally: Tally, matrix: TransitionMatrix) -> dict[str, object]:
    """The figures that stand in the item itself, per cent to two decimals and hectares to four.

    Args:
        tally: what was counted.
        matrix: of the first year to the last.
    """
    told: dict[str, object] = {
        "landloom:observed_hectares": round(matrix.observed_hectares, 4),
        "landloom:unobserved_hectares": round(matrix.unobserved_hectares, 4),
        "landloom:changed_hectares": round(matrix.changed_hectares, 4),
    }
    kinds = tally.persistence.groupby("persistence").mapped_hectares.sum()
    told["landloom:persistence_hectares"] = {str(name): round(float(one), 4) for name, one in kinds.items()}
    if matrix.by_persistence is not None and matrix.changed_hectares:
        near = 100 * float(matrix.by_persistence[..., 1].sum()) / matrix.changed_hectares
        told["landloom:change_near_edge_percent"] = round(near, 2)
    return told
