"""True ground area of pixels, in hectares, in any coordinate reference system: on the ellipsoid, not on the map.

Geographic grids: exact, by the area of a strip between two parallels. Projected grids: the pixel's area on the map
times how much ground a unit of map covers at its centre, interpolated between points 10 km apart. Errors of the latter
are below 0.0005 % in UTM and in Web Mercator up to 80 degrees; the tests compare totals with geodesic polygons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyproj
from affine import Affine

from catalog.errors import BadInput

_HECTARE = 10_000.0
"""Square metres."""
_NODES = 10_000.0
"""Metres between points of which the ground area is computed; between them it is interpolated."""
_ALIKE = 1e-5
"""Relative difference in area along rows, and along columns, within a part that is counted as one."""
_PART = 512
"""Pixels along the sides of such a part, or its area's square root: what is counted at once stays in the cache."""
_STEP = 250.0
"""Metres to both sides of such a point, for the derivatives."""


def pixel_areas(crs: object, transform: Affine, rows: slice, cols: slice) -> np.ndarray:
    """Ground area of each pixel of a window, in hectares.

    A geographic grid: `(lon2 - lon1) [S(lat2) - S(lat1)]` with
    `S(lat) = b^2 / 2 [sin(lat) / (1 - e^2 sin^2(lat)) + artanh(e sin(lat)) / e]` (Snyder 1987, *Map projections*,
    from Eq. 3-12). A projected one: `|dr/dx x dr/dy|`, the area element of the ellipsoid's surface `r(x, y)` under the
    inverse projection, by central differences. That is the definition of areal scale, inverted; PROJ's own factors are
    not used, since those of Web Mercator are the sphere's (0.3 % off at 58 degrees).

    Args:
        crs: anything that pyproj reads.
        transform: pixel (column, row) to coordinates, of the whole raster.
        rows: of the window, `start` and `stop` are needed.
        cols: of the window.

    Returns:
        Hectares, float64 `[rows, cols]`, or `[rows, 1]` where all pixels of a row are alike (geographic grids).

    Raises:
        BadInput: a geographic grid that is rotated, or pixels where the projection has no inverse.
    """
    along_rows, along_cols = area_factors(crs, transform, rows, cols)
    return along_rows if along_rows.shape[1] == 1 else along_rows @ along_cols


