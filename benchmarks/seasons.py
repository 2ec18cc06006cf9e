"""What seasons and a second stage add to the pass over a block that votes: time, memory, bytes."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import TILE, YEAR, Input, simulated
from benchmarks.measure import Measured, landloom, run
from benchmarks.radar_cost import BLOCK, SIDE
from benchmarks.report import Figure
from catalog.season import FEW_LOOKS, SEASON_BANDS
from catalog.second_stage import decided, planes_of
from catalog.vote import STRIP
from services.inference import DEFAULT_MODEL, model_spec, open_network
from services.inference.season_lessons import Lesson
from services.inference.season_network import train_second_stage

_DATES = (12, 24)
_STRIPS = 32
"""Of a block, that the second stage is timed on."""


@dataclass(frozen=True)
class _Mapped:
    """One run."""

    measured: Measured
    told: dict[str, float]
    """Figures of its accounts."""
    season_bytes: int
    """Of its asset `seasons`; 0: it has none."""


def seasons() -> list[Figure]:
    """A scene that fills one block, 12 and 24 looks, one worker: plain, seasons, second stage in turn."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="landloom-bench-") as folder:
        second = _second_stage(Path(folder) / "second.onnx")
        figures.append(Figure("second stage by itself, pixels per core-second", _pixels_decided(second), ""))
        ways = {"plain": (), "seasons": ("--seasons",), "second stage": ("--second-stage", second)}
        for dates in _DATES:
            source = simulated(SIDE, dates=dates, corner=BLOCK)
            runs = {name: _mapped(source, *options) for name, options in ways.items()}
            plain = runs["plain"].measured
            for name in ("seasons", "second stage"):
                one = runs[name]
                told, core_seconds = one.told, one.measured.core_seconds
                share = told["season_seconds"] / (told["wait_seconds"] + told["network_seconds"] + told["vote_seconds"])
                added = core_seconds - plain.core_seconds
                note = f"{core_seconds:.1f} and {plain.core_seconds:.1f} core-seconds, start and COGs included"
                memory = f"{one.measured.peak_rss / 1e9:.2f} and {plain.peak_rss / 1e9:.2f} GB"
                goal = "<= 0.15" if name == "seasons" else ""
                figures += [
                    Figure(f"{name}, share of the pass over a block, {dates} looks", share, goal, note),
                    Figure(f"{name}, ns a pixel and look", 1e9 * told["season_seconds"] / source.looks, ""),
                    Figure(f"{name}, ns a pixel, whole job, {dates} looks", 1e9 * added / SIDE**2, ""),
                    Figure(
                        f"{name}, memory of a worker, {dates} looks, times without",
                        one.measured.peak_rss / plain.peak_rss, "", memory,
                    ),
                ]  # fmt: skip
            size = runs["seasons"].season_bytes / SIDE**2
            figures.append(Figure(f"asset seasons, bytes a pixel, {dates} looks", size, ""))
    return figures


def _mapped(source: Input, *options: str) -> _Mapped:
    out = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        where = ("--source", str(source.catalog), "--tiles", TILE, "--year", str(YEAR))
        measured = run(landloom("map", *where, "--out", str(out), *options))
        (accounts,) = (out / "runs").glob("*.json")
        sizes = [path.stat().st_size for path in out.rglob("seasons.tif")]
        return _Mapped(measured, json.loads(accounts.read_text())["figures"], sum(sizes))
    finally:
        shutil.rmtree(out)


def _pixels_decided(file: str) -> float:
    """Strips as wide as a block, as a vote gives them; by the processor's clock."""
    second, classes, random = open_network(file), model_spec(DEFAULT_MODEL).classes, np.random.default_rng(0)
    land = len(planes_of(classes)) - len(SEASON_BANDS)
    shares = np.full((land, STRIP, SIDE), 1 / land, np.float32)
    features = random.integers(0, 10_000, (len(SEASON_BANDS), STRIP, SIDE)).astype(np.int16)
    features[-1] = FEW_LOOKS
    decided(second, classes, shares, features)  # The first touches the memory.
    started = time.process_time()
    for _ in range(_STRIPS):
        decided(second, classes, shares, features)
    return _STRIPS * STRIP * SIDE / (time.process_time() - started)


def _second_stage(path: Path) -> str:
    """One of the size that is trained; what it answers does not matter here."""
    random, first = np.random.default_rng(0), model_spec(DEFAULT_MODEL)
    land = len(planes_of(first.classes)) - len(SEASON_BANDS)
    shares = random.dirichlet(np.ones(land), 1000).T.astype(np.float32)
    features = random.integers(0, 10_000, (len(SEASON_BANDS), 1000)).astype(np.int16)
    wanted = shares.argmax(axis=0).astype(np.uint8)
    train_second_stage(first, [Lesson("nowhere", shares, features, wanted)], path, "random", "1")
    return str(path)
