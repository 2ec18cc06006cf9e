"""How far a published map agrees with polygons or points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import rasterio
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.transform import rowcol
from rasterio.windows import Window, from_bounds

from catalog.errors import BadInput
from catalog.features import read_features
from catalog.legend import CLOUD, load_legend
from services.evaluation.agreement import Tally
from services.evaluation.pictures import Picture, in_colours
from services.evaluation.result import ClassStyle, Evaluation, Kind, Reference
from services.evaluation.summary import Part, summarize

_CLASSES = "classification:classes"
_ROWS = 1024
"""Of the map, read at a time."""
_PICTURE = 900
"""Pixels of a picture's longer side."""
_AGREE_DIFFER = ("F1F3F5", "3B7DC4", "D0473A")
"""Colours: nothing to compare, both agree, they differ."""


@dataclass(frozen=True)
class _Map:
    """A published class map."""

    item: pystac.Item
    land: tuple[dict[str, Any], ...]
    """Its `classification:classes` that are land cover: neither no data nor cloud."""
    number: Mapping[str, int]
    """Position in `land` by name, the network's classes among the names where the legend is known."""

    def href(self, asset: str) -> str:
        return str(self.item.assets[asset].get_absolute_href())

    @property
    def codes(self) -> np.ndarray:
        return np.array([one["value"] for one in self.land], np.uint8)


def evaluate_map(
    item: str, file: Path, attribute: str, classes: Path | None = None, name: str = ""
) -> tuple[Evaluation, list[Picture]]:
    """Compare a published map with a reference: pixels whose centres lie in a polygon, or that hold a point.

    Where polygons overlap, the one later in the file lies on top. Pixels without a class in the map (no data,
    cloud) are left out and counted.

    Args:
        item: path or URL of the item's JSON.
        file: polygons or points, any format and CRS that geopandas reads.
        attribute: column that tells the class.
        classes: JSON object of the column's values to names of the legend's classes, or null to leave a value out; by
            default the values are names themselves.
        name: of the reference, for titles; by default the file's.

    Returns:
        The evaluation, and a picture of the reference beside the map.

    Raises:
        BadInput: a file cannot be read or lacks the column, a value is no class, nothing of it lies on the map.
    """
    mapped = _open_map(item)
    features, skipped = read_features(file, attribute, mapped.number, classes)
    with rasterio.open(mapped.href("data")) as source:
        features = features.to_crs(source.crs)
        window = _window(features, source)
    if window is None:
        raise BadInput(
            f"Nothing of {str(file)!r} lies on the map {mapped.item.id}. Give polygons or points of the mapped area."
        )
    points = bool((features.geom_type == "Point").all())
    tally, left_out = (_tally_points if points else _tally_polygons)(mapped, features, window)
    if not tally.confusion.any() and not any(left_out.values()):
        raise BadInput(f"No pixel of the map {mapped.item.id} has its centre in a polygon of {str(file)!r}.")
    kind: Kind = "points" if points else "polygons"
    evaluation = summarize(
        subject=mapped.item.id,
        data=f"{file.name}, column {attribute}",
        reference=Reference(name=name or f"the {kind} of {file.name}", kind=kind, unit=kind[:-1]),
        classes=[
            ClassStyle(name=one["name"], title=one.get("title") or one["name"], color=one.get("color_hint", "000000"))
            for one in mapped.land
        ],
        parts=_parts(tally, features, attribute, points),
        left_out=left_out | skipped,
    )
    return evaluation, [] if points else [_picture(mapped, features, window)]


def _open_map(item: str) -> _Map:
    try:
        found = pystac.Item.from_file(item)
    except Exception as error:
        raise BadInput(f"{item!r} cannot be read as a STAC item: {error}. Give the path or URL of an item.") from error
    if not {"data", "confidence"} <= set(found.assets) or _CLASSES not in found.assets["data"].extra_fields:
        raise BadInput(
            f"Item {found.id} needs the assets 'data' (with {_CLASSES}) and 'confidence', as `landloom map` publishes "
            f"them. It has {', '.join(found.assets)}."
        )
    classes = found.assets["data"].extra_fields[_CLASSES]
    models = _model_classes(found)
    clouds = {CLOUD, "clouds", *(name for name, parts in models.items() if CLOUD in parts)}
    land = tuple(one for one in classes if one["value"] != 0 and one["name"] not in clouds)
    number = {part: k for k, one in enumerate(land) for part in models.get(one["name"], ())}
    return _Map(found, land, number | {one["name"]: k for k, one in enumerate(land)})


def _model_classes(item: pystac.Item) -> dict[str, tuple[str, ...]]:
    """The network's classes behind each published one, where the item or a legend that is known here tells them."""
    if told := item.properties.get("landloom:model_classes"):
        return {name: tuple(parts) for name, parts in told.items()}
    try:
        legend = load_legend(str(item.properties.get("landloom:legend", "")).split(" ")[0])
    except BadInput:
        return {}
    return {one.name: one.model_classes for one in legend.classes}


def _window(features: geopandas.GeoDataFrame, source: rasterio.DatasetReader) -> Window | None:
    """The part of the map that the features touch."""
    left, bottom, right, top = features.total_bounds
    found = from_bounds(left, bottom, right, top, source.transform)
    first_row, first_col = max(0, int(np.floor(found.row_off))), max(0, int(np.floor(found.col_off)))
    last_row = min(source.height, int(np.floor(found.row_off + found.height)) + 1)
    last_col = min(source.width, int(np.floor(found.col_off + found.width)) + 1)
    if last_row <= first_row or last_col <= first_col:
        return None
    return Window(first_col, first_row, last_col - first_col, last_row - first_row)


