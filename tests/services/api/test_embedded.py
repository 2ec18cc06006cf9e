"""The embedded index where the catalog moves or goes away."""

from __future__ import annotations

import time

import pytest

from catalog.collections import rebuild
from catalog.errors import BadInput
from catalog.store import Store, open_store
from services.api.embedded import EmbeddedIndex
from services.api.search import Search
from services.api.snapshot import drop_nulls
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


def test_where_no_catalog_is_that_is_said(tmp_path):
    with pytest.raises(BadInput, match=r"There is no catalog at .*nothing/catalog\.json"):
        EmbeddedIndex(open_store(str(tmp_path / "nothing")))


def test_members_that_are_null_are_left_out_and_nothing_else():
    item = {"a": None, "b": {"c": None, "d": 0, "e": ""}, "f": [{"g": None, "h": [None]}, {"i": False}], "j": [None, 1]}
    drop_nulls(item)
    assert item == {"b": {"d": 0, "e": ""}, "f": [{"h": [None]}, {"i": False}], "j": [None, 1]}
