"""A network behind one or several Triton servers: the same scores as in this process, asked for by gRPC.

Several chips are under way at a time. To a server on this machine they go through shared memory, if it shares that
with this process. A server that fails in ways that may pass (`UNAVAILABLE`, `DEADLINE_EXCEEDED`) is left alone for a
while, and another one is asked; any other error is one. Before a server is asked for the first time, and again after
each failure, it must tell that it serves the very network that is wanted.
"""

from __future__ import annotations

import collections
import itertools
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from catalog.errors import BadInput, LandloomError, ServerUnavailable
from catalog.model import ModelSpec
from services.inference.triton_address import CERTIFICATES, TOKEN, TritonAddress
from services.inference.triton_contract import INPUT, SCORES, spec_of
from services.inference.triton_memory import SharedChips, shares_memory

log = logging.getLogger(__name__)
T = TypeVar("T")

_MAY_PASS = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
_CONFIRM_SECONDS = 10.0
"""In which a server that is well tells what it serves."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0
"""Seconds for which a server that failed is left alone."""
_CHANNEL = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # Of its own accord gRPC waits up to two minutes before it connects again.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A name of several addresses, as that of a service of many pods, means all of them.
    ("grpc.lb_policy_name", "round_robin"),
    # A server whose machine has vanished is noticed.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


class TritonNetwork:
    """A network that Triton servers run; see `catalog.model.Network`."""

    spec: ModelSpec

    def __init__(self, address: TritonAddress, spec: ModelSpec, retry_seconds: float = 300.0):
        """Connect, waiting for the first server that is ready.

        Args:
            address: of the servers.
            spec: of the network that they must serve, weights and all.
            retry_seconds: how long servers that do not answer are tried again.

        Raises:
            BadInput: a server refuses us, or serves another network.
            ServerUnavailable: none answered in that time.
        """
        self.spec, self._address, self._retry_seconds = spec, address, retry_seconds
        self._endpoints = [_Endpoint(one, address, spec) for one in address.endpoints]
        self._turn = itertools.count()
        self._pool = ThreadPoolExecutor(address.in_flight, thread_name_prefix="triton")
        # Also at the end of the process, while gRPC is still there.
        self._close = weakref.finalize(self, _close, self._pool, self._endpoints)
        self._in_turn(lambda endpoint: endpoint.confirm())

    def scores(self, chips: np.ndarray) -> np.ndarray:
        """See `catalog.model.Network`.

        Raises:
            BadInput: the server says that the request is wrong, or it serves another network by now.
            ServerUnavailable: no server answered for `retry_seconds`.
            LandloomError: an answer that is none.
        """
        return self._in_turn(lambda endpoint: endpoint.scores(chips))

    def each(self, chips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """See `catalog.model.Network`. Chips are drawn from the iterable only as fast as answers are taken."""
        waiting: collections.deque[Future[np.ndarray]] = collections.deque()
        try:
            for chip in chips:
                waiting.append(self._pool.submit(self.scores, chip[np.newaxis]))
                if len(waiting) == self._address.in_flight:
                    yield waiting.popleft().result()[0]
            while waiting:
                yield waiting.popleft().result()[0]
        finally:
            for one in waiting:
                one.cancel()

    def check(self) -> dict[str, float]:
        """See `catalog.model.Network`. Servers that do not answer now are asked when they are back."""
        figures: dict[str, float] = {}
        for endpoint in self._endpoints:
            if endpoint.used:
                try:
                    figures |= endpoint.figures()
                except _MayPass as error:
                    endpoint.rest(str(error))
        return figures

    def close(self) -> None:
        """Let go of connections and shared memory."""
        self._close()

    def _in_turn(self, ask: Callable[[_Endpoint], T]) -> T:
        give_up = time.monotonic() + self._retry_seconds
        while True:
            endpoint = self._next()
            if (left := endpoint.resting) > 0:
                time.sleep(min(left, max(0.0, give_up - time.monotonic())))
            try:
                return ask(endpoint)
            except _MayPass as error:
                endpoint.rest(str(error))
                if time.monotonic() >= give_up:
                    told = "; ".join(f"{one.name}: {one.trouble}" for one in self._endpoints if one.trouble)
                    raise ServerUnavailable(
                        f"No Triton server answered for {self._retry_seconds:.0f} s ({told}). Start one, as with "
                        "`landloom triton serve`, and check --inference."
                    ) from error

    def _next(self) -> _Endpoint:
        """Servers take turns; of those that rest, the one that is the first to be tried again."""
        turn = next(self._turn)
        ordered = [self._endpoints[(turn + k) % len(self._endpoints)] for k in range(len(self._endpoints))]
        return min(ordered, key=lambda endpoint: endpoint.resting)


def _close(pool: ThreadPoolExecutor, endpoints: Sequence[_Endpoint]) -> None:
    pool.shutdown(wait=True, cancel_futures=True)
    for endpoint in endpoints:
        endpoint.close()


class _MayPass(Exception):
    """What another try, or another server, may not meet."""


class _Endpoint:
    """One server. Used by several threads."""

    def __init__(self, name: str, address: TritonAddress, spec: ModelSpec):
        self.name, self.trouble, self.used = name, "", False
        self._address, self._spec, self._headers = address, spec, address.headers()
        certificates = address.certificates()
        try:
            self._client = grpc.InferenceServerClient(
                name, ssl=address.tls, root_certificates=certificates, channel_args=_CHANNEL
            )
        except OSError as error:
            raise BadInput(f"{CERTIFICATES}={certificates!r} cannot be read: {error}.") from error
        self._lock = threading.Lock()
        self._confirmed = False
        self._max_batch = 1
        self._failures, self._rests_until = 0, 0.0
        self._shares = address.shared_memory and shares_memory(name)
        self._regions: collections.deque[SharedChips] = collections.deque()
        self._before = (0, 0.0, 0.0)

    @property
    def resting(self) -> float:
        """Seconds for which it is still left alone."""
        return max(0.0, self._rests_until - time.monotonic())

    def rest(self, trouble: str) -> None:
        """Leave it alone, the longer the more often it has failed in a row; and ask again what it serves."""
        with self._lock:
            if not self.trouble:
                log.warning("Triton server %s: %s", self.name, trouble)
            self.trouble, self._confirmed = trouble, False
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
            # Many workers lose a server in the same moment, and are not to come back in the same moment.
            self._rests_until = time.monotonic() + random.uniform(0.5, 1.5) * pause
            self._failures += 1

    def confirm(self, anew: bool = False) -> None:
        """Make sure that it serves the network, unless it has told so already.

        Raises:
            BadInput: it serves another one, or refuses us.
        """
        if self._confirmed and not anew:
            return
        spec = self._spec
        try:
            answer = self._client.get_model_config(
                spec.id, spec.version, headers=self._headers, client_timeout=_CONFIRM_SECONDS
            )
        except InferenceServerException as error:
            raise self._told(error) from error
        try:
            served = spec_of(answer.config, spec.version)
        except (KeyError, ValueError) as error:
            raise BadInput(
                f"{self.name} has a model {spec.id!r}, but it does not tell which network is its version "
                f"{spec.version} ({error}). Write its repository with `landloom triton repository`."
            ) from error
        wrong = [name for name in type(spec).model_fields if getattr(served, name) != getattr(spec, name)]
        if wrong:
            there, here = (getattr(one, wrong[0]) for one in (served, spec))
            raise BadInput(
                f"{self.name} serves another network as {spec.id} version {spec.version}: its {wrong[0]} is {there!r}, "
                f"that of --model {here!r}. Give the network that it serves, or serve this one."
            )
        _check_form(self.name, answer.config, spec)
        with self._lock:
            self._confirmed, self._max_batch = True, max(1, answer.config.max_batch_size)
            self._failures, self.trouble = 0, ""

    def scores(self, chips: np.ndarray) -> np.ndarray:
        """Of a batch of any size."""
        self.confirm()
        self.used = True
        parts = [chips[start : start + self._max_batch] for start in range(0, len(chips), self._max_batch)]
        answers = [self._shared(part) if self._shares else self._sent(part) for part in parts]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def figures(self) -> dict[str, float]:
        """Mean milliseconds that requests waited in the server and were computed, since this was asked last.

        Raises:
            BadInput: it serves another network by now.
        """
        self.confirm(anew=True)
        try:
            answer = self._client.get_inference_statistics(
                self._spec.id, self._spec.version, headers=self._headers, client_timeout=_CONFIRM_SECONDS
            )
        except InferenceServerException as error:
            raise self._told(error) from error
        told = answer.model_stats[0].inference_stats
        now = (told.success.count, told.queue.ns / 1e6, told.compute_infer.ns / 1e6)
        with self._lock:
            count, queue, compute = (after - before for after, before in zip(now, self._before, strict=True))
            self._before = now
        return {"server_queue_ms": queue / count, "server_compute_ms": compute / count} if count > 0 else {}

    def close(self) -> None:
        for region in self._regions:
            region.close()
        self._regions.clear()
        self._client.close()
        del self._client  # Else it is closed once more when gRPC is gone already, and complains.

    def _sent(self, chips: np.ndarray) -> np.ndarray:
        given = grpc.InferInput(INPUT, list(chips.shape), "UINT16")
        given.set_data_from_numpy(np.ascontiguousarray(chips))
        scores = self._ask(given, grpc.InferRequestedOutput(SCORES), chips).as_numpy(SCORES)
        self._refuse_another_form(chips, "nothing" if scores is None else f"{scores.dtype} {list(scores.shape)}")
        return scores

    def _shared(self, chips: np.ndarray) -> np.ndarray:
        shape = self._form(chips)
        try:
            region = self._regions.pop()
        except IndexError:
            region = SharedChips(self._client, self._headers)
        try:
            if not self._held(region, chips, int(np.prod(shape))):
                log.warning("%s does not share this machine's memory: chips are sent to it.", self.name)
                self._shares = False
                region.close()
                return self._sent(chips)
            given = grpc.InferInput(INPUT, list(chips.shape), "UINT16")
            given.set_shared_memory(region.name, chips.nbytes)
            wanted = grpc.InferRequestedOutput(SCORES)
            wanted.set_shared_memory(region.name, int(np.prod(shape)), offset=region.behind)
            output = self._ask(given, wanted, chips).get_output(SCORES)
            found = "nothing" if output is None else f"{output.datatype.lower()} {list(output.shape)}"
            self._refuse_another_form(chips, found)
            scores = region.answer(shape)
        except BaseException:
            # The server may still write its late answer into it.
            region.close()
            raise
        self._regions.append(region)
        return scores

    def _held(self, region: SharedChips, chips: np.ndarray, answer: int) -> bool:
        try:
            return region.hold(chips, answer)
        except InferenceServerException as error:
            raise self._told(error) from error

    def _ask(self, given: grpc.InferInput, wanted: grpc.InferRequestedOutput, chips: np.ndarray) -> grpc.InferResult:
        spec = self._spec
        try:
            result = self._client.infer(
                spec.id,
                [given],
                spec.version,
                [wanted],
                headers=self._headers,
                client_timeout=self._address.deadline,
            )
        except InferenceServerException as error:
            raise self._told(error, chips) from error
        if (answered := result.get_response().model_version) != spec.version:
            raise LandloomError(f"{self.name} answered by version {answered} of {spec.id}, not by {spec.version}.")
        return result

    def _form(self, chips: np.ndarray) -> tuple[int, ...]:
        return (len(chips), len(self._spec.classes), *chips.shape[2:])

    def _refuse_another_form(self, chips: np.ndarray, found: str) -> None:
        wanted = f"uint8 {list(self._form(chips))}"
        if found != wanted:
            raise LandloomError(
                f"{self.name} answered {found} to chips {list(chips.shape)}; scores are {wanted}. Nothing is mapped "
                "from that. See the server's log."
            )

    def _told(self, error: InferenceServerException, chips: np.ndarray | None = None) -> Exception:
        """The error that says what is to be done about one of the server's."""
        status, message = str(error.status()), str(error.message())
        if "restricted" in message or status in ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED"):
            return BadInput(f"{self.name} refuses us: {message}. Set {TOKEN} to the token that it wants.")
        if "shared memory region" in message:
            return _MayPass(message)  # It was started anew and has forgotten it.
        if status in _MAY_PASS:
            return _MayPass("no answer in time" if status == "StatusCode.DEADLINE_EXCEEDED" else message)
        if status == "StatusCode.RESOURCE_EXHAUSTED" and chips is not None:
            return BadInput(
                f"{self.name} does not take chips {list(chips.shape)} of {chips.nbytes / 1e6:.1f} MB: {message}. "
                "Raise its limit, or let it share this machine's memory."
            )
        return BadInput(f"{self.name} refuses {self._spec.id} version {self._spec.version}: {message}")


def _check_form(name: str, config: object, spec: ModelSpec) -> None:
    """Inputs and outputs must be what the description promises.

    Raises:
        BadInput: they are not.
    """
    uint16, uint8 = (grpc.model_config_pb2.DataType.Value(one) for one in ("TYPE_UINT16", "TYPE_UINT8"))
    for tensors, wanted, dtype, channels in (
        (config.input, INPUT, uint16, len(spec.bands)),  # type: ignore[attr-defined]
        (config.output, SCORES, uint8, len(spec.classes)),  # type: ignore[attr-defined]
    ):
        found = [(one.name, one.data_type, *one.dims) for one in tensors]
        if len(found) != 1 or found[0][:3] != (wanted, dtype, channels):
            told = ", ".join(f"{one.name} {list(one.dims)}" for one in tensors)
            raise BadInput(
                f"{name}: model {spec.id} has {told or 'nothing'} where {wanted} [{channels}, H, W] is needed. Write "
                "its repository with `landloom triton repository`."
            )
