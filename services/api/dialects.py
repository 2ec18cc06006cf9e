"""Where the SQL of DuckDB and of PostgreSQL with PostGIS differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["string", "integer", "number", "boolean", "datetime", "geometry"]
SCHEMAS: dict[Kind, dict[str, str]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "geometry": {"$ref": "https://geojson.org/schema/Geometry.json"},
}
"""Their JSON schemas."""
START, END = "_start", "_end"
"""Columns of an item's period, beside those of its properties."""


@dataclass(frozen=True)
class Dialect:
    """One of the two. In forms, `{}` or `{0}` and `{1}` are what they are of."""

    parameter: str
    """What stands for a value."""
    geometry: str
    """What stands for a geometry, given as WKB."""
    near: str
    """That an item's box meets one given by west, south, east, north."""
    lower: str
    strip_accents: str
    arithmetic: Mapping[str, str]
    """CQL2's operators on decimals; nothing is divided by zero."""
    collate: str = "{}"
    """Text by the bytes of UTF-8, whatever the database's language is."""
    escapes: tuple[tuple[str, str], ...] = (('"', '""'),)

    def column(self, name: str) -> str:
        """A column by its name."""
        for plain, escaped in self.escapes:
            name = name.replace(plain, escaped)
        return f'"{name}"'

    def ordered(self, name: str, kind: Kind) -> str:
        """A column to order by."""
        return self.collate.format(self.column(name)) if kind == "string" else self.column(name)


_ARITHMETIC = {
    "+": "{0} + {1}",
    "-": "{0} - {1}",
    "*": "{0} * {1}",
    "/": "{0} / nullif({1}, 0)",
    "div": "floor({0} / nullif({1}, 0))",
    "^": "power({0}, {1})",
}
DUCKDB = Dialect(
    parameter="?",
    geometry="ST_GeomFromWKB(?)",
    near="(_east >= ? AND _north >= ? AND _west <= ? AND _south <= ?)",
    lower="lower({})",
    strip_accents="strip_accents({})",
    arithmetic=_ARITHMETIC | {"%": "{0} % nullif({1}, 0)"},
)
POSTGRES = Dialect(
    parameter="%s",
    geometry="ST_GeomFromWKB(%s, 4326)",
    near="geometry && ST_MakeEnvelope(%s, %s, %s, %s, 4326)",
    # By ICU, since a database of the language "C" knows no letters but those of ASCII.
    lower='lower({} COLLATE "und-x-icu")',
    strip_accents="regexp_replace(normalize({}, NFD), '[\u0300-\u036f]', '', 'g')",
    arithmetic=_ARITHMETIC | {"%": "mod({0}::numeric, nullif({1}, 0)::numeric)::float8"},
    collate='{} COLLATE "C"',
    escapes=(('"', '""'), ("%", "%%")),
)
