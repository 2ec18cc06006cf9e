"""Each process by HTTP, as a client asks for it, and beside it the command line's product: they are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
import requests

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


def same(catalog: Path, other: Path, collection: str) -> None:
    ours, theirs = (contents(one / collection) for one in (catalog, other))
    assert ours and set(ours) == set(theirs)
    for name, content in ours.items():
        assert content == theirs[name], name


def item_of(service: Service, result: dict) -> dict:
    """The last item that a job links to, read over HTTP."""
    assert result["items"] and not result["left_out"]
    link = result["items"][-1]
    item = requests.get(link["href"], timeout=60).json()
    assert item["id"] == link["title"] and link["api"].endswith(f"/collections/{item['collection']}/items/{item['id']}")
    return item


def test_change_is_the_command_lines(service, maps, tmp_path):
    result = service.done("change", {"collection": "maps", "bbox": numbers(BOX), "name": "field", "note": "ours"})
    assert result["published"] == 2 and result["skipped"] == 0
    item = item_of(service, result)
    assert item["id"] == "field-2017-2018-2019" and item["properties"]["landloom:changed_hectares"] > 10
    again = service.done("change", {"collection": "maps", "bbox": numbers(BOX), "name": "field", "note": "ours"})
    assert again["published"] == 0 and again["skipped"] == 2 and again["items"] == result["items"]
    other = Path(shutil.copytree(maps, tmp_path / "other"))
    landloom(
        "change", "--maps", other, "--collection", "maps", "--bbox", BOX, "--name", "field", "--note", "ours",
        "--out", other,
    )  # fmt: skip
    same(service.folder / "catalog", other, "lulc-change")


def test_temporal_is_the_command_lines(service, maps, tmp_path):
    result = service.done("temporal", {"collection": "maps", "error_matrix": {"value": MATRIX}})
    assert len(result["items"]) == 3 and "2019 is provisional" in result["notes"][-1]
    assert item_of(service, result)["properties"]["landloom:provisional"]
    other = Path(shutil.copytree(maps, tmp_path / "other"))
    table = pandas.DataFrame(MATRIX["counts"], index=MATRIX["classes"], columns=MATRIX["classes"])
    table.to_csv(tmp_path / "matrix.csv")
    landloom(
        "temporal", "--maps", other, "--collection", "maps", "--error-matrix", tmp_path / "matrix.csv", "--out", other
    )
    same(service.folder / "catalog", other, "lulc-temporal")


def test_zonal_is_the_command_lines(service, maps, tmp_path):
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
    assert again["skipped"] == 1, "the same zones from a file that was laid ready"
    other = Path(shutil.copytree(maps, tmp_path / "other"))
    (tmp_path / "halves.geojson").write_text(json.dumps(ZONES))
    landloom(
        "zonal", "--maps", other, "--collection", "maps", "--zones", tmp_path / "halves.geojson", "--key", "name",
        "--class", "crops", "--years", "2017,2019", "--name", "halves", "--out", other,
    )  # fmt: skip
    same(service.folder / "catalog", other, "lulc-zonal")


def test_from_a_drawn_sample_to_the_report_of_the_command_line(service, maps, tmp_path):
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
    assert item_of(service, result)["properties"]["landloom:overall_accuracy"]["2018"]["value"] == 1
    own = Path(shutil.copytree(maps, tmp_path / "other"))
    # The design names the maps that it was drawn from; here these lie elsewhere.
    text = files["design.json"].text.replace(str(service.folder / "catalog"), str(own))
    (tmp_path / "design.json").write_text(text)
    (tmp_path / "sample.csv").write_text(filled)
    landloom(
        "accuracy", "report", "--design", tmp_path / "design.json", "--sample", tmp_path / "sample.csv",
        "--name", "field", "--out", own,
    )  # fmt: skip
    published = json.loads((own / "lulc-accuracy/field/2017-2018/field-2017-2018.json").read_text())
    ours = item_of(service, result)
    for key in ("landloom:overall_accuracy", "landloom:hectares", "landloom:units", "title"):
        assert ours["properties"][key] == published["properties"][key]
    assert ours["assets"]["table"]["file:size"] == published["assets"]["table"]["file:size"]


def test_products_of_a_bucket_are_written_to_it(maps, tmp_path, s3: S3Server):
    from catalog.store import open_store

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
            import time

            time.sleep(0.3)
        assert served() not in ("", first), "the API answers with the new one"
