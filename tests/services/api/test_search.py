"""What a search finds, asked over HTTP of the real server, with today's pystac-client and without it."""

from __future__ import annotations

import itertools
from typing import Any

import pystac
import pystac_client
import pytest
import requests
import shapely

from catalog.items import read_items
from catalog.store import Store
from catalog.validation import validate
from tests.services.api.conftest import TILES, WHOLE, YEARS

ANNUAL = "lulc-annual"
NAMED = ("type", "stac_version", "id", "collection")


@pytest.fixture(scope="session")
def truth(store: Store) -> dict[str, dict[str, Any]]:
    """The items by ID, as they were published."""
    return {item["id"]: item for item in read_items(store, ANNUAL)}


def search(url: str, **asked: Any) -> list[str]:
    """IDs found by GET, which finds the same by POST."""
    by_get = requests.get(f"{url}/search", params={"limit": 100, **asked}, timeout=30)
    assert by_get.status_code == 200, by_get.text[:500]
    return [item["id"] for item in by_get.json()["features"]]


def post(url: str, **asked: Any) -> list[str]:
    answer = requests.post(f"{url}/search", json={"limit": 100, **asked}, timeout=30)
    assert answer.status_code == 200, answer.text[:500]
    return [item["id"] for item in answer.json()["features"]]


def test_an_item_is_what_was_published_with_addresses_that_work(url, truth):
    served = requests.get(f"{url}/collections/{ANNUAL}/items/{WHOLE}", timeout=30)
    assert served.headers["content-type"] == "application/geo+json"
    item, published = served.json(), truth[WHOLE]
    assert {name: value for name, value in item.items() if name not in ("assets", "links")} == {
        name: value for name, value in published.items() if name not in ("assets", "links")
    }
    for name, asset in item["assets"].items():
        assert {**asset, "href": ""} == {**published["assets"][name], "href": ""}
        assert requests.head(asset["href"], timeout=30).headers["content-length"] == str(asset["file:size"])
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert links["self"] == served.url
    assert requests.get(links["canonical"], timeout=30).json() == published
    assert links["collection"] == links["parent"] == f"{url}/collections/{ANNUAL}"
    assert sum(link["rel"] == "derived_from" for link in item["links"]) == 2
    validate(item)


def test_pystac_client_finds_a_year_in_a_box(url):
    catalog = pystac_client.Client.open(url)
    assert {one.id for one in catalog.get_collections()} == {ANNUAL}
    found = catalog.search(collections=[ANNUAL], bbox=[101, 12, 107, 20], datetime="2020-01-01/2020-12-31")
    assert sorted(item.id for item in found.items()) == ["48QUE-2020", "48QUF-2020"]
    assert all(isinstance(item, pystac.Item) for item in found.item_collection())


@pytest.mark.parametrize("language", ["cql2-text", "cql2-json"])
def test_pystac_client_filters(url, language):
    text = "\"io:tile_id\" LIKE '48Q%' AND start_datetime >= TIMESTAMP('2019-01-01T00:00:00Z')"
    tree = {
        "op": "and",
        "args": [
            {"op": "like", "args": [{"property": "io:tile_id"}, "48Q%"]},
            {"op": ">=", "args": [{"property": "start_datetime"}, {"timestamp": "2019-01-01T00:00:00Z"}]},
        ],
    }
    client = pystac_client.Client.open(url)
    found = client.search(filter=text if language == "cql2-text" else tree, filter_lang=language, sortby=["id"])
    assert [item.id for item in found.items()] == ["48QUE-2019", "48QUE-2020", "48QUF-2019", "48QUF-2020"]


@pytest.mark.parametrize(
    "moment",
    [
        ("2019-06-01T00:00:00Z", {2019}),
        ("2019-06-01T00:00:00Z/..", {2019, 2020}),
        ("../2019-06-01T00:00:00+02:00", {2018, 2019}),
        ("2018-12-31T23:59:59Z/2019-01-01T00:00:00Z", {2018, 2019}),
        ("2019-01-01T00:00:00Z/2019-12-31T23:59:59Z", {2019}),
        ("2018-12-31T23:59:59.5Z/2018-12-31T23:59:59.9Z", set()),
        ("2030-01-01T00:00:00Z/..", set()),
    ],
)
def test_periods_overlap(url, moment):
    asked, years = moment
    wanted = {f"{tile}-{year}" for tile in TILES for year in years}
    assert set(search(url, datetime=asked)) == set(post(url, datetime=asked)) == wanted


