"""Totals against the geodesic area of the same ground."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine

from catalog.errors import BadInput
from services.change.ground_area import alike, pixel_areas

GRIDS = ("utm", "utm at the zone's edge", "EPSG:4326", "EPSG:3857")


def _grid(kind: str, lat: float) -> tuple[str, Affine]:
    """A raster whose pixel (0, 0) lies at a latitude."""
    if kind == "EPSG:4326":
        return kind, Affine(1 / 12000, 0, 14.0, 0, -1 / 12000, lat)
    crs, lon = ("EPSG:32633", 15.0) if kind.startswith("utm") else (kind, 15.0)
    if kind.endswith("edge"):
        lon = 20.9
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    return crs, Affine(10, 0, x, 0, -10, y)


def _geodesic(crs: str, transform: Affine, rows: slice, cols: slice) -> float:
    """Hectares of the ground in a window, whose edges on the map are followed closely."""
    top, bottom = ([(c, r) for c in np.linspace(cols.start, cols.stop, 1500)] for r in (rows.start, rows.stop))
    left, right = ([(c, r) for r in np.linspace(rows.start, rows.stop, 1500)] for c in (cols.start, cols.stop))
    corners = np.array([*top, *right, *bottom[::-1], *left[::-1]])
    x, y = transform @ (corners[:, 0], corners[:, 1])
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return abs(pyproj.Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]) / 10_000


@pytest.mark.parametrize("lat", [0, 30, 60, 80])
@pytest.mark.parametrize("kind", GRIDS)
def test_the_total_is_the_geodesic_area(kind, lat):
    crs, transform = _grid(kind, lat)
    rows, cols = slice(-300, 1700), slice(200, 3200)
    areas = np.broadcast_to(pixel_areas(crs, transform, rows, cols), (2000, 3000))
    assert areas.sum() == pytest.approx(_geodesic(crs, transform, rows, cols), rel=1e-5)


@pytest.mark.parametrize("kind", GRIDS)
def test_windows_of_a_raster_agree_pixel_by_pixel(kind):
    crs, transform = _grid(kind, 60)
    whole = np.broadcast_to(pixel_areas(crs, transform, slice(0, 2500), slice(0, 2500)), (2500, 2500))
    part = np.broadcast_to(pixel_areas(crs, transform, slice(1900, 2000), slice(70, 71)), (100, 1))
    np.testing.assert_allclose(part, whole[1900:2000, 70:71], rtol=5e-6)


def test_web_mercator_at_10_south_is_not_its_cells():
    """A notebook that counts cells of 9 ha finds 3 % too much at Alta Floresta."""
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(-56.1, -9.9)
    area = pixel_areas("EPSG:3857", Affine(300, 0, x, 0, -300, y), slice(0, 1), slice(0, 1))
    assert 9 / area.item() == pytest.approx(1.037, abs=0.001)


def test_feet_and_equal_area_grids():
    assert pixel_areas("EPSG:6933", Affine(100, 0, 1e6, 0, -100, 5e6), slice(0, 3), slice(0, 4)) == pytest.approx(1.0)
    foot = 1200 / 3937
    area = pixel_areas("EPSG:2263", Affine(100, 0, 1e6, 0, -100, 2e5), slice(0, 2), slice(0, 2))
    assert area == pytest.approx((100 * foot) ** 2 / 10_000, rel=1e-4)


def test_a_rotated_geographic_grid_is_refused():
    with pytest.raises(BadInput, match="rotated"):
        pixel_areas("EPSG:4326", Affine(0.1, 0.01, 0, 0.01, -0.1, 0), slice(0, 5), slice(0, 5))


def test_pixels_off_the_globe_are_refused():
    with pytest.raises(BadInput, match="no ground"):
        pixel_areas("ESRI:54009", Affine(1000, 0, -18e6, 0, -1000, 9e6), slice(0, 5), slice(0, 5))


@pytest.mark.parametrize("lat", [0, 60, 80])
@pytest.mark.parametrize("kind", GRIDS)
def test_parts_that_are_alike_tile_a_window_and_keep_its_sum(kind, lat):
    crs, transform = _grid(kind, lat)
    rows, cols = slice(100, 1000), slice(500, 1300)
    areas = np.broadcast_to(pixel_areas(crs, transform, rows, cols), (900, 800))
    seen, total = np.zeros((900, 800), int), 0.0
    for row_part, col_part, hectares in alike(crs, transform, rows, cols):
        part = areas[row_part, col_part]
        seen[row_part, col_part] += 1
        total += part.size * hectares
        assert abs(part / hectares - 1).max() < 2e-5
    assert (seen == 1).all()
    assert total == pytest.approx(areas.sum(), rel=1e-12)
