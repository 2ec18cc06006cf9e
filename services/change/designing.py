"""Making a sample design of some maps: counting, stratifying, allocating, drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import geopandas
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from catalog.items import rounded
from services.change.design import Design, DesignUnit, sources_of
from services.change.domains import count_zones, zone_of_points
from services.change.intervals import Z
from services.change.sampling import Drawn, allocate, draw, predicted_errors, predicted_shares, sample_size
from services.change.series import Series
from services.change.source_accuracy import SourceAccuracy, known_accuracies
from services.change.strata import FEWEST_UNITS, Progress, Stratum, cell_name, count_cells, stratify

_TOLD = 10
"""Names in a note, at most."""


@dataclass(frozen=True)
class Wishes:
    """What is asked of a design."""

    standard_error: float = 0.01
    """Of overall accuracy, 0 to 1."""
    size: int | None = None
    """Units, instead of what the standard error asks for."""
    interest: tuple[str, ...] = ()
    """Strata whose areas are to be known best; none: all."""
    expected: float | None = None
    """User's accuracy that is expected of each class of a map; None: the published one."""
    merge_below: float = 0.001
    """Share of the area below which cells of two maps are merged into one stratum."""
    seed: int = 0


def make_design(
    series: Series,
    wishes: Wishes,
    zones: geopandas.GeoDataFrame | None = None,
    on_progress: Progress = lambda done, total: None,
) -> tuple[Design, list[Drawn]]:
    """Count, stratify, allocate and draw.

    Args:
        series: of one or two years, see `services.change.strata.open_maps`.
        wishes: what is asked for.
        zones: for which areas are to be told, frame of `services.change.zones.read_zones`,
            dissolved; None: none.
        on_progress: called with the steps done and all.

    Raises:
        BadInput: a wish that is not possible, or no accuracy is known and none expected.
    """
    steps = 2 * len(series.places)
    counts = count_cells(series, lambda done, total: on_progress(done, steps))
    names = series.legend.names
    strata = stratify(names, counts, wishes.merge_below)
    maps = [one for place in series.places if place.name not in counts.excluded for one in place.maps]
    sources = sources_of(maps)
    accuracies = known_accuracies(series)
    accuracy = _expected(strata, counts.hectares, names, accuracies, wishes.expected)
    hectares, pixels = (np.array([getattr(one, what) for one in strata]) for what in ("hectares", "pixels"))
    weights, shares = hectares / hectares.sum(), predicted_shares(hectares / hectares.sum(), accuracy)
    size = sample_size(weights, accuracy, wishes.standard_error, int(pixels.sum())) if not wishes.size else wishes.size
    if size < 2 * len(strata):
        raise BadInput(
            f"{size} units are too few for {len(strata)} strata ({', '.join(one.name for one in strata)}). "
            f"Give --size {FEWEST_UNITS * len(strata)} or so."
        )
    units = allocate(size, weights, pixels, shares, _numbers(wishes.interest, strata))
    drawn = draw(
        series,
        strata,
        units,
        wishes.seed,
        counts.excluded,
        lambda done, total: on_progress(done + len(series.places), steps),
    )
    in_zone = np.full(len(drawn), -1)
    if zones is not None:
        in_zone = zone_of_points(zones, np.array([one.lon for one in drawn]), np.array([one.lat for one in drawn]))
    allocations = {
        "chosen": units,
        "proportional": units.sum() * weights,
        "equal": np.full(len(strata), units.sum() / len(strata)),
    }
    half_widths = {how: Z * hectares.sum() * predicted_errors(weights, shares, n) for how, n in allocations.items()}
    design = Design(
        years=series.years,
        maps=sources,
        accuracies=accuracies,
        expected=tuple(accuracy.tolist()),
        classes=series.legend.classes,
        strata=tuple(strata),
        units=tuple(units.tolist()),
        cells=tuple(counts.hectares.tolist()),
        unobserved=counts.unobserved,
        excluded=counts.excluded,
        predicted={
            how: dict(zip((one.name for one in strata), widths.tolist(), strict=True))
            for how, widths in half_widths.items()
        },
        geometry=_geometry(series, counts.excluded),
        seed=wishes.seed,
        options=vars(wishes) | {"interest": list(wishes.interest)},
        notes=(*series.notes, *_notes(strata, int(units.sum()), size, names, len(series.years) == 2)),
        software=version("landloom"),
        zones=tuple(count_zones(series, zones, list(counts.excluded))) if zones is not None else (),
        sample=tuple(
            DesignUnit(
                unit=number,
                stratum=one.stratum,
                cell=one.cell,
                place=one.place,
                row=one.row,
                col=one.col,
                lon=round(one.lon, 7),
                lat=round(one.lat, 7),
                zone=int(zone),
            )
            for number, (one, zone) in enumerate(zip(drawn, in_zone, strict=True), start=1)
        ),
    )
    return design, drawn


def _notes(strata: Sequence[Stratum], units: int, size: int, names: Sequence[str], change: bool) -> Iterator[str]:
    """What a reader has to know of the strata."""
    if units > size:
        yield f"{units} units instead of {size}: each stratum gets {FEWEST_UNITS}, or all its pixels."
    if merged := [one for one in strata if len(one.cells) > 1]:
        told = [cell_name(names, cell, change) for one in merged for cell in one.cells]
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        yield f"Too rare for a stratum of their own, and sampled together: {', '.join(told[:_TOLD])}{more}."


def _expected(
    strata: Sequence[Stratum],
    hectares: np.ndarray,
    names: Sequence[str],
    accuracies: Sequence[SourceAccuracy],
    given: float | None,
) -> np.ndarray:
    """User's accuracy expected in each stratum, `[H]`.

    Of a transition the product of the two years': an error in either makes one. Of what stayed the lower of the two:
    errors repeat.
    """
    if given is not None and not 0 < given < 1:
        raise BadInput(f"An expected accuracy of {given:g} is not possible. Give a share between 0 and 1, as 0.8.")
    years = []
    for one in accuracies:
        overall = given if given is not None else one.overall
        if overall is None:
            raise BadInput(
                "No accuracy of these maps is published that Landloom knows of, and the sample's size depends on it. "
                "Give --expected-accuracy, a guess of the share that is mapped rightly, as 0.8."
            )
        of_class = np.full(len(names), overall)
        if given is None and one.matrix is not None:
            matrix = np.array(one.matrix)
            for k, name in enumerate(one.classes):
                of_class[names.index(name)] = matrix[k, k] / matrix[k].sum()
        years.append(of_class)
    of_cell = years[0]
    if len(years) == 2:
        both = np.outer(*years)
        np.fill_diagonal(both, np.minimum(*years))
        of_cell = both.ravel()
    cells = [list(one.cells) for one in strata]
    return np.array([np.average(of_cell[own], weights=hectares[own]) for own in cells])


def _numbers(interest: Sequence[str], strata: Sequence[Stratum]) -> np.ndarray:
    names = [one.name for one in strata]
    if strange := [name for name in interest if name not in names]:
        raise BadInput(f"--interest {strange[0]!r} is no stratum of these maps. They are {', '.join(names)}.")
    return np.array([names.index(name) for name in interest] or range(len(names)))


def _geometry(series: Series, excluded: dict[str, str]) -> dict[str, Any]:
    """What was sampled from, longitude and latitude."""
    parts = [place.geometry for place in series.places if place.name not in excluded]
    whole: BaseGeometry = shapely.union_all(parts)
    if series.area is not None:
        whole = shapely.intersection(whole, series.area)
    return rounded(shapely.orient_polygons(shapely.union_all([p for p in shapely.get_parts(whole) if p.area > 0])))
