"""The pages' files: `/map` is ours, `/browser` is STAC Browser; what they need from npm is built by `make browser`."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

HERE = Path(__file__).parent
BUILT = HERE / "built"
"""Made by `make browser`: `maplibre/` and `stac/`."""
_UNBUILT = (
    "<!doctype html><title>Landloom</title><p>This page is not built. Run <code>make browser</code>, and serve again."
)


def add_pages(app: FastAPI) -> None:
    """Serve the pages at `/map/` and `/browser/`."""
    router = APIRouter(include_in_schema=False)
    for name in ("map", "browser"):
        router.add_api_route(f"/{name}", lambda name=name: RedirectResponse(f"{name}/"), methods=["GET"])
    for name, needed in (("map", BUILT / "maplibre"), ("browser", BUILT / "stac")):
        if not needed.is_dir():
            router.add_api_route(f"/{name}/", lambda: HTMLResponse(_UNBUILT), methods=["GET"])
    app.include_router(router)
    if (BUILT / "maplibre").is_dir():
        app.mount("/map/maplibre", StaticFiles(directory=BUILT / "maplibre"))
        app.mount("/map", StaticFiles(directory=HERE / "map", html=True))
    if (BUILT / "stac").is_dir():
        app.mount("/browser", StaticFiles(directory=BUILT / "stac", html=True))
