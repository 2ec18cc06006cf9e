"""How long a run takes with so many workers and GPUs, and what it costs: played through block by block.

Each worker takes a block, reads and classifies it, or lets GPUs classify it, stages it, and whoever staged the last
block of a tile-year assembles it. Some workers are slow, some are taken away in mid-block, some blocks fail.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from catalog.errors import BadInput
from catalog.grid import BLOCKS, blocks
from catalog.manifest import Manifest
from pipelines.estimate import PriceTable, Running, looks_of_blocks, radar_of_blocks

_TRIES = 200
"""A block that was begun so often and each time lost is taken for one that never ends."""
_MOST = 100_000


@dataclass(frozen=True)
class Runner:
    """How a runner of Beam deals with blocks and with losses."""

    dealt: bool = False
    """Blocks are dealt out in turn beforehand, and who is done with its own helps with those of the same tile-years;
    else whoever is free takes the next."""
    begins_anew: bool = False
    """When one worker is lost all begin anew, skipping what is staged; else only its own block is lost."""
    here: bool = False
    """On one machine of one's own: no worker is waited for, slow, or taken away."""


RUNNERS = {
    "dataflow": Runner(),
    "flink": Runner(dealt=True, begins_anew=True),
    "direct": Runner(dealt=True, here=True),
}


