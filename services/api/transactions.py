"""Changes through the API, on a database and by who holds the token: items and collections made, replaced, deleted.

What was loaded from a catalog is not changed here: the next load would undo it.
"""

from typing import Annotated, Any
from urllib.parse import quote

import attr
import iso8601
import jsonpatch
import psycopg
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request
from psycopg.types.json import Jsonb
from stac_fastapi.extensions.transaction.transaction import TransactionConformanceClasses
from stac_fastapi.types.errors import ConflictError, NotFoundError
from stac_fastapi.types.extension import ApiExtension
from starlette.responses import JSONResponse, Response

from catalog.errors import BadInput
from catalog.validation import validate_received
from services.api.client import CatalogClient
from services.api.dialects import SCHEMAS, Kind
from services.api.pgstac import WRAPPER_NAMES, PgstacIndex
from services.api.search import read_bbox, read_geometry, read_interval
from services.api.token import token_check

_Object = Annotated[dict[str, Any], Body()]
_Patch = Annotated[dict[str, Any] | list[dict[str, Any]], Body()]
_MOMENTS = {"datetime", "start_datetime", "end_datetime", "created", "updated", "published", "expires", "unpublished"}
_MADE_HERE = {"self", "root", "parent", "collection", "item", "items"}
_MAX_ID = 200


