"""The STAC API over many items, embedded and on pgSTAC, beside the libraries as they come.

All servers run at once, one process each, and are asked the same in turn over HTTP by a client on the same cores.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import shapely

from benchmarks import bare_servers
from benchmarks.many_items import COLLECTION, FIRST_YEAR, YEARS, write_lines
from benchmarks.measure import landloom, python, run
from benchmarks.report import Figure
from catalog.grid import Tile, land_tiles, owned_geometry
from catalog.index import read_index
from catalog.store import open_store
from tests.servers.catalog import serve_catalog
from tests.servers.postgres import serve_postgres

_ASKED, _FEWEST = 100, 5
_PATIENCE = 60.0
"""Seconds in all that one server may take for one kind of question; then it is asked no more of it."""
_CLIENTS, _SECONDS = 16, 20.0
_POSTGRES = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=1GB", "work_mem=32MB")
_POSTGRES += ("maintenance_work_mem=512MB", "max_wal_size=4GB")
"""As a server of this size would be set."""
EMBEDDED, PGSTAC = "embedded", "pgSTAC"
BARE = {EMBEDDED: "stac-fastapi-geoparquet", PGSTAC: "stac-fastapi-pgstac"}


def globe() -> list[Figure]:
    """Ten years of all land tiles, on both of our databases."""
    return serving(YEARS * len(land_tiles()), bare=False)


def serving(items: int = 100_000, *, bare: bool = True) -> list[Figure]:
    """Seconds, memory and latencies of a catalog of maps of ten years.

    Args:
        items: how many.
        bare: measure the libraries, too.
    """
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    note = f"{items:,} items"
    try:
        built = run(python("benchmarks.many_items", str(items), str(folder)))
        told = json.loads(built.output.strip().splitlines()[-1])
        figures = [
            Figure("index, seconds", told["seconds"], "", f"{note}, {told['bytes'] / 1e6:.0f} MB"),
            Figure("index, peak GB", built.peak_rss / 1e9, "< 2", note),
        ]
        with ExitStack() as stack:
            database = stack.enter_context(serve_postgres(*_POSTGRES))
            loaded = database.new_database()
            others = []
            if bare:
                others.append(database.new_database())
                environment = bare_servers.pgstac_environment(folder)
                lines = write_lines(items, folder)
                collection = folder / COLLECTION / "collection.json"
                goal = bare_servers.load_pgstac(environment, others[0], collection, lines)
                lines.unlink()
                figures.append(Figure(f"load by {BARE[PGSTAC]}'s pypgstac, seconds", goal.seconds, "", note))
                figures.append(Figure(f"load by {BARE[PGSTAC]}'s pypgstac, peak GB", goal.peak_rss / 1e9, ""))
            done = run(landloom("load", loaded, "--catalog", str(folder)))
            again = run(landloom("load", loaded, "--catalog", str(folder)))
            figures += [
                Figure("load, seconds", done.seconds, f"<= {goal.seconds:.1f}" if bare else "", note),
                Figure("load, peak GB", done.peak_rss / 1e9, "< 2", note),
                Figure("load again without changes, seconds", again.seconds, "", note),
            ]
            servers = {}
            for name, catalog in ((EMBEDDED, str(folder)), (PGSTAC, loaded)):
                started = time.perf_counter()
                servers[name] = stack.enter_context(serve_catalog(catalog))
                figures.append(Figure(f"{name}: seconds to its start", time.perf_counter() - started, "", note))
            if bare:
                servers[BARE[PGSTAC]] = stack.enter_context(bare_servers.serve_pgstac(environment, others[0]))
                parquet = folder / "items.parquet"  # It reads one file.
                read_index(open_store(str(folder)), json.loads(collection.read_bytes()), parquet)
                servers[BARE[EMBEDDED]] = stack.enter_context(bare_servers.serve_geoparquet(folder, parquet))
            figures += _compared(_latencies(servers, items))
            figures += _compared(_paging(servers, items))
            figures += _compared(_throughputs(servers))
            figures.append(
                Figure(f"{EMBEDDED}: anonymous GB", _memory(str(folder)) / 1e9, "", "without pages of files")
            )
    finally:
        shutil.rmtree(folder)
    return figures


def _compared(measured: Iterator[tuple[str, str, dict[str, tuple[float, str]]]]) -> Iterator[Figure]:
    """What was measured, by server; ours are to be no worse than the libraries."""
    for name, sign, found in measured:
        for server, (value, note) in found.items():
            other = found.get(BARE.get(server, ""))
            yield Figure(f"{name}, {server}", value, f"{sign} {other[0]:.2f}" if other else "", note)


def _latencies(servers: dict[str, str], items: int) -> Iterator[tuple[str, str, dict[str, tuple[float, str]]]]:
    random_ = random.Random(1)
    tiles = land_tiles()

    def place() -> tuple[float, float]:
        centre = owned_geometry(Tile.from_name(random_.choice(tiles))).centroid
        return centre.x, centre.y

    def box(lon: float, lat: float) -> str:
        return f"{max(-180, lon - 1)},{max(-90, lat - 1)},{min(180, lon + 1)},{min(90, lat + 1)}"

    def year() -> int:
        return FIRST_YEAR + random_.randrange(YEARS)

    def in_box() -> str:
        return _search(collections=COLLECTION, bbox=box(*place()), datetime=_period(year()))

    def in_polygon() -> str:
        return _search(intersects=shapely.to_geojson(shapely.Point(place()).buffer(1)))

    def filtered() -> str:
        looks, datatakes = random_.uniform(5, 15), random_.randrange(5, 20)
        text = f'"landloom:mean_observations" > {looks:.2f} AND "landloom:datatakes" < {datatakes}'
        return _search(**{"filter": text, "filter-lang": "cql2-text"})

    def by_id() -> str:
        return f"/collections/{COLLECTION}/items/{random_.choice(tiles[: items // YEARS])}-{year()}"

    asked: dict[str, Callable[[], str]] = {
        "box, year and collection": in_box,
        "polygon": in_polygon,
        "CQL2 of two properties": filtered,
        "item by ID": by_id,
        "first page": _search,
    }
    clients = {name: _Client(url) for name, url in servers.items()}
    for kind, path in asked.items():
        took: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(_ASKED):
            one, counts = path(), set()
            # Each comes first as often as any other.
            order = list(clients)[number % len(clients) :] + list(clients)[: number % len(clients)]
            for name in order:
                if len(took[name]) >= _FEWEST and sum(took[name]) > _PATIENCE * 1000:
                    continue
                started = time.perf_counter()
                answer = clients[name].read(one)
                took[name].append((time.perf_counter() - started) * 1000)
                counts.add(len(json.loads(answer).get("features", [answer])))
            if len(counts) > 1:
                raise RuntimeError(f"{one}: the servers found {counts} items")
        found = {}
        for name, times in took.items():
            times.sort()
            last = times[int(0.99 * len(times)) - 1]
            found[name] = (statistics.median(times), f"p99 {last:.1f} ms; {len(times)} requests, pages of 10")
        yield f"{kind}, median ms", "<=", found


def _paging(servers: dict[str, str], items: int) -> Iterator[tuple[str, str, dict[str, tuple[float, str]]]]:
    """To the end, or as far as it gets in its time."""
    found = {}
    for name, url in servers.items():
        client = _Client(url)
        started, seen, pages, following = time.perf_counter(), set[str](), 0, _search(limit="1000")
        while following and time.perf_counter() - started < 3 * _PATIENCE:
            page = client.get(following)
            pages += 1
            seen |= {feature["id"] for feature in page["features"]}
            link = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
            following = link.removeprefix(url)
        took = time.perf_counter() - started
        if not following and len(seen) != items:
            raise RuntimeError(f"{name}: paging gave {len(seen)} of {items} items")
        end = f"{took:.0f} s to the end" if not following else "given up then"
        found[name] = (took / pages * 1000, f"{pages} pages, {len(seen):,} items; {end}")
    yield "page of 1,000, ms", "<=", found


def _throughputs(servers: dict[str, str]) -> Iterator[tuple[str, str, dict[str, tuple[float, str]]]]:
    """Searches a second of many clients at once, one server after another; they take their share of the cores."""
    found = {name: (_throughput(url), f"{_CLIENTS} clients for {_SECONDS:.0f} s") for name, url in servers.items()}
    yield "searches a second", ">=", found


def _throughput(url: str) -> float:
    counts = [0] * _CLIENTS
    end = time.perf_counter() + _SECONDS

    def ask(number: int) -> None:
        client, random_ = _Client(url), random.Random(number)
        while time.perf_counter() < end:
            lon, lat = random_.uniform(-20, 140), random_.uniform(-30, 60)
            bbox = f"{lon:.3f},{lat:.3f},{lon + 2:.3f},{lat + 2:.3f}"
            period = _period(FIRST_YEAR + random_.randrange(YEARS))
            client.read(_search(collections=COLLECTION, bbox=bbox, datetime=period))
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / _SECONDS


def _search(**asked: str) -> str:
    # Said, since not all libraries have the same by default.
    return "/search?" + urlencode({"limit": "10", **asked})


def _period(year: int) -> str:
    return f"{year}-01-01T00:00:00Z/{year}-12-31T23:59:59Z"


class _Client:
    def __init__(self, url: str):
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def read(self, path: str) -> bytes:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
        return content

    def get(self, path: str) -> dict[str, Any]:
        return json.loads(self.read(path))


def _memory(catalog: str) -> float:
    for process in psutil.process_iter():
        try:
            if "serve" in process.cmdline() and catalog in process.cmdline():
                memory = process.memory_info()
                return memory.rss - memory.shared
        except psutil.Error:
            continue
    return float("nan")
