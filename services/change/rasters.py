"""The maps of change of one place: transition, persistence, year of change, number of changes.

They are written while the place is counted, so that its years are read once. Areas are counted before any sieving.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.features import sieve
from rasterio.windows import Window

from catalog.cog import plain_profile, write_cog
from catalog.errors import BadInput, StoreError
from services.change.blocks import Block, OpenPlace
from services.change.ground_area import pixel_areas
from services.change.map_legend import MapLegend
from services.change.persistence import KINDS, UNDETERMINED, Persistence

NO_CHANGE = 1
"""Value of the transition map where both years have the same class; 0 is unobserved in either."""
_FIRST = 2
"""Value of the first transition."""
_SIEVED_PIXELS = 250_000_000
"""At most, of a map that is sieved, which needs all of it in memory: two and a half tiles."""


@dataclass(frozen=True)
class ChangeMap:
    """A finished COG."""

    name: str
    """`transition`, `persistence`, `change_year` or `changes`."""
    path: Path
    dtype: str
    nodata: int
    classes: list[dict[str, Any]] = field(default_factory=list)
    """`classification:classes`; none where the values are numbers."""


def transition_value(legend: MapLegend, before: int, after: int) -> int:
    """Value in the transition map of one class number (1 to K) to another; the same in all places of a legend."""
    return _FIRST + (before - 1) * len(legend.classes) + after - 1


class ChangeMaps:
    """Collects the blocks of a place; `write` is a sink of `services.change.tally.tally_place`."""

    def __init__(self, place: OpenPlace, folder: Path, minimum_mapping_unit: float = 0.0):
        """Args:
        place: opened.
        folder: for the files; it must exist.
        minimum_mapping_unit: hectares below which a patch of one transition is shown as no change; 0: none is.

        Raises:
            BadInput: the place is too large to be sieved.
        """
        self._place, self._folder, self._unit = place, folder, minimum_mapping_unit
        self._legend, self._years = place.series.legend, place.series.years
        if minimum_mapping_unit and math.prod(place.shape) > _SIEVED_PIXELS:
            raise BadInput(
                f"A minimum mapping unit needs the whole map in memory, and {place.place.name} has "
                f"{math.prod(place.shape):,} px in the area of interest; {_SIEVED_PIXELS:,} are possible. "
                "Give a smaller area, or no --minimum-mapping-unit."
            )
        largest = transition_value(self._legend, len(self._legend.classes), len(self._legend.classes))
        types = {"transition": "uint8" if largest <= 255 else "uint16"}
        if len(self._years) > 2:
            types |= {"persistence": "uint8", "change_year": "uint16", "changes": "uint8"}
        self._types = types
        self._nodata = dict.fromkeys(types, 0) | ({"changes": 255} if "changes" in types else {})
        self._files = {name: self._created(name) for name in types}

    def write(self, block: Block, found: Persistence) -> None:
        """Write a block.

        Raises:
            StoreError: there is no room.
        """
        codes = block.codes[:, 1:-1, 1:-1]
        before, after = codes[0], codes[-1]
        value = before.astype(np.uint16)
        value -= 1
        value *= len(self._legend.classes)
        value += after
        value += transition_value(self._legend, 1, 1) - 1
        value[before == after] = NO_CHANGE
        value[(before == 0) | (after == 0)] = 0
        layers = {"transition": value}
        if "persistence" in self._types:
            years = np.where(found.since > 0, np.take(self._years, found.since), 0)
            lost = found.kind == UNDETERMINED
            layers |= {
                "persistence": found.kind,
                "change_year": np.where(lost, 0, years),
                "changes": np.where(lost, 255, found.flips),
            }
        window = Window(block.cols.start, block.rows.start, codes.shape[2], codes.shape[1])
        for name, layer in layers.items():
            if block.inside is not None:
                layer = np.where(block.inside, layer, self._nodata[name])
            try:
                self._files[name].write(layer.astype(self._types[name]), 1, window=window)
            except RasterioError as error:
                raise StoreError(f"Cannot write {name}: {error}. Is the temporary folder full?") from error

    def finish(self) -> list[ChangeMap]:
        """Sieve, and make COGs.

        Raises:
            StoreError: there is no room.
        """
        for file in self._files.values():
            file.close()
        return [self._finished(name) for name in self._types]

    def _finished(self, name: str) -> ChangeMap:
        plain, cog = self._plain(name), self._folder / f"{name}.tif"
        classes: list[dict[str, Any]] = []
        if name == "persistence":
            classes = list(_kinds())
        elif name == "transition":
            if self._unit:
                self._sieve(plain)
            classes = list(self._transitions(_values(plain)))
        if classes:
            with rasterio.open(plain, "r+") as file:
                file.update_tags(1, **{f"CLASS_{one['value']}": one["title"] for one in classes if one["value"]})
                if self._types[name] == "uint8":
                    file.write_colormap(1, palette(classes))
        write_cog(plain, cog, classes=True)
        plain.unlink()
        return ChangeMap(name, cog, self._types[name], self._nodata[name], classes)

    def _sieve(self, plain: Path) -> None:
        rows, middle = slice(0, self._place.shape[0]), self._place.shape[1] // 2
        areas = pixel_areas(self._place.crs, self._place.transform, rows, slice(middle, middle + 1))
        size = max(1, math.ceil(self._unit / float(areas.mean()) - 1e-6))
        with rasterio.open(plain, "r+") as file:
            values = file.read(1)
            # A patch smaller than this many pixels takes its largest neighbour's value, by which it is known.
            found = sieve(values, size, connectivity=8)
            values[(found != values) & (values > NO_CHANGE)] = NO_CHANGE
            file.write(values, 1)

    def _transitions(self, seen: Sequence[int]) -> Iterator[dict[str, Any]]:
        first, last = self._years[0], self._years[-1]
        yield {"value": 0, "name": "no_data", "title": f"Not observed in {first} or {last}", "nodata": True}
        yield {"value": NO_CHANGE, "name": "no_change", "title": "No change", "color_hint": "F0F0F0"}
        for i, before in enumerate(self._legend.classes, start=1):
            for j, after in enumerate(self._legend.classes, start=1):
                if (value := transition_value(self._legend, i, j)) in seen and i != j:
                    yield {
                        "value": value,
                        "name": f"{before.name}_to_{after.name}",
                        "title": f"{before.title} to {after.title}",
                        "description": f"{before.title} in {first}, {after.title} in {last}",
                        "color_hint": _mixed(before.color, after.color),
                    }

    def _created(self, name: str) -> rasterio.io.DatasetWriter:
        (height, width), crs = self._place.shape, self._place.crs
        profile: dict[str, Any] = plain_profile(None)
        if name in ("transition", "persistence") and self._types[name] == "uint8":
            profile["photometric"] = "PALETTE"
        return rasterio.open(
            self._plain(name),
            "w",
            height=height,
            width=width,
            count=1,
            dtype=self._types[name],
            nodata=self._nodata[name],
            crs=crs,
            transform=self._place.transform,
            **profile,
        )

    def _plain(self, name: str) -> Path:
        return self._folder / f"{name}.plain.tif"


def palette(classes: Sequence[dict[str, Any]]) -> dict[int, tuple[int, int, int, int]]:
    """`classification:classes` as a GDAL colour table; no data is transparent."""
    table = {one["value"]: (*bytes.fromhex(one["color_hint"]), 255) for one in classes if "color_hint" in one}
    return {0: (0, 0, 0, 0), **table}  # type: ignore[dict-item]


def _kinds() -> Iterator[dict[str, Any]]:
    for value, (name, meaning, color) in KINDS.items():
        title = name.replace("_", " ").capitalize()
        one: dict[str, Any] = {"value": value, "name": name, "title": title, "description": meaning}
        yield {**one, "nodata": True} if value == UNDETERMINED else {**one, "color_hint": color}


def _values(plain: Path) -> list[int]:
    """Which values occur."""
    counts = np.zeros(1 << 16, bool)
    with rasterio.open(plain) as file:
        for _, window in file.block_windows(1):
            counts[np.unique(file.read(1, window=window))] = True
    return np.flatnonzero(counts).tolist()


def _mixed(before: str, after: str) -> str:
    """Three parts of the new class's colour and one of the old one's: both can be told."""
    parts = zip(bytes.fromhex(before), bytes.fromhex(after), strict=True)
    return "".join(f"{round(0.25 * old + 0.75 * new):02X}" for old, new in parts)
