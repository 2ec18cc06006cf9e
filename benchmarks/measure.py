"""Run a command and watch the memory of each of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Measured:
    """One finished command."""

    seconds: float
    peak_rss: float
    """Largest resident memory of any one of its processes, bytes."""
    total_rss: float
    """Largest resident memory of all its processes together, bytes."""
    output: str


def run(command: Sequence[str], *, threads: int | None = None) -> Measured:
    """Run a command to its end; raises with its output if it fails."""
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1]))
    if threads:
        env["OMP_NUM_THREADS"] = str(threads)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    peak = total = 0.0
    root = psutil.Process(process.pid)
    os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
    output: list[str] = []
    while process.poll() is None:
        sizes = []
        try:
            for one in (root, *root.children(recursive=True)):
                try:
                    sizes.append(one.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            break
        peak, total = max(peak, *sizes, 0), max(total, sum(sizes))
        output.append(process.stdout.read() or "")  # type: ignore[union-attr]
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    output.append(process.stdout.read() or "")  # type: ignore[union-attr]
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} failed:\n{''.join(output)}")
    return Measured(seconds, peak, total, "".join(output))


def landloom(*arguments: str) -> list[str]:
    """The `landloom` command of this environment."""
    return [sys.executable, "-m", "pipelines", *arguments]