@pytest.mark.parametrize(
    "box",
    [
        (101, 12, 107, 20),
        (-180, -90, 180, 90),
        (170, -30, -170, 70),
        (179.9, -30, -179.9, -10),
        (-180, -30, -179, 70),
        (179, -30, 180, 70),
        (12.5, 52.5, 12.5, 52.5),
        (0, 0, 1, 1),
    ],
)
def test_boxes_find_what_they_touch_also_over_the_antimeridian(url, truth, box):
    west, south, east, north = box
    parts = [box] if west <= east else [(west, south, 180, north), (-180, south, east, north)]
    areas = [shapely.box(*part) if part[0] < part[2] else shapely.Point(part[:2]) for part in parts]
    wanted = {
        name
        for name, item in truth.items()
        if any(shapely.geometry.shape(item["geometry"]).intersects(area) for area in areas)
    }
    assert set(search(url, bbox=",".join(map(str, box)))) == set(post(url, bbox=list(box))) == wanted
    assert set(search(url, bbox=",".join(map(str, (west, south, 0, east, north, 100))))) == wanted
    assert set(requests_items(url, box)) == wanted


def requests_items(url: str, box: tuple[float, ...]) -> list[str]:
    asked = {"bbox": ",".join(map(str, box)), "limit": 100}
    found = requests.get(f"{url}/collections/{ANNUAL}/items", params=asked, timeout=30).json()
    return [item["id"] for item in found["features"]]


def test_a_polygon_finds_what_it_touches_and_not_what_its_box_does(url, truth):
    triangle = shapely.Polygon([(0, 0), (180, 0), (180, 90)])
    wanted = {n for n, item in truth.items() if shapely.geometry.shape(item["geometry"]).intersects(triangle)}
    assert wanted and len(wanted) < len(truth)
    assert set(post(url, intersects=shapely.geometry.mapping(triangle))) == wanted
    assert set(search(url, intersects=shapely.to_geojson(triangle))) == wanted


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("gsd = 10", lambda p: True),
        ("properties.gsd = 10 AND NOT id = 'x'", lambda p: True),
        ("gsd > 10.5", lambda p: False),
        ("id IN ('33UUU-2018', '33UUU-2019')", lambda p: p["id"] in ("33UUU-2018", "33UUU-2019")),
        ("casei(\"io:tile_id\") = casei('33uuu')", lambda p: p["io:tile_id"] == "33UUU"),
        ("\"io:tile_id\" LIKE '3_U%'", lambda p: p["io:tile_id"][0] == "3" and p["io:tile_id"][2] == "U"),
        ("\"io:tile_id\" LIKE '%\\%%'", lambda p: False),
        ("datetime BETWEEN '2019-01-01' AND '2020-01-01T00:00:00Z'", lambda p: p["year"] >= 2019),
        ("datetime = DATE('2019-01-01')", lambda p: p["year"] == 2019),
        ("t_intersects(datetime, INTERVAL('2019-06-01', '..'))", lambda p: p["year"] >= 2019),
        ("t_during(datetime, INTERVAL('2018-12-31', '2020-01-01'))", lambda p: p["year"] == 2019),
        ("t_before(datetime, TIMESTAMP('2020-01-01T00:00:00Z'))", lambda p: p["year"] < 2020),
        ("t_after(start_datetime, TIMESTAMP('2019-01-01T00:00:00Z'))", lambda p: p["year"] > 2019),
        ('"landloom:class_pixels.water" > 0 OR missing IS NULL', None),
        ('"landloom:datatakes" * 2 + 1 = 3', lambda p: True),
        ("end_datetime > start_datetime", lambda p: True),
        ("s_intersects(geometry, BBOX(101, 12, 107, 20))", lambda p: "48Q" in p["io:tile_id"]),
        (
            "s_within(geometry, POLYGON((90 0, 120 0, 120 30, 90 30, 90 0)))",
            lambda p: "48Q" in p["io:tile_id"],
        ),
    ],
)
def test_filters_hold_where_they_should(url, truth, text, holds):
    if holds is None:
        answer = requests.get(f"{url}/search", params={"filter": text}, timeout=30)
        assert answer.status_code == 400 and "there is no property 'missing'" in answer.json()["description"]
        return
    wanted = {name for name, item in truth.items() if holds({**item["properties"], "id": name, "year": int(name[-4:])})}
    assert set(search(url, filter=text)) == wanted


