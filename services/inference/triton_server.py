"""Run a real Triton server on this machine: `landloom triton serve`, and tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import requests

from catalog.errors import LandloomError
from services.inference.triton_package import TritonUnavailable, triton_package

__all__ = ["TritonServer", "TritonStopped", "TritonUnavailable", "running_server"]

_SHARED_MEMORY = Path("/dev/shm")
_POLL_SECONDS = 1
_EXIT_SECONDS = 10
"""How long a server that stops waits for the answers it still owes."""


class TritonStopped(LandloomError):
    """A server that was started here did not become ready, or died; the text has the end of its log."""


class TritonServer:
    """A server process of ours; `running_server` makes one."""

    grpc: str
    """Address for gRPC, as `127.0.0.1:8001`; `http` and `metrics` likewise."""
    http: str
    metrics: str
    repository: Path
    """Its model repository, which it polls: what is written there is served within seconds."""
    log: Path

    def __init__(
        self,
        repository: Path,
        address: str,
        ports: tuple[int, int, int],
        log: Path,
        wait_seconds: float,
        options: Sequence[str] = (),
    ):
        self.grpc, self.http, self.metrics = (f"{address}:{port}" for port in ports)
        self.repository, self.log = repository, log
        self._address, self._ports, self._wait_seconds, self._options = address, ports, wait_seconds, options
        self._process: subprocess.Popen[bytes] | None = None
        # Tells it from another that has its port, and names the shared memory that it leaves behind when it is killed.
        self._id = f"landloom-{uuid.uuid4().hex[:12]}"

    def start(self) -> None:
        """Start it and wait until all its models are ready.

        Raises:
            TritonStopped: it ended, or was not ready in time.
            TritonUnavailable: there is no server for this machine.
        """
        package = triton_package()
        grpc, http, metrics = self._ports
        options = {
            "id": self._id,
            "model-repository": self.repository,
            "backend-directory": package.backends,
            "backend-config": f"python,shm-region-prefix-name={self._id}-",
            "model-control-mode": "poll",
            "repository-poll-secs": _POLL_SECONDS,
            "exit-timeout-secs": _EXIT_SECONDS,
            "grpc-address": self._address,
            "grpc-port": grpc,
            "http-address": self._address,
            "http-port": http,
            "metrics-port": metrics,
            "log-format": "ISO8601",
        }
        command = [str(package.program), *(f"--{name}={value}" for name, value in options.items())]
        # Configurations of ours are complete; completing them would take another process for each model.
        command += ["--disable-auto-complete-config", *self._options]
        with self.log.open("ab") as log:
            # A session of its own, so that Ctrl-C at a terminal reaches us only, and its children can be ended with it.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=package.environment, start_new_session=True
            )
        deadline = time.monotonic() + self._wait_seconds
        while not self.ready():
            if self._process.poll() is not None:
                self._clear()
                raise TritonStopped(f"The Triton server ended before it was ready. {self._end_of_log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise TritonStopped(
                    f"The Triton server was not ready after {self._wait_seconds:g} s. {self._end_of_log()}"
                )
            time.sleep(0.1)

    def ready(self) -> bool:
        """Whether it answers, with all models loaded."""
        try:
            url = f"http://{self._reached(self.http)}/v2"
            ours = requests.get(url, timeout=2).json().get("name") == self._id
            return ours and requests.get(f"{url}/health/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def wait(self) -> None:
        """Wait until it ends by itself.

        Raises:
            TritonStopped: always; it is to run until it is told to stop.
        """
        assert self._process
        code = self._process.wait()
        self._clear()
        raise TritonStopped(f"The Triton server ended with {code}. {self._end_of_log()}")

    def stop(self) -> None:
        """Let it answer what it was asked, and end it with all its children."""
        try:
            if self._process and self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_EXIT_SECONDS + 5)
        finally:
            self._clear()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._clear()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, as `SIGSTOP` to make it hang."""
        assert self._process
        self._process.send_signal(number)

    def restart(self) -> None:
        """Stop it, if it runs, and start it on the same ports.

        Raises:
            TritonStopped: it ended, or was not ready in time.
        """
        self.stop()
        self.start()

    def _clear(self) -> None:
        """End what is left of its children, and remove their shared memory."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for region in _SHARED_MEMORY.glob(f"{self._id}-*"):
            region.unlink(missing_ok=True)

    def _end_of_log(self) -> str:
        # The server prints its settings as wide tables.
        lines = self.log.read_text(errors="replace").splitlines()
        lines = [line for line in lines if line.strip() and not line.startswith(("|", "+"))]
        errors = [line for line in lines[:-10] if " E " in line[:30]]
        return "\n".join(["The end of its log, and the errors before:", *errors[-5:], *lines[-10:]])

    def _reached(self, address: str) -> str:
        return address.replace("0.0.0.0", "127.0.0.1")


@contextmanager
def running_server(
    repository: Path,
    *,
    address: str = "127.0.0.1",
    grpc_port: int = 0,
    http_port: int = 0,
    metrics_port: int = 0,
    wait_seconds: float = 60.0,
    options: Sequence[str] = (),
) -> Iterator[TritonServer]:
    """A server over a model repository, ready, and stopped at the end.

    Its models must have the Python backend: `write_repository(…, backend="python")`.

    Args:
        repository: the model repository.
        address: to listen at; loopback unless told otherwise.
        grpc_port: 0 for any that is free, like the others.
        http_port: for HTTP.
        metrics_port: for Prometheus.
        wait_seconds: how long it may take to become ready.
        options: further ones of `tritonserver`.

    Raises:
        TritonUnavailable: there is no server for this machine.
        TritonStopped: it ended, or was not ready in time.
    """
    folder = Path(tempfile.mkdtemp(prefix="landloom-triton-"))
    free = iter(_free_ports(address, 3))
    ports = (grpc_port or next(free), http_port or next(free), metrics_port or next(free))
    server = TritonServer(repository, address, ports, folder / "log", wait_seconds, options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(address: str, count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((address, 0))
        return [one.getsockname()[1] for one in sockets]
