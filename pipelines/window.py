"""A part of a raster file on a tile's grid: read as it lies where the grids agree, interpolated or warped where not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from shapely.geometry import box

from catalog.radar import RadarScene
from catalog.scenes import Raster, Scene

_ROWS = 32
"""Rows worked on at a time, so that temporaries stay in the processor's cache."""


class Grid:
    """A window on a tile's grid."""

    def __init__(self, epsg: int, transform: Affine, shape: tuple[int, int]):
        """Of a CRS, pixel (column, row) to its coordinates, rows and columns."""
        self.epsg, self.transform, self.shape = epsg, transform, shape
        self.bounds = rasterio.transform.array_bounds(*shape, transform)
        to_lonlat = _to_lonlat(epsg)
        outline = shapely.segmentize(box(*self.bounds), 5000)
        self._outline = shapely.transform(outline, lambda xy: np.column_stack(to_lonlat(xy[:, 0], xy[:, 1])))

    def meets(self, scene: Scene | RadarScene) -> bool:
        """Whether a scene's footprint touches the window."""
        west, _, east, _ = self._outline.bounds
        if east - west > 180:
            return True  # Across the antimeridian the outline is inside out; the file itself will tell.
        return bool(scene.outline.intersects(self._outline))


def _to_lonlat(epsg: int) -> Callable[..., tuple]:
    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform


def read_window(
    source: rasterio.DatasetReader, raster: Raster, window: Grid, resampling: Resampling, out: np.ndarray | None
) -> np.ndarray | None:
    """The numbers of a file on a window's grid, `[rows, cols]`; None if the file does not reach there.

    Args:
        source: the file, opened.
        raster: its no data.
        window: where.
        resampling: where the file's pixels are larger than the window's, or lie elsewhere.
        out: is written to where it fits, to spare a copy.

    Raises:
        RasterioError: the file cannot be read.
    """
    nodata = raster.nodata or 0
    step = _step(source, window)
    if step is None:
        with WarpedVRT(
            source,
            crs=f"EPSG:{window.epsg}",
            transform=window.transform,
            height=window.shape[0],
            width=window.shape[1],
            resampling=resampling,
            src_nodata=nodata,
            nodata=nodata,
        ) as warped:
            return warped.read(1)
    # Pixels of the window that the file covers, as first and one past the last; multiples of the file's pixel.
    col0, row0 = (round(v) for v in ~window.transform @ (source.bounds.left, source.bounds.top))
    rows = _meeting(row0, source.height * step, window.shape[0])
    cols = _meeting(col0, source.width * step, window.shape[1])
    if rows is None or cols is None:
        return None
    wanted = (rows[0] - row0, rows[1] - row0, cols[0] - col0, cols[1] - col0)
    if step == 1:
        part = Window.from_slices(wanted[:2], wanted[2:])
        fits = out is not None and out.dtype == source.dtypes[0] and out.shape == (part.height, part.width)
        # A view, since rasterio leaves what it is given in another shape where reading fails.
        found = source.read(1, window=part, out=out[:] if out is not None and fits else None)
    else:
        found = _read_finer(source, step, *wanted, nodata, resampling)
    if found.shape == window.shape:
        return found
    whole = np.full(window.shape, nodata, found.dtype)
    whole[slice(*rows), slice(*cols)] = found
    return whole


def _step(source: rasterio.DatasetReader, window: Grid) -> int | None:
    """How many pixels of the window make one of the file, if their edges fall together; else None."""
    here, there = window.transform, source.transform
    if source.crs is None or source.crs.to_epsg() != window.epsg or there.b or there.d:
        return None
    step = round(there.a / here.a)
    if step < 1 or not _alike(there.a, step * here.a) or not _alike(there.e, step * here.e):
        return None
    offsets = np.array(~here @ (there.c, there.f))
    return step if np.allclose(offsets, np.round(offsets), atol=1e-3) else None


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5)


def _meeting(start: int, length: int, size: int) -> tuple[int, int] | None:
    first, last = max(0, start), min(size, start + length)
    return (first, last) if first < last else None


def _read_finer(
    source: rasterio.DatasetReader,
    step: int,
    row0: int,
    row1: int,
    col0: int,
    col1: int,
    nodata: float,
    resampling: Resampling,
) -> np.ndarray:
    """A part of a coarser file at the window's resolution; rows and columns in fine pixels from the file's corner."""
    # One coarse pixel more on each side, so that interpolation does not stop at the window's edge.
    first = [max(0, start // step - 1) for start in (row0, col0)]
    last = [min(size, -(-stop // step) + 1) for size, stop in ((source.height, row1), (source.width, col1))]
    coarse = source.read(1, window=Window(first[1], first[0], last[1] - first[1], last[0] - first[0]))
    if resampling is Resampling.nearest:
        fine = coarse.repeat(step, axis=0).repeat(step, axis=1)
    else:
        fine = upsample(coarse, step, nodata)
    return fine[row0 - first[0] * step : row1 - first[0] * step, col0 - first[1] * step : col1 - first[1] * step]


def upsample(coarse: np.ndarray, step: int, nodata: float) -> np.ndarray:
    """Bilinear interpolation between pixel centres, pixel edges kept; a fine pixel is no data where its coarse one is.

    Args:
        coarse: `[H, W]`, unsigned integers.
        step: fine pixels along one coarse pixel.
        nodata: coarse pixels of this value lend nothing to their neighbours.

    Returns:
        `[H step, W step]` of the same type.
    """
    height, width = coarse.shape
    padded = np.pad(coarse, 1, mode="edge")
    out = np.empty((height * step, width * step), coarse.dtype)
    for row in range(0, height, _ROWS):
        strip = padded[row : row + _ROWS + 2].astype(np.uint32)
        empty = strip == nodata
        if empty.any():
            known = (~empty).astype(np.uint32)
            weight = _interpolate(known, step)
            fine = (_interpolate(strip * known, step) + weight // 2) // np.maximum(weight, 1)
            fine[empty[1:-1, 1:-1].repeat(step, axis=0).repeat(step, axis=1)] = nodata
        else:
            fine = (_interpolate(strip, step) + 2 * step * step) // (4 * step * step)
        out[row * step : (row + _ROWS) * step] = fine
    return out


def _interpolate(values: np.ndarray, step: int) -> np.ndarray:
    """Linear along both axes, times `4 step^2`, in whole numbers; `[H + 2, W + 2]` to `[H step, W step]`."""
    rows, cols = values.shape[0] - 2, values.shape[1] - 2
    for axis, size in ((0, (rows * step, cols + 2)), (1, (rows * step, cols * step))):
        lead = (slice(None),) * axis
        inner, before, after = (values[(*lead, part)] for part in (slice(1, -1), slice(None, -2), slice(2, None)))
        # In half fine pixels: how far each fine pixel's centre lies from the coarse one's.
        distances = [2 * k + 1 - step for k in range(step)]
        phases = [
            inner * np.uint32(2 * step - abs(d)) + (after if d > 0 else before) * np.uint32(abs(d)) for d in distances
        ]
        values = np.stack(phases, axis=axis + 1).reshape(size)
    return values
