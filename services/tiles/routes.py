"""Map tiles over HTTP. A request names a collection and an item or a year: there is no address to be read in it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Annotated, Any, Literal

import morecantile
import shapely
from cachetools import TTLCache, cached
from fastapi import APIRouter, Depends, Path, Query, Request
from rasterio.errors import RasterioError
from stac_fastapi.types.errors import NotFoundError
from starlette.responses import Response

from catalog.errors import BadInput, StoreError
from catalog.store import Store
from services.api.index import ItemIndex
from services.api.search import Search
from services.tiles.palettes import ASSETS, CLASSES, classes_of, palette_of, png
from services.tiles.read import MapReader

GRID = morecantile.tms.get("WebMercatorQuad")
LEAST_ZOOM, MOST_ZOOM = 6, 14
"""Below, a tile of a year would be read from too many maps; above, 10 m pixels are only drawn larger."""
_SIDE = 256
_MOST_ITEMS = 64
_REMEMBERED_SECONDS = 5

_Z = Annotated[int, Path(ge=0, le=24, description="Zoom of WebMercatorQuad.")]
_XY = Annotated[int, Path(ge=0, lt=1 << 24)]
_Year = Annotated[int, Path(ge=1900, le=2200)]
_Scale = Annotated[int, Query(ge=1, le=2, description="2 for tiles of 512 pixels.")]
_Lon = Annotated[float, Query(ge=-180, le=180)]
_Lat = Annotated[float, Query(ge=-90, le=90)]
_Asset = Literal["data", "confidence", "observations"]
_ItemAsset = Literal["data", "confidence", "observations", "transition", "persistence"]
"""Those of change, too."""


def tile_router(index: ItemIndex, store: Store) -> APIRouter:
    """Routes below `/tiles`.

    Args:
        index: where maps are found.
        store: where their files lie; nothing else is read.
    """
    reader = MapReader(store)
    router = APIRouter(prefix="/tiles", tags=["Tiles"])

    @cached(TTLCache(1024, _REMEMBERED_SECONDS), key=lambda *which: which, lock=Lock())
    def item_of(collection: str, item: str, asset: str = CLASSES) -> dict[str, Any]:
        found = index.item(collection, item, reader.root)
        # What the classes are told beside may lack a map: then its tiles are empty.
        needed = CLASSES if asset in ASSETS else asset
        if found is None or needed not in found["assets"]:
            raise NotFoundError(f"There is no map {item!r} in the collection {collection!r}.")
        return found

    @cached(TTLCache(1024, _REMEMBERED_SECONDS), key=lambda *which: which, lock=Lock())
    def items_in(
        collection: str, year: int, west: float, south: float, east: float, north: float
    ) -> list[dict[str, Any]]:
        if index.collection(collection) is None:
            raise NotFoundError(f"There is no collection {collection!r}.")
        box = shapely.box(west, south, east, north) if west < east else shapely.Point(west, south)
        start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
        found = index.search(
            Search(collections=(collection,), area=box, start=start, end=end, limit=_MOST_ITEMS + 1), reader.root
        ).items
        return [item for item in found if CLASSES in item["assets"]]

    def drawn(
        request: Request, find: Callable[[], list[dict[str, Any]]], asset: str, z: int, x: int, y: int, scale: int
    ) -> Response:
        if max(x, y) >= 1 << z:
            raise NotFoundError(f"Zoom {z} has no tile {x}/{y}.")
        items = find()
        told = "|".join([*(f"{one['id']} {one['properties'].get('updated')}" for one in items), asset, str(scale)])
        tag = f'"{hashlib.sha256(f"{told}|{z}/{x}/{y}".encode()).hexdigest()[:24]}"'
        headers = {"etag": tag, "cache-control": "public, max-age=300"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        try:
            values = reader.tile(items, asset, z, x, y, _SIDE * scale)
        except RasterioError as error:
            raise StoreError(f"A map of {', '.join(one['id'] for one in items)} cannot be read: {error}") from error
        colours = palette_of(asset, items[0]) if items else palette_of("confidence", {})
        return Response(png(values, colours), headers=headers, media_type="image/png")

    @router.get("/{collection}/items/{item}/tilejson.json", dependencies=[Depends(only("asset"))])
    def item_tilejson(collection: str, item: str, request: Request, asset: _ItemAsset = "data") -> dict[str, Any]:
        """How a viewer asks for the tiles of an item (TileJSON 3.0)."""
        found = item_of(collection, item, asset)
        return _tilejson(request, f"{collection}/items/{item}", found["id"], found["bbox"], found, 0, asset)

    @router.get("/{collection}/years/{year}/tilejson.json", dependencies=[Depends(only())])
    def year_tilejson(collection: str, year: _Year, request: Request) -> dict[str, Any]:
        """How a viewer asks for the tiles of all maps of a year (TileJSON 3.0)."""
        stored = index.collection(collection)
        if stored is None:
            raise NotFoundError(f"There is no collection {collection!r}.")
        bounds, some = stored["extent"]["spatial"]["bbox"][0], {"assets": stored.get("item_assets", {})}
        return _tilejson(request, f"{collection}/years/{year}", f"{collection} {year}", bounds, some, LEAST_ZOOM)

    @router.get("/{collection}/items/{item}/point", dependencies=[Depends(only("lon", "lat"))])
    def item_point(collection: str, item: str, lon: _Lon, lat: _Lat) -> dict[str, Any]:
        """Class, confidence and number of looks at a point of an item."""
        return _told(item_of(collection, item), reader, lon, lat)

    @router.get("/{collection}/years/{year}/point", dependencies=[Depends(only("lon", "lat"))])
    def year_point(collection: str, year: _Year, lon: _Lon, lat: _Lat) -> dict[str, Any]:
        """Class, confidence and number of looks at a point in a year."""
        for item in items_in(collection, year, lon, lat, lon, lat):
            told = _told(item, reader, lon, lat)
            if told["class"]:
                return told
        return {"item": None, "class": None, "confidence": None, "observations": None}

    @router.get("/{collection}/items/{item}/{z}/{x}/{y}.png", response_class=Response, dependencies=_DRAWN)
    def item_tile(
        collection: str,
        item: str,
        z: _Z,
        x: _XY,
        y: _XY,
        request: Request,
        asset: _ItemAsset = "data",
        scale: _Scale = 1,
    ) -> Response:
        """A tile of an item; what it does not map is transparent."""
        return drawn(request, lambda: [item_of(collection, item, asset)], asset, z, x, y, scale)

    @router.get("/{collection}/years/{year}/{z}/{x}/{y}.png", response_class=Response, dependencies=_DRAWN)
    def year_tile(
        collection: str, year: _Year, z: _Z, x: _XY, y: _XY, request: Request, asset: _Asset = "data", scale: _Scale = 1
    ) -> Response:
        """A tile of all maps of a year; what none maps is transparent."""

        def find() -> list[dict[str, Any]]:
            bounds = GRID.bounds(morecantile.Tile(x, y, z))
            items = items_in(collection, year, *bounds) if z >= LEAST_ZOOM else []
            if z < LEAST_ZOOM or len(items) > _MOST_ITEMS:
                raise BadInput(f"Zoom {z} shows too many maps at once: ask for zoom {max(LEAST_ZOOM, z + 1)} or more.")
            return items

        return drawn(request, find, asset, z, x, y, scale)

    return router


def only(*allowed: str) -> Callable[[Request], None]:
    """A dependency that refuses any parameter but those: nothing is passed on to the library that reads."""

    def check(request: Request) -> None:
        if unknown := sorted(set(request.query_params) - set(allowed)):
            raise BadInput(f"There is no parameter {unknown[0]!r} here. There are: {', '.join(allowed) or 'none'}.")

    return check


_DRAWN = [Depends(only("asset", "scale"))]


def _told(item: dict[str, Any], reader: MapReader, lon: float, lat: float) -> dict[str, Any]:
    if not math.isfinite(lon + lat):
        raise BadInput(f"lon {lon}, lat {lat}: give degrees.")
    try:
        values = reader.point(item, lon, lat)
    except RasterioError as error:
        raise StoreError(f"The map {item['id']} cannot be read: {error}") from error
    known = {one["value"]: one for one in classes_of(item)}
    one = known.get(values[CLASSES] or 0)
    named = one and {"code": one["value"], "name": one["name"], "title": one.get("title", one["name"])}
    rest = {asset: values[asset] if one else None for asset in ASSETS if asset != CLASSES}
    return {"item": item["id"], "class": named, **rest}


def _tilejson(
    request: Request,
    path: str,
    name: str,
    bounds: list[float],
    item: dict[str, Any],
    least_zoom: int,
    asset: str = CLASSES,
) -> dict[str, Any]:
    base = f"{str(request.base_url).rstrip('/')}/tiles/{path}"
    return {
        "tilejson": "3.0.0",
        "name": name,
        "attribution": "Contains modified Copernicus Sentinel data",
        "tiles": [f"{base}/{{z}}/{{x}}/{{y}}.png" + ("" if asset == CLASSES else f"?asset={asset}")],
        "minzoom": least_zoom,
        "maxzoom": MOST_ZOOM,
        "bounds": bounds,
        "legend": [
            {"value": one["value"], "title": one.get("title", one["name"]), "color": f"#{one['color_hint']}"}
            for one in classes_of(item, asset)
            if "color_hint" in one
        ],
    }
