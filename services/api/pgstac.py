"""The index on a database server: items and collections in PostgreSQL, as pgSTAC lays them out.

Tables, partitions and queryables are pgSTAC's, so that its other clients find the same; the searches are our own SQL on
its tables, the same that the embedded index asks, so that both give the same answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout
from pypgstac.hydration import hydrate

from catalog.errors import BadInput, StoreError
from services.api.conditions import conditions
from services.api.dialects import END, POSTGRES, START, Kind
from services.api.paging import after_sql, make_token, order_sql, sort_columns
from services.api.search import Page, Search

VERSION = "0.10"
"""Of pgSTAC, whose tables are known here."""
SOURCE, TAG, DIGEST = "landloom:source", "landloom:tag", "landloom:digest"
"""What `private` tells of loaded rows: the catalog's address; tags of the files read; what tells an item's contents."""
_BASE = "pgstac:base_item"
_LOOK_SECONDS = 5.0
_STATEMENT_SECONDS = 30
_CONNECT_SECONDS = 10
_CONNECTIONS = 16
_WRAPPERS: dict[Kind, str] = {
    # Not `to_int`: it holds 32 bits, and pixels of a tile are more.
    "integer": "pgstac.to_float({})",
    "number": "pgstac.to_float({})",
    "datetime": "pgstac.to_tstz({})",
    # In the order of its bytes, so that an index serves what is larger, and what begins with something, too.
    "string": 'pgstac.to_text({}) COLLATE "C"',
    "boolean": "nullif(({})::text, 'null')::boolean",
}
WRAPPER_NAMES: dict[Kind, str] = {
    "integer": "to_float",
    "number": "to_float",
    "datetime": "to_tstz",
    "string": "to_text",
    "boolean": "to_text",
}
"""By which pgSTAC's own searches read them."""
_COLUMNS: dict[str, Kind] = {"id": "string", "collection": "string", "geometry": "geometry"}


@dataclass
class _State:
    """What the database holds besides items, at one moment."""

    version: str
    collections: dict[str, dict[str, Any]]
    loaded: set[str]
    """Collections that are a catalog's."""
    source: str | None
    """Where that lies."""
    columns: dict[str, Kind]
    columns_of: dict[str, dict[str, Kind]]
    items: str
    """The table of items as SQL, with the columns that can be asked for."""
    bases: dict[tuple[str, int | None], dict[str, Any]] = field(default_factory=dict)
    """What all items of a collection share: stored once, left out of each. By collection, and number of its edition."""
    read: float = field(default_factory=time.monotonic)


