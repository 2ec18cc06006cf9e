"""Memory shared with a Triton server on this machine: chips are written to it, and their scores read from it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

_SECONDS = 10.0
_PAGE = 4096


def shares_memory(endpoint: str) -> bool:
    """Whether a server may be on this machine, by its address; it still may be in a container of its own."""
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SharedChips:
    """A region for one request at a time: chips first, and behind them their scores.

    If this process is killed, Python's resource tracker removes the region.
    """

    def __init__(self, client: grpc.InferenceServerClient, headers: dict[str, str]):
        self._client, self._headers = client, headers
        self._memory: SharedMemory | None = None
        self.behind = 0
        """Where the scores begin."""

    @property
    def name(self) -> str:
        """By which the server knows it."""
        assert self._memory
        return self._memory.name

    def hold(self, chips: np.ndarray, answer: int) -> bool:
        """Write chips, in a larger region if this one is too small.

        Args:
            chips: of a request.
            answer: bytes of its scores.

        Returns:
            Whether the server can see it.
        """
        self.behind = -(-chips.nbytes // _PAGE) * _PAGE
        size = self.behind + answer
        if self._memory is None or self._memory.size < size:
            self.close()
            self._memory = SharedMemory(create=True, size=size)
            try:
                self._client.register_system_shared_memory(
                    self.name, f"/{self.name}", self._memory.size, headers=self._headers, client_timeout=_SECONDS
                )
            except InferenceServerException as error:
                if str(error.status()) in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
                    raise
                return False
        np.ndarray(chips.shape, chips.dtype, self._memory.buf)[:] = chips
        return True

    def answer(self, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of the scores, uint8 of this shape."""
        assert self._memory
        return np.ndarray(shape, np.uint8, self._memory.buf, self.behind).copy()

    def close(self) -> None:
        """Let go of it, here and in the server."""
        if self._memory is None:
            return
        with suppress(InferenceServerException):
            self._client.unregister_system_shared_memory(self.name, headers=self._headers, client_timeout=_SECONDS)
        self._memory.close()
        self._memory.unlink()
        self._memory = None
