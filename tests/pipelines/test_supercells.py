from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from catalog.collections import ZONES, rebuild
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.store import Store, open_store
from catalog.validation import validate
from pipelines.supercells import make_supercells
from tests.catalog.tile_years import manifest_of, publish
from tests.pipelines.running import landloom

WEST, EAST, FAR = "33UUU", "33UVU", "48QUE"
"""Two neighbours in the zone 33U, and one elsewhere. Of each, the north-western 700 x 700 px are mapped."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    store = open_store(str(folder / "out"))
    for tile in (WEST, EAST, FAR):
        publish(store, manifest_of(tile), folder)
    return folder / "out"


@pytest.fixture
def out(published: Path, tmp_path: Path) -> Path:
    """A copy of its own: tests break and add what they like."""
    return shutil.copytree(published, tmp_path / "out")


@pytest.fixture
def store(out: Path) -> Store:
    return open_store(str(out))


def item_of(out: Path, name: str, collection: str = ZONES) -> dict:
    tile, _, year = name.partition("-")
    return json.loads((out / collection / tile / year / f"{name}.json").read_text())


def cog_of(out: Path, name: str, collection: str = ZONES) -> Path:
    tile, _, year = name.partition("-")
    return out / collection / tile / year / item_of(out, name, collection)["assets"]["data"]["href"]


def test_every_pixel_of_the_tiles_is_in_one_zone(out: Path, store: Store) -> None:
    account = make_supercells(store)
    assert (account.planned, account.published, account.failed) == (2, ["33U-2020", "48Q-2020"], {})
    with rasterio.open(cog_of(out, "33U-2020")) as zone:
        assert zone.shape == (700, 10_700)
        whole = zone.read(1)
        for tile in (WEST, EAST):
            with rasterio.open(cog_of(out, f"{tile}-2020", "lulc-annual")) as source:
                col = round((source.transform.c - zone.transform.c) / 10)
                np.testing.assert_array_equal(whole[:, col : col + 700], source.read(1))
    assert not whole[:, 700:10_000].any()


def test_the_cog_has_palette_class_names_and_overviews_of_the_most_frequent_class(out: Path, store: Store) -> None:
    make_supercells(store, zones=["33U"])
    legend = load_legend("nine")
    with rasterio.open(cog_of(out, "33U-2020")) as zone:
        assert zone.nodata == 0
        palette = zone.colormap(1)
        assert all(palette[one.code] == (*bytes.fromhex(one.color), 255) for one in legend.classes)
        assert {zone.tags(1)[f"CLASS_{one.code}"] for one in legend.classes} == {one.title for one in legend.classes}
        assert zone.profile["tiled"] and zone.overviews(1)
        whole = zone.read(1)
    with rasterio.open(cog_of(out, "33U-2020"), overview_level=0) as half:
        seen = half.read(1)
    below = np.stack([whole[row::2, col::2] for row in (0, 1) for col in (0, 1)])
    votes = np.stack([(below == one.code).sum(axis=0) for one in legend.classes])
    won = votes.max(axis=0) >= 3
    winner = np.array([one.code for one in legend.classes])[votes.argmax(axis=0)]
    assert won.sum() > 100_000
    np.testing.assert_array_equal(seen[won], winner[won])


def test_what_no_tile_covers_takes_no_room(out: Path, store: Store) -> None:
    make_supercells(store, zones=["33U"])
    parts = sum(cog_of(out, f"{tile}-2020", "lulc-annual").stat().st_size for tile in (WEST, EAST))
    assert cog_of(out, "33U-2020").stat().st_size < 1.2 * parts


def test_the_item_is_valid_and_tells_what_it_is_made_of(out: Path, store: Store) -> None:
    make_supercells(store)
    item = item_of(out, "33U-2020")
    validate(item)
    properties = item["properties"]
    assert properties["io:tile_id"] == properties["io:supercell_id"] == "33U"
    assert properties["datetime"] == properties["start_datetime"] == "2020-01-01T00:00:00Z"
    assert properties["end_datetime"] == "2020-12-31T23:59:59Z"
    with rasterio.open(cog_of(out, "33U-2020")) as zone:
        assert properties["proj:code"] == f"EPSG:{zone.crs.to_epsg()}"
        assert properties["proj:shape"] == list(zone.shape)
        assert properties["proj:transform"] == list(zone.transform)[:6]
        counts = np.bincount(zone.read(1).ravel(), minlength=256)
    classes = item["assets"]["data"]["classification:classes"]
    assert properties["landloom:class_pixels"] == {c["name"]: counts[c["value"]] for c in classes if c["value"]}
    sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    here = out / ZONES / "33U" / "2020"
    assert [json.loads((here / href).read_text())["id"] for href in sources] == [f"{WEST}-2020", f"{EAST}-2020"]


def test_a_second_run_makes_only_what_has_changed(out: Path, store: Store, tmp_path: Path) -> None:
    make_supercells(store)
    before = item_of(out, "33U-2020"), item_of(out, "48Q-2020")
    old = cog_of(out, "33U-2020")
    again = make_supercells(store)
    assert (again.published, again.skipped) == ([], ["33U-2020", "48Q-2020"])
    assert (item_of(out, "33U-2020"), item_of(out, "48Q-2020")) == before
    publish(store, manifest_of(EAST, version="2"), tmp_path)
    changed = make_supercells(store)
    assert (changed.published, changed.skipped) == (["33U-2020"], ["48Q-2020"])
    assert item_of(out, "33U-2020")["properties"]["landloom:model"] == "unet 1, unet 2"
    assert cog_of(out, "33U-2020").exists() and not old.exists()
    assert make_supercells(store, overwrite=True).published == ["33U-2020", "48Q-2020"]


@pytest.mark.slow
def test_a_lost_or_broken_tile_fails_its_zone_alone(out: Path, store: Store) -> None:
    lost = cog_of(out, f"{EAST}-2020", "lulc-annual")
    content = lost.read_bytes()
    lost.write_bytes(content[:-100])
    account = make_supercells(store)
    assert account.published == ["48Q-2020"]
    assert "checksum" in account.failed["33U-2020"] and f"{EAST}-2020" in account.failed["33U-2020"]
    lost.unlink()
    told = landloom("supercells", "--out", out, check=3).stderr
    assert "2 planned: 0 published, 1 skipped (up to date), 1 failed" in told and "Failed 33U-2020" in told
    assert not (out / ZONES / "33U").exists()
    lost.write_bytes(content)
    landloom("supercells", "--out", out, "--zone", "33u", "--year", "2020")
    assert cog_of(out, "33U-2020").exists()


def test_tiles_with_different_legends_are_not_mixed(out: Path, store: Store, tmp_path: Path) -> None:
    publish(store, manifest_of(EAST, legend=load_legend("ten")), tmp_path)
    account = make_supercells(store)
    assert "legend" in account.failed["33U-2020"] and account.published == ["48Q-2020"]


def test_collection_links_and_index_can_be_rebuilt(out: Path, store: Store, tmp_path: Path) -> None:
    publish(store, manifest_of(FAR, Period.of_year(2021)), tmp_path)
    make_supercells(store)
    keys = [key for key in store.list(f"{ZONES}/") if key.endswith(("collection.json", "catalog.json"))]
    assert keys == [f"{ZONES}/33U/catalog.json", f"{ZONES}/48Q/catalog.json", f"{ZONES}/collection.json"]
    made = {key: store.read(key) for key in keys}
    collection = json.loads(made[f"{ZONES}/collection.json"])
    validate(collection)
    assert list(collection["item_assets"]) == ["data"]
    assert rebuild(store) == {"lulc-annual": 4, ZONES: 3}
    assert {key: store.read(key) for key in keys} == made
    children = [link["href"] for link in json.loads(store.read("catalog.json"))["links"] if link["rel"] == "child"]
    assert f"./{ZONES}/collection.json" in children


@pytest.mark.parametrize(
    ("years", "zones", "told"),
    [([2019], [], "2019"), ([], ["21L"], "21L"), ([], ["61L"], "61L"), ([], ["33I"], "33I"), ([], ["../x"], "x")],
)
def test_what_is_not_there_is_refused(store: Store, years: list[int], zones: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        make_supercells(store, years, zones)


def test_an_empty_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="landloom map"):
        make_supercells(open_store(str(tmp_path / "nothing")))
