"""The STAC API over many items: building the index, starting, searching. Asked over HTTP, by clients on the same cores.

Run as `python -m benchmarks.serving ITEMS FOLDER` it only writes a catalog of that many items, and its index.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import shapely

from benchmarks.measure import python, run
from benchmarks.report import Figure
from catalog.assets import AssetFile
from catalog.collections import add_items
from catalog.grid import Tile, land_tiles, owned_geometry
from catalog.index import INDEX, write_parquet
from catalog.manifest import Period
from catalog.store import open_store
from tests.catalog.tile_years import item_of, manifest_of
from tests.servers.catalog import serve_catalog

ITEMS = 100_000
_FIRST_YEAR, _YEARS = 2017, 10
_SCENES = 20
_ASKED = 100
_CLIENTS, _SECONDS = 16, 20.0
_COLLECTION = "lulc-annual"
_SCENE = "https://planetarycomputer.microsoft.com/api/stac/v1/collections/sentinel-2-l2a/items/S2A_MSIL2A_"


def serving(items: int = ITEMS) -> list[Figure]:
    """Seconds, memory and latencies of a catalog of maps of ten years."""
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    note = f"{items:,} items"
    try:
        built = run(python("benchmarks.serving", str(items), str(folder)))
        told = json.loads(built.output.strip().splitlines()[-1])
        figures = [
            Figure("index, seconds", told["seconds"], "", f"{note}, {told['bytes'] / 1e6:.0f} MB"),
            Figure("index, peak GB", built.peak_rss / 1e9, "< 2", note),
        ]
        started = time.perf_counter()
        with serve_catalog(str(folder)) as url:
            figures.append(Figure("server, seconds to its start", time.perf_counter() - started, "", note))
            figures += _latencies(url, items)
            figures.append(_throughput(url))
            figures.append(Figure("server, anonymous GB", _memory(str(folder)) / 1e9, "", "without pages of files"))
    finally:
        shutil.rmtree(folder)
    return figures


def _latencies(url: str, items: int) -> Iterator[Figure]:
    random_ = random.Random(1)
    tiles = land_tiles()

    def place() -> tuple[float, float]:
        centre = owned_geometry(Tile.from_name(random_.choice(tiles))).centroid
        return centre.x, centre.y

    def box(lon: float, lat: float) -> str:
        return f"{max(-180, lon - 1)},{max(-90, lat - 1)},{min(180, lon + 1)},{min(90, lat + 1)}"

    def year() -> int:
        return _FIRST_YEAR + random_.randrange(_YEARS)

    def in_box() -> str:
        one = year()
        period = f"{one}-01-01T00:00:00Z/{one}-12-31T23:59:59Z"
        return "/search?" + urlencode({"collections": _COLLECTION, "bbox": box(*place()), "datetime": period})

    def in_polygon() -> str:
        return "/search?" + urlencode({"intersects": shapely.to_geojson(shapely.Point(place()).buffer(1))})

    def filtered() -> str:
        looks, datatakes = random_.uniform(5, 15), random_.randrange(5, 20)
        text = f'"landloom:mean_observations" > {looks:.2f} AND "landloom:datatakes" < {datatakes}'
        return "/search?" + urlencode({"filter": text})

    def by_id() -> str:
        return f"/collections/{_COLLECTION}/items/{random_.choice(tiles[: items // _YEARS])}-{year()}"

    goals = {"box, year and collection": "< 50"}
    asked: dict[str, Callable[[], str]] = {
        "box, year and collection": in_box,
        "polygon": in_polygon,
        "CQL2 of two properties": filtered,
        "item by ID": by_id,
        "first page": lambda: "/search",
    }
    client = _Client(url)
    for name, path in asked.items():
        took = sorted(client.timed(path()) for _ in range(_ASKED))
        note = f"p99 {took[int(0.99 * len(took)) - 1]:.0f} ms; {_ASKED} requests, pages of 10"
        yield Figure(f"{name}, median ms", statistics.median(took), goals.get(name, ""), note)
    started, seen, following = time.perf_counter(), 0, "/search?limit=1000"
    while following:
        page = client.get(following)
        seen += len(page["features"])
        link = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
        following = link.removeprefix(url)
    if seen != items:
        raise RuntimeError(f"paging gave {seen} of {items} items")
    yield Figure("paging to the end, seconds", time.perf_counter() - started, "", f"{seen:,} items, pages of 1,000")


def _throughput(url: str) -> Figure:
    """Searches a second of many clients at once; they take their share of the cores."""
    counts = [0] * _CLIENTS
    end = time.perf_counter() + _SECONDS

    def ask(number: int) -> None:
        client, random_ = _Client(url), random.Random(number)
        while time.perf_counter() < end:
            lon, lat = random_.uniform(-20, 140), random_.uniform(-30, 60)
            year = _FIRST_YEAR + random_.randrange(_YEARS)
            asked = {
                "collections": _COLLECTION,
                "bbox": f"{lon:.3f},{lat:.3f},{lon + 2:.3f},{lat + 2:.3f}",
                "datetime": f"{year}-01-01T00:00:00Z/{year}-12-31T23:59:59Z",
            }
            client.read("/search?" + urlencode(asked))
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Figure("searches a second", sum(counts) / _SECONDS, ">= 100", f"{_CLIENTS} clients for {_SECONDS:.0f} s")


class _Client:
    def __init__(self, url: str):
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def read(self, path: str) -> bytes:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
        return content

    def get(self, path: str) -> dict[str, Any]:
        return json.loads(self.read(path))

    def timed(self, path: str) -> float:
        """Milliseconds."""
        started = time.perf_counter()
        self.read(path)
        return (time.perf_counter() - started) * 1000


def _memory(catalog: str) -> float:
    for process in psutil.process_iter():
        try:
            if "serve" in process.cmdline() and catalog in process.cmdline():
                memory = process.memory_info()
                return memory.rss - memory.shared
        except psutil.Error:
            continue
    return float("nan")


def _write_catalog(count: int, folder: Path) -> None:
    store = open_store(str(folder))
    add_items(store, _COLLECTION, (item for item, _ in zip(_items(count, folder), range(100), strict=False)))
    started = time.perf_counter()
    parquet = folder / _COLLECTION / INDEX
    write_parquet(_items(count, folder), parquet)
    print(json.dumps({"seconds": time.perf_counter() - started, "bytes": parquet.stat().st_size}))


def _items(count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Items of ten years, tile by tile, of 20 scenes each: one that is real, and others made after it."""
    names = ("data", "confidence", "observations", "thumbnail")
    files = [AssetFile(name, f"{name}.tif", 12_345_678, "1220" + "ab" * 32) for name in names]
    pattern = item_of(manifest_of("33UUU", Period.of_year(_FIRST_YEAR)), files)
    random_ = random.Random(3)
    for number in range(-(-count // _YEARS)):
        tile = Tile.from_name(land_tiles()[number])
        outline = owned_geometry(tile)
        geometry, bbox = json.loads(shapely.to_geojson(outline)), [round(bound, 7) for bound in outline.bounds]
        for year in range(_FIRST_YEAR, _FIRST_YEAR + min(_YEARS, count - number * _YEARS)):
            name = f"{tile.name}-{year}"
            here = f"{folder}/{_COLLECTION}/{tile.name}/{year}"
            days = [f"{year}{1 + n // 2:02d}{1 + n % 2 * 14:02d}" for n in range(_SCENES)]
            yield {
                **pattern,
                "id": name,
                "geometry": geometry,
                "bbox": bbox,
                "properties": {
                    **pattern["properties"],
                    "datetime": f"{year}-01-01T00:00:00Z",
                    "start_datetime": f"{year}-01-01T00:00:00Z",
                    "end_datetime": f"{year}-12-31T23:59:59Z",
                    "io:tile_id": tile.name,
                    "grid:code": f"MGRS-{tile.name}",
                    "proj:code": f"EPSG:{tile.epsg}",
                    "landloom:fingerprint": f"{random_.getrandbits(64):016x}",
                    "landloom:mean_observations": round(random_.uniform(2, 20), 2),
                    "landloom:datatakes": random_.randint(4, 24),
                },
                "assets": {
                    key: {**asset, "href": f"{here}/{name}/{key}.tif"} for key, asset in pattern["assets"].items()
                },
                "links": [
                    {"rel": "self", "href": f"{here}/{name}.json", "type": "application/geo+json"},
                    *({"rel": "derived_from", "href": f"{_SCENE}{day}T101031_T{tile.name}"} for day in days),
                ],
            }


if __name__ == "__main__":
    _write_catalog(int(sys.argv[1]), Path(sys.argv[2]))
