"""The grid: names, who owns what, geometries and blocks, where grids tend to go wrong."""

from __future__ import annotations

import mgrs
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from catalog import zones
from catalog.errors import BadInput
from catalog.grid import (
    BLOCK_EDGES,
    RESOLUTION,
    TILE_SIZE,
    Tile,
    block,
    blocks_intersecting,
    land_tiles,
    owned_geometry,
    owned_mask,
    tile_at,
    tiles_intersecting,
)

GEOD = pyproj.Geod(ellps="WGS84")
WHOLE = (0, TILE_SIZE, 0, TILE_SIZE)
examples = settings(max_examples=150, deadline=None, derandomize=True)

LIMITS = sorted({edge for zone in range(1, 61) for limit in zones.zone_boxes(zone) for edge in (limit[0], limit[2])})
longitudes = st.floats(-180, 180) | st.builds(
    lambda limit, off: (limit + off + 180) % 360 - 180, st.sampled_from(LIMITS), st.floats(-0.01, 0.01)
)
latitudes = st.floats(-80, 83.999) | st.builds(
    lambda limit, off: limit + off, st.sampled_from([0, 56, 64, 72]), st.floats(-0.01, 0.01)
)


def area_m2(geometry: BaseGeometry) -> float:
    return GEOD.geometry_area_perimeter(shapely.orient_polygons(geometry))[0]


