from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.collections import rebuild
from catalog.manifest import Period
from catalog.store import Store, open_store
from services.api.load import load
from tests.catalog.tile_years import manifest_of, publish, register
from tests.servers.catalog import serve_catalog

YEARS = (2018, 2019, 2020)
TILES = ("48QUE", "48QUF", "33UUU", "33UUV", "32UQD", "21LYG", "01KBA", "60KZF", "60KZG", "60UYC", "10SEG", "55HFA")
"""On five continents; 01KBA, 60KZF, 60KZG and 60UYC lie at the antimeridian."""
WHOLE = "48QUE-2020"
"""The one that has its files."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A catalog of 36 tile-years."""
    store = open_store(str(tmp_path_factory.mktemp("catalog") / "out"))
    for tile in TILES:
        for year in YEARS:
            register(store, manifest_of(tile, Period.of_year(year)))
    publish(store, manifest_of("48QUE"), tmp_path_factory.mktemp("files"))
    rebuild(store)
    return store


@pytest.fixture(scope="session", params=["embedded", "pgstac"])
def url(request: pytest.FixtureRequest, store: Store) -> Iterator[str]:
    """A server of it: from its own files, and from PostgreSQL; both give the same answers."""
    catalog = store.href("x").removesuffix("/x")
    if request.param == "pgstac":
        database = request.getfixturevalue("postgres_server").new_database()
        load(database, store)
        catalog = database
    with serve_catalog(catalog) as running:
        yield running


@pytest.fixture
def folder(store: Store) -> Path:
    """Where it lies."""
    return Path(store.href("x")).parent
