"""Which interval each figure gets: from a reference sample, a published matrix, an overall accuracy, or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import shapely

from catalog.errors import BadInput
from services.change.accuracy import assess_matrix
from services.change.design import Design, DesignUnit
from services.change.interpretation import Interpreted
from services.change.map_legend import MapClass, MapLegend
from services.change.reference import Reference
from services.change.series import Series
from services.change.source_accuracy import SourceAccuracy, known_accuracy, read_accuracy
from services.change.strata import Stratum
from services.change.tables import change_tables
from services.change.tally import Tally
from services.change.themes import load_themes
from services.change.transition_scenarios import TransitionScenarios
from services.change.transitions import TransitionMatrix
from services.change.uncertainty import Uncertainty, uncertainty_of

GROUND = shapely.box(15, 50, 16, 51)
FOREST, OTHER = 0, 1
TABLE_8 = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
"""Olofsson et al. 2014: rows are strata, columns the reference: deforestation, gain, stable forest, stable other."""
HECTARES = [18_000.0, 13_500.0, 288_000.0, 580_500.0]
"""Of the strata: 200,000, 150,000, 3,200,000 and 6,450,000 pixels of 30 m."""
TRANSITIONS = [(FOREST, OTHER), (OTHER, FOREST), (FOREST, FOREST), (OTHER, OTHER)]


def table_8() -> Reference:
    """The sample of Table 8, as it would be published: transitions of two classes, at two dates."""
    cells = [2 * before + after for before, after in TRANSITIONS]
    strata, reference = [], []
    for h, row in enumerate(TABLE_8):
        for (before, after), units in zip(TRANSITIONS, row, strict=True):
            strata += [h] * units
            reference += [(before, after)] * units
    count = len(strata)
    units = [
        DesignUnit(unit=n + 1, stratum=h, cell=cells[h], place="x", row=0, col=0, lon=15.5, lat=50.5)
        for n, h in enumerate(strata)
    ]
    design = Design(
        years=(2000, 2010),
        maps=(),
        accuracies=(SourceAccuracy(), SourceAccuracy()),
        expected=(0.9,) * 4,
        classes=(MapClass(1, "forest", "Forest", "397D49"), MapClass(2, "other", "Other", "E49635")),
        strata=tuple(Stratum(name=str(h), cells=(cells[h],), hectares=HECTARES[h], pixels=1000) for h in range(4)),
        units=tuple(map(sum, TABLE_8)),
        cells=tuple(HECTARES[cells.index(cell)] for cell in range(4)),
        unobserved=0.0,
        excluded={},
        predicted={},
        geometry=shapely.geometry.mapping(GROUND),
        seed=0,
        options={},
        notes=(),
        software="0",
        zones=(),
        sample=tuple(units),
    )
    cell = np.array([one.cell for one in units])
    sample = Interpreted(
        np.arange(count), np.array(strata), cell, np.array(reference).T, np.full(count, -1), missing={}
    )
    return Reference(design, sample, sample.reference, "lulc-accuracy/table-8", ("accuracy from this sample",) * 2)


def mapped(from_year: int = 2000, to_year: int = 2010) -> TransitionMatrix:
    """What the map of Table 8 has."""
    hectares = np.zeros((2, 2))
    for (before, after), area in zip(TRANSITIONS, HECTARES, strict=True):
        hectares[before, after] = area
    return TransitionMatrix(from_year, to_year, ("forest", "other"), (hectares > 0).astype(int) * 1000, hectares)


def known(**options) -> Uncertainty:
    return replace(Uncertainty((2000, 2010), (SourceAccuracy(),) * 2, table_8(), GROUND, True), **options)


def cell(before: int, after: int) -> np.ndarray:
    cells = np.zeros((2, 2), bool)
    cells[before, after] = True
    return cells


# A reference sample


def test_transitions_are_those_of_table_8():
    """21,158 ha of deforestation and 11,686 ha of forest gain; their intervals are those of the accuracy report."""
    pair = known().pair(mapped())
    lost, gained = pair.area(cell(FOREST, OTHER)), pair.area(cell(OTHER, FOREST))
    assert round(lost.estimate) == 21_158 and round(gained.estimate) == 11_686
    told = assess_matrix(["a", "b", "c", "d"], TABLE_8, HECTARES).classes[0].area
    assert (lost.low, lost.high) == pytest.approx((told.low, told.high))
    assert lost.kind == "95 % interval" and "640 reference units in 4 strata (lulc-accuracy/table-8)" in lost.source
    assert pair.percent(cell(FOREST, OTHER), np.ones((2, 2), bool)).estimate == pytest.approx(
        100 * 21_158 / 900_000, 1e-4
    )


def test_a_sample_that_other_maps_stratified_tells_the_same():
    """Stehman 2014: the strata stay what they were, whatever is counted; here a map that shows no change at all."""
    counted = replace(mapped(), hectares=np.diag([306_000.0, 594_000.0]))
    told = known(same_maps=False, accuracies=(SourceAccuracy(overall=0.8, origin="x"),) * 2)
    lost = told.pair(counted).area(cell(FOREST, OTHER))
    assert round(lost.estimate) == 21_158 and lost.kind == "95 % interval"
    assert told.accuracy == "overall accuracy 80.0 %, x" and known().accuracy.startswith("accuracy from this sample")
    assert told.pair(counted).seen() == {(FOREST, OTHER), (OTHER, FOREST)}


def test_areas_of_a_year_and_net_change_add_up():
    uncertainty = known()
    forest = [
        uncertainty.areas(year, {"forest": 306_000.0, "other": 594_000.0})[FOREST].estimate for year in (2000, 2010)
    ]
    # Before: what was lost and what stayed; 285,770 ha of stable forest.
    assert forest == pytest.approx([21_158 + 285_770, 11_686 + 285_770], abs=1)
    pair = uncertainty.pair(mapped())
    assert pair.net(FOREST).estimate == pytest.approx(forest[1] - forest[0])
    assert pair.relative(FOREST).estimate == pytest.approx(100 * (forest[1] / forest[0] - 1))
    assert pair.net(FOREST).low < pair.net(FOREST).estimate < pair.net(FOREST).high < 0


def test_a_year_that_was_not_sampled_has_what_is_published_and_the_reason():
    published = SourceAccuracy(overall=0.85, origin="made up")
    uncertainty = known(years=(2000, 2005, 2010), accuracies=(published,) * 3)
    told = uncertainty.areas(2005, {"forest": 100.0, "other": 100.0})[0]
    assert told.kind == "scaled by overall accuracy" and (told.low, told.high) == pytest.approx((85, 115))
    assert told.reason == "the reference sample is of 2000-2010, not of 2005"
    step = uncertainty.pair(mapped(2000, 2005)).area(cell(FOREST, OTHER))
    assert step.kind == "no interval" and "not of 2000-2005; overall accuracy says nothing of change" in step.reason


def test_a_sample_of_other_ground_tells_nothing():
    wider = known(ground=shapely.box(15, 50, 17, 51))
    told = wider.pair(mapped()).area(cell(FOREST, OTHER))
    assert told.kind == "no interval" and "was not drawn from all of this area" in told.reason


def test_a_sample_of_less_ground_than_is_mapped_tells_nothing():
    """Clouds in one of the sample's maps, say."""
    told = known().areas(2000, {"forest": 400_000.0, "other": 594_000.0})[0]
    assert "stands for 900,000 ha that its maps observed, this figure is of 994,000 ha" in told.reason


