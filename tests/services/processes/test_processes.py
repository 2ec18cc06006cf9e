"""Each process by HTTP, as a client asks for it, and beside it the command line's product: they are the same."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import requests

from catalog.store import open_store
from tests.pipelines.running import contents, landloom
from tests.servers.s3 import S3Server
from tests.services.change.maps import CROPS, TREES, WATER
from tests.services.processes.conftest import Service, serve_jobs

pytestmark = pytest.mark.slow
BOX = "15.005,52.335,15.025,52.345"
MATRIX = {"classes": ["water", "trees", "crops"], "counts": [[95, 3, 2], [2, 90, 8], [3, 7, 90]]}
ZONES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": name, "people": people},
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [[west, 52.335], [west + 0.01, 52.335], [west + 0.01, 52.345], [west, 52.345], [west, 52.335]]
                ],
            },
        }
        for name, people, west in (("west", 10, 15.004), ("east", 25, 15.014))
    ],
}


def numbers(text: str) -> list[float]:
    return [float(one) for one in text.split(",")]


def product(folder: Path) -> dict[str, object]:
    """All files below a folder; of JSON without times, and without links to maps, which begin otherwise elsewhere."""
    found = contents(folder)
    for content in found.values():
        if isinstance(content, dict) and "links" in content:
            content["links"] = [link for link in content["links"] if link["rel"] != "derived_from"]
    return found


def same(service: Service, out: Path, *folders: str) -> None:
    for folder in folders:
        ours, theirs = (product(one / folder) for one in (service.folder / "catalog", out))
        assert ours and set(ours) == set(theirs)
        assert [name for name, content in ours.items() if content != theirs[name]] == []


def item_of(service: Service, result: dict) -> dict:
    """The last item that a job links to, read over HTTP."""
    assert result["items"] and not result["left_out"]
    link = result["items"][-1]
    item = requests.get(link["href"], timeout=60).json()
    assert item["id"] == link["title"] and link["api"].endswith(f"/collections/{item['collection']}/items/{item['id']}")
    return item


def test_change_is_the_command_lines(service, tmp_path):
    result = service.done("change", {"collection": "maps", "bbox": numbers(BOX), "name": "field", "note": "ours"})
    assert result["published"] == 2 and result["skipped"] == 0
    item = item_of(service, result)
    assert item["id"] == "field-2017-2018-2019" and item["properties"]["landloom:changed_hectares"] > 10
    again = service.done("change", {"collection": "maps", "bbox": numbers(BOX), "name": "field", "note": "ours"})
    assert again["published"] == 0 and again["skipped"] == 2 and again["items"] == result["items"]
    landloom(
        "change", "--maps", service.folder / "catalog", "--collection", "maps", "--bbox", BOX, "--name", "field",
        "--note", "ours", "--out", tmp_path,
    )  # fmt: skip
    label = "2017-2018-2019"
    same(service, tmp_path, f"lulc-change/field/{label}", f"lulc-change/33UAA/field-{label}")


def test_temporal_is_the_command_lines(service, tmp_path):
    result = service.done("temporal", {"collection": "maps", "error_matrix": {"value": MATRIX}})
    assert len(result["items"]) == 3 and "2019 is provisional" in result["notes"][-1]
    assert item_of(service, result)["properties"]["landloom:provisional"]
    table = pandas.DataFrame(MATRIX["counts"], index=MATRIX["classes"], columns=MATRIX["classes"])
    table.to_csv(tmp_path / "matrix.csv")
    landloom(
        "temporal", "--maps", service.folder / "catalog", "--collection", "maps", "--out", tmp_path / "out",
        "--error-matrix", tmp_path / "matrix.csv",
    )  # fmt: skip
    same(service, tmp_path / "out", "lulc-temporal/33UAA")


def test_zonal_is_the_command_lines(service, tmp_path):
    asked = {"collection": "maps", "key": "name", "class": "crops", "years": [2017, 2019], "name": "halves"}
    result = service.done("zonal", {**asked, "zones": ZONES}, response="document")["result"]["value"]
    assert result["zones"]["covered"] == 2
    item = item_of(service, result)
    zones = requests.get(
        result["items"][0]["href"].rpartition("/")[0] + item["assets"]["zones_csv"]["href"][1:], timeout=60
    )
    assert "west" in zones.text and "people" in zones.text
    (service.folder / "files" / "halves.geojson").write_text(json.dumps(ZONES))
    again = service.done("zonal", {**asked, "zones_file": "halves.geojson"})
    assert again["published"] == 0, "the same zones from a file that was laid ready"
    (tmp_path / "halves.geojson").write_text(json.dumps(ZONES))
    landloom(
        "zonal", "--maps", service.folder / "catalog", "--collection", "maps", "--zones", tmp_path / "halves.geojson",
        "--key", "name", "--class", "crops", "--years", "2017,2019", "--name", "halves", "--out", tmp_path / "out",
    )  # fmt: skip
    same(service, tmp_path / "out", "lulc-zonal/halves")


def test_from_a_drawn_sample_to_the_report_of_the_command_line(service, tmp_path):
    drawn = service.done(
        "accuracy-design",
        {"collection": "maps", "years": [2017, 2018], "expected_accuracy": 0.9, "size": 300, "merge_below": 1.0},
    )
    files = {one["title"]: requests.get(one["href"], timeout=60) for one in drawn["files"]}
    assert set(files) == {"design.json", "sample.gpkg", "sample.geojson", "sample.csv"}
    design = files["design.json"].json()
    (tmp_path / "sample.csv").write_bytes(files["sample.csv"].content)
    rows = pandas.read_csv(tmp_path / "sample.csv")
    where = {one["unit"]: (one["row"], one["col"]) for one in design["sample"]}
    for year, end in ((2017, 80), (2018, 120)):
        codes = np.full((200, 200), TREES)
        codes[:, :40] = WATER
        codes[60:end, 100:160] = CROPS
        rows[f"reference_{year}"] = [int(codes[where[unit]]) for unit in rows["unit"]]
    filled = rows.to_csv(index=False)
    result = service.done("accuracy-report", {"design": {"value": design}, "sample": filled, "name": "field"})
    assert item_of(service, result)["properties"]["landloom:overall_accuracy"]["2018"]["value"] == pytest.approx(1)
    (tmp_path / "design.json").write_bytes(files["design.json"].content)
    (tmp_path / "sample.csv").write_text(filled)
    landloom(
        "accuracy", "report", "--design", tmp_path / "design.json", "--sample", tmp_path / "sample.csv",
        "--name", "field", "--out", tmp_path / "out",
    )  # fmt: skip
    key = "lulc-accuracy/field/2017-2018"
    ours, theirs = (product(one / key) for one in (service.folder / "catalog", tmp_path / "out"))
    assert set(ours) == set(theirs)
    # The report's page and data tell when they were made; all that was estimated is in the table.
    (table,) = (name for name in ours if name.endswith("areas.csv"))
    assert ours[table] == theirs[table]


def test_products_of_a_bucket_are_written_to_it(maps, tmp_path, s3: S3Server):
    url = f"s3://{s3.new_bucket()}/maps"
    store = open_store(url, s3_endpoint=s3.endpoint)
    for path in maps.rglob("*"):
        if path.is_file():
            store.write(path.relative_to(maps).as_posix(), path.read_bytes())
    with serve_jobs(url, tmp_path, "--s3-endpoint", s3.endpoint) as service:
        result = service.done("change", {"collection": "maps", "years": [2017, 2019], "name": "all"})
        assert item_of(service, result)["id"] == "all-2017-2019"
    assert store.exists("lulc-change/all/2017-2019/all-2017-2019.json")


def test_an_item_made_anew_is_served_anew(catalog, tmp_path):
    asked = {"collection": "maps", "years": [2017, 2019], "name": "field"}
    with serve_jobs(catalog, tmp_path) as service:
        link = service.done("change", asked)["items"][-1]
        first = requests.get(link["href"], timeout=60).json()["properties"]["landloom:fingerprint"]
        service.done("change", {**asked, "note": "a word more"})

        def served() -> str:
            answer = requests.get(link["api"], timeout=60)
            return answer.json()["properties"]["landloom:fingerprint"] if answer.ok else ""

        for _ in range(200):
            if served() not in ("", first):
                break
            time.sleep(0.3)
        assert served() not in ("", first), "the API answers with the new one"
