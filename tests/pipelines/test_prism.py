"""The main job on Prism, Beam's own portable runner: a program of its own, with workers in this process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.pipelines.running import contents, map_tiles
from tests.servers.s3 import free_ports

PRISM = shutil.which("prism")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PRISM is None, reason="no program `prism` on the PATH; `.ci/run` builds it where there is Go"),
]


@pytest.fixture
def job_endpoint(tmp_path: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    with (tmp_path / "prism.log").open("w") as log:
        server = subprocess.Popen([str(PRISM), f"--job_port={port}", "--serve_http=false"], stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_the_same_is_published_as_in_one_process(simulated, network, job_endpoint, tmp_path):
    map_tiles(simulated.catalog, tmp_path / "here", network)
    portable = ["--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK"]
    accounts = map_tiles(simulated.catalog, tmp_path / "prism", network, beam=portable)
    assert (accounts.planned, accounts.published) == (1, ["33UUU-2021"])
    assert contents(tmp_path / "prism") == contents(tmp_path / "here")