@attr.s
class Transactions(ApiExtension):
    """Routes that write to pgSTAC. What is written can be asked for at once.

    The extensions "transaction" and "collection transaction" of the STAC API, of which stac-fastapi's own passes its
    bodies through models that take 0 for a time; here they are kept as they come, and checked against STAC's schemas.
    """

    index: PgstacIndex = attr.ib(kw_only=True)
    catalog: CatalogClient = attr.ib(kw_only=True)
    """Answers with what was written."""
    token: str = attr.ib(kw_only=True)
    conformance_classes: list[str] = attr.ib(
        factory=lambda: [
            TransactionConformanceClasses.ITEMS.value,
            TransactionConformanceClasses.COLLECTIONS.value,
        ]
    )
    schema_href: str | None = attr.ib(default=None)

    def register(self, app: FastAPI) -> None:
        """See `ApiExtension`."""
        router = APIRouter(tags=["Transactions"], dependencies=[Depends(token_check(self.token))])
        collections, items = "/collections", "/collections/{collection_id}/items"
        for method, path, status, handler in (
            ("POST", collections, 201, self.create_collection),
            ("PUT", collections + "/{collection_id}", 200, self.replace_collection),
            ("PATCH", collections + "/{collection_id}", 200, self.patch_collection),
            ("DELETE", collections + "/{collection_id}", 200, self.delete_collection),
            ("POST", items, 201, self.create_items),
            ("PUT", items + "/{item_id}", 200, self.replace_item),
            ("PATCH", items + "/{item_id}", 200, self.patch_item),
            ("DELETE", items + "/{item_id}", 200, self.delete_item),
        ):
            name = handler.__name__.replace("_", " ").capitalize()
            router.add_api_route(path, handler, methods=[method], status_code=status, response_model=None, name=name)
        app.include_router(router)

    def create_items(self, collection_id: str, body: _Object, request: Request) -> Response:
        """Make an item, or those of a FeatureCollection: all of them or none."""
        self._changeable(collection_id)
        several = body.get("type") == "FeatureCollection"
        given = body.get("features") if several else [body]
        if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
            raise BadInput("The FeatureCollection's features are no list of items. Give at least one.")
        contents = [self._checked(one, collection_id) for one in given]
        names = [content["id"] for content in contents]
        self._declare(contents, collection_id)
        try:
            with self.index.writing() as connection:
                connection.execute("SELECT create_items(%s)", (Jsonb(contents),))
        except psycopg.errors.UniqueViolation as error:
            which = f"an item {names[0]!r}" if len(names) == 1 else f"one of the items {', '.join(names[:5])}"
            raise ConflictError(f"There is {which} in {collection_id!r} already. Replace it by PUT.") from error
        if several:
            return JSONResponse({"created": names}, 201)
        answer = self._item(collection_id, names[0], request)
        return _created(answer, request, names[0])

    def replace_item(self, collection_id: str, item_id: str, body: _Object, request: Request) -> Response:
        """Put another item in the place of one."""
        self._changeable(collection_id)
        content = self._checked(body, collection_id)
        if content["id"] != item_id:
            raise BadInput(f"The item's id {content['id']!r} is not that of the address, {item_id!r}.")
        self._stored(collection_id, item_id)
        self._declare([content], collection_id)
        with self.index.writing() as connection:
            connection.execute("SELECT upsert_item(%s)", (Jsonb(content),))
        return self._item(collection_id, item_id, request)

    def patch_item(self, collection_id: str, item_id: str, body: _Patch, request: Request) -> Response:
        """Change parts of an item: by a merge patch (RFC 7396), or a list of operations (RFC 6902)."""
        self._changeable(collection_id)
        patched = _patched(self._stored(collection_id, item_id), body)
        return self.replace_item(collection_id, item_id, patched, request)

    def delete_item(self, collection_id: str, item_id: str, request: Request) -> Response:
        """Delete an item; the answer is what it was."""
        self._changeable(collection_id)
        answer = self._item(collection_id, item_id, request)
        with self.index.writing() as connection:
            connection.execute("DELETE FROM items WHERE id = %s AND collection = %s", (item_id, collection_id))
        return answer

    def create_collection(self, body: _Object, request: Request) -> Response:
        """Make a collection."""
        content = _checked_collection(body)
        try:
            with self.index.writing() as connection:
                connection.execute("SELECT create_collection(%s)", (Jsonb(content),))
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError(f"There is a collection {content['id']!r} already. Replace it by PUT.") from error
        answer = self._collection(content["id"], request)
        return _created(answer, request, content["id"])

    def replace_collection(self, collection_id: str, body: _Object, request: Request) -> Response:
        """Put another description of a collection in the place of one; its items stay."""
        self._changeable(collection_id)
        content = _checked_collection(body)
        if content["id"] != collection_id:
            raise BadInput(f"The collection's id {content['id']!r} is not that of the address, {collection_id!r}.")
        with self.index.writing() as connection:
            connection.execute("SELECT update_collection(%s)", (Jsonb(content),))
        return self._collection(collection_id, request)

    def patch_collection(self, collection_id: str, body: _Patch, request: Request) -> Response:
        """Change parts of a collection, as of an item."""
        return self.replace_collection(collection_id, _patched(self._changeable(collection_id), body), request)

    def delete_collection(self, collection_id: str, request: Request) -> Response:
        """Delete a collection and its items; the answer is what it was."""
        self._changeable(collection_id)
        answer = self._collection(collection_id, request)
        with self.index.writing() as connection:
            connection.execute("SELECT delete_collection(%s)", (collection_id,))
        return answer

    def _changeable(self, collection: str) -> dict[str, Any]:
        self.index.refresh()
        found = self.index.collection(collection)
        if found is None:
            raise NotFoundError(f"There is no collection {collection!r}. /collections lists them.")
        if collection in self.index.loaded:
            raise HTTPException(
                403, f"The collection {collection!r} was loaded from a catalog: change it there, and load it again."
            )
        return found

    def _stored(self, collection: str, name: str) -> dict[str, Any]:
        found = self.index.item(collection, name, self.index.source or "")
        if found is None:
            raise NotFoundError(f"There is no item {name!r} in the collection {collection!r}.")
        return found

    def _checked(self, given: dict[str, Any], collection: str) -> dict[str, Any]:
        content = _without_made_links(given)
        if read_geometry(content.get("geometry"), "The item's geometry") is None:
            raise BadInput("The item's geometry is null. Give one: items are found by where they are.")
        # That link is made here; the schema asks for it.
        validate_received({**content, "links": [*content["links"], {"rel": "collection", "href": "."}]}, "Feature")
        _check_id(content["id"])
        if content.setdefault("collection", collection) != collection:
            raise BadInput(f"The item's collection {content['collection']!r} is not that of the address.")
        properties = content["properties"]
        ends = [properties.get(name) for name in ("start_datetime", "end_datetime")]
        if all(ends) and iso8601.parse_date(ends[0]) > iso8601.parse_date(ends[1]):
            raise BadInput(f"The item's start_datetime {ends[0]} is after its end_datetime {ends[1]}.")
        columns = self.index.columns()
        for name, value in properties.items():
            kind = _kind(name, value)
            wanted = columns.get(name)
            numbers = {"integer", "number"}
            if kind and wanted and wanted != "string" and kind != wanted and not {kind, wanted} <= numbers:
                raise BadInput(f"The item's {name!r} is {value!r}; others have a {wanted} there, and so must this.")
        return content

    def _declare(self, contents: list[dict[str, Any]], collection: str) -> None:
        """Let be asked for what items have, and none before had."""
        known = self.index.columns(collection)
        found: dict[str, Kind] = {}
        for content in contents:
            for name, value in content["properties"].items():
                if (kind := _kind(name, value)) and name not in known:
                    found[name] = kind
        if not found:
            return
        with self.index.writing() as connection:
            for name, kind in found.items():
                path = None if name in ("start_datetime", "end_datetime") else ["properties", name]
                connection.execute(
                    "SELECT upsert_queryable(%s, %s, %s, NULL, ARRAY[%s], %s)",
                    (name, Jsonb({"title": name, **SCHEMAS[kind]}), WRAPPER_NAMES[kind], collection, path),
                )

    def _item(self, collection: str, name: str, request: Request) -> Response:
        answer: Response = self.catalog.get_item(name, collection, request=request)
        return answer

    def _collection(self, name: str, request: Request) -> Response:
        answer: Response = self.catalog.get_collection(name, request=request)
        return answer


