"""What is known of the true figures of a product: the best of what a sample, a matrix, or an overall accuracy tell.

In this order: a 95 % interval from a reference sample of the ground; a scenario range from a published error matrix;
areas scaled by a published overall accuracy; nothing, and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.store import Store
from services.change.domains import DomainSample
from services.change.interval_columns import Interval, from_range, from_sample, joined
from services.change.items import part_in
from services.change.pair_uncertainty import MatrixPair, Pair, SamplePair, UnknownPair, no_change
from services.change.reference import Reference, find_reference, inside
from services.change.scenarios import area_ranges
from services.change.series import Series
from services.change.source_accuracy import SourceAccuracy, known_accuracies, read_accuracy, told_together
from services.change.transitions import TransitionMatrix

SAME_GROUND = 0.01
"""Share by which the ground of a figure may differ from the one that the sample stands for."""


@dataclass(frozen=True)
class Uncertainty:
    """What is known of the errors of a product's maps, in the product's classes."""

    years: tuple[int, ...] = ()
    accuracies: tuple[SourceAccuracy, ...] = ()
    """Published, of each year's map."""
    reference: Reference | None = None
    ground: BaseGeometry | None = None
    """Of the product, longitude and latitude."""
    same_maps: bool = False
    """Whether the sample was drawn from the product's maps: its strata can then be found in any part of them."""
    notes: tuple[str, ...] = ()
    strata: np.ndarray | None = field(default=None, compare=False)
    """Hectares of each stratum of the sample in the product, `[H]`, where known."""

    @property
    def published(self) -> str:
        """The maps' published accuracy and where it comes from, in one text; "unknown" if none is."""
        return told_together(self.years, self.accuracies)

    @property
    def accuracy(self) -> str:
        """The maps' accuracy by the reference sample where it was drawn from them, else as published."""
        if self.reference is None or not self.same_maps:
            return self.published
        return " ".join(self.reference.accuracy)

    @property
    def kinds(self) -> str:
        """What can be told at best, in one sentence for items and figures."""
        if self.reference is not None:
            years = self.reference.design.label
            return f"95 % intervals from {self.reference.told}, for {years} and the ground that it was drawn from"
        if any(one.matrix is not None for one in self.accuracies):
            return "none: scenario ranges from a published error matrix instead, of places elsewhere"
        if any(one.overall is not None for one in self.accuracies):
            return "none: areas give or take (1 - overall accuracy) of themselves instead, and nothing of change"
        return "none: the accuracy of the source maps is not known, so no interval can be given"

    def properties(self) -> dict[str, str]:
        """What items say of it."""
        return {"accuracy": self.accuracy, "interval": self.kinds}

    @property
    def note(self) -> str:
        """What stands under figures."""
        return f"Source accuracy: {self.accuracy.rstrip('.')}. Interval: {self.kinds}."

    def counted(self, matrices: Sequence[TransitionMatrix]) -> Uncertainty:
        """The same with what was counted of the product, from which units may borrow.

        Args:
            matrices: of the product, of several pairs of years.
        """
        if self.reference is None or not self.same_maps or self.reference.translated:
            return self
        years = self.reference.design.years
        for one in matrices:
            if (one.from_year, one.to_year) == years:
                cells = one.hectares.ravel()
            elif len(years) == 1 and years[0] in (one.from_year, one.to_year):
                cells = one.hectares.sum(axis=1 if years[0] == one.from_year else 0)
            else:
                continue
            return replace(self, strata=self.reference.strata_hectares(cells, one.names))
        return self

    def fingerprint(self) -> list[object]:
        """Another one where other intervals follow."""
        sample = self.reference and [self.reference.design.fingerprint, self.reference.label.tolist()]
        return [[one.model_dump(mode="json") for one in self.accuracies], sample, self.same_maps]

    def areas(self, year: int, mapped: Mapping[str, float]) -> list[Interval]:
        """Of the classes in a year.

        Args:
            year: of the product.
            mapped: hectares of each class of the legend, of the ground observed in that year.
        """
        total = sum(mapped.values())
        found = self._sampled(year, total)
        if not isinstance(found, str):
            reference, domain, date = found
            factor = total / float(domain.hectares.sum())
            return [
                from_sample(domain.area(reference.label[date] == k), reference, domain).scaled(factor)
                for k in range(len(mapped))
            ]
        accuracy = self._published(year)
        ranges = area_ranges(mapped, accuracy)
        return [from_range(one, accuracy, found) for one in ranges]

    def pair(self, matrix: TransitionMatrix) -> Pair:
        """Of change between two years."""
        found = self._of_pair(matrix)
        if isinstance(found, DomainSample):
            assert self.reference is not None
            return SamplePair(self.reference, found, matrix.observed_hectares)
        first, second = self._published(matrix.from_year), self._published(matrix.to_year)
        if first.matrix is not None and first == second:
            return MatrixPair(matrix, first, found)
        return UnknownPair(joined(found, no_change(first, second)))

    def not_told(self, matrix: TransitionMatrix) -> str:
        """Why the sample does not tell of change between two years; empty: there is none, or it does."""
        found = self._of_pair(matrix)
        return found if isinstance(found, str) else ""

    def _of_pair(self, matrix: TransitionMatrix) -> DomainSample | str:
        if self.reference is None:
            return ""
        reason = not_sampled(self.reference, (matrix.from_year, matrix.to_year))
        return reason or self._domain(matrix.observed_hectares)

    def _published(self, year: int) -> SourceAccuracy:
        return self.accuracies[self.years.index(year)] if year in self.years and self.accuracies else SourceAccuracy()

    def _sampled(self, year: int, hectares: float) -> tuple[Reference, DomainSample, int] | str:
        if self.reference is None:
            return ""
        if year not in self.reference.design.years:
            return not_sampled(self.reference, [year])
        found = self._domain(hectares)
        return found if isinstance(found, str) else (self.reference, found, self.reference.design.years.index(year))

    def _domain(self, hectares: float) -> DomainSample | str:
        """Of the whole product."""
        reference = self.reference
        if reference is None or self.ground is None:
            return ""
        if not reference.covers(self.ground):
            return f"the reference sample {reference.origin} was not drawn from all of this area"
        found = reference.domain(inside(reference, self.ground), self.strata)
        if isinstance(found, str):
            return found
        whole = float(reference.strata.area.sum())
        if found.inside.all() and abs(hectares - whole) > SAME_GROUND * whole:
            return f"the sample stands for {whole:,.0f} ha that its maps observed, this figure is of {hectares:,.0f} ha"
        return found


