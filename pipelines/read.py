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
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from catalog.atmosphere import bring_to
from catalog.errors import SceneUnreadable, SourceUnavailable
from catalog.model import ModelSpec
from catalog.quality import as_classification
from catalog.radar import RadarScene
from catalog.scenes import Datatake, Exclusion, Raster, Scene
from pipelines.remote import brief, s3_settings, scene_unreadable, seconds_to_wait, signed
from pipelines.window import Grid, read_window

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
            return self._look(datatake, model, Grid(epsg, transform, shape))

    def _look(self, datatake: Datatake, model: ModelSpec, window: Grid) -> Look:
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
            window = Grid(epsg, transform, shape)
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

    def _fill(self, look: Look, gap: np.ndarray, scene: Scene, model: ModelSpec, window: Grid) -> None:
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
        bring_to(model.level, numbers, model.bands, scene.level, scene.sun_zenith)
        if gap.all():
            look.bands = np.multiply(numbers, valid, out=numbers)
        else:
            np.copyto(look.bands, numbers, where=valid)
        if scl is not None:
            look.scl = np.zeros(valid.shape, np.uint8) if look.scl is None else look.scl
            np.copyto(look.scl, scl, where=valid, casting="unsafe")
        if warning:
            look.warnings.append(Exclusion(scene=scene.id, reason=warning))

    def _band(self, scene: Scene, name: str, window: Grid, out: np.ndarray) -> bool:
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

    def _classification(self, scene: Scene, raster: Raster, window: Grid) -> np.ndarray | None:
        """The scene classification, uint8; None if the scene does not reach into the window."""
        found = self._read_raster(scene, raster, window, Resampling.nearest)
        return None if found is None else as_classification(found, scene.sensor)

    def _read_raster(
        self,
        scene: Scene | RadarScene,
        raster: Raster,
        window: Grid,
        resampling: Resampling,
        out: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """The source's numbers on the window's grid, in `out` where they fit; None if the file does not reach there."""
        deadline = time.monotonic() + self._retry_seconds
        delay, broken = 0.5, 0
        while True:
            try:
                with self._dataset(scene, raster) as source:
                    return read_window(source, raster, window, resampling, out)
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


def _harmonise(numbers: np.ndarray, raster: Raster, out: np.ndarray) -> None:
    """The source's numbers as reflectance x 10,000 without offset, at least 1; `out` is uint16 and may be the same."""
    factor, offset = raster.scale * 10_000, round(raster.offset * 10_000)
    if math.isclose(factor, 1, rel_tol=1e-5) and numbers.dtype == np.uint16 and offset <= 0:
        # In whole numbers: what lies below the offset becomes 1.
        np.maximum(numbers, np.uint16(1 - offset), out=out)
        np.subtract(out, np.uint16(-offset), out=out)
    else:
        exact = np.rint(numbers * np.float32(factor) + np.float32(offset))
        np.copyto(out, np.clip(exact, 1, 65535), casting="unsafe")


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
