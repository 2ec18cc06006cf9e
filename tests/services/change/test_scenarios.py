"""Ranges where only a published matrix, an overall accuracy, or nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.legend import load_legend
from services.change.scenarios import area_ranges, change_ranges
from services.change.source_accuracy import SourceAccuracy, known_accuracy, read_matrix

NINE = [one.name for one in load_legend("nine").classes if one.name != "clouds"]
IO_2020 = known_accuracy("io-lulc-annual-v02", 2020, NINE)
MAPPED = {
    "water": 100.0, "trees": 5000.0, "flooded_vegetation": 50.0, "crops": 3000.0, "built": 200.0, "bare": 150.0,
    "snow_ice": 0.0, "rangeland": 1500.0,
}  # fmt: skip


def of(ranges, name, correlation=None):
    return next(one for one in ranges if one.name == name and one.correlation == correlation)


def two_classes(right_a=90, right_b=90, tiles=50):
    matrix = ((right_a, 100 - right_a), (100 - right_b, right_b))
    return SourceAccuracy(classes=("a", "b"), matrix=matrix, tiles=tiles, origin="a test")


# A published error matrix


def test_the_matrix_of_the_impact_observatory_is_shipped():
    ten = ["water", "trees", "grass", "flooded_vegetation", "crops", "scrub", "built_area", "bare_ground"]
    matrix = np.array(known_accuracy("io-lulc", 2020, ten).matrix)
    assert f"{np.trace(matrix) / matrix.sum():.5f}" == "0.85962"
    told = known_accuracy("io-lulc-9-class", 2019, [*NINE, "grass", "shrub"])
    assert told.overall == 0.85962
    assert "409 validation tiles" in told.told and "Karra et al. 2021" in told.told and "optimistic" in told.told


def test_classes_that_are_published_as_one_are_added():
    """Grass mapped as scrub is no error of a map of rangeland."""
    k = IO_2020.classes.index("rangeland")
    assert IO_2020.matrix[k][k] == 174260 + 52696 + 35857 + 1194833
    assert set(IO_2020.classes) == set(NINE) - {"snow_ice"}
    assert np.array(IO_2020.matrix).sum() == 23_693_961


def test_shares_of_the_reference_given_the_map():
    found = area_ranges({"a": 100.0, "b": 900.0}, two_classes(right_a=80))
    assert of(found, "a").by_row == pytest.approx(100 * 0.8 + 900 * 0.1)


def test_shares_of_the_map_given_the_reference_are_inverted():
    """Of a, 80 in 90 are mapped so, of b 90 in 110: 180 ha of a and 820 of b would be mapped as 309 and 691."""
    accuracy = two_classes(right_a=80)
    a, b = 180 * 80 / 90 + 820 * 20 / 110, 180 * 10 / 90 + 820 * 90 / 110
    found = area_ranges({"a": a, "b": b}, accuracy)
    assert of(found, "a").by_column == pytest.approx(180, rel=1e-4)
    assert of(found, "b").by_column == pytest.approx(820, rel=1e-4)


def test_what_the_errors_alone_could_make_is_not_less_than_nothing():
    """A tenth of b is mapped as a: less than that of a cannot be, and its true area is 0, not negative."""
    found = area_ranges({"a": 50.0, "b": 950.0}, two_classes())
    assert of(found, "a").by_column == pytest.approx(0, abs=1e-6)
    assert of(found, "a").low == pytest.approx(0, abs=1e-6)


def test_a_scenario_holds_both_readings_and_says_what_it_is():
    for one in area_ranges(MAPPED, IO_2020):
        if one.name == "snow_ice":
            assert (one.kind, one.low, one.reason) == ("no interval", None, "snow_ice is not in the error matrix")
            continue
        assert one.kind == "scenario range"
        assert one.low <= min(one.by_row, one.by_column) <= max(one.by_row, one.by_column) <= one.high
    told = of(area_ranges(MAPPED, IO_2020), "crops").statement(10_000)
    assert told.startswith("30.0 %, ") and told.endswith("(scenario range)") and "95" not in told


def test_the_sample_size_is_that_of_tiles_not_of_pixels():
    few, many = (area_ranges({"a": 500.0, "b": 500.0}, two_classes(tiles=n)) for n in (20, 2000))
    assert of(few, "a").high - of(few, "a").low > 5 * (of(many, "a").high - of(many, "a").low)
    matrix = tuple(tuple(1000 * cell for cell in row) for row in two_classes().matrix)
    pixels = two_classes().model_copy(update={"matrix": matrix})
    assert area_ranges({"a": 500.0, "b": 500.0}, pixels) == area_ranges({"a": 500.0, "b": 500.0}, two_classes())


def test_errors_that_repeat_leave_less_doubt_about_change():
    before, after = {"a": 300.0, "b": 700.0}, {"a": 350.0, "b": 650.0}
    found = change_ranges(before, after, two_classes(tiles=100))
    widths = [of(found, "a", rho).high - of(found, "a", rho).low for rho in (0.0, 0.5, 1.0)]
    assert widths[0] > 1.2 * widths[1] > 1.2 * 1.2 * widths[2]
    sure = of(found, "a", 1.0)
    # By rows, the change is dampened by the errors; by columns, they have dampened it.
    assert (sure.by_row, sure.by_column) == (pytest.approx(50 * 0.8), pytest.approx(50 / 0.8, rel=1e-4))
    assert sure.low > 0 > of(found, "a", 0.0).low


# Less is known


def test_scaled_by_overall_accuracy_is_told_as_that():
    """The form of statement that users know: crops 11.2 % +- 1.68 % at an accuracy of 85 %. It is no interval."""
    accuracy = SourceAccuracy(overall=0.85, origin="its makers")
    crops, _ = area_ranges({"crops": 1120.0, "other": 8880.0}, accuracy)
    assert crops.statement(10_000) == "11.2 % +- 1.68 % (scaled by overall accuracy)"
    assert all(one.low is None and "nothing of change" in one.reason for one in change_ranges(MAPPED, MAPPED, accuracy))


def test_where_nothing_is_known_there_is_no_interval_but_a_reason():
    unknown = known_accuracy("lulc-annual", 2020, NINE)
    assert unknown.told == "Accuracy of the source map: unknown."
    for one in [*area_ranges(MAPPED, unknown), *change_ranges(MAPPED, MAPPED, unknown)]:
        assert (one.low, one.high) == (None, None)
        assert "draw a reference sample" in one.reason


def test_two_versions_of_worldcover_have_their_own_accuracies():
    told = {year: known_accuracy("esa-worldcover", year, ["tree_cover"]) for year in (2020, 2021, 2022)}
    assert (told[2020].overall, told[2021].overall, told[2022].overall) == (0.744, 0.767, None)


# An error matrix in a file


def written(path, text):
    path.write_text(text)
    return path


def test_a_matrix_is_read_from_a_csv(tmp_path):
    file = written(tmp_path / "matrix.csv", "map,crops,trees\ncrops,8,2\ntrees,1,9\n")
    found = read_matrix(file, 20, "a survey", ["crops", "trees", "water"])
    assert (found.classes, found.matrix, found.overall) == (("crops", "trees"), ((8.0, 2.0), (1.0, 9.0)), 0.85)


@pytest.mark.parametrize(
    ("text", "tiles", "origin", "told"),
    [
        ("map,crops,trees\ncrops,8,2\n", 20, "x", r"not square over its 1 classes: 1 rows of 2 columns"),
        ("map,crops,trees\ncrops,8,2\ntrees,1\n", 20, "x", r"not square .* 1 or 2 columns"),
        ("map,crops,trees\ncrops,8,2\ntrees,1,many\n", 20, "x", r"no number"),
        ("map,trees,crops\ncrops,8,2\ntrees,1,9\n", 20, "x", r"crops, trees in its rows and trees, crops in its col"),
        ("map,crops,oaks\ncrops,8,2\noaks,1,9\n", 20, "x", r"Class 'oaks' of the error matrix .* none of the map's"),
        ("map,crops\n", 20, "x", r"has no rows"),
        ("map,crops,trees\ncrops,8,2\ntrees,1,9\n", None, "x", r"--tiles N, the number of independent validation"),
        ("map,crops,trees\ncrops,8,2\ntrees,1,9\n", 20, "", r"--origin TEXT"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path, text, tiles, origin, told):
    with pytest.raises(BadInput, match=told):
        read_matrix(written(tmp_path / "matrix.csv", text), tiles, origin, ["crops", "trees"])


def test_a_matrix_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"gone.csv' cannot be read"):
        read_matrix(tmp_path / "gone.csv", 20, "x", ["crops"])
