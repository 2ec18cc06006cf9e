"""`landloom serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]


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
            yield url
        finally:
            process.terminate()
            process.wait(20)
