"""The links by which a catalog is browsed: catalog.json, collection, one catalog per grid zone (`48Q`), item.

So no file becomes too long to load: on the whole land surface a collection links to some 700 zones, and a zone to at
most 60 items a year. Searching is for the index (the collection's assets `items-…`) and the API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

JSON = "application/json"
_ITEM = "application/geo+json"


def zone_with(collection: str, zone: str, links: dict[str, str]) -> Callable[[bytes | None], bytes]:
    """A change for `Store.update`: a zone's catalog with some more items, href relative to the collection to ID."""

    def change(content: bytes | None) -> bytes:
        empty: dict[str, Any] = {
            "type": "Catalog",
            "id": f"{collection}-{zone}",
            "stac_version": "1.1.0",
            "title": zone,
            "description": f"Items of {collection} in the zone {zone} of the military grid",
            "links": [
                {"rel": "root", "href": "../../catalog.json", "type": JSON},
                {"rel": "parent", "href": "../collection.json", "type": JSON},
            ],
        }
        known = json.loads(content) if content else empty
        known["links"] = linked(known["links"], "item", _ITEM, {f"../{href}": name for href, name in links.items()})
        return dumped(known)

    return change


def root_with(content: bytes | None, titles: dict[str, str]) -> bytes:
    """The root catalog with some more collections, ID to title."""
    empty: dict[str, Any] = {
        "type": "Catalog",
        "id": "landloom",
        "stac_version": "1.1.0",
        "title": "Landloom",
        "description": "Land cover from Sentinel-2",
        "links": [{"rel": "root", "href": "./catalog.json", "type": JSON}],
    }
    root = json.loads(content) if content else empty
    children = {f"./{collection}/collection.json": title for collection, title in titles.items()}
    root["links"] = linked(root["links"], "child", JSON, children)
    return dumped(root)


def linked(links: list[dict[str, str]], rel: str, kind: str, titles: dict[str, str]) -> list[dict[str, str]]:
    """Links with some more of one relation, each once and in order, so that two orders of adding give the same file."""
    others = [link for link in links if link["rel"] != rel]
    known = {link["href"]: link for link in links if link["rel"] == rel}
    known |= {href: {"rel": rel, "href": href, "type": kind, "title": title} for href, title in titles.items()}
    return others + [known[href] for href in sorted(known)]


def dumped(content: dict[str, Any]) -> bytes:
    """The bytes that are stored."""
    return json.dumps(content, indent=1).encode()
