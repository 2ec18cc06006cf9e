"""A sample that one map stratified tells the accuracy of another."""

from __future__ import annotations

import json

import numpy as np
import pytest
from affine import Affine

from catalog.errors import BadInput
from catalog.store import open_store
from services.change.accuracy_item import publish_report
from services.change.accuracy_page import write_report
from services.change.accuracy_report import make_report, table
from services.change.design import Design
from services.change.designing import Wishes
from services.change.interpretation import Interpreted
from services.change.other_maps import look_up
from services.change.strata import open_maps
from tests.services.change.maps import CLOUDS, CROPS, TREES, UTM, WATER, write_years
from tests.services.change.truths import designed, interpreted, seen_by_all, truth_and_maps


def better(truth: np.ndarray) -> np.ndarray:
    """A new version of a map: it errs along one edge alone."""
    found = truth.copy()
    found[:, 218:226] = TREES
    return found


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> tuple[Design, Interpreted, list[np.ndarray]]:
    truth, maps = truth_and_maps()
    design, _ = designed(tmp_path_factory.mktemp("maps"), maps, Wishes(size=900, expected=0.9, merge_below=0.02))
    return design, seen_by_all(design, truth), truth


def others_of(folder, design, *maps):
    return look_up(open_maps(write_years(folder, *maps), design.years), design)


def test_the_new_version_is_assessed_with_the_old_ones_sample(sampled, tmp_path):
    design, sample, truth = sampled
    new = [better(one) for one in truth]
    report = make_report(design, sample, others_of(tmp_path, design, *new))
    old = make_report(design, sample)
    for number, one in enumerate(report.years):
        overall = one.accuracy.overall
        assert overall.low < (new[number] == truth[number]).mean() < overall.high
        assert overall.value > old.years[number].accuracy.overall.value
        trees = next(row for row in one.accuracy.classes if row.name == "trees")
        assert trees.mapped == pytest.approx((new[number] == TREES).sum() / 100, rel=1e-3)
        # Areas are the reference's: they do not depend on which map is assessed.
        assert trees.area == next(row for row in old.years[number].accuracy.classes if row.name == "trees").area
    assert [one.id for one in report.maps] == ["33UVU-2017", "33UVU-2018"]
    assert any("estimators of Stehman (2014)" in note for note in report.notes)


def test_its_map_of_change_is_assessed_too(sampled, tmp_path):
    design, sample, truth = sampled
    new = [better(one) for one in truth]
    report = make_report(design, sample, others_of(tmp_path, design, *new))
    rows = {one.name: one for one in report.transitions.classes}
    gone = rows["trees>crops"]
    assert gone.users.value == 1 and gone.mapped == pytest.approx(60 * 118 / 100, rel=1e-3)
    assert rows["trees"].users.value < 1
    assert table(report)["source_accuracy"].str.contains("from this sample").all()


def test_units_without_a_class_count_as_wrong(sampled, tmp_path):
    design, sample, truth = sampled
    new = [one.copy() for one in truth]
    new[1][300:] = CLOUDS
    report = make_report(design, sample, others_of(tmp_path, design, *new))
    rows = {one.name: one for one in report.years[1].accuracy.classes}
    assert rows["no_class"].mapped_units > 50 and rows["no_class"].users.value == 0
    assert report.years[1].accuracy.overall.value == pytest.approx(0.75, abs=0.04)
    assert any("have no class in these maps" in note for note in report.notes)


def test_the_report_links_to_the_maps_that_it_assesses(sampled, tmp_path):
    design, sample, truth = sampled
    report = make_report(design, sample, others_of(tmp_path / "new", design, *[better(one) for one in truth]))
    files = write_report(report, design, tmp_path / "report")
    filled = tmp_path / "filled.csv"
    filled.write_text("unit\n")
    store = open_store(str(tmp_path / "out"))
    key, _ = publish_report(store, report, design, files, filled, "new", overwrite=False)
    links = [link["href"] for link in json.loads(store.read(key))["links"] if link["rel"] == "derived_from"]
    assert links == [str(tmp_path / "new" / f"33UVU-{year}" / f"33UVU-{year}.json") for year in (2017, 2018)]


def test_one_year_is_assessed_with_a_sample_of_one_year(tmp_path):
    truth, maps = truth_and_maps()
    design, drawn = designed(tmp_path / "old", maps[:1], Wishes(size=400, expected=0.9))
    _, sample = interpreted(design, drawn, truth[:1], tmp_path)
    new = better(truth[0])
    overall = make_report(design, sample, others_of(tmp_path / "new", design, new)).years[0].accuracy.overall
    assert overall.low < (new == truth[0]).mean() < overall.high


# Bad input

FENS = [{"value": 0, "name": "no_data", "nodata": True}] + [
    {"value": value, "name": name, "title": name}
    for value, name in ((WATER, "water"), (TREES, "fen"), (CROPS, "crops"))
]


def test_maps_of_other_years_or_classes_or_places_are_refused(sampled, tmp_path):
    design, _, truth = sampled
    with pytest.raises(BadInput, match="The sample is of 2017-2018, the maps are of 2019-2020"):
        look_up(open_maps(write_years(tmp_path / "late", *truth, first=2019), [2019, 2020]), design)
    with pytest.raises(BadInput, match="These maps have the class 'fen', which the sample's legend lacks"):
        look_up(open_maps(write_years(tmp_path / "fens", *truth, classes=FENS), design.years), design)
    with pytest.raises(BadInput, match="have a class at no unit of the sample"):
        far = write_years(tmp_path / "far", *truth, transform=Affine.translation(50_000, 0) @ UTM)
        look_up(open_maps(far, design.years), design)
