"""A catalog into PostgreSQL: pgSTAC's tables made the same as what lies in a folder or bucket, in batches.

A collection belongs to its catalog: what is new or changed there is written, what has gone is deleted. Items carry
what tells their contents: a load that was cut off goes on where it ended, and one without changes writes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
import shapely
from psycopg.types.json import Jsonb
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from pypgstac.migrate import Migrate
from shapely.geometry import shape

from catalog.errors import BadInput
from catalog.garbage import rare_collections
from catalog.store import Store
from services.api.dialects import POSTGRES, SCHEMAS
from services.api.pgstac import (
    DIGEST,
    SOURCE,
    TAG,
    WRAPPER_NAMES,
    check_version,
    connect,
    database_errors,
    expression,
    installed_version,
)
from services.api.snapshot import Snapshot, read_item, versions_of

_BATCH = 2500
_LOCK = 0x6C616E64
"""Of a load, among the database's locks that programs agree on."""
_INDEXED_TEXT, _INDEXED_NUMBERS = ("io:tile_id", "grid:code"), ("landloom:mean_observations",)
"""What analysts filter by; each index costs time at every load."""


@dataclass
class Loaded:
    """What became of a collection's items."""

    collection: str
    added: int = 0
    changed: int = 0
    same: int = 0
    deleted: int = 0


def load(
    url: str,
    store: Store,
    *,
    replace: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    only: Collection[str] = (),
) -> list[Loaded]:
    """Make a database hold what a catalog holds; pgSTAC is installed where it is missing.

    Memory does not grow with the number of items. Readers see each batch when it is whole.

    Args:
        url: `postgresql://…`.
        store: where the catalog lies.
        replace: let it take the place of another catalog.
        progress: told a collection, how many of its items are done, and how many there are.
        only: collections of the catalog to look at; by default all, and those that have left it.

    Returns:
        What was done, by collection; one that has left the catalog has only `deleted`.

    Raises:
        BadInput: there is no catalog, or the database holds another one, or what no catalog explains.
        StoreError: one of the two cannot be reached.
    """
    versions = versions_of(store)
    with connect(url) as connection, database_errors(), rare_collections():
        if not connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchall()[0][0]:
            raise BadInput("Another load into this database is running. Wait for it, or stop it.")
        if installed_version(connection) is None:
            _install(url)
        check_version(connection)
        return _load(_Database(url, connection), store, versions, replace, progress, only)


def _load(
    database: _Database,
    store: Store,
    versions: dict[str, str],
    replace: bool,
    progress: Callable[[str, int, int], None],
    only: Collection[str],
) -> list[Loaded]:
    root = store.href("catalog.json").removesuffix("/catalog.json")
    known = database.collections()
    others = {private[SOURCE] for private in known.values() if private.get(SOURCE, root) != root}
    if others and not replace:
        raise BadInput(
            f"The database holds the catalog of {min(others)}, and can hold one. Load {root} into another database, "
            "or let it take that one's place by --replace."
        )
    names = sorted({key.partition("/")[0] for key in versions if "/" in key})
    if foreign := [name for name in names if name in known and SOURCE not in known[name]]:
        raise BadInput(
            f"The database has a collection {foreign[0]!r} that was loaded from no catalog, and would be overwritten. "
            "Delete it there, or load into another database."
        )
    tags = {name: versions[f"{name}/collection.json"] for name in names}
    done = []
    asked = [name for name in names if not only or name in only]
    due = [name for name in asked if known.get(name) != {SOURCE: root, TAG: tags[name]}]
    # What is as it was needs no reading.
    done += [Loaded(name, same=database.count(name)) for name in asked if name not in due]
    if due:
        snapshot = Snapshot.of(store)
        for name in due:
            done.append(database.mirror(snapshot, name, root, progress))
            database.tell(name, {SOURCE: root, TAG: tags[name]})
    for name, private in known.items():
        if SOURCE in private and name not in names and not only:
            done.append(Loaded(name, deleted=database.count(name)))
            database.execute("SELECT delete_collection(%s)", name)
    return sorted(done, key=lambda one: one.collection)


