from __future__ import annotations

import gc
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import geopandas
import pandas as pd
import pystac
import pytest
import stac_geoparquet.arrow
from pyarrow import parquet

from catalog.collections import add_items, rebuild
from catalog.errors import StoreError
from catalog.index import build_index, name_parts, parts_of, read_index, write_part
from catalog.items import item_keys, read_items
from catalog.manifest import Period
from catalog.models import model_key
from catalog.store import Store, open_store
from tests.catalog.tile_years import manifest_of, register

ANNUAL = "lulc-annual"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "out"))
    for tile in ("48QUE", "33UUU"):
        for year in (2019, 2020):
            add(store, tile, year)
    return store


def add(store: Store, tile: str, year: int = 2020, **properties: object) -> str:
    """Publish a tile-year; its item's key."""
    manifest = manifest_of(tile, Period.of_year(year))
    item = register(store, manifest)
    item["properties"] |= properties
    store.write(manifest.item_key, json.dumps(item).encode())
    add_items(store, ANNUAL, [item])
    return manifest.item_key


def grow(store: Store, *keys: str) -> None:
    """As the end of a run does."""
    zones = sorted({key.split("/")[1][:2] for key in keys})
    name_parts(
        store,
        ANNUAL,
        [write_part(store, ANNUAL, [key for key in keys if key.split("/")[1].startswith(zone)]) for zone in zones],
    )


def collection(store: Store) -> dict:
    return json.loads(store.read(f"{ANNUAL}/collection.json"))


def rows(store: Store) -> dict[str, dict]:
    """All items of the index; none stands in it twice."""
    with tempfile.TemporaryDirectory() as folder:
        assert read_index(store, collection(store), Path(folder) / "all.parquet")
        table = parquet.read_table(Path(folder) / "all.parquet")
    found = list(stac_geoparquet.arrow.stac_table_to_items(table))
    assert len(found) == len({item["id"] for item in found})
    return {item["id"]: json.loads(json.dumps(item, default=str)) for item in found}


def test_geopandas_reads_it(store: Store) -> None:
    assert build_index(store, ANNUAL) == 4
    table = geopandas.read_parquet(store.href(f"{ANNUAL}/items"))
    assert sorted(table["id"]) == ["33UUU-2019", "33UUU-2020", "48QUE-2019", "48QUE-2020"]
    assert table.crs.to_epsg() == 4326
    in_2020 = table[table["datetime"] == pd.Timestamp("2020-01-01", tz="UTC")]
    assert sorted(in_2020["io:tile_id"]) == ["33UUU", "48QUE"]
    assert len(table.cx[100:110, 10:20]) == 2


def test_duckdb_reads_it(store: Store) -> None:
    build_index(store, ANNUAL)
    rows = duckdb.sql(
        f"select id, assets.data.href from '{store.href(f'{ANNUAL}/items/*.parquet')}' "
        "where bbox.xmin < 110 and bbox.xmax > 100 and datetime >= '2020-01-01' order by id"
    ).fetchall()
    folder = f"lulc-annual/48QUE/2020/{manifest_of().fingerprint}"
    assert rows == [("48QUE-2020", store.href(f"{folder}/data.tif"))]


def test_gives_the_items_back_with_absolute_addresses(store: Store) -> None:
    build_index(store, ANNUAL)
    item, original = (
        pystac.Item.from_dict(rows(store)["48QUE-2020"]),
        next(i for i in read_items(store, ANNUAL) if i["id"] == "48QUE-2020"),
    )
    assert item.get_self_href() == store.href(manifest_of().item_key)
    assert item.properties["landloom:fingerprint"] == original["properties"]["landloom:fingerprint"]
    assert item.properties["proj:transform"] == original["properties"]["proj:transform"]
    assert item.assets["data"].extra_fields["file:values"] == original["assets"]["data"]["file:values"]
    scenes = [scene.href for scene in manifest_of().datatakes[0].scenes]
    network = store.href(model_key(manifest_of().model))
    assert [link.href for link in item.links if link.rel == "derived_from"] == [*scenes, network]


@pytest.mark.parametrize("tile", ["48QUF", "33UUV", "21LYH"], ids=["a part", "another", "a part of its own"])
def test_items_with_and_without_scores_share_it(store: Store, tile: str) -> None:
    build_index(store, ANNUAL)
    key = add(store, tile)
    item = json.loads(store.read(key))
    item["assets"]["scores"] = {**item["assets"]["confidence"], "bands": [{"name": "water"}]}
    store.write(key, json.dumps(item).encode())
    grow(store, key)
    assert [name for name, item in rows(store).items() if "scores" in item["assets"]] == [f"{tile}-2020"]
    query = f"from read_parquet('{store.href(f'{ANNUAL}/items/*.parquet')}', union_by_name = true)"
    assert duckdb.sql(f"select id {query} where assets.scores is not null").fetchall() == [(f"{tile}-2020",)]


