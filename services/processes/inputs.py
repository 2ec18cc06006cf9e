"""What a client gives a process: what the command line takes, but values and names of the catalog, never an address.

Nothing is opened by a path or a URL that a client chose. A file is named only where the operator has laid it in the
folder for that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from shapely.geometry.base import BaseGeometry

from catalog.area import area_of_bbox, area_of_centre, area_of_geometry
from catalog.errors import BadInput
from services.api.search import read_geometry
from services.change.design import Design
from services.change.requests import (
    ChangeRequest,
    DesignRequest,
    ReportRequest,
    Request,
    SeriesRequest,
    TemporalRequest,
    ZonalRequest,
    described,
)
from services.change.themes import Theme

FILE_NAME = r"^([A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*)?$"
Crosswalk = Literal["", "ipcc", "unccd", "worldcover"]
Degrees = Annotated[float, Field(ge=-180, le=180)]


class Polygonal(BaseModel):
    """A GeoJSON polygon, longitude and latitude."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    type: Literal["Polygon", "MultiPolygon"]
    coordinates: list[Any] = Field(min_length=1)

    def read(self, what: str) -> BaseGeometry:
        """The polygon.

        Raises:
            BadInput: it is none.
        """
        found = read_geometry(self.model_dump(), what)
        assert found is not None
        return found


class Zone(BaseModel):
    """A GeoJSON feature."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    type: Literal["Feature"]
    geometry: Polygonal | None
    properties: dict[str, str | int | float | bool | None] | None = None


class ZoneCollection(BaseModel):
    """GeoJSON features, each a zone."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    type: Literal["FeatureCollection"]
    features: list[Zone] = Field(min_length=1)

    def write(self, path: Path) -> None:
        """As GeoJSON that holds what was checked, and nothing else."""
        path.write_text(json.dumps(self.model_dump()))


class AreaInputs(BaseModel):
    """An area of interest, in one of three ways; without one, all that is mapped."""

    bbox: tuple[Degrees, Degrees, Degrees, Degrees] | None = Field(None, description="W,S,E,N in degrees.")
    centre: tuple[Degrees, Degrees] | None = Field(None, description="LON,LAT in degrees, with size_km.")
    size_km: tuple[float, float] | None = Field(None, description="W,H in kilometres, round centre.")
    area: Polygonal | None = Field(None, description="GeoJSON polygon or multipolygon.")

    def ground(self) -> BaseGeometry | None:
        """The area, longitude and latitude; None: all that is mapped.

        Raises:
            BadInput: several, or half of one, or none that can be.
        """
        given = [name for name in ("bbox", "centre", "area") if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadInput(f"{' and '.join(given)} are given. Give one area: bbox, centre with size_km, or area.")
        if (self.centre is None) != (self.size_km is None):
            raise BadInput("centre and size_km go together; one of them is missing.")
        if self.bbox:
            return area_of_bbox(_listed(self.bbox)).geometry
        if self.centre and self.size_km:
            return area_of_centre(_listed(self.centre), _listed(self.size_km)).geometry
        return area_of_geometry(self.area.read("area"), "area").geometry if self.area else None


class ZoneInputs(BaseModel):
    """Zones, in one of two ways."""

    zones: ZoneCollection | None = Field(None, description="GeoJSON features with polygons; their properties are kept.")
    zones_file: str = Field(
        "", pattern=FILE_NAME, max_length=200, description="Name of a file that the operator has laid ready, instead."
    )


def _no_file(text: str) -> str:
    # The command line reads a file of that name.
    if text.strip().lower().endswith(".json"):
        raise ValueError("a file is not read here: give it as '85 % (who says so)'")
    return text


Accuracy = Annotated[
    str, AfterValidator(_no_file), Field(json_schema_extra={"not": {"pattern": r"\.[jJ][sS][oO][nN]\s*$"}})
]


class SeriesInputs(SeriesRequest):
    """What names a file or an item on the command line."""

    accuracy: Accuracy = Field("", max_length=500, description=described(SeriesRequest, "accuracy"))
    reference: Literal["", "none"] = Field("", description=described(SeriesRequest, "reference"))


class ChangeInputs(AreaInputs, SeriesInputs, ChangeRequest):
    """See `ChangeRequest`."""

    themes: dict[str, Theme] | None = Field(None, description=described(ChangeRequest, "themes"))
    crosswalk: Crosswalk = Field("", description=described(ChangeRequest, "crosswalk"))
    degradation: Literal["", "sdg-15-3-1"] = Field("", description=described(ChangeRequest, "degradation"))


class TemporalInputs(AreaInputs, SeriesInputs, TemporalRequest):
    """See `TemporalRequest`."""


class ZonalInputs(ZoneInputs, SeriesInputs, ZonalRequest):
    """See `ZonalRequest`."""

    crosswalk: Crosswalk = Field("", description=described(ZonalRequest, "crosswalk"))


class DesignInputs(AreaInputs, ZoneInputs, DesignRequest):
    """See `DesignRequest`."""


class ReportInputs(ReportRequest):
    """See `ReportRequest`."""

    collection: str = Field(
        "", max_length=200, description="Other maps to assess than those that the sample was drawn from."
    )
    design: Design = Field(description="design.json, as `accuracy-design` made it.")
    sample: str = Field("", description="The sample, filled in: the text of sample.csv.")
    sample_file: str = Field(
        "", pattern=FILE_NAME, max_length=200, description="Name of a file that the operator has laid ready, instead."
    )


Inputs = ChangeInputs | TemporalInputs | ZonalInputs | DesignInputs | ReportInputs


def laid_file(folder: Path | None, name: str, what: str) -> Path:
    """A file that the operator has laid ready.

    Args:
        folder: for such files; None: there is none.
        name: of the file, see `FILE_NAME`.
        what: the input that names it.

    Raises:
        BadInput: there is none of that name.
    """
    if folder is None:
        raise BadInput(f"{what}: no files are laid ready on this server. Give the content itself.")
    found = (folder / name).resolve()
    # Not by a link to elsewhere either.
    if found.parent != folder.resolve() or not found.is_file():
        there = sorted(one.name for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))
        raise BadInput(f"{what}: there is no file {name!r}. There are {', '.join(there[:20]) or 'none'}.")
    return found


def request_part(inputs: Request, kind: type[Request]) -> dict[str, Any]:
    """The fields of the request that the command line makes, too."""
    return {name: getattr(inputs, name) for name in kind.model_fields}


def _listed(numbers: tuple[float, ...]) -> str:
    return ",".join(map(str, numbers))
