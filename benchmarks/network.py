"""The network alone: pixels that are kept per second on one core, at the chip and halo that mapping uses."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.report import Figure
from catalog.model import Network
from pipelines.classify import CHIP
from services.inference import DEFAULT_MODEL, open_network

_RUNS = 5


def network() -> list[Figure]:
    """The network that is shipped."""
    opened = open_network(DEFAULT_MODEL)
    spec, shape = opened.spec, chip_shape(opened)
    told = f"{spec.id} {spec.version}, chips of {shape[0]} x {shape[1]} px, {CHIP[0]} x {CHIP[1]} kept"
    return [Figure("kept px per core-second, network alone", kept_per_core_second(opened), ">= 1,000,000", told)]


def kept_per_core_second(opened: Network) -> float:
    """The best of several runs: what a core can do when nothing disturbs it.

    The clock is the processor's, which stands still while other processes have the core.
    """
    spec = opened.spec
    chip = np.random.default_rng(0).integers(1, 4000, (1, len(spec.bands), *chip_shape(opened)), np.uint16)
    seconds = []
    for _ in range(_RUNS + 1):  # The first touches the memory.
        started = time.process_time()
        opened.scores(chip)
        seconds.append(time.process_time() - started)
    return CHIP[0] * CHIP[1] / min(seconds[1:])


def chip_shape(opened: Network) -> tuple[int, int]:
    """Rows and columns of a chip with its halo."""
    stride, halo = opened.spec.stride, opened.spec.halo
    rows, cols = (-(-(side + 2 * halo) // stride) * stride for side in CHIP)
    return rows, cols
