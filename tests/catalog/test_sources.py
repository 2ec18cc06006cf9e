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
from catalog.sources import KNOWN_APIS, StacApi, open_source, read_mapping
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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def web(server, tmp_path):
    """Five scenes of the year and one of another, as files and as an API."""
    write(tmp_path, *(item(number) for number in range(5)), item(7, datetime="2020-07-01T10:00:00Z"))
    server.turn_to(tmp_path)
    return server


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


@pytest.mark.parametrize("where", ["catalog.json", "stac"])
def test_only_what_touches_the_place_and_lies_in_the_period_is_found(web: WebServer, tmp_path, where):
    elsewhere = item(3)
    elsewhere["geometry"] = json.loads(shapely.to_geojson(shapely.box(30, 10, 31, 11)))
    across = item(4, datetime=None, start_datetime="2020-12-20T00:00:00Z", end_datetime="2021-01-10T00:00:00Z")
    write(tmp_path, item(0), item(1), item(2), elsewhere, across, item(7, datetime="2020-07-01T10:00:00Z"))
    found = open_source(f"{web.url}/{where}").search(HERE, *YEAR)
    assert sorted(scene.id for scene in found.scenes) == [item(n)["id"] for n in range(3)]
    # A composite that reaches into the year before belongs to neither.
    assert [(e.scene, e.reason) for e in found.excluded] == [
        (across["id"], "seen between 2020-12-20 and 2021-01-10, not wholly in the period")
    ]


def test_every_page_of_a_search_is_read(web: WebServer):
    web.behave(page=2)
    assert len(ids(open_source(f"{web.url}/stac"))) == 5
    assert sum(entry["path"] == "/stac/search" for entry in web.log()) == 3


def test_an_api_that_gives_parts_of_items_is_asked_for_those_that_mapping_needs(web: WebServer, tmp_path):
    many = {f"preview-{number}": {"href": f"https://example.com/{number}.png"} for number in range(100)}
    ours = [item(number) for number in range(5)]
    write(tmp_path, *({**one, "assets": {**one["assets"], **many}} for one in ours))
    source = open_source(f"{web.url}/stac")
    web.log()
    assert source.search(HERE, *YEAR).scenes == open_source(f"{web.url}/catalog.json").search(HERE, *YEAR).scenes
    (search,) = [entry for entry in web.log() if entry["path"] == "/stac/search"]
    assert (
        search["bytes"] < 1.2 * len(json.dumps(ours)) < 0.5 * sum(p.stat().st_size for p in tmp_path.glob("S2*.json"))
    )


