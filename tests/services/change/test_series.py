from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine

from catalog.errors import BadInput
from services.change import blocks
from services.change.blocks import MapUnreadable, opened
from services.change.series import Series, open_series
from tests.catalog.tile_years import publish_all
from tests.servers.catalog import serve_catalog
from tests.services.change.maps import CLOUDS, CROPS, NINE, TREES, UTM, WATER, write_collection, write_map, write_years


def codes_of(series: Series, number: int = 0, margin: int = 0) -> np.ndarray:
    """Class numbers of a place, `[years, H, W]`, put together from its blocks; 99 where there is none."""
    with opened(series, series.places[number]) as place:
        whole = np.full((len(series.years), *place.shape), 99, np.uint8)
        for block in place.blocks(margin):
            inner = block.codes[:, margin : block.codes.shape[1] - margin, margin : block.codes.shape[2] - margin]
            whole[:, block.rows, block.cols] = inner if block.inside is None else np.where(block.inside, inner, 99)
    return whole


def test_years_come_as_class_numbers_on_one_grid(tmp_path: Path) -> None:
    first = np.array([[WATER, TREES], [CROPS, 0]])
    series = open_series(write_years(tmp_path, first, np.full((2, 2), CLOUDS)))
    assert series.years == (2017, 2018)
    assert series.legend.names[:4] == ("water", "trees", "flooded_vegetation", "crops")
    assert "clouds" not in series.legend.names
    np.testing.assert_array_equal(codes_of(series), [[[1, 2], [4, 0]], [[0, 0], [0, 0]]])


def test_blocks_tile_a_map_and_margins_show_the_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 32)
    random = np.random.default_rng(1)
    maps = [random.choice([0, WATER, TREES, CROPS], (70, 100)) for _ in range(3)]
    series = open_series(write_years(tmp_path, *maps))
    numbers = series.legend.numbers()
    np.testing.assert_array_equal(codes_of(series, margin=2), numbers[np.stack(maps)])
    with opened(series, series.places[0]) as place:
        padded = np.pad(numbers[np.stack(maps)], ((0, 0), (2, 2), (2, 2)))
        for block in place.blocks(margin=2):
            around = padded[:, block.rows.start : block.rows.stop + 4, block.cols.start : block.cols.stop + 4]
            np.testing.assert_array_equal(block.codes, around)


def test_maps_of_another_extent_on_the_same_lattice_are_laid_side_by_side(tmp_path: Path) -> None:
    write_map(tmp_path, np.full((3, 3), TREES, np.uint8), 2017)
    write_map(tmp_path, np.full((3, 3), CROPS, np.uint8), 2018, transform=UTM @ Affine.translation(1, -1))
    found = codes_of(open_series(write_collection(tmp_path)))
    # Two corners lie on neither map's ground.
    np.testing.assert_array_equal(found[0], [[99, 0, 0, 0], [2, 2, 2, 0], [2, 2, 2, 0], [2, 2, 2, 99]])
    np.testing.assert_array_equal(found[1], [[99, 4, 4, 4], [0, 4, 4, 4], [0, 4, 4, 4], [0, 0, 0, 99]])


def test_an_area_of_interest_takes_the_pixels_whose_centres_it_holds(tmp_path: Path) -> None:
    path = write_years(tmp_path, *[np.full((100, 100), TREES)] * 2)
    west, south, east, north = open_series(path).places[0].geometry.bounds
    middle, quarter = (west + east) / 2, (north - south) / 4
    series = open_series(path, geometry=shapely.box(west, south + quarter, middle, north + 1))
    with opened(series, series.places[0]) as place:
        assert place.shape[0] in (75, 76) and place.shape[1] in (50, 51)
    found = codes_of(series)[0]
    assert (found == 2).sum() == pytest.approx(75 * 50, abs=130)
    assert not (found[:, 55:] == 2).any()


def test_places_are_not_mixed_and_one_without_a_year_is_reported(tmp_path: Path) -> None:
    for year in (2017, 2018):
        write_map(tmp_path, np.full((3, 3), TREES, np.uint8), year)
    write_map(tmp_path, np.full((3, 3), CROPS, np.uint8), 2017, place="33UWU", transform=UTM @ Affine.translation(9, 0))
    series = open_series(write_collection(tmp_path))
    assert [place.name for place in series.places] == ["33UVU"]
    assert series.excluded == {"33UWU": "no map of 2018"}
    with pytest.raises(BadInput, match=r"No place .* 33UVU: no map of 2016"):
        write_map(tmp_path, np.full((3, 3), 5, np.uint8), 2016, place="33UXU", transform=UTM @ Affine.translation(9, 9))
        open_series(write_collection(tmp_path))


def test_versions_that_differ_between_years_are_told(tmp_path: Path) -> None:
    for year, version in ((2020, "1.0.0"), (2021, "2.0.0")):
        properties = {"esa_worldcover:product_version": version}
        write_map(tmp_path, np.full((3, 3), TREES, np.uint8), year, **properties)
    (note,) = open_series(write_collection(tmp_path)).notes
    assert "2020 1.0.0, 2021 2.0.0" in note and "change of method" in note


