"""Items of Landsat and HLS, in the forms that Planetary Computer and NASA give them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from shapely.geometry import shape

from catalog.datatakes import group_datatakes
from catalog.errors import SceneUnreadable
from catalog.quality import as_classification
from catalog.scenes import BANDS, AssetNames, Scene, scene_from_item
from catalog.sources import StacApi, open_source
from tests.servers.http import serve

SQUARE = {"type": "Polygon", "coordinates": [[[12, 52], [13, 52], [13, 53], [12, 53], [12, 52]]]}
BESIDE = {"type": "Polygon", "coordinates": [[[12, 51], [13, 51], [13, 52.1], [12, 52.1], [12, 51]]]}
RASTER = {"nodata": 0, "data_type": "uint16", "scale": 2.75e-05, "offset": -0.2}


def landsat(name: str = "LE07_L2SP_193023_20100109_02_T1", geometry: Any = SQUARE, **properties: Any) -> dict[str, Any]:
    """As Planetary Computer has them; `stated=False` as USGS has them, without raster:bands."""
    stated = properties.pop("stated", True)
    bands = ("blue", "green", "red", "nir08", "swir16", "swir22")
    assets = {one: {"href": f"./{one}.TIF"} | ({"raster:bands": [RASTER]} if stated else {}) for one in bands}
    # The surface temperature's and its own quality, which are none of the six.
    assets |= {"qa": {"href": "./ST_QA.TIF"}, "lwir": {"href": "./ST_B6.TIF"}, "qa_pixel": {"href": "./QA_PIXEL.TIF"}}
    return {
        "type": "Feature",
        "id": name,
        "collection": "landsat-c2-l2",
        "geometry": geometry,
        "assets": assets,
        "properties": {
            "datetime": "2010-01-09T09:53:46Z",
            "created": "2022-03-09T15:13:21Z",
            "platform": "landsat-7",
            "instruments": ["etm"],
            "eo:cloud_cover": 8.0,
            "view:sun_elevation": 21.4,
            "landsat:wrs_path": "193",
            "landsat:wrs_row": "023",
            "landsat:correction": "L2SP",
            **properties,
        },
    }


def hls(kind: str, name: str = "", tile: str = "33UUU") -> dict[str, Any]:
    """HLS of one tile: every file that its items list, also those that other sensors call otherwise."""
    numbers = ["01", "02", "03", "04", "05", "06", "07", "09", "10", "11"]
    numbers += ["08", "8A", "12"] if kind == "S30" else []
    return {
        "type": "Feature",
        "id": name or f"HLS.{kind}.T{tile}.2023165T100559.v2.0",
        "collection": f"hls2-{kind.lower()}",
        "geometry": SQUARE,
        "assets": {one: {"href": f"./{one}.tif"} for one in [*(f"B{one}" for one in numbers), "Fmask"]},
        "properties": {
            "datetime": "2023-06-14T10:05:59Z",
            "platform": "sentinel-2a" if kind == "S30" else "landsat-8",
            "eo:cloud_cover": 12,
        },
    }


def scene_of(item: dict[str, Any]) -> Scene:
    return scene_from_item(item, f"https://example.com/{item['id']}/item.json", AssetNames())


def files(scene: Scene) -> list[str]:
    return [scene.bands[band].href.rpartition("/")[2] for band in BANDS]


@pytest.mark.parametrize("stated", [True, False])
def test_landsats_bands_are_found_by_their_common_names_and_scaled(stated):
    scene = scene_of(landsat(stated=stated))
    assert files(scene) == ["blue.TIF", "green.TIF", "red.TIF", "nir08.TIF", "swir16.TIF", "swir22.TIF"]
    raster = scene.bands["B08"]
    assert (raster.scale, raster.offset, raster.nodata) == (2.75e-05, -0.2, 0)
    assert scene.scl and scene.scl.href.endswith("/QA_PIXEL.TIF")
    assert (scene.sensor, scene.platform, scene.instruments, scene.gsd) == ("landsat", "landsat-7", ("etm",), 30)
    assert scene.sun_zenith == pytest.approx(68.6)


def test_the_narrow_infrared_of_hls_is_taken_and_no_thermal_band():
    assert files(scene_of(hls("L30"))) == ["B02.tif", "B03.tif", "B04.tif", "B05.tif", "B06.tif", "B07.tif"]
    assert files(scene_of(hls("S30"))) == ["B02.tif", "B03.tif", "B04.tif", "B8A.tif", "B11.tif", "B12.tif"]
    raster = scene_of(hls("L30")).bands["B04"]
    assert (raster.scale, raster.offset, raster.nodata) == (1e-4, 0, -9999)
    assert scene_of(hls("S30")).tile == "33UUU"


def test_an_api_is_asked_for_the_files_of_the_sensors_that_it_has(tmp_path):
    """Of one that is not said to have pixels of 30 m whole items are read, where Sentinel-2's files do not do."""
    items = [landsat(), landsat("LT05_L2SP_193023_20100117_02_T1", datetime="2010-01-17T09:53:00Z")]
    for one in items:
        (tmp_path / f"{one['id']}.json").write_text(json.dumps({**one, "links": [], "bbox": [12, 52, 13, 53]}))
    links = [{"rel": "item", "href": f"./{one['id']}.json"} for one in items]
    catalog = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    year = (datetime(2010, 1, 1, tzinfo=UTC), datetime(2010, 12, 31, tzinfo=UTC))
    with serve(tmp_path) as server:
        url = f"{server.url}/stac"
        for told, searches in (({"gsd": 30}, 1), ({}, 2)):
            before, described = len(server.log()), StacApi(url=url, collections=("landsat-c2-l2",), **told)
            found = open_source(url, described).search(shape(SQUARE), *year)
            assert [one.sensor for one in found.scenes] == ["landsat", "landsat"] and not found.excluded
            asked = [entry for entry in server.log()[before:] if entry["path"] == "/stac/search"]
            assert len(asked) == searches


