"""Crosswalks: the classes of a map told in another legend, as data (`ipcc`, `unccd`, `worldcover`, or a file)."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.errors import BadInput, first_fault
from services.change.map_legend import MapClass, MapLegend
from services.change.series import Series


class CrosswalkClass(BaseModel):
    """A class of the other legend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int = Field(ge=1, le=254)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    color: str = Field(pattern=r"^[0-9A-F]{6}$")
    sources: tuple[str, ...] = Field(alias="from", description="names of classes of any map that belong to it")


class Crosswalk(BaseModel):
    """Another legend, and which classes of maps make up each of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    note: str
    classes: tuple[CrosswalkClass, ...] = Field(min_length=2, max_length=250)

    @property
    def targets(self) -> dict[str, str]:
        """Class of maps to class of this legend."""
        return {name: one.name for one in self.classes for name in one.sources}


def load_crosswalk(name: str) -> Crosswalk:
    """A shipped crosswalk by its name, or the one in a JSON file of the same form.

    Raises:
        BadInput: no such crosswalk or file, or not of that form.
    """
    shipped = resources.files(__name__) / f"{name}.json"
    try:
        return Crosswalk.model_validate_json((shipped if shipped.is_file() else Path(name)).read_text())
    except OSError as error:
        raise BadInput(
            f"There is no crosswalk {name!r}. Give ipcc, unccd, worldcover, or a JSON file, see docs/change.md."
        ) from error
    except ValidationError as error:
        raise BadInput(f"Crosswalk {name!r} is not valid at {first_fault(error)}. See docs/change.md.") from error


def crosswalked(series: Series, crosswalk: Crosswalk) -> Series:
    """The same maps in another legend: they are translated as they are read.

    Raises:
        BadInput: the crosswalk leaves out a class of the maps, or names one twice.
    """
    target: dict[str, int] = {}
    for one in crosswalk.classes:
        for name in one.sources:
            if target.setdefault(name, one.value) != one.value:
                raise BadInput(f"The crosswalk {crosswalk.title!r} gives the class {name!r} twice. Leave one out.")
    if missing := [name for name in series.legend.names if name not in target]:
        raise BadInput(
            f"The crosswalk {crosswalk.title!r} does not say what {', '.join(missing)} of these maps is. "
            "Give a crosswalk file that names every class, or of a legend with levels a coarser --level."
        )
    name_of = {one.value: one.name for one in series.legend.classes}
    values = series.legend.translated or [(value, value) for value in name_of]
    legend = MapLegend(
        classes=tuple(MapClass(one.value, one.name, one.title, one.color) for one in crosswalk.classes),
        unobserved=series.legend.unobserved,
        translated=tuple((value, target[name_of[told]]) for value, told in values),
    )
    note = f"Classes are those of {crosswalk.title} ({crosswalk.source}). {crosswalk.note}"
    return replace(series, legend=legend, notes=(*series.notes, note))
