"""Other maps assessed with a sample that these maps did not stratify: a new version, or another maker's.

The estimators are those of Stehman (2014): strata stay what they were, and each unit gets the class that the other map
has at its centre. How the other map's classes are spread over the strata is not told: each is possible in every one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj

from catalog.errors import BadInput
from services.change.blocks import MapUnreadable, opened
from services.change.design import Design, SourceMap, sources_of
from services.change.series import Place, Series
from services.change.source_accuracy import SourceAccuracy, known_accuracy
from services.change.strata import Progress, cell_blocks

NO_CLASS = "no_class"
"""Of a unit where the other map is no data or cloud: such units count as wrong, since the map does not tell them."""


@dataclass(frozen=True)
class OtherMaps:
    """What other maps have at the units of a design, and in all."""

    cell: np.ndarray
    """Of each unit of the design, in its classes, int64 `[n]`; -1 where a map has none."""
    hectares: np.ndarray
    """Of each cell within the area of the design, float64 `[K ** dates]`."""
    maps: tuple[SourceMap, ...]
    accuracies: tuple[SourceAccuracy, ...]
    notes: tuple[str, ...]


def look_up(series: Series, design: Design, on_progress: Progress = lambda done, total: None) -> OtherMaps:
    """Read other maps where a design has its units, and count their areas.

    Args:
        series: the other maps, of the design's years and area of interest.
        design: whose units were interpreted.
        on_progress: called with the places done and all.

    Raises:
        BadInput: other years, classes that the sample's legend lacks, or no map at any unit.
    """
    if series.years != design.years:
        raise BadInput(
            f"The sample is of {design.label}, the maps are of {'-'.join(map(str, series.years))}. Give --maps of the "
            "sample's years."
        )
    if strange := [name for name in series.legend.names if name not in design.names]:
        raise BadInput(
            f"These maps have the class {strange[0]!r}, which the sample's legend lacks: {', '.join(design.names)}. "
            "Give maps of the same legend."
        )
    number = np.array([design.names.index(name) for name in series.legend.names])
    own, size = len(series.legend.classes), len(design.classes) ** len(design.years)
    # A cell of these maps as a cell of the design.
    in_design = number if len(series.years) == 1 else (number[:, None] * len(design.classes) + number).ravel()
    lon, lat = (np.array([getattr(one, what) for one in design.sample]) for what in ("lon", "lat"))
    cell, hectares, notes = np.full(len(lon), -1), np.zeros(size), list(series.notes)
    maps = [one for place in series.places for one in place.maps]
    for done, place in enumerate(series.places):
        on_progress(done, len(series.places))
        try:
            counted, found = _of_place(series, place, lon, lat, own ** len(series.years))
        except MapUnreadable as error:
            notes.append(f"Left out: {place.name}, {error}.")
            continue
        np.add.at(hectares, in_design, counted)
        cell = np.where((cell < 0) & (found >= 0), in_design[np.maximum(found, 0)], cell)
    on_progress(len(series.places), len(series.places))
    if (cell < 0).all():
        raise BadInput("These maps have a class at no unit of the sample. Give maps of the place that was sampled.")
    if missing := int((cell < 0).sum()):
        notes.append(f"{missing} units have no class in these maps ({NO_CLASS}): they count as wrong.")
    sources = sources_of(maps)
    collections = {one.year: one.collection for one in sources}
    accuracies = tuple(known_accuracy(collections[year], year, design.names) for year in design.years)
    return OtherMaps(cell, hectares, sources, accuracies, tuple(notes))


def _of_place(
    series: Series, place: Place, lon: np.ndarray, lat: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hectares of each cell, `[size]`, and the cell at each point, int64 `[n]`, -1 where there is none."""
    with opened(series, place) as maps:
        to_map = pyproj.Transformer.from_crs(4326, maps.crs, always_xy=True)
        col, row = (np.floor(one).astype(np.int64) for one in ~maps.transform @ to_map.transform(lon, lat))
    counted, found = np.zeros(size), np.full(len(lon), -1)
    for part in cell_blocks(series, place):
        counted += np.bincount(part.cell, part.hectares, size)
        top, left = part.block.rows.start, part.block.cols.start
        here = np.flatnonzero(
            (row >= top) & (row < part.block.rows.stop) & (col >= left) & (col < part.block.cols.stop)
        )
        if here.size:
            whole = np.full(part.seen.shape, -1)
            whole[part.seen] = part.cell
            found[here] = whole[row[here] - top, col[here] - left]
    return counted, found
