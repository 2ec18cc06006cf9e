"""Maps of 30 m: what a core does of Landsat, HLS and Sentinel-2, by itself and with the network elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.data import TILE, YEAR, Input, kept
from benchmarks.job import map_input
from benchmarks.report import Figure
from benchmarks.through_triton import served
from pipelines.simulate import Product, simulate
from pipelines.simulate_hls import simulate_hls
from pipelines.simulate_landsat import simulate_landsat
from services.inference import DEFAULT_MODELS

_MODEL = DEFAULT_MODELS[30]
_SIDE = 4500
"""Pixels of 10 m along a scene: 1,500 of 30 m, within one block."""
_DATES = (4, 12)
_SENSORS: dict[str, Callable] = {"landsat": simulate_landsat, "hls": simulate_hls, "sentinel-2": simulate}


def coarse() -> list[Figure]:
    """Published pixels x looks per core-second; of two runs of other lengths, so that starts and ends do not count."""
    figures = []
    with served(_MODEL) as address:
        for sensor in _SENSORS:
            short, long = (_simulated(sensor, dates) for dates in _DATES)
            for name, options in (("by itself", ()), ("network elsewhere", ("--inference", address))):
                few, many = (map_input(one, "--model", _MODEL, *options).core_seconds for one in (short, long))
                told = f"{many:.1f} core-seconds for {long.dates} scenes, {few:.1f} for {short.dates}"
                rate = (long.looks - short.looks) / (many - few)
                figures.append(Figure(f"{sensor} at 30 m, pixels x scenes per core-second, {name}", rate, "", told))
    return figures


def _simulated(sensor: str, dates: int) -> Input:
    """A square within the first block; `size` in pixels of 30 m."""

    def write(folder: Path) -> None:
        _SENSORS[sensor](folder, [Product(TILE, 300, 300, (_SIDE, _SIDE))], years=(YEAR,), dates_per_year=dates)

    return Input(kept(f"{sensor}-{_SIDE}px-{dates}", write), _SIDE // 3, dates)
