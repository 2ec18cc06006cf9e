"""The forms of requests: stac-fastapi's, with boxes, times and filters as they came.

`services.api.search` reads them, and says of what is malformed which value it was.
"""

# Annotations are read when requests come: they must be no text, so `from __future__ import annotations` is not here.
from typing import Annotated, Any, Literal

import attr
from fastapi import Query
from pydantic import BaseModel, Field, model_validator
from stac_fastapi.api.models import ItemCollectionUri
from stac_fastapi.extensions.collection_search.request import BaseCollectionSearchGetRequest
from stac_fastapi.types.search import APIRequest, BaseSearchGetRequest, BaseSearchPostRequest

_Box = Annotated[
    str | None, Query(description="West, south, east, north in degrees; west is larger over the antimeridian.")
]
_Moment = Annotated[
    str | None,
    Query(description="RFC 3339: a moment, or an interval as `2020-01-01T00:00:00Z/..`; `..` leaves an end open."),
]


@attr.s
class _Plain(APIRequest):
    bbox: _Box = attr.ib(default=None)
    datetime: _Moment = attr.ib(default=None)


@attr.s
class SearchRequest(_Plain, BaseSearchGetRequest):  # type: ignore[misc]
    """`GET /search`."""


@attr.s
class CollectionsRequest(_Plain, BaseCollectionSearchGetRequest):  # type: ignore[misc]
    """`GET /collections`."""


@attr.s
class ItemsRequest(ItemCollectionUri):
    """`GET /collections/{collection_id}/items`."""

    bbox: _Box = attr.ib(default=None)  # type: ignore[assignment]
    datetime: _Moment = attr.ib(default=None)


class SearchBody(BaseSearchPostRequest):
    """`POST /search`."""

    bbox: list[float] | None = None  # type: ignore[assignment]
    intersects: dict[str, Any] | None = Field(None, description="GeoJSON.")  # type: ignore[assignment]
    datetime: str | None = None

    @model_validator(mode="before")
    @classmethod
    def validate_spatial(cls, values: Any) -> Any:
        """One name instead of a list of names, as some clients write it. Replaces a check that fails on no object."""
        if not isinstance(values, dict):
            return values
        return {
            name: [value] if name in ("collections", "ids") and isinstance(value, str) else value
            for name, value in values.items()
        }


class FilterBody(BaseModel):
    """A filter in `POST /search`: as JSON or, as clients also send it, as text."""

    filter_expr: dict[str, Any] | str | None = Field(None, alias="filter", description="CQL2.")
    filter_crs: str | None = Field(None, alias="filter-crs")
    filter_lang: Literal["cql2-json", "cql2-text"] | None = Field(None, alias="filter-lang")
