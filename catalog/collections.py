"""The collections and the root catalog: derived from the items, they grow with them and can be rebuilt."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from catalog.assets import COG, TITLES, class_list, file_values, season_bands
from catalog.errors import BadInput, StoreError
from catalog.index import build_index, with_index_of
from catalog.items import item_key_of, read_items, zone_of
from catalog.legend import Legend
from catalog.links import JSON, dumped, linked, root_with, zone_with
from catalog.models import MODELS, TITLE
from catalog.products import PRODUCTS, rebuild_product
from catalog.store import Store

ZONES = "lulc-annual-zones"
"""One item per grid zone and year, made of the tile-years of `lulc-annual`."""
TEMPORAL = "lulc-temporal"
"""Annual maps whose years were corrected together."""
COLLECTIONS = {
    "lulc-annual": (
        "Annual land cover, 10 m",
        "Land cover of each year at 10 m, voted from the year's clear looks of Sentinel-2. Laid out like "
        "io-lulc-9-class and io-lulc-annual-v02: code written for them reads these maps.",
    ),
    "lulc-period": (
        "Land cover of a season or a day, 10 m",
        "Land cover at 10 m of a season or of a single Sentinel-2 scene, made as the annual maps are.",
    ),
    "lulc-annual-30m": (
        "Annual land cover, 30 m",
        "Land cover of each year at 30 m, voted from the year's clear looks of Landsat, or of Landsat and Sentinel-2 "
        "(HLS), back to 1984, in the tiles of the maps of 10 m. Each item names the satellites that it was seen by.",
    ),
    "lulc-period-30m": (
        "Land cover of a season or a day, 30 m",
        "Land cover at 30 m of a season or of a single overpass, made as the annual maps of 30 m are.",
    ),
    ZONES: (
        "Annual land cover by grid zone, 10 m",
        "The annual land cover at 10 m, one file per grid zone (6 x 8 degrees, such as 21L) and year, as "
        "io-lulc-9-class and io-lulc-annual-v02 are cut: code written for items of theirs reads these.",
    ),
    TEMPORAL: (
        "Annual land cover, years corrected together",
        "Annual land cover after a hidden Markov model over the years: the most likely class of each year given all "
        "maps, and its posterior probability as confidence. The last year of a series is provisional.",
    ),
    f"{TEMPORAL}-30m": (
        "Annual land cover, 30 m, years corrected together",
        "The same of series whose maps are of 30 m, or of 30 m and of 10 m compared at 30 m.",
    ),
}
_REBUILD_TRIES = 10
_SUMMARISED = ("proj:code", "gsd", "constellation", "landloom:model", "landloom:legend")
_SENTINEL = {
    "name": "ESA",
    "roles": ["licensor"],
    "url": "https://sentinels.copernicus.eu/",
    "description": "Contains modified Copernicus Sentinel data",
}
_LANDSAT = {
    "name": "USGS",
    "roles": ["licensor"],
    "url": "https://www.usgs.gov/landsat-missions",
    "description": "Landsat Collection 2, courtesy of the U.S. Geological Survey; HLS by NASA, where it was used",
}
_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json" for name in ("classification/v1.1.0", "file/v2.1.0")
]


@dataclass
class Gain:
    """What items add to their collection: small, however many they are."""

    bbox: list[float] | None = None
    interval: tuple[str, str] | None = None
    summaries: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    classes: dict[int, dict[str, Any]] = field(default_factory=dict)
    thumbnail: dict[str, Any] | None = None
    links: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """Zone to href (relative to the collection) to ID of its items."""
    count: int = 0

    @classmethod
    def of(cls, items: Iterable[dict[str, Any]]) -> Gain:
        """What some items add; they are read once, one at a time."""
        gain = cls()
        for item in items:
            gain._add(item)
        return gain

    def join(self, other: Gain, collection: str) -> Gain:
        """This and what others add to the same collection.

        Raises:
            BadInput: their legends contradict each other.
        """
        self.count += other.count
        if other.bbox and other.interval:
            self.bbox, self.interval = _joined(self.bbox, other.bbox), _spanned(self.interval, other.interval)
        for name, values in other.summaries.items():
            self.summaries[name] |= values
        _merge(self.classes, other.classes.values(), collection)
        self.thumbnail = _newer(self.thumbnail, other.thumbnail)
        for zone, links in other.links.items():
            self.links[zone] |= links
        return self

    def _add(self, item: dict[str, Any]) -> None:
        properties, href = item["properties"], item_key_of(item).partition("/")[2]
        self.count += 1
        self.bbox = _joined(self.bbox, item["bbox"])
        self.interval = _spanned(self.interval, (properties["start_datetime"], properties["end_datetime"]))
        for name in _SUMMARISED:
            if name in properties:  # Maps of HLS have no one constellation, corrected ones tell none.
                self.summaries[name].add(properties[name])
        _merge(self.classes, item["assets"]["data"]["classification:classes"], item["collection"])
        self.links[zone_of(properties["io:tile_id"])][href] = item["id"]
        if picture := item["assets"].get("thumbnail"):
            path = f"./{href.rpartition('/')[0]}/{picture['href'].removeprefix('./')}"
            self.thumbnail = _newer(
                self.thumbnail, {**_keep(picture, "type", "roles"), "href": path, "title": item["id"]}
            )


def add_items(store: Store, collection: str, items: Iterable[dict[str, Any]]) -> None:
    """Let a collection grow by items: extent, summaries, classes and links. Doing so twice changes nothing.

    By conditional writes, so that of two runs that end at once both count.

    Args:
        store: the output.
        collection: its ID.
        items: JSON objects; read once, one at a time.

    Raises:
        BadInput: an item's legend contradicts the collection's.
    """
    gain = Gain.of(items)
    if gain.count:
        link_items(store, collection, gain)
        grow(store, collection, gain)


def link_items(store: Store, collection: str, gain: Gain) -> None:
    """Link items from their zones' catalogs: the part of `add_items` that may be done zone by zone."""
    for zone, links in gain.links.items():
        store.update(_zone_key(collection, zone), zone_with(collection, zone, links))