@dataclass(frozen=True)
class Fleet:
    """What a run is given."""

    runner: str
    workers: int
    """Processes of one core each: a machine of eight cores counts eight times."""
    gpus: int = 0
    """0: the workers run the network themselves."""

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            BadInput: naming the value.
        """
        if self.runner not in RUNNERS:
            raise BadInput(f"--runner {self.runner!r} cannot be planned for. Give one of {', '.join(RUNNERS)}.")
        if not 1 <= self.workers <= _MOST:
            raise BadInput(f"--workers {self.workers} is not possible. Give 1 to {_MOST:,} workers, of one core each.")
        if not 0 <= self.gpus <= _MOST:
            raise BadInput(f"--gpus {self.gpus} is not possible. Give 0 (none) to {_MOST:,}.")


@dataclass(frozen=True)
class Work:
    """All blocks of a run, in the order in which they are worked on."""

    looks: np.ndarray
    """`[N]`, published pixels x looks of each block."""
    tile_years: np.ndarray
    """`[N]`, whole numbers from 0: the tile-year that each block belongs to."""
    radar: np.ndarray | float = 0.0
    """`[N]`, published pixels x overpasses of radar of each block; 0: none."""
    blocks: int = len(BLOCKS)
    """Of a whole tile."""

    @classmethod
    def of(cls, manifests: Sequence[Manifest]) -> Work:
        """What manifests make."""
        found = [
            sorted(zip(looks_of_blocks(manifest), radar_of_blocks(manifest), strict=True), reverse=True)
            for manifest in manifests
        ]
        looks, radar = np.array([*chain(*found)]).reshape(-1, 2).T
        tile_years = np.repeat(np.arange(len(found)), [len(some) for some in found])
        return cls(looks, tile_years, radar, len(blocks(manifests[0].gsd)))


@dataclass(frozen=True)
class Forecast:
    """What a fleet will need for some work."""

    fleet: Fleet
    hours: float
    """From submitting to the end of the launcher; infinite if losses come faster than blocks can be finished."""
    usd: float
    reasons: dict[str, float]
    """What the hours would be at least, by the thing that takes them, were nothing else to wait for."""
    tail_hours: float
    """From the first worker without work to the last that works."""
    lost_core_hours: float
    """Work that was begun and lost."""

    @property
    def limit(self) -> str:
        """What takes most of the time."""
        return max(self.reasons, key=lambda name: self.reasons[name])


def forecast(work: Work, fleet: Fleet, table: PriceTable, seed: int = 0) -> Forecast:
    """Play a run through.

    Args:
        work: at least one block.
        fleet: that is to do it.
        table: rates, prices, what is to be expected of a cluster.
        seed: of all that happens by chance; the same seed gives the same run.

    Raises:
        BadInput: a fleet that cannot be.
    """
    fleet.check()
    rates, running, prices = table.rates, table.running, table.prices_usd
    rng, runner = np.random.default_rng(seed), RUNNERS[fleet.runner]
    if runner.here:
        running = running.model_copy(update={"start_seconds": 0.0, "slow_workers": 0.0, "losses_per_hour": 0.0})
    tile_years, total = int(work.tile_years.max()) + 1, float(work.looks.sum())
    beside = float(np.sum(work.radar))
    read = total * rates.bytes_per_pixel + beside * rates.radar_bytes_per_pixel
    rate = rates.reader_pixels_per_core_second if fleet.gpus else rates.pixels_per_core_second
    # Every worker gets an even part of what the store gives to all.
    store = min(running.store_bytes_per_second, running.store_requests_per_second * running.bytes_per_request)
    bandwidth = min(running.worker_bytes_per_second, store / fleet.workers)
    # The next look is read while one is classified, so the slower of both counts.
    own = np.maximum(
        work.looks / rate + work.radar / rates.radar_pixels_per_core_second,
        (work.looks * rates.bytes_per_pixel + work.radar * rates.radar_bytes_per_pixel) / bandwidth,
    )
    gpu_rate = rates.pixels_per_gpu_second / (1 + running.losses_per_hour * running.restart_seconds / 3600)
    served = work.looks / gpu_rate
    planning = max(
        tile_years * running.plan_core_seconds / fleet.workers,
        tile_years / running.searches_per_second,
        running.plan_core_seconds,
    )
    before = running.start_seconds + planning
    workers = _Workers(fleet, runner, running, work.blocks, rng)
    end = workers.run(own, served, work.tile_years, before)
    failed = rng.random(len(own)) < running.failed_blocks
    if failed.any():
        # Each was tried for a while in the first run, side by side on its workers; the next run does them.
        end += running.retry_seconds * failed.sum() / min(fleet.workers, len(own))
        end = workers.run(own[failed], served[failed], work.tile_years[failed], end + running.start_seconds)
    launcher = tile_years * running.launcher_seconds
    hours = (end + launcher) / 3600
    working = total / rate + beside / rates.radar_pixels_per_core_second + tile_years * running.assemble_core_seconds
    busy = {
        "cores of the workers": working / fleet.workers,
        "GPUs": served.sum() / fleet.gpus if fleet.gpus else 0.0,
        "reading of each worker": read / running.worker_bytes_per_second / fleet.workers,
        "store, bytes": read / running.store_bytes_per_second,
        "store, requests": read / running.bytes_per_request / running.store_requests_per_second,
        "losses": workers.lost / fleet.workers,
    }
    reasons = {name: seconds / 3600 if end < np.inf or name != "losses" else np.inf for name, seconds in busy.items()}
    reasons["start and planning"] = (before + (running.start_seconds if failed.any() else 0)) / 3600
    reasons["launcher"] = launcher / 3600
    reasons["last blocks"] = workers.tail / 3600
    usd = hours * (fleet.workers * prices.core_hour + fleet.gpus * prices.gpu_hour)
    usd += read / 1e9 * prices.read_gigabyte + read / running.bytes_per_request / 1e6 * prices.million_requests
    return Forecast(fleet, hours, usd, reasons, workers.tail / 3600, workers.lost / 3600)


class _Workers:
    """Workers at work; times in seconds from submitting."""

    def __init__(self, fleet: Fleet, runner: Runner, running: Running, blocks: int, rng: np.random.Generator):
        self._fleet, self._runner, self._running, self._blocks, self._rng = fleet, runner, running, blocks, rng
        self._slow = np.where(rng.random(fleet.workers) < running.slow_workers, running.slow_factor, 1.0).tolist()
        # Where one loss makes all begin anew, they have one list of losses.
        self._losses: list[list[float]] = [[0.0] for _ in range(1 if runner.begins_anew else fleet.workers)]
        self.lost = self.tail = 0.0
        """Seconds of work lost; from the first worker without work to the last that works."""

    def run(self, own: np.ndarray, served: np.ndarray, tile_years: np.ndarray, begin: float) -> float:
        """Do blocks; returns when the last tile-year is published.

        Args:
            own: `[N]`, seconds of a worker.
            served: `[N]`, seconds of a GPU.
            tile_years: `[N]`.
            begin: when the workers begin.
        """
        fleet, running = self._fleet, self._running
        shares = self._shares(tile_years)
        left = np.bincount(tile_years).tolist()
        assembling = (np.bincount(tile_years) / self._blocks * running.assemble_core_seconds).tolist()
        own_list, served_list, tile_list = own.tolist(), served.tolist(), tile_years.tolist()
        gpus, free = [begin] * fleet.gpus, [(begin, worker) for worker in range(fleet.workers)]
        done, idle = [0] * fleet.workers, list[float]()
        while free:
            start, worker = heapq.heappop(free)
            number = next(shares[worker % len(shares)], None)
            if number is None:
                idle.append(start)
                continue
            needs = own_list[number] * self._slow[worker]
            for _ in range(_TRIES):
                end = start + needs
                if gpus:
                    answered = max(gpus[0], start) + served_list[number]
                    heapq.heapreplace(gpus, answered)
                    end = max(end, answered)
                loss = self._next_loss(worker, start)
                if loss >= end:
                    break
                self.lost += loss - start
                start = loss + running.restart_seconds
                if self._runner.begins_anew:
                    start += done[worker] * running.staged_check_seconds
            else:
                return np.inf
            done[worker] += 1
            left[tile_list[number]] -= 1
            if not left[tile_list[number]]:
                end += assembling[tile_list[number]]
            heapq.heappush(free, (end, worker))
        self.tail += max(idle) - min(idle)
        return max(idle)

    def _shares(self, tile_years: np.ndarray) -> list[Iterator[int]]:
        """Of each worker the blocks that it does, found as it asks for the next; or one of all."""
        numbers = range(len(tile_years))
        if not self._runner.dealt:
            return [iter(numbers)]
        of_tile_year: list[list[int]] = [[] for _ in range(int(tile_years.max()) + 1)]
        for number in numbers:
            of_tile_year[tile_years[number]].append(number)
        begun, workers = [False] * len(numbers), self._fleet.workers
        return [_share(numbers[worker::workers], tile_years, of_tile_year, begun) for worker in range(workers)]

    def _next_loss(self, worker: int, after: float) -> float:
        if not self._running.losses_per_hour:
            return np.inf
        losses = self._losses[worker % len(self._losses)]
        # All workers of a job that begins anew share their losses.
        mean = 3600 / self._running.losses_per_hour / (self._fleet.workers if self._runner.begins_anew else 1)
        while losses[-1] <= after:
            losses.append(losses[-1] + self._rng.exponential(mean))
        return losses[bisect_right(losses, after)]


def _share(
    own: Sequence[int], tile_years: np.ndarray, of_tile_year: Sequence[Sequence[int]], begun: list[bool]
) -> Iterator[int]:
    """A worker's own blocks in turn, then those of the same tile-years that nobody has begun, the last first."""
    helped = (number for own_one in reversed(own) for number in reversed(of_tile_year[tile_years[own_one]]))
    for number in chain(own, helped):
        if not begun[number]:
            begun[number] = True
            yield number
