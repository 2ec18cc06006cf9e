"""The accuracy report of a map, or of a map of change, from an interpreted sample: all figures, as data and as a table.

Mapped and estimated areas stand in columns of their own, and every table names the accuracy of its map and where that
comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas
from pydantic import BaseModel, ConfigDict, Field

from services.change.accuracy import Accuracy, ClassChange, assess, assess_change
from services.change.accuracy_labels import class_labels, transition_labels
from services.change.design import Design, SourceMap
from services.change.domains import DomainSample, ZoneEstimate
from services.change.estimation import Count, Estimate, Strata
from services.change.interpretation import Interpreted
from services.change.other_maps import OtherMaps

USUAL = (
    "Usual interval: estimate +- 1.96 standard errors (Olofsson et al. 2014; Stehman 2014). It covers rare classes too "
    "seldom: where fewer than ten omissions were found it is marked."
)
HOLDS = (
    "95 % interval: Jeffreys' limits in each stratum, joined by recovered variances (Zou and Donner 2008). It holds "
    "where errors are rare, too."
)


class YearAccuracy(BaseModel):
    """A map's accuracy, and the areas of its classes."""

    model_config = ConfigDict(frozen=True)

    year: int
    source: str = Field(description="the map's accuracy and where it comes from, and what was published of it")
    accuracy: Accuracy


class Report(BaseModel):
    """Accuracy and areas from an interpreted sample. Areas are hectares of ground, accuracies 0 to 1."""

    model_config = ConfigDict(frozen=True)

    title: str
    design: str = Field(description="fingerprint of the sample design")
    created: str
    software: str
    hectares: float = Field(description="of ground that was sampled from")
    unobserved: float = Field(description="hectares that were not: no data or cloud in any of the maps")
    drawn: int = Field(description="units")
    interpreted: int = Field(description="units of them with a reference class")
    missing: dict[str, int] = Field(description="units without one, by stratum: taken as like the others there")
    maps: list[SourceMap] = Field(description="that are assessed")
    years: list[YearAccuracy]
    transitions: Accuracy | None = Field(description="of a map of change: transitions, and what stayed as it was")
    changed: Estimate | None = Field(description="area that changed its class, hectares")
    changed_mapped: float | None = Field(description="the same as mapped, hectares")
    changes: list[ClassChange]
    zones: list[ZoneEstimate]
    notes: list[str]

    def source_of_change(self) -> str:
        """What stands under tables of change."""
        return f"Accuracy of the map of change: {_told(self.transitions)} from this sample." if self.transitions else ""


def make_report(design: Design, sample: Interpreted, other: OtherMaps | None = None) -> Report:
    """Estimate all that the sample tells.

    Args:
        design: from which the sample was drawn.
        sample: its interpreted units.
        other: other maps to assess, instead of those that stratified the sample.

    Raises:
        BadInput: a stratum with fewer than two interpreted units.
    """
    k, change = len(design.classes), len(design.years) == 2
    units = np.bincount(sample.stratum, minlength=len(design.strata))
    strata = Strata.of([one.name for one in design.strata], [one.hectares for one in design.strata], units)
    cells = np.array(design.cells) if other is None else other.hectares
    labels = class_labels(design, sample, other)
    years = []
    accuracies = design.accuracies if other is None else other.accuracies
    for year, label, published in zip(design.years, labels, accuracies, strict=True):
        accuracy = assess(strata, sample.stratum, label)
        source = f"Accuracy of the map of {year}: {_told(accuracy)} from this sample of {len(sample.cell)} units. "
        unknown = published.matrix is None and published.overall is None
        source += "No other is published." if unknown else f"Published: {published.told}"
        years.append(YearAccuracy(year=year, accuracy=accuracy, source=source))
    transitions = assess(strata, sample.stratum, transition_labels(design, sample, other)) if change else None
    changed = changed_mapped = None
    if change:
        moved = np.bincount(sample.stratum[sample.reference[0] != sample.reference[1]], minlength=len(units))
        changed = strata.share(Count(moved, np.ones(len(units), bool))).scaled(float(strata.area.sum()))
        changed_mapped = float(cells.sum() - np.trace(cells.reshape(k, k)))
    return Report(
        title=f"Accuracy and areas, {' to '.join(map(str, design.years))}",
        design=design.fingerprint,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        software=version("landloom"),
        hectares=float(strata.area.sum()),
        unobserved=design.unobserved,
        drawn=len(design.sample),
        interpreted=len(sample.cell),
        missing=sample.missing,
        years=years,
        transitions=transitions,
        changed=changed,
        changed_mapped=changed_mapped,
        changes=assess_change(strata, sample.stratum, *labels) if change else [],
        zones=list(_zones(design, sample, strata, other is None)),
        maps=list(design.maps if other is None else other.maps),
        notes=[*_notes(design, other), USUAL, HOLDS],
    )


