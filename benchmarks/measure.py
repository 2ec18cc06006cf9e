"""Run a command and watch its time and the memory of each of its processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
_EVERY = 0.1
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Measured:
    """One finished command."""

    seconds: float
    core_seconds: float
    """Processor time, user and system, of all its processes."""
    peak_rss: float
    """Largest resident memory of any one of its processes, bytes."""
    total_rss: float
    """Largest resident memory of all its processes together, bytes; shared pages count in each."""
    output: str
    by_process: tuple[float, ...] = ()
    """Processor time of each process, the command's own first, then by how much they took."""


def run(command: Sequence[str], threads: int = 1) -> Measured:
    """Run a command to its end, its numerical libraries on so many threads a process.

    Raises:
        RuntimeError: it fails; with its output.
    """
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS=str(threads))
    before, started = _core_seconds(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT)
        peak = total = 0.0
        used: dict[int, float] = {process.pid: 0.0}
        while process.poll() is None:
            sizes = _sizes(process.pid, used)
            peak, total = max(peak, *sizes, 0), max(total, sum(sizes))
            time.sleep(_EVERY)
        seconds, core_seconds = time.perf_counter() - started, _core_seconds() - before
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{text}")
    own = used.pop(process.pid)
    return Measured(seconds, core_seconds, peak, total, text, (own, *sorted(used.values(), reverse=True)))


@dataclass(frozen=True)
class Work:
    """What a program told of the part of it that counts, without its start."""

    seconds: float
    core_seconds: float
    peak_rss: float
    """Of the whole program, bytes."""

    @property
    def told(self) -> str:
        """For a note."""
        return f"{self.seconds:.1f} s, {self.core_seconds:.1f} core-seconds, {self.peak_rss / 1e9:.2f} GB at most"


def print_work(work: Callable[[], object]) -> None:
    """Do what counts, and print its seconds and core-seconds: what a program does for `medians`."""
    started, before = time.perf_counter(), time.process_time()
    work()
    print(time.perf_counter() - started, time.process_time() - before)


def medians(programs: dict[str, list[str]], times: int = 3) -> dict[str, Work]:
    """Run programs in turn, each so many times: what a shared machine does meanwhile meets all of them.

    Args:
        programs: name to command, which ends with `print_work`.
        times: how often each is run.

    Returns:
        Of each, the run with the median of the seconds.
    """
    runs: dict[str, list[Work]] = {name: [] for name in programs}
    for _ in range(times):
        for name, command in programs.items():
            one = run(command)
            seconds, core_seconds = map(float, one.output.splitlines()[-1].split())
            runs[name].append(Work(seconds, core_seconds, one.peak_rss))
    return {name: sorted(done, key=lambda one: one.seconds)[times // 2] for name, done in runs.items()}


def landloom(*arguments: str) -> list[str]:
    """The `landloom` command of this environment."""
    return [sys.executable, "-m", "pipelines", *arguments]


def python(module: str, *arguments: str) -> list[str]:
    """A module of this repository, run as a program."""
    return [sys.executable, "-m", module, *arguments]


def _sizes(root: int, used: dict[int, float]) -> list[float]:
    """Resident bytes of each process; what processor time each used until now is noted by its number."""
    sizes = []
    try:
        for one in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
            try:
                sizes.append(float(one.memory_info().rss))
                used[one.pid] = sum(one.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return sizes


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
