from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
from shapely import box

from catalog.assets import AssetFile
from catalog.errors import BadInput
from catalog.grid import Tile
from catalog.items import build_item, published_fingerprint
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.models import model_key
from catalog.store import Store, open_store
from catalog.validation import validate
from tests.catalog.tile_years import manifest_of, publish, register


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


def test_what_is_written_validates_offline(store: Store) -> None:
    validate(register(store, manifest_of()))
    validate(register(store, manifest_of(legend=load_legend("ten"))))
    validate(register(store, manifest_of(period=Period.parse("2020-03-01/2020-05-31"))))


def test_an_annual_map_is_found_by_its_year_alone(store: Store) -> None:
    item = register(store, manifest_of())
    assert (item["id"], item["collection"]) == ("48QUE-2020", "lulc-annual")
    properties = item["properties"]
    assert properties["start_datetime"] == properties["datetime"] == "2020-01-01T00:00:00Z"
    assert properties["end_datetime"] == "2020-12-31T23:59:59Z"


def test_a_season_is_named_by_its_days(store: Store) -> None:
    item = register(store, manifest_of(period=Period.parse("2020-03-01/2020-05-31")))
    assert (item["id"], item["collection"]) == ("48QUE-20200301-20200531", "lulc-period")
    assert store.list() == ["lulc-period/48QUE/20200301-20200531/48QUE-20200301-20200531.json"]
    assert item["properties"]["end_datetime"] == "2020-05-31T23:59:59Z"


def test_code_written_for_io_lulc_9_class_reads_it(store: Store, tmp_path: Path) -> None:
    """The steps of Planetary Computer's example notebook for that collection."""
    publish(store, manifest_of(), tmp_path)
    item = pystac.Item.from_file(store.href(manifest_of().item_key))
    names = {entry["summary"]: entry["values"][0] for entry in item.assets["data"].extra_fields["file:values"]}
    assert names["No Data"] == 0
    assert names["Rangeland"] == 11
    with rasterio.open(item.assets["data"].get_absolute_href()) as data:
        assert data.colormap(1)[names["Water"]] == (0x41, 0x9B, 0xDF, 255)
    assert item.properties["io:tile_id"] == "48QUE"
    loaded = odc.stac.load([item], bands=["data"], chunks={})
    assert loaded["data"].dtype == "uint8"
    assert loaded["data"].nodata == 0
    assert loaded["data"].shape == (1, 700, 700)
    assert loaded.odc.crs.epsg == 32648
    assert str(loaded.time.values[0]).startswith("2020-01-01T00:00:00")


def test_tells_where_it_came_from(store: Store) -> None:
    manifest = manifest_of()
    item = register(store, manifest)
    derived = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    network = f"../../../{model_key(manifest.model)}"
    assert derived == [*(scene.href for scene in manifest.datatakes[0].scenes), network]
    assert item["properties"]["landloom:model"] == "unet 1"
    assert item["properties"]["landloom:confidence"] == {"calibrated": False}
    assert item["properties"]["landloom:fingerprint"] == manifest.fingerprint
    assert item["properties"]["processing:software"] == {"landloom": "0.1.0"}


def test_size_and_checksum_are_those_of_the_files(store: Store, tmp_path: Path) -> None:
    item = publish(store, manifest_of(), tmp_path)
    folder = "lulc-annual/48QUE/2020/"
    for asset in item["assets"].values():
        content = store.read(folder + asset["href"].removeprefix("./"))
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_projection_is_that_of_the_files(store: Store, tmp_path: Path) -> None:
    properties = publish(store, manifest_of(), tmp_path)["properties"]
    with rasterio.open(tmp_path / "data.tif") as data:
        assert properties["proj:code"] == data.crs.to_string()
        assert properties["proj:shape"] == list(data.shape)
        assert properties["proj:transform"] == list(data.transform)[:6]
        assert properties["proj:bbox"] == list(data.bounds)


def test_an_item_across_the_antimeridian_has_a_box_that_crosses_it(store: Store) -> None:
    manifest, tile = manifest_of("01WCP"), Tile.from_name("01WCP")
    both_sides = box(179, 65, 180, 66).union(box(-180, 65, -179, 66))
    content = build_item(
        manifest,
        epsg=tile.epsg,
        transform=tile.transform,
        shape=(10_000, 10_000),
        geometry=both_sides,
        scenes=[],
        left_out=[],
        odd=[],
        class_pixels=np.ones(256, int),
        looks=1,
        assets=[AssetFile("data", "data.tif", 1, "1220" + "00" * 32)],
    )
    item = json.loads(content)
    assert item["bbox"] == [179.0, 65.0, -179.0, 66.0]
    validate(item)


def test_the_fingerprint_tells_what_is_published(store: Store) -> None:
    manifest = manifest_of()
    assert published_fingerprint(store, manifest.item_key) is None
    register(store, manifest)
    assert published_fingerprint(store, manifest.item_key) == manifest.fingerprint
    assert manifest_of(version="2").fingerprint != manifest.fingerprint


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("properties", "datetime"), None),
        (("properties", "grid:code"), 48),
        (("properties", "proj:shape"), [700]),
        (("assets", "data", "file:size"), "large"),
        (("assets", "data", "classification:classes"), [{"value": 1}]),
        (("assets", "data", "raster:bands"), [{"data_type": "byte"}]),
        (("properties", "renders"), {"x": {}}),
        (("stac_version",), "1.0.0"),
        (("type",), "Raster"),
        (("stac_extensions",), ["https://example.com/schema.json"]),
    ],
)
def test_a_broken_item_is_refused(store: Store, path: tuple[str, ...], value: object) -> None:
    item = register(store, manifest_of())
    within = item
    for part in path[:-1]:
        within = within[part]
    within[path[-1]] = value
    if path == ("properties", "datetime"):
        del item["properties"]["start_datetime"]
    with pytest.raises(BadInput):
        validate(item)


def test_validation_asks_no_network(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("validation asked the network")

    monkeypatch.setattr("socket.socket.connect", refused)
    validate(register(store, manifest_of()))
