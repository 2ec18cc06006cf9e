from __future__ import annotations

from pathlib import Path

import geopandas
import pandas as pd
import pytest
import shapely

from catalog.errors import BadInput
from services.change.zones import read_zones

SQUARES = [shapely.box(12 + 0.1 * k, 45, 12.1 + 0.1 * k, 45.1) for k in range(3)]
BOW_TIE = shapely.Polygon([(12, 45), (12.1, 45.1), (12.1, 45), (12, 45.1)])


def write(path: Path, shapes: list, crs: str | None = "EPSG:4326", **columns: list) -> Path:
    frame = geopandas.GeoDataFrame(columns or {"id": range(len(shapes))}, geometry=shapes, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "parquet"])
def test_formats_and_attributes(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"zones.{suffix}", SQUARES, id=["a", "b", "c"], name=["A", "B", "C"], people=[1, 2, 3])
    zones = read_zones(path)
    assert zones.frame["zone"].tolist() == ["a", "b", "c"]
    assert zones.frame["people"].tolist() == [1, 2, 3] and zones.notes == ()


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:2154"])
def test_any_crs_gives_the_same_ground(tmp_path: Path, crs: str) -> None:
    here = read_zones(write(tmp_path / "here.gpkg", SQUARES))
    dense = geopandas.GeoSeries(SQUARES, crs="EPSG:4326").segmentize(0.001).to_crs(crs)
    there = read_zones(write(tmp_path / "there.gpkg", dense.tolist(), crs))
    assert there.hectares == pytest.approx(here.hectares, rel=1e-6)


def test_hectares_are_geodesic(tmp_path: Path) -> None:
    # A square of 1 km in UTM, on the central meridian where the scale is 0.9996.
    path = write(tmp_path / "zones.gpkg", [shapely.box(499_500, 5_000_000, 500_500, 5_001_000)], "EPSG:32633")
    assert read_zones(path).hectares[0] == pytest.approx(100 / 0.9996**2, rel=1e-5)


def test_invalid_polygons_are_mended_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "zones.gpkg", [*SQUARES, BOW_TIE], id=["a", "b", "c", "bow"])
    zones = read_zones(path, key="id")
    assert zones.frame.geometry.is_valid.all()
    assert zones.hectares[3] == pytest.approx(zones.hectares[0] / 2, rel=1e-3)
    assert any("1 invalid" in note and "bow" in note for note in zones.notes)


def test_a_zone_without_polygon_stays(tmp_path: Path) -> None:
    flat = shapely.Polygon([(12, 45), (12.1, 45.1), (12, 45)])
    path = write(tmp_path / "zones.parquet", [SQUARES[0], None, shapely.Polygon(), flat])
    zones = read_zones(path)
    assert len(zones.frame) == 4 and zones.hectares[1:].tolist() == [0, 0, 0]
    assert any("3 zones have no polygon" in note for note in zones.notes)


def test_columns_are_joined_by_key_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "zones.gpkg", SQUARES, code=["007", "008", "009"])
    (tmp_path / "people.csv").write_text("code,people\n007,70\n009,90\n010,100\n")
    zones = read_zones(path, key="code", table=tmp_path / "people.csv")
    assert zones.frame["people"].fillna(-1).tolist() == [70, -1, 90]
    assert zones.notes == ("1 zones have no row in people.csv.", "1 rows of people.csv are of no zone.")
    pd.DataFrame({"id": [1, 2], "gdp": [1.5, 2.5]}).to_parquet(tmp_path / "gdp.parquet")
    numbered = write(tmp_path / "numbered.gpkg", SQUARES, id=[1, 2, 3])
    assert read_zones(numbered, "id", tmp_path / "gdp.parquet").frame["gdp"].tolist()[:2] == [1.5, 2.5]


def test_a_column_called_zone_is_kept(tmp_path: Path) -> None:
    frame = read_zones(write(tmp_path / "zones.gpkg", SQUARES, zone=["x", "y", "z"]), key="zone").frame
    assert frame["zone"].tolist() == frame["zone_given"].tolist() == ["x", "y", "z"]


def test_polygons_of_one_name_may_be_dissolved(tmp_path: Path) -> None:
    path = write(tmp_path / "zones.gpkg", SQUARES, district=["south", "north", "south"], people=[1, 2, 3])
    zones = read_zones(path, "district", dissolve=True)
    assert zones.frame["zone"].tolist() == ["north", "south"] and list(zones.frame) == ["zone", "geometry"]
    assert zones.hectares[1] == pytest.approx(2 * zones.hectares[0], rel=1e-3)
    with pytest.raises(BadInput, match="'south' stands twice"):
        read_zones(path, "district")
    unnamed = write(tmp_path / "unnamed.gpkg", SQUARES, district=["south", None, "south"])
    with pytest.raises(BadInput, match="a value is missing"):
        read_zones(unnamed, "district", dissolve=True)


@pytest.mark.parametrize(
    ("shapes", "crs", "columns", "key", "told"),
    [
        ([shapely.Point(12, 45)], "EPSG:4326", {}, "", "Point"),
        ([shapely.Polygon()], "EPSG:4326", {}, "", "no polygon"),
        (SQUARES, None, {}, "", "CRS"),
        (SQUARES, "EPSG:4326", {"code": ["a", "a", "b"]}, "code", "'a' stands twice"),
        (SQUARES, "EPSG:4326", {"code": ["a", None, "b"]}, "code", "missing"),
        (SQUARES, "EPSG:4326", {}, "nothing", "no column 'nothing'"),
        ([shapely.box(5e5, 5e6, 6e5, 6e6)], "EPSG:4326", {}, "", "off the globe"),
    ],
)
def test_files_that_are_no_zones_are_refused(tmp_path, shapes, crs, columns, key, told) -> None:
    with pytest.raises(BadInput, match=told):
        read_zones(write(tmp_path / "zones.parquet", shapes, crs, **columns), key)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("code,people\n1,70\n1,80\n", "'1' stands twice"),
        ("town,people\n1,70\n", "no column 'code'"),
        ("code,people\nx,70\n", "No row"),
        ("", "cannot be read"),
    ],
)
def test_tables_that_do_not_join_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path / "zones.gpkg", SQUARES, code=["1", "2", "3"])
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(BadInput, match=told):
        read_zones(path, "code", tmp_path / "people.csv")
    with pytest.raises(BadInput, match="--key"):
        read_zones(path, "", tmp_path / "people.csv")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no file"):
        read_zones(tmp_path / "nothing.gpkg")