def test_a_part_of_the_ground_with_few_units_borrows_from_the_strata():
    """Half of each stratum lies in it, but no unit: half of each area."""
    half = known(ground=shapely.box(15, 50, 15.2, 51)).counted([replace(mapped(), hectares=mapped().hectares / 2)])
    told = half.pair(replace(mapped(), hectares=mapped().hectares / 2)).area(cell(FOREST, OTHER))
    assert told.kind == "synthetic" and told.estimate == pytest.approx(21_158 / 2, abs=1)
    assert told.reason.startswith("0 units lie here")
    unknown = known(ground=shapely.box(15, 50, 15.2, 51), same_maps=False)
    told = unknown.pair(mapped()).area(cell(FOREST, OTHER))
    assert told.kind == "no interval" and "drawn from other maps" in told.reason


def test_the_sample_in_another_legend():
    """Forest and other as one class: nothing changes; a class that is lacking is named."""
    joined = table_8().in_legend(["land"], {"forest": "land", "other": "land"})
    assert not joined.label.any() and joined.translated
    with pytest.raises(BadInput, match=r"has the class 'other', which these products lack: forest.*--reference none"):
        table_8().in_legend(["forest"], {})


# A published matrix


def two_classes(right: int) -> SourceAccuracy:
    wrong = 100 - right
    return SourceAccuracy(classes=("forest", "other"), matrix=((right, wrong), (wrong, right)), tiles=100, origin="x")


