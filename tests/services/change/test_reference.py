"""Products of change find the reference sample in their output, and tell 95 % intervals from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas
import pandas as pd
import pytest

from catalog.errors import BadInput
from catalog.store import open_store
from catalog.validation import validate
from services.change.accuracy_item import publish_report
from services.change.accuracy_page import write_report
from services.change.accuracy_report import make_report
from services.change.designing import Wishes
from services.change.reference import find_reference
from services.change.series import open_series
from tests.pipelines.running import landloom
from tests.services.change.maps import UTM
from tests.services.change.truths import designed, interpreted, truth_and_maps

KEY = "lulc-accuracy/delta/2017-2018/delta-2017-2018.json"
CROPS_CHANGE = 72.0
"""Hectares of trees that became crops: 60 x 120 pixels."""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """An output with maps and the report of a sample."""
    folder = tmp_path_factory.mktemp("reference")
    truth, maps = truth_and_maps()
    design, drawn = designed(folder / "maps", maps, Wishes(size=900, expected=0.9, merge_below=0.02))
    sample, read = interpreted(design, drawn, truth, folder)
    report = make_report(design, read)
    files = [*write_report(report, design, folder), folder / "design.json"]
    publish_report(open_store(str(folder / "out")), report, design, files, sample, "delta", overwrite=False)
    return folder


def test_it_is_read_from_the_published_report(out) -> None:
    series = open_series(str(out / "maps" / "collection.json"))
    ground = series.places[0].geometry
    found, note = find_reference([open_store(str(out / "out"))], "", series.years, ground)
    assert found.origin == "lulc-accuracy/delta-2017-2018" and not note
    assert len(found.sample.unit) >= 900 and found.covers(ground.buffer(-0.0001))
    again, _ = find_reference([open_store("elsewhere")], str(out / "out" / KEY), series.years, ground)
    assert again.design == found.design
    assert find_reference([open_store(str(out / "out"))], "none", series.years, ground) == (None, "")
    assert find_reference([open_store(str(out / "out"))], "", (2017, 2019), ground) == (None, "")


def test_what_is_no_report_is_refused(out) -> None:
    store, ground = open_store(str(out / "out")), open_series(str(out / "maps" / "collection.json")).places[0].geometry
    with pytest.raises(BadInput, match=r"There is no report .*nothing.json. Give the item that `landloom accuracy"):
        find_reference([store], str(out / "nothing.json"), (2017, 2018), ground)
    with pytest.raises(BadInput, match=r"There is no report /nothing\.json"):
        find_reference([store], "/nothing.json", (2017, 2018), ground)
    with pytest.raises(BadInput, match="is no report of a reference sample"):
        find_reference([store], str(out / "maps" / "collection.json"), (2017, 2018), ground)
    with pytest.raises(BadInput, match=r"is of 2017-2018, the maps are of 2020, 2021"):
        find_reference([store], str(out / "out" / KEY), (2020, 2021), ground)


def test_of_several_samples_the_larger_is_taken_and_it_is_told(out, tmp_path) -> None:
    shutil.copytree(out / "out", tmp_path / "out")
    truth, maps = truth_and_maps()
    design, drawn = designed(tmp_path / "maps", maps, Wishes(size=300, expected=0.9, merge_below=0.02))
    sample, read = interpreted(design, drawn, truth, tmp_path)
    report = make_report(design, read)
    files = [*write_report(report, design, tmp_path), tmp_path / "design.json"]
    publish_report(open_store(str(tmp_path / "out")), report, design, files, sample, "few", overwrite=False)
    ground = open_series(str(out / "maps" / "collection.json")).places[0].geometry
    found, note = find_reference([open_store(str(tmp_path / "out"))], "", (2017, 2018), ground)
    assert found.origin == "lulc-accuracy/delta-2017-2018"
    assert note == (
        "Of several reference samples lulc-accuracy/delta-2017-2018 is taken, not lulc-accuracy/few-2017-2018."
    )


@pytest.mark.slow
def test_the_command_change_tells_intervals_that_hold_the_truth(out) -> None:
    """Two maps that err in a twentieth each: 14 % of the pixels seem to change, 4.5 % did."""
    done = landloom("change", "--maps", out / "maps" / "collection.json", "--out", out / "out", "--name", "delta")
    item = json.loads(Path(done.stdout.strip()).read_text())
    validate(item)
    told = item["properties"]
    assert told["landloom:source_accuracy"]["interval"].startswith("95 % intervals from ")
    assert "from this sample of" in told["landloom:source_accuracy"]["accuracy"]
    changed = told["landloom:changed_hectares_interval"]
    assert changed["low"] < CROPS_CHANGE < changed["high"] < told["landloom:changed_hectares"]
    folder = Path(done.stdout.strip()).parent
    table = pd.read_parquet(folder / item["assets"]["transitions"]["href"]).set_index(["from_class", "to_class"])
    crops = table.loc[("trees", "crops")]
    assert crops["low_hectares"] < CROPS_CHANGE < crops["high_hectares"] and crops["interval"] == "95 % interval"
    page = (folder / item["assets"]["page"]["href"]).read_text()
    assert "95 % interval" in page and "lulc-accuracy/delta-2017-2018" in page
    without = landloom(
        "change", "--maps", out / "maps" / "collection.json", "--out", out / "out", "--name", "bare",
        "--reference", "none",
    )  # fmt: skip
    item = json.loads(Path(without.stdout.strip()).read_text())
    assert item["properties"]["landloom:changed_hectares_interval"]["kind"] == "no interval"
    assert (
        "no interval: no accuracy of the source maps is known"
        in (Path(without.stdout.strip()).parent / item["assets"]["page"]["href"]).read_text()
    )


@pytest.mark.slow
def test_the_catalog_of_the_maps_is_searched_too(out, tmp_path) -> None:
    """Maps and report in one catalog, the products in another."""
    shutil.copytree(out / "out" / "lulc-accuracy", tmp_path / "maps" / "lulc-accuracy")
    for path in (out / "maps").iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / "maps" / path.name)
    child = {"rel": "child", "href": "./collection.json", "type": "application/json"}
    catalog = {"type": "Catalog", "id": "all", "stac_version": "1.1.0", "description": "All", "links": [child]}
    (tmp_path / "maps" / "catalog.json").write_text(json.dumps(catalog))
    done = landloom("change", "--maps", tmp_path / "maps", "--out", tmp_path / "out", "--name", "delta")
    assert "95 % intervals from" in done.stderr and "lulc-accuracy/delta-2017-2018" in done.stderr
    item = json.loads(Path(done.stdout.strip()).read_text())
    assert item["properties"]["landloom:changed_hectares_interval"]["kind"] == "95 % interval"


@pytest.mark.slow
def test_degradation_has_an_interval_in_its_own_legend(out) -> None:
    """Trees that become cropland are degradation: 72 ha of 1,360 of land."""
    done = landloom(
        "change", "--maps", out / "maps" / "collection.json", "--out", out / "out", "--degradation", "sdg-15-3-1"
    )
    item = json.loads(Path(done.stdout.strip()).read_text())
    table = pd.read_parquet(Path(done.stdout.strip()).parent / item["assets"]["degradation"]["href"])
    worse = table.set_index("meaning").loc["degradation"]
    assert worse["interval"] == "95 % interval" and worse["low_hectares"] < CROPS_CHANGE < worse["high_hectares"]
    share = 100 * CROPS_CHANGE / 1_360
    assert worse["low_percent_of_land"] < share < worse["high_percent_of_land"]


@pytest.mark.slow
def test_the_command_zonal_tells_them_by_zone(out, tmp_path) -> None:
    import shapely

    shapes = [shapely.box(*(UTM @ (0, 400)), *(UTM @ (200, 0))), shapely.box(*(UTM @ (200, 400)), *(UTM @ (400, 0)))]
    frame = geopandas.GeoDataFrame({"id": ["west", "east"]}, geometry=shapes, crs="EPSG:32633")
    frame.to_file(tmp_path / "halves.gpkg")
    done = landloom(
        "zonal", "--maps", out / "maps" / "collection.json", "--zones", tmp_path / "halves.gpkg", "--out", out / "out"
    )
    item = json.loads(Path(done.stdout.strip()).read_text())
    assert item["properties"]["landloom:source_accuracy"]["interval"].startswith("95 % intervals from ")
    folder = Path(done.stdout.strip()).parent
    table = pd.read_parquet(folder / item["assets"]["changes"]["href"]).set_index(["zone", "class"])
    west = table.loc[("west", "crops")]
    assert west["interval"] == "95 % interval"
    assert west["low_change_hectares"] < 60 < west["high_change_hectares"]
    assert "95 % interval" in (folder / item["assets"]["map"]["href"]).read_text()
