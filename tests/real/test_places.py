"""The whole job on real scenes, place by place, with the network that is shipped.

What is asserted holds whatever the network's weights: where the maps lie, how often each pixel was seen, and that no
scene and no tile-year is lost. How good the classes are is told by `evaluate` and in the network's card.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import shape

from catalog.grid import Tile
from catalog.manifest import Manifest, Period
from catalog.scenes import BANDS, interval_of
from catalog.validation import validate
from services.inference import DEFAULT_MODEL
from tests.pipelines.running import landloom, map_tiles

SCENES = Path(__file__).parents[2].parent / "shared" / "data" / "scenes"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SCENES.is_dir(), reason=f"no real scenes in {SCENES}")]

NODATA, CLOUDS = 0, 10


@dataclass(frozen=True)
class Place:
    """Where scenes lie and when they were seen."""

    scenes: str
    """Pattern of their items' paths."""
    tiles: str
    years: tuple[int, ...] = ()
    period: str = ""


PLACES = {
    "thailand": Place("*/*T48QUE*/*.json", "48QUE", (2020,)),
    "punjab": Place("*/*T43RCP*/*.json", "43RCP", (2020,)),
    "belgium": Place("*/*belgium*/*.json", "31UFS", period="2020-11-01/2021-10-31"),
    "aquileia": Place("*/*aquileia*/*.json", "33TUL", (2019,)),
    "congo": Place("*/*T33NZA*/*.json", "33MZV,33NZA", (2022,)),
    "brandenburg": Place("*/*brandenburg*/*.json", "33UUU", (2017,)),
    "rufiji": Place("*/*rufiji*/*.json", "37MEM", (2016, 2017, 2018, 2019, 2020)),
    "amazon": Place("*/*amazon*/*.json", "21MWU", period="2022-01-01/2024-12-31"),
    "newzealand": Place("*/*newzealand*/*.json", "60HWB", (2020,)),
}


@dataclass(frozen=True)
class Maps:
    """What became of a place."""

    place: Place
    out: Path

    @property
    def accounts(self) -> dict[str, Any]:
        """The run's accounts, as written beside the maps."""
        (path,) = (self.out / "runs").glob("*.json")
        return json.loads(path.read_text())

    def item(self, name: str) -> pystac.Item:
        """A published item by its id."""
        (path,) = self.out.glob(f"lulc-*/*/*/{name}.json")
        return pystac.Item.from_file(str(path))

    def manifest(self, name: str) -> Manifest:
        """What a published item was made from."""
        href = next(link.absolute_href for link in self.item(name).links if link.rel == "via")
        return Manifest.model_validate_json(Path(href).read_text())

    def read(self, name: str, asset: str = "data") -> np.ndarray:
        """The first band of an asset, `[rows, cols]`."""
        with rasterio.open(self.href(name, asset)) as source:
            return source.read(1)

    def href(self, name: str, asset: str = "data") -> str:
        """Where an asset of a published item lies."""
        return str(self.item(name).assets[asset].get_absolute_href())


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Maps]:
    """`mapped(name)` maps a place, once for all tests."""
    done: dict[str, Maps] = {}

    def map_place(name: str) -> Maps:
        if name not in done:
            place, out = PLACES[name], tmp_path_factory.mktemp(name)
            if place.period:
                arguments = ("--source", SCENES, "--out", out, "--tiles", place.tiles, "--period", place.period)
                landloom("map", *arguments)
            else:
                map_tiles(SCENES, out, Path(DEFAULT_MODEL), tiles=place.tiles, years=place.years)
            done[name] = Maps(place, out)
        return done[name]

    return map_place


def items_of(place: Place) -> dict[str, dict[str, Any]]:
    """The items of a place by path, read without any code of ours."""
    return {str(path): json.loads(path.read_text()) for path in sorted(SCENES.glob(place.scenes))}


def seen_within(item: dict[str, Any], period: Period) -> bool:
    first, last = interval_of(item["properties"])
    return first <= period.end and last >= period.start


def warped(scene: str, band: str, onto: str) -> np.ndarray:
    """A scene's band on the grid of a map: nearest neighbour, without any code of ours."""
    asset = json.loads(Path(scene).read_text())["assets"][band]
    with rasterio.open(Path(scene).parent / asset["href"]) as source, rasterio.open(onto) as target:
        there = np.zeros(target.shape, source.dtypes[0])
        reproject(
            rasterio.band(source, 1),
            there,
            dst_transform=target.transform,
            dst_crs=target.crs,
            resampling=Resampling.nearest,
        )
    return there