def test_by_row_errors_that_repeat_leave_what_stayed_as_it_is():
    """800 ha stayed, 200 changed, 90 % right. Repeating: of the 200 ha that changed 0.9 x 0.9 + 0.1 x 0.1 truly did,
    164 ha. Not repeating: also 0.9 x 0.1 + 0.1 x 0.9 of what stayed, 144 ha more."""
    hectares, changed = np.array([[400.0, 200.0], [0.0, 400.0]]), ~np.eye(2, dtype=bool)
    certain = two_classes(90).model_copy(update={"tiles": 10**9})
    repeated = TransitionScenarios(hectares, certain, (1.0,))
    assert repeated.area(changed)[0] == pytest.approx(164, abs=0.1)
    both = TransitionScenarios(hectares, certain, (0.0, 1.0))
    assert both.area(changed)[1] == pytest.approx(164 + 144, abs=0.1)


def test_by_column_changes_that_errors_explain_are_none():
    """Of 900 ha that stayed, errors that do not repeat make 18 % look like change: the 162 ha that are mapped so."""
    hectares = 450 * np.array([[0.81 + 0.01, 0.18], [0.18, 0.82]])
    low, high = TransitionScenarios(hectares, two_classes(90), (0.0,)).area(~np.eye(2, dtype=bool))
    assert low == pytest.approx(0, abs=1e-6) and high > 162


def test_a_matrix_tells_ranges_of_change_and_never_intervals():
    uncertainty = Uncertainty((2000, 2010), (two_classes(90),) * 2, ground=GROUND)
    pair = uncertainty.pair(mapped())
    for told in (pair.area(cell(FOREST, OTHER)), pair.net(FOREST), pair.relative(FOREST)):
        assert told.kind == "scenario range" and told.low < told.high and np.isnan(told.estimate)
        assert "100 validation tiles" in told.source
    assert pair.net(FOREST).low < HECTARES[1] - HECTARES[0] < pair.net(FOREST).high
    other = Uncertainty((2000, 2010), (two_classes(90), two_classes(80)))
    assert "one error matrix of both years is needed" in other.pair(mapped()).net(FOREST).reason


def test_matrices_are_translated_with_the_legend():
    """All classes but water as one: 4,275,518 of 5,151,395 pixels that are mapped as water are water."""
    names = ["water", "trees", "flooded_vegetation", "crops", "built_area", "bare_ground", "rangeland"]
    io = known_accuracy("io-lulc-9-class", 2017, names)
    legend = MapLegend((MapClass(1, "wet", "Wet", "0000FF"), MapClass(2, "dry", "Dry", "FFFF00")), frozenset({0}))
    series = Series((2017, 2018), legend, (), None)
    walk = {name: "wet" if name == "water" else "dry" for name in names}
    (told, _) = uncertainty_of(series, (io, io), None, walk).accuracies
    assert told.classes == ("wet", "dry") and np.array(told.matrix)[0].tolist() == [4_275_518, 5_151_395 - 4_275_518]


# What a user says


