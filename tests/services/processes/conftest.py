"""A catalog of maps that change, served with jobs, and a client that waits for them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from affine import Affine

from tests.servers.catalog import serve_catalog
from tests.services.change.maps import CROPS, TREES, UTM, WATER, write_collection, write_map

TOKEN = "a token that nobody guesses"
YEARS = (2017, 2018, 2019)
ENDED = ("successful", "failed", "dismissed")


def write_catalog(folder: Path, places: int = 1) -> Path:
    """Three years of places of 4 km2 side by side: water, trees, and a field of crops that grows and then stays."""
    for place in range(places):
        transform = UTM @ Affine.translation(200 * place, 0)
        for year in YEARS:
            codes = np.full((200, 200), TREES, np.uint8)
            codes[:, :40] = WATER
            codes[60 : 80 if year == YEARS[0] else 120, 100:160] = CROPS
            write_map(
                folder / "maps",
                codes,
                year,
                place=f"33U{chr(65 + place // 26)}{chr(65 + place % 26)}",
                transform=transform,
            )
    write_collection(folder / "maps")
    root = {
        "type": "Catalog",
        "id": "landloom",
        "stac_version": "1.1.0",
        "description": "Maps",
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            {"rel": "child", "href": "./maps/collection.json", "type": "application/json", "title": "Maps"},
        ],
    }
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder


class Service:
    """A client of a server with jobs."""

    def __init__(self, url: str):
        self.url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {TOKEN}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, f"{self.url}{path}", timeout=120, **options)

    def read(self, path: str) -> dict[str, Any]:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, process: str, inputs: dict[str, Any], **more: Any) -> requests.Response:
        body = {"inputs": inputs, **more}
        return self.ask("POST", f"/processes/{process}/execution", json=body, headers={"Prefer": "respond-async"})

    def job(self, name: str) -> dict[str, Any]:
        return self.read(f"/jobs/{name}")

    def until(self, name: str, right: Callable[[dict[str, Any]], bool], seconds: float = 280) -> dict[str, Any]:
        """The job's state, once it is as asked for."""
        ends = time.monotonic() + seconds
        while not right(job := self.job(name)):
            assert time.monotonic() < ends and job["status"] not in ENDED, job
            time.sleep(0.1)
        return job

    def done(self, process: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The results of a job that is started and waited for."""
        started = self.start(process, inputs, **more)
        assert started.status_code == 201, started.text
        ended = self.until(started.json()["jobID"], lambda job: job["status"] in ENDED)
        assert ended["status"] == "successful", ended
        return self.read(f"/jobs/{ended['jobID']}/results")


@contextmanager
def serve_jobs(catalog: Path | str, folder: Path, *options: str, limits: str = "") -> Iterator[Service]:
    """Serve a catalog with jobs that are kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text(TOKEN)
    (folder / "limits.toml").write_text(limits)
    given = ["--jobs", folder / "jobs", "--jobs-token-file", folder / "token", "--jobs-limits", folder / "limits.toml"]
    with serve_catalog(str(catalog), *map(str, given), *options) as url:
        yield Service(url)


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("maps") / "out")


@pytest.fixture
def catalog(maps: Path, tmp_path: Path) -> Path:
    """A catalog of one's own."""
    return Path(shutil.copytree(maps, tmp_path / "catalog"))


@pytest.fixture(scope="module")
def service(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server whose catalog several tests write to."""
    folder = tmp_path_factory.mktemp("service")
    own = Path(shutil.copytree(maps, folder / "catalog"))
    (folder / "files").mkdir()
    with serve_jobs(own, folder, "--jobs-files", str(folder / "files")) as running:
        running.folder = folder  # type: ignore[attr-defined]
        yield running
