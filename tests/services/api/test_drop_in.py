"""Code written for Planetary Computer's io-lulc-9-class runs with only the URL and the collection's ID changed."""

from __future__ import annotations

import numpy as np
import odc.stac
import pandas as pd
import planetary_computer
import pystac
import pystac_client
import pytest
import rasterio

from tests.catalog.tile_years import publish_all
from tests.servers.catalog import serve_catalog

BOX = [11.9, 53.1, 13.6, 53.3]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Two years of one tile, one year of its neighbour in the east."""
    folder = tmp_path_factory.mktemp("drop")
    publish_all(folder / "out", ("33UUU", 2019), ("33UUU", 2020), ("33UVU", 2020), folder=folder)
    with serve_catalog(str(folder / "out")) as running:
        yield running


@pytest.fixture
def items(url):
    catalog = pystac_client.Client.open(url, modifier=planetary_computer.sign_inplace)
    search = catalog.search(bbox=BOX, collections=["lulc-annual"], datetime="2017-01-01/2023-12-31")
    return search.item_collection()


def test_items_are_found_and_signing_leaves_them_alone(url, items):
    assert {item.id for item in items} == {"33UUU-2019", "33UUU-2020", "33UVU-2020"}
    for item in items:
        assert item.properties["io:tile_id"] in item.id
        assert planetary_computer.sign(item).assets["data"].href == item.assets["data"].href
        assert item.assets["data"].href.startswith(f"{url}/files/")


@pytest.mark.parametrize("grouped", [{}, {"groupby": "start_datetime", "resampling": "mode"}])
def test_a_year_is_one_time_step(items, grouped):
    stack = odc.stac.load(items, bands=["data"], crs="EPSG:4326", resolution=0.0027, chunks={}, bbox=BOX, **grouped)
    assert [pd.Timestamp(moment).year for moment in stack.time.values] == [2019, 2020]
    seen = [set(np.unique(stack["data"].isel(time=step).values)) for step in (0, 1)]
    assert all({1, 2, 5, 7, 11} < codes <= {0, 1, 2, 4, 5, 7, 8, 9, 10, 11} for codes in seen)
    assert (stack["data"] > 0).sum("time").max() == 2


def test_classes_have_their_names_in_the_collection_and_their_colours_in_the_file(url, items):
    collection = pystac_client.Client.open(url).get_collection("lulc-annual")
    values = collection.extra_fields["item_assets"]["data"]["file:values"]
    names = {value: one["summary"] for one in values for value in one["values"]}
    assert names[7] == "Built area" and names[11] == "Rangeland"
    assert pystac.extensions.item_assets.ItemAssetsExtension.ext(collection, add_if_missing=True).item_assets["data"]
    with rasterio.open(items[0].assets["data"].href) as cog:
        assert cog.colormap(1)[1] == (0x41, 0x9B, 0xDF, 255)
