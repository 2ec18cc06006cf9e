"""The STAC API's answers: what stac-fastapi asks for, read from an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import attr
import orjson
from fastapi import Request
from stac_fastapi.extensions.filter.client import BaseFiltersClient
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.errors import NotFoundError
from stac_fastapi.types.requests import get_base_url
from starlette.responses import Response

from catalog.errors import BadInput
from services.api.dialects import SCHEMAS
from services.api.fields import Fields, read_fields
from services.api.index import ItemIndex
from services.api.search import (
    Page,
    Search,
    read_bbox,
    read_filter,
    read_geometry,
    read_interval,
    read_limit,
    read_names,
    read_sort,
)

GEOJSON, JSON, SCHEMA = "application/geo+json", "application/json", "application/schema+json"
_FILTER = {"expr": "filter", "lang": "filter-lang", "crs": "filter-crs"}
_BROWSING = {"self", "root", "parent", "child", "item", "items", "collection"}


@attr.s
class CatalogClient(BaseCoreClient):
    """Collections, items and searches over an index."""

    index: ItemIndex = attr.ib(kw_only=True)
    more_links: Callable[[str], list[dict[str, str]]] = attr.ib(kw_only=True, default=lambda base: [])
    """Of the landing page, by the API's own address."""

    def landing_page(self, **kwargs: Any) -> Any:
        """See `BaseCoreClient`; with links to the web pages."""
        page = super().landing_page(**kwargs)
        base = _base(kwargs["request"])
        for path, title in (("map/", "Map"), ("browser/", "STAC Browser")):
            page["links"].append(_link("alternate", f"{base}{path}", "text/html") | {"title": title})
        page["links"] += self.more_links(base)
        return page

    def all_collections(self, **kwargs: Any) -> Any:
        """See `BaseCoreClient`: all collections, or those that a collection search finds."""
        base = _base(kwargs["request"])
        area, (start, end) = read_bbox(kwargs.get("bbox")), read_interval(kwargs.get("datetime"))
        found = [
            _collection(one, base)
            for one in self.index.collections()
            if (area is None or any(area.intersects(box) for box in map(read_bbox, one["extent"]["spatial"]["bbox"])))
            and _overlaps(one["extent"]["temporal"]["interval"][0], start, end)
        ]
        links = [_link("root", base, JSON), _link("self", f"{base}collections", JSON)]
        content = {"collections": found, "links": links, "numberMatched": len(found), "numberReturned": len(found)}
        return _answer(content, JSON)

    def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
        """See `BaseCoreClient`."""
        return _answer(_collection(self._known(collection_id), _base(kwargs["request"])), JSON)

    def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
        """See `BaseCoreClient`."""
        self._known(collection_id)
        base = _base(kwargs["request"])
        item = self.index.item(collection_id, item_id, f"{base}files")
        if item is None:
            raise NotFoundError(f"There is no item {item_id!r} in the collection {collection_id!r}.")
        return _answer(_item(item, base), GEOJSON)

    def item_collection(self, collection_id: str, *args: Any, **kwargs: Any) -> Any:
        """See `BaseCoreClient`."""
        self._known(collection_id)
        request: Request = kwargs.pop("request")
        search, fields = _asked(kwargs | {"collections": [collection_id]})
        path = f"collections/{quote(collection_id)}/items"
        return self._found(search, fields, request, path)

    def get_search(self, *args: Any, **kwargs: Any) -> Any:
        """See `BaseCoreClient`."""
        request: Request = kwargs.pop("request")
        return self._found(*_asked(kwargs), request, "search")

    def post_search(self, search_request: Any, **kwargs: Any) -> Any:
        """See `BaseCoreClient`."""
        request: Request = kwargs.pop("request")
        body = search_request.model_dump(exclude_unset=True, by_alias=True, mode="json")
        given = dict(body)
        if body.get("fields", {}) is None:
            raise BadInput("fields is null. Leave it out, or give an object with 'include' or 'exclude'.")
        given |= {f"filter_{name}": given.pop(alias, None) for name, alias in _FILTER.items()}
        search, fields = _asked(given)
        base = _base(request)
        page = self.index.search(search, f"{base}files")
        links = [_link("root", base, JSON), _link("self", f"{base}search", GEOJSON)]
        if page.next:
            links.append(
                _link("next", f"{base}search", GEOJSON) | {"method": "POST", "body": {**body, "token": page.next}}
            )
        return _answer(_features(page, fields, links, base), GEOJSON)

    def _found(self, search: Search, fields: Fields, request: Request, path: str) -> Response:
        base = _base(request)
        page = self.index.search(search, f"{base}files")
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        here = f"{base}{path}"
        links = [_link("root", base, JSON), _link("self", f"{here}?{urlencode(given)}" if given else here, GEOJSON)]
        if path != "search":
            links.append(_link("collection", here.removesuffix("/items"), JSON))
        if page.next:
            more = urlencode([*given, ("token", page.next)])
            links.append(_link("next", f"{here}?{more}", GEOJSON) | {"method": "GET"})
        return _answer(_features(page, fields, links, base), GEOJSON)

    def _known(self, name: str) -> dict[str, Any]:
        found = self.index.collection(name)
        if found is None:
            raise NotFoundError(f"There is no collection {name!r}. /collections lists them.")
        return found


