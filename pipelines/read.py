"""Read one datatake's window of the network's bands onto a tile's grid, as the network wants it.

One `SceneReader` serves a worker process: it keeps files of other machines open, so a scene's header is read once and
not once per block, reads the bands side by side, and signs addresses when it opens them.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from shapely.geometry import box

from catalog.atmosphere import USUAL_AEROSOL, Atmosphere
from catalog.errors import SceneUnreadable, SourceUnavailable
from catalog.model import ModelSpec
from catalog.quality import as_classification
from catalog.radar import RadarScene
from catalog.scenes import Datatake, Exclusion, Raster, Scene
from pipelines.remote import brief, s3_settings, scene_unreadable, seconds_to_wait, signed

GDAL_SETTINGS = {
    "GDAL_CACHEMAX": "32",  # Megabytes a worker process.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # A failed request must be asked again, not answered from memory; open files keep their headers all the same.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "0.3",
}
"""Set in the environment where the user has not, since reading runs in several threads."""
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
"""From glibc's `malloc.h`."""
_ROWS = 32
"""Rows worked on at a time, so that temporaries stay in the processor's cache."""
_THREADS = 7
"""Files read at once: six bands and the scene classification."""
OPEN_FILES = 256
"""Files far away kept open in a worker process: 24 datatakes of six bands and a scene classification, some of two
products. Each holds half a megabyte: GDAL keeps the buffer of the last part it read."""
_USUAL_ZENITH = 40.0
"""Degrees, where a scene does not tell."""
_BROKEN = 4
"""Failures in a row, on fresh connections to a server that is well, after which a file is taken for broken."""
_DARK, _BRIGHT = 1, 12_000
"""Medians of the visible bands (reflectance x 10,000) beyond which a scene is implausible."""


@dataclass
class Look:
    """One datatake over one window."""

    bands: np.ndarray
    """uint16 `[bands, rows, cols]`, reflectance x 10,000 without offset, valid values at least 1, 0 = no data."""
    scl: np.ndarray | None
    """uint8 `[rows, cols]`, scene classification, 0 = none; None if no scene has one."""
    problems: list[Exclusion] = field(default_factory=list)
    """Scenes that cannot be read and were left out."""
    warnings: list[Exclusion] = field(default_factory=list)
    """Scenes that were used, but are implausibly dark or bright."""