def test_places_that_overlap_are_told(tmp_path: Path) -> None:
    for place, moved in (("33UVU", 0), ("33UWU", 50)):
        for year in (2017, 2018):
            codes = np.full((100, 100), TREES, np.uint8)
            write_map(tmp_path, codes, year, place=place, transform=UTM @ Affine.translation(moved, 0))
    (note,) = open_series(write_collection(tmp_path)).notes
    assert "33UVU and 33UWU overlap in 50 ha" in note


def test_the_output_of_map_is_a_series(tmp_path: Path) -> None:
    publish_all(tmp_path / "out", ("33UUU", 2020), ("33UUU", 2021), ("48QUE", 2020), folder=tmp_path, size=300)
    series = open_series(str(tmp_path / "out"))
    assert (series.years, [place.name for place in series.places]) == ((2020, 2021), ["33UUU"])
    assert series.excluded == {"48QUE": "no map of 2021"}


def test_a_list_of_items_and_the_older_form_of_classes(tmp_path: Path) -> None:
    items = []
    for year in (2017, 2018):
        path = write_map(tmp_path, np.full((3, 3), CROPS, np.uint8), year)
        item = json.loads(path.read_text())
        item["links"] = [{"rel": "self", "href": str(path)}]
        item["assets"]["data"]["file:values"] = [
            {"values": [0], "summary": "No Data"},
            {"values": [5], "summary": "Crops"},
        ]
        del item["assets"]["data"]["classification:classes"]
        items.append(item)
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    series = open_series(str(tmp_path / "items.json"))
    assert series.legend.names == ("crops",)
    assert (codes_of(series) == 1).all()


def test_a_file_that_is_gone_is_told_by_its_item(tmp_path: Path) -> None:
    series = open_series(write_years(tmp_path, [[TREES]], [[TREES]]))
    (tmp_path / "33UVU-2018" / "map.tif").unlink()
    with pytest.raises(MapUnreadable, match="33UVU-2018 cannot be opened"), opened(series, series.places[0]):
        pass


def test_bad_series_are_refused(tmp_path: Path) -> None:
    path = write_years(tmp_path / "a", [[TREES]], [[TREES]])
    with pytest.raises(BadInput, match=r"no map of 2001 .* It has 2017, 2018"):
        open_series(path, [2001, 2017])
    with pytest.raises(BadInput, match="maps of 2017 alone"):
        open_series(path, [2017])
    with pytest.raises(BadInput, match=r"No map .* lies in the area of interest"):
        open_series(path, geometry=shapely.box(100, 0, 101, 1))
    with pytest.raises(BadInput, match="There is no"):
        open_series(str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match="no asset 'map'"):
        open_series(path, asset="map")
    other = [{**one, "name": "forest"} if one["value"] == TREES else one for one in NINE]
    write_map(tmp_path / "a", np.full((1, 1), TREES, np.uint8), 2019, classes=other)
    with pytest.raises(BadInput, match="Value 2 is 'trees' in 33UVU-2017 and 'forest' in 33UVU-2019"):
        open_series(write_collection(tmp_path / "a"))
    moved = write_years(tmp_path / "b", [[TREES]], first=2017)
    write_map(tmp_path / "b", np.full((1, 1), TREES, np.uint8), 2018, transform=UTM @ Affine.translation(0.5, 0))
    series = open_series(write_collection(Path(moved).parent))
    with (
        pytest.raises(BadInput, match="33UVU-2018 lies on another grid than 33UVU-2017"),
        opened(series, series.places[0]),
    ):
        pass
    write_map(tmp_path / "b", np.full((1, 1), TREES, np.uint8), 2018, place="33UVU")
    twice = json.loads((tmp_path / "b/33UVU-2018/33UVU-2018.json").read_text())
    (tmp_path / "b/33UVU-2018/again.json").write_text(json.dumps({**twice, "id": "again"}))
    with pytest.raises(BadInput, match="both map 33UVU in 2018"):
        open_series(write_collection(tmp_path / "b"))


def test_a_value_outside_the_legend_is_refused(tmp_path: Path) -> None:
    series = open_series(write_years(tmp_path, [[TREES, 99]], [[TREES, TREES]]))
    with pytest.raises(BadInput, match="33UVU-2017 holds the value 99"):
        codes_of(series)


@pytest.mark.slow
def test_maps_are_found_through_a_stac_api_and_read_over_http(tmp_path: Path) -> None:
    publish_all(tmp_path / "out", ("33UUU", 2020), ("33UUU", 2021), ("48QUE", 2021), folder=tmp_path, size=300)
    here = open_series(str(tmp_path / "out"))
    with serve_catalog(str(tmp_path / "out")) as url:
        with pytest.raises(BadInput, match="say which of its collections by --collection"):
            open_series(url)
        series = open_series(url, [2020, 2021], here.places[0].geometry, collection="lulc-annual")
        assert [one.id for one in series.places[0].maps] == ["33UUU-2020", "33UUU-2021"]
        assert series.places[0].maps[0].href.startswith("http") and not series.excluded
        np.testing.assert_array_equal(codes_of(series)[:, :299, :299], codes_of(here)[:, :299, :299])
        with pytest.raises(BadInput, match="has no map of lulc-annual for 1999"):
            open_series(url, [1999], collection="lulc-annual")