def test_the_collection_names_its_parts(store: Store) -> None:
    assert parts_of(collection(store)) == {}
    build_index(store, ANNUAL)
    assets = pystac.Collection.from_file(store.href(f"{ANNUAL}/collection.json")).assets
    parts = {name: asset for name, asset in assets.items() if "collection-mirror" in asset.roles}
    assert list(parts) == ["items-33", "items-48"]
    for part in parts.values():
        assert part.media_type == "application/vnd.apache.parquet"
        assert len(geopandas.read_parquet(part.get_absolute_href())) == 2


def test_who_adds_items_writes_the_parts_of_their_zones_alone(store: Store) -> None:
    build_index(store, ANNUAL)
    before = parts_of(collection(store))
    contents = {key: store.read(key) for key in before.values()}
    grow(store, add(store, "48QUF"))
    after = parts_of(collection(store))
    assert after["33"] == before["33"] and store.read(after["33"]) == contents[before["33"]]
    assert after["48"] != before["48"]
    assert store.list(f"{ANNUAL}/items/") == sorted(after.values()), "what has given its place is gone"
    assert len(rows(store)) == 5


def test_grown_it_is_as_built_anew(store: Store) -> None:
    build_index(store, ANNUAL)
    grow(store, add(store, "48QUF", note="made later"), add(store, "33UUU", note="made later"))
    grown = rows(store)
    assert build_index(store, ANNUAL) == 5
    assert grown == rows(store)
    assert {name for name, item in grown.items() if item["properties"].get("note")} == {"33UUU-2020", "48QUF-2020"}


def test_grown_from_nothing(store: Store) -> None:
    grow(store, *(key for key in item_keys(store, ANNUAL) if "48QUE" in key))
    assert sorted(rows(store)) == ["48QUE-2019", "48QUE-2020"]


def test_grown_twice_by_the_same_it_is_as_before(store: Store) -> None:
    build_index(store, ANNUAL)
    part = write_part(store, ANNUAL, [add(store, "48QUF")])
    name_parts(store, ANNUAL, [part])
    before = collection(store)
    name_parts(store, ANNUAL, [part])  # Runners do what failed again.
    assert collection(store) == before and len(rows(store)) == 5


def test_many_that_let_it_grow_at_once_all_count(store: Store) -> None:
    keys = item_keys(store, ANNUAL)
    with ThreadPoolExecutor(4) as runs:
        list(runs.map(lambda key: grow(store, key), keys))
    assert len(rows(store)) == 4
    assert store.list(f"{ANNUAL}/items/") == sorted(parts_of(collection(store)).values())


def test_who_comes_second_makes_the_part_anew(store: Store) -> None:
    build_index(store, ANNUAL)
    first, second = (write_part(store, ANNUAL, [add(store, tile)]) for tile in ("48QUF", "48QUG"))
    name_parts(store, ANNUAL, [first])
    name_parts(store, ANNUAL, [second])
    assert len(rows(store)) == 6
    assert store.list(f"{ANNUAL}/items/") == sorted(parts_of(collection(store)).values())


def test_an_item_registered_while_it_is_built_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter(["48QUF"])

    def list_while_another_run_ends(store: Store, collection: str) -> list[str]:
        keys = item_keys(store, collection)
        for tile in late:
            grow(store, add(store, tile))
        return keys

    monkeypatch.setattr("catalog.index.item_keys", list_while_another_run_ends)
    assert build_index(store, ANNUAL) == 5
    assert len(rows(store)) == 5


def test_columns_that_do_not_go_together_are_built_anew(store: Store) -> None:
    grow(store, add(store, "21LYH", **{"landloom:datatakes": ["one", "two"]}))
    mended = add(store, "21LYH", **{"landloom:datatakes": 2})
    grow(store, mended, add(store, "21LYJ"))
    assert [item["properties"]["landloom:datatakes"] for item in rows(store).values()] == [2, 1]


def test_what_a_killed_run_left_behind_is_deleted_later(store: Store) -> None:
    build_index(store, ANNUAL)
    left = write_part(store, ANNUAL, [add(store, "48QUF")])
    build_index(store, ANNUAL)
    # It could be of a run that is just about to name it.
    assert store.exists(left.key)
    os.utime(store.href(left.key), (0, 0))
    build_index(store, ANNUAL)
    assert store.list(f"{ANNUAL}/items/") == sorted(parts_of(collection(store)).values())


def test_no_items_no_index(tmp_path: Path) -> None:
    empty = open_store(str(tmp_path / "empty"))
    assert rebuild(empty) == {}
    assert empty.list() == []


def test_an_index_needs_a_collection_that_names_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    register(store, manifest_of())
    with pytest.raises(StoreError, match=r"There is no lulc-annual/collection.json.*Run `landloom index`"):
        build_index(store, ANNUAL)


def test_python_looks_for_rubbish_as_before_once_it_is_written(store: Store) -> None:
    before = gc.get_threshold()
    build_index(store, ANNUAL)
    assert gc.get_threshold() == before
