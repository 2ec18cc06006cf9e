"""Zones as domains of a reference sample, and what is told of them without one."""

from __future__ import annotations

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely

from services.change.design import Design
from services.change.designing import Wishes
from services.change.domains import DomainSample
from services.change.estimation import Strata
from services.change.interpretation import Interpreted
from services.change.reference import Reference
from services.change.series import Series, open_series
from services.change.source_accuracy import SourceAccuracy
from services.change.uncertainty import Uncertainty, uncertainty_of
from services.change.zonal import Zonal, count_zones
from services.change.zonal_tables import zonal_tables
from services.change.zones import read_zones
from tests.services.change.maps import UTM
from tests.services.change.truths import SIZE, designed, seen_by_all, truth_and_maps

MATRIX = SourceAccuracy(
    classes=("water", "trees", "crops"), matrix=((90, 5, 5), (5, 90, 5), (5, 5, 90)), tiles=100, origin="made up"
)


def square(row0: int, row1: int, col0: int, col1: int) -> shapely.Polygon:
    return shapely.box(*(UTM @ (col0, row1)), *(UTM @ (col1, row0)))


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Series:
    folder = tmp_path_factory.mktemp("zones")
    _, maps = truth_and_maps()
    designed(folder, maps, Wishes(size=100, expected=0.9))
    return open_series(str(folder / "collection.json"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> tuple[Design, Interpreted]:
    truth, maps = truth_and_maps()
    design, _ = designed(tmp_path_factory.mktemp("design"), maps, Wishes(size=900, expected=0.9, merge_below=0.02))
    return design, seen_by_all(design, truth)


@pytest.fixture(scope="module")
def found(series: Series, tmp_path_factory) -> Zonal:
    shapes = {
        "whole": square(0, SIZE, 0, SIZE),
        "west": square(0, SIZE, 0, 200),
        "small": square(200, 240, 100, 140),
        "outside": square(900, 990, 900, 990),
    }
    file = tmp_path_factory.mktemp("file") / "zones.gpkg"
    geopandas.GeoDataFrame({"id": [*shapes]}, geometry=[*shapes.values()], crs="EPSG:32633").to_file(file)
    return count_zones(series, read_zones(file))


@pytest.fixture(scope="module")
def known(series: Series, drawn) -> Uncertainty:
    design, sample = drawn
    reference = Reference(design, sample, sample.reference, "lulc-accuracy/delta", ("85 % by the sample",) * 2)
    return uncertainty_of(series, (SourceAccuracy(), SourceAccuracy()), reference)


def rows(tables, name: str, zone: str):
    table = tables[name]
    return table[table["zone"] == zone].set_index("year" if name == "areas" else "class", append=False)


def test_zones_with_units_enough_are_estimated_from_them(found, known) -> None:
    """The west of the truth has 136 ha of its 800 ha in crops, in the second year 72 more."""
    tables = zonal_tables(found, None, known)
    west = rows(tables, "changes", "west").loc["crops"]
    assert west["interval"] == "95 % interval" and west["interval_source"].endswith("(lulc-accuracy/delta)")
    # 60 rows x 100 columns of trees became crops.
    assert west["low_change_hectares"] < 60 < west["high_change_hectares"]
    areas = tables["areas"].set_index(["zone", "year", "class"]).loc["west"]
    assert areas.loc[(2018, "crops"), "low_hectares"] < 60 < areas.loc[(2018, "crops"), "high_hectares"]
    assert areas.loc[(2018, "crops"), "estimated_share"] == pytest.approx(
        areas.loc[(2018, "crops"), "estimated_hectares"] / 800, rel=1e-3
    )
    whole = tables["zones"].set_index("zone").loc["whole"]
    assert whole["low_changed_hectares"] < 72 < whole["high_changed_hectares"] < whole["changed_hectares"]


def test_the_whole_ground_is_estimated_as_in_the_report(found, known, drawn) -> None:
    design, sample = drawn
    strata = Strata.of(
        [one.name for one in design.strata],
        [one.hectares for one in design.strata],
        np.bincount(sample.stratum, minlength=len(design.strata)),
    )
    every = DomainSample(strata, sample.stratum, np.ones(len(sample.unit), bool), strata.area)
    k = design.names.index("crops")
    told = every.net(*(sample.reference == k))
    whole = rows(zonal_tables(found, None, known), "changes", "whole").loc["crops"]
    assert whole["estimated_change_hectares"] == pytest.approx(told.value)
    assert (whole["low_change_hectares"], whole["high_change_hectares"]) == pytest.approx((told.low, told.high))


def test_zones_with_few_units_borrow_from_the_strata_and_say_so(found, known, drawn) -> None:
    """The same sums as `DomainSample`, for all zones at once."""
    design, sample = drawn
    tables = zonal_tables(found, None, known)
    small = rows(tables, "changes", "small").loc["crops"]
    assert small["interval"] == "synthetic" and "taken to err here as in the whole" in small["interval_reason"]
    number = found.zones.frame["zone"].tolist().index("small")
    k, names = len(design.classes), found.series.legend.names
    cells = found.transitions(number)[1:, 1:].ravel()
    hectares = known.reference.strata_hectares(cells, names)
    strata, few = known.reference.strata, np.zeros(len(sample.unit), bool)
    domain = DomainSample(strata, sample.stratum, few, hectares)
    assert k == len(names) and domain.method == "synthetic"
    was, becomes = known.reference.label == names.index("crops")
    net, area = domain.net(was, becomes), domain.area(becomes)
    columns = [f"{one}_change_hectares" for one in ("estimated", "low", "high")]
    assert small[columns].tolist() == pytest.approx([net.value, net.low, net.high])
    told = tables["areas"].set_index(["zone", "year", "class"]).loc[("small", 2018, "crops")]
    assert [told[f"{one}_hectares"] for one in ("estimated", "low", "high")] == pytest.approx(
        [area.value, area.low, area.high]
    )
    assert np.isnan(small["low_relative_change"]) and "30 units or more" in small["interval_reason"]


def test_maps_that_the_sample_was_not_drawn_from_lend_nothing(found, known) -> None:
    tables = zonal_tables(found, None, replace(known, same_maps=False))
    small = rows(tables, "changes", "small").loc["crops"]
    assert small["interval"] == "no interval" and "strata are not those of these maps" in small["interval_reason"]
    assert rows(tables, "changes", "west").loc["crops"]["interval"] == "95 % interval"


def test_transitions_of_zones_have_intervals(found, known) -> None:
    table = zonal_tables(found, None, known)["transitions"].set_index(["zone", "from_class", "to_class"])
    told = table.loc[("west", "trees", "crops")]
    assert told["low_hectares"] < 60 < told["high_hectares"] and told["interval"] == "95 % interval"
    assert table.loc[("small", "trees", "crops"), "interval"] == "synthetic"


@pytest.mark.parametrize(
    ("accuracy", "kind_of_area", "kind_of_change"),
    [
        (SourceAccuracy(), "no interval", "no interval"),
        (SourceAccuracy(overall=0.85, origin="made up"), "scaled by overall accuracy", "no interval"),
        (MATRIX, "scenario range", "scenario range"),
    ],
)
def test_zones_without_a_sample_have_what_is_published(found, accuracy, kind_of_area, kind_of_change) -> None:
    tables = zonal_tables(found, None, Uncertainty(found.series.years, (accuracy,) * 2))
    area = tables["areas"].set_index(["zone", "year", "class"]).loc[("west", 2018, "crops")]
    change = rows(tables, "changes", "west").loc["crops"]
    assert (area["interval"], change["interval"]) == (kind_of_area, kind_of_change)
    assert np.isnan(area["estimated_hectares"])
    if accuracy.overall:
        assert (area["low_hectares"], area["high_hectares"]) == pytest.approx(
            (0.85 * area["mapped_hectares"], 1.15 * area["mapped_hectares"])
        )
    for table in tables.values():
        assert ((table["interval"] != "no interval") | (table["interval_reason"] != "")).all()


def test_tables_of_zones_have_the_same_columns_whatever_is_known(found, known) -> None:
    one, other = zonal_tables(found, None, known), zonal_tables(found, None, Uncertainty())
    assert {name: list(table) for name, table in one.items()} == {name: list(table) for name, table in other.items()}
    assert (one["areas"]["source_accuracy"] == "85 % by the sample 85 % by the sample").all()


def test_a_sample_of_one_year_tells_that_year_alone(found, series, tmp_path) -> None:
    truth, maps = truth_and_maps()
    design, _ = designed(tmp_path, maps[:1], Wishes(size=600, expected=0.9))
    sample = seen_by_all(design, truth[:1])
    reference = Reference(design, sample, sample.reference, "lulc-accuracy/one", ("85 % by the sample",))
    known = uncertainty_of(series, (SourceAccuracy(overall=0.85, origin="made up"),) * 2, reference)
    tables = zonal_tables(found, None, known)
    areas = tables["areas"].set_index(["zone", "year", "class"])
    # Of the truth of 2017: 60 rows of water over 400 columns.
    water = areas.loc[("whole", 2017, "water")]
    assert water["interval"] == "95 % interval" and water["low_hectares"] < 240 < water["high_hectares"]
    assert areas.loc[("small", 2017, "water"), "interval"] == "synthetic"
    later = areas.loc[("whole", 2018, "water")]
    assert later["interval"] == "scaled by overall accuracy"
    assert later["interval_reason"] == "the reference sample is of 2017, not of 2018"
    assert "not of 2017-2018" in rows(tables, "changes", "whole").loc["crops"]["interval_reason"]
