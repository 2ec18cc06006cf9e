"""Changes through the API: only on PostgreSQL, only with the token, and never of what a catalog owns."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pystac
import pytest
import requests

from services.api.load import load
from tests.servers.catalog import serve_catalog

pytestmark = pytest.mark.slow

TOKEN = "a token that nobody guesses"
COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "fields",
    "description": "Fields that were looked at on the ground.",
    "license": "CC-BY-4.0",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}},
    "links": [],
}


def field(name: str = "one", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "fields",
        "geometry": {"type": "Polygon", "coordinates": [[[13, 52], [13.5, 52], [13.5, 52.5], [13, 52.5], [13, 52]]]},
        "bbox": [13, 52, 13.5, 52.5],
        "properties": {"datetime": "2021-06-05T10:00:00Z", **properties},
        "links": [{"rel": "about", "href": "https://example.com/fields", "type": "text/html"}],
        "assets": {"photo": {"href": "https://example.com/one.jpg", "type": "image/jpeg"}},
    }


@pytest.fixture(scope="module")
def url(store, postgres_server, tmp_path_factory) -> Iterator[str]:
    database = postgres_server.new_database()
    load(database, store)
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text(TOKEN + "\n")
    with serve_catalog(database, "--token-file", str(file)) as running:
        yield running


@pytest.fixture
def session(url) -> Iterator[requests.Session]:
    """Who holds the token; the collection `fields` is there, and empty."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        session.delete(f"{url}/collections/fields", timeout=30)
        made = session.post(f"{url}/collections", json=COLLECTION, timeout=30)
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"{url}/collections/fields"
        yield session
        session.delete(f"{url}/collections/fields", timeout=30)


def test_an_item_is_made_found_changed_and_deleted(url, session):
    here = f"{url}/collections/fields/items"
    made = session.post(here, json=field(crop="rye", area=3.5), timeout=30)
    assert made.status_code == 201 and made.headers["location"] == f"{here}/one"
    served = requests.get(f"{here}/one", timeout=30).json()
    assert served == made.json()
    for name, value in field(crop="rye", area=3.5).items():
        assert served[name] == value or name == "links"
    assert [link["href"] for link in served["links"] if link["rel"] == "about"] == ["https://example.com/fields"]
    pystac.Item.from_dict(served).validate()

    asked = {"filter": "crop = 'rye' AND area > 3", "collections": "fields", "datetime": "2021-06-05T00:00:00Z/.."}
    assert [one["id"] for one in requests.get(f"{url}/search", params=asked, timeout=30).json()["features"]] == ["one"]

    replaced = session.put(f"{here}/one", json=field(crop="oats"), timeout=30)
    assert replaced.status_code == 200 and replaced.json()["properties"]["crop"] == "oats"
    assert "area" not in replaced.json()["properties"]
    merged = session.patch(f"{here}/one", json={"properties": {"crop": None, "area": 4}}, timeout=30)
    assert merged.json()["properties"] == {"datetime": "2021-06-05T10:00:00Z", "area": 4}
    operations = [{"op": "replace", "path": "/properties/area", "value": 5}]
    assert session.patch(f"{here}/one", json=operations, timeout=30).json()["properties"]["area"] == 5

    assert session.delete(f"{here}/one", timeout=30).json()["id"] == "one"
    assert requests.get(f"{here}/one", timeout=30).status_code == 404


def test_of_several_items_all_are_made_or_none(url, session):
    here = f"{url}/collections/fields/items"
    several = {"type": "FeatureCollection", "features": [field("a"), field("b")]}
    made = session.post(here, json=several, timeout=30)
    assert made.status_code == 201 and made.json() == {"created": ["a", "b"]}
    several["features"] = [field("c"), field("b")]
    assert session.post(here, json=several, timeout=30).status_code == 409
    assert {one["id"] for one in requests.get(here, timeout=30).json()["features"]} == {"a", "b"}


def test_a_collection_is_changed_and_deleted_with_its_items(url, session):
    here = f"{url}/collections/fields"
    session.post(f"{here}/items", json=field(), timeout=30)
    assert session.put(here, json={**COLLECTION, "title": "Fields"}, timeout=30).json()["title"] == "Fields"
    assert session.patch(here, json={"license": "CC0-1.0"}, timeout=30).json()["license"] == "CC0-1.0"
    assert requests.get(here, timeout=30).json()["license"] == "CC0-1.0"
    assert session.delete(here, timeout=30).status_code == 200
    assert requests.get(f"{here}/items/one", timeout=30).status_code == 404
    assert requests.get(here, timeout=30).status_code == 404


