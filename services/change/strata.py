"""Strata of a map, or of the change between two: which pixels they hold, and how much ground.

A *cell* is a class of the map, or a pair of classes of two maps (a transition). Each stratum is one cell, or several
that are too rare for one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from services.change.blocks import Block, MapUnreadable, opened
from services.change.ground_area import pixel_areas
from services.change.map_legend import check_same, read_legend
from services.change.series import Place, Series, open_series
from services.change.series_items import find_items

FEWEST_UNITS = 50
"""Units that a stratum gets at least (Olofsson et al. 2014, section 5.1.2: 50 to 100 in rare classes)."""
RARE = "all_rare"
"""Name of the stratum of all that is too rare for one of its own."""
Progress = Callable[[int, int], None]


class Stratum(BaseModel):
    """A part of the maps from which units are drawn."""

    model_config = ConfigDict(frozen=True)

    name: str
    cells: tuple[int, ...] = Field(description="class numbers from 0, or before x K + after for two maps")
    hectares: float
    pixels: int


@dataclass(frozen=True)
class CellCounts:
    """How much of the maps each cell has."""

    hectares: np.ndarray
    """float64 `[K ** dates]`: true ground area."""
    pixels: np.ndarray
    """int64 `[K ** dates]`."""
    unobserved: float
    """Hectares within the area of interest that are no data or cloud in any of the maps: not sampled."""
    excluded: dict[str, str]
    """Places that could not be read, with the reason."""


def open_maps(
    maps: str, years: Sequence[int], area: BaseGeometry | None = None, *, collection: str = "", asset: str = ""
) -> Series:
    """The maps of one year, or of two between which change is asked for.

    Args:
        maps: see `services.change.series_items.find_items`.
        years: one or two.
        area: area of interest, longitude and latitude; None: everything.
        collection: see `find_items`.
        asset: see `find_items`.

    Raises:
        BadInput: no such maps, more than two years, legends or grids that differ.
    """
    if not 1 <= len(set(years)) <= 2:
        raise BadInput(f"{len(set(years))} years are given. Give one to assess a map, or two to assess change.")
    if len(set(years)) == 2:
        return open_series(maps, sorted(set(years)), area, collection=collection, asset=asset)
    items = find_items(maps, collection=collection, asset=asset, years=years, geometry=area)
    places: dict[str, Place] = {}
    for one in items:
        if one.place in places:
            raise BadInput(f"{one.id} and {places[one.place].maps[0].id} both map {one.place}. Give one collection.")
        places[one.place] = Place(one.place, (one,))
    legend = check_same({one.id: read_legend(one.asset, one.id) for one in items})
    return Series((years[0],), legend, tuple(places.values()), area)


@dataclass(frozen=True)
class Cells:
    """The pixels of a block that are observed in all maps."""

    block: Block
    seen: np.ndarray
    """bool `[rows, cols]`."""
    cell: np.ndarray
    """Of each pixel that is seen, int64 `[n]`."""
    hectares: np.ndarray
    """Ground area of each pixel that is seen, float64 `[n]`."""
    unobserved: float
    """Hectares of the block, within the area of interest, that are not seen."""


def cell_blocks(series: Series, place: Place) -> Iterator[Cells]:
    """The blocks of a place.

    Raises:
        MapUnreadable: a file is gone or broken.
    """
    k = len(series.legend.classes)
    with opened(series, place) as maps:
        for block in maps.blocks():
            inside = np.ones(block.codes.shape[1:], bool) if block.inside is None else block.inside
            seen = (block.codes > 0).all(axis=0) & inside
            areas = np.broadcast_to(pixel_areas(maps.crs, maps.transform, block.rows, block.cols), seen.shape)
            cell = np.zeros(int(seen.sum()), np.int64)
            for codes in block.codes if cell.size else ():
                cell = cell * k + codes[seen] - 1
            yield Cells(block, seen, cell, areas[seen], float(areas[inside & ~seen].sum()))


def count_cells(series: Series, on_progress: Progress = lambda done, total: None) -> CellCounts:
    """Count pixels and ground of each cell, block by block.

    Args:
        series: of one or two years.
        on_progress: called with the places done and all.

    Raises:
        BadInput: nothing is mapped in all years.
    """
    size = len(series.legend.classes) ** len(series.years)
    hectares, pixels, unobserved, excluded = np.zeros(size), np.zeros(size, np.int64), 0.0, dict(series.excluded)
    for done, place in enumerate(series.places):
        on_progress(done, len(series.places))
        own, count, unseen = np.zeros(size), np.zeros(size, np.int64), 0.0
        try:
            for one in cell_blocks(series, place):
                own += np.bincount(one.cell, one.hectares, size)
                count += np.bincount(one.cell, minlength=size)
                unseen += one.unobserved
        except MapUnreadable as error:
            excluded[place.name] = str(error)
            continue
        hectares, pixels, unobserved = hectares + own, pixels + count, unobserved + unseen
    on_progress(len(series.places), len(series.places))
    if not pixels.any():
        raise BadInput(
            "No pixel of the maps has a class in all years: nothing can be sampled. "
            + "; ".join(f"{name}: {reason}" for name, reason in list(excluded.items())[:3])
        )
    return CellCounts(hectares, pixels, unobserved, excluded)


def stratify(names: Sequence[str], counts: CellCounts, merge_below: float) -> list[Stratum]:
    """Strata of all cells that occur: each its own, but rare ones together.

    Classes of one map are strata of their own however rare they are, if they have pixels enough; of two maps, cells
    below a share of the area are merged. If all rare ones together have too few pixels, they join the largest
    stratum. The estimators do not mind: they know the class of each unit.

    Args:
        names: of the classes, `[K]`.
        counts: of the cells.
        merge_below: share of the area below which cells of two maps are merged, 0 to 1.
    """
    change, total = len(counts.pixels) > len(names), float(counts.hectares.sum())
    least = merge_below * total if change else 0.0

    def made(name: str, cells: Sequence[int]) -> Stratum:
        own = list(cells)
        hectares, pixels = float(counts.hectares[own].sum()), int(counts.pixels[own].sum())
        return Stratum(name=name, cells=tuple(own), hectares=hectares, pixels=pixels)

    cells = np.flatnonzero(counts.pixels).tolist()
    rare = [cell for cell in cells if counts.pixels[cell] < FEWEST_UNITS or counts.hectares[cell] < least]
    strata = [made(cell_name(names, cell, change), [cell]) for cell in cells if cell not in rare]
    if not rare:
        return strata
    merged = made(cell_name(names, rare[0], change) if len(rare) == 1 else RARE, rare)
    if merged.pixels >= FEWEST_UNITS or not strata:
        return [*strata, merged]
    largest = max(strata, key=lambda one: one.hectares)
    whole = made(largest.name, [*largest.cells, *rare])
    return [whole if one is largest else one for one in strata]


def cell_name(names: Sequence[str], cell: int, change: bool) -> str:
    """`crops`, or `trees>crops` for a transition; what stayed as it was has one name, too."""
    if not change:
        return names[cell]
    before, after = names[cell // len(names)], names[cell % len(names)]
    return before if before == after else f"{before}>{after}"