def test_assets_that_only_their_bands_names_tell_are_asked_for_whole(web: WebServer, tmp_path):
    bands = {f"a{n}": {"href": f"https://example.com/{b}.tif", "bands": [{"name": b}]} for n, b in enumerate(BANDS)}
    write(tmp_path, item(9, assets=bands))
    source = open_source(f"{web.url}/stac")
    for _ in range(2):
        found = {scene.id: scene for scene in source.search(HERE, *YEAR).scenes}
        assert found[item(9)["id"]].bands["B12"].href == "https://example.com/B12.tif"
    # The first search is made again, and the second at once for whole items.
    assert sum(entry["path"] == "/stac/search" for entry in web.log()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_api_is_asked_again_after_the_time_it_names(web: WebServer, status):
    source = open_source(f"{web.url}/stac")
    web.log()
    web.behave(fail={"path": "/stac/search", "status": status, "retry_after": 1, "times": 2})
    assert len(ids(source)) == 5
    log = web.log()
    assert [entry["status"] for entry in log] == [status, status, 200]
    assert log[2]["at"] - log[1]["at"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["catalog.json", "stac"])
@pytest.mark.parametrize("how", [{"status": 503, "retry_after": 1}, {"drop": True}])
def test_a_source_that_fails_for_a_moment_is_opened_all_the_same(web: WebServer, where, how):
    web.behave(fail={"path": f"/{where}", "times": 2, **how})
    assert len(ids(open_source(f"{web.url}/{where}"))) == 5


@pytest.mark.slow
def test_a_search_whose_connection_drops_is_asked_again(web: WebServer):
    source = open_source(f"{web.url}/stac")
    web.behave(fail={"path": "/stac/search", "drop": True, "times": 2})
    assert len(ids(source)) == 5


def test_an_api_that_refuses_is_named(web: WebServer):
    source = open_source(f"{web.url}/stac")
    web.behave(fail={"path": "/stac/search", "status": 400, "times": 100})
    with pytest.raises(SourceUnavailable, match=f"search at {web.url}/stac failed"):
        source.search(HERE, *YEAR)


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("catalog.sources.RETRIES", 0)
    with pytest.raises(SourceUnavailable, match=r"http://127.0.0.1:9/stac does not answer"):
        open_source("http://127.0.0.1:9/stac")


def test_a_bucket_that_is_not_there_is_named(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    with pytest.raises(SourceUnavailable, match=r"s3://no-such-bucket/catalog\.json cannot be read"):
        open_source("s3://no-such-bucket/catalog.json")


def test_what_is_at_an_address_is_named_if_it_is_no_source(web: WebServer, tmp_path):
    (tmp_path / "page.html").write_text("<html></html>")
    (tmp_path / "features.json").write_text('{"type": "FeatureCollection", "features": []}')
    write(tmp_path)
    for name, told in (
        ("none.json", r"There is no '.*/none\.json'"),
        ("page.html", "is not JSON"),
        ("features.json", "is no STAC catalog"),
        ("catalog.json", "holds no items"),
    ):
        with pytest.raises(BadInput, match=told):
            open_source(f"{web.url}/{name}")


def test_a_link_that_leads_nowhere_is_named_with_where_it_stands(tmp_path):
    write(tmp_path, item(0))
    (tmp_path / f"{item(0)['id']}.json").unlink()
    with pytest.raises(BadInput, match=rf"catalog\.json' links to '.*{item(0)['id']}\.json', which is not there"):
        open_source(str(tmp_path))


def test_an_unknown_api_is_described_by_a_mapping(web: WebServer, tmp_path):
    """Another name of the collection, of the assets and of the flag."""
    odd = {f"band_{band}": {"href": f"https://example.com/{band}.tif"} for band in BANDS}
    odd["classes"] = {"href": "https://example.com/classes.tif"}
    one = item(9, assets=odd, **{"s2:processing_baseline": "05.09", "odd:offset_gone": True})
    write(tmp_path, {**one, "collection": "odd"})
    names = {"bands": {band: f"band_{band}" for band in BANDS}, "scl": "classes", "offset_applied": "odd:offset_gone"}
    path = tmp_path / "mapping.txt"
    path.write_text(json.dumps({"collections": ["odd"], "names": names}))
    (scene,) = open_source(f"{web.url}/stac", read_mapping(str(path), f"{web.url}/stac")).search(HERE, *YEAR).scenes
    assert scene.collection == "odd"
    assert scene.bands["B12"].href == "https://example.com/B12.tif"
    assert scene.bands["B12"].offset == 0
    assert scene.scl is not None
    assert scene.scl.href == "https://example.com/classes.tif"


def test_a_mapping_changes_only_what_it_says_of_a_known_api(web: WebServer, tmp_path, monkeypatch):
    known = StacApi(url=f"{web.url}/stac", signer="planetary-computer")
    monkeypatch.setitem(KNOWN_APIS, "planetary-computer", known)
    path = tmp_path / "mapping.txt"
    path.write_text(json.dumps({"names": {"scl": "classes"}}))
    scenes = open_source("planetary-computer", read_mapping(str(path), "planetary-computer")).search(HERE, *YEAR).scenes
    assert len(scenes) == 5
    assert {scene.signer for scene in scenes} == {"planetary-computer"}


def test_assets_of_other_names_are_told_and_found_by_a_mapping(tmp_path):
    odd = {f"band_{band}": {"href": f"https://example.com/{band}.tif"} for band in BANDS}
    write(tmp_path, item(0, assets=odd))
    with pytest.raises(BadInput, match=r"lacks bands of B02, .*, B12: S2A_.* is without band B02, B03.*--mapping"):
        open_source(str(tmp_path)).search(HERE, *YEAR)
    mapping = tmp_path / "mapping" / "odd.json"
    mapping.parent.mkdir()
    mapping.write_text(json.dumps({"names": {"bands": {band: f"band_{band}" for band in BANDS}}}))
    (scene,) = open_source(str(tmp_path), read_mapping(str(mapping), str(tmp_path))).search(HERE, *YEAR).scenes
    assert scene.bands["B12"].href == "https://example.com/B12.tif"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}x", "not valid at the file"),
        ('{"collection": "x"}', "not valid at collection"),
        ('{"names": {"bands": ["B02"]}}', "not valid at names.bands"),
        ('{"signer": "me"}', "not valid at signer"),
        (None, "no mapping file"),
    ],
)
def test_a_wrong_mapping_is_named(tmp_path, content, told):
    path = tmp_path / "mapping.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=f"{told}.*docs/sources.md"):
        read_mapping(str(path), "https://example.com/stac")


