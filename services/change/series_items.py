"""The items of a series of maps: found in a STAC API, a static catalog, a `landloom map` output, or a list of items."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pystac_client
import shapely
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import mapping as to_geojson
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput, SourceUnavailable
from catalog.manifest import digest
from catalog.sources import KNOWN_APIS, RETRIES, read_json, walk

_CLASSES = ("classification:classes", "file:values")
_USUAL = "lulc-annual"
"""Taken where a catalog has several collections and none is named."""
_PLACE = ("grid:code", "io:supercell_id", "io:tile_id", "esa_worldcover:product_tile")
"""Properties that name the ground of an item, the same in all years."""
_TIMEOUT = (10, 60)


@dataclass(frozen=True)
class MapItem:
    """One item with a categorical map."""

    id: str
    year: int
    place: str
    """Names the ground that it maps, the same in all years."""
    geometry: BaseGeometry
    """Longitude and latitude."""
    href: str
    """Absolute, unsigned address of the map."""
    signed: bool
    """Whether Planetary Computer must sign it when it is read."""
    source: str
    """Address of the item's JSON."""
    collection: str
    """ID of the item's collection; empty: it tells none."""
    asset: dict[str, Any]
    """The JSON of the map's asset, completed by the collection's `item_assets`."""
    properties: dict[str, Any]

    @property
    def resolution(self) -> float | None:
        """Size of a pixel in units of its CRS, metres in UTM; None: it does not tell."""
        transform = self.asset.get("proj:transform") or self.properties.get("proj:transform")
        size = transform[0] if transform else self.properties.get("gsd")
        return abs(float(size)) if size else None


def find_items(
    maps: str,
    *,
    collection: str = "",
    asset: str = "",
    years: Sequence[int] = (),
    geometry: BaseGeometry | None = None,
) -> list[MapItem]:
    """The maps of some years that share more than an edge with an area of interest, by place and year.

    Args:
        maps: `planetary-computer`, the URL of a STAC API, a static catalog's or collection's JSON, a folder or
            `s3://bucket/prefix` with a `catalog.json` (as `landloom map` writes), or a GeoJSON of items.
        collection: its ID; may be left out where there is one, or one called `lulc-annual`. Of several, separated by
            commas, the first that maps a place in a year counts.
        asset: key of the map among an item's assets; may be left out where one asset alone tells classes.
        years: none: all there are.
        geometry: area of interest, longitude and latitude; None: everything.

    Raises:
        BadInput: there are no such items, or they are no categorical maps.
        SourceUnavailable: a server does not answer.
    """
    found: list[MapItem] = []
    for name in collection.split(","):
        before = {(one.place, one.year) for one in found}
        own = [_map_item(*one, asset) for one in _items(maps, name.strip(), years, geometry)]
        found += [one for one in own if (one.place, one.year) not in before]
    if not found:
        what = f" of {collection}" if collection else ""
        asked = f" for {', '.join(map(str, years))} in the area of interest" if years else ""
        raise BadInput(f"{maps!r} has no map{what}{asked}. Give a catalog with maps, or years and an area that it has.")
    here = [one for one in found if geometry is None or one.geometry.intersection(geometry).area > 0]
    if not here:
        raise BadInput(
            f"No map of {maps!r} lies in the area of interest. Its maps are {_few({one.id for one in found})}."
        )
    there = {one.year for one in here}
    if missing := sorted(set(years) - there):
        raise BadInput(
            f"{maps!r} has no map of {', '.join(map(str, missing))} in the area of interest. It has "
            f"{', '.join(map(str, sorted(there)))}: give --years of these, or several collections, as --collection "
            "lulc-annual-30m,lulc-annual."
        )
    return sorted((one for one in here if not years or one.year in years), key=lambda one: (one.place, one.year))


def _items(
    maps: str, collection: str, years: Sequence[int], geometry: BaseGeometry | None
) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """Items, their addresses, and whether their files must be signed."""
    if maps in KNOWN_APIS:
        yield from _of_api(KNOWN_APIS[maps].url, collection, years, geometry, maps == "planetary-computer")
        return
    if not maps.strip() or (not urlparse(maps).scheme and not Path(maps).exists()):
        raise BadInput(f"There is no {maps!r}. Give a STAC API's URL, a catalog's JSON, or a folder with a catalog.")
    href = maps if urlparse(maps).scheme else str(Path(maps).absolute())
    if not href.endswith("json") and not href.startswith("http"):
        href = f"{href.rstrip('/')}/catalog.json"
    root = read_json(href)
    if "conformsTo" in root:
        yield from _of_api(href, collection, years, geometry, "planetarycomputer" in href)
    elif root.get("type") == "FeatureCollection":
        for item in root["features"]:
            if not collection or item.get("collection") == collection:
                own = next((one["href"] for one in item.get("links", ()) if one["rel"] == "self"), href)
                yield item, _joined(href, own), False
    else:
        yield from ((item, where, False) for item, where in walk(_collection_of(root, href, collection)))


