"""The maps of a place, opened on their common grid and read block by block; of several resolutions on the coarsest.

Memory does not grow with the size of the maps: a block is at most 2,048 px a side, one byte a pixel and year.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput, LandloomError
from catalog.store_s3 import gdal_settings
from services.change.map_legend import UNKNOWN
from services.change.series import Place, Series
from services.change.series_items import MapItem

BLOCK = 2048
"""Pixels along a block's sides, at most."""
_CACHE_MB = 96
"""GDAL's cache of decoded parts: those that two blocks share are decoded once."""
_EDGE = 0.005
"""Degrees between points on an area's edges, which are straight in longitude and latitude."""


_on_block: ContextVar[Callable[[int, int], None]] = ContextVar("on_block", default=lambda done, total: None)


@contextmanager
def watched(on_block: Callable[[int, int], None]) -> Iterator[None]:
    """Tell of each block that is read, whatever product it is read for: a tile alone takes minutes.

    Args:
        on_block: called with the blocks of the place done and all.
    """
    before = _on_block.set(on_block)
    try:
        yield
    finally:
        _on_block.reset(before)


class MapUnreadable(LandloomError):
    """A map whose file is gone or broken: its place is left out, and reported."""


@dataclass(frozen=True)
class Block:
    """A part of a place."""

    rows: slice
    """Of the place's grid."""
    cols: slice
    codes: np.ndarray
    """Class numbers, uint8 `[years, rows + 2 margin, cols + 2 margin]`: 1 to K, 0 unobserved."""
    inside: np.ndarray | None
    """Pixels whose centres lie in the area of interest, bool `[rows, cols]`; None: all."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, without the margin."""
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start


