"""Change since the year before in a corrected series: in the maps, corrected, and what is known of the true one."""

from __future__ import annotations

import numpy as np
import pandas

from services.change.blocks import OpenPlace
from services.change.corrected_tally import Tally
from services.change.correction import Settings
from services.change.interval_columns import Interval, interval_columns, joined
from services.change.items import part_in
from services.change.pair_uncertainty import SamplePair
from services.change.transitions import TransitionMatrix
from services.change.uncertainty import Uncertainty

_CORRECTED = "published accuracies are of the maps before they were corrected: draw a reference sample"


def change_table(maps: OpenPlace, settings: Settings, tally: Tally, number: int) -> pandas.DataFrame:
    """Hectares from class to class since the year before, in the maps and corrected, and what was removed.

    Args:
        maps: the place, opened.
        settings: of the correction.
        tally: what became of the place.
        number: of the year in the series, from 1.
    """
    names, k = maps.series.legend.names, len(maps.series.legend.names)
    before, after = np.nonzero(~np.eye(k, dtype=bool))
    mapped, corrected = (one[number - 1, 1:, 1:][before, after] for one in (tally.mapped, tally.corrected))
    columns = {"from": np.take(names, before), "to": np.take(names, after), "mapped_ha": mapped}
    table = pandas.DataFrame(columns | {"corrected_ha": corrected, "removed_ha": mapped - corrected})
    cells = np.zeros((len(before), k, k), bool)
    cells[np.arange(len(before)), before, after] = True
    told = interval_columns({"ha": _known(maps, settings, tally, number, cells)})
    return pandas.concat([table, told], axis=1).assign(source_accuracy=settings.accuracy)


def changed_interval(maps: OpenPlace, settings: Settings, tally: Tally, number: int) -> Interval:
    """What is known of all that truly changed since the year before."""
    return _known(maps, settings, tally, number, ~np.eye(len(maps.series.legend.names), dtype=bool)[None])[0]


def _known(maps: OpenPlace, settings: Settings, tally: Tally, number: int, cells: np.ndarray) -> list[Interval]:
    """Of the true area of each of several sets of transitions, bool `[n, K, K]`."""
    years, hectares = maps.series.years, tally.corrected[number - 1, 1:, 1:]
    ground = part_in(maps.place.geometry, maps.series.area)
    # The sample's strata are of other maps than the corrected ones.
    known = Uncertainty(reference=settings.reference, ground=ground)
    matrix = TransitionMatrix(
        years[number - 1], years[number], maps.series.legend.names, np.zeros(hectares.shape, np.int64), hectares
    )
    pair = known.pair(matrix)
    if isinstance(pair, SamplePair):
        return [pair.area(one) for one in cells]
    return [Interval(reason=joined(known.not_told(matrix), _CORRECTED))] * len(cells)