def find_uncertainty(
    catalogs: Sequence[Store],
    maps: Series,
    product: Series,
    accuracy: str,
    reference: str,
    translation: Mapping[str, str],
) -> Uncertainty:
    """What is known of a product's maps: as the user says, as it is published, and from a published sample.

    Args:
        catalogs: in which a published sample may lie.
        maps: in their own legend.
        product: the same in the product's.
        accuracy: see `read_accuracy`; empty: what is published of the maps' collection.
        reference: see `find_reference`.
        translation: class of the maps to class of the product, where it has another legend.

    Raises:
        BadInput: one of them cannot be read, or does not fit.
    """
    accuracies = (read_accuracy(accuracy),) * len(maps.years) if accuracy else known_accuracies(maps)
    found, note = find_reference(catalogs, reference, maps.years, _ground(maps))
    return uncertainty_of(product, accuracies, found, translation, note)


def _ground(series: Series) -> BaseGeometry:
    return part_in(shapely.union_all([place.geometry for place in series.places]), series.area)


def uncertainty_of(
    series: Series,
    accuracies: Sequence[SourceAccuracy],
    reference: Reference | None = None,
    translation: Mapping[str, str] | None = None,
    note: str = "",
) -> Uncertainty:
    """What is known of a product's maps.

    Args:
        series: the product's maps, in its legend.
        accuracies: published, of each year's map, in the classes of the maps.
        reference: sample, in its own legend; None: there is none.
        translation: class of the maps to class of the product, where it has another legend.
        note: on the choice of the sample.

    Raises:
        BadInput: the sample has a class that the product lacks.
    """
    names = series.legend.names
    groups: dict[str, list[str]] = {}
    if translation:
        for one, target in translation.items():
            groups.setdefault(target, []).append(one)
        known = {name for accuracy in accuracies for name in accuracy.classes}
        there = {name: tuple(one for one in parts if one in known) for name, parts in groups.items()}
        parts_of = {name: parts for name, parts in there.items() if parts}
        accuracies = [one.grouped(names, parts_of) for one in accuracies]
    same_maps = False
    if reference is not None:
        reference = reference.in_legend(names, translation or {})
        # Corrected maps bear the names of those that they were made from.
        drawn = {(one.collection, one.id) for one in reference.design.maps}
        maps = [one for place in series.places for one in place.maps if one.year in reference.design.years]
        own = {(one.collection, one.id) for one in maps}
        same_maps = set(reference.design.years) <= set(series.years) and own <= drawn
    return Uncertainty(series.years, tuple(accuracies), reference, _ground(series), same_maps, (note,) if note else ())


def not_sampled(reference: Reference, years: Sequence[int]) -> str:
    """Why a sample does not tell of some years; empty: it does."""
    if (len(years) == 1 and years[0] in reference.design.years) or tuple(years) == reference.design.years:
        return ""
    return f"the reference sample is of {reference.design.label}, not of {'-'.join(map(str, years))}"
