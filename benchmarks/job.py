"""The whole job: against its unavoidable parts, in pixels per core-second, and in memory."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.data import CORNER, TILE, YEAR, Input, simulated
from benchmarks.measure import Measured, landloom, python, run
from benchmarks.report import Figure
from services.inference import DEFAULT_MODEL

TWO_THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
TWO_PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


def map_input(source: Input, *options: str, catalog: str = "") -> Measured:
    """Map an input into a fresh folder by the `landloom` command."""
    out = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        where = ("--source", catalog or str(source.catalog), "--tiles", TILE, "--year", str(YEAR), "--out", str(out))
        measured = run(landloom("map", *where, *options))
        (accounts,) = (out / "runs").glob("*.json")
        if json.loads(accounts.read_text())["published"] != [f"{TILE}-{YEAR}"]:
            raise RuntimeError(f"not published:\n{measured.output}")
        return measured
    finally:
        shutil.rmtree(out)


def speed(size: int) -> list[Figure]:
    """Floor ratio and pixels per core-second, two workers, ten scenes."""
    source = simulated(size, dates=10)
    # The job between two measurements of its parts, since a machine's speed drifts.
    before = _floor(source)
    threads = map_input(source, *TWO_THREADS)
    after = _floor(source)
    processes = map_input(source, *TWO_PROCESSES)
    floor = {part: (before[part] + after[part]) / 2 for part in ("decode", "network")}
    parts = floor["decode"] + floor["network"]
    told = f"decode {floor['decode']:.1f} s + network {floor['network']:.1f} s of {threads.seconds:.1f} s"
    rate = source.looks / threads.seconds / 2
    return [
        Figure("floor ratio, two workers", parts / threads.seconds, ">= 0.85", f"{size} px, 10 scenes: {told}"),
        Figure("floor ratio, in two processes", parts / processes.seconds, "", f"{processes.seconds:.1f} s"),
        Figure("published pixels x scenes per core-second", rate, ">= 630,000", f"2 cores for {threads.seconds:.1f} s"),
    ]


def _floor(source: Input) -> dict[str, float]:
    command = python("benchmarks.floor", str(source.catalog), str(CORNER), str(source.size), DEFAULT_MODEL, "2")
    return json.loads(run(command).output.splitlines()[-1])


def memory(size: int) -> list[Figure]:
    """Peak memory of a worker by scenes, by blocks, and for a whole tile with its scores."""
    figures = []
    for label, source in (
        ("4 blocks, 5 scenes", simulated(size, dates=5)),
        ("4 blocks, 20 scenes", simulated(size, dates=20)),
        ("1 block, 20 scenes", simulated(size // 2, dates=20)),
    ):
        figures.append(_peak(f"peak RSS of a worker, {label}", map_input(source, *TWO_PROCESSES)))
    return figures


def full_tile() -> list[Figure]:
    """A whole tile with all class scores: the largest thing that one worker assembles."""
    source = simulated(10_000, dates=1, corner=0)
    return [_peak("peak RSS of a worker, full tile with --scores", map_input(source, "--scores", *TWO_PROCESSES))]


def _peak(name: str, measured: Measured) -> Figure:
    return Figure(name + ", GB", measured.peak_rss / 1e9, "< 1.5", f"{measured.seconds:.0f} s")
