"""The network alone: pixels that are kept per second on one core, at the chip and halo that mapping uses."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.report import Figure
from pipelines.classify import CHIP
from services.inference import DEFAULT_MODEL, open_network

_RUNS = 5


def network() -> list[Figure]:
    """The best of several runs: what the machine can do when nothing disturbs it."""
    opened = open_network(DEFAULT_MODEL)
    spec = opened.spec
    shape = tuple(-(-(side + 2 * spec.halo) // spec.stride) * spec.stride for side in CHIP)
    chip = np.random.default_rng(0).integers(1, 4000, (1, len(spec.bands), *shape), np.uint16)
    seconds = []
    for _ in range(_RUNS + 1):  # The first touches the memory.
        started = time.perf_counter()
        opened.scores(chip)
        seconds.append(time.perf_counter() - started)
    rate = CHIP[0] * CHIP[1] / min(seconds[1:])
    told = f"{spec.id} {spec.version}, chips of {shape[0]} x {shape[1]} px, {CHIP[0]} x {CHIP[1]} kept"
    return [Figure("kept px per core-second, network alone", rate, ">= 1,000,000", told)]
