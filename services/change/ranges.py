"""Mapped areas of a place with what published accuracies say of the true ones, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas

from services.change.scenarios import Range, area_ranges, change_ranges
from services.change.series import Series
from services.change.source_accuracy import SourceAccuracy, known_accuracies
from services.change.strata import Progress, count_cells

READINGS = (
    "A scenario range is no 95 % interval: it tells what areas would be if the map erred here as it did where its "
    "matrix was made, by row or by column of the matrix, with as many independent observations as validation tiles."
)
SCALED = "Scaled by overall accuracy: the mapped area times (1 - accuracy) to either side; no interval of any kind."


def range_table(
    series: Series,
    given: SourceAccuracy | None,
    correlations: Sequence[float],
    on_progress: Progress = lambda done, total: None,
) -> tuple[pandas.DataFrame, list[str]]:
    """Count the maps' areas and tell their ranges.

    Args:
        series: of one or two years.
        given: what is known of the maps' accuracy; None: what is published of their collection.
        correlations: of the errors of two years, 0 to 1.
        on_progress: called with the places done and all.

    Returns:
        A row for each class and year, and for each net change and correlation, areas in hectares; and notes.

    Raises:
        BadInput: nothing is mapped in all years.
    """
    counts, names = count_cells(series, on_progress), series.legend.names
    cells = counts.hectares.reshape((len(names),) * len(series.years))
    accuracies = [given or one for one in known_accuracies(series)]
    # Of two years, what is observed in both: a change of cloud is none of land cover.
    sums = [cells] if len(series.years) == 1 else [cells.sum(axis=1), cells.sum(axis=0)]
    mapped = [dict(zip(names, areas.tolist(), strict=True)) for areas in sums]
    total, rows = float(np.sum(counts.hectares)), []
    for year, areas, accuracy in zip(series.years, mapped, accuracies, strict=True):
        rows += list(_rows(str(year), area_ranges(areas, accuracy), total, accuracy.told))
    if len(series.years) == 2:
        # Errors of two methods do not cancel as those of one do: one matrix for both, or none.
        same = accuracies[0] if accuracies[0] == accuracies[1] else SourceAccuracy(overall=accuracies[1].overall)
        told = " ".join(dict.fromkeys(one.told for one in accuracies))
        rows += list(_rows("net change", change_ranges(mapped[0], mapped[1], same, correlations), total, told))
    table = pandas.DataFrame(rows)
    notes = [*series.notes, f"{counts.unobserved:,.1f} ha without a class in all years are in no figure."]
    kinds = set(table["kind"])
    notes += [
        text for kind, text in (("scenario range", READINGS), ("scaled by overall accuracy", SCALED)) if kind in kinds
    ]
    return table, notes + [f"Left out {place}: {reason}" for place, reason in counts.excluded.items()]


def _rows(table: str, ranges: Sequence[Range], total: float, told: str) -> Iterator[dict[str, object]]:
    nothing = float("nan")

    def known(value: float | None) -> float:
        return nothing if value is None else value

    for one in ranges:
        yield {
            "table": table,
            "class": one.name,
            "mapped_ha": one.mapped,
            "mapped_percent": 100 * one.mapped / total,
            "low_ha": known(one.low),
            "high_ha": known(one.high),
            "by_row_ha": known(one.by_row),
            "by_column_ha": known(one.by_column),
            "correlation": known(one.correlation),
            "kind": one.kind,
            "reason": one.reason,
            "statement": f"{one.name} {table}: {one.statement(total)}",
            "source_accuracy": told,
        }