@pytest.mark.parametrize("source", ["nowhere.json", "ftp://example.com", "planetary"])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(BadInput, match=source):
        open_source(source)


def test_a_scene_that_cannot_be_used_is_excluded_with_the_reason(tmp_path):
    undated = item(1)
    undated["properties"]["datetime"] = None
    halved = item(2)
    del halved["assets"]["B11"]
    nowhere = {**item(3), "geometry": None}
    write(tmp_path, item(0), undated, halved, nowhere)
    found = open_source(str(tmp_path)).search(HERE, *YEAR)
    assert [scene.id for scene in found.scenes] == [item(0)["id"]]
    assert {e.scene: e.reason for e in found.excluded} == {
        undated["id"]: "without a date",
        halved["id"]: "without band B11",
        nowhere["id"]: "without a geometry",
    }


def test_earth_searchs_flag_comes_before_the_offset_it_states():
    # It states -0.1 in raster:bands whether or not it has been applied; only the flag tells.
    assert offset(earth_search(**{"earthsearch:boa_offset_applied": True})) == 0
    assert offset(earth_search(**{"earthsearch:boa_offset_applied": False})) == -0.1
    assert offset(earth_search()) == -0.1


@pytest.mark.parametrize(("baseline", "stated", "expected"), [("05.00", 0, 0), ("03.01", -0.1, -0.1)])
def test_what_raster_bands_state_comes_before_the_baseline(baseline, stated, expected):
    raster = {"raster:bands": [{"scale": 0.0001, "offset": stated}]}
    assets = {band: {"href": "x.tif", **raster} for band in BANDS}
    assert offset(item(assets=assets, **{"s2:processing_baseline": baseline})) == expected


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [("02.12", 0), ("03.01", 0), ("04.00", -0.1), ("05.11", -0.1), ("99.99", 0), (None, 0)],
)
def test_planetary_computers_items_state_nothing_and_the_baseline_decides(baseline, expected):
    assert offset(item(**{"s2:processing_baseline": baseline})) == expected


def test_scale_offset_and_nodata_of_stac_1_1():
    odd = {"raster:scale": 0.001, "raster:offset": -0.2, "nodata": 65535}
    one = item(assets={band: {"href": "./x.tif", "bands": [{"name": band, **odd}]} for band in BANDS})
    raster = scene_from_item(one, "https://example.com/a/item.json", AssetNames()).bands["B04"]
    assert raster.model_dump() == {
        "href": "https://example.com/a/x.tif",
        "nodata": 65535,
        "scale": 0.001,
        "offset": -0.2,
    }


