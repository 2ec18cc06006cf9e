"""What is asked of the catalog: a search as every index understands it, and how it is read from a request.

STAC API 1.0 (item search), with the extensions sort and filter; what is malformed is refused by name and value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cql2
import shapely
from fastapi import HTTPException
from shapely.geometry.base import BaseGeometry
from stac_fastapi.types.rfc3339 import str_to_interval

from catalog.errors import BadInput

MAX_LIMIT = 1000
"""Items of one page, whatever is asked: as OGC API - Features wants it, a larger limit is no error."""
_MAX_NAMES = 1000
_MAX_SORTS = 5
_MAX_TEXT = 20_000
_MAX_NESTING = 100
_MAX_VERTICES = 10_000


@dataclass(frozen=True)
class Sort:
    """One field to order by; items without it come last."""

    field: str
    descending: bool = False


DEFAULT_SORT = (Sort("datetime", descending=True),)


@dataclass(frozen=True)
class Search:
    """A search. What is empty or None asks for nothing."""

    collections: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    area: BaseGeometry | None = None
    """Longitude and latitude; a box over the antimeridian is two boxes."""
    start: datetime | None = None
    end: datetime | None = None
    filter: dict[str, Any] | None = None
    """CQL2 as JSON."""
    sort: tuple[Sort, ...] = DEFAULT_SORT
    limit: int = 10
    token: str | None = None
    """Where the page before ended."""


@dataclass(frozen=True)
class Page:
    """Items found, and where the next page begins, if there is one."""

    items: list[dict[str, Any]] = field(default_factory=list)
    next: str | None = None


def read_names(what: str, names: Iterable[str] | None) -> tuple[str, ...]:
    """IDs asked for."""
    found = tuple(names or ())
    if len(found) > _MAX_NAMES:
        raise BadInput(f"{what} names {len(found)} IDs; at most {_MAX_NAMES} can be asked for at once.")
    return found


def read_limit(limit: int | None) -> int:
    """Items of a page."""
    return min(limit or 10, MAX_LIMIT)


def read_bbox(values: str | Sequence[float] | None) -> BaseGeometry | None:
    """The area of a box of 4 or 6 numbers (heights are passed over), west larger than east over the antimeridian."""
    if values is None:
        return None
    try:
        numbers = [float(value) for value in (values.split(",") if isinstance(values, str) else values)]
    except (TypeError, ValueError) as error:
        raise BadInput(f"bbox {values!r} is no list of numbers. Give west,south,east,north.") from error
    if len(numbers) not in (4, 6):
        raise BadInput(f"bbox {values!r} has {len(numbers)} numbers. Give west,south,east,north.")
    west, south, east, north = numbers if len(numbers) == 4 else (*numbers[:2], *numbers[3:5])
    shown = ",".join(f"{number:g}" for number in numbers)
    if not all(math.isfinite(number) for number in numbers) or max(abs(west), abs(east)) > 180:
        raise BadInput(f"bbox {shown}: longitudes go from -180 to 180.")
    if not -90 <= south <= north <= 90:
        raise BadInput(f"bbox {shown}: give south before north, both from -90 to 90.")
    if west <= east:
        return _box(west, south, east, north)
    return shapely.union_all([_box(west, south, 180, north), _box(-180, south, east, north)])


def _box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    # A box without width is a line or a point, which touch what a polygon of no area would not.
    corners = shapely.MultiPoint([(west, south), (east, south), (east, north), (west, north)])
    return corners.convex_hull


def read_geometry(geometry: str | dict[str, Any] | None, what: str = "intersects") -> BaseGeometry | None:
    """A GeoJSON geometry."""
    if geometry is None:
        return None
    try:
        parsed = json.loads(geometry) if isinstance(geometry, str) else geometry
        shape = shapely.from_geojson(json.dumps(parsed))
    except (ValueError, RecursionError, shapely.errors.GEOSException) as error:
        raise BadInput(f"{what} is no GeoJSON geometry: {str(error).partition(':')[2].strip() or error}.") from error
    if shape is None or shape.is_empty:
        raise BadInput(f"{what} is an empty geometry. Give one with coordinates.")
    if not shapely.is_valid(shape):
        raise BadInput(f"{what} is no valid geometry: {shapely.is_valid_reason(shape)}.")
    if (count := shapely.get_num_coordinates(shape)) > _MAX_VERTICES:
        raise BadInput(f"{what} has {count} vertices; at most {_MAX_VERTICES} can be asked for. Simplify it.")
    bounds = shape.bounds
    if (
        not all(math.isfinite(value) for value in bounds)
        or max(map(abs, bounds[::2])) > 180
        or max(map(abs, bounds[1::2])) > 90
    ):
        raise BadInput(f"{what} leaves the globe: its bounds are {bounds}. Give longitude and latitude.")
    return shapely.force_2d(shape)


def read_interval(text: str | None) -> tuple[datetime | None, datetime | None]:
    """Start and end, in UTC, of an RFC 3339 moment or interval; None where it is open."""
    if text is None:
        return None, None
    try:
        found = str_to_interval(text)
        start, end = found if isinstance(found, tuple) else (found, found)
        return (start.astimezone(UTC) if start else None), (end.astimezone(UTC) if end else None)
    except HTTPException as error:
        raise BadInput(f"datetime {text!r}: {error.detail}") from error
    except (ValueError, OverflowError) as error:
        raise BadInput(f"datetime {text!r}: {error}") from error


def read_filter(
    expression: str | dict[str, Any] | None, language: str | None, crs: str | None
) -> dict[str, Any] | None:
    """A CQL2 filter, as text or JSON."""
    if expression is None:
        return None
    if crs not in (None, "http://www.opengis.net/def/crs/OGC/1.3/CRS84"):
        raise BadInput(f"filter-crs {crs!r}: only http://www.opengis.net/def/crs/OGC/1.3/CRS84 can be asked for.")
    if isinstance(expression, dict):
        return expression
    if len(expression) > _MAX_TEXT:
        raise BadInput(f"filter has {len(expression)} characters; at most {_MAX_TEXT} can be asked for.")
    if language == "cql2-json":
        try:
            found = json.loads(expression)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"filter is no JSON: {error}.") from error
        if not isinstance(found, dict):
            raise BadInput(f"filter is no CQL2: {expression[:100]!r}. Give an object with 'op' and 'args'.")
        return found
    # The parser is recursive, and a stack that overflows there would end the whole server.
    if _nesting(expression) > _MAX_NESTING or len(re.findall(r"\bnot\b", expression, re.IGNORECASE)) > _MAX_NESTING:
        raise BadInput(f"filter is nested more than {_MAX_NESTING} deep.")
    try:
        return cql2.parse_text(expression).to_json()
    except (cql2.ParseError, cql2.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip(" =")
        raise BadInput(f"filter {expression[:200]!r} is no CQL2 text: {reason}.") from error


def _nesting(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        deepest = max(deepest, depth)
    return deepest


def read_sort(given: Iterable[str | dict[str, str]] | None) -> tuple[Sort, ...]:
    """Fields to order by: `-properties.x,+id`, or objects with `field` and `direction`."""
    sorts = []
    for one in given or ():
        if isinstance(one, str):
            name, descending = one.strip().lstrip("+-"), one.strip().startswith("-")
        else:
            name, descending = one["field"], one.get("direction") == "desc"
        if not name:
            raise BadInput(f"sortby {one!r} names no field. Give +FIELD or -FIELD.")
        sorts.append(Sort(plain_name(name), descending))
    if len(sorts) > _MAX_SORTS:
        raise BadInput(f"sortby names {len(sorts)} fields; at most {_MAX_SORTS} can be asked for.")
    return tuple(sorts) or DEFAULT_SORT


def plain_name(name: str) -> str:
    """A property's name, with or without `properties.` before it."""
    return name.removeprefix("properties.")
