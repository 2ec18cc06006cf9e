"""Radar beside optical looks: simulated backscatter with speckle, read, averaged, filtered, and shown to a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from scipy.ndimage import maximum_filter, minimum_filter

from catalog.area import area_of_tiles
from catalog.errors import BadInput
from catalog.grid import Tile
from catalog.manifest import Period
from catalog.radar import RADAR_CHANNELS, decode, radar_from_item
from catalog.radar_source import open_radar, search_radar
from catalog.radar_speckle import looks_of
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from pipelines.dataset import make_training_set
from pipelines.dataset_request import DatasetRequest
from pipelines.landscape import BACKSCATTER, backscatter
from pipelines.radar import RadarReader
from pipelines.radar_simulation import simulate_radar
from pipelines.read import SceneReader
from pipelines.scene_cutter import Choice
from pipelines.simulate import Product
from tests.networks import write_radar_network
from tests.pipelines.running import map_tiles

TILE, COL, ROW, SHAPE = Tile.from_name("33UUU"), 1792 - 200, 300, (320, 400)
SEEN = Product("33UUU", col=COL, row=ROW, size=SHAPE)
JANUARY, JUNE = datetime(2021, 1, 20, tzinfo=UTC), datetime(2021, 6, 20, tzinfo=UTC)
WORLD = shapely.box(-180, -90, 180, 90)


@pytest.fixture(scope="session")
def radar(tmp_path_factory):
    """A pass a month of each orbit direction, over the ground and the year of `simulated`."""
    return simulate_radar(tmp_path_factory.mktemp("radar"), [SEEN], years=(2021,), passes=12, seed=4)


@pytest.fixture(scope="module")
def radar_network(tmp_path_factory):
    return write_radar_network(tmp_path_factory.mktemp("network") / "spectral-radar.onnx")


def read(catalog, when=JUNE, col=COL, row=ROW, shape=SHAPE, channels=RADAR_CHANNELS):
    """The channels of a window in dB, `[channels, rows, cols]`, and what was left out."""
    scenes, _ = search_radar(open_radar(str(catalog)), WORLD, {(2021, month) for month in range(1, 13)})
    transform = TILE.transform @ Affine.translation(col, row)
    reader = RadarReader(scenes, channels, SceneReader(), TILE.epsg, transform, shape)
    shown, problems = reader.beside(np.ones((6, *shape), np.uint16), when)
    assert shown.dtype == np.uint16 and (shown[:6] == 1).all()
    return decode(shown[6:]), problems


def edited(catalog, where, change):
    """A copy of a catalog whose items are changed by `change(item)`."""
    items = sorted((catalog.parent / "sentinel-1-rtc").glob("*/*.json"))
    links = []
    where.mkdir(parents=True, exist_ok=True)
    for path in items:
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
        change(item)
        (where / path.name).write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{path.name}"})
    catalog = {"type": "Catalog", "id": "edited", "stac_version": "1.1.0", "description": "-", "links": links}
    (where / "catalog.json").write_text(json.dumps(catalog))
    return where / "catalog.json"


def truth_of(simulated):
    with rasterio.open(simulated.truth["33UUU", 2021]) as source:
        return source.read(1)


def test_channels_show_the_gamma0_that_was_simulated(radar, simulated):
    """Calibration, end to end: what is shown, against the mean that the speckle was laid on."""
    shown, problems = read(radar)
    assert not problems and not np.isnan(shown).any()
    classes, pixels = truth_of(simulated), (np.arange(size) + 0.5 for size in reversed(SHAPE))
    # At the border of two classes the window sees both.
    inside = maximum_filter(classes, 9) == minimum_filter(classes, 9)
    x, y = (next(pixels) + COL) * 10 + TILE.left, TILE.top - (next(pixels) + ROW) * 10
    for first, ascending in ((0, True), (2, False)):
        day = datetime(2021, 6, 8 if ascending else 3, tzinfo=UTC)
        meant = backscatter(classes, x, y, day, ascending, seed=4)
        for number in range(2):
            power = np.power(10, shown[first + number] / 10)
            assert power.mean() == pytest.approx(meant[number].mean(), rel=0.02)
            for one in np.flatnonzero(np.bincount(classes[inside]) > 500):
                here = inside & (classes == one)
                level = 10 * np.log10([power[here].mean(), meant[number][here].mean()])
                assert level[0] == pytest.approx(level[1], abs=0.3), f"class {one}"
    # One pass has 4.4 looks; on the ground of one class the filter leaves its roughness, of some 20 looks.
    crops = np.power(10, shown[0][classes == 5] / 10)
    assert looks_of(crops) > 12
    assert BACKSCATTER[7, 0] < BACKSCATTER[3, 0], "bare ground is darker than flooded vegetation"
    assert np.median(shown[0][classes == 7]) < np.median(shown[0][classes == 3]) - 5


def test_decibels_give_the_same_as_linear_power(radar, tmp_path):
    decibels = simulate_radar(tmp_path, [SEEN], years=(2021,), passes=1, seed=4, decibels=True)
    assert np.abs(read(decibels, JANUARY)[0] - read(radar, JANUARY)[0]).max() < 0.02


def test_windows_that_meet_show_the_same(radar):
    whole, _ = read(radar)
    part, _ = read(radar, col=COL + 100, row=ROW + 60, shape=(200, 250))
    assert np.abs(whole[:, 60:260, 100:350] - part).max() < 0.011


def test_a_grid_of_its_own_is_warped_by_the_nearest_pixel(tmp_path, radar):
    moved = Product("33UUU", col=COL, row=ROW, size=SHAPE, shift=4.0)
    shifted = simulate_radar(tmp_path, [moved], years=(2021,), passes=1, seed=4)
    there, here = read(shifted, JANUARY)[0][:, 8:-8, 8:-8], read(radar, JANUARY)[0][:, 8:-8, 8:-8]
    assert not np.isnan(there).any()
    power = np.power(10, [there.mean(axis=(1, 2)) / 10, here.mean(axis=(1, 2)) / 10])
    assert power[0] == pytest.approx(power[1], rel=0.02)


def test_a_month_without_a_pass_and_ground_beyond_a_scene_are_missing(radar):
    beyond, _ = read(radar, col=COL + 300)
    assert np.isnan(beyond[:, :, 100:]).all() and not np.isnan(beyond[:, :, :100]).any()
    never, _ = read(radar, when=datetime(2022, 6, 1, tzinfo=UTC))
    assert np.isnan(never).all()


def test_overpasses_are_averaged_and_halves_of_one_count_once(radar):
    """Two passes have twice the looks of one; the same pass given twice, as neighbours overlap, has not."""
    (june,) = (one for one in (radar.parent / "sentinel-1-rtc").glob("*202106*T17*/*.json"))
    scene = radar_from_item(json.loads(june.read_text()), str(june))
    again = scene.model_copy(update={"id": "again"})
    later = scene.model_copy(update={"id": "later", "overpass": "later"})

    def shown(*scenes):
        reader = RadarReader(scenes, ["VV_ascending"], SceneReader(), TILE.epsg, place, SHAPE)
        return reader.beside(np.ones((1, *SHAPE), np.uint16), JUNE)[0][1]

    place = TILE.transform @ Affine.translation(COL, ROW)
    assert (shown(scene, again) == shown(scene)).all()
    assert (shown(scene, later) != shown(scene)).mean() > 0.5, "less is taken for speckle where there are more looks"


def test_another_unit_than_declared_is_left_out_and_told(radar, tmp_path):
    def mislabel(item):
        if item["properties"]["sat:orbit_state"] == "ascending":
            for asset in item["assets"].values():
                asset["raster:bands"][0]["unit"] = "dB"

    shown, problems = read(edited(radar, tmp_path / "mislabelled", mislabel))
    assert np.isnan(shown[:2]).all() and not np.isnan(shown[2:]).any()
    assert len(problems) == 1 and "declared in dB" in problems[0].reason and "T173000" in problems[0].scene


def test_a_file_that_is_gone_leaves_its_scene_out(radar, tmp_path):
    def lose(item):
        if item["properties"]["sat:orbit_state"] == "descending":
            item["assets"]["vh"]["href"] += ".gone"

    shown, problems = read(edited(radar, tmp_path / "lost", lose))
    assert np.isnan(shown[2:]).all() and not np.isnan(shown[:2]).any()
    assert "iw-vh.rtc.tiff.gone" in problems[0].reason


@pytest.mark.slow
def test_chips_cut_from_scenes_carry_the_channels_of_their_month(simulated, radar, radar_network, tmp_path):
    """The same numbers as a map shows its network there."""
    labels = str(simulated.truth["33UUU", 2021])
    year = (Period.of_year(2021),)
    request = DatasetRequest(
        source=str(simulated.catalog), radar=str(radar), labels=labels, classes="landloom", periods=year, side=64,
        choice=Choice(count=4),
    )  # fmt: skip
    store = open_store(str(tmp_path))
    report = make_training_set(request.chip_source(store), store, "with-radar")
    assert report.written == 4
    made, chips = open_training_set(store)
    assert made.bands == (*BANDS, *RADAR_CHANNELS) and len(chips) == 4
    for chip in chips:
        col, row = (round(one) for one in ~TILE.transform @ (chip.transform[2], chip.transform[5]))
        shown, _ = read(radar, chip.date, col, row, (64, 64))
        found = decode(read_pixels(store, chip).image[len(BANDS) :])
        assert np.array_equal(np.isnan(found), np.isnan(shown)) and not np.isnan(found).all()
        assert np.nanmax(np.abs(found - shown)) < 0.011
    with pytest.raises(BadInput, match="spectral-radar has the radar channels"):
        area = area_of_tiles("33UUU")
        DatasetRequest(
            source=str(simulated.catalog), teacher=str(radar_network), area=area, periods=year, side=64
        ).chip_source(open_store(str(tmp_path / "taught")))


# The whole way


AREA = ("--tiles", "33UUU", "--year", "2021")


def item_of(out):
    return json.loads((out / "lulc-annual/33UUU/2021/33UUU-2021.json").read_text())


def classes_of(out):
    item = out / "lulc-annual/33UUU/2021/33UUU-2021.json"
    with rasterio.open(item.parent / item_of(out)["assets"]["data"]["href"]) as source:
        return source.read(1)


@pytest.fixture(scope="module")
def mapped(simulated, radar, radar_network, tmp_path_factory):
    """With radar, and the same network without."""
    with_radar, without = (tmp_path_factory.mktemp(name) for name in ("with", "without"))
    map_tiles(simulated.catalog, with_radar, radar_network, radar=radar)
    map_tiles(simulated.catalog, without, radar_network)
    return with_radar, without


@pytest.mark.slow
def test_a_map_with_radar_tells_its_scenes(mapped):
    item = item_of(mapped[0])
    told = item["properties"]["landloom:radar"]
    # Three optical looks in three months, a pass of each orbit direction in each.
    assert (told["scenes"], len(told["months"]), told["channels"]) == (6, 3, list(RADAR_CHANNELS))
    assert item["properties"]["constellation"] == "sentinel-2, sentinel-1"
    assert item["properties"]["instruments"] == ["msi", "c-sar"]
    sources = [link["title"] for link in item["links"] if link["rel"] == "derived_from"]
    assert sum(name.startswith("S1A") for name in sources) == 6 and sum(name.startswith("S2A") for name in sources) == 3
    (manifest,) = mapped[0].glob("lulc-annual/33UUU/2021/*/manifest.json")
    excluded = json.loads(manifest.read_text())["excluded"]
    assert {one["reason"] for one in excluded} == {"in a month without an optical look"}


@pytest.mark.slow
def test_without_radar_the_same_network_maps_and_the_item_says_so(mapped):
    properties = item_of(mapped[1])["properties"]
    assert properties["landloom:radar"]["scenes"] == 0 and "did without radar" in properties["landloom:radar"]["note"]
    assert properties["constellation"] == "sentinel-2" and properties["instruments"] == ["msi"]
    assert (classes_of(mapped[0]) != classes_of(mapped[1])).any(), "radar decides some pixels"


def test_a_network_without_radar_channels_refuses_radar(command, simulated, network, radar, tmp_path):
    common = ("--source", simulated.catalog, *AREA, "--model", network, "--radar", radar)
    for line in (("map", *common, "--out", tmp_path), ("estimate", *common)):
        code, _, told = command(*line)
        assert code == 2 and "Network spectral has no radar channels" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_tile_year_none_of_whose_radar_can_be_used_is_not_published(simulated, radar, radar_network, tmp_path):
    def mislabel(item):
        for asset in item["assets"].values():
            asset["raster:bands"][0]["unit"] = "dB"

    wrong = edited(radar, tmp_path / "wrong", mislabel)
    accounts = map_tiles(simulated.catalog, tmp_path / "out", radar_network, radar=wrong)
    (reason,) = accounts.dead_lettered.values()
    assert "none of 6 radar scenes can be used" in reason and "declared in dB" in reason
    assert not list((tmp_path / "out").glob("lulc-annual/33UUU/2021/33UUU-2021.json"))


def test_optical_scenes_given_as_radar_are_refused(command, simulated, radar_network, tmp_path):
    code, _, told = command(
        "map", "--source", simulated.catalog, *AREA, "--model", radar_network, "--radar", simulated.catalog,
        "--out", tmp_path,
    )  # fmt: skip
    assert code == 2 and "lacks VV or VH" in told
