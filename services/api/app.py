"""The application: STAC API and files at one address, with limits that hold and errors that say what was wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brotli_asgi import BrotliMiddleware
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.middleware import ProxyHeaderMiddleware
from stac_fastapi.api.models import create_get_request_model, create_post_request_model
from stac_fastapi.extensions.collection_search import CollectionSearchExtension
from stac_fastapi.extensions.collection_search.collection_search import CollectionSearchConformanceClasses
from stac_fastapi.extensions.fields import FieldsExtension
from stac_fastapi.extensions.fields.fields import FieldsConformanceClasses
from stac_fastapi.extensions.filter import FilterExtension
from stac_fastapi.extensions.filter.filter import FilterConformanceClasses
from stac_fastapi.extensions.pagination import TokenPaginationExtension
from stac_fastapi.extensions.sort import SortExtension
from stac_fastapi.extensions.sort.sort import SortConformanceClasses
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.errors import ConflictError, NotFoundError
from stac_fastapi.types.extension import ApiExtension
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from catalog.errors import BadInput, LandloomError
from catalog.store import Store
from services.api.client import CatalogClient, QueryablesClient
from services.api.files import file_router
from services.api.index import ItemIndex
from services.api.limits import Limits
from services.api.requests import CollectionsRequest, FilterBody, ItemsRequest, SearchBody, SearchRequest
from services.browser.routes import add_pages
from services.tiles.routes import tile_router

if TYPE_CHECKING:
    from services.processes.routes import Processes

_log = logging.getLogger(__name__)
_FILTERS: list[str] = [
    FilterConformanceClasses.FILTER,
    FilterConformanceClasses.SEARCH,
    FilterConformanceClasses.ITEMS,
    FilterConformanceClasses.CQL2_TEXT,
    FilterConformanceClasses.CQL2_JSON,
    FilterConformanceClasses.BASIC_CQL2,
    FilterConformanceClasses.ADVANCED_COMPARISON_OPERATORS,
    FilterConformanceClasses.CASE_INSENSITIVE_COMPARISON,
    FilterConformanceClasses.ACCENT_INSENSITIVE_COMPARISON,
    FilterConformanceClasses.BASIC_SPATIAL_FUNCTIONS,
    FilterConformanceClasses.BASIC_SPATIAL_FUNCTIONS_PLUS,
    FilterConformanceClasses.SPATIAL_FUNCTIONS,
    FilterConformanceClasses.TEMPORAL_FUNCTIONS,
    FilterConformanceClasses.ARITHMETIC,
    FilterConformanceClasses.PROPERTY_PROPERTY,
]
# Clients look for the one version or the other.
_SORTS = ["https://api.stacspec.org/v1.0.0/item-search#sort", SortConformanceClasses.ITEM_SEARCH_SORT]
_TITLE, _DESCRIPTION = "Landloom", "Land cover from Sentinel-2"


def create_app(
    index: ItemIndex,
    store: Store | None,
    *,
    rate: int | None = None,
    token: str | None = None,
    processes: Processes | None = None,
) -> FastAPI:
    """The application over an index.

    Args:
        index: where items and collections are found.
        store: where the catalog's files lie; None: no files are served.
        rate: requests that one client may make in a second; None: any number.
        token: what clients must send who change collections and items; None: nobody may.
        processes: change products as a service; None: none.

    Raises:
        BadInput: a token, but an index that cannot be changed.
    """
    filters = FilterExtension(client=QueryablesClient(index=index), conformance_classes=_FILTERS)
    filters.POST = FilterBody
    searches = [
        FieldsExtension(conformance_classes=[FieldsConformanceClasses.SEARCH, FieldsConformanceClasses.ITEMS]),
        filters,
        SortExtension(conformance_classes=[*_SORTS, SortConformanceClasses.FEATURES_SORT]),
        TokenPaginationExtension(),
    ]
    collections = CollectionSearchExtension(
        GET=CollectionsRequest,
        conformance_classes=[
            CollectionSearchConformanceClasses.COLLECTIONSEARCH,
            CollectionSearchConformanceClasses.BASIS,
        ],
    )
    settings = ApiSettings(
        stac_fastapi_title=_TITLE,
        stac_fastapi_description=_DESCRIPTION,
        stac_fastapi_landing_id="landloom",
        stac_fastapi_version="1.0.0",
    )
    more_links = processes.landing_links if processes else lambda base: []
    client = CatalogClient(index=index, landing_page_id="landloom", more_links=more_links)
    changes: list[ApiExtension] = [_transactions(index, client, token)] if token else []
    changes += [processes] if processes else []
    api = StacApi(
        settings=settings,
        client=client,
        stac_version="1.1.0",
        extensions=[*searches, collections, *changes],
        exceptions={},
        health_check=lambda: {"status": "UP", "collections": [one["id"] for one in index.collections()]},
        add_metrics=True,
        search_get_request_model=create_get_request_model(searches, SearchRequest),
        search_post_request_model=create_post_request_model(searches, SearchBody),
        items_get_request_model=create_get_request_model(searches, ItemsRequest),
        collections_get_request_model=collections.GET,
        middlewares=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "HEAD", "POST", "OPTIONS", *(["PUT", "PATCH", "DELETE"] if changes else [])],
                allow_headers=["*"],
                expose_headers=["Accept-Ranges", "Content-Range", "Content-Length", "ETag", "Location", "Retry-After"],
                max_age=600,
            ),
            Middleware(ProxyHeaderMiddleware),
            Middleware(BrotliMiddleware, quality=4, gzip_fallback=True, excluded_handlers=["/files", "/tiles"]),
            Middleware(Limits, rate=rate),
        ][::-1],
    )
    _explain_errors(api.app)
    _document_errors(api.app)
    if store is not None:
        api.app.include_router(file_router(store))
        api.app.include_router(tile_router(index, store))
        add_pages(api.app)
    return api.app


def _transactions(index: ItemIndex, client: CatalogClient, token: str) -> ApiExtension:
    # Who serves from files need not have the database's libraries.
    from services.api.pgstac import PgstacIndex
    from services.api.transactions import Transactions

    if not isinstance(index, PgstacIndex):
        raise BadInput("Only a catalog in PostgreSQL can be changed through the API. Leave out the token.")
    return Transactions(index=index, catalog=client, token=token)


def _document_errors(app: FastAPI) -> None:
    """Tell in the OpenAPI document what every request may be answered by."""
    plain = app.openapi
    description = {"type": "object", "properties": {name: {"type": "string"} for name in ("code", "description")}}
    errors = {
        "400": "What was asked is malformed; the description says what of it.",
        "404": "There is no such thing.",
        "413": "The body is too large.",
        "414": "The address is too long.",
        "429": "Too many requests; Retry-After says when to try again.",
        "503": "The catalog cannot be read just now.",
    }

    refusals = {
        "401": "The token is missing, or another one.",
        "403": "This is not changed here.",
        "409": "There is one already.",
    }

    def documented() -> dict[str, Any]:
        document = plain()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                operation["responses"].pop("422", None)
                changes = method != "get" and path.startswith(("/collections", "/processes", "/jobs"))
                for status, text in (errors | refusals if changes else errors).items():
                    content = {"application/json": {"schema": description}}
                    operation["responses"].setdefault(status, {"description": text, "content": content})
        # By `fields`, items are asked for in part.
        for name, required in (("Item", ["type", "id"]), ("ItemProperties", [])):
            document["components"]["schemas"][name]["required"] = required
        return document

    app.openapi = documented  # type: ignore[method-assign]


def _explain_errors(app: FastAPI) -> None:
    def answer(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        # The first two as OGC API - Features names them, the others as OGC API - Processes does (RFC 7807).
        told = {"code": code, "description": text}
        problem = {"type": "about:blank", "title": code, "status": status, "detail": text}
        return JSONResponse(told | problem, status, headers)

    @app.exception_handler(LandloomError)
    def refused(request: Request, error: LandloomError) -> JSONResponse:
        if isinstance(error, BadInput):
            return answer(400, "BadInput", str(error))
        # Where a store lies, and why it refused, is for who runs the server.
        _log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(503, "Unavailable", "The catalog cannot be read just now. Try again later.")

    @app.exception_handler(NotFoundError)
    def missing(request: Request, error: NotFoundError) -> JSONResponse:
        return answer(404, "NotFound", str(error))

    @app.exception_handler(ConflictError)
    def there_already(request: Request, error: ConflictError) -> JSONResponse:
        return answer(409, "Conflict", str(error))

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:]) or one['loc'][0]}: {one['msg']}, not "
            f"{str(one.get('input'))[:100]!r}"
            for one in error.errors()[:3]
        )
        return answer(400, "BadInput", wrong)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.status_code), str(error.detail), error.headers)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> JSONResponse:
        _log.exception("%s %s failed.", request.method, request.url.path, exc_info=error)
        return answer(500, "Failed", "The server failed to answer this. Its log says why.")
