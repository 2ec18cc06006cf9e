"""A real Triton server on the loopback interface: the one that `landloom triton serve` runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.inference.triton_package import TritonUnavailable, triton_package
from services.inference.triton_repository import write_repository
from services.inference.triton_server import TritonServer, running_server


@contextmanager
def serve_triton(repository: Path, *networks: Path | str, options: Sequence[str] = ()) -> Iterator[TritonServer]:
    """Serve networks, one instance each; the test is skipped where no server can be had."""
    try:
        triton_package()
    except TritonUnavailable as error:
        pytest.skip(str(error))
    for network in networks:
        write_repository(repository, str(network), backend="python", instances=1)
    with running_server(repository, options=options) as server:
        yield server