def grow(store: Store, collection: str, gain: Gain) -> None:
    """Let extent, summaries and classes of a collection grow by what items add.

    Raises:
        BadInput: their legend contradicts the collection's.
    """
    store.update(_key(collection), lambda content: _grown(content, collection, gain))
    store.update("catalog.json", lambda content: root_with(content, {collection: COLLECTIONS[collection][0]}))


def check_legend(store: Store, collection: str, legend: Legend) -> None:
    """Whether maps with this legend may be added to a collection: to be asked before any map is made.

    Raises:
        BadInput: one of its codes already stands for another class there.
    """
    content, _ = store.read_versioned(_key(collection))
    if content is not None:
        _merge(_classes_of(json.loads(content)), class_list(legend), collection)


def rebuild(store: Store) -> dict[str, int]:
    """Make all that is derived from the items anew: extents, summaries, links and indexes.

    May run while others publish: what they change meanwhile is not overwritten but read again.

    Returns:
        Number of items of each collection.
    """
    counts = {}
    for collection in COLLECTIONS:
        counts[collection] = _rebuilt(store, collection)
        if counts[collection]:
            build_index(store, collection)
    counts |= {product.id: rebuild_product(store, product) for product in PRODUCTS}
    titles = {collection: title for collection, (title, _) in COLLECTIONS.items()}
    titles |= {product.id: product.title for product in PRODUCTS}
    there = {collection: titles[collection] for collection, count in counts.items() if count}
    if there:
        networks = {MODELS: TITLE} if store.exists(f"{MODELS}/collection.json") else {}
        store.update("catalog.json", lambda content: root_with(content, there | networks))
    return {collection: counts[collection] for collection in there}


def _rebuilt(store: Store, collection: str) -> int:
    for _ in range(_REBUILD_TRIES):
        # Versions first: an item registered after this changes one of them, and its run's write is not lost.
        before = {key: store.version(key) for key in store.list(f"{collection}/") if key.endswith("/catalog.json")}
        content, before[_key(collection)] = store.read_versioned(_key(collection))
        gain = Gain.of(read_items(store, collection))
        if not gain.count:
            return 0
        after = {_key(collection): with_index_of(content, _grown(None, collection, gain))}
        for zone, links in gain.links.items():
            after[_zone_key(collection, zone)] = zone_with(collection, zone, links)(None)
        if all(store.write_if(key, content, before.get(key)) for key, content in after.items()):
            store.delete(before.keys() - after.keys())
            return gain.count
    raise StoreError(f"Collection {collection!r} kept changing while it was rebuilt. Run it when fewer runs end.")


