"""All tables of a change product, from what was counted, with what is known of the true figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from services.change.areas import areas_by_year, net_and_gross
from services.change.degradation import DegradationMatrix, degradation_table, meaning_cells
from services.change.intensity import intensity
from services.change.interval_columns import Interval, interval_columns, interval_of, joined
from services.change.map_legend import MapLegend
from services.change.pair_uncertainty import Pair
from services.change.tally import UNOBSERVED, Tally, year_pairs
from services.change.themes import Theme, by_theme, theme_cells
from services.change.transitions import TransitionMatrix, components, matrix_of, ranked
from services.change.uncertainty import Uncertainty

TITLES = {
    "areas": "Area of each class in each year, mapped and estimated, hectares and per cent",
    "net_change": "Gain, loss, net and gross change of each class, hectares",
    "matrix": "Transition matrix, what stayed with it, hectares and pixels",
    "transitions": "Transitions, the largest first, and what of them lasts, hectares and per cent",
    "components": "Quantity, exchange and shift (Pontius and Santacruz 2014), hectares",
    "intensity": "Intensity analysis (Aldwaik and Pontius 2012), per cent a year",
    "themes": "Deforestation, agricultural expansion and other themes, hectares",
    "degradation": "Degradation, stability and improvement by land cover, hectares and per cent of land",
    "persistence": "Sustained change, flicker and others, by year of change, hectares",
}
_LASTING = "reference samples and error matrices tell of two years, not of what lasts between them"
_PARTS = "quantity, exchange and shift are of the maps alone: they are no sums of transitions"


def end_matrix(tally: Tally, legend: MapLegend, years: tuple[int, ...]) -> TransitionMatrix:
    """The matrix from the first year to the last."""
    return matrix_of(tally, legend.names, years[0], years[-1])


def change_tables(
    tally: Tally,
    legend: MapLegend,
    years: tuple[int, ...],
    themes: dict[str, Theme],
    uncertainty: Uncertainty,
    degradation: DegradationMatrix | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables, by the names of `TITLES`; all have the columns of `interval_columns`, and `source_accuracy`.

    Args:
        tally: what was counted.
        legend: of the maps.
        years: of the series.
        themes: groups of transitions.
        uncertainty: what is known of the maps, told in every row: a table may be read without its item.
        degradation: meaning of the transitions; None: the table `degradation` is left out.

    Raises:
        BadInput: a transition that occurs has no meaning.
    """
    matrices = [matrix_of(tally, legend.names, years[first], years[second]) for first, second in year_pairs(years)]
    known = uncertainty.counted(matrices)
    pairs = [known.pair(one) for one in matrices]
    both = list(zip(matrices, pairs, strict=True))
    steps = [one for one in both if (one[0].from_year, one[0].to_year) in set(pairwise(years))]
    tables = {
        "areas": _areas(tally, legend, known),
        "net_change": _together(_net_change(*one) for one in both),
        "matrix": _together(_matrix(*one) for one in both),
        "transitions": _together(_transitions(*one) for one in both),
        "components": _together(_components(*one) for one in both),
        "intensity": _intensity(steps),
        "themes": _together(_themes(*one, themes) for one in both),
        "persistence": _beside(tally.persistence, {"hectares": [Interval(reason=_LASTING)] * len(tally.persistence)}),
    }
    if degradation:
        tables["degradation"] = _together(_degradation(*one, degradation) for one in both)
    return {name: table.assign(source_accuracy=uncertainty.accuracy) for name, table in tables.items()}


def _areas(tally: Tally, legend: MapLegend, known: Uncertainty) -> pd.DataFrame:
    table, tables = areas_by_year(tally, legend.names), []
    title = {one.name: one.title for one in legend.classes}
    for year, rows in table.groupby("year"):
        seen = rows[rows["class"] != UNOBSERVED]
        total = float(seen.mapped_hectares.sum())
        told = known.areas(int(str(year)), dict(zip(seen["class"], seen.mapped_hectares, strict=True)))
        shares = [one.scaled(100 / total if total else np.nan) for one in told]
        nothing = [Interval(reason="not observed: no land cover is told")] * (len(rows) - len(seen))
        whole = _beside(rows.reset_index(drop=True), {"hectares": told + nothing, "share_percent": shares + nothing})
        whole["statement"] = [
            f"{title[name]} {year}: {one.told(share, '%')}" if name != UNOBSERVED and total else ""
            for name, share, one in zip(rows["class"], rows.share_percent, shares + nothing, strict=True)
        ]
        tables.append(whole)
    return pd.concat(tables, ignore_index=True)


