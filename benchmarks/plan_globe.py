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
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.globe_source import SCENES, YEAR
from benchmarks.measure import ROOT, python, run
from benchmarks.report import Figure
from catalog.area import area_of_tiles
from catalog.grid import land_tiles
from catalog.legend import load_legend
from catalog.manifest import Period
from pipelines.annual_map import PlanTileYears
from pipelines.job import Job
from pipelines.plan import Settings
from pipelines.request import Request
from pipelines.runner import run_pipeline
from services.inference import DEFAULT_MODEL, model_spec

ORIGINAL = 20_460
"""Tiles of the original's global year."""
_WORKERS = 2


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


def main(url: str, out: str, workers: str, every: str) -> None:
    """Plan as a run does, without mapping."""
    settings = Settings(model=model_spec(DEFAULT_MODEL), legend=load_legend("nine"))
    area = area_of_tiles(",".join(land_tiles()[:: int(every)]))
    request = Request.of(url, area, [Period.of_year(YEAR)], settings)
    options = [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
    run_pipeline(PlanTileYears(Job("plan", out, DEFAULT_MODEL), request), options)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        for figure in plan_globe(int(sys.argv[1])):
            print(f"{figure.name}: {figure.shown}; {figure.note}")
    else:
        main(*sys.argv[1:])
