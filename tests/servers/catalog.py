"""`landloom serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

_ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60


@contextmanager
def serve_catalog(catalog: str, *options: str) -> Iterator[str]:
    """Serve a catalog.

    Yields:
        The server's address, without a slash at its end.
    """
    command = [sys.executable, "-m", "pipelines", "serve", "--catalog", catalog, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert url.startswith("http"), f"the server ended with {process.wait()}"
            end = time.monotonic() + _READY_SECONDS
            while time.monotonic() < end:
                try:
                    requests.get(f"{url}/_mgmt/ping", timeout=5).raise_for_status()
                    break
                except requests.ConnectionError:
                    time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(20)