def pixel_of(epsg: int, lon: float, lat: float) -> tuple[Tile, int, int]:
    """The square, row and column in which a point lies in a zone, whether that zone is in force there or not."""
    x, y = zones.from_lonlat(epsg, lon, lat)
    y = max(y, 1e-3) if epsg < 32700 else min(y, 9_999_999.999)  # a rounded equator
    square = Tile("", epsg, int(x // 100_000) * 100_000, int(y // 100_000) * 100_000)
    return square, min(int((square.top - y) // 10), TILE_SIZE - 1), int((x - square.left) // 10)


def centre_of(tile: Tile, row: int, col: int) -> tuple[float, float]:
    lon, lat = zones.to_lonlat(tile.epsg, *(tile.transform @ (col + 0.5, row + 0.5)))
    return (lon + 180) % 360 - 180, lat


# Names


@pytest.mark.parametrize(
    ("name", "epsg", "bounds"),
    [
        ("48QUE", 32648, (300_000, 1_900_000, 400_000, 2_000_000)),
        ("33NZA", 32633, (800_000, 0, 900_000, 100_000)),
        ("60HWB", 32760, (500_000, 5_600_000, 600_000, 5_700_000)),
        ("32VKR", 32632, (200_000, 7_000_000, 300_000, 7_100_000)),
        ("33XVG", 32633, (400_000, 8_600_000, 500_000, 8_700_000)),
        ("01CDM", 32701, (400_000, 1_100_000, 500_000, 1_200_000)),
    ],
)
def test_a_name_gives_the_square_that_sentinel_2_products_of_this_name_show(
    name: str, epsg: int, bounds: tuple[int, int, int, int]
) -> None:
    tile = Tile.from_name(name)
    assert (tile.name, tile.epsg, tile.bounds) == (name, epsg, bounds)
    assert tile.transform @ (0, 0) == (bounds[0], bounds[3])
    assert tile.transform @ (TILE_SIZE, TILE_SIZE) == (bounds[2], bounds[1])


def test_a_square_that_mgrs_cuts_in_two_has_one_name_and_is_found_by_both() -> None:
    assert Tile.from_name("50TMK") == Tile.from_name("50SMK") == Tile.from_name(" 50smk ")
    assert Tile.from_name("50SMK").name == "50TMK"
    assert tile_at(116.0, 39.9).name == "50TMK"
    assert mgrs.MGRS().toMGRS(39.9, 116.0, MGRSPrecision=0) == "50SMK"


@pytest.mark.parametrize("name", ["48QU", "48QUEE", "T48QUE", "48IUE", "00NAA", "61NAA", "", "²²NAA", "01CDH", "48QZZ"])
def test_what_names_no_square_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"There is no Sentinel-2 tile.*48QUE"):
        Tile.from_name(name)


def test_a_square_without_ground_of_its_own_is_refused() -> None:
    # 31V ends at 3 E, and Sentinel-2 has products of 31VEF all the same.
    with pytest.raises(BadInput, match=r"31VEF.*no ground of its own.*box or a polygon"):
        Tile.from_name("31VEF")


def test_land_tiles_are_tiles_under_their_own_names() -> None:
    names = land_tiles()
    assert len(names) == len(set(names)) == 22_535
    assert {"48QUE", "33NZA", "43RCP", "31UFS", "33TUL", "33UUU", "37MEM", "21MWU", "60HWB"} <= set(names)
    # Sentinel-2 has no products of this name; it owns 4,500 km2 in the west of China all the same.
    assert "45TTH" in names
    assert [Tile.from_name(name).name for name in names[::40]] == list(names[::40])


# Who owns what


def test_the_zones_cover_the_globe_once() -> None:
    boxes = [limits for zone in range(1, 61) for limits in zones.zone_boxes(zone)]
    assert sum((east - west) * (north - south) for west, south, east, north in boxes) == 360 * (84 + 80)
    shapes = shapely.box(*np.array(boxes).T)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="overlaps")
    assert len(first) == len(second) == 0
    assert shapely.union_all(shapes).equals(box(-180, -80, 180, 84))


@examples
@given(lon=longitudes, lat=latitudes)
@example(lon=180.0, lat=0.0)
@example(lon=-180.0, lat=-80.0)
@example(lon=3.0, lat=56.0)
@example(lon=9.0, lat=72.0)
@example(lon=12.0, lat=-1e-13)
def test_every_point_has_a_tile_and_its_zone_is_in_force_there(lon: float, lat: float) -> None:
    tile = tile_at(lon, lat)
    square, _, _ = pixel_of(zones.utm_epsg(zones.zone_at(lon, lat), lat >= 0), lon, lat)
    assert tile.name
    assert (tile.epsg < 32700) == (lat >= 0)
    if abs(lat) > 1e-9:
        assert (tile.epsg, tile.left, tile.bottom) == (square.epsg, square.left, square.bottom)
    assert Tile.from_name(tile.name) == tile


@examples
@given(lon=longitudes, lat=latitudes)
def test_tiles_agree_with_mgrs_but_for_the_band(lon: float, lat: float) -> None:
    easting, northing = zones.from_lonlat(tile_at(lon, lat).epsg, lon, lat)
    assume(
        min(abs(lon - limit) for limit in LIMITS) > 1e-5 and min(abs(lat - limit) for limit in (0, 56, 64, 72)) > 1e-5
    )
    assume(all(2 < value % 100_000 < 99_998 for value in (easting, northing)))
    name, theirs = tile_at(lon, lat).name, mgrs.MGRS().toMGRS(lat, lon, MGRSPrecision=0)
    assert (name[:2], name[3:]) == (theirs[:2], theirs[3:])
    assert Tile.from_name(theirs).name == name


@examples
@given(lon=longitudes, lat=latitudes, next_zone=st.sampled_from([-1, 0, 1]))
def test_every_pixel_centre_has_one_owner(lon: float, lat: float, next_zone: int) -> None:
    """Seen in its own zone and in the next ones, a pixel is owned just where its centre's tile is this one."""
    zone = (zones.zone_at(lon, lat) - 1 + next_zone) % 60 + 1
    square, row, col = pixel_of(zones.utm_epsg(zone, lat >= 0), lon, lat)
    centre = centre_of(square, row, col)
    assume(-80 <= centre[1] < 84)
    owner = tile_at(*centre)
    is_owner = (owner.epsg, owner.left, owner.bottom) == (square.epsg, square.left, square.bottom)
    assert owned_mask(square, row, row + 1, col, col + 1).tolist() == [[is_owner]]


@pytest.mark.parametrize(
    "place", [(6, 45.3), (3.0, 60.1), (9, 78.2), (33, 80.1), (-180, -16.5), (12, 0.5), (3, 56), (9, 72)]
)
def test_the_mask_of_a_block_is_that_of_its_pixels(place: tuple[float, float]) -> None:
    square, row, col = pixel_of(zones.utm_epsg(zones.zone_at(*place), True) + 100 * (place[1] < 0), *place)
    row0, col0 = min(max(row - 400, 0), TILE_SIZE - 800), min(max(col - 400, 0), TILE_SIZE - 800)
    mask = owned_mask(square, row0, row0 + 800, col0, col0 + 800)
    assert mask.any() and not mask.all()
    # All pixels at which the mask changes, and some others.
    edge = np.argwhere(mask[:, 1:] != mask[:, :-1])
    picked = [*edge[::7], *(edge + np.array([0, 1]))[::7], *np.random.default_rng(1).integers(0, 800, (100, 2))]
    for row, col in picked:
        assert mask[row, col] == (zones.zone_at(*centre_of(square, row0 + row, col0 + col)) == square.zone)


@pytest.mark.parametrize("epsg", [32633, 32733])
@pytest.mark.parametrize("left", [200_000, 450_000, 700_000])
@pytest.mark.parametrize("bottom", [0, 5_000_000, 9_200_000])
def test_an_extent_is_the_least_box_round_a_rectangle(epsg: int, left: int, bottom: int) -> None:
    bottom = bottom if epsg < 32700 else 9_900_000 - bottom
    x, y = np.meshgrid(np.linspace(left, left + 100_000, 101), np.linspace(bottom, bottom + 100_000, 11))
    lon, lat = zones.to_lonlat(epsg, x, y)
    extent = zones.extent(epsg, left, bottom, left + 100_000, bottom + 100_000)
    assert extent == pytest.approx([lon.min(), lat.min(), lon.max(), lat.max()], abs=1e-11)


def test_a_tile_away_from_the_limits_owns_all_of_itself() -> None:
    tile = Tile.from_name("48QUE")
    assert owned_mask(tile, *WHOLE).all()
    assert blocks_intersecting(tile) == tuple(range(25))


def test_rows_south_of_the_equator_belong_to_the_southern_square() -> None:
    north = Tile.from_name("33NZA")
    last_row = centre_of(north, TILE_SIZE - 1, 100)
    row_below = centre_of(north, TILE_SIZE, 100)
    assert last_row[1] > 0 > row_below[1]
    south = tile_at(*row_below)
    assert (south.name, south.epsg, south.top) == ("33MZV", 32733, 10_000_000)
    assert owned_mask(north, TILE_SIZE - 34, TILE_SIZE, 0, 300).all()
    assert owned_mask(south, 0, 34, 0, 300).all()


def test_the_grid_ends_at_80_south_and_84_north() -> None:
    for lat, inside in ((83.999, True), (84.001, False), (-79.999, True), (-80.001, False)):
        square, row, col = pixel_of(zones.utm_epsg(33, lat > 0), 15.5, lat)
        assert owned_mask(square, row, row + 1, col, col + 1).item() is inside
        if not inside:
            with pytest.raises(BadInput, match="off the grid"):
                tile_at(15.5, lat)


@pytest.mark.parametrize("window", [(0, 0, 0, 5), (-1, 5, 0, 5), (0, 5, 9_990, 10_001)])
def test_a_window_beyond_the_tile_is_refused(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(BadInput, match="no part of a tile"):
        owned_mask(Tile.from_name("48QUE"), *window)


# Areas and geometries

ACROSS = {
    "equator": box(11.7, -0.03, 12.3, 0.03),
    "45 N": box(5.95, 45, 6.05, 45.06),
    "southern Norway, 56 N": box(2.9, 55.96, 3.1, 56.04),
    "32V, 60 N": box(2.9, 60, 3.1, 60.06),
    "northern end of 32V": box(5.9, 63.96, 6.1, 64.04),
    "Svalbard, 72 N": box(8.9, 71.8, 9.1, 72.2),
    "31X and 33X": box(8.8, 78, 9.2, 78.06),
    "33X and 35X": box(20.8, 78, 21.2, 78.06),
    "35X and 37X": box(32.8, 78, 33.2, 78.06),
    "37X and 38X": box(41.8, 80, 42.2, 80.06),
    "antimeridian": shapely.union_all([box(179.95, -16.6, 180, -16.54), box(-180, -16.6, -179.95, -16.54)]),
    "80 S": box(11.8, -80, 12.2, -79.95),
}


def pixel_area_within_m2(tile: Tile, outline: BaseGeometry) -> float:
    """Ground area of the pixels that a tile owns in a box; pixels on the box's own edges count in part.

    A pixel of 100 m2 on the map has 100 m2 / k2 on the ground, k being the projection's scale there.
    """
    total = 0.0
    for west, south, east, north in (part.bounds for part in shapely.get_parts(outline)):
        part = owned_geometry(tile).intersection(box(west, south, east, north))
        if part.area == 0:
            continue
        lon, lat = shapely.get_coordinates(part.segmentize(0.01)).T
        x, y = pyproj.Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
        cols, rows = (x - tile.left) / RESOLUTION, (tile.top - y) / RESOLUTION
        row0, row1 = max(int(rows.min()) - 2, 0), min(int(rows.max()) + 3, TILE_SIZE)
        col0, col1 = max(int(cols.min()) - 2, 0), min(int(cols.max()) + 3, TILE_SIZE)
        col, row = np.meshgrid(np.arange(col0, col1) + 0.5, np.arange(row0, row1) + 0.5)
        lon, lat = zones.to_lonlat(tile.epsg, *(tile.transform @ (col, row)))
        along, across = 11_132 * np.cos(np.radians(lat)), 11_132  # pixels in a degree
        share = owned_mask(tile, row0, row1, col0, col1).astype(float)
        for edge, pixels, outer in (
            (lon - west, along, west % 6 != 0),
            (east - lon, along, east % 6 != 0),
            (lat - south, across, south != -80),
            (north - lat, across, True),
        ):
            if outer:
                share *= np.clip(edge * pixels + 0.5, 0, 1)
        coarse = (slice(None, None, 50), slice(None, None, 50))
        scale = pyproj.Proj(tile.epsg).get_factors(lon[coarse], lat[coarse]).areal_scale
        total += (share * 100 / np.kron(scale, np.ones((50, 50)))[: share.shape[0], : share.shape[1]]).sum()
    return total


@pytest.mark.parametrize("place", ACROSS)
def test_areas_of_owned_pixels_across_a_limit_add_up_to_the_geodesic_area(place: str) -> None:
    tiles = tiles_intersecting(ACROSS[place])
    assert len({tile.epsg for tile in tiles}) >= 2
    total = sum(pixel_area_within_m2(tile, ACROSS[place]) for tile in tiles)
    # The reference follows parallels, not the great circles between the corners.
    assert total == pytest.approx(area_m2(ACROSS[place].segmentize(0.001)), rel=1e-4)


@pytest.mark.parametrize("place", ACROSS)
def test_owned_geometries_across_a_limit_fit_without_gap_or_overlap(place: str) -> None:
    wide = ACROSS[place].buffer(0.5, join_style="mitre").intersection(box(-180, -80, 180, 84))
    owned = [owned_geometry(tile) for tile in tiles_intersecting(wide)]
    assert all(part.is_valid and part.exterior.is_ccw for one in owned for part in shapely.get_parts(one))
    parts = [one.intersection(wide) for one in owned]
    assert sum(part.area for part in parts) == pytest.approx(wide.area, rel=1e-9)
    assert shapely.union_all(parts).area == pytest.approx(wide.area, rel=1e-9)


def test_no_geometry_crosses_the_antimeridian() -> None:
    for name, (west, east) in {"01KAB": (-180, -174), "60KZF": (174, 180)}.items():
        geometry = owned_geometry(Tile.from_name(name))
        assert west <= geometry.bounds[0] < geometry.bounds[2] <= east
        assert 180 in np.abs(geometry.bounds)


def test_edges_of_a_geometry_are_true_to_a_metre_in_the_far_north() -> None:
    tile = tile_at(15.0, 83.5)
    outline = owned_geometry(tile).exterior
    along = np.arange(tile.left + 50, tile.left + 100_000, 97.0)
    lon, lat = zones.to_lonlat(tile.epsg, along, np.full(len(along), float(tile.bottom)))
    inside = lon < 21
    degrees = shapely.distance(outline, shapely.points(lon[inside], lat[inside]))
    assert degrees.max() * 111_320 < 1.1


def test_the_geometry_of_a_window_is_its_part_of_the_tile() -> None:
    tile = Tile.from_name("31UGT")
    parts = [owned_geometry(tile, block(number).window) for number in range(25)]
    assert sum(map(area_m2, parts)) == pytest.approx(area_m2(owned_geometry(tile)), rel=1e-6)
    assert parts[24].is_empty


# Look-up


@examples
@given(lon=longitudes, lat=st.floats(-79.5, 83.5))
def test_a_small_polygon_has_the_tiles_of_its_corners(lon: float, lat: float) -> None:
    west, east = (lon, lon + 0.001) if lon < 179.999 else (lon - 0.001, lon)
    corners = [(west, lat), (east, lat), (east, lat + 0.001), (west, lat + 0.001)]
    # The middles of the quarters: a corner itself may lie on a tile's edge.
    inner = [((x + (west + east) / 2) / 2, (y + lat + 0.0005) / 2) for x, y in corners]
    found = tiles_intersecting(shapely.Polygon(corners))
    assert {tile_at(*point) for point in inner} <= set(found)
    assert len(found) <= 6
    assert found == sorted(found)


def test_tiles_of_a_country_sized_polygon() -> None:
    thailand = shapely.Polygon([(98.5, 9), (101, 12), (105, 14), (104, 18), (100, 20), (97, 18), (99, 13)])
    found = tiles_intersecting(thailand)
    assert {tile.name[:3] for tile in found} == {"47P", "47Q", "48P", "48Q"}
    parts = [owned_geometry(tile).intersection(thailand) for tile in found]
    assert sum(part.area for part in parts) == pytest.approx(thailand.area, rel=1e-9)
    others = [tile for tile in tiles_intersecting(thailand.buffer(2)) if tile not in found]
    assert others and all(owned_geometry(tile).intersection(thailand).area < 1e-10 for tile in others)


def test_what_only_touches_is_not_found() -> None:
    assert [tile.zone for tile in tiles_intersecting(box(6, 45, 6.01, 45.01))] == [32]
    tile = Tile.from_name("48QUE")
    assert tiles_intersecting(owned_geometry(tile)) == [tile]
    assert blocks_intersecting(tile, owned_geometry(tile, block(7).window)) == (7,)


def test_a_point_has_its_tile_and_a_line_is_refused() -> None:
    assert [tile.name for tile in tiles_intersecting(shapely.Point(103.75, 17.92))] == ["48QUE"]
    with pytest.raises(BadInput, match="LineString has no area"):
        tiles_intersecting(shapely.LineString([(0, 0), (1, 1)]))


def test_an_area_off_the_grid_has_no_tiles() -> None:
    assert tiles_intersecting(box(0, 85, 10, 89)) == []
    assert tiles_intersecting(box(0, -89, 10, -80)) == []


# Blocks


def test_blocks_tile_the_tile() -> None:
    seen = np.zeros((TILE_SIZE // 8, TILE_SIZE // 8), int)
    for number in range(25):
        one = block(number)
        assert one.number == number and one.pixels == one.shape[0] * one.shape[1]
        assert not any(edge % 8 for edge in one.window)
        seen[one.row0 // 8 : one.row1 // 8, one.col0 // 8 : one.col1 // 8] += 1
    assert (seen == 1).all()
    assert (block(1).row0, block(1).col0) == (0, 1792)
    with pytest.raises(BadInput, match="no block 25"):
        block(25)


def test_a_halo_reaches_into_no_further_part_of_a_cog() -> None:
    for edge in BLOCK_EDGES[1:-1]:
        for pixels in (1, 2):  # of 10 m and of 20 m
            assert (edge - 250) // pixels // 512 == (edge + 250) // pixels // 512


def test_blocks_of_a_tile_at_a_limit_are_those_with_owned_pixels() -> None:
    for name in ("31UGT", "33NZA", "01KAB", "32VKH", "60CWE"):
        tile = Tile.from_name(name)
        owned = tuple(n for n in range(25) if owned_mask(tile, *block(n).window).any())
        assert blocks_intersecting(tile) == blocks_intersecting(tile, box(-180, -90, 180, 90)) == owned


def test_blocks_of_a_small_area_are_those_it_touches() -> None:
    tile = Tile.from_name("48QUE")
    x, y = tile.transform @ (3840, 1792)  # where blocks 1, 2, 6 and 7 meet
    lon, lat = zones.to_lonlat(tile.epsg, x, y)
    assert blocks_intersecting(tile, box(lon - 0.001, lat - 0.001, lon + 0.001, lat + 0.001)) == (1, 2, 6, 7)
    assert blocks_intersecting(tile, box(lon + 0.001, lat - 0.002, lon + 0.002, lat - 0.001)) == (7,)
    assert blocks_intersecting(tile, box(0, 0, 1, 1)) == ()