def _of_api(
    url: str, collection: str, years: Sequence[int], geometry: BaseGeometry | None, signed: bool
) -> Iterator[tuple[dict[str, Any], str, bool]]:
    if not collection:
        raise BadInput(f"{url} is a STAC API: say which of its collections by --collection, as io-lulc-annual-v02.")
    try:
        client = pystac_client.Client.open(url, stac_io=StacApiIO(max_retries=RETRIES, timeout=_TIMEOUT))
        search = client.search(
            collections=[collection],
            intersects=None if geometry is None else to_geojson(geometry),
            datetime=f"{min(years)}-01-01T00:00:00Z/{max(years)}-12-31T23:59:59Z" if years else None,
        )
        for item in search.items_as_dicts():
            own = next((one["href"] for one in item.get("links", ()) if one["rel"] == "self"), url)
            yield item, own, signed
    except Exception as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise SourceUnavailable(f"The search at {url} failed: {told}. Check URL and collection, try again.") from error


def _collection_of(root: dict[str, Any], href: str, wanted: str) -> str:
    """The address of the collection to walk."""
    if root.get("type") == "Collection":
        if wanted and root["id"] != wanted:
            raise BadInput(f"{href!r} is the collection {root['id']!r}, not {wanted!r}. Leave --collection out.")
        return href
    if root.get("type") != "Catalog":
        raise BadInput(f"{href!r} is no STAC catalog. Give the JSON of a catalog, a collection, or a list of items.")
    children = [_joined(href, link["href"]) for link in root.get("links", ()) if link["rel"] == "child"]
    found = {child["id"]: where for where in children if (child := read_json(where, href)).get("type") == "Collection"}
    if not found and not wanted:
        return href
    chosen = wanted or (_USUAL if _USUAL in found else next(iter(found)) if len(found) == 1 else "")
    if chosen not in found:
        raise BadInput(
            f"{href!r} has {f'no collection {chosen!r}' if chosen else 'several collections'}. Give one of "
            f"{', '.join(sorted(found))} by --collection."
        )
    return found[chosen]


def _map_item(item: dict[str, Any], where: str, signed: bool, asset: str) -> MapItem:
    name, properties, assets = item["id"], item["properties"], item["assets"]
    told = {key for key, one in assets.items() if any(field in one for field in _CLASSES)}
    shared: dict[str, Any] = {}
    if not told or (asset and asset not in told):
        shared = _item_assets(item, where)
        told = {key for key in assets if any(field in shared.get(key, {}) for field in _CLASSES)}
    key = asset or (next(iter(told)) if len(told) == 1 else "data")
    if key not in assets:
        raise BadInput(
            f"Item {name} has {'no asset ' + repr(asset) if asset else 'no categorical map'}: its assets are "
            f"{', '.join(assets) or 'none'}, with classes {', '.join(sorted(told)) or 'none'}. Give --asset."
        )
    start = properties.get("start_datetime") or properties.get("datetime")
    if not start or not item.get("geometry"):
        raise BadInput(f"Item {name} tells no {'geometry' if start else 'time'}: it belongs to no series of maps.")
    whole = {**shared.get(key, {}), **assets[key]}
    place = next((str(properties[one]) for one in _PLACE if properties.get(one)), "") or "grid-" + digest(
        {one: whole.get(one, properties.get(one)) for one in ("proj:code", "proj:transform", "proj:shape")}
        | {"bbox": item.get("bbox")}
    )
    return MapItem(
        id=name,
        year=int(str(start)[:4]),
        # It becomes part of names in stores.
        place=re.sub(r"[^A-Za-z0-9_.-]+", "_", place.removeprefix("MGRS-")),
        geometry=shapely.make_valid(shape(item["geometry"])),
        href=_joined(where, assets[key]["href"]),
        signed=signed,
        source=where,
        collection=str(item.get("collection") or ""),
        asset=whole,
        properties=properties,
    )


def _item_assets(item: dict[str, Any], where: str) -> dict[str, Any]:
    """What the collection tells of all its items' assets."""
    link = next((one["href"] for one in item.get("links", ()) if one["rel"] == "collection"), "")
    return read_json(_joined(where, link), where).get("item_assets", {}) if link else {}


def _joined(base: str, href: str) -> str:
    if urlparse(href).scheme or href.startswith("/"):
        return href
    scheme, separator, rest = base.rpartition("://")
    return scheme + separator + posixpath.normpath(f"{rest.rpartition('/')[0] or '.'}/{href}")


def _few(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
