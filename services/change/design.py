"""A sample design: what was drawn from which maps, and how. Its JSON is what a report is later made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.errors import BadInput, first_fault
from catalog.manifest import digest
from services.change.domains import Zone
from services.change.map_legend import MapClass
from services.change.series_items import MapItem
from services.change.source_accuracy import SourceAccuracy
from services.change.strata import Stratum


class SourceMap(BaseModel):
    """A map that was sampled."""

    model_config = ConfigDict(frozen=True)

    id: str
    collection: str
    href: str
    year: int


class DesignUnit(BaseModel):
    """A pixel of the sample. What interpreters must not know stands here."""

    model_config = ConfigDict(frozen=True)

    unit: int = Field(description="number, 1 to n, in random order")
    stratum: int
    cell: int
    place: str
    row: int
    col: int
    lon: float
    lat: float
    zone: int = Field(default=-1, description="number of the zone; -1: in none")


class Design(BaseModel):
    """All that is needed to estimate from the sample, once it is interpreted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    years: tuple[int, ...] = Field(min_length=1, max_length=2)
    maps: tuple[SourceMap, ...]
    accuracies: tuple[SourceAccuracy, ...] = Field(description="published, of each year's map")
    expected: tuple[float, ...] = Field(description="user's accuracy that was expected in each stratum")
    classes: tuple[MapClass, ...]
    strata: tuple[Stratum, ...]
    units: tuple[int, ...] = Field(description="drawn from each stratum")
    cells: tuple[float, ...] = Field(description="hectares of each class, or before x K + after")
    unobserved: float = Field(description="hectares that are no data or cloud in any of the maps: not sampled")
    excluded: dict[str, str] = Field(description="places that could not be read, with the reason")
    predicted: dict[str, dict[str, float]] = Field(
        description="expected half-width of each stratum's area, hectares, by allocation"
    )
    geometry: dict[str, Any] = Field(description="GeoJSON of what was sampled from")
    seed: int
    options: dict[str, Any]
    notes: tuple[str, ...]
    software: str
    zones: tuple[Zone, ...] = Field(description="for which areas are to be told; may be none")
    sample: tuple[DesignUnit, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(one.name for one in self.classes)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: another sample has another."""
        return digest(self.model_dump(mode="json"))

    @property
    def label(self) -> str:
        """`2020`, or `2020-2021`."""
        return "-".join(map(str, self.years))


def read_design(file: Path) -> Design:
    """The design that `landloom accuracy design` wrote.

    Raises:
        BadInput: there is none, or it was changed.
    """
    try:
        return Design.model_validate_json(file.read_text())
    except OSError as error:
        raise BadInput(
            f"The design {str(file)!r} cannot be read: {error.strerror or error}. Give the design.json that `landloom "
            "accuracy design` wrote."
        ) from error
    except ValidationError as error:
        raise BadInput(
            f"The design {str(file)!r} is not valid at {first_fault(error)}. Draw the sample anew."
        ) from error


def sources_of(maps: Sequence[MapItem]) -> tuple[SourceMap, ...]:
    """Maps with the collections that they belong to."""
    return tuple(SourceMap(id=one.id, collection=one.collection, href=one.source, year=one.year) for one in maps)
