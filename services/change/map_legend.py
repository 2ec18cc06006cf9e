"""The classes of a categorical map, as its STAC item tells them: `classification:classes`, or the older `file:values`.

Inside the change products a class is its number in the legend's order, 1 to K, and 0 is unobserved: no data, cloud, or
no map there. So arrays stay uint8 whatever the published codes are.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.errors import BadInput

UNKNOWN = 255
"""Number of values that the legend does not name."""
_NOTHING = {"no_data", "nodata", "no_value", "unclassified", "unknown", "cloud", "clouds"}
"""Names of classes that are no land cover: the pixel was not observed."""


@dataclass(frozen=True)
class MapClass:
    """One class of land cover."""

    value: int
    """In the published map."""
    name: str
    """Lower case, as in `classification:classes`."""
    title: str
    color: str
    """RGB, hexadecimal."""


@dataclass(frozen=True)
class MapLegend:
    """The classes of land cover of a series of maps, in order of their values."""

    classes: tuple[MapClass, ...]
    unobserved: frozenset[int]
    """Values of no data and cloud."""
    translated: tuple[tuple[int, int], ...] = ()
    """Value in the map to value in this legend, where the map has another legend; else they are the same."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes 1 to K."""
        return tuple(one.name for one in self.classes)

    def numbers(self) -> np.ndarray:
        """Published value to class number, uint8 `[256]`: 0 unobserved, `UNKNOWN` not in the legend."""
        table = np.full(256, UNKNOWN, np.uint8)
        table[list(self.unobserved)] = 0
        number = {one.value: k for k, one in enumerate(self.classes, start=1)}
        for value, told in self.translated or [(one, one) for one in number]:
            table[value] = number[told]
        return table


def read_legend(asset: Mapping[str, Any], item: str) -> MapLegend:
    """The legend of a map.

    Args:
        asset: the JSON of the map's asset, or the `item_assets` of its collection.
        item: ID of the map's item, for errors.

    Raises:
        BadInput: it tells no classes, or one twice, or more than fit into a byte.
    """
    told = asset.get("classification:classes") or [
        {"value": value, "title": one.get("summary", "")}
        for one in asset.get("file:values") or ()
        for value in one["values"]
    ]
    if not told:
        raise BadInput(
            f"The map of {item} tells no classes: neither classification:classes nor file:values. "
            "Add one of them to the item's asset."
        )
    nothing, classes = set(_nodata(asset)), {}
    for one in sorted(told, key=lambda one: int(one["value"])):
        value, title = int(one["value"]), str(one.get("title") or one.get("description") or one.get("name"))
        name = _named(str(one.get("name") or title))
        if not 0 <= value <= 255 or value in classes:
            raise BadInput(
                f"Class {name} of {item} has the value {value}, which is "
                f"{'given to another class, too' if value in classes else 'no byte'}. Mend the item's classes."
            )
        if one.get("nodata") or name in _NOTHING:
            nothing.add(value)
        elif value not in nothing:
            color = str(one.get("color_hint") or one.get("color-hint") or "").removeprefix("#").upper()
            classes[value] = MapClass(value, name, title, color)
    if not classes or len(classes) > 250:
        raise BadInput(f"The map of {item} has {len(classes)} classes of land cover. Give one with 1 to 250.")
    return MapLegend(_coloured(classes.values()), frozenset(nothing))


def check_same(legends: Mapping[str, MapLegend]) -> MapLegend:
    """The one legend of several maps, by ID of their items: values must mean the same in all.

    Raises:
        BadInput: they do not; with the first difference.
    """
    (first, legend), *others = legends.items()
    known = {one.value: one.name for one in legend.classes} | dict.fromkeys(legend.unobserved, "no land cover")
    merged = {one.value: one for one in legend.classes}
    for item, other in others:
        there = {one.value: one.name for one in other.classes} | dict.fromkeys(other.unobserved, "no land cover")
        for value in sorted(known.keys() | there.keys()):
            # One side may leave out what the map has no pixel of, but not call it by another name.
            if known.get(value, there.get(value)) != there.get(value, known.get(value)):
                raise BadInput(
                    f"Value {value} is {known[value]!r} in {first} and {there[value]!r} in {item}: the maps have "
                    "different legends, and their difference would not be change. Give maps of one legend."
                )
        known |= there
        merged = {one.value: one for one in other.classes} | merged
    nothing = frozenset().union(*(one.unobserved for one in legends.values()))
    return MapLegend(tuple(merged[value] for value in sorted(merged)), nothing)


def _nodata(asset: Mapping[str, Any]) -> Iterable[int]:
    for part in (asset, *(asset.get("bands") or ()), *(asset.get("raster:bands") or ())):
        value = part.get("nodata")
        if isinstance(value, int | float) and 0 <= value <= 255 and value == int(value):
            yield int(value)


def _named(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


def _coloured(classes: Iterable[MapClass]) -> tuple[MapClass, ...]:
    """With a colour of the hue circle where the map tells none."""
    listed = list(classes)
    coloured = []
    for number, one in enumerate(listed):
        if not re.fullmatch(r"[0-9A-F]{6}", one.color):
            red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(number / len(listed), 0.6, 0.5))
            one = MapClass(one.value, one.name, one.title, f"{red:02X}{green:02X}{blue:02X}")
        coloured.append(one)
    return tuple(coloured)
