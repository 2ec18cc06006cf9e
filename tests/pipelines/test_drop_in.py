"""Code as it is written for io-lulc-9-class and io-lulc-annual-v02 of the Planetary Computer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import planetary_computer
import pystac
import pytest
import rasterio
from odc.stac import load

from catalog.collections import ZONES
from catalog.grid import tile_at
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.store import open_store
from pipelines.supercells import make_supercells
from tests.catalog.tile_years import manifest_of, publish

YEARS = (2020, 2021)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> pystac.Collection:
    """Two zones side by side, two years."""
    folder: Path = tmp_path_factory.mktemp("zones")
    store = open_store(str(folder / "out"))
    for tile in (tile_at(11.9, 52.3).name, "33UUU"):
        for year in YEARS:
            publish(store, manifest_of(tile, Period.of_year(year)), folder)
    make_supercells(store)
    return pystac.Collection.from_file(str(folder / "out" / ZONES / "collection.json"))


@pytest.fixture(scope="module")
def items(collection: pystac.Collection) -> list[pystac.Item]:
    return list(collection.get_items(recursive=True))


@pytest.mark.parametrize("how", [{}, {"groupby": "start_datetime", "resampling": "mode"}])
def test_there_is_one_time_step_a_year(items: list[pystac.Item], how: dict) -> None:
    assert sorted(item.id for item in items) == ["32U-2020", "32U-2021", "33U-2020", "33U-2021"]
    cube = load(items, bands=["data"], crs="EPSG:4326", resolution=0.0027, chunks={}, **how)
    assert [int(year) for year in cube.time.dt.year] == list(YEARS)
    codes = cube["data"].compute()
    assert set(np.unique(codes)) <= {0, *(one.code for one in load_legend("nine").classes)}
    west, east = codes.isel(time=0, longitude=slice(0, 30)), codes.isel(time=0, longitude=slice(-30, None))
    assert west.any() and east.any()


def test_signing_leaves_items_alone(items: list[pystac.Item]) -> None:
    for item in items:
        assert planetary_computer.sign(item).assets["data"].href == item.assets["data"].href


def test_class_names_stand_in_the_collection_and_colours_in_the_cog(
    collection: pystac.Collection, items: list[pystac.Item]
) -> None:
    legend = load_legend("nine")
    values = collection.item_assets["data"].properties["file:values"]
    names = {value: one["summary"] for one in values for value in one["values"]}
    assert names == {0: "No Data", **{one.code: one.title for one in legend.classes}}
    with rasterio.open(items[0].assets["data"].get_absolute_href()) as source:
        colours = source.colormap(1)
    assert all(colours[one.code][:3] == tuple(bytes.fromhex(one.color)) for one in legend.classes)