def _checked_collection(given: dict[str, Any]) -> dict[str, Any]:
    content = _without_made_links(given)
    validate_received(content, "Collection")
    _check_id(content["id"])
    for box in content["extent"]["spatial"]["bbox"]:
        read_bbox(box)
    for start, end in content["extent"]["temporal"]["interval"]:
        read_interval(f"{start or '..'}/{end or '..'}")
    return content


def _without_made_links(content: dict[str, Any]) -> dict[str, Any]:
    links = content.get("links", [])
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise BadInput("links is no list of objects. Give each an 'href' and a 'rel', or leave it out.")
    return {**content, "links": [link for link in links if link.get("rel") not in _MADE_HERE]}


def _created(answer: Response, request: Request, name: str) -> Response:
    answer.status_code = 201
    answer.headers["location"] = f"{str(request.url).rstrip('/')}/{quote(name)}"
    return answer


def _patched(stored: dict[str, Any], patch: dict[str, Any] | list[Any]) -> dict[str, Any]:
    if isinstance(patch, dict):
        return dict(_merged(stored, patch))
    try:
        patched = jsonpatch.apply_patch(stored, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, AttributeError) as error:
        raise BadInput(f"The patch cannot be applied: {error}") from error
    if not isinstance(patched, dict):
        raise BadInput("With this patch, nothing is left.")
    return patched


def _merged(stored: Any, patch: Any) -> Any:
    # RFC 7396.
    if not isinstance(patch, dict):
        return patch
    merged = dict(stored) if isinstance(stored, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _kind(name: str, value: Any) -> Kind | None:
    """What a value can be asked for as; None: not at all."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "datetime" if name in _MOMENTS else "string"
    return None


def _check_id(name: str) -> None:
    if not name or len(name) > _MAX_ID or "/" in name or not name.isprintable():
        raise BadInput(
            f"The id {name[:_MAX_ID]!r} cannot stand in an address. Give 1 to {_MAX_ID} characters without '/'."
        )
