"""Run a command and watch its time and the memory of each of its processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
        while process.poll() is None:
            sizes = _sizes(process.pid)
            peak, total = max(peak, *sizes, 0), max(total, sum(sizes))
            time.sleep(_EVERY)
        seconds, core_seconds = time.perf_counter() - started, _core_seconds() - before
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{text}")
    return Measured(seconds, core_seconds, peak, total, text)


def medians(programs: dict[str, list[str]], times: int = 3) -> tuple[dict[str, float], dict[str, Measured]]:
    """Run programs in turn, each so many times: what a shared machine does meanwhile meets all of them.

    Returns:
        Of each, the median of the seconds that it prints last, and the run with that median.
    """
    runs: dict[str, list[tuple[float, Measured]]] = {name: [] for name in programs}
    for _ in range(times):
        for name, command in programs.items():
            one = run(command)
            runs[name].append((float(one.output.splitlines()[-1]), one))
    middle = {name: sorted(done, key=lambda pair: pair[0])[times // 2] for name, done in runs.items()}
    return {name: seconds for name, (seconds, _) in middle.items()}, {name: one for name, (_, one) in middle.items()}


def landloom(*arguments: str) -> list[str]:
    """The `landloom` command of this environment."""
    return [sys.executable, "-m", "pipelines", *arguments]


def python(module: str, *arguments: str) -> list[str]:
    """A module of this repository, run as a program."""
    return [sys.executable, "-m", module, *arguments]


def _sizes(root: int) -> list[float]:
    sizes = []
    try:
        for one in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
            try:
                sizes.append(float(one.memory_info().rss))
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return sizes


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
