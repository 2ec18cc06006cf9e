"""Scenes are found alike in a STAC API, a static catalog on disk, over HTTP and in a bucket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import shapely

from catalog.datatakes import group_datatakes
from catalog.errors import BadInput, SourceUnavailable
from catalog.scenes import BANDS, AssetNames, scene_from_item
from catalog.sources import open_source
from tests.servers.http import WebServer, serve

HERE = shapely.box(12.0, 52.0, 12.5, 52.5)
YEAR = (datetime(2021, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, 23, 59, 59, tzinfo=UTC))
COMMON_NAMES = dict(zip(BANDS, ("blue", "green", "red", "nir", "swir16", "swir22"), strict=True))


def item(number: int = 0, *, assets: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    """An item as Planetary Computer shapes it: no `raster:bands`, so the baseline decides."""
    day = f"2021-{1 + number % 12:02d}-{1 + number // 12:02d}"
    name = f"S2A_MSIL2A_{day.replace('-', '')}T100000_R022_T33UUU_{number:03d}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": json.loads(shapely.to_geojson(HERE)),
        "bbox": list(HERE.bounds),
        "properties": {
            "datetime": f"{day}T10:00:00Z",
            "s2:mgrs_tile": "33UUU",
            "s2:processing_baseline": "03.01",
            "s2:datatake_id": f"GS2A_{number:06d}",
            "eo:cloud_cover": 10,
            **properties,
        },
        "links": [],
        "assets": assets or {band: {"href": f"https://example.com/{name}/{band}.tif"} for band in (*BANDS, "SCL")},
    }


def earth_search(number: int = 0, **properties: Any) -> dict[str, Any]:
    """As Earth Search shapes it: other names, and an offset that is stated even where it is already applied."""
    raster = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
    assets = {COMMON_NAMES[band]: {"href": f"https://example.com/{band}.tif", "raster:bands": raster} for band in BANDS}
    assets["scl"] = {"href": "https://example.com/SCL.tif"}
    return item(number, assets=assets, **{"s2:processing_baseline": "05.09", **properties})


def offset(one: dict[str, Any]) -> float:
    return scene_from_item(one, "https://example.com/item.json", AssetNames()).bands["B04"].offset


def write(folder: Path, *items: dict[str, Any]) -> Path:
    for one in items:
        (folder / f"{one['id']}.json").write_text(json.dumps(one))
    links = [{"rel": "item", "href": f"./{one['id']}.json"} for one in items]
    content = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x", "links": links}
    (folder / "catalog.json").write_text(json.dumps(content))
    return folder / "catalog.json"


@pytest.fixture
def web(tmp_path):
    """Five scenes of the year and one of another, as files and as an API."""
    write(tmp_path, *(item(number) for number in range(5)), item(7, datetime="2020-07-01T10:00:00Z"))
    with serve(tmp_path) as server:
        yield server


def ids(source) -> list[str]:
    return sorted(scene.id for scene in source.search(HERE, *YEAR).scenes)


def test_a_catalog_gives_the_same_from_disk_over_http_from_a_bucket_and_by_an_api(
    web: WebServer, tmp_path, s3, monkeypatch
):
    bucket = s3.new_bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    for path in tmp_path.glob("*.json"):
        boto3.client("s3").upload_file(str(path), bucket, f"scenes/{path.name}")
    expected = sorted(item(number)["id"] for number in range(5))
    for source in (
        str(tmp_path),
        str(tmp_path / "catalog.json"),
        f"{web.url}/catalog.json",
        f"s3://{bucket}/scenes/catalog.json",
        f"{web.url}/stac",
    ):
        assert ids(open_source(source)) == expected, source


def test_every_page_of_a_search_is_read(web: WebServer):
    web.behave(page=2)
    assert len(ids(open_source(f"{web.url}/stac"))) == 5
    assert sum(entry["path"] == "/stac/search" for entry in web.log()) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_api_is_asked_again_after_the_time_it_names(web: WebServer, status):
    source = open_source(f"{web.url}/stac")
    web.log()
    web.behave(fail={"path": "/stac/search", "status": status, "retry_after": 1, "times": 2})
    assert len(ids(source)) == 5
    assert [entry["status"] for entry in web.log()] == [status, status, 200]


def test_an_api_that_refuses_is_named(web: WebServer):
    source = open_source(f"{web.url}/stac")
    web.behave(fail={"path": "/stac/search", "status": 400, "times": 100})
    with pytest.raises(SourceUnavailable, match=f"search at {web.url}/stac failed"):
        source.search(HERE, *YEAR)


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("catalog.sources.RETRIES", 0)
    with pytest.raises(SourceUnavailable, match=r"http://127.0.0.1:9/stac does not answer"):
        open_source("http://127.0.0.1:9/stac")


def test_an_unknown_api_is_described_by_a_mapping(tmp_path):
    odd = {f"band_{band}": {"href": f"https://example.com/{band}.tif"} for band in BANDS}
    write(tmp_path, item(0, assets=odd))
    with pytest.raises(BadInput, match=r"lacks the six bands: S2A_.* is without band B02, B03.*--mapping"):
        open_source(str(tmp_path)).search(HERE, *YEAR)
    mapping = tmp_path / "mapping" / "odd.json"
    mapping.parent.mkdir()
    mapping.write_text(json.dumps({"names": {"bands": {band: f"band_{band}" for band in BANDS}}}))
    (scene,) = open_source(str(tmp_path), mapping=str(mapping)).search(HERE, *YEAR).scenes
    assert scene.bands["B12"].href == "https://example.com/B12.tif"


@pytest.mark.parametrize(
    ("content", "told"),
    [("{}x", "not valid at the file"), ('{"collection": "x"}', "not valid at collection"), (None, "no mapping file")],
)
def test_a_wrong_mapping_is_named(tmp_path, content, told):
    path = tmp_path / "mapping.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=f"{told}.*docs/sources.md"):
        open_source("https://example.com/stac", mapping=str(path))


@pytest.mark.parametrize("source", ["nowhere.json", "ftp://example.com", "planetary"])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(BadInput, match=source):
        open_source(source)


def test_a_scene_that_cannot_be_used_is_excluded_with_the_reason(tmp_path):
    undated = item(1)
    undated["properties"]["datetime"] = None
    halved = item(2)
    del halved["assets"]["B11"]
    write(tmp_path, item(0), undated, halved)
    found = open_source(str(tmp_path)).search(HERE, *YEAR)
    assert [scene.id for scene in found.scenes] == [item(0)["id"]]
    assert {e.scene: e.reason for e in found.excluded} == {
        undated["id"]: "without a date",
        halved["id"]: "without band B11",
    }


def test_the_offset_is_decided_by_flag_then_bands_then_baseline():
    # Earth Search states the offset in raster:bands whether or not it has been applied; the flag tells.
    assert offset(earth_search(**{"earthsearch:boa_offset_applied": True})) == 0
    assert offset(earth_search(**{"earthsearch:boa_offset_applied": False})) == -0.1
    # What raster:bands state comes before the baseline: 99.99 carries none.
    stated = {band: {"href": "x.tif", "raster:bands": [{"scale": 0.0001, "offset": 0}]} for band in BANDS}
    assert offset(item(assets=stated, **{"s2:processing_baseline": "99.99"})) == 0
    assert offset(item(**{"s2:processing_baseline": "04.00"})) == -0.1
    assert offset(item(**{"s2:processing_baseline": "05.11"})) == -0.1
    assert offset(item(**{"s2:processing_baseline": "03.01"})) == 0


def test_l1c_is_marked():
    one = item(**{"s2:product_type": "S2MSI1C"})
    assert scene_from_item(one, "x.json", AssetNames()).level == "L1C"
    assert scene_from_item(item(), "x.json", AssetNames()).level == "L2A"


def test_what_one_overpass_saw_is_one_datatake():
    def scene(number: int, tile: str = "33UUU", baseline: str = "03.01", part: str = "", west: float = 12.0):
        one = item(number, **{"s2:mgrs_tile": tile, "s2:processing_baseline": baseline})
        one["id"] += f"_{tile}_{baseline}{part}"
        one["geometry"] = json.loads(shapely.to_geojson(shapely.box(west, 52, west + 0.5, 52.5)))
        return scene_from_item(one, "https://example.com/x.json", AssetNames())

    neighbour, older, newer = scene(0, "33UUT"), scene(0, baseline="02.12"), scene(0, baseline="05.00")
    cut = scene(0, baseline="05.00", part="b", west=12.5)
    datatakes, excluded = group_datatakes([neighbour, older, newer, cut, scene(1)], "33UUU")
    assert [len(datatake.scenes) for datatake in datatakes] == [3, 1]
    # The tile's own come first, so that neighbours only fill what it lacks.
    assert {one.id for one in datatakes[0].scenes[:2]} == {newer.id, cut.id}
    assert datatakes[0].scenes[2].id == neighbour.id
    assert [(e.scene, e.reason) for e in excluded] == [(older.id, "older processing of the same data")]
