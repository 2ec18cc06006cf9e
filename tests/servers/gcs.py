"""A server that speaks Google Cloud Storage's protocol, on the loopback interface: fake-gcs-server, built by Go."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

_PROGRAM = shutil.which("fake-gcs-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@dataclass(frozen=True)
class GcsServer:
    """A running server."""

    address: str

    def new_bucket(self) -> str:
        """An empty bucket of its own for a test."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        requests.post(f"{self.address}/storage/v1/b", json={"name": name}, timeout=10).raise_for_status()
        return name


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    """One server for the whole session, started when first asked for."""
    if not _PROGRAM:
        pytest.skip("no fake-gcs-server: `GOBIN=$PWD/.venv/bin go install github.com/fsouza/fake-gcs-server@v1.56.1`")
    with serve_gcs(_PROGRAM) as server:
        yield server


@pytest.fixture
def gcs(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> GcsServer:
    """The server, with its address in the environment."""
    from catalog import store_gcs

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.address)
    store_gcs._client.cache_clear()
    return gcs_server


@contextmanager
def serve_gcs(program: str) -> Iterator[GcsServer]:
    """Run it on a free port, its objects in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [program, "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory", "-log-level=error"]
    process = subprocess.Popen([*command, f"-external-url={address}", f"-public-host=127.0.0.1:{port}"])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{address}/_internal/healthcheck", timeout=2).raise_for_status()
                break
            except requests.RequestException:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"fake-gcs-server does not answer at {address}") from None
                time.sleep(0.05)
        yield GcsServer(address)
    finally:
        process.kill()
        process.wait()
