"""Radar scenes: read from items of Planetary Computer's form, calibrated, chosen; another unit is found out."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from catalog.errors import BadInput, SceneUnreadable
from catalog.manifest import Manifest
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.radar import bands_apart, decode, encode, gamma0_of, radar_from_item
from catalog.radar_source import choose_radar, open_radar, search_radar
from catalog.scenes import BANDS
from tests.catalog.tile_years import manifest_of
from tests.pipelines.items import ground, write_items


def radar_item(day: str = "2021-06-03", orbit: str = "ascending", track: int = 44, turn: int = 38100, **raster):
    """An item as `sentinel-1-rtc` has it; other fields of its bands by keyword."""
    outline = ground("33UUU")
    band = {"nodata": -32768, "data_type": "float32", "spatial_resolution": 10.0, **raster}
    name = f"S1A_IW_GRDH_1SDV_{day.replace('-', '')}T170000_{turn:06d}_rtc"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-1-rtc",
        "geometry": outline.__geo_interface__,
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": f"{day}T17:00:00Z",
            "platform": "SENTINEL-1A",
            "sar:frequency_band": "C",
            "sar:polarizations": ["VV", "VH"],
            "sar:looks_equivalent_number": 4.4,
            "sat:orbit_state": orbit,
            "sat:absolute_orbit": turn,
            "sat:relative_orbit": track,
        },
        "links": [],
        "assets": {
            name: {"href": f"./iw-{name}.rtc.tiff", "roles": ["data"], "raster:bands": [band]} for name in ("vh", "vv")
        },
    }


def scene_of(**told):
    return radar_from_item(radar_item(**told), "https://example.com/one/item.json")


def test_an_item_tells_orbit_looks_and_unit():
    scene = scene_of()
    assert (scene.orbit, scene.track, scene.looks, scene.decibels) == ("ascending", 44, 4.4, False)
    assert scene.overpass == "SENTINEL-1A_38100" and scene.month == (2021, 6)
    assert scene.bands["VV"].href == "https://example.com/one/iw-vv.rtc.tiff"
    assert list(scene.bands) == ["VV", "VH"] and scene.bands["VH"].nodata == -32768
    assert scene_of(unit="dB").decibels and not scene_of(unit="linear power").decibels


def without(*path):
    def change(item):
        for key in path[:-1]:
            item = item[key]
        del item[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("assets", "vh"), "without polarisation VH"),
        (without("properties", "sat:orbit_state"), "without an orbit direction"),
        (lambda item: item["properties"].update({"sar:frequency_band": "L"}), "frequency band L"),
        (lambda item: item["assets"]["vv"]["raster:bands"][0].update(unit="amplitude"), "in the unit amplitude"),
        (lambda item: item["properties"].update({"datetime": None}), "without a date"),
    ],
)
def test_what_is_no_radar_scene_is_named(change, told):
    item = copy.deepcopy(radar_item())
    change(item)
    with pytest.raises(SceneUnreadable, match=told):
        radar_from_item(item, "item.json")


def numbers(power: np.ndarray) -> list[np.ndarray]:
    return [power.astype(np.float32), power.astype(np.float32) / 4]


def test_linear_power_and_decibels_give_the_same_gamma0():
    power = np.random.default_rng(0).gamma(4.4, 0.1 / 4.4, (64, 64)).astype(np.float32)
    power[:8] = -32768
    decibels = [np.where(one == one.min(), -32768, 10 * np.log10(np.maximum(one, 1e-9))) for one in numbers(power)]
    decibels[1][:8] = -32768
    linear = numbers(power)
    linear[1][:8] = -32768
    for one, other in zip(gamma0_of(scene_of(), linear), gamma0_of(scene_of(unit="dB"), decibels), strict=True):
        assert (one[:8] == 0).all() and (other[:8] == 0).all()
        assert np.allclose(one, other, rtol=1e-5) and one.dtype == np.float32


def test_fringes_of_zeros_and_numbers_that_are_none_are_no_data():
    power = np.full((64, 64), 0.1, np.float32)
    power[:4], power[4:6] = 0, np.nan
    first, _ = gamma0_of(scene_of(), numbers(power))
    assert (first[:6] == 0).all() and (first[6:] > 0).all()


def test_whole_numbers_with_scale_and_offset_are_decibels_too():
    stored = np.full((8, 8), 3000, np.uint16)
    first, _ = gamma0_of(scene_of(unit="dB", scale=0.01, offset=-40.0, nodata=0), [stored, stored])
    assert np.allclose(first, 0.1)


@pytest.mark.parametrize(
    ("unit", "level", "told"),
    [
        ("dB", lambda power: power, r"declared in dB, but its numbers \(0\.00\d+ to 0\.2\d+\) are mostly above 0"),
        ("", lambda power: 10 * np.log10(power), r"declared in linear power.*-2\d.* mostly below 0.*unit \"dB\""),
        ("", lambda power: 2000 * np.sqrt(power), "no gamma0: give a product that is calibrated"),
    ],
)
def test_numbers_of_another_unit_than_declared_are_found_out(unit, level, told):
    power = np.random.default_rng(0).gamma(4.4, 0.1 / 4.4, (64, 64))
    shown = [level(power).astype(np.float32), level(power / 5).astype(np.float32)]
    with pytest.raises(SceneUnreadable, match=told):
        gamma0_of(scene_of(unit=unit), shown)


def test_channels_keep_a_hundredth_of_a_decibel_and_tell_what_is_missing():
    decibels = np.linspace(-49, 20, 700)
    shown = encode(np.power(10, decibels / 10).astype(np.float32))
    assert shown.dtype == np.uint16 and np.abs(decode(shown) - decibels).max() < 0.01
    assert encode(np.zeros(3, np.float32)).tolist() == [0, 0, 0] and np.isnan(decode(np.zeros(1, np.uint16))[0])
    assert encode(np.array([1e-9], np.float32)).tolist() == [1], "the darkest is not missing"


def test_a_network_names_light_first_and_radar_after_it():
    assert bands_apart((*BANDS, "VV_ascending")) == (BANDS, ("VV_ascending",))
    for bands in (("VV_ascending", *BANDS), ("VV_ascending",)):
        with pytest.raises(BadInput, match="Sentinel-2 first"):
            bands_apart(bands)
    spec = ModelSpec(id="any", version="1", bands=(*BANDS, "VH_descending"), classes=MODEL_CLASSES, stride=8, halo=8)
    assert (spec.optical.bands, spec.radar) == (BANDS, ("VH_descending",))


def test_of_each_track_and_month_two_overpasses_are_taken_with_both_halves():
    days = [f"2021-06-{day:02d}" for day in (2, 8, 14, 20)]
    items = [radar_item(day, turn=38000 + k) for k, day in enumerate(days)]
    half = radar_item(days[0], turn=38000)
    half["id"] += "_south"
    items += [half, radar_item("2021-06-05", orbit="descending", turn=1), radar_item("2021-07-05", turn=2)]
    items += [radar_item("2021-06-09", track=146, turn=3)]
    scenes = sorted((radar_from_item(one, "item.json") for one in items), key=lambda one: one.datetime)
    chosen, left_out = choose_radar(scenes, {(2021, 6)}, ["VV_ascending", "VH_ascending"])
    assert sorted(one.overpass for one in chosen) == [f"SENTINEL-1A_{turn}" for turn in (3, 38000, 38000, 38003)]
    assert sorted(one.reason for one in left_out) == [
        "beyond 2 overpasses of its track in a month",
        "beyond 2 overpasses of its track in a month",
        "in a month without an optical look",
        "seen on a descending orbit, while the network takes ascending",
    ]


def test_a_search_tells_scenes_from_what_is_none(tmp_path):
    other = radar_item(turn=5)
    del other["assets"]["vh"]
    catalog = write_items(tmp_path, [radar_item(), radar_item("2021-09-03", turn=6), other])
    scenes, excluded = search_radar(open_radar(str(catalog)), ground("33UUU"), {(2021, 5), (2021, 6)})
    assert [f"{one.datetime:%m-%d}" for one in scenes] == ["06-03"]
    assert [one.reason for one in excluded] == ["without polarisation VH"]


def test_a_source_without_the_polarisations_is_refused(tmp_path):
    item = radar_item()
    item["assets"] = {"hh": item["assets"]["vv"], "hv": item["assets"]["vh"]}
    source = open_radar(str(write_items(tmp_path, [item])))
    with pytest.raises(BadInput, match="lacks VV or VH"):
        search_radar(source, ground("33UUU"), {(2021, 6)})
    with pytest.raises(BadInput, match="'earth-search' has no terrain-corrected Sentinel-1"):
        open_radar("earth-search")


def test_maps_without_radar_keep_their_fingerprint_and_radar_changes_it():
    plain = manifest_of()
    assert (plain.fingerprint, plain.recipe) == ("0600376a2089d025", "dfdf11c42152a070")
    seen = Manifest.model_validate({**plain.model_dump(), "radar": [scene_of().model_dump()]})
    assert Manifest.model_validate_json(seen.to_json()).fingerprint == seen.fingerprint != plain.fingerprint