def with_data(scene: str, onto: str) -> np.ndarray:
    """Where all six bands of a scene have data, bool on the grid of a map."""
    return np.all([warped(scene, band, onto) != 0 for band in BANDS], axis=0)


@pytest.mark.parametrize("name", PLACES)
def test_every_tile_year_is_published_and_the_accounts_add_up(mapped, name):
    maps = mapped(name)
    accounts, place = maps.accounts, maps.place
    assert accounts["planned"] == len(place.tiles.split(",")) * (len(place.years) or 1)
    assert accounts["planned"] == len(accounts["published"])
    assert not accounts["skipped"] and not accounts["dead_lettered"]
    assert accounts["blocks"]["failed"] == accounts["blocks"]["not reached"] == 0
    catalog = pystac.Catalog.from_file(str(maps.out / "catalog.json"))
    items = [item for collection in catalog.get_children() for item in collection.get_items(recursive=True)]
    assert sorted(item.id for item in items if item.collection_id != "models") == sorted(accounts["published"])


@pytest.mark.parametrize("name", PLACES)
def test_no_scene_is_dropped_in_silence(mapped, name):
    maps, seen = mapped(name), 0
    for published in maps.accounts["published"]:
        manifest = maps.manifest(published)
        used = [scene.id for datatake in manifest.datatakes for scene in datatake.scenes]
        excluded = {exclusion.scene: exclusion.reason for exclusion in manifest.excluded}
        there = [item["id"] for item in items_of(maps.place).values() if seen_within(item, manifest.period)]
        assert sorted([*used, *excluded]) == sorted(there)
        assert all(excluded.values())
        properties = maps.item(published).properties
        assert not properties["landloom:scenes_left_out"] and not properties["landloom:scenes_implausible"]
        seen += len(there)
    assert seen


@pytest.mark.parametrize("name", PLACES)
def test_items_and_cogs_are_valid(mapped, name):
    maps = mapped(name)
    for path in [*maps.out.glob("**/catalog.json"), *maps.out.glob("*/collection.json")]:
        validate(json.loads(path.read_text()))
    for published in maps.accounts["published"]:
        item = maps.item(published)
        validate(json.loads(Path(item.get_self_href()).read_text()))
        for asset in ("data", "confidence", "observations"):
            assert cog_validate(maps.href(published, asset), strict=True, quiet=True) == (True, [], [])
        codes = maps.read(published)
        classes = {one["name"]: one["value"] for one in item.assets["data"].extra_fields["classification:classes"]}
        counted = {name: (codes == classes[name]).sum() for name in item.properties["landloom:class_pixels"]}
        assert item.properties["landloom:class_pixels"] == counted
        assert sum(counted.values()) == (codes != NODATA).sum()


@pytest.mark.parametrize("name", PLACES)
def test_the_items_cover_the_scenes(mapped, name):
    maps = mapped(name)
    covered = shapely.union_all([shape(maps.item(one).geometry) for one in maps.accounts["published"]])
    for item in items_of(maps.place).values():
        assert covered.buffer(1e-6).covers(shape(item["geometry"])), item["id"]


@pytest.mark.parametrize("name", PLACES)
def test_every_pixel_with_data_is_mapped_and_no_other(mapped, name):
    maps = mapped(name)
    for published in maps.accounts["published"]:
        used = {scene.href for datatake in maps.manifest(published).datatakes for scene in datatake.scenes}
        looks = np.sum([with_data(scene, maps.href(published)) for scene in used], axis=0)
        np.testing.assert_array_equal(maps.read(published) != NODATA, looks > 0)
        assert (maps.read(published, "observations") <= looks).all()


@pytest.mark.parametrize("name", PLACES)
def test_confidence_and_observations_fit_the_classes(mapped, name):
    maps = mapped(name)
    for published in maps.accounts["published"]:
        codes, looks = maps.read(published), maps.read(published, "observations")
        confidence = maps.read(published, "confidence")
        land = ~np.isin(codes, (NODATA, CLOUDS))
        assert (looks[land] >= 1).all() and (looks[~land] == 0).all()
        assert looks.max() <= len(maps.manifest(published).datatakes)
        assert (confidence[land] > 0).all() and (confidence[~land] == 0).all() and confidence.max() < 100


