from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from catalog.errors import BadInput
from services.change import blocks, zone_counts
from services.change.ground_area import pixel_areas
from services.change.series import open_series
from services.change.source_accuracy import SourceAccuracy
from services.change.uncertainty import Uncertainty
from services.change.zonal import Zonal, count_zones
from services.change.zonal_tables import Ratio, relative_change, zonal_tables
from services.change.zones import Zones, read_zones
from tests.services.change.maps import (
    CLOUDS,
    CROPS,
    RANGELAND,
    TREES,
    UTM,
    WATER,
    write_collection,
    write_map,
    write_years,
)

KNOWN = Uncertainty((2017, 2018), (SourceAccuracy(overall=0.85, origin="made up"),) * 2)
CODES = np.array([0, WATER, TREES, CROPS, CLOUDS, RANGELAND], np.uint8)
LEFT, TOP = UTM.c, UTM.f
NUMBER = {"water": 1, "trees": 2, "crops": 4, "rangeland": 8}
"""Of classes in the legend without clouds."""


def zones_of(folder: Path, *shapes: shapely.Geometry, crs: str = "EPSG:32633", **columns: list) -> Zones:
    """Zones drawn in metres from the map's upper left corner, y downwards; `None` for none."""
    drawn = [
        None if one is None else shapely.transform(one, lambda xy: np.column_stack([LEFT + xy[:, 0], TOP - xy[:, 1]]))
        for one in shapes
    ]
    frame = geopandas.GeoDataFrame(columns or {"id": range(len(shapes))}, geometry=drawn, crs="EPSG:32633").to_crs(crs)
    frame.to_parquet(folder / "zones.parquet")
    return read_zones(folder / "zones.parquet")


@pytest.fixture(scope="module")
def random_maps() -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [random.choice(CODES, (60, 80), p=[0.05, 0.15, 0.3, 0.25, 0.05, 0.2]) for _ in range(3)]


def brute_force(maps: list[np.ndarray], shape: shapely.Geometry) -> np.ndarray:
    """Hectares of each code in each year, `[years, 256]`, by intersecting every pixel's square with a zone."""
    rows, cols = np.indices(maps[0].shape)
    squares = shapely.box(cols * 10, rows * 10, cols * 10 + 10, rows * 10 + 10)
    share = shapely.area(shapely.intersection(squares, shape)) / 100
    areas = share * pixel_areas("EPSG:32633", UTM, slice(0, rows.shape[0]), slice(0, rows.shape[1]))
    return np.stack([np.bincount(codes.ravel(), areas.ravel(), 256) for codes in maps])


BLOB = shapely.Point(333, 255).buffer(171).difference(shapely.Point(300, 240).buffer(60))


