"""The collections of what is made from maps (change, zones, accuracy): what they are, and how they grow.

Their items are `{collection}/{subject}/{label}/{subject}-{label}.json`, as those of maps are. Extent, links and index
are derived from the items.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from catalog.errors import StoreError
from catalog.index import build_index, with_index_of
from catalog.items import items_by_key
from catalog.links import JSON, dumped, linked, root_with
from catalog.store import Store

_REBUILD_TRIES = 10


@dataclass(frozen=True)
class Collection:
    """A collection of products, as people read of it."""

    id: str
    title: str
    description: str
    keywords: tuple[str, ...]
    extensions: tuple[str, ...] = ("classification/v1.1.0", "file/v2.1.0", "processing/v1.2.0", "projection/v2.0.0")
    """Of STAC, that its items use."""


CHANGE = Collection(
    id="lulc-change",
    title="Land-cover change",
    description="What changed between years of categorical land-cover maps: areas, transitions, and whether the change "
    "lasts. Mapped areas are counted pixel by pixel on the ellipsoid; each item tells what is known of the accuracy of "
    "its source maps, and all tables what is known of the true figures.",
    keywords=("land cover", "change", "transition matrix"),
)
ZONAL = Collection(
    id="lulc-zonal",
    title="Land cover by zone",
    description="Area, share and change of land-cover classes in zones such as municipalities. Mapped areas are "
    "counted on the ellipsoid, border pixels by the share that lies in a zone; each item tells what is known of the "
    "accuracy of its source maps.",
    keywords=("land cover", "change", "zonal statistics"),
)
ACCURACY = Collection(
    id="lulc-accuracy",
    title="Accuracy and areas of land cover, from reference samples",
    description="Overall, user's and producer's accuracy of categorical land-cover maps, and areas and change of their "
    "classes estimated from probability samples of reference data, each with a 95 % interval.",
    keywords=("land cover", "accuracy", "area estimation", "reference data"),
    extensions=("file/v2.1.0", "processing/v1.2.0"),
)
PRODUCTS = (CHANGE, ZONAL, ACCURACY)


def add_to_collection(store: Store, collection: Collection, items: dict[str, dict[str, Any]]) -> None:
    """Let a collection grow by items; doing so twice changes nothing, and of two runs at once both count.

    Args:
        store: the output.
        collection: of the items.
        items: key in the store to JSON.
    """
    store.update(f"{collection.id}/collection.json", lambda content: _grown(content, collection, items))
    store.update("catalog.json", lambda content: root_with(content, {collection.id: collection.title}))
    build_index(store, collection.id)


def rebuild_product(store: Store, collection: Collection) -> int:
    """Make extent, links and index of a collection anew from its items; what others add meanwhile is not lost.

    Returns:
        Number of items; with none, nothing is written.

    Raises:
        StoreError: the collection kept changing.
    """
    key = f"{collection.id}/collection.json"
    for _ in range(_REBUILD_TRIES):
        # Before the items are listed: whoever writes after this may know more than we do.
        content, before = store.read_versioned(key)
        items = {at: _kept(item) for at, item in items_by_key(store, collection.id)}
        if not items:
            return 0
        if store.write_if(key, with_index_of(content, _grown(None, collection, items)), before):
            return build_index(store, collection.id)
    raise StoreError(f"Collection {collection.id!r} kept changing while it was rebuilt. Run it when fewer runs end.")


def _kept(item: dict[str, Any]) -> dict[str, Any]:
    """What a collection tells of an item."""
    times = {key: item["properties"][key] for key in ("start_datetime", "end_datetime", "updated")}
    return {"id": item["id"], "bbox": item["bbox"], "properties": times}


def _grown(content: bytes | None, collection: Collection, items: dict[str, dict[str, Any]]) -> bytes:
    empty: dict[str, Any] = {
        "type": "Collection",
        "id": collection.id,
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "title": collection.title,
        "description": collection.description,
        "keywords": list(collection.keywords),
        "license": "other",
        "extent": {"spatial": {"bbox": []}, "temporal": {"interval": []}},
        "assets": {},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": JSON},
            {"rel": "parent", "href": "../catalog.json", "type": JSON},
        ],
    }
    known = json.loads(content) if content else empty
    spatial, temporal = known["extent"]["spatial"], known["extent"]["temporal"]
    boxes = [*spatial["bbox"], *(one["bbox"] for one in items.values())]
    # One that crosses the antimeridian is taken as all around the globe.
    boxes = [[-180.0, box[1], 180.0, box[3]] if box[0] > box[2] else box for box in boxes]
    least, most = (min(box[i] for box in boxes) for i in (0, 1)), (max(box[i] for box in boxes) for i in (2, 3))
    spatial["bbox"] = [[*least, *most]]
    spans = [(one["properties"]["start_datetime"], one["properties"]["end_datetime"]) for one in items.values()]
    moments = [moment for span in (*temporal["interval"], *spans) for moment in span]
    temporal["interval"] = [[min(moments), max(moments)]]
    # Who serves the catalog sees by it that an item was made anew: nothing else of the collection may change then.
    known["updated"] = max([known.get("updated", ""), *(one["properties"]["updated"] for one in items.values())])
    links = {f"./{key.removeprefix(f'{collection.id}/')}": one["id"] for key, one in items.items()}
    known["links"] = linked(known["links"], "item", "application/geo+json", links)
    return dumped(known)
