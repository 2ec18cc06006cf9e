"""Change between whole tile-years, against the ways of a notebook and of plain numpy, and what coarsening hides.

`python -m benchmarks.change WAY FOLDER` is one of the programs that are measured, each in a process of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window

from benchmarks.measure import landloom, medians, print_work, python, run
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
    ways_of_two = ("imports", "count", "numpy", "sklearn")
    programs = {way: python("benchmarks.change", way, str(two)) for way in ways_of_two}
    programs["five"] = python("benchmarks.change", "count", str(five))
    ways = medians(programs)
    ours, numpy, sklearn = (ways[way] for way in ("count", "numpy", "sklearn"))
    own, numpy_own = (one.peak_rss - ways["imports"].peak_rss for one in (ours, numpy))
    figures = [
        Figure("transitions of two tile-years, core-seconds", ours.core_seconds, "", ours.told),
        Figure(
            "the notebook's confusion_matrix, times as many core-seconds",
            sklearn.core_seconds / ours.core_seconds,
            ">= 20",
            sklearn.told,
        ),
        Figure("  seconds", sklearn.seconds / ours.seconds, ">= 20"),
        Figure("plain numpy, times as many core-seconds", numpy.core_seconds / ours.core_seconds, ">= 1", numpy.told),
        Figure("  seconds", numpy.seconds / ours.seconds, ">= 1"),
        Figure("memory, share of plain numpy's", ours.peak_rss / numpy.peak_rss, "< 0.1"),
        Figure(
            "  beyond Python and its libraries",
            own / numpy_own,
            "< 0.1",
            f"{own / 1e9:.3f} and {numpy_own / 1e9:.2f} GB beyond {ways['imports'].peak_rss / 1e9:.2f}",
        ),
        Figure(
            "transitions and persistence of five years, core-seconds", ways["five"].core_seconds, "", ways["five"].told
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
    """Area and change of each class at coarser pixels, each the most frequent class below, against 10 m."""
    paths = [_years(2) / f"33UUU-{year}" / "map.tif" for year in _YEARS[:2]]
    names = dict(zip(_CODES.tolist(), ("water", "trees", "crops", "built", "rangeland"), strict=True))
    return list(coarsened(paths, names))


def coarsened(paths: list[Path], names: dict[int, str]) -> Iterator[Figure]:
    """The same of any two maps on one grid of 10 m, and any classes, by value."""
    told: dict[int, list[str]] = {code: [] for code in names}
    fine: dict[int, tuple[float, float]] = {}
    for step in (1, 3, 10, 30, 50):
        maps = []
        for path in paths:
            with rasterio.open(path) as source:
                shape = source.height // step, source.width // step
                window = Window(0, 0, shape[1] * step, shape[0] * step)
                maps.append(source.read(1, window=window, out_shape=shape, resampling=Resampling.mode))
        first, second = maps
        for code in names:
            here = float((first == code).mean()), float(((second == code) & (first != code)).mean())
            area, gain = fine.setdefault(code, here)
            if step > 1:
                told[code].append(f"{_change(here[0], area)} {_change(here[1], gain)} at {step * 10} m")
    for code, name in names.items():
        yield Figure(
            f"{name}: area {100 * fine[code][0]:.3f} %, gain, per cent of the map",
            100 * fine[code][1],
            "",
            "area, gain: " + ", ".join(told[code]),
        )


def _change(part: float, whole: float) -> str:
    return f"{100 * (part / whole - 1):+.0f} %" if whole else "–"


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


def _imports(folder: Path) -> object:
    return open_series, opened, tally_place


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
    ways: dict[str, Callable[[Path], object]] = {
        "imports": _imports,
        "count": _count,
        "numpy": _numpy,
        "sklearn": _sklearn,
    }
    print_work(lambda: ways[sys.argv[1]](Path(sys.argv[2])))
