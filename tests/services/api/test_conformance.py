"""The API keeps what it says it does: the STAC API validator's checks, and whatever its OpenAPI document allows."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pystac.validation
import pytest
import requests
import responses
from stac_api_validator.validations import QueryConfig, validate_api
from stac_validator.stac_validator import StacValidate

import catalog
from catalog.collections import ZONES, rebuild
from catalog.items import read_items
from catalog.manifest import Period
from catalog.store import Store, open_store
from pipelines.supercells import make_supercells
from services.api.load import load
from tests.catalog.tile_years import manifest_of, publish_all, register
from tests.servers.catalog import serve_catalog

pytestmark = pytest.mark.slow
SCHEMAS = (Path(str(catalog.__file__)).parent / "schemas", Path(pystac.validation.__file__).parent / "jsonschemas")


@pytest.fixture
def without_network() -> Iterator[responses.RequestsMock]:
    """Schemas come from where they are at hand; the server answers for itself; nothing else is reached."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as pages:
        for file in (file for folder in SCHEMAS for file in folder.rglob("*.json")):
            schema = json.loads(file.read_text())
            folder = str(schema.get("$id", "")).rpartition("/")[0]
            # The `$id` of some does not tell their name.
            for address in {str(schema.get("$id", "")).rstrip("#"), f"{folder}/{file.name}"} - {f"/{file.name}", ""}:
                pages.get(address, json=schema)
        yield pages


TOKEN = "a token that nobody guesses"


@pytest.fixture(params=["embedded", "pgstac"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Store], AbstractContextManager[str]]:
    """How a catalog is served: from its own files, or from PostgreSQL, where it can be changed."""

    def serve(store: Store) -> AbstractContextManager[str]:
        if request.param == "embedded":
            return serve_catalog(store.href("x").removesuffix("/x"))
        database = request.getfixturevalue("postgres_server").new_database()
        load(database, store)
        (tmp_path / "token").write_text(TOKEN)
        return serve_catalog(database, "--token-file", str(tmp_path / "token"))

    return serve


def test_the_stac_api_validator_finds_nothing_wrong(tmp_path, serving, without_network):
    # Its filters ask for a cloud cover and a mission, which maps do not have.
    store = open_store(str(tmp_path / "out"))
    for tile, cover in (("48QUE", 3.0), ("33UUU", 40.0), ("21LYG", 80.0)):
        for year in (2019, 2020):
            manifest = manifest_of(tile, Period.of_year(year))
            item = register(store, manifest)
            item["properties"] |= {"eo:cloud_cover": cover, "mission": "sentinel-2"}
            store.write(manifest.item_key, json.dumps(item).encode())
    rebuild(store)
    with serving(store) as url:
        without_network.add_passthru(url)
        _, errors = validate_api(
            root_url=f"{url}/",
            ccs_to_validate=[
                "core",
                "collections",
                "features",
                "item-search",
                "filter",
                "item-search#sort",
                "item-search#fields",
            ],
            collection="lulc-annual",
            geometry='{"type": "Polygon", "coordinates": [[[90, 0], [120, 0], [120, 30], [90, 30], [90, 0]]]}',
            auth_bearer_token=None,
            auth_query_parameter=None,
            fields_nested_property="properties.eo:cloud_cover",
            validate_pagination=True,
            query_config=QueryConfig(*[None] * len(dataclasses.fields(QueryConfig))),
            transaction_collection=None,
            headers=None,
            open_assets_urls=False,
        )
    assert not errors.errors


def test_stac_validator_finds_nothing_wrong_in_what_is_published_and_served(tmp_path, serving, without_network):
    store = publish_all(tmp_path / "out", ("33UUU", 2019), ("33UUU", 2020), folder=tmp_path)
    make_supercells(store)
    published = [json.loads(store.read(key)) for key in store.list("") if key.endswith(".json") and "/20" not in key]
    published += list(read_items(store, "lulc-annual")) + list(read_items(store, ZONES))
    with serving(store) as url:
        without_network.add_passthru(url)
        served = [requests.get(f"{url}/{path}", timeout=30).json() for path in ("", "collections", "search")]
    found = [*published, served[0], *served[1]["collections"], *served[2]["features"]]
    assert len(found) >= 15
    for one in found:
        checked = StacValidate()
        assert checked.validate_dict(one), (one["id"], checked.message)


def test_nothing_that_its_document_allows_makes_it_fail(tmp_path, serving):
    store = publish_all(tmp_path / "out", ("33UUU", 2019), ("33UUU", 2020), folder=tmp_path)
    # Left out: that every text its document allows is accepted. It does not tell what a time or a filter looks like.
    checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    ]
    options = ["--seed", "7", "--max-examples", "20", "--no-color", "--checks", ",".join(checks)]
    options += ["--header", f"Authorization: Bearer {TOKEN}"]
    with serving(store) as url:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api", *options]
        found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-6000:]
