"""A year of the whole land surface, played through on fleets of many sizes; and the play against real runs.

`python -m benchmarks global-run` plays, `capacity-check` measures. The rates are those of `landloom estimate`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.data import Input, simulated
from benchmarks.job import map_input
from benchmarks.report import Figure
from catalog.grid import Tile, block, blocks_intersecting, land_tiles
from pipelines.capacity import Fleet, Forecast, Work, forecast
from pipelines.estimate import PriceTable, load_prices

SCENES = 450_120
"""Of the original's global year, 22 for each of its 20,460 tiles; here dealt evenly to all our land tiles."""
DAY = 24.0
GPUS = 8
_ALONE = (250, 500, 1000, 2000, 4000, 8000)
_READERS = (50, 100, 200, 400)
_SERVED = (2, 4, 8, 16, 32, 64)
_ON_FLINK = (500, 1000, 2000)
_GAIN = 1.1
"""A fleet twice as large that is not so many times as fast is too large."""
_BLOCKS = Path("out") / "bench" / "land-blocks.npy"


def global_run() -> list[Figure]:
    """Hours and dollars against workers and GPUs."""
    work, table = global_year(), load_prices("")
    told = f"{SCENES:,} scenes, {work.tile_years.max() + 1:,} tile-years, {len(work.looks):,} blocks"
    print(f"  {told}; {work.looks.sum():.3g} pixels x looks")
    figures = []
    readers = 1.25 * table.rates.pixels_per_gpu_second / table.rates.reader_pixels_per_core_second
    kept = table.model_copy(update={"running": table.running.model_copy(update={"losses_per_hour": 0.0})})
    alone = [_told(work, Fleet("dataflow", workers), table) for workers in _ALONE]
    [_told(work, Fleet("dataflow", workers, GPUS), table) for workers in _READERS]
    served = [_told(work, Fleet("dataflow", round(gpus * readers), gpus), table) for gpus in _SERVED]
    for name, row in (("workers", alone), ("GPUs with their readers", served)):
        figures.append(Figure(f"{name} from which twice as many gain under 10 %", _enough(row), ""))
    print("  Flink, workers that may be taken away, then the same kept:")
    for workers in _ON_FLINK:
        for rates in (table, kept):
            _told(work, Fleet("flink", workers), rates)
    for rates in (table, kept):
        _told(work, Fleet("flink", round(GPUS * readers), GPUS), rates)
    fleet = Fleet("dataflow", round(GPUS * readers), GPUS)
    goal = forecast(work, fleet, table)
    note = f"{fleet.workers} readers, {goal.usd:,.0f} USD; GPU rate ASSUMED"
    figures.append(Figure(f"global year on {GPUS} GPUs, hours", goal.hours, f"<= {DAY:.0f}", note))
    for factor in (0.5, 2.0):
        rate = table.rates.pixels_per_gpu_second * factor
        other = table.model_copy(update={"rates": table.rates.model_copy(update={"pixels_per_gpu_second": rate})})
        sized = Fleet("dataflow", round(GPUS * readers * factor), GPUS)
        note = f"{sized.workers} readers, {forecast(work, sized, other).usd:,.0f} USD"
        figures.append(Figure(f"the same, GPUs {factor:g} times as fast", forecast(work, sized, other).hours, "", note))
    return figures


def global_year() -> Work:
    """All blocks of all land tiles; every look covers its tile wholly, which real ones do not: an upper limit."""
    if not _BLOCKS.exists():
        tiles = [blocks_intersecting(Tile.from_name(name)) for name in land_tiles()]
        rows = [(number, block(one).pixels) for number, blocks in enumerate(tiles) for one in blocks]
        _BLOCKS.parent.mkdir(parents=True, exist_ok=True)
        np.save(_BLOCKS, np.array(sorted(rows, key=lambda row: (row[0], -row[1]))))
    tile_years, pixels = np.load(_BLOCKS).T
    return Work(pixels * SCENES / len(land_tiles()), tile_years)


def _told(work: Work, fleet: Fleet, table: PriceTable) -> Forecast:
    found = forecast(work, fleet, table)
    sizes = f"{fleet.runner:8} {fleet.workers:6,} workers {fleet.gpus:3} GPUs"
    took = f"{found.hours:8.2f} h {found.usd:8,.0f} USD, last blocks {found.tail_hours:.2f} h"
    print(f"  {sizes} {took}, limited by {found.limit}", flush=True)
    return found


def _enough(row: list[Forecast]) -> float:
    """The size (GPUs, or workers where there are none) from which the next, twice as large, gains too little."""
    for one, larger in pairwise(row):
        growth = (larger.fleet.gpus or larger.fleet.workers) / (one.fleet.gpus or one.fleet.workers)
        if one.hours / larger.hours < 1 + (_GAIN - 1) * (growth - 1):
            return one.fleet.gpus or one.fleet.workers
    return np.inf


def capacity_check() -> list[Figure]:
    """What the play says of runs with one and two worker processes, by rates from two shorter runs.

    Time is counted on the processor, launcher and busiest worker together: what it would take were the machine ours.
    The start of a worker and its speed come from one worker on two and on four scenes; told are six scenes, four
    uneven blocks, on one worker and on two.
    """
    short, long, asked = (simulated(3000, dates, corner=2840) for dates in (2, 4, 6))
    (launcher, first), (_, second) = _seconds(short, 1), _seconds(long, 1)
    rate = (long.looks - short.looks) / (second - first)
    start = first - short.looks / rate
    table = load_prices("").model_dump()
    table["rates"]["pixels_per_core_second"] = rate
    table["running"] |= {"worker_bytes_per_second": 1e15, "store_bytes_per_second": 1e15, "failed_blocks": 0.0}
    table["running"] |= {"store_requests_per_second": 1e15, "searches_per_second": 1e15}
    table["running"] |= dict.fromkeys(("plan_core_seconds", "assemble_core_seconds", "launcher_seconds"), 0.0)
    # Rows and columns of 1,000 and 2,000 px, the largest block first, as the pipeline has them.
    work = Work(np.array([4e6, 2e6, 2e6, 1e6]) * asked.dates, np.zeros(4, int))
    figures = []
    for workers in (1, 2):
        fleet = Fleet("direct", workers)
        told = launcher + start + 3600 * forecast(work, fleet, PriceTable.model_validate(table)).hours
        measured = sum(_seconds(asked, workers))
        note = f"{told:.1f} s told, {measured:.1f} s measured; {rate:,.0f} px per core-second, {start:.1f} s to start"
        error = 100 * abs(told - measured) / measured
        figures.append(Figure(f"forecast, error in per cent, {workers} workers", error, "<= 15", note))
    return figures


def _seconds(source: Input, workers: int) -> tuple[float, float]:
    """Processor seconds of the launcher and of the busiest worker."""
    options = (f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing")
    launcher, busiest, *_ = map_input(source, *options).by_process
    print(f"  {source.dates} scenes, {workers} workers: launcher {launcher:.1f} s, busiest {busiest:.1f} s", flush=True)
    return launcher, busiest
