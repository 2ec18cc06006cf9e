"""What a catalog holds at one moment, ready to be asked: its STAC GeoParquet read into DuckDB.

DuckDB finds the items in a table of what can be asked for, a row an item; their whole content, which would make that
table slow, lies beside it in files of one line an item. Both are in a folder that goes with the snapshot.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_spatial
import numpy as np
import orjson

from catalog.errors import BadInput, StoreError
from catalog.index import read_index, write_parquet
from catalog.store import NotFound, Store
from services.api.dialects import DUCKDB, END, START, Kind

_TOP = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
_KINDS: dict[str, Kind] = {
    "VARCHAR": "string",
    "BIGINT": "integer",
    "INTEGER": "integer",
    "DOUBLE": "number",
    "FLOAT": "number",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "datetime",
    "GEOMETRY": "geometry",
}
_column = DUCKDB.column
_PIECE = 1 << 24
_TRIES = 5
_MEMORY = "1GB"
"""Of DuckDB; what does not fit lies in the snapshot's folder."""


@dataclass
class Snapshot:
    """A catalog at one moment."""

    store: Store
    versions: dict[str, str]
    """Tags of the files it was read from."""
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """ID to the stored collection."""
    columns: dict[str, Kind] = field(default_factory=dict)
    """What can be asked for in any collection."""
    columns_of: dict[str, dict[str, Kind]] = field(default_factory=dict)
    """The same by collection, for those that have items."""
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Where below an item's properties they lie."""
    _contents: list[_Content] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="landloom-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._database = duckdb.connect(
            self._folder / "items.duckdb",
            config={
                "memory_limit": _MEMORY,
                "autoinstall_known_extensions": False,
                "temp_directory": str(self._folder),
            },
        )
        self._database.execute(f"LOAD '{_spatial_extension()}'")

    @classmethod
    def of(cls, store: Store) -> Snapshot:
        """Read a catalog.

        Raises:
            BadInput: there is none.
            StoreError: it cannot be read.
        """
        snapshot = cls(store, versions_of(store))
        for name in _names(store):
            snapshot._add(name)
        snapshot._finish()
        return snapshot

    def rows(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        """Ask the table `items`."""
        with self._database.cursor() as cursor:
            return cursor.execute(sql, parameters).fetchall()

    def item(self, part: int, row: int, root: str) -> dict[str, Any]:
        """An item by where its content lies: the columns `_part` and `_row`."""
        return read_item(self._contents[part].line(row, root))

    def count(self, collection: str) -> int:
        """How many items a collection has."""
        return self._content(collection).count if collection in self.columns_of else 0

    def lines(self, collection: str, root: str) -> Iterator[bytes]:
        """All items of a collection, one at a time, as `read_item` takes them.

        Args:
            collection: its ID.
            root: what the hrefs of the catalog's own files shall begin with.
        """
        for row in range(self.count(collection)):
            yield self._content(collection).line(row, root)

    def _content(self, collection: str) -> _Content:
        return self._contents[list(self.columns_of).index(collection)]

    def _add(self, name: str) -> None:
        part = len(self._contents)
        parquet = self._folder / f"{part}.parquet"
        collection, indexed = _indexed(self.store, name, parquet)
        self.collections[name] = collection
        # A small collection, such as that of the networks, has no index.
        if indexed or write_parquet(_linked_items(self.store, collection), parquet):
            self._read(name, part, parquet)
            parquet.unlink()

    def _read(self, name: str, part: int, parquet: Path) -> None:
        source = f"read_parquet('{parquet}', file_row_number = true)"
        described = self._database.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {source}").fetchall()
        types = {str(column): str(kind) for column, kind, *_ in described}
        properties = {column: kind for column, kind in types.items() if column not in _TOP}
        asked = {}
        for path, sql in _askable(self._database, source, properties):
            asked[".".join(path)] = sql
            self.paths[".".join(path)] = path
        period = [
            f"coalesce({', '.join(_utc(_column(end)) for end in (column, 'datetime') if end in properties)}) AS {alias}"
            for column, alias in (("start_datetime", START), ("end_datetime", END))
        ]
        box = "bbox.xmin > bbox.xmax"  # Over the antimeridian: all around the globe, and the geometry decides.
        columns = [
            f"{part} AS _part",
            "file_row_number AS _row",
            "id",
            "collection",
            "geometry",
            f"CASE WHEN {box} THEN -180 ELSE bbox.xmin END AS _west",
            "bbox.ymin AS _south",
            f"CASE WHEN {box} THEN 180 ELSE bbox.xmax END AS _east",
            "bbox.ymax AS _north",
            *period,
            *(f"{sql} AS {_column(column)}" for column, sql in asked.items()),
        ]
        self._database.execute(f"CREATE TABLE part{part} AS SELECT {', '.join(columns)} FROM {source}")
        content = self._folder / f"{part}.ndjson"
        members = [f"{_quoted_text(column)}: {_text(_column(column), kind)}" for column, kind in properties.items()]
        top = {
            **{column: _column(column) for column in _TOP if column in types},
            "geometry": "ST_AsGeoJSON(geometry)::JSON",
            "bbox": "[bbox.xmin, bbox.ymin, bbox.xmax, bbox.ymax]",
            "properties": "{" + ", ".join(members) + "}",
        }
        chosen = ", ".join(f"{sql} AS {column}" for column, sql in top.items())
        self._database.execute(f"COPY (SELECT {chosen} FROM {source}) TO '{content}' (FORMAT json)")
        first = self._database.execute(f"SELECT links FROM {source} LIMIT 1").fetchall()[0][0]
        own = next((link["href"] for link in first or () if link["rel"] == "self"), self.store.href(name))
        self._contents.append(_Content(content, own.rpartition(f"/{name}/")[0]))
        self.columns_of[name] = {"id": "string", "collection": "string", "geometry": "geometry"}
        self.columns_of[name] |= {column: self._kind(part, column) for column in asked}

    def _kind(self, part: int, column: str) -> Kind:
        kind = self._database.execute(f"SELECT typeof({_column(column)}) FROM part{part} LIMIT 1").fetchone()
        return _KINDS[str(kind[0])] if kind else "string"

    def _finish(self) -> None:
        parts = [f"SELECT * FROM part{part}" for part in range(len(self._contents))]
        if parts:
            self._database.execute(f"CREATE TABLE items AS {' UNION ALL BY NAME '.join(parts)}")
            for part in range(len(self._contents)):
                self._database.execute(f"DROP TABLE part{part}")
            for column, kind, *_ in self._database.execute("DESCRIBE items").fetchall():
                if not str(column).startswith("_"):
                    self.columns[column] = _KINDS[_plain(str(kind))]
        # No request may make DuckDB open a file.
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")


class _Content:
    """Items, one a line."""

    @property
    def count(self) -> int:
        return len(self._ends)

    def __init__(self, path: Path, root: str):
        """Args:
        path: the file.
        root: what the hrefs of the catalog's own files begin with in it.
        """
        self._file = path.open("rb", buffering=0)
        self._ends = np.fromiter(_line_ends(path), np.int64)
        self._root = _json_text(root)

    def line(self, row: int, root: str) -> bytes:
        start = int(self._ends[row - 1]) + 1 if row else 0
        # Not by seeking: many threads read.
        line = os.pread(self._file.fileno(), int(self._ends[row]) - start, start)
        return line.replace(b'"' + self._root + b"/", b'"' + _json_text(root) + b"/")


def read_item(line: bytes) -> dict[str, Any]:
    """An item of a snapshot, from its line."""
    item: dict[str, Any] = orjson.loads(line)
    drop_nulls(item)
    item["properties"].setdefault("datetime", None)  # The one that must be there even as null.
    return item


def _line_ends(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        at = 0
        while piece := file.read(_PIECE):
            for end in np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")):
                yield at + int(end)
            at += len(piece)


def versions_of(store: Store) -> dict[str, str]:
    """Tags of all that a snapshot is read from: it has become old when these are others.

    Raises:
        BadInput: there is no catalog.
    """
    try:
        tags = {"catalog.json": store.info("catalog.json").tag}
    except NotFound as error:
        raise BadInput(
            f"There is no catalog at {store.href('catalog.json')}. Give the folder or bucket that `landloom map` "
            "has written to."
        ) from error
    for name in _names(store):
        key = f"{name}/collection.json"
        with suppress(NotFound):
            tags[key] = store.info(key).tag
    return tags


def _names(store: Store) -> list[str]:
    root = json.loads(store.read("catalog.json"))
    links = [link["href"] for link in root["links"] if link["rel"] == "child"]
    return [href.removeprefix("./").partition("/")[0] for href in links]


def _indexed(store: Store, name: str, parquet: Path) -> tuple[dict[str, Any], bool]:
    """A collection, and whether there is an index of it, which is written to a file."""
    for _ in range(_TRIES):
        collection = json.loads(store.read(f"{name}/collection.json"))
        with suppress(NotFound):  # The collection has just grown, and a part has given its place to another.
            return collection, read_index(store, collection, parquet)
    raise StoreError(f"A part of the index of {store.href(name)} is missing. Run `landloom index`.")


def _linked_items(store: Store, collection: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for link in collection["links"]:
        if link["rel"] == "item":
            key = f"{collection['id']}/{link['href'].removeprefix('./')}"
            item = json.loads(store.read(key))
            here = store.href(key)
            for asset in item["assets"].values():
                if "://" not in asset["href"]:
                    asset["href"] = f"{here.rpartition('/')[0]}/{asset['href'].removeprefix('./')}"
            item["links"] = [{"rel": "self", "href": here, "type": "application/geo+json"}]
            yield item


def _askable(
    database: duckdb.DuckDBPyConnection, source: str, properties: dict[str, str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What of the properties can be asked for, and how it is had: plain values, and those one level down."""
    for column, kind in properties.items():
        if _plain(kind) in _KINDS:
            yield (column,), _utc(_column(column)) if kind.startswith("TIMESTAMP") else _column(column)
        elif kind.startswith("STRUCT") and not kind.endswith("]"):
            fields = database.execute(f"DESCRIBE SELECT {_column(column)}.* FROM {source}").fetchall()
            for name, inner, *_ in fields:
                if str(inner) in _KINDS and not str(inner).startswith("TIMESTAMP"):
                    yield (column, name), f"{_column(column)}.{_column(name)}"


def _plain(kind: str) -> str:
    # TIMESTAMP WITH TIME ZONE, GEOMETRY('…'): what matters stands before.
    return kind if kind.endswith("]") else kind.partition("(")[0].partition(" ")[0]


def _utc(column: str) -> str:
    # By way of numbers: DuckDB's own conversion needs an extension that is not installed with it.
    return f"make_timestamp(epoch_us({column}))"


def _text(column: str, kind: str) -> str:
    """A property as STAC writes it."""
    if not kind.startswith("TIMESTAMP") or kind.endswith("]"):
        return column
    return f"regexp_replace(strftime({_utc(column)}, '%Y-%m-%dT%H:%M:%S.%fZ'), '\\.?0*Z$', 'Z')"


def _quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def drop_nulls(value: dict[str, Any]) -> None:
    """Take out of JSON the members that are null: in columns, what an item lacks and another has is null."""
    objects = [value]
    for one in objects:
        gone = []
        for name, inner in one.items():
            if inner is None:
                gone.append(name)
            elif type(inner) is dict:
                objects.append(inner)
            elif type(inner) is list and inner and type(inner[0]) is dict:
                objects.extend(inner)
        for name in gone:
            del one[name]


def _json_text(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def _spatial_extension() -> Path:
    # From the package registry, not from DuckDB's server: it is there without a network.
    folder = Path(duckdb_extension_spatial.__file__).parent
    return next(folder.glob(f"extensions/v{duckdb.__version__}/**/spatial.duckdb_extension"))
