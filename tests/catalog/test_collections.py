from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pystac
import pytest

from catalog.collections import add_items, check_legend, rebuild
from catalog.errors import BadInput
from catalog.index import build_index
from catalog.items import read_items
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.store import Store, open_store
from catalog.validation import validate
from tests.catalog.tile_years import manifest_of, publish, register
from tests.servers.s3 import S3Server

ANNUAL = "lulc-annual"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


def collection_of(store: Store, collection: str = ANNUAL) -> dict:
    return json.loads(store.read(f"{collection}/collection.json"))


def derived(store: Store) -> dict[str, bytes]:
    """Everything that is made from the items, but the index, whose parts are named in it by their content."""
    return {key: store.read(key) for key in store.list() if key.endswith(("collection.json", "catalog.json"))}


def test_extent_and_summaries_grow_with_the_items(store: Store) -> None:
    add_items(store, ANNUAL, [register(store, manifest_of("48QUE"))])
    one = collection_of(store)
    add_items(store, ANNUAL, [register(store, manifest_of("33UUU", Period.of_year(2018)))])
    two = collection_of(store)
    assert one["extent"]["temporal"]["interval"] == [["2020-01-01T00:00:00Z", "2020-12-31T23:59:59Z"]]
    assert two["extent"]["temporal"]["interval"] == [["2018-01-01T00:00:00Z", "2020-12-31T23:59:59Z"]]
    boxes = [item["bbox"] for item in read_items(store, ANNUAL)]
    assert two["extent"]["spatial"]["bbox"] == [
        [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    ]
    assert two["summaries"]["proj:code"] == ["EPSG:32633", "EPSG:32648"]


def test_all_that_is_written_validates_offline(store: Store) -> None:
    add_items(store, ANNUAL, [register(store, manifest_of())])
    written = derived(store)
    assert set(written) == {"catalog.json", "lulc-annual/collection.json", "lulc-annual/48Q/catalog.json"}
    for content in written.values():
        validate(json.loads(content))


@pytest.mark.parametrize(("field", "value"), [("license", None), ("extent", {}), ("links", [{"href": "x"}])])
def test_a_broken_collection_is_refused(store: Store, field: str, value: object) -> None:
    add_items(store, ANNUAL, [register(store, manifest_of())])
    with pytest.raises(BadInput, match="lulc-annual"):
        validate({**collection_of(store), field: value})


def test_a_browser_finds_every_item_from_the_root(store: Store, tmp_path: Path) -> None:
    publish(store, manifest_of(), tmp_path)
    register(store, manifest_of("33UUU"))
    register(store, manifest_of("33UUU", Period.parse("2020-06-05")))
    rebuild(store)
    root = pystac.Catalog.from_file(store.href("catalog.json"))
    assert [child.id for child in root.get_children()] == [ANNUAL, "lulc-period"]
    found = {item.id: item for item in root.get_items(recursive=True)}
    assert set(found) == {"48QUE-2020", "33UUU-2020", "33UUU-20200605-20200605"}
    item = found["48QUE-2020"]
    assert item.get_collection().id == ANNUAL
    assert item.get_parent().id == "lulc-annual-48Q"
    assert Path(item.assets["data"].get_absolute_href()).is_file()
    assert Path(item.get_parent().get_parent().assets["thumbnail"].get_absolute_href()).is_file()


def test_adding_twice_or_in_another_order_changes_nothing(tmp_path: Path) -> None:
    manifests = [manifest_of("48QUE"), manifest_of("33UUU"), manifest_of("48QUE", Period.of_year(2019))]
    stores = [open_store(str(tmp_path / name)) for name in ("once", "reversed")]
    for store, order in zip(stores, (manifests, manifests[::-1]), strict=True):
        for manifest in order:
            add_items(store, ANNUAL, [register(store, manifest)])
    add_items(stores[0], ANNUAL, read_items(stores[0], ANNUAL))
    assert derived(stores[0]) == derived(stores[1])


def _publish_years(store: Store, tile: str) -> None:
    for year in range(2016, 2024):
        add_items(store, ANNUAL, [register(store, manifest_of(tile, Period.of_year(year)))])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_two_runs_that_end_at_once_both_count(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "disk":
        store = open_store(str(tmp_path / "out"))
    else:
        server: S3Server = request.getfixturevalue("s3")
        store = open_store(f"s3://{server.new_bucket()}/maps", s3_endpoint=server.endpoint)
    runs = [
        multiprocessing.get_context("fork").Process(target=_publish_years, args=(store, tile))
        for tile in ("48QUE", "48QUF")
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
        assert run.exitcode == 0
    build_index(store, ANNUAL)
    together = derived(store)
    assert len(json.loads(together["lulc-annual/48Q/catalog.json"])["links"]) == 2 + 16
    assert rebuild(store) == {ANNUAL: 16}
    assert derived(store) == together, "what grew by parts is what a rebuild makes from the items"


def test_rebuild_makes_everything_from_the_items_alone(store: Store) -> None:
    for tile in ("48QUE", "33UUU"):
        add_items(store, ANNUAL, [register(store, manifest_of(tile))])
    build_index(store, ANNUAL)
    before = derived(store)
    store.delete(before)
    assert rebuild(store) == {ANNUAL: 2}
    assert derived(store) == before


def test_rebuild_forgets_what_is_no_longer_there(store: Store) -> None:
    for tile in ("48QUE", "33UUU"):
        add_items(store, ANNUAL, [register(store, manifest_of(tile))])
    store.delete([manifest_of("33UUU").item_key])
    rebuild(store)
    assert "lulc-annual/33U/catalog.json" not in store.list()
    assert collection_of(store)["summaries"]["proj:code"] == ["EPSG:32648"]


def test_rebuild_does_not_lose_an_item_that_is_registered_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_items(store, ANNUAL, [register(store, manifest_of("48QUE"))])
    late = iter([manifest_of("33UUU")])

    def read_while_another_publishes(store: Store, collection: str):
        yield from read_items(store, collection)
        for manifest in late:
            add_items(store, collection, [register(store, manifest)])

    monkeypatch.setattr("catalog.collections.read_items", read_while_another_publishes)
    assert rebuild(store) == {ANNUAL: 2}
    assert len(collection_of(store)["summaries"]["proj:code"]) == 2


def test_nothing_published_is_nothing_written(store: Store) -> None:
    add_items(store, ANNUAL, [])
    assert rebuild(store) == {}
    assert store.list() == []


def test_a_collection_tells_its_classes_as_io_lulc_9_class_does(store: Store) -> None:
    add_items(store, ANNUAL, [register(store, manifest_of())])
    values = pystac.Collection.from_dict(collection_of(store)).item_assets["data"].properties["file:values"]
    assert {entry["summary"]: entry["values"][0] for entry in values} == {
        "No Data": 0,
        "Water": 1,
        "Trees": 2,
        "Flooded vegetation": 4,
        "Crops": 5,
        "Built area": 7,
        "Bare ground": 8,
        "Snow/ice": 9,
        "Clouds": 10,
        "Rangeland": 11,
    }


def test_legends_that_agree_share_a_collection_and_others_are_refused(store: Store) -> None:
    add_items(store, ANNUAL, [register(store, manifest_of("48QUE"))])
    ten = load_legend("ten")
    check_legend(store, ANNUAL, ten)
    add_items(store, ANNUAL, [register(store, manifest_of("33UUU", legend=ten))])
    codes = [one["value"] for one in collection_of(store)["item_assets"]["data"]["classification:classes"]]
    assert codes == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    other = ten.model_copy(
        update={"classes": (ten.classes[0].model_copy(update={"color": "000000"}), *ten.classes[1:])}
    )
    with pytest.raises(BadInput, match=r"Code 1 is 'water' \(000000\).*another --out"):
        check_legend(store, ANNUAL, other)


def test_an_item_across_the_antimeridian_widens_the_extent_to_the_globe(store: Store) -> None:
    item = register(store, manifest_of("01WCP"))
    add_items(store, ANNUAL, [{**item, "bbox": [179.0, 65.0, -179.0, 66.0]}])
    assert collection_of(store)["extent"]["spatial"]["bbox"] == [[-180.0, 65.0, 180.0, 66.0]]
