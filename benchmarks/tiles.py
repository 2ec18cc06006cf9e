"""Map tiles of whole maps, of 100 km a side, and how soon the page shows them."""

from __future__ import annotations

import io
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import morecantile
import numpy as np
import requests
from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

from benchmarks.report import Figure
from services.browser.routes import BUILT
from tests.catalog.tile_years import publish_all
from tests.servers.catalog import serve_catalog

_TILES, _YEAR, _SIZE = ("33UUT", "33UUU", "33UUV", "33UVT", "33UVU", "33UVV"), 2020, 10_000
_ZOOMS = range(8, 15)
_ASKED, _OPENED = 100, 5
_GRID = morecantile.tms.get("WebMercatorQuad")
_CHROMIUM = shutil.which("chromium")
# WebGL without a graphics card.
_FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
_WATER = (0x41, 0x9B, 0xDF)


def tiles() -> list[Figure]:
    """Latencies at each zoom, and seconds from a click to a map."""
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        publish_all(folder / "out", *((tile, _YEAR) for tile in _TILES), folder=folder, size=_SIZE)
        with serve_catalog(str(folder / "out")) as url:
            figures = [*_latencies(url, "item"), *_latencies(url, "year")]
            if _CHROMIUM and (BUILT / "done").is_file():
                figures.append(_first_map(url))
    finally:
        shutil.rmtree(folder)
    return figures


def _latencies(url: str, kind: str) -> Iterator[Figure]:
    random_, session = random.Random(1), requests.Session()
    names = {"item": "items/33UUU-2020", "year": f"years/{_YEAR}"}
    asked_for = session.get(f"{url}/tiles/lulc-annual/{names[kind]}/tilejson.json", timeout=30).json()
    for zoom in _ZOOMS:
        among = list(_GRID.tiles(*asked_for["bounds"], zooms=zoom))
        took = []
        for _ in range(_ASKED):
            one = random_.choice(among)
            path = asked_for["tiles"][0].format(x=one.x, y=one.y, z=one.z)
            started = time.perf_counter()
            answer = session.get(path, timeout=30)
            took.append((time.perf_counter() - started) * 1000)
            answer.raise_for_status()
        took.sort()
        note = f"p99 {took[int(0.99 * len(took)) - 1]:.0f} ms; {len(among):,} to choose from"
        yield Figure(
            f"tile of {'an item' if kind == 'item' else 'a year'}, zoom {zoom}, ms", statistics.median(took), "", note
        )


def _first_map(url: str) -> Figure:
    """From asking for the page until classes are seen on it; pictures of it are taken all the time."""
    took = []
    with sync_playwright() as play, play.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS) as browser:
        for _ in range(_OPENED):
            # Each begins with nothing in its cache.
            page = browser.new_context(viewport={"width": 1100, "height": 750}).new_page()
            started = time.perf_counter()
            page.goto(f"{url}/map/#view=11/52.4/13", wait_until="commit")
            while not _seen(page):
                if time.perf_counter() - started > 60:
                    raise RuntimeError("the page shows no map")
            took.append(time.perf_counter() - started)
            page.context.close()
    return Figure(
        "first map on the page, seconds", statistics.median(took), "< 2", f"{_OPENED} times, {max(took):.2f} at most"
    )


def _seen(page: Page) -> bool:
    try:
        png = page.screenshot()
    except PlaywrightError:  # Nothing is painted yet.
        return False
    picture = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
    return bool((np.abs(picture[:, 280:].astype(int) - _WATER).max(axis=2) <= 2).mean() > 0.001)
