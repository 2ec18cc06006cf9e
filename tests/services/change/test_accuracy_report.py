"""From maps with known errors to the report: does it tell the truth?"""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely

from catalog.errors import BadInput
from services.change.accuracy_report import Report, make_report, table
from services.change.designing import Wishes, make_design
from services.change.domains import DomainSample
from services.change.estimation import Strata
from services.change.interpretation import read_interpreted
from services.change.strata import open_maps
from services.change.zones import read_zones
from tests.services.change.maps import CROPS, TREES, UTM, WATER, write_years
from tests.services.change.truths import SIZE, designed, interpreted, seen_by_all, truth_and_maps

CODES = {"water": WATER, "trees": TREES, "crops": CROPS}
HECTARE = 100
"""Pixels."""


def square(row0: int, row1: int, col0: int, col1: int) -> shapely.Polygon:
    return shapely.box(*(UTM @ (col0, row1)), *(UTM @ (col1, row0)))


def zones_of(path, **shapes) -> geopandas.GeoDataFrame:
    frame = geopandas.GeoDataFrame({"name": [*shapes]}, geometry=[*shapes.values()], crs="EPSG:32633")
    frame.to_file(path, driver="GPKG")
    return read_zones(path, "name", dissolve=True).frame


@pytest.fixture(scope="module")
def truths():
    return truth_and_maps()[0]


@pytest.fixture(scope="module")
def change(tmp_path_factory) -> Report:
    """Of a sample that is stratified by the change that the two maps show, most of it wrong."""
    folder = tmp_path_factory.mktemp("change")
    truth, maps = truth_and_maps()
    zones = zones_of(
        folder / "zones.gpkg",
        west=square(0, SIZE, 0, 200), small=square(380, 390, 380, 390), outside=square(900, 990, 900, 990),
    )  # fmt: skip
    design, drawn = designed(folder / "maps", maps, Wishes(size=900, expected=0.9, merge_below=0.02), zones)
    _, sample = interpreted(design, drawn, truth, folder)
    return make_report(design, sample)


def hectares(truth: np.ndarray, name: str) -> float:
    return float((truth == CODES[name]).sum()) / HECTARE


def test_estimated_areas_are_nearer_the_truth_than_mapped_ones(change, truths):
    for year, truth in zip(change.years, truths, strict=True):
        for one in year.accuracy.classes:
            if one.name in CODES:
                real = hectares(truth, one.name)
                assert one.area.low < real < one.area.high
    trees = next(one for one in change.years[0].accuracy.classes if one.name == "trees")
    assert abs(trees.area.value - hectares(truths[0], "trees")) < abs(trees.mapped - hectares(truths[0], "trees"))


def test_mapped_areas_are_those_of_the_maps(change):
    _, maps = truth_and_maps()
    for year, mapped in zip(change.years, maps, strict=True):
        for one in year.accuracy.classes:
            if one.name in CODES:
                assert one.mapped == pytest.approx(hectares(mapped, one.name), rel=1e-3)


def test_most_of_the_mapped_change_is_flicker_and_the_sample_tells_it(change, truths):
    real = float((truths[0] != truths[1]).sum()) / HECTARE
    assert change.changed_mapped > 2 * real
    assert change.changed.low < real < change.changed.high
    trees = next(one for one in change.changes if one.name == "trees")
    assert trees.net.low < -real < trees.net.high
    assert trees.net.half_width < np.hypot(trees.before.half_width, trees.after.half_width)
    water = next(one for one in change.changes if one.name == "water")
    assert water.net.low <= 0 <= water.net.high


def test_transitions_are_classes_of_the_map_of_change(change, truths):
    rows = {one.name: one for one in change.transitions.classes}
    assert {"trees", "crops", "water", "trees>crops", "all_rare"} <= set(rows)
    gone = rows["trees>crops"]
    real = float(((truths[0] == TREES) & (truths[1] == CROPS)).sum()) / HECTARE
    assert gone.area.low < real < gone.area.high
    assert rows["all_rare"].users.value < 0.1
    assert sum(one.mapped for one in rows.values()) == pytest.approx(change.hectares)


def test_zones_with_thirty_units_are_direct_and_others_synthetic(change, truths):
    of = {(one.zone, one.name): one for one in change.zones}
    west, small, outside = (of[zone, "crops"] for zone in ("west", "small", "outside"))
    assert (west.method, small.method, outside.method) == ("direct", "synthetic", "not sampled")
    assert west.units >= 30 > small.units
    real = hectares(truths[1][:, :200], "crops")
    assert west.area.low < real < west.area.high
    assert small.area.value == pytest.approx(1, abs=0.2)
    assert outside.area is None and outside.units == 0
    gained = hectares(truths[1][:, :200], "crops") - hectares(truths[0][:, :200], "crops")
    assert west.net.low < gained < west.net.high
    # Nothing changed there. Synthetic: as elsewhere, a little of what is mapped as crops was trees.
    assert small.net.value == pytest.approx(0, abs=0.05)


