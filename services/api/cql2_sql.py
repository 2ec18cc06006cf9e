"""CQL2 filters as SQL: only known operators, only known properties, every value a parameter.

OGC 21-065r2. A `datetime` compared is a moment, the item's `datetime`; in temporal functions it is the item's whole
period, from `start_datetime` to `end_datetime`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import iso8601
import shapely

from catalog.errors import BadInput
from services.api.dialects import END, START, Dialect, Kind
from services.api.search import plain_name, read_bbox, read_geometry

_DEEPEST = 100
_COMPARISONS = {"=", "<>", "<", "<=", ">", ">="}
_SPATIAL = {
    f"s_{name}": f"ST_{name.title()}"
    for name in ("intersects", "equals", "disjoint", "touches", "within", "overlaps", "crosses", "contains")
}
# Of periods a..b and c..d, as CQL2 defines them (after Allen's interval algebra).
_TEMPORAL = {
    "t_after": "{a} > {d}",
    "t_before": "{b} < {c}",
    "t_contains": "({a} < {c} AND {b} > {d})",
    "t_disjoint": "({a} > {d} OR {b} < {c})",
    "t_during": "({a} > {c} AND {b} < {d})",
    "t_equals": "({a} = {c} AND {b} = {d})",
    "t_finishedby": "({a} < {c} AND {b} = {d})",
    "t_finishes": "({a} > {c} AND {b} = {d})",
    "t_intersects": "({a} <= {d} AND {b} >= {c})",
    "t_meets": "{b} = {c}",
    "t_metby": "{a} = {d}",
    "t_overlappedby": "({a} > {c} AND {a} < {d} AND {b} > {d})",
    "t_overlaps": "({a} < {c} AND {b} > {c} AND {b} < {d})",
    "t_startedby": "({a} = {c} AND {b} > {d})",
    "t_starts": "({a} = {c} AND {b} < {d})",
}
_DAY = timedelta(hours=23, minutes=59, seconds=59)
"""To a day's last second, as items' periods end."""
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)


@dataclass(frozen=True)
class _Term:
    sql: str
    kind: Kind | None
    """None: a value of no column, which takes the kind of what it is compared with."""
    parameters: list[Any] = field(default_factory=list)


def filter_sql(expression: Any, columns: Mapping[str, Kind], dialect: Dialect) -> tuple[str, list[Any]]:
    """The condition that a filter stands for, and its parameters.

    Args:
        expression: CQL2 as JSON.
        columns: name to kind of what can be asked for; in SQL, columns have these very names.
        dialect: of the database.

    Raises:
        BadInput: no CQL2, an unknown property or operator, or values that cannot be compared.
    """
    term = _Translation(columns, dialect).boolean(expression, 0)
    return term.sql, term.parameters


class _Translation:
    def __init__(self, columns: Mapping[str, Kind], dialect: Dialect):
        self._columns = columns
        self._dialect = dialect

    def boolean(self, expression: Any, depth: int) -> _Term:
        term = self._term(expression, depth)
        if term.kind != "boolean":
            raise BadInput(f"filter: {_shown(expression)} is neither true nor false. Compare it with something.")
        return term

    def _term(self, expression: Any, depth: int) -> _Term:
        if depth > _DEEPEST:
            raise BadInput(f"filter is nested more than {_DEEPEST} deep.")
        if isinstance(expression, bool):
            return self._value(expression, "boolean")
        if isinstance(expression, int | float):
            return self._value(float(expression), "number")
        if isinstance(expression, str):
            return self._value(expression, None)
        if not isinstance(expression, dict):
            raise BadInput(f"filter: {_shown(expression)} cannot stand here.")
        if "property" in expression:
            return self._property(expression["property"])
        for name in ("timestamp", "date"):
            if name in expression:
                return self._value(_moment(expression[name]), "datetime")
        if "op" in expression:
            return self._operator(expression, depth + 1)
        if "type" in expression or "bbox" in expression:
            return self._geometry(expression)
        raise BadInput(f"filter: {_shown(expression)} is no CQL2.")

    def _property(self, name: Any) -> _Term:
        kind = self._columns.get(plain_name(name)) if isinstance(name, str) else None
        if kind is None:
            raise BadInput(f"filter: there is no property {name!r}. /queryables lists what can be asked for.")
        return _Term(self._dialect.column(plain_name(name)), kind)

    def _value(self, value: Any, kind: Kind | None) -> _Term:
        return _Term(self._dialect.parameter, kind, [value])

    def _geometry(self, value: dict[str, Any]) -> _Term:
        shape = read_bbox(value["bbox"]) if "bbox" in value else read_geometry(value, "filter: a geometry in it")
        return _Term(self._dialect.geometry, "geometry", [shapely.to_wkb(shape)])

    def _operator(self, expression: dict[str, Any], depth: int) -> _Term:
        operator, arguments = str(expression["op"]).lower(), expression.get("args")
        if not isinstance(arguments, list):
            raise BadInput(f"filter: operator {operator!r} has no list of 'args'.")
        if operator in ("and", "or"):
            if not arguments:
                raise BadInput(f"filter: {operator!r} of nothing.")
            return _join(f" {operator.upper()} ", [self.boolean(one, depth) for one in arguments])
        if operator == "between" and len(arguments) == 2 and isinstance(arguments[1], list):
            arguments = [arguments[0], *arguments[1]]  # As drafts of the standard had it, and clients still write it.
        known: dict[str, tuple[int, Callable[..., _Term]]] = {
            "not": (1, lambda one: _wrap("(NOT {})", "boolean", self.boolean(one, depth))),
            "isnull": (1, lambda one: _wrap("({} IS NULL)", "boolean", self._term(one, depth))),
            "like": (2, lambda one, other: self._like(one, other, depth)),
            "between": (3, lambda one, low, high: self._between(one, low, high, depth)),
            "in": (2, lambda one, several: self._in(one, several, depth)),
            "casei": (1, lambda one: self._text(self._dialect.lower, one, depth)),
            "accenti": (1, lambda one: self._text(self._dialect.strip_accents, one, depth)),
        }
        arithmetic = self._dialect.arithmetic
        known |= {name: (2, lambda one, other: self._compare(operator, one, other, depth)) for name in _COMPARISONS}
        known |= {name: (2, lambda one, other: self._arithmetic(operator, one, other, depth)) for name in arithmetic}
        known |= {name: (2, lambda one, other: self._spatial(operator, one, other, depth)) for name in _SPATIAL}
        known |= {name: (2, lambda one, other: self._temporal(operator, one, other, depth)) for name in _TEMPORAL}
        if operator not in known:
            raise BadInput(f"filter: there is no operator {operator!r} here. There are: and, or, {', '.join(known)}.")
        count, build = known[operator]
        if len(arguments) != count:
            raise BadInput(f"filter: operator {operator!r} takes {count} arguments, not {len(arguments)}.")
        return build(*arguments)

    def _compare(self, operator: str, one: Any, other: Any, depth: int) -> _Term:
        left, right = self._alike(self._term(one, depth), self._term(other, depth), operator)
        if "geometry" in (left.kind, right.kind):
            raise BadInput(f"filter: geometries cannot be compared with {operator!r}. Use s_intersects and its like.")
        if left.kind == "string" and operator not in ("=", "<>"):
            left, right = (_wrap(self._dialect.collate, "string", term) for term in (left, right))
        return _join(f" {operator} ", [left, right])

    def _arithmetic(self, operator: str, one: Any, other: Any, depth: int) -> _Term:
        terms = [self._term(value, depth) for value in (one, other)]
        if wrong := [term.kind for term in terms if term.kind not in ("integer", "number")]:
            raise BadInput(f"filter: {operator!r} takes numbers, not {wrong[0] or 'string'}.")
        # Whole numbers would overflow, which is an error; decimals do not.
        halves = [_wrap("{}::float8", "number", term) for term in terms]
        form = f"({self._dialect.arithmetic[operator]})"
        return _Term(form.format(*(term.sql for term in halves)), "number", _parameters(halves))

    def _like(self, one: Any, pattern: Any, depth: int) -> _Term:
        left, right = self._string(one, depth), self._string(pattern, depth)
        return _Term(f"({left.sql} LIKE {right.sql} ESCAPE '\\')", "boolean", _parameters([left, right]))

    def _text(self, form: str, one: Any, depth: int) -> _Term:
        return _wrap(form, "string", self._string(one, depth))

    def _string(self, one: Any, depth: int) -> _Term:
        term = self._term(one, depth)
        if term.kind not in ("string", None):
            raise BadInput(f"filter: {_shown(one)} is no text.")
        return term

    def _between(self, one: Any, low: Any, high: Any, depth: int) -> _Term:
        return _join(" AND ", [self._compare(">=", one, low, depth), self._compare("<=", one, high, depth)])

    def _in(self, one: Any, several: Any, depth: int) -> _Term:
        if not isinstance(several, list) or not several:
            raise BadInput("filter: 'in' takes a list of values, at least one.")
        return _join(" OR ", [self._compare("=", one, value, depth) for value in several])

    def _spatial(self, operator: str, one: Any, other: Any, depth: int) -> _Term:
        terms = [self._term(value, depth) for value in (one, other)]
        if any(term.kind != "geometry" for term in terms):
            raise BadInput(f"filter: {operator!r} takes two geometries.")
        return _Term(f"{_SPATIAL[operator]}({terms[0].sql}, {terms[1].sql})", "boolean", _parameters(terms))

    def _temporal(self, operator: str, one: Any, other: Any, depth: int) -> _Term:
        bounds = dict(zip("abcd", (*self._period(one, depth), *self._period(other, depth)), strict=True))
        form = _TEMPORAL[operator]
        sql = form.format(**{name: bound.sql for name, bound in bounds.items()})
        return _Term(sql, "boolean", _parameters([bounds[name] for name in re.findall(r"\{(\w)\}", form)]))

    def _period(self, value: Any, depth: int) -> tuple[_Term, _Term]:
        if isinstance(value, dict) and "interval" in value:
            ends = value["interval"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise BadInput(f"filter: interval {_shown(ends)} has not two ends.")
            start, end = (self._end(end, depth, open_end) for end, open_end in zip(ends, (_FIRST, _LAST), strict=True))
            return start, end
        if isinstance(value, dict) and plain_name(str(value.get("property"))) == "datetime":
            start, end = (_Term(self._dialect.column(name), "datetime") for name in (START, END))
            return start, end
        if isinstance(value, dict) and "date" in value:
            day = _moment(value["date"])
            return self._value(day, "datetime"), self._value(day + _DAY, "datetime")
        term = self._term(value, depth)
        if term.kind is None:
            term = self._cast(term, "datetime")
        if term.kind != "datetime":
            raise BadInput(f"filter: {_shown(value)} is neither a moment nor an interval.")
        return term, term

    def _end(self, value: Any, depth: int, open_end: datetime) -> _Term:
        if value == "..":
            return self._value(open_end, "datetime")
        term = self._value(value, None) if isinstance(value, str) else self._term(value, depth)
        term = self._cast(term, "datetime") if term.kind is None else term
        if term.kind != "datetime":
            raise BadInput(f"filter: {_shown(value)} is no moment.")
        if open_end is _LAST and isinstance(value, str) and len(value) == len("2020-01-01"):
            return self._value(term.parameters[0] + _DAY, "datetime")
        return term

    def _alike(self, one: _Term, other: _Term, operator: str) -> tuple[_Term, _Term]:
        if one.kind is None and other.kind is None:
            return self._cast(one, "string"), self._cast(other, "string")
        if one.kind is None:
            one = self._cast(one, other.kind)
        if other.kind is None:
            other = self._cast(other, one.kind)
        numbers = {"integer", "number"}
        if one.kind != other.kind and not {one.kind, other.kind} <= numbers:
            raise BadInput(f"filter: {one.kind} and {other.kind} cannot be compared with {operator!r}.")
        return one, other

    def _cast(self, term: _Term, kind: Kind | None) -> _Term:
        """Text as what it is compared with."""
        if kind == "datetime":
            return self._value(_moment(term.parameters[0]), "datetime")
        if kind != "string":
            raise BadInput(
                f"filter: {term.parameters[0]!r} is text, and is compared with a {kind}. Leave out the quotes."
            )
        return _Term(term.sql, "string", term.parameters)


def _moment(text: Any) -> datetime:
    try:
        return iso8601.parse_date(str(text)).astimezone(UTC).replace(tzinfo=None)
    except (iso8601.ParseError, ValueError, OverflowError) as error:
        raise BadInput(f"filter: {text!r} is no time. Give it as 2020-01-01T00:00:00Z.") from error


def _join(operator: str, terms: list[_Term]) -> _Term:
    return _Term("(" + operator.join(term.sql for term in terms) + ")", "boolean", _parameters(terms))


def _wrap(form: str, kind: Kind, term: _Term) -> _Term:
    return _Term(form.format(term.sql), kind, term.parameters)


def _parameters(terms: list[_Term]) -> list[Any]:
    return [parameter for term in terms for parameter in term.parameters]


def _shown(expression: Any) -> str:
    return json.dumps(expression, default=str)[:100]
