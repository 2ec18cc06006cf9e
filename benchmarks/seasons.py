"""What seasons add to the pass over a block that votes: time, memory, bytes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.data import CORNER, TILE, YEAR, simulated
from benchmarks.measure import landloom, run
from benchmarks.report import Figure

_SIDE = 1200
"""Pixels along a scene; memory is that of the whole block, 2,048 px, in which it lies."""


def seasons() -> list[Figure]:
    """A scene of 1,200 px within one block, 12 and 24 looks, without and with seasons, one worker; in turn."""
    figures = []
    for dates in (12, 24):
        source = simulated(_SIDE, dates=dates, corner=CORNER)
        out = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
        try:
            where = ("--source", str(source.catalog), "--tiles", TILE, "--year", str(YEAR))
            plain, seasonal = (
                run(landloom("map", *where, "--out", str(out / name), *options))
                for name, options in (("plain", ()), ("seasonal", ("--seasons",)))
            )
            (accounts,) = (out / "seasonal" / "runs").glob("*.json")
            told = json.loads(accounts.read_text())["figures"]
            size = next((out / "seasonal").rglob("seasons.tif")).stat().st_size
        finally:
            shutil.rmtree(out)
        share = told["season_seconds"] / (told["wait_seconds"] + told["network_seconds"] + told["vote_seconds"])
        note = f"{seasonal.core_seconds:.0f} and {plain.core_seconds:.0f} core-seconds, start and COGs included"
        more, memory = (
            seasonal.peak_rss / plain.peak_rss,
            f"{seasonal.peak_rss / 1e9:.2f} and {plain.peak_rss / 1e9:.2f} GB",
        )
        figures += [
            Figure(f"seasons, share of the pass over a block, {dates} looks", share, "<= 0.15", note),
            Figure(f"seasons, memory of a worker, {dates} looks, times without", more, "", memory),
            Figure(f"asset seasons, bytes a pixel, {dates} looks", size / _SIDE**2, "", ""),
        ]
    return figures
