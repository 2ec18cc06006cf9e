"""The embedded index: a catalog's STAC GeoParquet through DuckDB, no database server. It sees when that is rebuilt."""

from __future__ import annotations

import logging
import threading
from typing import Any

from catalog.errors import LandloomError
from catalog.store import Store
from services.api.conditions import conditions
from services.api.dialects import DUCKDB, Kind
from services.api.paging import after_sql, make_token, order_sql, sort_columns
from services.api.search import Page, Search
from services.api.snapshot import Snapshot, versions_of

_LOOK_SECONDS = 5.0
_log = logging.getLogger(__name__)


class EmbeddedIndex:
    """See `ItemIndex`."""

    def __init__(self, store: Store, *, look_seconds: float = _LOOK_SECONDS):
        """Read a catalog, and look from time to time whether it is another one.

        Args:
            store: where it lies.
            look_seconds: between two looks.

        Raises:
            BadInput: there is none.
            StoreError: it cannot be read.
        """
        self._store = store
        self._now = Snapshot.of(store)
        self._closed = threading.Event()
        threading.Thread(target=self._keep_fresh, args=(look_seconds,), daemon=True, name="catalog").start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def collections(self) -> list[dict[str, Any]]:
        """See `ItemIndex`."""
        return list(self._now.collections.values())

    def collection(self, name: str) -> dict[str, Any] | None:
        """See `ItemIndex`."""
        return self._now.collections.get(name)

    def columns(self, collection: str | None = None) -> dict[str, Kind]:
        """See `ItemIndex`."""
        now = self._now
        return now.columns if collection is None else now.columns_of.get(collection, {})

    def item(self, collection: str, item: str, root: str) -> dict[str, Any] | None:
        """See `ItemIndex`."""
        found = self.search(Search(collections=(collection,), ids=(item,), limit=1), root).items
        return found[0] if found else None

    def search(self, search: Search, root: str) -> Page:
        """See `ItemIndex`."""
        now = self._now
        if not now.columns:
            return Page()
        sorts = sort_columns(search.sort, now.columns)
        condition, parameters = conditions(search, now.columns, DUCKDB)
        if search.token is not None:
            later = after_sql(search.token, sorts, now.columns, DUCKDB)
            condition += f" AND ({' OR '.join(f'({one})' for one, _ in later)})"
            parameters += [value for _, values in later for value in values]
        order = order_sql(sorts, now.columns, DUCKDB)
        rows = now.rows(
            f"SELECT _part, _row, {', '.join(DUCKDB.column(one.field) for one in sorts)} FROM items "
            f"WHERE {condition} ORDER BY {order} LIMIT {search.limit + 1}",
            parameters,
        )
        page = rows[: search.limit]
        items = [now.item(part, row, root) for part, row, *_ in page]
        return Page(items, make_token(sorts, page[-1][2:]) if len(rows) > len(page) else None)

    def _keep_fresh(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            try:
                if versions_of(self._store) != self._now.versions:
                    self._now = Snapshot.of(self._store)
                    _log.info("The catalog has changed and was read anew.")
            except LandloomError as error:
                _log.warning("The catalog cannot be read just now; answers are of its former state: %s", error)
            except Exception:
                _log.exception("The catalog could not be read anew; answers are of its former state.")
