"""The embedded index where the catalog moves or goes away."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.collections import rebuild
from catalog.errors import BadInput
from catalog.store import Store, open_store
from services.api.embedded import EmbeddedIndex
from services.api.search import Search
from services.api.snapshot import without_nulls
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


# Text that looks like a member, and members within members.
_TEXT = st.text(alphabet='ab,":{}[]\\ nul', max_size=8)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=4),
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_members_that_are_null_are_left_out_and_nothing_else(content):
    def left(value):
        if isinstance(value, dict):
            return {name: left(one) for name, one in value.items() if one is not None}
        return [left(one) for one in value] if isinstance(value, list) else value

    line = json.dumps(content, separators=(",", ":")).encode()
    assert json.loads(without_nulls(line)) == left(content)