@pytest.mark.parametrize(
    "order",
    ["id", "-id", "datetime", "-datetime", "+properties.io:tile_id,-start_datetime", "-landloom:class_pixels.water"],
)
def test_pages_hold_each_item_once_in_order(url, truth, order):
    found, pages = [], 0
    following = f"{url}/search?limit=5&sortby={order.replace('+', '%2B')}"
    while following:
        page = requests.get(following, timeout=30).json()
        found += page["features"]
        pages += 1
        following = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert len(found) == len(truth) == len({item["id"] for item in found})
    assert pages == 8
    for field in reversed(order.split(",")):
        name = field.lstrip("+-").removeprefix("properties.")
        values = [_value(item, name) for item in found]
        if "," not in order:
            assert values == sorted(values, reverse=field.startswith("-"))
    if "," in order:
        pairs = [(item["properties"]["io:tile_id"], -int(item["id"][-4:])) for item in found]
        assert pairs == sorted(pairs)


def _value(item: dict[str, Any], name: str) -> Any:
    if name in item:
        return item[name]
    for part in itertools.accumulate(name.split("."), lambda one, other: f"{one}.{other}"):
        if part in item["properties"]:
            value = item["properties"][part]
            return value[name.removeprefix(f"{part}.")] if isinstance(value, dict) else value
    raise KeyError(name)


def test_pages_by_post_go_on_with_the_body_that_is_given(url, truth):
    body: dict[str, Any] | None = {
        "limit": 10,
        "collections": [ANNUAL],
        "sortby": [{"field": "id", "direction": "asc"}],
    }
    found = []
    while body:
        page = requests.post(f"{url}/search", json=body, timeout=30).json()
        found += [item["id"] for item in page["features"]]
        body = next((link["body"] for link in page["links"] if link["rel"] == "next"), None)
    assert found == sorted(truth)


def test_fields_are_kept_and_left_out(url):
    asked = f"{url}/search?ids={WHOLE}&fields="
    only = requests.get(asked + "properties.gsd,assets.data.href", timeout=30).json()["features"][0]
    assert set(only) == {*NAMED, "properties", "assets"}
    assert only["properties"] == {"gsd": 10} and set(only["assets"]["data"]) == {"href"}
    without = requests.get(asked + "-assets,-properties.gsd", timeout=30).json()["features"][0]
    assert "assets" not in without and "gsd" not in without["properties"] and "title" in without["properties"]
    body = {"ids": [WHOLE], "fields": {"include": ["properties"], "exclude": ["properties.gsd"]}}
    both = requests.post(f"{url}/search", json=body, timeout=30).json()["features"][0]
    assert set(both) == {*NAMED, "properties"}
    assert "gsd" not in both["properties"] and "title" in both["properties"]


def test_what_can_be_asked_for_is_told(url):
    told = requests.get(f"{url}/queryables", timeout=30)
    assert told.headers["content-type"] == "application/schema+json"
    properties = told.json()["properties"]
    assert properties["datetime"] == {"title": "datetime", "type": "string", "format": "date-time"}
    assert properties["landloom:class_pixels.water"]["type"] == "integer"
    for name in properties:
        if name != "geometry":
            assert search(url, filter=f'"{name}" IS NULL', limit=1) is not None
    assert requests.get(f"{url}/collections/{ANNUAL}/queryables", timeout=30).json()["properties"] == properties


def test_collections_are_searched_and_their_links_lead_somewhere(url):
    catalog = requests.get(f"{url}/collections/{ANNUAL}", timeout=30).json()
    pystac.Collection.from_dict(catalog)
    for link in catalog["links"]:
        if link["href"].startswith(url):
            assert requests.get(link["href"], timeout=30).status_code == 200, link
    (part, *_) = (asset for asset in catalog["assets"].values() if "collection-mirror" in asset["roles"])
    assert requests.head(part["href"], timeout=30).status_code == 200
    assert requests.get(f"{url}/collections?datetime=2010-01-01T00:00:00Z", timeout=30).json()["collections"] == []
    assert len(requests.get(f"{url}/collections?bbox=100,10,110,20", timeout=30).json()["collections"]) == 1


def test_years_are_those_of_the_items(url):
    assert len(search(url)) == len(TILES) * len(YEARS)