def test_thailand_whose_grid_is_shifted_against_the_tiles_is_mapped_to_its_edges(mapped):
    maps = mapped("thailand")
    codes, tile = maps.read("48QUE-2020"), Tile.from_name("48QUE")
    (scene,) = items_of(maps.place).values()
    (height, width), grid = scene["assets"]["B02"]["proj:shape"], scene["assets"]["B02"]["proj:transform"]
    assert (grid[2] - tile.left) % 10 and (tile.top - grid[5]) % 10, "it would not have to be warped"
    rows, cols = np.nonzero(codes)
    assert (codes != NODATA).sum() == height * width
    with rasterio.open(maps.href("48QUE-2020")) as source:
        assert (source.transform.c - tile.left) % 10 == (tile.top - source.transform.f) % 10 == 0
        left, top = source.transform @ (cols.min(), rows.min())
        right, bottom = source.transform @ (cols.max() + 1, rows.max() + 1)
    there = (grid[2], grid[5], grid[2] + 10 * width, grid[5] - 10 * height)
    assert np.abs(np.subtract((left, top, right, bottom), there)).max() <= 5


def test_a_part_of_thailand_is_mapped_as_in_the_whole(mapped, tmp_path):
    landloom(
        *("map", "--source", SCENES, "--year", 2020, "--out", tmp_path),
        *("--centre", "103.75,17.89", "--size-km", "2,2"),
    )
    whole, part = mapped("thailand"), Maps(PLACES["thailand"], tmp_path)
    assert len(part.item("48QUE-2020").properties["landloom:blocks"]) == 1
    assert len(whole.item("48QUE-2020").properties["landloom:blocks"]) == 2
    for asset in ("data", "confidence", "observations"):
        with rasterio.open(part.href("48QUE-2020", asset)) as source:
            bounds, found = source.bounds, source.read(1)
        with rasterio.open(whole.href("48QUE-2020", asset)) as source:
            np.testing.assert_array_equal(source.read(1, window=source.window(*bounds)), found)
    assert found.any()


def test_punjab_is_voted_from_two_dates_and_not_from_their_l1c(mapped):
    maps = mapped("punjab")
    manifest, looks = maps.manifest("43RCP-2020"), maps.read("43RCP-2020", "observations")
    assert [f"{datatake.datetime:%m-%d}" for datatake in manifest.datatakes] == ["06-04", "08-13"]
    assert {exclusion.reason for exclusion in manifest.excluded} == {"L1C, while there are L2A scenes"}
    assert len(manifest.excluded) == 2
    assert looks.max() == 2
    assert (looks[maps.read("43RCP-2020") != NODATA] == 2).mean() > 0.5


def test_belgiums_monthly_composites_are_twelve_looks_of_which_two_are_empty(mapped):
    maps, name = mapped("belgium"), "31UFS-20201101-20211031"
    months = [(datatake.datetime.year, datatake.datetime.month) for datatake in maps.manifest(name).datatakes]
    assert months == [(2020, 11), (2020, 12), *((2021, month) for month in range(1, 11))]
    looks = maps.read(name, "observations")
    assert looks.max() == 10
    assert np.median(looks[maps.read(name) != NODATA]) >= 8