class SceneReader:
    """Reads windows of scenes. Not to be shared between processes; of several threads one reads at a time."""

    def __init__(self, retry_seconds: float = 300.0):
        """How long a source that fails in ways that may pass is tried again."""
        for name, value in GDAL_SETTINGS.items():
            os.environ.setdefault(name, value)
        _give_memory_back()
        self._retry_seconds = retry_seconds
        self._open: OrderedDict[str, rasterio.DatasetReader] = OrderedDict()
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="band")
        self._unreadable: dict[str, str] = {}

    def read(self, datatake: Datatake, model: ModelSpec, epsg: int, transform: Affine, shape: tuple[int, int]) -> Look:
        """Mosaic the scenes of a datatake over a window.

        Args:
            datatake: its scenes fill each other's gaps, in their order.
            model: the network that is to see them: its bands, at its level.
            epsg: CRS of the window.
            transform: of the window.
            shape: rows and columns of the window.

        Raises:
            SourceUnavailable: a file could not be read for `retry_seconds`, for reasons that may pass.
        """
        with self._reading:
            return self._look(datatake, model, _Grid(epsg, transform, shape))

    def _look(self, datatake: Datatake, model: ModelSpec, window: _Grid) -> Look:
        look = Look(np.zeros((len(model.bands), *window.shape), np.uint16), None)
        for scene in datatake.scenes:
            gap = look.bands[0] == 0
            if not window.meets(scene) or not gap.any():
                continue
            if scene.id in self._unreadable:
                look.problems.append(Exclusion(scene=scene.id, reason=self._unreadable[scene.id]))
                continue
            try:
                self._fill(look, gap, scene, model, window)
            except SceneUnreadable as error:
                self._unreadable[scene.id] = str(error)
                look.problems.append(Exclusion(scene=scene.id, reason=str(error)))
        return look

    def read_rasters(
        self, scene: RadarScene, rasters: Sequence[Raster], epsg: int, transform: Affine, shape: tuple[int, int]
    ) -> list[np.ndarray] | None:
        """The numbers of some of a scene's files on a window's grid, each pixel the nearest of the file's.

        Args:
            scene: whose they are.
            rasters: to be read, side by side.
            epsg: CRS of the window.
            transform: of the window, 10 m pixels.
            shape: rows and columns of the window.

        Returns:
            `[rows, cols]` each, beyond a file its no data or 0; None if the scene does not reach into the window.

        Raises:
            SceneUnreadable: no further try will read it.
            SourceUnavailable: as for `read`.
        """
        with self._reading:
            window = _Grid(epsg, transform, shape)
            if not window.meets(scene):
                return None
            if scene.id in self._unreadable:
                raise SceneUnreadable(self._unreadable[scene.id])
            reads = [
                self._pool.submit(self._read_raster, scene, raster, window, Resampling.nearest) for raster in rasters
            ]
            wait(reads)
            try:
                found = [read.result() for read in reads]
            except SceneUnreadable as error:
                self._unreadable[scene.id] = str(error)
                raise
            reached = [one for one in found if one is not None]
            return reached if len(reached) == len(rasters) else None

    def _fill(self, look: Look, gap: np.ndarray, scene: Scene, model: ModelSpec, window: _Grid) -> None:
        """Fill the gaps of a look from one scene."""
        numbers = np.empty_like(look.bands)
        reads: list[Future] = [
            self._pool.submit(self._band, scene, name, window, numbers[k]) for k, name in enumerate(model.bands)
        ]
        classes = self._pool.submit(self._classification, scene, scene.scl, window) if scene.scl else None
        # All of them, also when one fails: a file must not be read by two threads at once.
        wait([*reads, classes] if classes else reads)
        reached = [read.result() for read in reads]
        scl = classes.result() if classes else None
        if not all(reached):
            return
        valid = gap & (numbers.min(axis=0) > 0)
        if not valid.any():
            return
        warning = _implausible(numbers, valid, model.bands)
        if model.level == "L1C" and scene.level == "L2A":
            _raise_to_top(numbers, scene, model.bands)
        if gap.all():
            look.bands = np.multiply(numbers, valid, out=numbers)
        else:
            np.copyto(look.bands, numbers, where=valid)
        if scl is not None:
            look.scl = np.zeros(valid.shape, np.uint8) if look.scl is None else look.scl
            np.copyto(look.scl, scl, where=valid, casting="unsafe")
        if warning:
            look.warnings.append(Exclusion(scene=scene.id, reason=warning))

    def _band(self, scene: Scene, name: str, window: _Grid, out: np.ndarray) -> bool:
        """Write one band's reflectance, 0 = no data, to `out`; False if the scene does not reach into the window."""
        raster = scene.bands[name]
        found = self._read_raster(scene, raster, window, Resampling.bilinear, out)
        if found is None:
            return False
        for start in range(0, len(out), _ROWS):
            rows = slice(start, start + _ROWS)
            # Decided on the source's own numbers.
            known = found[rows] != (raster.nodata or 0)
            _harmonise(found[rows], raster, out[rows])
            out[rows] *= known
        return True

    def _classification(self, scene: Scene, raster: Raster, window: _Grid) -> np.ndarray | None:
        """The scene classification, uint8; None if the scene does not reach into the window."""
        found = self._read_raster(scene, raster, window, Resampling.nearest)
        return None if found is None else as_classification(found, scene.sensor)

    def _read_raster(
        self,
        scene: Scene | RadarScene,
        raster: Raster,
        window: _Grid,
        resampling: Resampling,
        out: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """The source's numbers on the window's grid, in `out` where they fit; None if the file does not reach there."""
        deadline = time.monotonic() + self._retry_seconds
        delay, broken = 0.5, 0
        while True:
            try:
                with self._dataset(scene, raster) as source:
                    return _read_window(source, raster, window, resampling, out)
            except (RasterioError, OSError) as error:
                self._close(raster.href)
                pause = seconds_to_wait(scene, raster.href, error)
                broken = broken + 1 if pause is None else 0
                if broken == _BROKEN:
                    raise scene_unreadable(raster.href, brief(error)) from error
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SourceUnavailable(
                        f"{raster.href} could not be read for {self._retry_seconds:.0f} s: {brief(error)}. "
                        "Run again when the source is well; finished blocks are kept."
                    ) from error
                time.sleep(min(max(pause or 0.0, delay * random.uniform(0.5, 1.0)), left))
                delay = min(delay * 2, 30.0)

    @contextmanager
    def _dataset(self, scene: Scene | RadarScene, raster: Raster) -> Iterator[rasterio.DatasetReader]:
        """An open file. Far away it stays open: its header takes a request. Here it does not: each holds memory."""
        with self._lock:
            opened = self._open.get(raster.href)
            if opened is not None:
                self._open.move_to_end(raster.href)
        if opened is None:
            with rasterio.Env(**s3_settings()):
                opened = rasterio.open(signed(scene, raster.href))
        if "://" not in raster.href:
            with opened:
                yield opened
            return
        with self._lock:
            self._open[raster.href] = opened
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        yield opened

    def _close(self, href: str) -> None:
        with self._lock:
            opened = self._open.pop(href, None)
        if opened is not None:
            opened.close()


def _give_memory_back() -> None:
    """Bands are read in threads, each of which would keep what it freed for itself, and so would holes in the heap."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 8_000_000)
        # Less than this at the heap's end is kept: every part of a file that is decoded asks for half a megabyte.
        libc.mallopt(_M_TRIM_THRESHOLD, 64_000_000)


class _Grid:
    """A window on a tile's grid."""

    def __init__(self, epsg: int, transform: Affine, shape: tuple[int, int]):
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


def _read_window(
    source: rasterio.DatasetReader, raster: Raster, window: _Grid, resampling: Resampling, out: np.ndarray | None
) -> np.ndarray | None:
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


def _step(source: rasterio.DatasetReader, window: _Grid) -> int | None:
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


def _harmonise(numbers: np.ndarray, raster: Raster, out: np.ndarray) -> None:
    """The source's numbers as reflectance x 10,000 without offset, at least 1; `out` is uint16 and may be the same."""
    factor, offset = raster.scale * 10_000, round(raster.offset * 10_000)
    if _alike(factor, 1) and numbers.dtype == np.uint16 and offset <= 0:
        # In whole numbers: what lies below the offset becomes 1.
        np.maximum(numbers, np.uint16(1 - offset), out=out)
        np.subtract(out, np.uint16(-offset), out=out)
    else:
        exact = np.rint(numbers * np.float32(factor) + np.float32(offset))
        np.copyto(out, np.clip(exact, 1, 65535), casting="unsafe")


def _raise_to_top(numbers: np.ndarray, scene: Scene, bands: Sequence[str]) -> None:
    """Surface to top-of-atmosphere reflectance, in place, as a network that knows only that wants it."""
    zenith = _USUAL_ZENITH if scene.sun_zenith is None else scene.sun_zenith
    air = Atmosphere.of(USUAL_AEROSOL, zenith, bands)
    for number, band in enumerate(numbers):
        top = air.raise_band(number, band.astype(np.float32) / 10_000)
        np.copyto(band, np.clip(np.rint(top * 10_000), 1, 65535), casting="unsafe")


def _implausible(bands: np.ndarray, valid: np.ndarray, names: Sequence[str]) -> str:
    """What is odd about a scene's visible bands, if anything is; judged on one pixel of 64."""
    visible = [name for name in ("B02", "B03", "B04") if name in names]
    sample = bands[[names.index(name) for name in visible], ::8, ::8][:, valid[::8, ::8]]
    if not sample.size:
        return ""
    medians = np.median(sample, axis=1)
    told = ", ".join(f"{name} {median / 10000:.4f}" for name, median in zip(visible, medians, strict=True))
    if medians.max() <= _DARK:
        return f"implausibly dark (median reflectance {told}): is an offset removed twice?"
    if medians.min() > _BRIGHT:
        return f"implausibly bright (median reflectance {told}): is the scale right?"
    return ""
