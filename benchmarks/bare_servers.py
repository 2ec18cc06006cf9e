"""The libraries that others serve STAC by, as they come: stac-fastapi-pgstac and stac-fastapi-geoparquet.

Each lives in an environment of its own, since they want other versions of what Landloom uses.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks.measure import Measured, run
from tests.environments import fresh_environment

_PGSTAC = ("stac-fastapi-pgstac[server]==7.2.0", "pypgstac[psycopg]==0.10.0")
_GEOPARQUET = (
    "stac-fastapi-geoparquet==0.0.7",
    "rustac==0.9.17",
    "fastapi==0.140.0",
    "uvicorn",
    *(f"stac-fastapi-{part}==6.2.1" for part in ("api", "types", "extensions")),
    *(f"duckdb-extension-{name}==1.5.5" for name in ("spatial", "icu", "parquet")),
)
_START_SECONDS = 120
_SERVE_GEOPARQUET = """
import sys, uvicorn
from rustac import DuckdbClient
from stac_fastapi.geoparquet.api import create
client = DuckdbClient(extension_directory=sys.argv[1], install_extensions=False)
uvicorn.run(create(duckdb_client=client).app, port=int(sys.argv[2]), log_level="warning")
"""


def pgstac_environment(folder: Path) -> Path:
    """Its Python, freshly installed below a folder."""
    return fresh_environment(folder / "pgstac", *_PGSTAC)


def load_pgstac(python: Path, database: str, collection: Path, items: Path) -> Measured:
    """Fill an empty database by `pypgstac`.

    Args:
        python: of its environment.
        database: its address.
        collection: JSON of one collection, on one line.
        items: JSON of its items, one a line.

    Returns:
        What the items took.
    """
    program = [str(python.parent / "pypgstac")]
    subprocess.run([*program, "migrate", "--dsn", database], check=True, capture_output=True)
    subprocess.run([*program, "load", "collections", str(collection), "--dsn", database], check=True)
    measured = run([*program, "load", "items", str(items), "--dsn", database])
    # The index that Landloom has of what its users filter by, so that the servers are alike.
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET search_path TO pgstac, public")
        connection.execute("SELECT upsert_queryable(%s, '{}', 'to_float', 'BTREE')", ("landloom:mean_observations",))
    return measured


@contextmanager
def serve_pgstac(python: Path, database: str) -> Iterator[str]:
    """Serve a database by one process.

    Yields:
        The server's address.
    """
    parts = urlsplit(database)
    settings = {
        "PGUSER": parts.username or "",
        "PGPASSWORD": "unused",
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGDATABASE": parts.path.strip("/"),
    }
    port = _free_port()
    command = [str(python), "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app", "--port", str(port)]
    with _running([*command, "--log-level", "warning"], port, settings) as url:
        yield url


@contextmanager
def serve_geoparquet(folder: Path, parquet: Path) -> Iterator[str]:
    """Serve a STAC GeoParquet file by one process.

    Args:
        folder: below which it is installed.
        parquet: the file.

    Yields:
        The server's address.
    """
    python = fresh_environment(folder / "geoparquet", *_GEOPARQUET)
    extensions = folder / "extensions"
    for file in (python.parents[1] / "lib").rglob("*.duckdb_extension"):
        # DuckDB looks for extensions by its version and the machine's kind.
        for platform in ("linux_amd64", "linux_arm64", "osx_arm64"):
            target = extensions / file.parent.name / platform / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    port = _free_port()
    command = [str(python), "-c", _SERVE_GEOPARQUET, str(extensions), str(port)]
    with _running(command, port, {"STAC_FASTAPI_GEOPARQUET_HREF": str(parquet)}) as url:
        yield url


@contextmanager
def _running(command: list[str], port: int, settings: dict[str, str]) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env={**os.environ, **settings}) as process:
        try:
            end = time.monotonic() + _START_SECONDS
            while True:
                try:
                    urllib.request.urlopen(url, timeout=10).read()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"{command[0]} does not answer at {url}") from None
                    time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