def test_what_cannot_lie_in_a_zone_leaves_no_doubt_about_it():
    """A zone of 40 ha in one of two strata: the other stratum's 900 ha without a hit say nothing of it."""
    strata = Strata.of(("a", "b"), [100.0, 900.0], np.array([100, 100]))
    stratum, inside = np.repeat([0, 1], 100), np.arange(200) < 40
    is_class = np.arange(200) < 10
    zone = DomainSample(strata, stratum, inside, np.array([40.0, 0.0]))
    assert zone.method == "direct" and zone.area(is_class).value == pytest.approx(10)
    assert zone.area(is_class).high < 17
    spread = DomainSample(strata, stratum, inside, np.array([40.0, 1.0]))
    assert spread.area(is_class).low < zone.area(is_class).low


def test_the_table_names_the_source_of_every_row(change):
    rows = table(change)
    assert {"2017", "2018", "transitions", "net change", "gain change", "loss change", "zones"} == set(rows["table"])
    assert rows["source_accuracy"].str.contains("from this sample").all()
    assert "No other is published." in rows["source_accuracy"][0]
    limits = {"estimated_ha_low", "estimated_ha_high", "estimated_ha_half_width"}
    assert {"mapped_ha", "estimated_ha", *limits} <= set(rows)
    first = rows[rows["table"] == "2017"].set_index("name")
    assert first["estimated_percent"].sum() == pytest.approx(100) == pytest.approx(first["mapped_percent"].sum())
    trees = first.loc["trees"]
    assert trees["estimated_percent_low"] / trees["estimated_ha_low"] == pytest.approx(100 / change.hectares)


def test_the_report_can_be_read_back(change):
    assert Report.model_validate_json(change.model_dump_json()) == change


def test_one_map_is_assessed_by_its_classes(tmp_path, truths):
    _, maps = truth_and_maps()
    design, drawn = designed(tmp_path / "maps", maps[:1], Wishes(size=600, expected=0.9, seed=1))
    _, sample = interpreted(design, drawn, truths[:1], tmp_path)
    report = make_report(design, sample)
    assert report.transitions is None and report.changes == [] and report.changed is None
    overall = report.years[0].accuracy.overall
    assert overall.low < (truths[0] == maps[0]).mean() < overall.high


@pytest.mark.slow
def test_estimates_are_right_on_average(tmp_path, truths):
    """Of 60 samples of 150 units: their mean is the truth, which the map's area is not, and they spread as told."""
    _, maps = truth_and_maps()
    part = np.s_[150:300]
    series = open_maps(write_years(tmp_path, maps[0][part]), [2017])
    found = []
    for seed in range(60):
        design, _ = make_design(series, Wishes(size=150, expected=0.9, seed=seed))
        sample = seen_by_all(design, [truths[0][part]])
        trees = next(one for one in make_report(design, sample).years[0].accuracy.classes if one.name == "trees")
        found.append((trees.area.value, trees.area.standard_error, trees.mapped))
    values, errors, mapped = np.array(found).T
    real, error = hectares(truths[0][part], "trees"), values.std(ddof=1) / np.sqrt(60)
    assert abs(values.mean() - real) < 3 * error < abs(mapped[0] - real)
    assert values.std(ddof=1) == pytest.approx(np.sqrt((errors**2).mean()), rel=0.2)


def test_a_stratum_without_interpreted_units_is_named(tmp_path, truths):
    _, maps = truth_and_maps()
    design, drawn = designed(tmp_path / "maps", maps[:1], Wishes(size=160, expected=0.9))
    file, _ = interpreted(design, drawn, truths[:1], tmp_path)
    frame = geopandas.read_file(file)
    water = {one.unit for one in design.sample if design.strata[one.stratum].name == "water"}
    frame.loc[frame["unit"].isin(water), "reference_2017"] = None
    frame.to_file(tmp_path / "part.gpkg", driver="GPKG")
    sample = read_interpreted(design, tmp_path / "part.gpkg")
    assert sample.missing == {"water": len(water)}
    with pytest.raises(BadInput, match="Stratum 'water' has 0 interpreted units"):
        make_report(design, sample)