def test_aquileias_empty_wedges_stay_empty_and_its_lagoon_is_water(mapped):
    maps = mapped("aquileia")
    codes, (scene,) = maps.read("33TUL-2019"), items_of(maps.place)
    green, near_infrared = (warped(scene, band, maps.href("33TUL-2019")).astype(int) for band in ("B03", "B08"))
    rows, cols = np.nonzero(codes)
    inside = codes[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    assert 0.01 < (inside == NODATA).mean() < 0.15
    lagoon = (near_infrared < 500) & (green > near_infrared + 200) & (codes != NODATA)
    assert lagoon.sum() > 200_000
    assert (codes[lagoon] == 1).mean() > 0.8


def test_congo_under_cloud_from_edge_to_edge_gets_no_land_cover(mapped):
    maps = mapped("congo")
    for name in maps.accounts["published"]:
        assert set(np.unique(maps.read(name))) <= {NODATA, CLOUDS}
        assert not maps.read(name, "confidence").any()


def test_congo_is_shared_by_the_tiles_on_both_sides_of_the_equator_and_no_pixel_is_lost(mapped):
    maps = mapped("congo")
    north, south = (maps.read(name) != NODATA for name in ("33NZA-2022", "33MZV-2022"))
    (scene,) = items_of(maps.place).values()
    height, width = scene["assets"]["B02"]["proj:shape"]
    assert np.count_nonzero(south.any(axis=1)) == 34
    assert north.sum() == (height - 34) * width
    assert south.sum() == 34 * width
    with rasterio.open(maps.href("33NZA-2022")) as first, rasterio.open(maps.href("33MZV-2022")) as second:
        # In the northern zone's metres the equator lies at 0, in the southern zone's at 10,000 km.
        assert (first.bounds.bottom, second.bounds.top) == (0, 10_000_000)
    np.testing.assert_array_equal(north[-1], south[0])


def test_brandenburgs_l1c_is_mapped_where_there_is_no_l2a(mapped):
    maps = mapped("brandenburg")
    (datatake,) = maps.manifest("33UUU-2017").datatakes
    assert [scene.level for scene in datatake.scenes] == ["L1C"]
    assert "L1C" in maps.item("33UUU-2017").properties["processing:lineage"]
    assert (maps.read("33UUU-2017") != NODATA).sum() == 1536 * 768


def test_rufijis_five_years_are_five_maps_on_one_grid(mapped):
    maps = mapped("rufiji")
    dates = {2016: 3, 2017: 2, 2018: 3, 2019: 3, 2020: 1}
    for year, count in dates.items():
        item = maps.item(f"37MEM-{year}")
        assert item.properties["landloom:datatakes"] == count
        assert item.properties["proj:transform"] == maps.item("37MEM-2016").properties["proj:transform"]
        assert maps.read(f"37MEM-{year}", "observations").max() == count
    mapped_pixels = [(maps.read(f"37MEM-{year}") != NODATA).sum() for year in dates]
    # The scenes are 169 x 140 pixels of 20 m. A gap of one date is filled by the others, but 2020 has one date.
    assert mapped_pixels[:4] == [4 * 169 * 140] * 4
    assert 0.3 < mapped_pixels[4] / mapped_pixels[0] < 0.5


def test_rufijis_scale_of_its_own_gives_plausible_reflectance(mapped):
    maps = mapped("rufiji")
    for datatake in maps.manifest("37MEM-2018").datatakes:
        (scene,) = datatake.scenes
        assert {(band.scale, band.offset) for band in scene.bands.values()} == {(0.001, 0.0)}
        assert scene.baseline is None
    # Ten times too bright would be cloud or snow throughout, ten times too dark water.
    codes = maps.read("37MEM-2018")
    assert np.isin(codes[codes != NODATA], (2, 4, 5, 11)).mean() > 0.7


def test_the_amazon_without_a_date_is_refused_for_a_year_and_mapped_for_its_span(mapped, tmp_path):
    accounts = map_tiles(SCENES, tmp_path, Path(DEFAULT_MODEL), tiles="21MWU", years=(2022, 2023))
    assert accounts.planned == len(accounts.skipped) == 2
    for reason in accounts.skipped.values():
        assert "seen between 2022-01-25 and 2024-02-16, not wholly in the period" in reason
    (published,) = mapped("amazon").accounts["published"]
    assert published == "21MWU-20220101-20241231"


# Red tells water, forest, fields and bare ground apart.
@pytest.mark.parametrize("name", ["thailand", "aquileia", "brandenburg", "rufiji"])
def test_classes_lie_on_what_they_show(mapped, name):
    maps = mapped(name)
    published, scene = maps.accounts["published"][0], next(iter(items_of(maps.place)))
    codes, red = maps.read(published), warped(scene, "B04", maps.href(published)).astype(float)
    rows, cols = np.nonzero(codes)
    inside = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
    codes, red = codes[inside], red[inside]
    explained = {
        (down, right): variance_explained(codes, np.roll(red, (down, right), axis=(0, 1)))
        for down in range(-4, 5)
        for right in range(-4, 5)
    }
    down, right = max(explained, key=lambda shift: explained[shift])
    assert abs(down) <= 1 and abs(right) <= 1, f"the map fits the scene best when moved by {down}, {right} pixels"


def variance_explained(codes: np.ndarray, band: np.ndarray) -> float:
    """Share of a band's variance that lies between the classes (eta squared)."""
    both = (codes != NODATA) & (band > 0)
    labels, values = codes[both], band[both] - band[both].mean()
    sums, counts = np.bincount(labels, values), np.bincount(labels)
    return float((sums[counts > 0] ** 2 / counts[counts > 0]).sum() / (values**2).sum())
