"""Areas: what a user gives, and the tiles and blocks that follow."""

import geopandas
import pyproj
import pytest
import shapely

from catalog.area import area_of_bbox, area_of_centre, area_of_file, area_of_tiles, mapped_geometry
from catalog.errors import BadInput
from catalog.grid import Tile, blocks_intersecting
from tests.pipelines.items import ground

GEOD = pyproj.Geod(ellps="WGS84")


def names(area):
    return [tile.name for tile in area.tiles]


def square_km(geometry):
    return abs(GEOD.geometry_area_perimeter(geometry)[0]) / 1e6


@pytest.fixture
def written(tmp_path):
    """A file of geometries, `written("area.gpkg", …, crs=…)`; returns its path."""

    def write(name, *geometries, crs="EPSG:4326"):
        frame = geopandas.GeoDataFrame(geometry=list(geometries), crs=crs)
        path = str(tmp_path / name)
        if name.endswith("parquet"):
            frame.to_parquet(path)
        else:
            frame.to_file(path)
        return path

    return write


# Boxes


def test_a_box_says_which_tiles_and_blocks():
    area = area_of_bbox("12.20,52.40,12.30,52.45")
    assert names(area) == ["33UUU"]
    assert area.geometry.bounds == (12.2, 52.4, 12.3, 52.45)
    assert len(blocks_intersecting(area.tiles[0], area.geometry)) == 1


def test_a_box_may_cross_borders_of_zones():
    assert names(area_of_bbox("11.99,52.40,12.20,52.41")) == ["32UQD", "33UTU", "33UUU"]


def test_west_greater_than_east_crosses_the_antimeridian():
    """Taveuni, Fiji, lies on both sides."""
    area = area_of_bbox("179.9,-17.0,-179.9,-16.7")
    assert {tile.zone for tile in area.tiles} == {1, 60}
    west, east = sorted(area.geometry.geoms, key=lambda part: -part.bounds[0])
    assert (west.bounds, east.bounds) == ((179.9, -17, 180, -16.7), (-180, -17, -179.9, -16.7))
    assert all(len(blocks_intersecting(tile, area.geometry)) <= 6 for tile in area.tiles)


def test_the_same_box_on_one_side_only():
    assert {tile.zone for tile in area_of_bbox("179.9,-17.0,180,-16.7").tiles} == {60}
    assert {tile.zone for tile in area_of_bbox("-180,-17.0,-179.9,-16.7").tiles} == {1}


def test_a_box_that_only_touches_a_tile_does_not_map_it():
    area = area_of_bbox("12.20,0,12.25,0.05")
    assert {tile.epsg for tile in area.tiles} == {32633}, "the tiles south of the equator only touch"


# Centre and size


@pytest.mark.parametrize(("lon", "lat"), [(103.75, 17.92), (12.5, 0.0), (-70.0, -53.0), (20.0, 78.0)])
def test_a_size_is_in_kilometres_on_the_ground(lon, lat):
    west, south, east, north = area_of_centre(f"{lon},{lat}", "30,20").geometry.bounds
    assert GEOD.inv(west, lat, east, lat)[2] == pytest.approx(30_000, rel=1e-3)
    assert GEOD.inv(lon, south, lon, north)[2] == pytest.approx(20_000, rel=1e-6)


def test_a_centre_near_the_antimeridian_reaches_across():
    area = area_of_centre("179.99,-16.85", "20,20")
    assert {tile.zone for tile in area.tiles} == {1, 60}
    assert square_km(area.geometry) == pytest.approx(400, rel=0.01)


# Files


@pytest.mark.parametrize("name", ["area.geojson", "area.gpkg", "area.parquet", "area.shp"])
def test_polygon_files_of_several_kinds(written, name):
    area = area_of_file(written(name, shapely.box(12.2, 52.4, 12.3, 52.45)))
    assert names(area) == ["33UUU"]
    assert area.geometry.bounds == (12.2, 52.4, 12.3, 52.45)


def test_a_file_in_metres_covers_the_same_ground(written):
    """The tile itself but for a few metres, in UTM: its edges are curves in degrees."""
    tile = Tile.from_name("48QUE")
    area = area_of_file(written("tile.gpkg", shapely.box(*tile.bounds).buffer(-5), crs="EPSG:32648"))
    assert names(area) == ["48QUE"]
    assert square_km(area.geometry.symmetric_difference(ground("48QUE"))) < 0.001 * square_km(area.geometry)