def _tally_polygons(mapped: _Map, features: geopandas.GeoDataFrame, window: Window) -> tuple[Tally, dict[str, int]]:
    names = _names(features)
    nothing = np.zeros(0, np.int64)
    tallies, unmapped, outside = [Tally.count(names, len(mapped.land), nothing, nothing, nothing, nothing)], 0, 0
    with rasterio.open(mapped.href("data")) as data, rasterio.open(mapped.href("confidence")) as confidence:
        for top in range(window.row_off, window.row_off + window.height, _ROWS):
            rows = min(_ROWS, window.row_off + window.height - top)
            strip = Window(window.col_off, top, window.width, rows)
            here = features.iloc[sorted(features.sindex.intersection(data.window_bounds(strip)))]
            if here.empty:
                continue
            # 0 is no polygon.
            shapes = ((shape, number + 1) for number, shape in here.geometry.items())
            burned = rasterize(
                shapes, (rows, window.width), transform=data.window_transform(strip), fill=0, dtype="int32"
            )
            inside = burned > 0
            codes, sure = data.read(1, window=strip)[inside], confidence.read(1, window=strip)[inside]
            tally, clouded, empty = _tally(mapped, features, names, burned[inside] - 1, codes, sure)
            tallies.append(tally)
            unmapped, outside = unmapped + clouded, outside + empty
    return Tally.together(tallies), {"px under cloud in the map": unmapped, "px without data in the map": outside}


def _tally_points(mapped: _Map, features: geopandas.GeoDataFrame, window: Window) -> tuple[Tally, dict[str, int]]:
    with rasterio.open(mapped.href("data")) as data, rasterio.open(mapped.href("confidence")) as confidence:
        codes, sure = data.read(1, window=window), confidence.read(1, window=window)
        grid = data.window_transform(window)
    rows, columns = (np.asarray(one, int) for one in rowcol(grid, features.geometry.x, features.geometry.y))
    on = np.flatnonzero((rows >= 0) & (rows < codes.shape[0]) & (columns >= 0) & (columns < codes.shape[1]))
    at = rows[on], columns[on]
    tally, clouded, empty = _tally(mapped, features, _names(features), on, codes[at], sure[at])
    outside = len(features) - len(on)
    return tally, {
        "points under cloud in the map": clouded,
        "points without data in the map": empty,
        "points beside the map": outside,
    }


def _tally(
    mapped: _Map,
    features: geopandas.GeoDataFrame,
    names: tuple[str, ...],
    feature: np.ndarray,
    codes: np.ndarray,
    confidence: np.ndarray,
) -> tuple[Tally, int, int]:
    """Count pixels, given the number of each one's feature; and those with cloud and without data."""
    number = np.full(256, -1)
    number[mapped.codes] = np.arange(len(mapped.land))
    found, reference = number[codes], features["number"].to_numpy()[feature]
    kept = found >= 0
    tally = Tally.count(names, len(mapped.land), feature[kept], reference[kept], found[kept], confidence[kept] / 100)
    empty = int((codes == 0).sum())
    return tally, int((~kept).sum()) - empty, empty


def _names(features: geopandas.GeoDataFrame) -> tuple[str, ...]:
    return tuple(str(number + 1) for number in range(len(features)))


def _parts(tally: Tally, features: geopandas.GeoDataFrame, attribute: str, points: bool) -> list[Part]:
    """A part a feature, grouped by the column's value; a polygon is a group of its own, too."""
    values = features[attribute].astype(str)
    parts = []
    for k in np.flatnonzero(tally.confusion.any(axis=(1, 2))):
        groups = {attribute: values[k]}
        if not points:
            groups["polygon"] = f"{tally.places[k]} {values[k]}"
        parts.append(Part(Tally((tally.places[k],), tally.confusion[k : k + 1], tally.reliability[k : k + 1]), groups))
    return parts


def _picture(mapped: _Map, features: geopandas.GeoDataFrame, window: Window) -> Picture:
    """The polygons beside the map and where they differ, small enough to look at."""
    step = max(1.0, max(window.width, window.height) / _PICTURE)
    shape = max(1, round(window.height / step)), max(1, round(window.width / step))
    with rasterio.open(mapped.href("data")) as source:
        codes = source.read(1, window=window, out_shape=shape, resampling=Resampling.nearest)
        scale = rasterio.Affine.scale(window.width / shape[1], window.height / shape[0])
        transform = source.window_transform(window) @ scale
    shapes = zip(features.geometry, features["number"] + 1, strict=True)
    drawn = rasterize(shapes, shape, transform=transform, fill=0, dtype="uint8")
    number = np.zeros(256, np.uint8)
    number[mapped.codes] = np.arange(len(mapped.land)) + 1
    found = number[codes]
    differ = np.where((drawn == 0) | (found == 0), 0, np.where(drawn == found, 1, 2))
    colors = ["000000", *(one.get("color_hint", "000000") for one in mapped.land)]
    return Picture(
        title=mapped.item.id,
        caption="nearest pixels, cropped to what is mapped",
        panels=(
            ("reference", _cropped(in_colours(drawn, colors, 0), codes)),
            ("map", _cropped(in_colours(found, colors, 0), codes)),
            ("where they agree (blue) and differ (red)", _cropped(in_colours(differ, _AGREE_DIFFER, 0), codes)),
        ),
    )


def _cropped(panel: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """To the part of the map that has data."""
    rows, cols = np.flatnonzero(codes.any(axis=1)), np.flatnonzero(codes.any(axis=0))
    return panel[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] if rows.size else panel
