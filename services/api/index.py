"""What the API asks of an index: the same of the embedded one and of a database server."""

from __future__ import annotations

from typing import Any, Protocol

from services.api.dialects import Kind
from services.api.search import Page, Search


class ItemIndex(Protocol):
    """The items and collections of a catalog. May be asked by many threads at once."""

    def collections(self) -> list[dict[str, Any]]:
        """The stored collections; their hrefs are relative to where they lie."""

    def collection(self, name: str) -> dict[str, Any] | None:
        """One of them."""

    def columns(self, collection: str | None = None) -> dict[str, Kind]:
        """What can be asked for and ordered by, of one collection or of all."""

    def item(self, collection: str, item: str, root: str) -> dict[str, Any] | None:
        """An item.

        Args:
            collection: its collection's ID.
            item: its ID.
            root: what the hrefs of the catalog's own files shall begin with.
        """

    def search(self, search: Search, root: str) -> Page:
        """A page of the items that are asked for.

        Args:
            search: what is asked.
            root: as in `item`.

        Raises:
            BadInput: an unknown property, a filter that cannot be, a token of another search.
        """

    def close(self) -> None:
        """Let go of what it holds."""