def test_rows_of_one_path_and_day_are_one_datatake():
    rows = [landsat(), landsat("LE07_L2SP_193024_20100109_02_T1", BESIDE, **{"landsat:wrs_row": "024"})]
    others = [
        landsat("LE07_L2SP_192023_20100118_02_T1", datetime="2010-01-18T09:47:00Z", **{"landsat:wrs_path": "192"}),
        landsat("LT05_L2SP_193023_20100117_02_T1", datetime="2010-01-17T09:53:00Z", platform="landsat-5"),
    ]
    datatakes, excluded = group_datatakes([scene_of(one) for one in (*rows, *others)], "33UUU", 30)
    assert [(one.id, len(one.scenes)) for one in datatakes] == [
        ("landsat-7_20100109_P193", 2),
        ("landsat-5_20100117_P193", 1),
        ("landsat-7_20100118_P192", 1),
    ]
    assert not excluded


def test_scenes_of_larger_pixels_are_left_out_with_the_reason():
    datatakes, excluded = group_datatakes([scene_of(landsat()), scene_of(hls("S30"))], "33UUU")
    assert not datatakes
    assert {one.reason for one in excluded} == {"pixels of 30 m, larger than 10 m"}


def test_a_scene_that_was_processed_twice_counts_once():
    again = landsat("LE07_L2SP_193023_20100109_02_RT", created="2010-01-10T00:00:00Z")
    datatakes, excluded = group_datatakes([scene_of(again), scene_of(landsat())], "33UUU", 30)
    assert [one.id for one in datatakes[0].scenes] == ["LE07_L2SP_193023_20100109_02_T1"]
    assert excluded[0].reason == "older processing of the same data"


def test_tiles_of_one_overpass_of_hls_are_one_datatake():
    later = hls("L30", "HLS.L30.T33UVU.2023165T100623.v2.0")
    satellites = [hls("S30"), hls("S30", tile="33UVU"), hls("L30"), later]
    datatakes, _ = group_datatakes([scene_of(one) for one in satellites], "33UUU", 30)
    assert sorted((one.id, len(one.scenes)) for one in datatakes) == [
        ("hls-l30_landsat-8_20230614", 2),
        ("hls-s30_2023165T100559", 2),
    ]


def test_what_is_no_surface_reflectance_or_tells_no_clouds_is_left_out():
    level_1 = landsat("LE07_L1TP_193023_20100109_02_T1", **{"landsat:correction": "L1TP"})
    with pytest.raises(SceneUnreadable, match="level L1TP"):
        scene_of(level_1)
    blind = landsat()
    del blind["assets"]["qa_pixel"]
    with pytest.raises(SceneUnreadable, match="without qa_pixel"):
        scene_of(blind)
    old = landsat()
    del old["assets"]["swir22"]
    with pytest.raises(SceneUnreadable, match="without band B12"):
        scene_of(old)
    with pytest.raises(SceneUnreadable, match="without band B05"):
        scene_from_item(landsat(), "item.json", AssetNames(), bands=("B04", "B05"))


def test_qa_pixel_is_told_in_the_values_of_the_scene_classification():
    told = {
        21824: 7,  # Landsat 8: clear
        5440: 7,  # Landsat 5: clear
        21952: 6,  # water
        22280: 9,  # cloud
        21826: 3,  # dilated cloud
        54596: 10,  # cirrus
        23888: 3,  # shadow
        30048: 11,  # snow
        1: 0,  # fill
    }
    found = as_classification(np.array([list(told)], np.uint16), "landsat")
    assert found.tolist() == [list(told.values())]


def test_fmask_is_told_likewise_whatever_it_says_of_the_aerosol():
    told = {64: 7, 192: 7, 66: 9, 4: 3, 8: 3, 16: 11, 32: 6, 255: 0}
    found = as_classification(np.array([list(told)], np.uint8), "hls-l30")
    assert found.tolist() == [list(told.values())]


def test_flags_of_another_kind_are_refused():
    with pytest.raises(SceneUnreadable, match="QA_PIXEL holds 4"):
        as_classification(np.array([[21824, 4]], np.uint16), "landsat")
    with pytest.raises(SceneUnreadable, match="uint8, not uint16"):
        as_classification(np.array([[4]], np.uint8), "landsat")
