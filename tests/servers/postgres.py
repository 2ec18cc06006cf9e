"""A real PostgreSQL with PostGIS on the loopback interface, from Debian's packages or any others on the PATH."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

_USER = "landloom"
_SAFE = "fsync=off synchronous_commit=off full_page_writes=off"
"""Nothing of a test outlives it, so nothing need be safe from a power cut."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server."""

    port: int

    def url(self, database: str = "postgres", user: str = _USER) -> str:
        """The address of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of an empty database of its own for a test."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole session, started when first asked for."""
    with serve_postgres() as server:
        yield server


@contextmanager
def serve_postgres(*settings: str) -> Iterator[PostgresServer]:
    """Run PostgreSQL on a free port over a temporary folder.

    Args:
        settings: of the server, as `shared_buffers=1GB`.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL with PostGIS is not installed")
    with tempfile.TemporaryDirectory(prefix="landloom-postgres-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        data = Path(folder) / "data"
        runner: list[str] = []
        if os.getuid() == 0:  # It refuses to run as root.
            shutil.chown(folder, "postgres")
            runner = ["runuser", "-u", "postgres", "--"]
        create = ["initdb", "-D", str(data), "-U", _USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        _run([*runner, str(programs / create[0]), *create[1:]])
        given = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", *_SAFE.split()]
        options = " ".join(f"-c {one}" for one in (*given, *settings))
        control = [*runner, str(programs / "pg_ctl"), "-D", str(data), "-w"]
        _run([*control, "-l", str(Path(folder) / "log"), "-o", options, "start"])
        try:
            yield PostgresServer(port)
        finally:
            _run([*control, "-m", "immediate", "stop"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, f"{command}, run by {getpass.getuser()}: {done.stdout}{done.stderr}"


def _programs() -> Path | None:
    """The folder of a PostgreSQL that has PostGIS."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if not (folder / "pg_config").exists():
            continue
        shared = subprocess.run([folder / "pg_config", "--sharedir"], capture_output=True, text=True)
        if (Path(shared.stdout.strip()) / "extension/postgis.control").exists():
            return folder
    return None
