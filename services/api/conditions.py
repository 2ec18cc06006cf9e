"""A search as a condition of SQL, the same in both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import shapely

from services.api.cql2_sql import filter_sql
from services.api.dialects import END, START, Dialect, Kind
from services.api.search import Search

_MOST_BOXES = 16


def conditions(search: Search, columns: Mapping[str, Kind], dialect: Dialect) -> tuple[str, list[Any]]:
    """What stands after WHERE, and its parameters; its token is left aside.

    Args:
        search: what is asked.
        columns: what can be asked for, beside an item's period, ID, collection and geometry.
        dialect: of the database.

    Raises:
        BadInput: a filter that cannot be.
    """
    found: list[str] = []
    parameters: list[Any] = []
    for column, names in (("collection", search.collections), ("id", search.ids)):
        if names:
            found.append(f"{column} IN ({', '.join([dialect.parameter] * len(names))})")
            parameters += names
    for column, comparison, moment in ((END, ">=", search.start), (START, "<=", search.end)):
        if moment:
            found.append(f"{column} {comparison} {dialect.parameter}")
            parameters.append(moment.replace(tzinfo=None))
    if search.area is not None:
        parts = shapely.get_parts(search.area)
        boxes = [part.bounds for part in parts] if len(parts) <= _MOST_BOXES else [search.area.bounds]
        found.append(f"({' OR '.join([dialect.near] * len(boxes))}) AND ST_Intersects(geometry, {dialect.geometry})")
        parameters += [bound for box in boxes for bound in box]
        parameters.append(shapely.to_wkb(search.area))
    if search.filter is not None:
        condition, values = filter_sql(search.filter, columns, dialect)
        found.append(condition)
        parameters += values
    return " AND ".join(found) or "true", parameters
