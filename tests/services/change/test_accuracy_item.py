"""The report as a STAC item."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
import requests

from catalog.errors import BadInput
from catalog.products import ACCURACY
from catalog.store import open_store
from catalog.validation import validate
from services.change.accuracy_item import publish_report
from services.change.accuracy_page import write_report
from services.change.accuracy_report import Report, make_report
from services.change.designing import Wishes
from tests.servers.catalog import serve_catalog
from tests.services.change.truths import designed, interpreted, truth_and_maps

KEY = f"{ACCURACY.id}/delta/2017-2018/delta-2017-2018.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Report, design, files and interpreted sample, of maps that lie in the output itself."""
    folder = tmp_path_factory.mktemp("report")
    truth, maps = truth_and_maps()
    design, drawn = designed(folder / "out" / "maps", maps, Wishes(size=400, expected=0.9, merge_below=0.02))
    sample, read = interpreted(design, drawn, truth, folder)
    report = make_report(design, read)
    return report, design, [*write_report(report, design, folder), folder / "design.json"], sample


def publish(out: Path, made, name: str = "delta", overwrite: bool = False):
    report, design, files, sample = made
    return publish_report(open_store(str(out)), report, design, files, sample, name, overwrite=overwrite)


def read(out: Path, key: str = KEY) -> dict:
    return json.loads((out / key).read_text())


def test_the_item_is_valid_and_tells_what_was_found(made, tmp_path):
    assert publish(tmp_path, made) == (KEY, True)
    item, report = read(tmp_path), made[0]
    validate(item)
    properties = item["properties"]
    assert properties["start_datetime"] == "2017-01-01T00:00:00Z" and properties["end_datetime"][:4] == "2018"
    told = properties["landloom:overall_accuracy"]["2018"]
    assert told["value"] == report.years[1].accuracy.overall.value and told["low"] < told["value"] < told["high"]
    assert properties["landloom:changed_hectares"]["value"] < properties["landloom:changed_mapped_hectares"]
    assert properties["landloom:design"]["size"] == 400 and properties["processing:software"]["landloom"]
    assert all("from this sample" in one for one in properties["landloom:source_accuracy"])


def test_all_files_lie_beside_it(made, tmp_path):
    publish(tmp_path, made)
    item = read(tmp_path)
    assert set(item["assets"]) == {"report", "table", "thumbnail", "page", "design", "sample"}
    folder = (tmp_path / KEY).parent
    for asset in item["assets"].values():
        assert (folder / asset["href"]).stat().st_size == asset["file:size"]
    report = Report.model_validate_json((folder / item["assets"]["report"]["href"]).read_text())
    assert report == made[0]
    rows = pandas.read_csv(folder / item["assets"]["table"]["href"])
    assert rows["source_accuracy"].notna().all() and {"mapped_ha", "estimated_ha"} <= set(rows)


def test_the_page_needs_no_other_file_and_names_its_sources(made, tmp_path):
    publish(tmp_path, made)
    page = ((tmp_path / KEY).parent / read(tmp_path)["assets"]["page"]["href"]).read_text()
    assert "http://" not in page and "https://" not in page and 'src="data:image/png' in page
    assert page.count("from this sample") >= 4
    assert "No other is published." in page
    assert "too short" in page and "trees to crops" in page


def test_it_links_to_the_maps(made, tmp_path):
    publish(tmp_path, made)
    links = [link for link in read(tmp_path)["links"] if link["rel"] == "derived_from"]
    assert [Path(link["href"]).name for link in links] == ["33UVU-2017.json", "33UVU-2018.json"]
    assert all(Path(link["href"]).is_file() for link in links)


def test_maps_of_the_same_output_are_linked_relatively(made):
    out = Path(made[1].maps[0].href).parents[2]
    publish(out, made)
    for link in read(out)["links"]:
        if link["rel"] == "derived_from":
            assert link["href"].startswith("../../../maps/") and ((out / KEY).parent / link["href"]).is_file()


def test_the_collection_grows(made, tmp_path):
    publish(tmp_path, made)
    publish(tmp_path, made, "north-delta")
    collection = read(tmp_path, f"{ACCURACY.id}/collection.json")
    validate(collection)
    assert collection["extent"]["temporal"]["interval"] == [["2017-01-01T00:00:00Z", "2018-12-31T23:59:59Z"]]
    items = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert items == [f"./{name}/2017-2018/{name}-2017-2018.json" for name in ("delta", "north-delta")]
    root = read(tmp_path, "catalog.json")
    assert [link["href"] for link in root["links"] if link["rel"] == "child"] == [f"./{ACCURACY.id}/collection.json"]


def test_the_same_report_again_changes_nothing(made, tmp_path):
    publish(tmp_path, made)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert publish(tmp_path, made) == (KEY, False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_another_sample_does_not_replace_it_unasked(made, tmp_path):
    publish(tmp_path / "out", made)
    old = read(tmp_path / "out")["assets"]["report"]["href"]
    report, design, files, sample = made
    other = tmp_path / "other.gpkg"
    other.write_bytes(sample.read_bytes() + b" ")
    with pytest.raises(BadInput, match=r"is a report of another design or sample \(\w{16}\). Give another --name"):
        publish(tmp_path / "out", (report, design, files, other))
    assert publish(tmp_path / "out", (report, design, files, other), overwrite=True) == (KEY, True)
    folder = (tmp_path / "out" / KEY).parent
    assert read(tmp_path / "out")["assets"]["report"]["href"] != old and not (folder / old).exists()


@pytest.mark.parametrize("name", ["", "../x", "a b", "a--b"])
def test_names_that_are_none_are_refused(made, tmp_path, name):
    with pytest.raises(BadInput, match="is no name"):
        publish(tmp_path, made, name)


@pytest.mark.slow
def test_the_catalog_serves_it(made, tmp_path):
    """Two reports, of two years and of one, whose properties differ."""
    publish(tmp_path, made)
    truth, maps = truth_and_maps()
    design, drawn = designed(tmp_path / "maps", maps[:1], Wishes(size=200, expected=0.9))
    sample, read_back = interpreted(design, drawn, truth[:1], tmp_path / "sample")
    report = make_report(design, read_back)
    files = [*write_report(report, design, tmp_path / "sample"), tmp_path / "sample" / "design.json"]
    publish(tmp_path, (report, design, files, sample))
    with serve_catalog(str(tmp_path)) as url:
        found = requests.get(f"{url}/collections/{ACCURACY.id}/items", timeout=30).json()["features"]
        assert {one["id"] for one in found} == {"delta-2017-2018", "delta-2017"}
        item = next(one for one in found if one["id"] == "delta-2017-2018")
        stored = read(tmp_path)["properties"]
        for name in ("landloom:overall_accuracy", "landloom:estimated_hectares", "landloom:changed_hectares"):
            assert item["properties"][name] == stored[name]
        page = requests.get(item["assets"]["page"]["href"], timeout=30)
        assert page.ok and "Accuracy and areas, 2017 to 2018" in page.text
        asked = {"collections": [ACCURACY.id], "datetime": "2018-06-01T00:00:00Z/2018-07-01T00:00:00Z"}
        assert len(requests.post(f"{url}/search", json=asked, timeout=30).json()["features"]) == 1
