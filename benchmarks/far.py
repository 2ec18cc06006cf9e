"""The same job on scenes far away: 60 ms before every answer, 30 MB/s a connection, as an object store serves."""

from __future__ import annotations

import rasterio

from benchmarks.data import Input, simulated
from benchmarks.job import TWO_THREADS, map_input
from benchmarks.report import Figure
from catalog.scenes import BANDS
from tests.servers.http import serve

LATENCY, RATE = 0.06, 30e6


def far(size: int) -> list[Figure]:
    """Time against local files, and bytes fetched against those that the scenes' full resolution takes."""
    source = simulated(size, dates=10, corner=0)
    near = map_input(source, *TWO_THREADS)
    with serve(source.catalog.parent) as server:
        server.behave(latency=LATENCY, bytes_per_second=RATE)
        away = map_input(source, *TWO_THREADS, catalog=f"{server.url}/catalog.json")
        requests = [entry for entry in server.log() if entry["path"].endswith(".tif")]
    fetched, needed = sum(entry["bytes"] for entry in requests), _needed(source)
    headers = sum((entry["range"] or "").startswith("bytes=0-") for entry in requests)
    return [
        Figure(
            "far data, times the local seconds",
            away.seconds / near.seconds,
            "<= 1.2",
            f"{size} px, 10 scenes: {away.seconds:.1f} s and {near.seconds:.1f} s; {len(requests):,} requests",
        ),
        Figure(
            "far data, bytes fetched, times those of the windows", fetched / needed, "<= 1.6", f"{fetched / 1e6:.0f} MB"
        ),
        Figure("far data, headers read a file", headers / (7 * source.dates), "<= 2", "two worker processes"),
    ]


def _needed(source: Input) -> float:
    """Compressed bytes of the full resolution: every window once, without halos."""
    total = 0
    for scene in sorted({path.parent for path in source.catalog.parent.glob("*/*/B02.tif")}):
        for name in (*BANDS, "SCL"):
            with rasterio.open(scene / f"{name}.tif") as file:
                shares = [1 / (factor * factor) for factor in file.overviews(1)]
            total += (scene / f"{name}.tif").stat().st_size / (1 + sum(shares))
    return total
