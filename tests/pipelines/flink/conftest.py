"""One Flink cluster for the folder, and workers that tell what they compute."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.flink import cluster as flink
from pipelines.flink.submit import complete, job_server
from tests.pipelines.running import ROOT, contents, map_tiles
from tests.servers.s3 import ENVIRONMENT

YEARS = (2021, 2022)
_WORKER = f"""\
    #!{sys.executable}
    import os, sys, time
    os.environ["GDAL_VRT_ENABLE_PYTHON"] = "YES"  # For a test whose scene kills.
    sys.path.insert(0, {str(ROOT)!r})
    from pipelines import block_step
    from pipelines.beam_worker import main

    whole = block_step.classify_block

    def told(manifest, number, *arguments):
        def tell(what):
            with open({{log!r}}, "a") as log:
                print(what, manifest.id, number, os.getppid(), time.time(), file=log)
        tell("begun")
        result = whole(manifest, number, *arguments)
        time.sleep({{pause}})
        tell("done")
        return result

    block_step.classify_block = told
    main()
"""


@dataclass(frozen=True)
class Computed:
    """A line of a worker's: a block that it began or was done with."""

    what: str
    tile_year: str
    block: int
    task_manager: int
    """Process ID of the worker's parent."""
    time: float


@dataclass(frozen=True)
class Watched:
    """Workers that work as ever, a pause before the end of each block apart: so that a run has a middle."""

    options: list[str]
    """Beam's, with these workers."""
    log: Path

    def computed(self, what: str = "begun") -> list[Computed]:
        """What they told so far."""
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [Computed(one, name, int(n), int(by), float(at)) for one, name, n, by, at in lines if one == what]


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a running cluster."""
    folder = tmp_path_factory.mktemp("flink")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():  # Workers may write to the tests' S3 server.
            patch.setenv(name, value)
        flink.start(folder, workers=2)
        yield folder
    flink.stop(folder)


@pytest.fixture(scope="package")
def options(folder: Path) -> Iterator[list[str]]:
    cluster = flink.load(folder)
    assert cluster is not None
    with job_server(complete(["--runner=FlinkRunner", f"--flink_master={cluster.master}"])) as options:
        yield options


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., Watched]:
    """`watch(options, pause)`: the same workers, watched; the pause in seconds."""

    def replace(options: list[str], pause: int = 1) -> Watched:
        worker, log = tmp_path / "worker", tmp_path / "worker.log"
        worker.write_text(textwrap.dedent(_WORKER).format(log=str(log), pause=pause))
        worker.chmod(0o755)
        others = [one for one in options if not one.startswith("--environment_config")]
        return Watched([*others, f"--environment_config={json.dumps({'command': str(worker)})}"], log)

    return replace


@pytest.fixture(scope="package")
def in_process(simulated, network, tmp_path_factory) -> dict[str, object]:
    """What is published without Flink."""
    out = tmp_path_factory.mktemp("in_process")
    map_tiles(simulated.catalog, out, network, years=YEARS)
    return contents(out)
