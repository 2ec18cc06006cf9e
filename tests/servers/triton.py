"""A real Triton server on the loopback interface: the one that `landloom triton serve` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.inference.triton_package import TritonUnavailable, triton_package
from services.inference.triton_repository import write_repository
from services.inference.triton_server import TritonServer, running_server


@contextmanager
def serve_triton(
    repository: Path,
    *networks: Path | str,
    options: Sequence[str] = (),
    prepare: Callable[[Path], None] = lambda repository: None,
) -> Iterator[TritonServer]:
    """Serve networks, one instance each; the test is skipped where no server can be had.

    Args:
        repository: where the model repository is written.
        networks: those in it.
        options: further ones of `tritonserver`.
        prepare: what is done to the repository before the start.
    """
    try:
        triton_package()
    except TritonUnavailable as error:
        pytest.skip(str(error))
    for network in networks:
        write_repository(repository, str(network), backend="python", instances=1)
    prepare(repository)
    with running_server(repository, options=options) as server:
        yield server
