"""What is asked of each product: the same from the command line and over HTTP, checked alike, told in the same words.

Values, not files: who asks has read them. Maps, area of interest and zones come beside a request: the command line and
the API name them in ways of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.change.emissions import REPEATED

_NAME = r"^([a-z][a-z0-9]*(-[a-z0-9]+)*)?$"
_LONGEST = 100
Year = Annotated[int, Field(ge=1, le=9999)]
Share = Annotated[float, Field(ge=0, le=1)]


class Request(BaseModel):
    """Of any product."""

    # Strict: "2019" is no year and true no number.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)

    collection: str = Field("", max_length=200, description="Collection of the maps, where there are several.")
    asset: str = Field("", max_length=200, description="Key of the map among an item's assets.")


class ProductRequest(Request):
    """Of a product that is published."""

    overwrite: bool = Field(False, description="Make those anew that are up to date, too.")


class SeriesRequest(ProductRequest):
    """Of a product of several years of maps."""

    years: tuple[Year, ...] = Field((), max_length=200, description="Years of the maps; by default all there are.")
    accuracy: str = Field(
        "",
        max_length=500,
        description="What is known of the maps' accuracy, as '85 % (who says so)'; by default what is published of "
        "their collection. Stands in every product.",
    )
    reference: str = Field(
        "",
        max_length=500,
        description="Reference sample that `accuracy report` published, for 95 % intervals; by default one in the "
        "catalog that fits; none: no sample.",
    )


class ChangeRequest(SeriesRequest):
    """What changed: areas, transitions and whether they last."""

    name: str = Field(
        "",
        pattern=_NAME,
        max_length=_LONGEST,
        description="Of the area, for IDs and titles: small letters, digits, hyphens, as alta-floresta.",
    )
    themes: dict[str, Any] | None = Field(None, description="Groups of transitions instead of the usual ones.")
    crosswalk: str = Field("", description="Tell all of it in another legend: ipcc, unccd, worldcover.")
    level: int | None = Field(
        None, ge=1, le=20, description="Of the tree of the maps' classes: 1 the coarsest; by default as published."
    )
    degradation: str = Field("", description="Tell degradation, too: sdg-15-3-1, in UNCCD's classes.")
    minimum_mapping_unit: float = Field(
        0.0, ge=0, lt=1e6, description="Hectares: smaller patches of the transition map are shown as no change; as 0.5."
    )
    note: str = Field("", max_length=1000, description="What readers have to know, as a difference in method.")


class ZonalRequest(SeriesRequest):
    """Area, share and change of each class in each zone; of one year area and share alone."""

    name: str = Field(
        "",
        pattern=_NAME,
        max_length=_LONGEST,
        description="Of the zones, for IDs and titles: small letters, digits, hyphens, as alta-floresta.",
    )
    key: str = Field("", max_length=200, description="Column that tells zones apart; by default `id`, or the number.")
    shown: str = Field(
        "", alias="class", max_length=100, description="Class of the choropleths; by default what changes most."
    )
    ratio: str = Field("", max_length=200, description="Two classes, told one over the other: crops/rangeland.")
    crosswalk: str = Field("", description="Tell all of it in another legend: ipcc, unccd, worldcover.")
    level: int | None = Field(
        None, ge=1, le=20, description="Of the tree of the maps' classes: 1 the coarsest; by default as published."
    )


class GivenMatrix(BaseModel):
    """An error matrix: counts of sample units."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    classes: tuple[str, ...] = Field(min_length=2, max_length=250, description="Named as in the maps' legend.")
    counts: tuple[tuple[Annotated[float, Field(ge=0, lt=1e15)], ...], ...] = Field(
        description="A row for each class of the map, a column for each of the reference, in the same order."
    )


class TemporalRequest(SeriesRequest):
    """The years of a series corrected together by a hidden Markov model."""

    error_matrix: GivenMatrix | None = Field(
        None, description="Error matrix of the maps; without it the published scores are used."
    )
    prior: dict[str, Share] | None = Field(
        None, description='Training prior: {"trees": 0.4, …}; by default their mean score, at least 5 %.'
    )
    transitions: dict[str, dict[str, Share]] | None = Field(
        None, description='Yearly transitions: {"trees": {"trees": 0.99, "crops": 0.01}, …}; by default learnt.'
    )
    repeated: float = Field(REPEATED, ge=0, le=1, description="Share of the errors that come back every year.")
    change_weight: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="How many false changes a missed one weighs: 1 to 1000; by default 6 from an error matrix, 2 from "
        "scores.",
    )


class DesignRequest(Request):
    """A stratified random sample of pixels for interpreters."""

    years: tuple[Year, ...] = Field(min_length=1, max_length=2, description="One year, or two to assess change.")
    standard_error: float = Field(
        0.01, gt=0, lt=1, description="Wanted of overall accuracy: sets the sample's size; as 0.01."
    )
    size: int | None = Field(None, ge=1, le=1_000_000, description="Units of the sample, instead; as 600.")
    interest: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        (), max_length=1000, description="Strata whose areas are to be known best, as crops, trees>crops; none: all."
    )
    expected_accuracy: float | None = Field(
        None, gt=0, lt=1, description="Guess of the share mapped rightly; by default as published."
    )
    merge_below: float = Field(
        0.1, ge=0, lt=100, description="Of two years: per cent of the area below which what changed alike is merged."
    )
    key: str = Field("name", max_length=200, description="Column that tells zones apart.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the random numbers, 0 or more.")


class ReportRequest(ProductRequest):
    """Areas, accuracies and change estimated from an interpreted sample."""

    name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9]+(-[A-Za-z0-9]+)*)?$",
        max_length=_LONGEST,
        description="What is assessed, for the item's ID: letters, digits, hyphens; by default the place.",
    )


def described(request: type[BaseModel], field: str) -> str:
    """What a field is, for a command's help."""
    return request.model_fields[field].description or ""


def product_name(given: str, default: str, crosswalk: str, level: int | None = None, suffix: str = "") -> str:
    """Of what is told and of the legend, for IDs: two products never share one by accident.

    Args:
        given: by the user; empty: the default.
        default: any text.
        crosswalk: name or file of another legend.
        level: of the maps' classes, if not as published.
        suffix: of the series, see there.
    """
    texts = (given or default, Path(crosswalk).stem, "" if level is None else f"level-{level}", suffix)
    return "-".join(part for one in texts if (part := re.sub(r"[^a-z0-9]+", "-", one.lower()).strip("-")))
