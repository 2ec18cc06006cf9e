"""How change is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.change.degradation import DegradationMatrix
from services.change.series import Series
from services.change.themes import Theme


@dataclass(frozen=True)
class Settings:
    """How change is published."""

    name: str
    """Of the area of interest, in IDs."""
    themes: dict[str, Theme]
    degradation: DegradationMatrix | None = None
    """Meaning of the transitions; None: nothing is told of degradation."""
    minimum_mapping_unit: float = 0.0
    """Hectares; of the transition map alone: areas are counted before."""
    accuracy: str = "unknown"
    """Of the source maps: a figure and where it comes from."""
    notes: tuple[str, ...] = ()
    """What a reader has to know, besides what the series tells of itself."""
    overwrite: bool = False
    """Make those anew, too, that would be skipped."""

    @property
    def interval(self) -> str:
        """Why no figure has one."""
        if self.accuracy == "unknown":
            return "none: the accuracy of the source maps is not known, so no interval can be given"
        return "none: the accuracy is given, but no error matrix or reference sample from which intervals follow"


def told_of(series: Series, settings: Settings) -> dict[str, Any]:
    """What every item says of how it was made and how far it can be trusted."""
    return {
        "landloom:parameters": {
            "years": list(series.years),
            "area": settings.name,
            "minimum_mapping_unit_hectares": settings.minimum_mapping_unit,
        },
        "landloom:source_accuracy": {"accuracy": settings.accuracy, "interval": settings.interval},
        "landloom:notes": [*series.notes, *settings.notes],
    }
