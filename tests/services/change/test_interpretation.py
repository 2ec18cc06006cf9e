"""The sample as it goes to interpreters and comes back."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas
import pytest

from catalog.errors import BadInput
from services.change.design import read_design
from services.change.designing import Wishes
from services.change.interpretation import read_interpreted, write_sample
from tests.services.change.truths import designed, interpreted, truth_and_maps

WISHES = Wishes(size=160, expected=0.9)


@pytest.fixture(scope="module")
def change(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    truths, maps = truth_and_maps()
    design, drawn = designed(folder / "change", maps, Wishes(size=400, expected=0.9, merge_below=0.02))
    return design, drawn, truths


@pytest.fixture
def one_year(tmp_path):
    _, maps = truth_and_maps()
    design, drawn = designed(tmp_path / "maps", maps[:1], WISHES)
    write_sample(design, drawn, tmp_path)
    return design, tmp_path


def filled(folder, *rows, columns=("unit", "reference_2017")):
    pandas.DataFrame(rows, columns=columns).to_csv(folder / "back.csv", index=False)
    return folder / "back.csv"


# What is written


def test_interpreters_see_neither_strata_nor_classes(change, tmp_path):
    design, drawn, _ = change
    write_sample(design, drawn, tmp_path)
    columns = ["unit", "lon", "lat", "reference_2017", "reference_2018", "note"]
    for name in ("sample.gpkg", "sample.geojson"):
        frame = geopandas.read_file(tmp_path / name)
        assert [*frame.columns] == [*columns, "geometry"]
        assert len(frame) == len(design.sample) and frame.crs == "EPSG:4326"
    assert [*pandas.read_csv(tmp_path / "sample.csv").columns] == columns


def test_units_are_pixels_of_100_square_metres(change, tmp_path):
    design, drawn, _ = change
    write_sample(design, drawn, tmp_path)
    frame = geopandas.read_file(tmp_path / "sample.gpkg").to_crs("EPSG:32633")
    np.testing.assert_allclose(frame.area, 100, rtol=1e-6)


def test_the_design_is_read_back_as_it_was(change, tmp_path):
    design, drawn, _ = change
    write_sample(design, drawn, tmp_path)
    again = read_design(tmp_path / "design.json")
    assert again == design and again.fingerprint == design.fingerprint


def test_the_design_says_how_it_was_made(change):
    design = change[0]
    assert [one.name for one in design.strata][-1] == "all_rare"
    assert sum(design.units) == len(design.sample) and min(design.units) >= 50
    assert (
        sum(one.hectares for one in design.strata) == pytest.approx(sum(design.cells)) == pytest.approx(1600, rel=0.001)
    )
    assert any("sampled together: water>trees" in note for note in design.notes)
    assert design.accuracies[0].told == "Accuracy of the source map: unknown."
    assert set(design.predicted) == {"chosen", "proportional", "equal"}


# What comes back


def test_all_formats_come_back_alike(change, tmp_path):
    design, drawn, truths = change
    file, sample = interpreted(design, drawn, truths, tmp_path)
    frame = geopandas.read_file(file)
    frame.to_file(tmp_path / "filled.geojson", driver="GeoJSON")
    frame.drop(columns="geometry").to_csv(tmp_path / "filled.csv", index=False)
    for name in ("filled.geojson", "filled.csv"):
        np.testing.assert_array_equal(read_interpreted(design, tmp_path / name).reference, sample.reference)
    assert sample.missing == {} and len(sample.cell) == len(design.sample)


def test_names_titles_and_values_are_understood(one_year):
    design, folder = one_year
    back = read_interpreted(design, filled(folder, (1, "crops"), (2, "Crops "), (3, "5"), (4, 5.0)))
    assert back.reference.tolist() == [[design.names.index("crops")] * 4]


def test_what_could_not_be_told_is_counted(one_year):
    design, folder = one_year
    back = read_interpreted(design, filled(folder, (1, "crops"), (2, ""), (3, None)))
    assert len(back.cell) == 1
    assert sum(back.missing.values()) == len(design.sample) - 1


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        ([(1, "oaks")], ["unit", "reference_2017"], r"Unit 1 of .* has the unknown class 'oaks' in reference_2017"),
        ([(1, "clouds")], ["unit", "reference_2017"], r"unknown class 'clouds'"),
        ([(9999, "crops")], ["unit", "reference_2017"], r"Unit 9999 of .* is not of this design"),
        ([(1, "crops"), (1, "trees")], ["unit", "reference_2017"], r"Unit 1 stands twice"),
        ([("first", "crops")], ["unit", "reference_2017"], r"'first' in the column 'unit' of .* is no number"),
        ([(1, "crops")], ["unit", "reference_2018"], r"no column 'reference_2017'. It has unit, reference_2018"),
        ([(1, "crops")], ["id", "reference_2017"], r"no column 'unit'"),
        ([(1, "")], ["unit", "reference_2017"], r"No unit of .* has a class in reference_2017"),
    ],
)
def test_what_does_not_fit_is_named(one_year, rows, columns, told):
    design, folder = one_year
    with pytest.raises(BadInput, match=told):
        read_interpreted(design, filled(folder, *rows, columns=columns))


def test_files_that_cannot_be_read_are_named(one_year):
    design, folder = one_year
    (folder / "broken.gpkg").write_text("no package")
    for name in ("gone.csv", "broken.gpkg"):
        with pytest.raises(BadInput, match=rf"The sample '.*{name}' cannot be read"):
            read_interpreted(design, folder / name)
    with pytest.raises(BadInput, match=r"The design '.*gone.json' cannot be read"):
        read_design(folder / "gone.json")
    (folder / "other.json").write_text("{}")
    with pytest.raises(BadInput, match=r"other.json' is not valid at years"):
        read_design(folder / "other.json")


# Wishes that are not possible


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        (Wishes(), r"No accuracy of these maps is published .* Give --expected-accuracy"),
        (Wishes(expected=1.2), r"An expected accuracy of 1.2 is not possible"),
        (Wishes(expected=0.9, size=5), r"5 units are too few for 3 strata \(water, trees, crops\)"),
        (Wishes(expected=0.9, interest=("oaks",)), r"--interest 'oaks' is no stratum of these maps"),
        (Wishes(expected=0.9, standard_error=0.6), r"A standard error of 0.6 is not possible"),
    ],
)
def test_designs_that_are_not_possible_are_refused(tmp_path, wishes, told):
    with pytest.raises(BadInput, match=told):
        designed(tmp_path / "maps", truth_and_maps()[1][:1], wishes)