class OpenPlace:
    """The maps of a place, opened on their common grid, cropped to the area of interest. Made by `opened`."""

    def __init__(self, series: Series, place: Place, sources: Sequence[rasterio.io.DatasetReader]):
        """Args:
        series: that the place belongs to.
        place: with one map a source.
        sources: the maps' files.
        """
        self.series, self.place, self._sources = series, place, sources
        self.crs = sources[0].crs
        coarsest = max(range(len(sources)), key=lambda number: abs(sources[number].transform.a))
        lattice = sources[coarsest].transform
        self._steps = [max(1, round(lattice.a / one.transform.a)) for one in sources]
        self._offsets = [self._offset(lattice, number, coarsest) for number in range(len(sources))]
        if self.several_resolutions and series.compared_at is None:
            raise BadInput(
                f"The maps of {place.name} have pixels of {', '.join(f'{one.transform.a:g}' for one in sources)} m, "
                "which their items do not tell. Give the items proj:transform, so that products say at what size they "
                "are compared."
            )
        # Pixels of the lattice whose centres lie in a file: those that the tile of a finer one owns, too.
        firsts = [[round(start / step) for start in at] for at, step in zip(self._offsets, self._steps, strict=True)]
        lasts = [
            [round((start + size) / step) for start, size in zip(at, one.shape, strict=True)]
            for at, one, step in zip(self._offsets, sources, self._steps, strict=True)
        ]
        (row0, col0), (row1, col1) = np.min(firsts, axis=0).tolist(), np.max(lasts, axis=0).tolist()
        box = (row0, col0, row1, col1)
        self._area = self._on_map(series.area) if series.area is not None else None
        self._ground = self._on_map(place.geometry)
        row0, col0, row1, col1 = self._cropped(box, lattice)
        self.transform: Affine = lattice @ Affine.translation(col0, row0)
        self.shape = row1 - row0, col1 - col0
        self._offsets = [
            (top - row0 * step, left - col0 * step)
            for (top, left), step in zip(self._offsets, self._steps, strict=True)
        ]

    @property
    def several_resolutions(self) -> bool:
        """Whether maps of several resolutions are compared."""
        return len(set(self._steps)) > 1

    def blocks(self, margin: int = 0) -> Iterator[Block]:
        """The blocks that hold any of the area of interest, along rows.

        Args:
            margin: pixels round each block that are read, too; beyond the grid they are unobserved.

        Raises:
            MapUnreadable: a file breaks off.
            BadInput: a value that the legend does not name.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="blocks") as reader:
            # The next block is read while this one is worked on.
            ready: Future[Block | None] | None = None
            total, done, tell = -(-self.shape[0] // BLOCK) * -(-self.shape[1] // BLOCK), 0, _on_block.get()
            for row in range(0, self.shape[0], BLOCK):
                for col in range(0, self.shape[1], BLOCK):
                    rows, cols = (
                        slice(row, min(row + BLOCK, self.shape[0])),
                        slice(col, min(col + BLOCK, self.shape[1])),
                    )
                    before, ready = ready, reader.submit(self._block, rows, cols, margin)
                    if before and (block := before.result()):
                        yield block
                    tell(done, total)
                    done += 1
            if ready and (block := ready.result()):
                yield block

    def _block(self, rows: slice, cols: slice, margin: int) -> Block | None:
        inside = self._within(self._area, rows, cols)
        if inside is not None and not inside.any():
            return None
        shape = rows.stop - rows.start + 2 * margin, cols.stop - cols.start + 2 * margin
        codes = np.zeros((len(self._sources), *shape), np.uint8)
        for number, layer in enumerate(codes):
            self._read(number, rows, cols, margin, layer)
        inner = codes[:, margin : codes.shape[1] - margin, margin : codes.shape[2] - margin]
        empty = np.bitwise_or.reduce(inner, axis=0) == 0
        mapped = self._within(self._ground, rows, cols) if empty.any() else None
        if mapped is not None and (empty & ~mapped).any():
            # Beside its items' ground a file is empty; were that counted as unobserved, so would be its neighbours.
            inside = mapped | ~empty if inside is None else inside & (mapped | ~empty)
        return Block(rows, cols, codes, inside)

    @cached_property
    def _numbers(self) -> np.ndarray:
        """Of each pair of neighbours' values their class numbers, uint16 `[65536]`."""
        numbers = self.series.legend.numbers()
        for source in self._sources:
            if source.nodata is not None and 0 <= source.nodata <= 255 and numbers[int(source.nodata)] == UNKNOWN:
                numbers[int(source.nodata)] = 0
        # Two pixels at a time, since looking up takes its time by the number of look-ups.
        return numbers[np.arange(1 << 16, dtype=np.uint16).view(np.uint8)].view(np.uint16)

    def _read(self, number: int, rows: slice, cols: slice, margin: int, into: np.ndarray) -> None:
        """Class numbers of one year, uint8 `[rows + 2 margin, cols + 2 margin]`, where there is a map."""
        if (step := self._steps[number]) == 1:
            self._read_own(number, rows, cols, margin, into)
            return
        fine = np.zeros((into.shape[0] * step, into.shape[1] * step), np.uint8)
        tall, wide = (slice(part.start * step, part.stop * step) for part in (rows, cols))
        self._read_own(number, tall, wide, margin * step, fine)
        into[:] = most_frequent(fine, step, len(self.series.legend.classes))

    def _read_own(self, number: int, rows: slice, cols: slice, margin: int, into: np.ndarray) -> None:
        """The same in the file's own pixels."""
        source, (top, left) = self._sources[number], self._offsets[number]
        first_row, first_col = rows.start - margin, cols.start - margin
        row0, row1 = max(first_row, top), min(rows.stop + margin, top + source.height)
        col0, col1 = max(first_col, left), min(cols.stop + margin, left + source.width)
        if row0 >= row1 or col0 >= col1:
            return
        item = self.place.maps[number]
        try:
            values = source.read(1, window=Window(col0 - left, row0 - top, col1 - col0, row1 - row0))
        except RasterioError as error:
            raise MapUnreadable(f"the map of {item.id} cannot be read: {_brief(error)}") from error
        even = values if values.size % 2 == 0 else np.append(values, values.flat[-1])
        codes = self._numbers.take(even.ravel().view(np.uint16)).view(np.uint8)[: values.size].reshape(values.shape)
        if codes.max(initial=0) == UNKNOWN:
            strange = int(values[codes == UNKNOWN].flat[0])
            raise BadInput(
                f"The map of {item.id} holds the value {strange}, which its legend does not name. "
                "Add it to the item's classification:classes, as no data if it is none."
            )
        into[row0 - first_row : row1 - first_row, col0 - first_col : col1 - first_col] = codes

    def _offset(self, lattice: Affine, number: int, coarsest: int) -> tuple[int, int]:
        """Row and column of a map's corner in its own pixels, counted from the corner of the coarsest map."""
        source, first, parts = self._sources[number], self.place.maps[coarsest], self._steps[number]
        own, item = source.transform, self.place.maps[number]
        lattice = lattice @ Affine.scale(1 / parts)
        col, row = ~lattice @ (own.c, own.f)
        step = np.subtract((own.a, own.b, own.d, own.e), (lattice.a, lattice.b, lattice.d, lattice.e))
        far = np.abs(step).max() * max(source.shape) / abs(lattice.a)
        if source.crs != self.crs or far > 0.05 or max(abs(row - round(row)), abs(col - round(col))) > 0.05:
            raise BadInput(
                f"{item.id} lies on another grid than {first.id}: {source.crs} {tuple(own)[:6]} and {self.crs} "
                f"{tuple(lattice)[:6]}. Resample one of them to the other's grid, by nearest neighbour."
            )
        return round(row), round(col)

    def _on_map(self, area: BaseGeometry) -> BaseGeometry:
        """The area of interest near this place, in the maps' coordinates."""
        west, south, east, north = self.place.geometry.bounds
        near = shapely.clip_by_rect(shapely.make_valid(area), west - 0.1, south - 0.1, east + 0.1, north + 0.1)
        to_map = pyproj.Transformer.from_crs(4326, self.crs, always_xy=True)
        dense = shapely.segmentize(near, _EDGE)
        moved = shapely.transform(dense, lambda xy: np.column_stack(to_map.transform(xy[:, 0], xy[:, 1])))
        return shapely.make_valid(moved)

    def _cropped(self, box: tuple[int, int, int, int], lattice: Affine) -> tuple[int, int, int, int]:
        if self._area is None:
            return box
        left, bottom, right, top = self._area.bounds
        corners = [~lattice @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
        cols, rows = zip(*corners, strict=True)
        row0, row1 = max(box[0], int(np.floor(min(rows)))), min(box[2], int(np.ceil(max(rows))))
        col0, col1 = max(box[1], int(np.floor(min(cols)))), min(box[3], int(np.ceil(max(cols))))
        if row0 >= row1 or col0 >= col1:
            raise MapUnreadable("its files do not reach the area of interest, though its items do")
        return row0, col0, row1, col1

    def _within(self, area: BaseGeometry | None, rows: slice, cols: slice) -> np.ndarray | None:
        """Pixels whose centres lie in an area, bool `[rows, cols]`; None: all."""
        if area is None:
            return None
        corners = ((cols.start, rows.start), (cols.stop, rows.start), (cols.stop, rows.stop), (cols.start, rows.stop))
        box = shapely.Polygon([self.transform @ corner for corner in corners])
        shapely.prepare(area)
        if area.covers(box):
            return None
        part, shape = area.intersection(box), (rows.stop - rows.start, cols.stop - cols.start)
        if part.area <= 0:
            return np.zeros(shape, bool)
        transform = self.transform @ Affine.translation(cols.start, rows.start)
        return geometry_mask([part], shape, transform, invert=True)


def most_frequent(numbers: np.ndarray, step: int, classes: int) -> np.ndarray:
    """The class that most pixels of each square have, of several as frequent the first; pixels without one do not vote.

    Args:
        numbers: uint8 `[H, W]`, class numbers 1 to K; 0 unobserved, or beyond the file.
        step: pixels along a square.
        classes: K.

    Returns:
        uint8 `[H / step, W / step]`.
    """
    rows, cols = (side // step for side in numbers.shape)
    squares = numbers.reshape(rows, step, cols, step)
    found, most = np.zeros((rows, cols), np.uint8), np.zeros((rows, cols), np.uint8)
    for one in range(1, classes + 1):
        count = (squares == one).sum(axis=(1, 3), dtype=np.uint8)
        better = count > most
        found[better], most[better] = one, count[better]
    return found


@contextmanager
def opened(series: Series, place: Place) -> Iterator[OpenPlace]:
    """Open the maps of a place; those in S3 at `AWS_ENDPOINT_URL` where that is set.

    Raises:
        MapUnreadable: a file is not there, or is no raster: leave the place out, and report it.
        BadInput: the maps lie on different grids, or hold no bytes.
    """
    settings: dict[str, Any] = {"GDAL_CACHEMAX": _CACHE_MB, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
    with rasterio.Env(**settings, **gdal_settings(os.environ.get("AWS_ENDPOINT_URL"))), ExitStack() as files:
        sources = []
        for one in place.maps:
            try:
                sources.append(files.enter_context(rasterio.open(_readable(one))))
            except RasterioError as error:
                raise MapUnreadable(f"the map of {one.id} cannot be opened: {_brief(error)}") from error
            if sources[-1].dtypes[0] != "uint8" or sources[-1].crs is None:
                raise BadInput(
                    f"The map of {one.id} holds {sources[-1].dtypes[0]} in {sources[-1].crs}. Give a map of class "
                    "codes in bytes (uint8) with its coordinate reference system."
                )
        yield OpenPlace(series, place, sources)


def _readable(item: MapItem) -> str:
    if not item.signed:
        return item.href
    import planetary_computer

    return planetary_computer.sign(item.href)


def _brief(error: Exception) -> str:
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
