"""The main job on a real Flink cluster of two TaskManagers, undisturbed; and what is found wrong before it is sent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from catalog.errors import BadInput
from pipelines.flink import check
from pipelines.flink import cluster as flink
from pipelines.flink.check import CannotWork, check_workers
from pipelines.flink.submit import complete
from pipelines.job import Job
from pipelines.runner import name_run
from tests.pipelines.flink.conftest import YEARS
from tests.pipelines.running import ROOT, contents, landloom, map_tiles

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not flink.JAR.is_file(), reason="no runner for Flink: `make flink` builds it"),
]


def test_the_same_is_published_as_in_one_process_and_each_worker_does_half(
    simulated, network, options, watch, in_process, tmp_path
):
    # Long enough for the second to begin its last block before the first is done with its own: it would help.
    watched = watch(options, pause=3)
    accounts = map_tiles(simulated.catalog, tmp_path / "out", network, years=YEARS, beam=watched.options)
    assert (accounts.planned, len(accounts.published)) == (2, 2)
    assert contents(tmp_path / "out") == in_process
    blocks = Counter((one.tile_year, one.task_manager) for one in watched.computed("done"))
    assert len(blocks) == 4 and len(set(blocks.values())) == 1, blocks


def test_the_command_takes_a_cluster_and_paths_from_here(simulated, network, folder, in_process):
    cluster = flink.load(folder)
    assert cluster is not None
    with tempfile.TemporaryDirectory(dir=ROOT) as out:
        done = landloom(
            *("map", "--source", simulated.catalog, "--out", Path(out).name, "--model", network, "--tiles", "33UUU"),
            *("--year", "2021,2022", "--runner=FlinkRunner", f"--flink_master={cluster.master}"),
        )
        assert done.stdout.count("33UUU-202") >= 2
        assert contents(Path(out)) == in_process


def test_a_launcher_that_is_told_to_end_takes_its_job_server_along(simulated, network, folder, tmp_path):
    cluster = flink.load(folder)
    assert cluster is not None
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "map",
        "--source",
        simulated.catalog,
        "--out",
        tmp_path,
        "--year",
        "2021",
    ]
    command += ["--model", network, "--tiles", "33UUU", "--runner=FlinkRunner", f"--flink_master={cluster.master}"]
    launcher = subprocess.Popen(list(map(str, command)), cwd=ROOT)
    while not (children := _children(launcher.pid)):
        assert launcher.poll() is None
        time.sleep(0.1)
    launcher.terminate()
    assert launcher.wait() == 128 + signal.SIGTERM
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def _children(process: int) -> list[str]:
    return subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()


def test_a_worker_that_does_not_see_the_output_is_found_before_the_job(network, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotWork, match=r"answers are not in elsewhere. Give an output that all machines share"):
        check_workers(Job(name_run(), "elsewhere", str(network)), options)


def test_a_worker_without_the_network_is_found_before_the_job(network, options, tmp_path, monkeypatch):
    monkeypatch.chdir(network.parent)
    with pytest.raises(CannotWork, match=r"A worker cannot open the network: .*spectral.onnx"):
        check_workers(Job(name_run(), str(tmp_path), network.name), options)


def test_a_worker_that_cannot_start_is_found_before_the_job(network, options, tmp_path, monkeypatch):
    others = [one for one in options if not one.startswith("--environment_config")]
    broken = f"--environment_config={json.dumps({'command': '/bin/false'})}"
    monkeypatch.setattr(check, "_STARTS_SECONDS", 20)
    with pytest.raises(CannotWork, match=r"do not start within 20 s.*landloom-worker"):
        check_workers(Job(name_run(), str(tmp_path), str(network)), [*others, broken])


def test_a_cluster_that_is_not_there_is_said():
    with pytest.raises(BadInput, match=r"No Flink cluster answers at 127.0.0.1:1.*landloom cluster up"):
        complete(["--runner=FlinkRunner", "--flink_master=127.0.0.1:1"])


def test_another_version_of_flink_is_refused(options):
    master = next(one for one in options if one.startswith("--flink_master"))
    with pytest.raises(BadInput, match=r"is Flink 1\.19\.\d+; --flink_version says 1\.18"):
        complete(["--runner=FlinkRunner", master, "--flink_version=1.18"])


def test_a_second_cluster_from_one_folder_is_refused(folder):
    with pytest.raises(BadInput, match=r"A cluster runs from .* already"):
        flink.start(folder)


def _status(folder):
    done = landloom("cluster", "status", "--folder", folder)
    return done.stdout + done.stderr


def test_the_command_tells_what_runs(folder):
    # What another test called off takes a while to end.
    until = time.monotonic() + 60
    while "2 of 2 free" not in (told := _status(folder)) and time.monotonic() < until:
        time.sleep(2)
    assert "taskmanager-2" in told and "2 of 2 free" in told
    assert "No cluster runs" in landloom("cluster", "status", "--folder", folder / "none", check=1).stderr