class PgstacIndex:
    """See `ItemIndex`."""

    def __init__(self, url: str, *, look_seconds: float = _LOOK_SECONDS):
        """Connect.

        Args:
            url: `postgresql://…`; what it leaves out, libpq's environment tells, as PGPASSWORD.
            look_seconds: what changed in collections is seen after at most as long; items are always seen at once.

        Raises:
            BadInput: no address, or no pgSTAC that is known is there.
            StoreError: the database cannot be reached.
        """
        self._look_seconds = look_seconds
        self._pool = _pool(url)
        self._reading = threading.Lock()
        try:
            with self._connection() as connection:
                check_version(connection)
                self._state = _read_state(connection)
        except BaseException:
            self._pool.close()
            raise

    @property
    def source(self) -> str | None:
        """Where the files of the loaded catalog lie."""
        return self._now().source

    @property
    def loaded(self) -> set[str]:
        """Collections that were loaded from that catalog."""
        return self._now().loaded

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.close()

    def collections(self) -> list[dict[str, Any]]:
        """See `ItemIndex`."""
        return list(self._now().collections.values())

    def collection(self, name: str) -> dict[str, Any] | None:
        """See `ItemIndex`."""
        return self._now().collections.get(name)

    def columns(self, collection: str | None = None) -> dict[str, Kind]:
        """See `ItemIndex`."""
        now = self._now()
        return now.columns if collection is None else now.columns_of.get(collection, {})

    def item(self, collection: str, item: str, root: str) -> dict[str, Any] | None:
        """See `ItemIndex`."""
        found = self.search(Search(collections=(collection,), ids=(item,), limit=1), root).items
        return found[0] if found else None

    def search(self, search: Search, root: str) -> Page:
        """See `ItemIndex`."""
        now = self._now()
        sorts = sort_columns(search.sort, now.columns)
        condition, parameters = conditions(search, now.columns, POSTGRES)
        columns = [POSTGRES.ordered(one.field, now.columns[one.field]) for one in sorts]
        keys = [f"k{i}" for i in range(len(sorts))]
        order, count = order_sql(sorts, now.columns, POSTGRES), search.limit + 1
        alternatives: list[tuple[str, list[Any]]] = [("true", [])]
        if search.token is not None:
            alternatives = after_sql(search.token, sorts, now.columns, POSTGRES)
        # Each is read along an index of its own order, where there is one, and no further than a page.
        named = ", ".join(f"{column} AS {key}" for column, key in zip(columns, keys, strict=True))
        found = " UNION ALL ".join(
            f"(SELECT id, collection, geometry, _content, {named} FROM {now.items} "
            f"WHERE {condition} AND {later} ORDER BY {order} LIMIT {count})"
            for later, _ in alternatives
        )
        by = ", ".join(
            f"{key} {'DESC' if one.descending else 'ASC'} NULLS LAST" for key, one in zip(keys, sorts, strict=True)
        )
        sql = (
            f"SELECT id, collection, ST_AsGeoJSON(geometry, 20), _content::text, {', '.join(keys)} "
            f"FROM ({found}) AS found ORDER BY {by} LIMIT {count}"
        )
        values = [value for _, those in alternatives for value in (*parameters, *those)]
        with self._connection() as connection:
            rows = connection.execute(sql.encode(), values).fetchall()
            page = rows[: search.limit]
            items = [_item(connection, now, row, root) for row in page]
        if len(rows) == len(page):
            return Page(items)
        last = [_token_value(value, now.columns[one.field]) for value, one in zip(page[-1][4:], sorts, strict=True)]
        return Page(items, make_token(sorts, last))

    def _now(self) -> _State:
        if time.monotonic() - self._state.read > self._look_seconds and self._reading.acquire(blocking=False):
            try:
                self.refresh()
            finally:
                self._reading.release()
        return self._state

    def refresh(self) -> None:
        """See now what has changed in collections."""
        with self._connection() as connection:
            if _version(connection) == self._state.version:
                self._state.read = time.monotonic()
            else:
                self._state = _read_state(connection)

    @contextmanager
    def writing(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction that may write; what it changes in collections is seen at once.

        Raises:
            BadInput: the database refuses a value.
            StoreError: it cannot be reached.
        """
        with self._connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION READ WRITE")
            yield connection
        self.refresh()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with database_errors(), self._pool.connection() as connection:
            yield connection


@contextmanager
def database_errors() -> Iterator[None]:
    """What a database says as an error that tells who can mend it.

    Raises:
        BadInput: a search that it cannot answer.
        StoreError: it cannot be reached, or its role may not do this.
    """
    try:
        yield
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise StoreError(
            f"The database refuses: {error.diag.message_primary}. Connect as a role that may, as landloom."
        ) from error
    except psycopg.errors.QueryCanceled as error:
        raise BadInput(f"This takes more than {_STATEMENT_SECONDS} s to find. Ask for less.") from error
    except (psycopg.DataError, psycopg.errors.InternalError_) as error:
        raise BadInput(f"This cannot be answered: {error.diag.message_primary or error}.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise StoreError(f"The database cannot be asked: {str(error).strip()}") from error


def connect(url: str) -> psycopg.Connection[Any]:
    """A connection of its own.

    Raises:
        BadInput: no address of a database.
        StoreError: it cannot be reached.
    """
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise BadInput("This is no address of a database. Give postgresql://USER@HOST:PORT/DATABASE.") from error
    with database_errors():
        connection = psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS)
        connection.execute("SET search_path TO pgstac, public; SET TimeZone TO 'UTC'")
        return connection


def check_version(connection: psycopg.Connection[Any]) -> None:
    """That the database holds a pgSTAC whose tables are known here.

    Raises:
        BadInput: it does not.
    """
    found = installed_version(connection)
    if found is None:
        raise BadInput("The database holds no pgSTAC. `landloom load` installs it and loads a catalog.")
    if not found.startswith(f"{VERSION}."):
        raise BadInput(
            f"The database holds pgSTAC {found}; Landloom knows {VERSION}. Bring it there by `pypgstac migrate`."
        )


def installed_version(connection: psycopg.Connection[Any]) -> str | None:
    """The version of pgSTAC in a database; None: none is there."""
    if connection.execute("SELECT to_regclass('pgstac.migrations')").fetchall()[0][0] is None:
        return None
    return str(connection.execute("SELECT pgstac.get_version()").fetchall()[0][0])


def _pool(url: str) -> ConnectionPool[Any]:
    # The pool would try again and again, and not say why.
    connect(url).close()
    pool: ConnectionPool[Any] = ConnectionPool(
        url,
        # Values are written into the text of a search: it is asked once, and planned for these very values.
        kwargs={"autocommit": True, "cursor_factory": psycopg.ClientCursor, "connect_timeout": _CONNECT_SECONDS},
        min_size=1,
        max_size=_CONNECTIONS,
        timeout=_CONNECT_SECONDS,
        configure=_configure,
        check=ConnectionPool.check_connection,
        open=False,
    )
    pool.open()
    return pool


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "SET search_path TO pgstac, public; SET TimeZone TO 'UTC'; SET jit TO off; "
        f"SET statement_timeout TO '{_STATEMENT_SECONDS}s'; SET default_transaction_read_only TO on"
    )


def _version(connection: psycopg.Connection[Any]) -> str:
    """What is another once collections or queryables have changed."""
    changes = "string_agg(concat_ws(':', id, xmin), ',' ORDER BY id)"
    query = f"SELECT concat_ws(' ', (SELECT {changes} FROM collections), (SELECT {changes} FROM queryables))"
    return str(connection.execute(query.encode()).fetchall()[0][0])


def _read_state(connection: psycopg.Connection[Any]) -> _State:
    version = _version(connection)
    stored = connection.execute("SELECT id, content, private FROM collections ORDER BY key").fetchall()
    sources = {private[SOURCE] for _, _, private in stored if private and SOURCE in private}
    columns: dict[str, Kind] = dict(_COLUMNS)
    columns_of: dict[str, dict[str, Kind]] = {name: dict(_COLUMNS) for name, _, _ in stored}
    paths: dict[str, list[str]] = {}
    query = "SELECT name, definition, collection_ids, queryable_keys(name, property_path) FROM queryables ORDER BY id"
    for name, definition, those, path in connection.execute(query).fetchall():
        kind = _kind(definition or {})
        if kind is None or name in _COLUMNS:
            continue
        paths.setdefault(name, path)
        columns[name] = _either(columns.get(name, kind), kind)
        for collection in columns_of if those is None else those:
            columns_of[collection][name] = kind
    asked = [f"{expression(path, columns[name])} AS {POSTGRES.column(name)}" for name, path in paths.items()]
    start, end = f"datetime AS {START}", f"end_datetime AS {END}"
    own = ", ".join(["id", "collection", "geometry", "content AS _content", start, end, *asked])
    return _State(
        version=version,
        collections={name: content for name, content, _ in stored},
        loaded={name for name, _, private in stored if private and SOURCE in private},
        source=min(sources, default=None),
        columns=columns,
        columns_of=columns_of,
        items=f"(SELECT {own} FROM pgstac.items) AS items",
    )


def _kind(definition: dict[str, Any]) -> Kind | None:
    """Of values by their JSON schema; None: they cannot be asked for."""
    if definition.get("format") in ("date-time", "date"):
        return "datetime"
    kinds = definition.get("type", "string")
    known: tuple[Kind, ...] = ("integer", "number", "boolean", "string")
    return next((kind for kind in known if kind in (kinds if isinstance(kinds, list) else [kinds])), None)


def _either(one: Kind, other: Kind) -> Kind:
    """What holds the values of two collections that use a name in different ways."""
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else "string"


def expression(path: Sequence[str], kind: Kind) -> str:
    """What lies below an item's content, as SQL."""
    steps = (step.replace("'", "''").replace("%", "%%") for step in path)
    return _WRAPPERS[kind].format("content" + "".join(f"->'{step}'" for step in steps))


def _item(connection: psycopg.Connection[Any], now: _State, row: tuple[Any, ...], root: str) -> dict[str, Any]:
    name, collection, geometry, text = row[:4]
    if now.source is not None:
        text = text.replace(f'"{_json_text(now.source)}/', f'"{_json_text(root)}/')
    content = orjson.loads(text)
    key = (collection, content.pop(_BASE, None))
    if key not in now.bases:
        query = "SELECT collection_base_item(%s, %s)"
        now.bases[key] = connection.execute(query, key).fetchall()[0][0] or {}
    item = hydrate(
        now.bases[key], {"id": name, "collection": collection, "geometry": orjson.loads(geometry), **content}
    )
    item["properties"].setdefault("datetime", None)  # The one that must be there even as null.
    return dict(item)


def _token_value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "datetime":
        return value.astimezone(UTC).replace(tzinfo=None)
    return int(value) if kind == "integer" else value


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
