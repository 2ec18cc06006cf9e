from __future__ import annotations

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import geopandas
import pandas as pd
import pystac
import pytest
import stac_geoparquet.arrow
from pyarrow import parquet

from catalog.collections import add_items
from catalog.index import INDEX, build_index, grow_index, write_part
from catalog.items import items_by_key, read_items
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
            register(store, manifest_of(tile, Period.of_year(year)))
    return store


def test_geopandas_reads_it(store: Store) -> None:
    assert build_index(store, ANNUAL) == 4
    table = geopandas.read_parquet(store.href(f"{ANNUAL}/{INDEX}"))
    assert sorted(table["id"]) == ["33UUU-2019", "33UUU-2020", "48QUE-2019", "48QUE-2020"]
    assert table.crs.to_epsg() == 4326
    in_2020 = table[table["datetime"] == pd.Timestamp("2020-01-01", tz="UTC")]
    assert sorted(in_2020["io:tile_id"]) == ["33UUU", "48QUE"]
    assert len(table.cx[100:110, 10:20]) == 2


def test_duckdb_reads_it(store: Store) -> None:
    build_index(store, ANNUAL)
    rows = duckdb.sql(
        f"select id, assets.data.href from '{store.href(f'{ANNUAL}/{INDEX}')}' "
        "where bbox.xmin < 110 and bbox.xmax > 100 and datetime >= '2020-01-01' order by id"
    ).fetchall()
    folder = f"lulc-annual/48QUE/2020/{manifest_of().fingerprint}"
    assert rows == [("48QUE-2020", store.href(f"{folder}/data.tif"))]


def test_gives_the_items_back_with_absolute_addresses(store: Store) -> None:
    build_index(store, ANNUAL)
    table = parquet.read_table(store.href(f"{ANNUAL}/{INDEX}"))
    items = {item["id"]: pystac.Item.from_dict(item) for item in stac_geoparquet.arrow.stac_table_to_items(table)}
    item, original = items["48QUE-2020"], next(i for i in read_items(store, ANNUAL) if i["id"] == "48QUE-2020")
    assert item.get_self_href() == store.href(manifest_of().item_key)
    assert item.properties["landloom:fingerprint"] == original["properties"]["landloom:fingerprint"]
    assert item.properties["proj:transform"] == original["properties"]["proj:transform"]
    assert item.assets["data"].extra_fields["file:values"] == original["assets"]["data"]["file:values"]
    scenes = [scene.href for scene in manifest_of().datatakes[0].scenes]
    network = store.href(model_key(manifest_of().model))
    assert [link.href for link in item.links if link.rel == "derived_from"] == [*scenes, network]


def test_items_with_and_without_scores_share_it(store: Store) -> None:
    manifest = manifest_of("48QUF")
    item = register(store, manifest)
    item["assets"]["scores"] = {**item["assets"]["confidence"], "bands": [{"name": "water"}]}
    store.write(manifest.item_key, json.dumps(item).encode())
    assert build_index(store, ANNUAL) == 5
    table = geopandas.read_parquet(store.href(f"{ANNUAL}/{INDEX}"))
    with_scores = [row["id"] for _, row in table.iterrows() if row["assets"]["scores"]]
    assert with_scores == ["48QUF-2020"]


def test_the_collection_names_it(store: Store) -> None:
    add_items(store, ANNUAL, read_items(store, ANNUAL))
    build_index(store, ANNUAL)
    asset = pystac.Collection.from_file(store.href(f"{ANNUAL}/collection.json")).assets["items"]
    assert asset.media_type == "application/vnd.apache.parquet"
    assert Path(asset.get_absolute_href()).is_file()


def test_an_item_registered_while_it_is_built_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter([manifest_of("48QUF")])

    def read_while_another_run_ends(store: Store, collection: str):
        yield from list(items_by_key(store, collection))
        for manifest in late:
            register(store, manifest)
            build_index(store, collection)

    monkeypatch.setattr("catalog.index.items_by_key", read_while_another_run_ends)
    assert build_index(store, ANNUAL) == 5
    assert len(geopandas.read_parquet(store.href(f"{ANNUAL}/{INDEX}"))) == 5


def parts_of(store: Store, *names: str) -> list[str]:
    """Each of the items in a part of its own."""
    keys = [f"runs/r/items/{name}.parquet" for name in names]
    items = {item["id"]: (key, item) for key, item in items_by_key(store, ANNUAL)}
    for name, key in zip(names, keys, strict=True):
        write_part(store, key, [items[name]])
    return keys


def rows(store: Store) -> dict[str, dict]:
    table = parquet.read_table(store.href(f"{ANNUAL}/{INDEX}"))
    found = list(stac_geoparquet.arrow.stac_table_to_items(table))
    assert len(found) == len({item["id"] for item in found})
    return {item["id"]: json.loads(json.dumps(item, default=str)) for item in found}


def test_grown_by_parts_it_is_as_built_anew(store: Store) -> None:
    build_index(store, ANNUAL)
    scores = {"href": "./scores.tif", "roles": ["data"], "bands": [{"name": "water"}]}
    for tile, changes in (("48QUF", {"scores": scores}), ("33UUU", {})):
        manifest = manifest_of(tile)
        item = register(store, manifest)
        item["assets"] |= changes
        item["properties"]["title"] = "made later"
        store.write(manifest.item_key, json.dumps(item).encode())
    grow_index(store, ANNUAL, parts_of(store, "48QUF-2020", "33UUU-2020"))
    grown = rows(store)
    table = geopandas.read_parquet(store.href(f"{ANNUAL}/{INDEX}"))
    assert table.crs.to_epsg() == 4326 and len(table) == 5
    assert build_index(store, ANNUAL) == 5
    assert grown == rows(store)
    assert grown["33UUU-2020"]["properties"]["title"] == "made later"


def test_grown_from_nothing(store: Store) -> None:
    grow_index(store, ANNUAL, parts_of(store, "48QUE-2019", "48QUE-2020"))
    assert sorted(rows(store)) == ["48QUE-2019", "48QUE-2020"]


def test_two_that_let_it_grow_at_once_both_count(store: Store) -> None:
    parts = parts_of(store, *(name for name in ("33UUU-2019", "33UUU-2020", "48QUE-2019", "48QUE-2020")))
    with ThreadPoolExecutor(4) as runs:
        list(runs.map(lambda part: grow_index(store, ANNUAL, [part]), parts))
    assert len(rows(store)) == 4


def test_columns_that_do_not_go_together_are_built_anew(store: Store) -> None:
    build_index(store, ANNUAL)
    manifest = manifest_of("48QUF")
    item = register(store, manifest)
    item["properties"]["landloom:legend"] = ["nine", "1"]
    store.write(manifest.item_key, json.dumps(item).encode())
    parts = parts_of(store, "48QUF-2020")
    item["properties"]["landloom:legend"] = "nine 1"
    store.write(manifest.item_key, json.dumps(item).encode())
    grow_index(store, ANNUAL, parts)
    assert len(rows(store)) == 5


def test_no_items_no_index(tmp_path: Path) -> None:
    empty = open_store(str(tmp_path / "empty"))
    assert build_index(empty, ANNUAL) == 0
    assert empty.list() == []


def test_python_looks_for_rubbish_as_before_once_it_is_written(store: Store) -> None:
    before = gc.get_threshold()
    build_index(store, ANNUAL)
    assert gc.get_threshold() == before
