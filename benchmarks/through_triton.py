"""What a Triton server between pipeline and network costs, and what it bears.

On the processor, where the network itself is as fast on either side, so that the difference is the transport's.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc

from benchmarks.data import simulated
from benchmarks.job import TWO_THREADS, map_input
from benchmarks.report import Figure
from services.inference import DEFAULT_MODEL, open_network
from services.inference.triton import TritonNetwork
from services.inference.triton_address import TritonAddress
from services.inference.triton_contract import INPUT, LABELS, LABELS_SUFFIX, SCORES
from services.inference.triton_memory import SharedChips
from services.inference.triton_repository import write_repository
from services.inference.triton_server import TritonServer, running_server

_SIDE = 256
_BATCHES = (1, 8, 16)
_REPEATS = 5
_CLIENTS, _SECONDS = 16, 60.0


def job(size: int) -> list[Figure]:
    """The whole job through a server on the same two cores, against the same in its own process."""
    source = simulated(size, dates=10)
    before = map_input(source, *TWO_THREADS)
    figures = []
    with _server() as server:
        address = f"triton://{server.grpc}"
        shared = map_input(source, *TWO_THREADS, "--inference", address)
        sent = map_input(source, *TWO_THREADS, "--inference", f"{address}?shared-memory=0")
    after = map_input(source, *TWO_THREADS)
    alone = (before.seconds + after.seconds) / 2
    for name, measured, goal in (("shared memory", shared, "<= 1.1"), ("gRPC", sent, "<= 1.2")):
        told = f"{size} px, 10 scenes: {measured.seconds:.1f} s against {before.seconds:.1f} and {after.seconds:.1f} s"
        figures.append(Figure(f"job through Triton by {name}, times in-process", measured.seconds / alone, goal, told))
    return figures


def reader() -> list[Figure]:
    """What a core reads, sends, gets back and votes on while others run the network: as much as it can feed to GPUs.

    Two runs of other lengths, so that starts and ends do not count; the servers' processor time does not either.
    """
    short, long = (simulated(3000, dates, corner=2840) for dates in (2, 4))
    with served(DEFAULT_MODEL) as address:
        few, many = (map_input(source, "--inference", address).core_seconds for source in (short, long))
    told = f"{many:.1f} core-seconds for {long.dates} scenes, {few:.1f} for {short.dates}, by gRPC"
    rate = (long.looks - short.looks) / (many - few)
    return [Figure("published pixels x scenes per core-second, network elsewhere", rate, "", told)]


def transport() -> list[Figure]:
    """Milliseconds a chip, one request at a time."""
    network = open_network(DEFAULT_MODEL)
    figures = []
    with _server(instances=1) as server, grpc.InferenceServerClient(server.grpc) as client:
        regions = [SharedChips(client, {}), SharedChips(client, {})]
        for batch in _BATCHES:
            chips = _chips(batch)
            ways: dict[str, Callable[[], object]] = {
                "in-process, scores": lambda chips=chips: network.scores(chips),
                "gRPC, scores": lambda chips=chips: _ask(client, DEFAULT_MODEL, (SCORES,), chips),
                "gRPC, labels": lambda chips=chips: _ask(client, DEFAULT_MODEL + LABELS_SUFFIX, LABELS, chips),
                "shared memory, scores": _shared(client, DEFAULT_MODEL, (SCORES,), chips, 10, regions[0]),
                "shared memory, labels": _shared(client, DEFAULT_MODEL + LABELS_SUFFIX, LABELS, chips, 2, regions[1]),
            }
            for name, ask in ways.items():
                milliseconds = 1000 * _best(ask) / batch
                figures.append(Figure(f"ms a chip of {_SIDE} px, batch {batch}, {name}", milliseconds, ""))
        for region in regions:
            region.close()
    return figures


def load() -> list[Figure]:
    """Many clients at once; each answer must be that of its own chip, bit for bit."""
    network = open_network(DEFAULT_MODEL)
    chips = [_chips(1, seed) for seed in range(_CLIENTS)]
    answers = [network.scores(chip) for chip in chips]
    with _server() as server:
        _, single = _drive(server, chips[:1], answers[:1], _SECONDS / 4)
        wrong, many = _drive(server, chips, answers, _SECONDS)
    rate, alone = len(many) / _SECONDS, len(single) / (_SECONDS / 4)
    latencies = [f"{1000 * value:.0f}" for value in np.percentile(many, (50, 95, 99))]
    told = f"{rate:.1f} chips/s against {alone:.1f}; ms at p50, p95, p99: {', '.join(latencies)}"
    return [
        Figure(
            f"{_CLIENTS} clients for {_SECONDS:.0f} s, errors and wrong answers", wrong, "<= 0", f"{len(many)} answers"
        ),
        Figure(f"{_CLIENTS} clients, times the chips of one", rate / alone, "", told),
    ]


def _drive(
    server: TritonServer, chips: list[np.ndarray], answers: list[np.ndarray], seconds: float
) -> tuple[int, list[float]]:
    """A client for each chip; returns errors and wrong answers, and the seconds that each answer took."""
    stop, lock = time.monotonic() + seconds, threading.Lock()
    wrong, taken = 0, []
    spec = open_network(DEFAULT_MODEL).spec

    def ask(number: int) -> None:
        nonlocal wrong
        served = TritonNetwork(TritonAddress.parse(f"triton://{server.grpc}"), spec)
        while time.monotonic() < stop:
            started = time.monotonic()
            try:
                right = bool((served.scores(chips[number]) == answers[number]).all())
            except Exception as error:
                print(error)
                right = False
            with lock:
                wrong += not right
                taken.append(time.monotonic() - started)
        served.close()

    with ThreadPoolExecutor(len(chips)) as clients:
        list(clients.map(ask, range(len(chips))))
    return wrong, taken


@contextmanager
def served(model: str) -> Iterator[str]:
    """The address of a server of a network, to be asked by gRPC alone as from another machine."""
    with _server(model=model) as server:
        yield f"triton://{server.grpc}?shared-memory=0"


@contextmanager
def _server(instances: int | None = None, model: str = DEFAULT_MODEL) -> Iterator[TritonServer]:
    with tempfile.TemporaryDirectory(prefix="landloom-bench-") as folder:
        write_repository(Path(folder) / "models", model, backend="python", instances=instances)
        with running_server(Path(folder) / "models") as server:
            yield server


def _chips(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4000, (count, 6, _SIDE, _SIDE)).astype(np.uint16)


def _ask(
    client: grpc.InferenceServerClient, model: str, outputs: tuple[str, ...], chips: np.ndarray
) -> list[np.ndarray]:
    given = grpc.InferInput(INPUT, list(chips.shape), "UINT16")
    given.set_data_from_numpy(chips)
    answer = client.infer(model, [given], outputs=[grpc.InferRequestedOutput(name) for name in outputs])
    return [answer.as_numpy(name) for name in outputs]


def _shared(
    client: grpc.InferenceServerClient,
    model: str,
    outputs: tuple[str, ...],
    chips: np.ndarray,
    channels: int,
    region: SharedChips,
) -> Callable[[], object]:
    """Asks by shared memory; what comes back takes so many bytes a pixel."""
    each = len(chips) * _SIDE * _SIDE * channels // len(outputs)

    def ask() -> object:
        region.hold(chips, each * len(outputs))
        given = grpc.InferInput(INPUT, list(chips.shape), "UINT16")
        given.set_shared_memory(region.name, chips.nbytes)
        wanted = [grpc.InferRequestedOutput(name) for name in outputs]
        for number, one in enumerate(wanted):
            one.set_shared_memory(region.name, each, offset=region.behind + number * each)
        client.infer(model, [given], outputs=wanted)
        return region.answer((len(chips), channels, _SIDE, _SIDE))

    return ask


def _best(ask: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPEATS + 1):  # The first touches the memory.
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
