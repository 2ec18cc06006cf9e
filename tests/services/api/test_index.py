"""Both indexes follow the catalog: the embedded one by itself, the one in PostgreSQL by `landloom load`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from catalog.collections import rebuild
from catalog.manifest import Period
from catalog.store import Store, open_store
from services.api.embedded import EmbeddedIndex
from services.api.index import ItemIndex
from services.api.load import load
from services.api.pgstac import PgstacIndex
from services.api.search import Search
from tests.catalog.tile_years import manifest_of, register


@dataclass
class Followed:
    """An index, and what brings it up to date after the catalog was rebuilt."""

    index: ItemIndex
    bring_up_to_date: Callable[[], object] = lambda: None


@pytest.fixture
def own(tmp_path) -> Store:
    store = open_store(str(tmp_path / "out"))
    for tile in ("48QUE", "33UUU", "21LYG"):
        register(store, manifest_of(tile))
    rebuild(store)
    return store


@pytest.fixture(params=["embedded", "pgstac"])
def followed(request: pytest.FixtureRequest, own: Store) -> Iterator[Followed]:
    if request.param == "embedded":
        followed = Followed(EmbeddedIndex(own, look_seconds=0.1))
    else:
        database = request.getfixturevalue("postgres_server").new_database()
        load(database, own)
        followed = Followed(PgstacIndex(database, look_seconds=0.1), lambda: load(database, own))
    yield followed
    followed.index.close()


def ids(index: ItemIndex) -> list[str]:
    return [item["id"] for item in index.search(Search(), "").items]


def wait_for(followed: Followed, wanted: list[str]) -> None:
    followed.bring_up_to_date()
    end = time.monotonic() + 30
    while ids(followed.index) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert ids(followed.index) == wanted


def test_items_that_are_added_and_removed_are_seen_without_a_restart(followed, own):
    assert ids(followed.index) == ["21LYG-2020", "33UUU-2020", "48QUE-2020"]
    register(own, manifest_of("10SEG"))
    own.delete([manifest_of("33UUU").item_key])
    rebuild(own)
    wait_for(followed, ["10SEG-2020", "21LYG-2020", "48QUE-2020"])


def test_an_item_that_was_made_anew_is_served_as_it_is_now(followed, own):
    register(own, manifest_of("33UUU", version="2"))
    rebuild(own)
    followed.bring_up_to_date()
    end, model = time.monotonic() + 30, ""
    while model != "unet 2" and time.monotonic() < end:
        item = followed.index.item("lulc-annual", "33UUU-2020", "")
        assert item is not None
        model = item["properties"]["landloom:model"]
    assert model == "unet 2"


def test_pages_neither_repeat_nor_pass_over_while_items_are_added(followed, own):
    first = followed.index.search(Search(limit=2), "")
    assert [item["id"] for item in first.items] == ["21LYG-2020", "33UUU-2020"]
    for tile in ("10SEG", "32UQD", "55HFA"):
        register(own, manifest_of(tile))
    register(own, manifest_of("48QUE", Period.of_year(2021)))
    rebuild(own)
    everything = ["10SEG-2020", "21LYG-2020", "32UQD-2020", "33UUU-2020", "48QUE-2020", "55HFA-2020"]
    wait_for(followed, ["48QUE-2021", *everything])
    second = followed.index.search(Search(limit=2, token=first.next), "")
    assert [item["id"] for item in second.items] == ["48QUE-2020", "55HFA-2020"]
    assert second.next is None
