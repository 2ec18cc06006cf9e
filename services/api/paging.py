"""Pages by what was last seen, not by a count: while items come and go, none is repeated or passed over.

A token holds the values that the last item of a page is ordered by; the next page is what comes after them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from catalog.errors import BadInput
from services.api.dialects import Dialect, Kind
from services.api.search import Sort

_MAX_TOKEN = 4000


def sort_columns(sorts: Sequence[Sort], columns: Mapping[str, Kind]) -> list[Sort]:
    """The columns to order by, by which no two items are alike.

    Raises:
        BadInput: a field that cannot be ordered by.
    """
    for one in sorts:
        if columns.get(one.field, "geometry") == "geometry":
            raise BadInput(f"sortby {one.field!r}: there is no such field. /queryables lists what can be asked for.")
    named = {one.field for one in sorts}
    return [*sorts, *(Sort(name) for name in ("id", "collection") if name not in named)]


def order_sql(sorts: Sequence[Sort], columns: Mapping[str, Kind], dialect: Dialect) -> str:
    """What stands after ORDER BY."""
    names = [(dialect.ordered(one.field, columns[one.field]), one.descending) for one in sorts]
    return ", ".join(f"{name} {'DESC' if descending else 'ASC'} NULLS LAST" for name, descending in names)


def make_token(sorts: Sequence[Sort], values: Sequence[Any]) -> str:
    """Where a page ended: at an item with these values."""
    known = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    content = json.dumps([_signature(sorts), known], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def after_sql(
    token: str, sorts: Sequence[Sort], columns: Mapping[str, Kind], dialect: Dialect
) -> list[tuple[str, list[Any]]]:
    """Conditions, of which one holds for each item that comes after where a page ended, with their parameters.

    Each is of the form that an index on the columns serves: the first columns equal, the next one larger.

    Raises:
        BadInput: the token is none of ours, or of another order.
    """
    values = _values(token, sorts, columns)
    conditions = []
    same: list[str] = []
    same_parameters: list[Any] = []
    for one, value in zip(sorts, values, strict=True):
        column = dialect.ordered(one.field, columns[one.field])
        if value is None:  # After an item without the field comes none that has it.
            same.append(f"{column} IS NULL")
            continue
        later = f"{column} {'<' if one.descending else '>'} {dialect.parameter}"
        conditions.append((" AND ".join([*same, later]), [*same_parameters, value]))
        if one.field not in ("id", "collection"):  # Every item has these.
            conditions.append((" AND ".join([*same, f"{column} IS NULL"]), list(same_parameters)))
        same.append(f"{column} = {dialect.parameter}")
        same_parameters.append(value)
    return conditions


def _values(token: str, sorts: Sequence[Sort], columns: Mapping[str, Kind]) -> list[Any]:
    refused = BadInput(
        f"token {token[:100]!r} is none that this search has given. Follow the link 'next' as it stands."
    )
    if len(token) > _MAX_TOKEN or not token.isascii():
        raise refused
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        signature, values = content
        if signature != _signature(sorts) or len(values) != len(sorts):
            raise refused
        return [_value(value, columns[one.field]) for one, value in zip(sorts, values, strict=True)]
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise refused from error


def _value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "datetime":
        moment = datetime.fromisoformat(value)
        if moment.tzinfo:
            raise ValueError(value)
        return moment
    wanted: dict[Kind, type] = {"string": str, "boolean": bool, "integer": int}
    if type(value) is not wanted.get(kind, float) and not (kind == "number" and type(value) is int):
        raise TypeError(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(value)
    return value


def _signature(sorts: Sequence[Sort]) -> str:
    return ",".join(f"{'-' if one.descending else '+'}{one.field}" for one in sorts)
