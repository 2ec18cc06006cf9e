"""The index: a collection's items as one STAC GeoParquet, for geopandas, DuckDB and the embedded API."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import stac_geoparquet.arrow

from catalog.store import Store

INDEX = "items.parquet"
_BATCH = 1000
"""Items held in memory at a time."""


def build_index(store: Store, collection: str, items: Iterable[dict[str, Any]]) -> None:
    """Write `{collection}/items.parquet`; hrefs, relative in the items, are made absolute in it.

    Args:
        store: the output.
        collection: its ID.
        items: JSON objects of all its items.
    """
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        lines, parquet = Path(folder) / "items.ndjson", Path(folder) / INDEX
        with lines.open("w") as file:
            for item in items:
                file.write(json.dumps(_absolute(store, collection, item)) + "\n")
        stac_geoparquet.arrow.parse_stac_ndjson_to_parquet(lines, parquet, chunk_size=_BATCH)
        store.upload(f"{collection}/{INDEX}", parquet)


def _absolute(store: Store, collection: str, item: dict[str, Any]) -> dict[str, Any]:
    folder = f"{collection}/{item['properties']['io:tile_id']}/{item['id'].split('-', 1)[1]}"
    assets = {
        name: {**asset, "href": store.href(f"{folder}/{asset['href'].removeprefix('./')}")}
        for name, asset in item["assets"].items()
    }
    links = [{"rel": "self", "href": store.href(f"{folder}/{item['id']}.json"), "type": "application/geo+json"}]
    links += [link for link in item["links"] if link["rel"] == "derived_from"]
    return {**item, "assets": assets, "links": links}