def test_an_accuracy_in_words(tmp_path):
    told = read_accuracy("85 % (Karra et al. 2021)")
    assert told.overall == 0.85 and told.origin == "Karra et al. 2021"
    assert read_accuracy("good enough, says the ministry").overall is None
    with pytest.raises(BadInput, match=r"'185 % \(x\)' is not possible"):
        read_accuracy("185 % (x)")
    (tmp_path / "a.json").write_text('{"overall": 0.85}')
    assert read_accuracy(str(tmp_path / "a.json")).overall == 0.85
    (tmp_path / "b.json").write_text('{"overall": 85}')
    with pytest.raises(BadInput, match="is not valid at overall"):
        read_accuracy(str(tmp_path / "b.json"))


# Tables


def tally() -> Tally:
    names = ("forest", "other")
    rows = [
        (2000, 2010, names[i], names[j], "unconfirmed" if i != j else "", False, 1000, mapped().hectares[i, j])
        for i, j in TRANSITIONS
    ]
    columns = [
        "from_year",
        "to_year",
        "from_class",
        "to_class",
        "persistence",
        "near_edge",
        "pixels",
        "mapped_hectares",
    ]
    kept = {"persistence": ["stable"], "near_edge": [False], "last_class_since": [0], "changes": [0]}
    return Tally(pd.DataFrame(rows, columns=columns), pd.DataFrame(kept | {"pixels": [1], "mapped_hectares": [1.0]}))


LEGEND = MapLegend((MapClass(1, "forest", "Forest", "397D49"), MapClass(2, "other", "Other", "E49635")), frozenset({0}))
COLUMNS = {"interval", "interval_source", "interval_reason", "source_accuracy"}


@pytest.mark.parametrize(
    "uncertainty",
    [
        Uncertainty(),
        Uncertainty((2000, 2010), (SourceAccuracy(overall=0.85, origin="x"),) * 2),
        Uncertainty((2000, 2010), (two_classes(90),) * 2),
        known(),
    ],
    ids=["nothing", "overall", "matrix", "sample"],
)
def test_tables_have_the_same_columns_whatever_is_known(uncertainty):
    found = change_tables(tally(), LEGEND, (2000, 2010), load_themes(), uncertainty)
    nothing = change_tables(tally(), LEGEND, (2000, 2010), load_themes(), Uncertainty())
    for name, table in found.items():
        assert list(table) == list(nothing[name]) and set(table) >= COLUMNS
        told = table["interval"] != "no interval"
        assert (told | (table["interval_reason"] != "")).all(), "an interval, or why there is none"
        assert (table.loc[told, "interval_source"] != "").all()


def test_a_share_scaled_by_overall_accuracy_is_told_as_such():
    """34 % of forest at 85 %: give or take 15 % of itself."""
    scaled = Uncertainty((2000, 2010), (SourceAccuracy(overall=0.85, origin="x"),) * 2)
    areas = change_tables(tally(), LEGEND, (2000, 2010), load_themes(), scaled)["areas"]
    assert areas.statement[0] == "Forest 2000: 34.0 % +- 5.10 % (scaled by overall accuracy)"
    assert areas.low_share_percent[0] == pytest.approx(28.9) and np.isnan(areas.estimated_share_percent[0])


def test_mapped_and_estimated_areas_stand_side_by_side():
    tables = change_tables(tally(), LEGEND, (2000, 2010), load_themes(), known())
    lost = tables["transitions"].iloc[0]
    assert lost.mapped_hectares == 18_000 and round(lost.estimated_hectares) == 21_158
    net = tables["net_change"].set_index("class").loc["forest"]
    assert net.net_hectares == -4_500 and net.estimated_net_hectares == pytest.approx(11_686 - 21_158, abs=1)
    assert net.estimated_gross_hectares == pytest.approx(11_686 + 21_158, abs=1)
    overall = tables["components"].iloc[-1]
    assert overall.estimated_difference_hectares == pytest.approx(11_686 + 21_158, abs=1)
    assert "no sums of transitions" in overall.interval_reason
    yearly = tables["intensity"].iloc[0]
    assert yearly.estimated_intensity == pytest.approx(100 * (11_686 + 21_158) / 900_000 / 10, rel=1e-4)