def _net_change(matrix: TransitionMatrix, pair: Pair) -> pd.DataFrame:
    numbers = range(len(matrix.names))
    cells = [_of_class(matrix, k) for k in numbers]
    figures = {
        "net_hectares": [pair.net(k) for k in numbers],
        "net_percent": [pair.relative(k) for k in numbers],
        **{f"{what}_hectares": [pair.area(one[what]) for one in cells] for what in cells[0]},
    }
    return _beside(net_and_gross(matrix), figures)


def _of_class(matrix: TransitionMatrix, k: int) -> dict[str, np.ndarray]:
    """Cells of a class's area before and after, and of its gain and loss, alone and together."""
    before, after = np.zeros((2, *matrix.hectares.shape), bool)
    before[k], after[:, k] = True, True
    return {
        "before": before,
        "after": after,
        "gain": after & ~before,
        "loss": before & ~after,
        "gross": before ^ after,
    }


def _matrix(matrix: TransitionMatrix, pair: Pair) -> pd.DataFrame:
    """A row for each two classes, also of what stayed and of what does not occur."""
    names, observed = matrix.names, matrix.observed_hectares
    table = pd.DataFrame(
        {
            "from_year": matrix.from_year,
            "to_year": matrix.to_year,
            "from_class": np.repeat(names, len(names)),
            "to_class": np.tile(names, len(names)),
            "pixels": matrix.pixels.ravel(),
            "mapped_hectares": matrix.hectares.ravel(),
            "percent_of_observed": 100 * matrix.hectares.ravel() / observed if observed else np.nan,
        }
    )
    cells = [_cell(names, *one) for one in zip(table.from_class, table.to_class, strict=True)]
    everything = np.ones(matrix.hectares.shape, bool)
    figures = {
        "hectares": [pair.area(one) for one in cells],
        "percent_of_observed": [pair.percent(one, everything) for one in cells],
    }
    return _beside(table, figures)


def _transitions(matrix: TransitionMatrix, pair: Pair) -> pd.DataFrame:
    """Also those that no map has, but interpreters found."""
    table, names = ranked(matrix), matrix.names
    unmapped = sorted(one for one in pair.seen() if not matrix.pixels[one])
    more: list[dict[str, Any]] = [
        {"from_year": matrix.from_year, "to_year": matrix.to_year, "from_class": names[i], "to_class": names[j]}
        | {"pixels": 0, "mapped_hectares": 0.0, "percent_of_observed": 0.0, "percent_of_change": 0.0}
        for i, j in unmapped
    ]
    if more:
        table = pd.concat([table, pd.DataFrame(more)], ignore_index=True) if len(table) else pd.DataFrame(more)
    everything, changed = np.ones(matrix.hectares.shape, bool), ~np.eye(len(names), dtype=bool)
    cells = [_cell(names, *one) for one in zip(table.from_class, table.to_class, strict=True)]
    figures = {
        "hectares": [pair.area(one) for one in cells],
        "percent_of_observed": [pair.percent(one, everything) for one in cells],
        "percent_of_change": [pair.percent(one, changed) for one in cells],
    }
    return _beside(table, figures)


def _components(matrix: TransitionMatrix, pair: Pair) -> pd.DataFrame:
    gross = [_of_class(matrix, k)["gross"] for k in range(len(matrix.names))]
    told = [pair.area(one) for one in [*gross, ~np.eye(len(matrix.names), dtype=bool)]]
    table = _beside(components(matrix), {"difference_hectares": told})
    return table.assign(interval_reason=[joined(one, _PARTS) for one in table.interval_reason])


