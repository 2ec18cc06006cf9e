"""What no program can avoid: decoding the windows, and running the network on the chips, each timed alone.

Run as `python -m benchmarks.floor CATALOG CORNER SIZE MODEL WORKERS`; prints both times as JSON. No mosaic, no
resampling, no clouds, no vote, no output, no start-up. The network runs with the job's own session options.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from catalog.grid import BLOCK_EDGES
from catalog.scenes import BANDS
from pipelines.classify import CHIP
from services.inference import open_network

Span = tuple[int, int]

_network = functools.lru_cache(maxsize=1)(open_network)


def decode(task: tuple[Path, Span, Span]) -> None:
    """Read the six bands and the scene classification in one window of a scene, rows and columns at 10 m."""
    scene, rows, cols = task
    for name in (*BANDS, "SCL"):
        step = 2 if name in ("B11", "B12", "SCL") else 1
        with rasterio.open(scene / f"{name}.tif") as source:
            left, top, width, height = (v // step for v in (cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0]))
            source.read(1, window=Window(left, top, width, height))


def classify(task: tuple[str, Span]) -> None:
    """Run the network on one chip of this many rows and columns."""
    model, shape = task
    _network(model).scores(_chip(shape))


def _sides(length: int, largest: int) -> list[int]:
    """A block's length cut into equal parts, as the job cuts it."""
    count = -(-length // largest)
    return [-(-length // count // 8) * 8] * count


@functools.lru_cache(maxsize=4)
def _chip(shape: Span) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 4000, (1, len(BANDS), *shape), np.uint16)


def main(catalog: str, corner: str, size: str, model: str, workers: str) -> None:
    """Time both parts, with as many processes as the job has workers."""
    halo = open_network(model).spec.halo
    edges = sorted({min(max(edge - int(corner), 0), int(size)) for edge in BLOCK_EDGES})
    scenes = [path.parent for path in sorted(Path(catalog).parent.glob("*/*/B02.tif"))]
    around = [(max(a - halo, 0), min(b + halo, int(size))) for a, b in pairwise(edges)]
    windows = [(scene, rows, cols) for rows, cols in product(around, around) for scene in scenes]
    sides = [[side + 2 * halo for a, b in pairwise(edges) for side in _sides(b - a, largest)] for largest in CHIP]
    chips = [(model, shape) for shape in product(*sides) for _ in scenes]
    with ProcessPoolExecutor(int(workers), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(classify, chips[: 4 * int(workers)]))  # Workers are up and their memory is touched.
        started = time.perf_counter()
        list(pool.map(decode, windows))
        decoded = time.perf_counter()
        list(pool.map(classify, chips))
        classified = time.perf_counter()
    print(json.dumps({"decode": decoded - started, "network": classified - decoded, "chips": len(chips)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
