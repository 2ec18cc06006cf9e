"""How change is published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from services.change.degradation import DegradationMatrix
from services.change.series import Series
from services.change.themes import Theme
from services.change.uncertainty import Uncertainty

_OF_PLACE = "none: mapped areas of one place; the item of the whole area tells what is known of the true ones"


@dataclass(frozen=True)
class Settings:
    """How change is published."""

    name: str
    """Of the area of interest, in IDs."""
    themes: dict[str, Theme]
    degradation: DegradationMatrix | None = None
    """Meaning of the transitions; None: nothing is told of degradation."""
    crosswalk: str = ""
    """Name of the legend that all is told in; empty: that of the maps."""
    level: int | None = None
    """Of the tree of the maps' classes; None: as published."""
    minimum_mapping_unit: float = 0.0
    """Hectares; of the transition map alone: areas are counted before."""
    uncertainty: Uncertainty = field(default_factory=Uncertainty)
    """What is known of the source maps' accuracy, and of the true figures."""
    notes: tuple[str, ...] = ()
    """What a reader has to know, besides what the series tells of itself."""
    overwrite: bool = False
    """Make those anew, too, that would be skipped."""


def told_of(series: Series, settings: Settings, *, place: bool) -> dict[str, Any]:
    """What every item says of how it was made and how far it can be trusted.

    Args:
        series: the maps.
        settings: how change is published.
        place: of a place's item. It stays as it is when a sample of the whole area becomes known.
    """
    known = settings.uncertainty
    told = {"accuracy": known.published, "interval": _OF_PLACE} if place else known.properties()
    return {
        "landloom:parameters": {
            "years": list(series.years),
            "area": settings.name,
            "minimum_mapping_unit_hectares": settings.minimum_mapping_unit,
            **({"crosswalk": settings.crosswalk} if settings.crosswalk else {}),
            **({} if settings.level is None else {"level": settings.level}),
            **({"degradation": settings.degradation.title} if settings.degradation and not place else {}),
            **({} if series.compared_at is None else {"compared_at_metres": series.compared_at}),
        },
        "landloom:source_accuracy": told,
        "landloom:notes": [*series.notes, *settings.notes, *(() if place else known.notes)],
    }