@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", f"Basic {TOKEN}", "Bearer \u00e9"])
def test_without_the_token_nothing_is_changed(url, session, given):
    headers = {"Authorization": given.encode()} if given else {}
    for method, path, body in (
        ("POST", "/collections", COLLECTION),
        ("POST", "/collections/fields/items", field()),
        ("PUT", "/collections/fields/items/one", field()),
        ("PATCH", "/collections/fields", {"title": "Mine"}),
        ("DELETE", "/collections/fields", None),
    ):
        answer = requests.request(method, url + path, json=body, headers=headers, timeout=30)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", (method, path)
        assert "Authorization" in answer.json()["description"] and TOKEN not in answer.text
    assert requests.get(f"{url}/collections/fields/items", timeout=30).json()["features"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/items", field("new")),
        ("PUT", "/items/48QUE-2020", {**field("48QUE-2020"), "collection": "lulc-annual"}),
        ("PATCH", "/items/48QUE-2020", {"properties": {"gsd": 20}}),
        ("DELETE", "/items/48QUE-2020", None),
        ("PUT", "", {**COLLECTION, "id": "lulc-annual"}),
        ("PATCH", "", {"title": "Mine"}),
        ("DELETE", "", None),
    ],
)
def test_what_a_catalog_owns_is_not_changed(url, session, method, path, body):
    before = requests.get(f"{url}/collections/lulc-annual/items/48QUE-2020", timeout=30).json()
    answer = session.request(method, f"{url}/collections/lulc-annual{path}", json=body, timeout=30)
    assert answer.status_code == 403 and "load it again" in answer.json()["description"]
    assert requests.get(f"{url}/collections/lulc-annual/items/48QUE-2020", timeout=30).json() == before


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({**field(), "geometry": None, "bbox": [0, 0, 1, 1]}, "geometry"),
        ({**field(), "id": "../../etc/passwd"}, "cannot stand in an address"),
        ({**field(), "id": ""}, "id"),
        ({**field(), "bbox": [1, 2]}, "bbox"),
        ({**field(), "properties": {"datetime": 0}}, "datetime"),
        ({**field(), "collection": "other"}, "'other' is not that of the address"),
        (field(datetime="yesterday"), "datetime"),
        (field(start_datetime="2021-01-02T00:00:00Z", end_datetime="2021-01-01T00:00:00Z"), "after its end_datetime"),
        (field(**{"landloom:mean_observations": "many"}), "others have a number there"),
        ({**field(), "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}, "geometry"),
        ({"geometry": field()["geometry"]}, "type is None"),
        ({**field(), "links": "x"}, "links is no list"),
        (["x"], "object|dictionary"),
        (field(text="a\u0000b"), "cannot be answered|NUL|\\\\u0000"),
    ],
)
def test_a_malformed_item_is_refused(url, session, item, said):
    answer = session.post(f"{url}/collections/fields/items", json=item, timeout=30)
    assert answer.status_code == 400, answer.text
    assert re.search(said, answer.json()["description"])
    assert requests.get(f"{url}/collections/fields/items", timeout=30).json()["features"] == []


def test_what_is_not_there_or_there_already_is_said(url, session):
    here = f"{url}/collections/fields"
    assert session.put(f"{here}/items/none", json=field("none"), timeout=30).status_code == 404
    assert session.patch(f"{here}/items/none", json={}, timeout=30).status_code == 404
    assert session.delete(f"{here}/items/none", timeout=30).status_code == 404
    assert session.post(f"{url}/collections/none/items", json=field(), timeout=30).status_code == 404
    assert session.post(f"{url}/collections", json=COLLECTION, timeout=30).status_code == 409
    session.post(f"{here}/items", json=field(), timeout=30)
    again = session.post(f"{here}/items", json=field(), timeout=30)
    assert again.status_code == 409 and "There is an item 'one'" in again.json()["description"]
    other = session.put(f"{here}/items/one", json=field("two"), timeout=30)
    assert other.status_code == 400 and "'two' is not that of the address" in other.json()["description"]
    broken = session.patch(f"{here}/items/one", json=[{"op": "remove", "path": "/nothing"}], timeout=30)
    assert broken.status_code == 400 and "cannot be applied" in broken.json()["description"]
    without = session.patch(f"{here}/items/one", json=[{"op": "remove", "path": "/properties"}], timeout=30)
    assert without.status_code == 400 and "properties" in without.json()["description"]


def test_the_api_says_whether_it_can_be_changed(url, store):
    change = "https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"
    assert change in requests.get(f"{url}/conformance", timeout=30).json()["conformsTo"]
    with serve_catalog(store.href("x").removesuffix("/x")) as embedded:
        assert change not in requests.get(f"{embedded}/conformance", timeout=30).json()["conformsTo"]
        assert requests.post(f"{embedded}/collections", json=COLLECTION, timeout=30).status_code == 405


@pytest.mark.parametrize(
    ("token", "said"), [("short", "at least 16"), (TOKEN, "Only a catalog in PostgreSQL"), (None, "cannot be read")]
)
def test_a_token_that_cannot_be_used_is_said(store, tmp_path, token, said):
    file = tmp_path / "token"
    if token:
        file.write_text(token)
    command = [sys.executable, "-m", "pipelines", "serve", "--catalog", store.href("x").removesuffix("/x")]
    done = subprocess.run(
        [*command, "--port", "0", "--token-file", str(file)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 2 and said in " ".join(done.stderr.split())