@pytest.mark.parametrize(("block", "pixels", "table"), [(2048, 1 << 17, 1 << 22), (16, 1 << 17, 0), (30, 100, 1 << 22)])
def test_border_pixels_count_by_the_share_that_lies_inside(
    tmp_path: Path,
    random_maps: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    block: int,
    pixels: int,
    table: int,
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    monkeypatch.setattr(zone_counts, "_PIXELS", pixels)
    monkeypatch.setattr(zone_counts, "_TABLE", table)
    monkeypatch.setattr(zone_counts, "_WAITING", table)
    series = open_series(write_years(tmp_path, *random_maps))
    shapes = (BLOB, shapely.box(3, 4, 17, 22), shapely.Point(410, 300).buffer(150), shapely.box(0, 0, 800, 600))
    found = count_zones(series, zones_of(tmp_path, *shapes))
    for zone, shape in enumerate(shapes):
        expected = brute_force(random_maps, shape)
        for name, code in (("water", WATER), ("trees", TREES), ("crops", CROPS), ("rangeland", RANGELAND)):
            np.testing.assert_allclose(found.areas[zone, :, NUMBER[name]], expected[:, code], rtol=2e-5, atol=1e-7)
        hidden = expected[:, 0] + expected[:, CLOUDS]
        np.testing.assert_allclose(found.areas[zone, :, 0], hidden, rtol=2e-5, atol=1e-7)
        matrix = found.transitions(zone)
        np.testing.assert_allclose(matrix.sum(axis=1), found.areas[zone, 0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(matrix.sum(axis=0), found.areas[zone, -1], rtol=1e-9, atol=1e-12)


def test_zones_count_as_exactextract_counts_them(tmp_path: Path, random_maps: list[np.ndarray]) -> None:
    random = np.random.default_rng(6)
    stars = [shapely.Polygon(random.random((9, 2)) * [900, 700] - 50).buffer(0) for _ in range(20)]
    apart = shapely.MultiPolygon([shapely.box(-100, 95, 60, 205), shapely.Point(500, 500).buffer(90)])
    zones = zones_of(tmp_path, *stars, BLOB, apart, shapely.box(-500, -500, 2000, 2000), shapely.box(11, 12, 13, 17))
    found = count_zones(open_series(write_years(tmp_path, *random_maps)), zones)
    rows, cols = random_maps[0].shape
    bounds = (LEFT, TOP - 10 * rows, LEFT + 10 * cols, TOP)
    raster = NumPyRasterSource(random_maps[0], *bounds, srs_wkt=pyproj.CRS(32633).to_wkt())
    shapes = zones.frame.set_geometry(zones.frame.segmentize(0.005)).to_crs("EPSG:32633")
    table = exact_extract(raster, shapes, ["cell_id", "coverage"], output="pandas")
    areas = pixel_areas("EPSG:32633", UTM, slice(0, rows), slice(0, cols)).ravel()
    number = np.zeros(256, int)
    number[[WATER, TREES, CROPS, RANGELAND]] = [NUMBER[one] for one in ("water", "trees", "crops", "rangeland")]
    side = found.areas.shape[-1]
    for zone, (cells, coverage) in enumerate(zip(table["cell_id"], table["coverage"], strict=True)):
        years = [number[codes.ravel()[cells]] for codes in random_maps]
        hectares = coverage * areas[cells]
        expected = [np.bincount(year, hectares, side) for year in years]
        # exactextract's shares are single-precision numbers.
        np.testing.assert_allclose(found.areas[zone], expected, rtol=1e-6, atol=1e-7)
        matrix = np.bincount(years[0] * side + years[-1], hectares, side**2).reshape(side, side)
        np.testing.assert_allclose(found.transitions(zone), matrix, rtol=1e-6, atol=1e-7)


def test_zones_over_zones_count_as_each_alone(tmp_path: Path, random_maps: list[np.ndarray]) -> None:
    series = open_series(write_years(tmp_path, *random_maps))
    shapes = [shapely.box(x, y, x + 250, y + 170) for x in (5, 105, 205) for y in (5, 105, 205)]
    together = count_zones(series, zones_of(tmp_path, BLOB, *shapes, *shapes[:2]))
    for number, shape in enumerate((BLOB, *shapes, *shapes[:2])):
        alone = count_zones(series, zones_of(tmp_path, shape))
        np.testing.assert_allclose(together.areas[number], alone.areas[0], rtol=1e-12)
        np.testing.assert_allclose(together.transitions(number), alone.transitions(0), rtol=1e-12)


def test_zones_that_share_a_border_add_up_to_the_geodesic_whole(tmp_path: Path, random_maps: list[np.ndarray]) -> None:
    series = open_series(write_years(tmp_path, *random_maps))
    seam = [(0, 211), (133, 300), (401, 222), (800, 355)]
    upper = shapely.Polygon([(0, 0), *seam, (800, 0)])
    lower = shapely.Polygon([(0, 600), *seam, (800, 600)])
    zones = zones_of(tmp_path, upper, lower)
    found = count_zones(series, zones)
    areas = pixel_areas("EPSG:32633", UTM, slice(0, 60), slice(0, 80)).sum()
    assert found.areas[:, 0].sum() == pytest.approx(areas, rel=1e-5)
    np.testing.assert_allclose(found.areas[:, 0].sum(axis=1), zones.hectares, rtol=1e-5)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3035"])
def test_zones_of_any_crs_count_the_same(tmp_path: Path, random_maps: list[np.ndarray], crs: str) -> None:
    series = open_series(write_years(tmp_path, *random_maps))
    here = count_zones(series, zones_of(tmp_path, BLOB))
    there = count_zones(series, zones_of(tmp_path, BLOB, crs=crs))
    np.testing.assert_allclose(there.areas, here.areas, rtol=1e-4, atol=1e-4)


def test_geographic_maps_count_by_latitude(tmp_path: Path) -> None:
    flat = np.full((40, 40), TREES)
    grid = Affine(0.001, 0, 15, 0, -0.001, 60)
    path = write_years(tmp_path, flat, flat, crs="EPSG:4326", transform=grid)
    shape = shapely.box(15.0055, 59.9715, 15.0205, 59.9905)
    geopandas.GeoDataFrame({"id": [1]}, geometry=[shape], crs="EPSG:4326").to_parquet(tmp_path / "zones.parquet")
    found = count_zones(open_series(path), read_zones(tmp_path / "zones.parquet"))
    dense = shapely.segmentize(shape, 0.0005)
    geodesic = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(dense)[0]) / 10_000
    assert found.areas[0, 0, 2] == pytest.approx(geodesic, rel=1e-5)


def test_transitions_of_a_zone_are_of_the_first_and_the_last_year(tmp_path: Path) -> None:
    first, middle, last = (np.full((10, 10), TREES) for _ in range(3))
    middle[:] = WATER
    last[:4], last[4] = CROPS, CLOUDS
    found = count_zones(
        open_series(write_years(tmp_path, first, middle, last)), zones_of(tmp_path, shapely.box(0, 0, 50, 100))
    )
    matrix = found.transitions(0)
    assert matrix[2, 4] == pytest.approx(0.2, rel=1e-3) and matrix[2, 2] == pytest.approx(0.25, rel=1e-3)
    assert matrix[2, 0] == pytest.approx(0.05, rel=1e-3) and matrix.sum() == pytest.approx(0.5, rel=1e-3)
    before, after, kept = found.both()
    assert before[0].sum() == pytest.approx(0.45, rel=1e-3) and kept[0].sum() == pytest.approx(0.25, rel=1e-3)
    assert after[0, 3] == pytest.approx(0.2, rel=1e-3)


@pytest.fixture
def counted(tmp_path: Path) -> Zonal:
    """Four zones: all mapped; half of it beyond the map; wholly beyond; under cloud in the last year."""
    first, last = np.full((10, 40), TREES), np.full((10, 40), TREES)
    first[:, :2] = RANGELAND
    last[:2] = CROPS
    last[:, 30:] = CLOUDS
    names = ["whole", "half", "beyond", "clouded"]
    zones = zones_of(
        tmp_path,
        shapely.box(0, 0, 100, 100),
        shapely.box(100, 0, 200, 200),
        shapely.box(1000, 1000, 1100, 1100),
        shapely.box(300, 0, 400, 100),
        id=names,
        people=[10, 20, 30, 40],
    )
    return count_zones(open_series(write_years(tmp_path, first, last)), zones)


def test_zones_beyond_the_maps_are_told_and_never_dropped(counted: Zonal) -> None:
    zones = zonal_tables(counted, None, Uncertainty())["zones"].set_index("zone")
    assert zones["coverage"].to_dict() == {
        "whole": "covered",
        "half": "partly covered",
        "beyond": "outside",
        "clouded": "partly covered",
    }
    assert zones.loc["half", "covered_share_2017"] == pytest.approx(0.5, rel=1e-3)
    assert zones.loc["beyond", "covered_share_both"] == 0 and np.isnan(zones.loc["beyond", "changed_share"])
    assert zones.loc["clouded", ["covered_share_2017", "covered_share_2018"]].tolist() == pytest.approx(
        [1, 0], abs=1e-3
    )
    assert zones["people"].tolist() == [10, 20, 30, 40]
    assert zones.loc["whole", "changed_share"] == pytest.approx(0.36, rel=1e-3)


def test_shares_are_of_what_was_observed(counted: Zonal) -> None:
    tables = zonal_tables(counted, None, KNOWN)
    areas = tables["areas"].set_index(["zone", "year", "class"])
    assert areas.loc[("half", 2018, "crops"), "mapped_share"] == pytest.approx(0.2, rel=1e-6)
    assert areas.loc[("half", 2018, "crops"), "mapped_hectares"] == pytest.approx(0.2, rel=1e-3)
    assert areas.loc[("whole", 2017, "crops"), "mapped_hectares"] == 0
    assert np.isnan(areas.loc[("beyond", 2017, "trees"), "mapped_share"])
    assert len(areas) == 4 * 2 * len(counted.series.legend.classes)
    assert all((table["source_accuracy"] == "overall accuracy 85.0 %, made up").all() for table in tables.values())


def test_change_is_relative_only_to_what_was_there(counted: Zonal) -> None:
    changes = zonal_tables(counted, None, Uncertainty())["changes"].set_index(["zone", "class"])
    trees = changes.loc[("whole", "trees")]
    assert trees["relative_change"] == pytest.approx(0.0, abs=1e-9) and trees["from_share"] == pytest.approx(0.8)
    crops = changes.loc[("whole", "crops")]
    assert np.isnan(crops["relative_change"]) and crops["relative_missing"] == "none in the first year"
    assert crops["change_points"] == pytest.approx(20)
    assert changes.loc[("whole", "water"), "relative_missing"] == "in neither year"
    assert changes.loc[("clouded", "trees"), "relative_missing"] == "not observed in both years"
    assert changes.loc[("whole", "rangeland"), "relative_change"] == pytest.approx(-1)
    ranks = changes.xs("crops", level="class")["rank"]
    assert ranks["whole"] == 1 and ranks["half"] in (1, 2) and ranks.isna().tolist() == [False, False, True, True]


def test_nothing_is_divided_by_nearly_nothing() -> None:
    relative, reason = relative_change(np.array([0.05, 0.2]), np.array([5.0, 0.3]), np.array([100.0, 100.0]))
    assert np.isnan(relative[0]) and reason[0] == "below 0.1% in the first year"
    assert relative[1] == pytest.approx(0.5) and reason[1] == ""


def test_the_ratio_of_two_classes_has_no_value_where_the_lower_one_is_missing(counted: Zonal) -> None:
    names = counted.series.legend.names
    zones = zonal_tables(counted, Ratio.parse("trees/rangeland", names), Uncertainty())["zones"].set_index("zone")
    assert zones.loc["whole", "trees_to_rangeland_2017"] == pytest.approx(4)
    assert np.isnan(zones.loc["whole", "trees_to_rangeland_2018"])
    for text in ("trees", "trees/trees", "trees/meadow", "/"):
        with pytest.raises(BadInput, match="--ratio"):
            Ratio.parse(text, names)


def test_the_transition_table_adds_up(counted: Zonal) -> None:
    table = zonal_tables(counted, None, Uncertainty())["transitions"]
    whole = table[table["zone"] == "whole"].set_index(["from_class", "to_class"])["mapped_hectares"]
    assert whole.sum() == pytest.approx(1.0, rel=1e-3)
    assert whole[("rangeland", "trees")] == pytest.approx(0.16, rel=1e-3)
    clouded = table[table["zone"] == "clouded"]
    assert clouded["to_class"].tolist() == ["unobserved"]
    assert table[table["zone"] == "beyond"].empty


def test_places_add_up_and_a_lost_one_is_told(tmp_path: Path) -> None:
    flat = np.full((10, 10), TREES, np.uint8)
    for year in (2017, 2018):
        write_map(tmp_path, flat, year)
        write_map(tmp_path, flat, year, place="33UWU", transform=UTM @ Affine.translation(10, 0))
    zones = zones_of(tmp_path, shapely.box(50, 0, 150, 100))
    path = write_collection(tmp_path)
    both = count_zones(open_series(path), zones)
    assert both.areas[0, 0, 2] == pytest.approx(1.0, rel=1e-3)
    (tmp_path / "33UWU-2018" / "map.tif").unlink()
    one = count_zones(open_series(path), zones)
    assert one.areas[0, 0, 2] == pytest.approx(0.5, rel=1e-3) and "33UWU" in one.failed


def test_zones_far_from_all_maps_are_an_error(tmp_path: Path) -> None:
    flat = np.full((10, 10), TREES)
    series = open_series(write_years(tmp_path, flat, flat))
    geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(-60, -10, -59, -9)], crs="EPSG:4326").to_parquet(
        tmp_path / "zones.parquet"
    )
    with pytest.raises(BadInput, match=r"No zone lies on a map .*-60\.000, -10\.000"):
        count_zones(series, read_zones(tmp_path / "zones.parquet"))