def _grown(content: bytes | None, collection: str, gain: Gain) -> bytes:
    known = json.loads(content) if content else _empty(collection)
    spatial, temporal = known["extent"]["spatial"], known["extent"]["temporal"]
    spatial["bbox"] = [_joined(spatial["bbox"][0] if spatial["bbox"] else None, gain.bbox)]
    temporal["interval"] = [_spanned(temporal["interval"][0] if temporal["interval"] else None, gain.interval)]
    for name in _SUMMARISED:
        if values := {*known["summaries"].get(name, []), *gain.summaries[name]}:
            known["summaries"][name] = sorted(values)
    classes = _classes_of(known)
    _merge(classes, gain.classes.values(), collection)
    listed = [classes[code] for code in sorted(classes)]
    known["item_assets"]["data"]["classification:classes"] = listed
    known["item_assets"]["data"]["file:values"] = file_values(listed)
    if thumbnail := _newer(known["assets"].get("thumbnail"), gain.thumbnail):
        known["assets"]["thumbnail"] = thumbnail
    zones = {f"./{zone}/catalog.json": zone for zone in gain.links}
    known["links"] = linked(known["links"], "child", JSON, zones)
    return dumped(known)


def _empty(collection: str) -> dict[str, Any]:
    title, description = COLLECTIONS[collection]
    gsd = 30 if collection.endswith("-30m") else 10
    return {
        "type": "Collection",
        "id": collection,
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "title": title,
        "description": description,
        "keywords": ["land cover", "land use", *(["Landsat"] if gsd == 30 else []), "Sentinel-2", "global", f"{gsd} m"],
        "license": "CC-BY-4.0",
        "providers": [
            {"name": "Landloom", "roles": ["producer", "processor"]},
            *([_LANDSAT] if gsd == 30 else []),
            _SENTINEL,
        ],
        "extent": {"spatial": {"bbox": []}, "temporal": {"interval": []}},
        "summaries": {},
        "item_assets": {
            name: {
                "type": COG,
                "roles": ["data"],
                "title": text,
                "description": description,
                **({"bands": season_bands(gsd)["bands"]} if name == "seasons" else {}),
            }
            for name, (text, description) in TITLES.items()
            if name == "data" or (name != "thumbnail" and not collection.startswith((ZONES, TEMPORAL)))
        },
        "assets": {},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": JSON},
            {"rel": "parent", "href": "../catalog.json", "type": JSON},
            {"rel": "license", "href": "https://creativecommons.org/licenses/by/4.0/", "type": "text/html"},
        ],
    }


def _joined(one: list[float] | None, other: list[float] | None) -> list[float]:
    """The box around two. One that crosses the antimeridian is taken as all around the globe."""
    boxes = [[-180.0, box[1], 180.0, box[3]] if box[0] > box[2] else box for box in (one, other) if box]
    return [*(min(box[i] for box in boxes) for i in (0, 1)), *(max(box[i] for box in boxes) for i in (2, 3))]


def _spanned(one: Iterable[str] | None, other: Iterable[str] | None) -> tuple[str, str]:
    # ISO times of one form sort as text.
    moments = [moment for interval in (one, other) if interval for moment in interval]
    return min(moments), max(moments)


def _newer(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    """The picture of the later period, whichever run came first; the second of two of one item: it was made anew."""
    pictures = [picture for picture in (other, one) if picture]
    return max(pictures, key=lambda picture: picture["title"].partition("-")[::-1], default=None)


def _merge(classes: dict[int, dict[str, Any]], more: Iterable[dict[str, Any]], collection: str) -> None:
    for one in more:
        meaning = _keep(one, "value", "name", "title", "description", "color_hint", "nodata")
        known = classes.setdefault(meaning["value"], meaning)
        if known != meaning:
            raise BadInput(
                f"Code {meaning['value']} is {meaning['name']!r} ({meaning.get('color_hint')}) in this legend and "
                f"{known['name']!r} ({known.get('color_hint')}) in the collection {collection!r} of this output. "
                "Give another --out, or a legend that agrees."
            )


def _classes_of(collection: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {one["value"]: one for one in collection["item_assets"]["data"].get("classification:classes", [])}


def _keep(content: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content}


def _key(collection: str) -> str:
    return f"{collection}/collection.json"


def _zone_key(collection: str, zone: str) -> str:
    return f"{collection}/{zone}/catalog.json"
