"""Change between whole tile-years, against the ways of a notebook and of plain numpy, and what coarsening hides.

`python -m benchmarks.change WAY FOLDER` is one of the programs that are measured, each in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio

from benchmarks.measure import Measured, landloom, python, run
from benchmarks.report import Figure
from catalog.cog import write_cog
from services.change.blocks import opened
from services.change.series import open_series
from services.change.tally import tally_place
from tests.services.change.maps import BUILT, CROPS, RANGELAND, TREES, WATER, write_collection, write_map

SIDE = 10_000
_YEARS = (2017, 2018, 2019, 2020, 2021)
_CODES = np.array([WATER, TREES, CROPS, BUILT, RANGELAND], np.uint8)
_SHARES = (0.05, 0.45, 0.25, 0.05, 0.2)
_FOLDER = Path("out") / "bench" / "change"


def change() -> list[Figure]:
    """Seconds and memory for two tile-years and for five, and the other ways on the same two."""
    two, five = (_years(count) for count in (2, 5))
    ways = {way: run(python("benchmarks.change", way, str(two))) for way in ("count", "numpy", "sklearn")}
    seconds = {way: json.loads(one.output.splitlines()[-1]) for way, one in ways.items()}
    persistence = run(python("benchmarks.change", "count", str(five)))
    figures = [
        Figure("transitions of two tile-years, seconds", seconds["count"], "", _told(ways["count"])),
        Figure(
            "the notebook's confusion_matrix, times as long",
            seconds["sklearn"] / seconds["count"],
            ">= 20",
            f"{seconds['sklearn']:.1f} s, {_told(ways['sklearn'])}",
        ),
        Figure(
            "plain numpy, times as long",
            seconds["numpy"] / seconds["count"],
            ">= 1",
            f"{seconds['numpy']:.1f} s, {_told(ways['numpy'])}",
        ),
        Figure("memory, share of plain numpy's", ways["count"].peak_rss / ways["numpy"].peak_rss, "< 0.1"),
        Figure(
            "transitions and persistence of five years, seconds",
            json.loads(persistence.output.splitlines()[-1]),
            "",
            _told(persistence),
        ),
    ]
    for count, folder in ((2, two), (5, five)):
        out = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
        try:
            whole = run(landloom("change", "--maps", str(folder / "collection.json"), "--out", str(out)))
        finally:
            shutil.rmtree(out)
        figures += [
            Figure(f"landloom change, {count} tile-years, maps and figures too, seconds", whole.seconds, ""),
            Figure(f"landloom change, {count} tile-years, peak memory, GB", whole.peak_rss / 1e9, "< 1"),
        ]
    return figures


def coarsening() -> list[Figure]:
    """Area and change of each class at coarser pixels, the nearest one taken, against 10 m."""
    with rasterio.open(_years(2) / f"33UUU-{_YEARS[0]}" / "map.tif") as one:
        first = one.read(1)
    with rasterio.open(_years(2) / f"33UUU-{_YEARS[1]}" / "map.tif") as one:
        second = one.read(1)
    figures = []
    for code, name in zip(_CODES, ("water", "trees", "crops", "built", "rangeland"), strict=True):
        gain = ((second == code) & (first != code)).mean()
        told = []
        for step in (3, 10, 30, 50):
            a, b = first[step // 2 :: step, step // 2 :: step], second[step // 2 :: step, step // 2 :: step]
            told.append(f"{step * 10} m: {100 * (((b == code) & (a != code)).mean() / gain - 1):+.1f} %")
        figures.append(Figure(f"gain of {name}, per cent of the tile at 10 m", 100 * gain, "", ", ".join(told)))
    return figures


def _told(one: Measured) -> str:
    return f"{one.peak_rss / 1e9:.2f} GB at most"


def _years(count: int) -> Path:
    """A catalog of so many years of one tile: patches of 200 m, one in 30 of them new each year, and odd pixels."""
    folder = _FOLDER / str(count)
    if not (folder / "collection.json").exists():
        random = np.random.default_rng(7)
        patches = random.choice(_CODES, (SIDE // 20, SIDE // 20), p=_SHARES)
        for year in _YEARS[:count]:
            codes = np.kron(patches, np.ones((20, 20), np.uint8))
            for row in range(0, SIDE, 1000):
                odd = random.random((1000, SIDE)) < 0.02
                codes[row : row + 1000][odd] = random.choice(_CODES, int(odd.sum()), p=_SHARES)
            plain = write_map(folder, codes, year, place="33UUU").parent / "map.tif"
            write_cog(plain, plain.with_name("cog.tif"), classes=True)
            plain.with_name("cog.tif").replace(plain)
            moved = random.random(patches.shape) < 0.04
            patches[moved] = random.choice(_CODES, int(moved.sum()), p=_SHARES)
        write_collection(folder)
    return folder


def _count(folder: Path) -> object:
    series = open_series(str(folder / "collection.json"))
    with opened(series, series.places[0]) as place:
        return tally_place(place)


def _read(folder: Path) -> list[np.ndarray]:
    maps = []
    for path in sorted(folder.glob("*/map.tif"))[:2]:
        with rasterio.open(path) as source:
            maps.append(source.read(1))
    return maps


def _numpy(folder: Path) -> object:
    first, second = _read(folder)
    return np.bincount((first.astype(np.int64) * 12 + second).ravel(), minlength=144).reshape(12, 12)


def _sklearn(folder: Path) -> object:
    from sklearn.metrics import confusion_matrix

    first, second = _read(folder)
    return confusion_matrix(first.ravel(), second.ravel())


if __name__ == "__main__":
    ways: dict[str, Callable[[Path], object]] = {"count": _count, "numpy": _numpy, "sklearn": _sklearn}
    started = time.perf_counter()
    ways[sys.argv[1]](Path(sys.argv[2]))
    print(time.perf_counter() - started)