def table(report: Report) -> pandas.DataFrame:
    """All areas and accuracies, a row for each class, transition and zone; hectares, accuracies 0 to 1."""
    return pandas.DataFrame(_rows(report))


def _rows(report: Report) -> Iterator[dict[str, object]]:
    def numbers(prefix: str, one: Estimate | None) -> dict[str, object]:
        fields = ("standard_error", "half_width", "low", "high")
        return {prefix: one and one.value} | {f"{prefix}_{name}": one and getattr(one, name) for name in fields}

    tables = [(str(one.year), one.accuracy, one.source) for one in report.years]
    if report.transitions:
        tables.append(("transitions", report.transitions, report.source_of_change()))
    for name, accuracy, source in tables:
        for row in accuracy.classes:
            yield {
                "table": name,
                "name": row.name,
                "mapped_ha": row.mapped,
                **numbers("estimated_ha", row.area),
                "mapped_percent": None if row.mapped is None else 100 * row.mapped / report.hectares,
                **numbers("estimated_percent", row.area.scaled(100 / report.hectares)),
                "usual_interval_too_short": row.rare,
                **numbers("users", row.users),
                **numbers("producers", row.producers),
                "mapped_units": row.mapped_units,
                "reference_units": row.reference_units,
                "omissions": row.omissions,
                "source_accuracy": source,
            }
        yield {
            "table": name,
            "name": "overall accuracy",
            **numbers("overall", accuracy.overall),
            "source_accuracy": source,
        }
    for one in report.changes:
        for what, change, of_map in (("net", one.net, one.mapped), ("gain", one.gain, None), ("loss", one.loss, None)):
            yield {
                "table": f"{what} change",
                "name": one.name,
                "mapped_ha": of_map,
                **numbers("estimated_ha", change),
                "source_accuracy": report.source_of_change(),
            }
    for zone in report.zones:
        yield {
            "table": "zones",
            "zone": zone.zone,
            "name": zone.name,
            "mapped_ha": zone.mapped,
            **numbers("estimated_ha", zone.area),
            **(numbers("net_change_ha", zone.net) if len(report.years) == 2 else {}),
            "method": zone.method,
            "reference_units": zone.units,
            "source_accuracy": report.years[-1].source,
        }


def _notes(design: Design, other: OtherMaps | None) -> Iterator[str]:
    yield from design.notes
    yield from (f"Left out: {place}, {why}." for place, why in design.excluded.items())
    if other is not None:
        maps = ", ".join(one.id for one in design.maps)
        yield f"The sample was stratified by other maps ({maps}): estimators of Stehman (2014)."
        yield from other.notes


def _zones(design: Design, sample: Interpreted, strata: Strata, own: bool) -> Iterator[ZoneEstimate]:
    """Areas in the last year, by zone; mapped ones where the maps are the design's own."""
    k = len(design.classes)
    for number, zone in enumerate(design.zones):
        mapped, of_stratum = np.zeros(k), np.zeros(len(design.strata))
        for cell, hectares in zone.cells.items():
            mapped[cell % k] += hectares
            of_stratum[next(h for h, one in enumerate(design.strata) if cell in one.cells)] += hectares
        domain = DomainSample(strata, sample.stratum, sample.zone == number, of_stratum)
        for j, name in enumerate(design.names):
            was, becomes = sample.reference[0] == j, sample.reference[-1] == j
            yield ZoneEstimate(
                zone=zone.name,
                name=name,
                mapped=float(mapped[j]) if own else None,
                units=int(domain.inside.sum()),
                method=domain.method,
                area=domain.area(becomes),
                net=domain.net(was, becomes) if len(design.years) == 2 else None,
            )


def _told(accuracy: Accuracy | None) -> str:
    assert accuracy is not None
    one = accuracy.overall
    return f"overall accuracy {100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f} %)"
