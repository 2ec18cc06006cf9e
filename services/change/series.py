"""A series of categorical maps: several years, one legend, and places that are never mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from services.change.levels import legend_at
from services.change.map_legend import MapLegend, check_same, read_legend
from services.change.series_items import MapItem, find_items

_OVERLAP = 0.001
"""Share of the smaller of two places above which they are said to overlap; below it edges are merely rounded apart."""


@dataclass(frozen=True)
class Place:
    """One piece of ground with a map of every year."""

    name: str
    maps: tuple[MapItem, ...]
    """One a year, in order of the series' years."""

    @property
    def geometry(self) -> BaseGeometry:
        """Where any of the maps lies, longitude and latitude."""
        return shapely.union_all([one.geometry for one in self.maps])

    @property
    def identity(self) -> list[list[str]]:
        """What differs wherever one of its maps does, a list a map."""
        told = ("file:checksum", "updated", "created")
        return [
            [one.id, one.source, one.href, *(str(one.asset.get(key) or one.properties.get(key)) for key in told)]
            for one in self.maps
        ]


@dataclass(frozen=True)
class Series:
    """Maps of several years with one legend."""

    years: tuple[int, ...]
    legend: MapLegend
    places: tuple[Place, ...]
    area: BaseGeometry | None
    """Area of interest, longitude and latitude; None: all that is mapped."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Places that are left out, with the reason."""
    excluded_ground: dict[str, BaseGeometry] = field(default_factory=dict)
    """Where they lie, longitude and latitude."""
    notes: tuple[str, ...] = ()
    """What a reader of anything computed from the series has to know."""
    compared_at: float | None = None
    """Size of the pixels, metres in UTM, at which maps of several sizes are compared: that of the largest; None: all
    have one."""
    resolution: float | None = None
    """Size of the pixels of what is made, metres in UTM; None: the maps do not tell."""

    @property
    def suffix(self) -> str:
        """What names and collections end with, so that what is made at 30 m and at 10 m lies side by side."""
        return "-30m" if self.resolution and abs(self.resolution - 30) < 0.01 else ""


def open_series(
    maps: str,
    years: Sequence[int] = (),
    geometry: BaseGeometry | None = None,
    *,
    collection: str = "",
    asset: str = "",
    level: int | None = None,
    least: int = 2,
) -> Series:
    """Find the maps of some years, and check that they are a series.

    A place that lacks a year's map is left out and reported in `excluded`; so is none silently.

    Args:
        maps: see `services.change.series_items.find_items`.
        years: in any order; none: all there are.
        geometry: area of interest, longitude and latitude; None: everything.
        collection: see `find_items`.
        asset: see `find_items`.
        level: see `services.change.levels.legend_at`.
        least: years, without which nothing can be told: one of cover, two of change.

    Raises:
        BadInput: no such maps or years, fewer than needed, two maps of one place and year, different legends or levels.
        SourceUnavailable: a server does not answer.
    """
    items = find_items(maps, collection=collection, asset=asset, years=years, geometry=geometry)
    chosen = tuple(sorted({one.year for one in items}))
    if len(chosen) < least:
        raise BadInput(f"{maps!r} has maps of {chosen[0]} alone. Change needs two years: give a catalog with more.")
    legend = legend_at(check_same({one.id: read_legend(one.asset, one.id) for one in items}), items, level)
    places, excluded, ground = [], {}, {}
    for name in dict.fromkeys(one.place for one in items):
        of_place = [one for one in items if one.place == name]
        by_year = {one.year: one for one in of_place}
        for one in of_place:
            if one is not by_year[one.year]:
                raise BadInput(
                    f"{one.id} and {by_year[one.year].id} both map {name} in {one.year}. Give a collection with one "
                    "map a year and place."
                )
        if missing := [str(year) for year in chosen if year not in by_year]:
            excluded[name] = f"no map of {', '.join(missing)}"
            ground[name] = shapely.union_all([one.geometry for one in of_place])
        else:
            places.append(Place(name, tuple(by_year[year] for year in chosen)))
    if not places:
        raise BadInput(
            f"No place of {maps!r} is mapped in all of {', '.join(map(str, chosen))}: "
            + "; ".join(f"{name}: {reason}" for name, reason in list(excluded.items())[:5])
            + ". Give --years that are mapped at the same places."
        )
    sizes = _sizes(places)
    notes, coarsest = (*_notes(places), *_note_of(sizes)), max(sizes, default=None)
    compared_at = coarsest if len(sizes) > 1 else None
    return Series(chosen, legend, tuple(places), geometry, excluded, ground, notes, compared_at, coarsest)


def _sizes(places: Sequence[Place]) -> dict[float, list[int]]:
    """Sizes of the maps' pixels, with the years."""
    sizes: dict[float, list[int]] = {}
    for one in (one for place in places for one in place.maps):
        known = next((size for size in sizes if one.resolution and abs(size - one.resolution) < size * 1e-5), None)
        if one.resolution:
            sizes.setdefault(known or one.resolution, []).append(one.year)
    return sizes


def _note_of(sizes: dict[float, list[int]]) -> Iterator[str]:
    """What it means that pixels are of several sizes."""
    if len(sizes) > 1:
        years_of = {size: ", ".join(map(str, sorted(set(years)))) for size, years in sorted(sizes.items())}
        told = " and ".join(f"{size:g} m in {years}" for size, years in years_of.items())
        yield (
            f"The maps have pixels of {told}. They are compared at {max(sizes):g} m: there a pixel has the class that "
            "most of its smaller ones have, at the edge of a tile most of those that lie in it. Smaller patches cannot "
            "change, and part of the change is that of the pixels."
        )


def _notes(places: Sequence[Place]) -> Iterator[str]:
    """Differences between the maps of a place that are no change of the ground; ground that is counted twice."""
    told: dict[str, dict[int, str]] = {}
    for one in (one for place in places for one in place.maps):
        for key, value in one.properties.items():
            if key == "landloom:model" or key.endswith((":product_version", ":version")):
                told.setdefault(key, {}).setdefault(one.year, str(value))
    for key, versions in told.items():
        if len(set(versions.values())) > 1:
            listed = ", ".join(f"{year} {value}" for year, value in sorted(versions.items()))
            yield (
                f"The years were made by different methods ({key}: {listed}): part of the change is a change of method."
            )
    geod, shapes = pyproj.Geod(ellps="WGS84"), np.array([place.geometry for place in places])
    for one, other in shapely.STRtree(shapes).query(shapes, predicate="intersects").T:
        if one < other:
            parts = shapely.get_parts(shapely.intersection(shapes[one], shapes[other]))
            both = shapely.union_all(parts[shapely.area(parts) > 0])
            if both.area > _OVERLAP * min(shapes[one].area, shapes[other].area):
                hectares = abs(geod.geometry_area_perimeter(shapely.orient_polygons(both))[0]) / 10_000
                yield (
                    f"{places[one].name} and {places[other].name} overlap in {hectares:,.0f} ha, which are counted in "
                    "both wherever both have data."
                )
