"""The index: a collection's items as one STAC GeoParquet, for geopandas, DuckDB and the embedded API."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from catalog.errors import StoreError
from catalog.garbage import rare_collections
from catalog.items import items_by_key
from catalog.store import Store

INDEX = "items.parquet"
_BATCH = 1000
"""Items held in memory at a time."""
_TRIES = 10


def build_index(store: Store, collection: str) -> int:
    """Write `{collection}/items.parquet` from the items' JSON; hrefs, relative in the items, are absolute in it.

    Items are streamed, so memory does not grow with their number. By a conditional write: of two runs that end at
    once, the later index holds the items of both.

    Args:
        store: the output.
        collection: its ID.

    Returns:
        Number of items; with none, nothing is written.
    """
    key = f"{collection}/{INDEX}"
    for _ in range(_TRIES):
        # Before the items are listed: whoever replaces the index after this may know more than we do.
        version = store.version(key)
        with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
            parquet = Path(folder) / INDEX
            count = write_parquet(_absolute(store, collection), parquet)
            if not count or store.write_if(key, parquet, version):
                return count
    raise StoreError(f"{store.href(key)} was replaced by others {_TRIES} times in a row. Run `landloom index` later.")


def write_parquet(items: Iterable[dict[str, Any]], parquet: Path) -> int:
    """Items as STAC GeoParquet; they are read once, and few are held at a time.

    Returns:
        Number of items; with none, nothing is written.
    """
    with rare_collections():
        return _write(items, parquet)


def _write(items: Iterable[dict[str, Any]], parquet: Path) -> int:
    lines, count = parquet.with_suffix(".ndjson"), 0
    # By way of a file: the columns are known only when all items are, and not all have the same assets.
    with lines.open("w") as file:
        for count, item in enumerate(items, start=1):  # noqa: B007  (the number is what is wanted)
            file.write(json.dumps(item) + "\n")
    if count:
        import stac_geoparquet.arrow  # Takes a second, and most commands do without.

        stac_geoparquet.arrow.parse_stac_ndjson_to_parquet(lines, parquet, chunk_size=_BATCH)
    return count


def _absolute(store: Store, collection: str) -> Iterator[dict[str, Any]]:
    for key, item in items_by_key(store, collection):
        folder = key.rpartition("/")[0]
        assets = {
            name: {**asset, "href": store.href(f"{folder}/{asset['href'].removeprefix('./')}")}
            for name, asset in item["assets"].items()
        }
        links = [{"rel": "self", "href": store.href(key), "type": "application/geo+json"}]
        for link in item["links"]:
            if link["rel"] == "derived_from":
                # The network lies in this catalog, scenes lie elsewhere.
                here = link["href"].startswith("../../../")
                links.append({**link, "href": store.href(link["href"][9:])} if here else link)
        yield {**item, "assets": assets, "links": links}