class _Database:
    def __init__(self, url: str, connection: psycopg.Connection[Any]):
        self._connection = connection
        self._loader = _Loader(PgstacDB(dsn=url, connection=connection))
        # Filters read properties out of what is compressed: this is read several times as fast as the default.
        self.execute("SET default_toast_compression TO lz4")

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(sql.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def collections(self) -> dict[str, dict[str, Any]]:
        """By ID, what is told of them aside."""
        return {name: private or {} for name, private in self.execute("SELECT id, private FROM collections")}

    def count(self, collection: str) -> int:
        return int(self.execute("SELECT count(*) FROM items WHERE collection = %s", collection)[0][0])

    def tell(self, collection: str, private: dict[str, Any]) -> None:
        self.execute("UPDATE collections SET private = %s WHERE id = %s", Jsonb(private), collection)

    def mirror(self, snapshot: Snapshot, name: str, root: str, progress: Callable[[str, int, int], None]) -> Loaded:
        content = dict(snapshot.collections[name])
        content["links"] = [link for link in content["links"] if link["rel"] != "item"]
        self.execute(
            "INSERT INTO collections (content, private) VALUES (%s, %s) "
            "ON CONFLICT (id) DO UPDATE SET content = excluded.content, private = excluded.private",
            Jsonb(content),
            Jsonb({SOURCE: root}),
        )
        self._loader.collection_json.cache_clear()
        self.execute("CREATE TEMP TABLE IF NOT EXISTS present (id text PRIMARY KEY)")
        self.execute("TRUNCATE present")
        loaded, total, seen = Loaded(name), snapshot.count(name), 0
        for rows in _ahead(self._loader.rows, snapshot.lines(name, root)):
            self._write(rows, loaded)
            seen += len(rows)
            progress(name, seen, total)
        loaded.deleted = self._delete_others(name)
        self._declare(snapshot, name)
        self._index(name)
        return loaded

    def _write(self, rows: list[dict[str, Any]], loaded: Loaded) -> None:
        ids = [row["id"] for row in rows]
        with self._connection.cursor() as cursor, cursor.copy("COPY present FROM STDIN") as copy:
            for one in ids:
                copy.write_row((one,))
        sql = f"SELECT id, private->>'{DIGEST}' FROM items WHERE collection = %s AND id = ANY(%s)"
        known = dict(self.execute(sql, loaded.collection, ids))
        new = [row for row in rows if row["id"] not in known]
        changed = [row for row in rows if known.get(row["id"], row["digest"]) != row["digest"]]
        for those, method in ((new, Methods.insert), (changed, Methods.delsert)):
            if those:
                self._loader.load_items(iter(those), insert_mode=method, chunksize=_BATCH)
        loaded.added += len(new)
        loaded.changed += len(changed)
        loaded.same += len(rows) - len(new) - len(changed)

    def _delete_others(self, collection: str) -> int:
        sql = "DELETE FROM items WHERE collection = %s AND NOT EXISTS (SELECT FROM present p WHERE p.id = items.id)"
        return self._connection.execute(sql.encode(), (collection,)).rowcount

    def _declare(self, snapshot: Snapshot, collection: str) -> None:
        """Tell what can be asked for, and have indexes made."""
        wanted = {
            name: (
                {"title": name, **SCHEMAS[kind]},
                WRAPPER_NAMES[kind],
                "BTREE" if name in _INDEXED_NUMBERS else None,
                ["properties", *snapshot.paths[name]],
            )
            for name, kind in snapshot.columns_of.get(collection, {}).items()
            if name in snapshot.paths and name != "datetime"
        }
        rows = self.execute(
            "SELECT name, definition, property_wrapper, property_index_type, property_path FROM queryables "
            "WHERE collection_ids = ARRAY[%s]",
            collection,
        )
        known = {name: tuple(values) for name, *values in rows}
        for name, values in wanted.items():
            # Items' own columns go by these names in pgSTAC, and have no path.
            path = None if name in ("start_datetime", "end_datetime") else values[3]
            if known.get(name) != (*values[:3], path):
                definition, wrapper, index, _ = values
                sql = "SELECT upsert_queryable(%s, %s, %s, %s, ARRAY[%s], %s)"
                self.execute(sql, name, Jsonb(definition), wrapper, index, collection, path)
        for name in known.keys() - wanted.keys():
            self.execute("SELECT delete_queryable(%s, ARRAY[%s])", name, collection)

    def _index(self, collection: str) -> None:
        """Add what pgSTAC's own indexes do not serve: text by its beginning, the newest items, page after page."""
        key = self.execute("SELECT key FROM collections WHERE id = %s", collection)[0][0]
        table = f"_items_{key}"
        if self.execute("SELECT to_regclass(%s)", f"pgstac.{table}")[0][0] is None:
            return  # Without items there is no table yet.
        indexes = {name: f"({expression(['properties', name], 'string')})" for name in _INDEXED_TEXT}
        newest = f"{expression(['properties', 'datetime'], 'datetime')} DESC NULLS LAST"
        indexes["newest"] = f"{newest}, {', '.join(POSTGRES.ordered(one, 'string') for one in ('id', 'collection'))}"
        for name, columns in indexes.items():
            self.execute(f'CREATE INDEX IF NOT EXISTS "{table}_landloom_{name}" ON {table} ({columns})')
        self.execute(f"ANALYZE {table}")


class _Loader(Loader):  # type: ignore[misc]
    """pgSTAC's, of rows that are ready."""

    def rows(self, lines: list[bytes]) -> list[dict[str, Any]]:
        """Items of one collection as rows of pgSTAC's tables, with what tells their contents."""
        rows, shapes = [], []
        for line in lines:
            # Of one item at a time: Python's garbage collector walks over all that is kept, again and again.
            item = read_item(line)
            digest = hashlib.blake2b(orjson.dumps(item, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
            shapes.append(shape(item["geometry"]))
            row = super().format_item({**item, "geometry": None})
            rows.append({**row, "digest": digest, "private": orjson.dumps({DIGEST: digest}).decode()})
        # As PostGIS takes them (EWKB). One by one, as pgSTAC's loader makes them, they take half of the time of a load.
        written = shapely.to_wkb(shapely.set_srid(shapes, 4326), hex=True, include_srid=True)
        return [{**row, "geometry": one} for row, one in zip(rows, written, strict=True)]

    def format_item(self, _item: Any) -> dict[str, Any]:
        return dict(_item)


def _ahead(
    make: Callable[[list[bytes]], list[dict[str, Any]]], lines: Iterator[bytes]
) -> Iterator[list[dict[str, Any]]]:
    """Rows by the batch. The next are made while the database takes these."""

    def read() -> list[dict[str, Any]]:
        return make(list(itertools.islice(lines, _BATCH)))

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = pool.submit(read)
        while rows := coming.result():
            coming = pool.submit(read)
            yield rows


def _install(url: str) -> None:
    try:
        with PgstacDB(dsn=url) as database:
            Migrate(database).run_migration()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile, psycopg.NotSupportedError) as error:
        raise BadInput(
            f"pgSTAC cannot be installed: {error.diag.message_primary}. Have a superuser run `pypgstac migrate` there, "
            f"where PostGIS is installed, and `GRANT pgstac_admin TO {urlsplit(url).username or '…'}`."
        ) from error
