"""The fields extension of the STAC API: only parts of the items, as `id,properties.gsd,-assets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_NAMED = (("type",), ("stac_version",), ("id",), ("collection",))
"""Always there, so that an item can be told from others."""
_DEFAULT = (
    *_NAMED,
    *((name,) for name in ("stac_extensions", "geometry", "bbox", "links", "assets")),
    *(("properties", name) for name in ("datetime", "start_datetime", "end_datetime")),
)
"""What comes where fields to include are asked for, but none is named."""


@dataclass(frozen=True)
class Fields:
    """Paths to keep (none: all) and to leave out; what is named more exactly wins."""

    include: tuple[tuple[str, ...], ...] = ()
    exclude: tuple[tuple[str, ...], ...] = ()

    def of(self, item: dict[str, Any]) -> dict[str, Any]:
        """The parts of an item that are asked for."""
        if not self.include and not self.exclude:
            return item
        kept: dict[str, Any] = {}
        for path in (*_NAMED, *self.include) if self.include else [(name,) for name in item]:
            _copy(item, kept, path)
        for path in self.exclude:
            if path not in _NAMED and path not in self.include:
                _drop(kept, path, [one for one in self.include if one[: len(path)] == path])
        return kept


def read_fields(given: Iterable[str] | Mapping[str, Iterable[str] | None] | None) -> Fields:
    """Fields as a request names them: `+a,-b`, or an object with `include` and `exclude`."""
    if given is None:
        return Fields()
    if isinstance(given, Mapping):
        include, exclude = list(given.get("include") or ()), list(given.get("exclude") or ())
        if "include" in given and not include:
            left_out = tuple(map(_path, sorted(set(exclude))))
            return Fields(tuple(path for path in _DEFAULT if path not in left_out), left_out)
    else:
        names = [name.strip() for name in given]
        include = [name.lstrip("+") for name in names if name and not name.startswith("-")]
        exclude = [name[1:] for name in names if name.startswith("-")]
    return Fields(tuple(map(_path, sorted(set(include)))), tuple(map(_path, sorted(set(exclude)))))


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))


def _copy(source: dict[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    whole = ".".join(path)  # Names may hold dots themselves: "properties.a.b" is also the property "a.b".
    if whole in source:
        target[whole] = _merged(target.get(whole), source[whole])
    elif isinstance(inner := source.get(path[0]), dict):
        _copy(inner, target.setdefault(path[0], {}), path[1:])


def _merged(known: Any, value: Any) -> Any:
    return {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value


def _drop(target: dict[str, Any], path: tuple[str, ...], but: list[tuple[str, ...]]) -> None:
    name, rest = path[0], path[1:]
    if name not in target:
        return
    if rest:
        if isinstance(target[name], dict):
            target[name] = dict(target[name])
            _drop(target[name], rest, [one[1:] for one in but])
        return
    whole = target.pop(name)
    for one in but:
        _copy({name: whole}, target, one)
