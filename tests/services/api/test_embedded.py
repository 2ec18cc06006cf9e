"""The embedded index follows the catalog."""

from __future__ import annotations

import time

import pytest

from catalog.collections import rebuild
from catalog.errors import BadInput
from catalog.manifest import Period
from catalog.store import Store, open_store
from services.api.embedded import EmbeddedIndex
from services.api.search import Search
from tests.catalog.tile_years import manifest_of, register


@pytest.fixture
def own(tmp_path) -> Store:
    store = open_store(str(tmp_path / "out"))
    for tile in ("48QUE", "33UUU", "21LYG"):
        register(store, manifest_of(tile))
    rebuild(store)
    return store


def ids(index: EmbeddedIndex) -> list[str]:
    return [item["id"] for item in index.search(Search(), "").items]


def wait_for(index: EmbeddedIndex, wanted: list[str]) -> None:
    end = time.monotonic() + 30
    while ids(index) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert ids(index) == wanted


def test_items_that_are_added_and_removed_are_seen_without_a_restart(own):
    index = EmbeddedIndex(own, look_seconds=0.1)
    assert ids(index) == ["21LYG-2020", "33UUU-2020", "48QUE-2020"]
    register(own, manifest_of("10SEG"))
    own.delete([manifest_of("33UUU").item_key])
    rebuild(own)
    wait_for(index, ["10SEG-2020", "21LYG-2020", "48QUE-2020"])
    index.close()


def test_while_the_catalog_is_gone_answers_are_of_before(own, tmp_path, caplog):
    index = EmbeddedIndex(own, look_seconds=0.1)
    (tmp_path / "out").rename(tmp_path / "away")
    time.sleep(0.5)
    assert len(ids(index)) == 3
    assert "former state" in caplog.text
    index.close()


def test_a_catalog_that_was_moved_is_served_from_where_it_is_now(own, tmp_path):
    (tmp_path / "out").rename(tmp_path / "moved")
    index = EmbeddedIndex(open_store(str(tmp_path / "moved")))
    item = index.item("lulc-annual", "48QUE-2020", "https://example.com/files")
    assert item["assets"]["data"]["href"].startswith("https://example.com/files/lulc-annual/48QUE/2020/")
    index.close()


def test_pages_neither_repeat_nor_pass_over_while_items_are_added(own):
    index = EmbeddedIndex(own, look_seconds=0.1)
    first = index.search(Search(limit=2), "")
    assert [item["id"] for item in first.items] == ["21LYG-2020", "33UUU-2020"]
    for tile in ("10SEG", "32UQD", "55HFA"):
        register(own, manifest_of(tile))
    register(own, manifest_of("48QUE", Period.of_year(2021)))
    rebuild(own)
    wait_for(index, ["48QUE-2021", "10SEG-2020", "21LYG-2020", "32UQD-2020", "33UUU-2020", "48QUE-2020", "55HFA-2020"])
    second = index.search(Search(limit=2, token=first.next), "")
    assert [item["id"] for item in second.items] == ["48QUE-2020", "55HFA-2020"]
    assert second.next is None
    index.close()


def test_where_no_catalog_is_that_is_said(tmp_path):
    with pytest.raises(BadInput, match=r"There is no catalog at .*nothing/catalog\.json"):
        EmbeddedIndex(open_store(str(tmp_path / "nothing")))
