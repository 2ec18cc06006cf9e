"""Planning a global year: every land tile, 22 scenes each, from a STAC API to written manifests, by two processes.

Run as `python -m benchmarks.plan_globe URL OUT WORKERS EVERY` it plans every so-many-th tile.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import psutil

from benchmarks.globe_source import SCENES, YEAR
from benchmarks.measure import ROOT, python, run
from benchmarks.report import Figure
from catalog.grid import Tile, land_tiles
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.sources import Source, open_source
from catalog.store import Store, open_store
from pipelines.plan import Settings, plan_tile
from services.inference import DEFAULT_MODEL, model_spec

ORIGINAL = 20_460
"""Tiles of the original's global year."""
_WORKERS = 2
_AT_ONCE = 20
"""Tiles that a process is handed at a time."""


def plan_globe(every: int = 1) -> list[Figure]:
    """Minutes for the original's number of tiles, memory, and bytes of the plan, from every so-many-th tile."""
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        with _api() as (url, server):
            command = python("benchmarks.plan_globe", url, str(folder), str(_WORKERS), str(every))
            measured = run(command)
            served = sum(server.cpu_times()[:2])
        tiles, written = len(land_tiles()[::every]), [path.stat().st_size for path in folder.rglob("manifest.json")]
        if len(written) != tiles:
            raise RuntimeError(f"{len(written)} manifests of {tiles}:\n{measured.output}")
    finally:
        shutil.rmtree(folder)
    note = f"{tiles:,} tiles x {SCENES} scenes and their neighbours', {_WORKERS} processes"
    return [
        # By the processor's clock: on a machine that others use, too, seconds tell how much they do.
        Figure(
            f"planning {ORIGINAL:,} tiles, minutes",
            measured.core_seconds / _WORKERS / tiles * ORIGINAL / 60,
            "<= 10",
            f"{note}; took {measured.seconds:.0f} s, the API {served:.0f} core-seconds besides",
        ),
        Figure("planning a tile, core-ms", 1000 * measured.core_seconds / tiles, "", "starts among them"),
        Figure("planning, largest process, peak GB", measured.peak_rss / 1e9, "<= 1", "launcher and workers"),
        Figure("planning, all processes, peak GB", measured.total_rss / 1e9, ""),
        Figure(f"plan of {ORIGINAL:,} tiles, MB", sum(written) / tiles * ORIGINAL / 1e6, "", "manifests"),
    ]


@contextmanager
def _api() -> Iterator[tuple[str, psutil.Process]]:
    env = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.Popen(python("benchmarks.globe_source"), stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
    try:
        assert process.stdout
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("The API of the globe did not start; see above.")
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


_here: tuple[Source, Store, Settings]
"""What a worker process has opened once."""


def _open(url: str, out: str) -> None:
    global _here
    settings = Settings(model=model_spec(DEFAULT_MODEL), legend=load_legend("nine"))
    _here = open_source(url), open_store(out), settings


def _plan(name: str) -> str:
    source, store, settings = _here
    planned = plan_tile(Tile.from_name(name), None, Period.of_year(YEAR), source, store, settings)
    if not planned.manifest:
        return f"{name}: {planned.skipped or planned.refused}"
    store.write(planned.manifest.key, planned.manifest.to_json())
    return ""


def main(url: str, out: str, workers: str, every: str) -> None:
    """Plan, and tell what was not planned."""
    pool = ProcessPoolExecutor(int(workers), get_context("spawn"), _open, (url, out))
    with pool:
        for told in pool.map(_plan, land_tiles()[:: int(every)], chunksize=_AT_ONCE):
            if told:
                print(told)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        for figure in plan_globe(int(sys.argv[1])):
            print(f"{figure.name}: {figure.shown}; {figure.note}")
    else:
        main(*sys.argv[1:])
