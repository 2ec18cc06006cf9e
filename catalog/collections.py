"""The collections and the root catalog: derived from the items, they grow with them and can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from catalog.index import INDEX, build_index
from catalog.items import COG, EXTENSIONS, class_list, file_values
from catalog.legend import Legend, load_legend
from catalog.store import Store

MOST_LINKS = 2000
"""Items beyond this are found through the index and the API, no longer by links: a page of links would not load."""
_DESCRIPTIONS = {
    "lulc-annual": (
        "Annual land cover, 10 m",
        "Land cover of each year at 10 m, voted from the year's clear looks of Sentinel-2. Laid out like "
        "io-lulc-annual-v02: code written for it reads these maps.",
    ),
    "lulc-period": (
        "Land cover of a season or a day, 10 m",
        "Land cover at 10 m of a season or of a single Sentinel-2 scene, made as the annual maps are.",
    ),
}


def add_items(store: Store, collection: str, items: Sequence[dict[str, Any]], *, anew: bool = False) -> None:
    """Let a collection's extent, summaries and links grow by items, by a conditional write: concurrent runs both count.

    Args:
        store: the output.
        collection: its ID.
        items: JSON objects.
        anew: forget what the collection said before.
    """
    if not items:
        return

    def change(content: bytes | None) -> bytes:
        known = None if content is None or anew else json.loads(content)
        return json.dumps(_grown(known, collection, items), indent=1).encode()

    store.update(f"{collection}/collection.json", change)
    store.update("catalog.json", lambda content: _root(content, collection))


def rebuild(store: Store) -> dict[str, int]:
    """Make everything that is derived from the items anew; returns the number of items of each collection."""
    counts = {}
    for collection in _DESCRIPTIONS:
        items = list(read_items(store, collection))
        if items:
            add_items(store, collection, items, anew=True)
            build_index(store, collection, items)
            counts[collection] = len(items)
    return counts


def read_items(store: Store, collection: str) -> Iterable[dict[str, Any]]:
    """The JSON of every item of a collection, by key: `{collection}/{tile}/{label}/{tile}-{label}.json`."""
    for key in store.list(f"{collection}/"):
        parts = key.split("/")
        if len(parts) == 4 and parts[3] == f"{parts[1]}-{parts[2]}.json":
            yield json.loads(store.read(key))


def _grown(known: dict[str, Any] | None, collection: str, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    grown = known or _empty(collection, load_legend("nine"))
    extent = grown["extent"]
    boxes = [item["bbox"] for item in items] + ([extent["spatial"]["bbox"][0]] if known else [])
    extent["spatial"]["bbox"] = [[*(min(b[i] for b in boxes) for i in (0, 1)), *(max(b[i] for b in boxes) for i in (2, 3))]]
    spans = [(item["properties"]["start_datetime"], item["properties"]["end_datetime"]) for item in items]
    spans += [tuple(extent["temporal"]["interval"][0])] if known else []
    extent["temporal"]["interval"] = [[min(span[0] for span in spans), max(span[1] for span in spans)]]
    summaries = grown["summaries"]
    for name, values in {
        "grid:code": {item["properties"]["grid:code"] for item in items},
        "proj:code": {item["properties"]["proj:code"] for item in items},
        "landloom:model": {item["properties"]["landloom:model"] for item in items},
        "landloom:legend": {item["properties"]["landloom:legend"] for item in items},
    }.items():
        summaries[name] = sorted({*summaries.get(name, []), *values})
    if len(summaries["grid:code"]) > MOST_LINKS:
        summaries["grid:code"] = summaries["grid:code"][:MOST_LINKS]
    links = {link["href"]: link for link in grown["links"]}
    for item in items:
        tile, label = item["properties"]["io:tile_id"], item["id"].split("-", 1)[1]
        href = f"./{tile}/{label}/{item['id']}.json"
        links[href] = {"rel": "item", "href": href, "type": "application/geo+json", "title": item["id"]}
    others = [link for link in links.values() if link["rel"] != "item"]
    found = sorted((link for link in links.values() if link["rel"] == "item"), key=lambda link: link["href"])
    grown["links"] = others + found[:MOST_LINKS]
    newest = max(items, key=lambda item: (item["properties"]["start_datetime"], item["id"]))
    tile, label = newest["properties"]["io:tile_id"], newest["id"].split("-", 1)[1]
    grown["assets"]["thumbnail"] = {
        "href": f"./{tile}/{label}/{newest['assets']['thumbnail']['href'].removeprefix('./')}",
        "type": "image/png",
        "roles": ["thumbnail"],
        "title": newest["id"],
    }
    return grown


def _empty(collection: str, legend: Legend) -> dict[str, Any]:
    title, description = _DESCRIPTIONS[collection]
    values = {"data": {"file:values": file_values(legend), "classification:classes": class_list(legend)}}
    titles = {
        "data": "Land cover",
        "confidence": "Confidence, per cent",
        "observations": "Number of clear looks",
        "scores": "Share of each class, per cent",
    }
    return {
        "type": "Collection",
        "id": collection,
        "stac_version": "1.1.0",
        "stac_extensions": [
            *(url for url in EXTENSIONS if any(name in url for name in ("classification", "file", "projection"))),
        ],
        "title": title,
        "description": description,
        "keywords": ["land cover", "land use", "Sentinel-2", "global", "annual"],
        "license": "CC-BY-4.0",
        "providers": [
            {"name": "Landloom", "roles": ["producer", "processor"]},
            {"name": "ESA", "roles": ["licensor"], "url": "https://www.esa.int/", "description": "Sentinel-2"},
        ],
        "extent": {"spatial": {"bbox": []}, "temporal": {"interval": []}},
        "summaries": {"gsd": [10]},
        "item_assets": {
            name: {"type": COG, "roles": ["data"], "title": text, **values.get(name, {})}
            for name, text in titles.items()
        },
        "assets": {
            "items": {
                "href": f"./{INDEX}",
                "type": "application/vnd.apache.parquet",
                "roles": ["collection-mirror"],
                "title": "All items, as STAC GeoParquet",
            }
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            {"rel": "license", "href": "https://creativecommons.org/licenses/by/4.0/", "type": "text/html"},
        ],
    }


def _root(content: bytes | None, collection: str) -> bytes:
    root = json.loads(content) if content else {
        "type": "Catalog",
        "id": "landloom",
        "stac_version": "1.1.0",
        "title": "Landloom",
        "description": "Land cover from Sentinel-2",
        "links": [{"rel": "root", "href": "./catalog.json", "type": "application/json"}],
    }
    link = {
        "rel": "child",
        "href": f"./{collection}/collection.json",
        "type": "application/json",
        "title": _DESCRIPTIONS[collection][0],
    }
    if link not in root["links"]:
        root["links"].append(link)
    return json.dumps(root, indent=1).encode()