def test_numbers_that_are_no_reflectance_exclude_the_scene(tmp_path):
    raster = {"raster:bands": [{"scale": 1.0, "offset": 0}]}
    odd = item(1, assets={band: {"href": "x.tif", **raster} for band in BANDS})
    write(tmp_path, item(0), odd)
    found = open_source(str(tmp_path)).search(HERE, *YEAR)
    assert [(e.scene, e.reason) for e in found.excluded] == [(odd["id"], "with scale 1, which gives no reflectance")]


def test_l1c_is_marked():
    one = item(**{"s2:product_type": "S2MSI1C"})
    assert scene_from_item(one, "x.json", AssetNames()).level == "L1C"
    assert scene_from_item(item(), "x.json", AssetNames()).level == "L2A"


def of_datatake(number: int = 0, *, suffix: str, west: float = 12.0, **properties: Any):
    """A scene of tile 33UUU, half a degree wide; `number` tells its overpass."""
    one = item(number, **properties)
    one["id"] += suffix
    one["geometry"] = json.loads(shapely.to_geojson(shapely.box(west, 52, west + 0.5, 52.5)))
    return scene_from_item(one, "https://example.com/x.json", AssetNames())


def grouped(*scenes) -> tuple[list[list[str]], dict[str, str]]:
    """Names of the scenes of each datatake in order, and those left out with the reason."""
    datatakes, excluded = group_datatakes(scenes, "33UUU")
    return [[scene.id for scene in one.scenes] for one in datatakes], {e.scene: e.reason for e in excluded}


def test_what_one_overpass_saw_is_one_datatake():
    neighbour = of_datatake(suffix="_neighbour", **{"s2:mgrs_tile": "33UUT"})
    own, later = of_datatake(suffix="_own"), of_datatake(1, suffix="_later")
    # The tile's own come first, so that neighbours only fill what it lacks.
    assert grouped(later, neighbour, own) == ([[own.id, neighbour.id], [later.id]], {})


def test_of_the_same_data_only_the_newest_processing_counts():
    older, newer, newest = (
        of_datatake(suffix=f"_{name}", **{"s2:processing_baseline": baseline, "s2:generation_time": made})
        for name, baseline, made in (
            ("c", "02.12", "2023-01-01T00:00:00Z"),
            ("b", "05.00", "2022-01-01T00:00:00Z"),
            ("a", "05.00", "2022-06-01T00:00:00Z"),
        )
    )
    left_out = {one.id: "older processing of the same data" for one in (newer, older)}
    for given in ((older, newer, newest), (newest, older, newer)):
        assert grouped(*given) == ([[newest.id]], left_out)


def test_both_parts_of_a_product_that_was_cut_in_two_count():
    # Told apart by their footprints, or, where footprints are alike, by their data strips.
    west, east = of_datatake(suffix="_a"), of_datatake(suffix="_b", west=12.4)
    assert grouped(west, east) == ([[west.id, east.id]], {})
    strip = "S2A_OPER_MSI_L2A_DS_2APS_20210101T120000_S20210101T10{}00_N03.01"
    first, second = (of_datatake(suffix=f"_{k}", **{"s2:datastrip_id": strip.format(k)}) for k in ("11", "22"))
    assert grouped(first, second) == ([[first.id, second.id]], {})


def test_l1c_gives_way_to_l2a_and_counts_where_there_is_no_other():
    l2a, l1c = of_datatake(suffix="_l2a"), of_datatake(1, suffix="_l1c", **{"s2:product_type": "S2MSI1C"})
    assert grouped(l2a, l1c) == ([[l2a.id]], {l1c.id: "L1C, while there are L2A scenes"})
    assert grouped(l1c) == ([[l1c.id]], {})