def test_long_edges_stay_where_they_were_in_metres(written):
    """Straight in Europe's equal-area projection: the chord in degrees would be 40 km off."""
    europe = shapely.box(3_500_000, 3_000_000, 5_500_000, 3_100_000)
    area = area_of_file(written("europe.gpkg", europe, crs="EPSG:3035"))
    assert square_km(area.geometry) == pytest.approx(200_000, rel=1e-3)
    middle = pyproj.Transformer.from_crs(3035, 4326, always_xy=True).transform(4_500_000, 3_099_000)
    assert area.geometry.covers(shapely.Point(middle))


def test_a_file_in_metres_may_cross_the_antimeridian(written):
    fiji = shapely.box(800_000, 8_150_000, 900_000, 8_200_000)
    area = area_of_file(written("fiji.gpkg", fiji, crs="EPSG:32760"))
    assert {tile.zone for tile in area.tiles} == {1, 60}
    assert square_km(area.geometry) == pytest.approx(5000, rel=0.01)


def test_several_polygons_are_one_area_and_other_geometries_do_not_count(written):
    path = written(
        "mixed.gpkg",
        shapely.box(12.2, 52.4, 12.3, 52.5),
        shapely.box(12.25, 52.4, 12.35, 52.5),
        shapely.LineString([(0, 0), (50, 50)]),
    )
    area = area_of_file(path)
    assert area.geometry.bounds == (12.2, 52.4, 12.35, 52.5)
    assert area.notes == ("Of the area's file mixed.gpkg 1 of 3 rows are no polygons: left out.",)


def test_polygons_drawn_by_hand_need_not_be_valid(written):
    spike = shapely.Polygon([(12.2, 52.4), (12.3, 52.4), (12.3, 52.5), (12.4, 52.6), (12.3, 52.5), (12.2, 52.5)])
    bow_tie = shapely.Polygon([(13, 52.4), (13.1, 52.5), (13.1, 52.4), (13, 52.5)])
    area = area_of_file(written("hand.geojson", spike, bow_tie))
    assert area.geometry.is_valid
    assert area.geometry.bounds == (12.2, 52.4, 13.1, 52.5), "the spike has no area"
    assert area.notes == ("Of the area's file hand.geojson 2 of 2 polygons are invalid: made valid.",)


@pytest.mark.parametrize(
    ("geometry", "crs"),
    [
        (shapely.box(170, 0, 190, 10), "EPSG:4326"),
        (shapely.box(1e8, 1e8, 2e8, 2e8), "EPSG:32633"),
        (shapely.box(300_000, 5_800_000, 400_000, 5_900_000), "EPSG:4326"),
    ],
    ids=["beyond 180", "beyond the projection", "metres said to be degrees"],
)
def test_polygons_off_the_globe_are_refused(written, geometry, crs):
    with pytest.raises(BadInput, match=r"reach off the globe.*Check their CRS"):
        area_of_file(written("off.gpkg", geometry, crs=crs))


def test_a_polygon_without_area_is_none(written):
    line = shapely.Polygon([(12, 52), (13, 53), (12.5, 52.5)])
    with pytest.raises(BadInput, match="holds no polygon"):
        area_of_file(written("line.gpkg", line))


def test_ground_beyond_the_grid_is_refused():
    with pytest.raises(BadInput, match="80 S and 84 N"):
        area_of_bbox("0,-89,10,-85")


# Tiles


def test_tiles_by_name_in_any_case_and_once():
    assert names(area_of_tiles("48que, 48QUF,48QUE")) == ["48QUE", "48QUF"]
    assert area_of_tiles("48QUE").geometry is None, "the whole tile"


def test_a_square_that_mgrs_cuts_goes_by_either_name():
    assert names(area_of_tiles("50SMK,50TMK")) == ["50TMK"]


@pytest.mark.slow
def test_all_land_tiles():
    area = area_of_tiles("land")
    assert len(area.tiles) == len(set(names(area))) == 22_535
    assert {"48QUE", "33UUU"} <= set(names(area))


def test_an_unknown_tile_among_known_ones_is_named():
    with pytest.raises(BadInput, match="'48QIE'"):
        area_of_tiles("48QUE,48QIE")


# What was mapped


def test_the_mapped_geometry_is_the_blocks_together():
    tile = Tile.from_name("33UUU")
    two = mapped_geometry(tile, [(0, 1792, 0, 1792), (0, 1792, 1792, 3840)])
    assert two.geom_type == "Polygon"
    assert square_km(two) == pytest.approx(17.92 * 38.4, rel=2e-3)