def area_factors(crs: object, transform: Affine, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
    """The same as two factors, small where areas of all pixels are not: `[rows, n]` and `[n, cols]`.

    Args:
        crs: see `pixel_areas`.
        transform: see `pixel_areas`.
        rows: see `pixel_areas`.
        cols: see `pixel_areas`.

    Raises:
        BadInput: see `pixel_areas`.
    """
    system = pyproj.CRS.from_user_input(crs)
    if system.is_geographic:
        return _geographic(system, transform, rows), np.ones((1, cols.stop - cols.start))
    row_weights, hectares, col_weights = _interpolated(system, transform, rows, cols)
    return row_weights, hectares @ col_weights.T


def alike(crs: object, transform: Affine, rows: slice, cols: slice) -> Iterator[tuple[slice, slice, float]]:
    """Parts of a window whose pixels differ in area by less than 0.002 %, so that they can be counted and multiplied.

    Args:
        crs: see `pixel_areas`.
        transform: see `pixel_areas`.
        rows: see `pixel_areas`.
        cols: see `pixel_areas`.

    Yields:
        Rows and columns, counted from the window's corner, and the hectares of one pixel: the mean of the part, so
        that the sum over all parts is exact.

    Raises:
        BadInput: see `pixel_areas`.
    """
    system = pyproj.CRS.from_user_input(crs)
    if system.is_geographic:
        row_weights, hectares = np.eye(rows.stop - rows.start), _geographic(system, transform, rows)
        col_weights = np.ones((cols.stop - cols.start, 1))
    else:
        row_weights, hectares, col_weights = _interpolated(system, transform, rows, cols)
    row_parts = _bands(row_weights @ hectares, _PART)
    col_parts = _bands(col_weights @ hectares.T, _PART**2 // (row_parts[0].stop - row_parts[0].start))
    col_means = [(part, col_weights[part].mean(axis=0)) for part in col_parts]
    for row_part in row_parts:
        along = row_weights[row_part].mean(axis=0) @ hectares
        for col_part, weights in col_means:
            yield row_part, col_part, float(along @ weights)


def _bands(areas: np.ndarray, longest: int) -> list[slice]:
    """Along the first axis, so short that areas hardly differ within."""
    length = areas.shape[0]
    steep = float(np.abs(np.diff(areas, axis=0)).max(initial=0) / areas.mean())
    size = int(max(1, min(longest, length if steep == 0 else _ALIKE / steep)))
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _geographic(system: pyproj.CRS, transform: Affine, rows: slice) -> np.ndarray:
    if transform.b or transform.d:
        raise BadInput(
            f"The grid {tuple(transform)[:6]} in {system.name} is rotated. Give a geographic raster with north up."
        )
    radian = system.axis_info[0].unit_conversion_factor
    edges = (transform.f + transform.e * np.arange(rows.start, rows.stop + 1)) * radian
    # Global rasters may reach a pixel beyond the pole, where there is no ground.
    strips = np.abs(np.diff(_from_equator(system, np.clip(edges, -np.pi / 2, np.pi / 2))))
    return (strips * abs(transform.a) * radian / _HECTARE)[:, None]


def _from_equator(system: pyproj.CRS, lat: np.ndarray) -> np.ndarray:
    """Square metres between the equator and parallels, per radian of longitude."""
    ellipsoid = system.ellipsoid
    assert ellipsoid is not None
    a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    e, sine = math.sqrt(1 - (b / a) ** 2), np.sin(lat)
    if e == 0:
        return a**2 * sine
    return b**2 / 2 * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)


def _interpolated(
    system: pyproj.CRS, transform: Affine, rows: slice, cols: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights `[rows, n]`, hectares at points `[n, m]`, weights `[cols, m]`: areas are the product of the three."""
    unit = system.axis_info[0].unit_conversion_factor
    row_nodes = _nodes(rows, math.hypot(transform.b, transform.e) * unit)
    col_nodes = _nodes(cols, math.hypot(transform.a, transform.d) * unit)
    x, y = transform @ tuple(np.meshgrid(col_nodes, row_nodes))
    step = _STEP / unit
    along_x = _surface(system, x + step, y) - _surface(system, x - step, y)
    along_y = _surface(system, x, y + step) - _surface(system, x, y - step)
    ground = np.linalg.norm(np.cross(along_x, along_y), axis=-1) / (2 * step) ** 2
    if not np.isfinite(ground).all():
        raise BadInput(
            f"Pixels at {x.flat[0]:.0f}, {y.flat[0]:.0f} to {x.flat[-1]:.0f}, {y.flat[-1]:.0f} lie where {system.name} "
            "has no ground. Give an area of interest within the projection's bounds."
        )
    return _weights(rows, row_nodes), ground * abs(transform.determinant) / _HECTARE, _weights(cols, col_nodes)


def _nodes(pixels: slice, metres: float) -> np.ndarray:
    """Where along rows or columns the ground area is computed: from the first pixel's centre to the last one's."""
    count = math.ceil((pixels.stop - pixels.start) * metres / _NODES) + 1
    return np.linspace(pixels.start + 0.5, pixels.stop - 0.5, count)


def _weights(pixels: slice, nodes: np.ndarray) -> np.ndarray:
    """Of linear interpolation from nodes to pixels' centres, `[pixels, nodes]`."""
    centres = np.arange(pixels.start, pixels.stop) + 0.5
    if pixels.stop - pixels.start == 1:
        return np.full((1, nodes.size), 1 / nodes.size)
    return np.stack([np.interp(centres, nodes, one) for one in np.eye(nodes.size)], axis=-1)


def _surface(system: pyproj.CRS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Map coordinates to points of the ellipsoid's surface, geocentric metres `[..., 3]`."""
    geodetic, ellipsoid = system.geodetic_crs, system.ellipsoid
    assert geodetic is not None and ellipsoid is not None
    lon, lat = _to_geodetic(system).transform(x, y)
    radian = geodetic.axis_info[0].unit_conversion_factor
    # Infinite where the projection has no inverse; told apart below by what comes of it.
    with np.errstate(invalid="ignore"):
        lon, lat = lon * radian, lat * radian
        a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
        flat = (b / a) ** 2
        normal = a / np.sqrt(1 - (1 - flat) * np.sin(lat) ** 2)
        return np.stack(
            [normal * np.cos(lat) * np.cos(lon), normal * np.cos(lat) * np.sin(lon), flat * normal * np.sin(lat)], -1
        )


@lru_cache(maxsize=8)
def _to_geodetic(system: pyproj.CRS) -> pyproj.Transformer:
    """Kept, since making one takes longer than a block's few points."""
    geodetic = system.geodetic_crs
    assert geodetic is not None
    return pyproj.Transformer.from_crs(system, geodetic, always_xy=True)