def _intensity(steps: Sequence[tuple[TransitionMatrix, Pair]]) -> pd.DataFrame:
    table, told = intensity([matrix for matrix, _ in steps]), []
    by_years = {(matrix.from_year, matrix.to_year): (matrix, pair) for matrix, pair in steps}
    columns = ("from_year", "to_year", "measure", "from_class", "to_class")
    for first, last, measure, before, after in zip(*(table[one] for one in columns), strict=True):
        matrix, pair = by_years[first, last]
        names = matrix.names
        everything, changed = np.ones(matrix.hectares.shape, bool), ~np.eye(len(names), dtype=bool)
        was = np.array([name == before for name in names])[:, None] & everything
        becomes = np.array([name == after for name in names])[None] & everything
        part, whole = {
            "S": (changed, everything),
            "G": (becomes & changed, becomes),
            "L": (was & changed, was),
            "R": (was & becomes, was),
            "Q": (was & becomes, becomes),
        }[measure]
        told.append(pair.percent(part, whole).scaled(1 / (matrix.to_year - matrix.from_year)))
    return _beside(table, {"intensity": told})


def _themes(matrix: TransitionMatrix, pair: Pair, themes: dict[str, Theme]) -> pd.DataFrame:
    cells = [theme_cells(one, matrix.names) for one in themes.values()]
    lacking = Interval(reason="the legend has none of the theme's classes")
    return _beside(by_theme(matrix, themes), {"hectares": [pair.area(one) if one.any() else lacking for one in cells]})


def _degradation(matrix: TransitionMatrix, pair: Pair, meanings: DegradationMatrix) -> pd.DataFrame:
    cells = meaning_cells(meanings, matrix.names)
    land = np.logical_or.reduce([*cells.values()])
    figures = {
        "hectares": [pair.area(one) for one in cells.values()],
        "percent_of_land": [pair.percent(one, land) for one in cells.values()],
    }
    return _beside(degradation_table(matrix, meanings), figures)


def _cell(names: Sequence[str], before: str, after: str) -> np.ndarray:
    cells = np.zeros((len(names), len(names)), bool)
    cells[names.index(before), names.index(after)] = True
    return cells


def _beside(table: pd.DataFrame, figures: dict[str, list[Interval]]) -> pd.DataFrame:
    return pd.concat([table, interval_columns(figures)], axis=1)


def _together(tables: Any) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True)


def summary(tally: Tally, matrix: TransitionMatrix) -> dict[str, object]:
    """The figures that stand in the item itself, per cent to two decimals and hectares to four.

    Args:
        tally: what was counted.
        matrix: of the first year to the last.
    """
    told: dict[str, object] = {
        "landloom:observed_hectares": round(matrix.observed_hectares, 4),
        "landloom:unobserved_hectares": round(matrix.unobserved_hectares, 4),
        # Where nothing was observed twice there may be any change: 0 would say that there is none.
        "landloom:changed_hectares": round(matrix.changed_hectares, 4) if matrix.observed_hectares else None,
    }
    kinds = tally.persistence.groupby("persistence").mapped_hectares.sum()
    told["landloom:persistence_hectares"] = {str(name): round(float(one), 4) for name, one in kinds.items()}
    if matrix.by_persistence is not None and matrix.changed_hectares:
        near = 100 * float(matrix.by_persistence[..., 1].sum()) / matrix.changed_hectares
        told["landloom:change_near_edge_percent"] = round(near, 2)
    return told


def intervals_of_ends(
    matrix: TransitionMatrix, uncertainty: Uncertainty, degradation: DegradationMatrix | None
) -> dict[str, dict[str, float | str | None]]:
    """What is known of the whole area that changed, and of the share of land that degraded, for the item.

    Args:
        matrix: of the first year to the last.
        uncertainty: of the maps.
        degradation: meaning of the transitions; None: nothing is told of it.
    """
    pair = uncertainty.counted([matrix]).pair(matrix)
    told = {"landloom:changed_hectares_interval": pair.area(~np.eye(len(matrix.names), dtype=bool)).properties()}
    if degradation:
        (row,) = (one for _, one in _degradation(matrix, pair, degradation).iterrows() if one.meaning == "degradation")
        mapped = float(row["percent_of_land"])
        share = interval_of(row, "percent_of_land").properties()
        told["landloom:degraded_percent_of_land"] = {"mapped": None if np.isnan(mapped) else round(mapped, 4), **share}
    return told
