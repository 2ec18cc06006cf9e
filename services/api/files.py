"""The catalog's own files over HTTP: whole or by ranges, as GDAL reads COGs."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from catalog.errors import BadInput
from catalog.store import NotFound, Store, media_type
from catalog.store_disk import DiskStore

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_router(store: Store) -> APIRouter:
    """Routes below `/files`: objects of a store, none that is hidden and none outside it."""
    router = APIRouter(tags=["Files"])

    parts = {206: {"description": "The part that `Range` asks for."}, 304: {"description": "It has not changed."}}
    told: dict[str, Any] = {"response_class": Response, "responses": parts | {416: {"description": "It is shorter."}}}

    @router.head("/files/{key:path}", name="Size of a file", operation_id="head_file", **told)
    @router.get("/files/{key:path}", name="File", operation_id="get_file", **told)
    async def file(key: str, request: Request) -> Response:
        """A file of the catalog; `Range` gives a part of it."""
        return await run_in_threadpool(_answer, store, key, request)

    return router


def _answer(store: Store, key: str, request: Request) -> Response:
    try:
        hidden = any(part.startswith(".") or not part for part in key.split("/"))
        if "\0" in key or hidden or (isinstance(store, DiskStore) and _leads_out(store, key)):
            raise NotFound(key)
        info = store.info(key)
    except (NotFound, BadInput):
        return JSONResponse({"code": "NotFound", "description": f"There is no file {key!r}."}, 404)
    headers = {
        "accept-ranges": "bytes",
        "etag": f'"{info.tag}"',
        "last-modified": format_datetime(info.modified, usegmt=True),
        "content-disposition": "inline",
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if asked and request.headers.get("if-range", headers["etag"]) != headers["etag"]:
        asked = None
    part = _part(asked, info.size) if asked else (0, info.size)
    if part is None:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{info.size}"})
    start, stop = part
    status = 200
    if asked and _RANGE.fullmatch(asked):
        status = 206
        headers["content-range"] = f"bytes {start}-{stop - 1}/{info.size}"
    headers["content-length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type(key))
    return StreamingResponse(store.stream(key, start, stop), status, headers, media_type(key))


def _leads_out(store: DiskStore, key: str) -> bool:
    """Whether a symbolic link on the way leads out of the catalog."""
    return not (store.root / key).resolve().is_relative_to(store.root.resolve())


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """Start and stop of the bytes that `Range` asks for; None if there are none such."""
    found = _RANGE.fullmatch(asked)
    if not found or found.groups() == ("", ""):
        return 0, size  # Several ranges, or another unit: the whole, as RFC 9110 allows.
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else None
