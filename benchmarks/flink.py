"""The job on a Flink cluster: against as many workers without Flink, its start apart; and how it grows with workers."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import CORNER, TILE, YEAR, simulated
from benchmarks.job import TWO_PROCESSES
from benchmarks.measure import ROOT, landloom, run
from benchmarks.report import Figure
from pipelines.flink import cluster
from pipelines.simulate import Product, simulate

_MIDDLE = CORNER + 2000
"""Where four blocks meet."""
_YEARS = tuple(range(2017, 2021))
_SECONDS = 24
"""That a block takes at least, with a worker of a fixed rate: far more than its work, as workers share cores. A real
block takes some three minutes, and 16 to 25 of them make a tile-year, which one worker then assembles."""
_WORKER = f"""\
#!{sys.executable}
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pipelines import block_step
from pipelines.beam_worker import main

whole = block_step.classify_block

def limited(*arguments):
    end = time.monotonic() + {_SECONDS}
    result = whole(*arguments)
    time.sleep(max(0, end - time.monotonic()))
    return result

block_step.classify_block = limited
main()
"""


@dataclass(frozen=True)
class _Run:
    checked: float
    """Seconds from the command to what is asked for being written down: the source, on Flink the workers, are looked
    at before."""
    started: float
    """From there to the last tile-year planned: the job is sent, workers start."""
    working: float
    """From there to the last one published."""
    ending: float
    """From there to the command's end."""

    @property
    def start(self) -> float:
        """All but the work."""
        return self.checked + self.started + self.ending

    @property
    def told(self) -> str:
        """Its parts."""
        return f"{self.checked:.1f} s until checked, {self.started:.1f} until planned, {self.ending:.1f} at the end"


def against_in_process(size: int) -> list[Figure]:
    """Two TaskManagers of one slot against two processes, on the same four blocks of 24 scenes."""
    source = simulated(size, 24, _MIDDLE - size // 2)
    where = ("--source", str(source.catalog), "--tiles", TILE, "--year", str(YEAR))
    with _cluster(2) as master:
        before = _map(*where, *TWO_PROCESSES)
        there = _map(*where, *_on(master))
        after = _map(*where, *TWO_PROCESSES)
    here = (before.working + after.working) / 2
    told = f"{there.working:.1f} s; in two processes {before.working:.1f} and {after.working:.1f} s, before and after"
    return [
        Figure("px/s on Flink once started, share of in-process", here / there.working, ">= 0.9", told),
        Figure("Flink: start, checks and submission, s", there.start, "< 30", there.told),
        Figure("in-process: start, s", before.start, "", before.told),
    ]


def scaling() -> list[Figure]:
    """Workers of a fixed rate: one, two, four."""
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        product = Product(TILE, col=_MIDDLE - 160, row=_MIDDLE - 160, size=(320, 320))
        catalog = simulate(folder / "scenes", [product], years=_YEARS, dates_per_year=1).catalog
        worker = folder / "worker"
        worker.write_text(_WORKER)
        worker.chmod(0o755)
        where = ("--source", str(catalog), "--tiles", TILE, "--year", ",".join(map(str, _YEARS)))
        limited = f"--environment_config={json.dumps({'command': str(worker)})}"
        working = {}
        for workers in (1, 2, 4):
            with _cluster(workers) as master:
                working[workers] = _map(*where, *_on(master), limited).working
    finally:
        shutil.rmtree(folder)
    blocks = f"{4 * len(_YEARS)} blocks of {_SECONDS} s or more"
    return [
        Figure(
            f"{workers} workers of a fixed rate, share of {workers} times one's",
            working[1] / working[workers] / workers,
            ">= 0.95",
            f"{blocks}: {working[workers]:.1f} s, one worker {working[1]:.1f} s",
        )
        for workers in (2, 4)
    ]


@contextmanager
def _cluster(workers: int) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="landloom-flink-"))
    try:
        yield cluster.start(folder, workers).master
    finally:
        cluster.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _on(master: str) -> Sequence[str]:
    return ("--runner=FlinkRunner", f"--flink_master={master}")


def _map(*options: str) -> _Run:
    out = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        begun = time.time()
        measured = run(landloom("map", "--out", str(out), *options))
        asked, planned, ended = (
            max(path.stat().st_mtime for path in (out / "runs").glob(f"*/{what}.json"))
            for what in ("request", "planned/*", "ended/*")
        )
        return _Run(asked - begun, planned - asked, ended - planned, begun + measured.seconds - ended)
    finally:
        shutil.rmtree(out)