@attr.s
class QueryablesClient(BaseFiltersClient):
    """What can be filtered by."""

    index: ItemIndex = attr.ib(kw_only=True)

    def get_queryables(self, collection_id: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """See `BaseFiltersClient`."""
        if collection_id is not None and self.index.collection(collection_id) is None:
            raise NotFoundError(f"There is no collection {collection_id!r}. /collections lists them.")
        base = _base(kwargs["request"])
        where = "queryables" if collection_id is None else f"collections/{quote(collection_id)}/queryables"
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{base}{where}",
            "type": "object",
            "title": f"What items{f' of {collection_id}' if collection_id else ''} can be filtered and sorted by",
            "properties": {
                name: {"title": name, **SCHEMAS[kind]} for name, kind in self.index.columns(collection_id).items()
            },
            "additionalProperties": False,
        }


def _asked(given: Mapping[str, Any]) -> tuple[Search, Fields]:
    intersects = given.get("intersects")
    if intersects and given.get("bbox"):
        raise BadInput("bbox and intersects are both given. Give one of the two.")
    area = read_geometry(intersects) if intersects else read_bbox(given.get("bbox"))
    start, end = read_interval(given.get("datetime"))
    search = Search(
        collections=read_names("collections", given.get("collections")),
        ids=read_names("ids", given.get("ids")),
        area=area,
        start=start,
        end=end,
        filter=read_filter(given.get("filter_expr"), given.get("filter_lang"), given.get("filter_crs")),
        sort=read_sort(given.get("sortby")),
        limit=read_limit(given.get("limit")),
        token=given.get("token"),
    )
    return search, read_fields(given.get("fields"))


def _features(page: Page, fields: Fields, links: list[dict[str, Any]], base: str) -> dict[str, Any]:
    found = [fields.of(_item(item, base)) for item in page.items]
    return {"type": "FeatureCollection", "features": found, "links": links, "numberReturned": len(found)}


def _item(item: dict[str, Any], base: str) -> dict[str, Any]:
    collection = f"{base}collections/{quote(item['collection'])}"
    links = [{**link, "rel": "canonical"} if link["rel"] == "self" else link for link in item["links"]]
    item["links"] = [
        _link("self", f"{collection}/items/{quote(item['id'])}", GEOJSON),
        _link("parent", collection, JSON),
        _link("collection", collection, JSON),
        _link("root", base, JSON),
        *(link for link in links if link["rel"] not in _BROWSING),
    ]
    return item


def _collection(stored: dict[str, Any], base: str) -> dict[str, Any]:
    here, there = f"{base}collections/{quote(stored['id'])}", f"{base}files/{quote(stored['id'])}/"
    links = [
        _link("self", here, JSON),
        _link("root", base, JSON),
        _link("parent", base, JSON),
        _link("items", f"{here}/items", GEOJSON),
        _link("http://www.opengis.net/def/rel/ogc/1.0/queryables", f"{here}/queryables", SCHEMA),
        *({**link, "href": urljoin(there, link["href"])} for link in stored["links"] if link["rel"] not in _BROWSING),
    ]
    assets = {
        name: {**asset, "href": urljoin(there, asset["href"])} for name, asset in stored.get("assets", {}).items()
    }
    return {**stored, "links": links, **({"assets": assets} if assets else {})}


def _overlaps(interval: Sequence[str | None], start: Any, end: Any) -> bool:
    first, last = (read_interval(moment)[0] if moment else None for moment in interval)
    return not ((start and last and last < start) or (end and first and first > end))


def _link(rel: str, href: str, kind: str) -> dict[str, Any]:
    return {"rel": rel, "href": href, "type": kind}


def _base(request: Request) -> str:
    """The API's own address, with a slash at its end."""
    return get_base_url(request).rstrip("/") + "/"


def _answer(content: Any, kind: str) -> Response:
    return Response(orjson.dumps(content), media_type=kind)
