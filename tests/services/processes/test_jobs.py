"""Jobs: progress, cancelling, a server that is killed, limits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from services.processes.jobs import Job, JobFolder, read_limits
from tests.pipelines.running import ROOT
from tests.services.processes.conftest import TOKEN, Service, serve_jobs, write_catalog

MANY = 60
"""Places: a job that one can come between."""
ASKED = {"collection": "maps", "name": "many"}


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("many") / "out", MANY)


def half_done(service: Service) -> str:
    """A job that has published some places, and not all."""
    name = service.start("change", {**ASKED, "overwrite": False}).json()["jobID"]
    service.until(name, lambda job: job["progress"] > 10)
    return name


def places(catalog: Path) -> set[str]:
    return {path.name for path in (catalog / "lulc-change").glob("33U*/*/*.json")}


def children(pid: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(pid).children(recursive=True) if "worker" in " ".join(one.cmdline())]


@pytest.mark.slow
def test_a_job_tells_how_far_it_is_and_can_be_cancelled(many, tmp_path):
    with serve_jobs(many, tmp_path, limits="at_once = 1") as service:
        name = half_done(service)
        job = service.job(name)
        assert job["status"] == "running" and 10 < job["progress"] < 95 and job["message"].startswith("Step ")
        assert service.ask("GET", f"/jobs/{name}/results").json()["type"].endswith("/result-not-ready")
        waiting = service.start("change", ASKED).json()["jobID"]
        assert service.job(waiting)["status"] == "accepted"
        assert service.ask("DELETE", f"/jobs/{waiting}").json()["status"] == "dismissed"
        assert service.ask("DELETE", f"/jobs/{name}").json()["status"] == "dismissed"
        ends = time.monotonic() + 20
        while list((tmp_path / "jobs" / name).glob("scratch")):
            assert time.monotonic() < ends, "its process is stopped and its scratch folder removed"
            time.sleep(0.1)
        before = places(many)
        assert 0 < len(before) < MANY
        assert not (many / "lulc-change/many").exists(), "of the whole, nothing was published"
        time.sleep(2)
        assert places(many) == before and service.job(name)["message"] == "Cancelled."
        assert {one["jobID"] for one in service.read("/jobs?status=dismissed")["jobs"]} == {name, waiting}
        assert service.ask("DELETE", f"/jobs/{name}").status_code == 200
        assert service.ask("GET", f"/jobs/{name}").status_code == 404, "one that has ended is forgotten"


@pytest.mark.slow
@pytest.mark.parametrize(("how", "tries"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1)], ids=["killed", "stopped"])
def test_a_job_is_taken_up_again_where_the_server_ended(tmp_path, how, tries):
    catalog = write_catalog(tmp_path / "out", MANY)
    (tmp_path / "token").write_text(TOKEN)
    command = [sys.executable, "-m", "pipelines", "serve", "--catalog", str(catalog), "--port", "0", "--jobs"]
    command += [str(tmp_path / "jobs"), "--jobs-token-file", str(tmp_path / "token")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        service = Service(server.stdout.readline().strip())
        name = half_done(service)
        waiting = service.start("change", {**ASKED, "name": "second"}).json()["jobID"]
        (worker,) = children(server.pid)
        server.send_signal(how)
    worker.wait(20)
    made = {path: path.stat().st_mtime_ns for path in (catalog / "lulc-change").glob("33U*/*/*.json")}
    assert 0 < len(made) < MANY
    with serve_jobs(catalog, tmp_path) as service:
        job = service.until(name, lambda job: job["status"] == "successful")
        result = service.read(f"/jobs/{name}/results")
        assert result["skipped"] >= len(made) and result["published"] + result["skipped"] == MANY + 1
        assert {path: path.stat().st_mtime_ns for path in made} == made, "what was published is not made anew"
        assert json.loads((tmp_path / "jobs" / name / "job.json").read_text())["tries"] == tries
        assert job["progress"] == 100
        assert service.job(waiting)["status"] in ("accepted", "running"), "the other waits for its turn as it did"


@pytest.mark.slow
def test_a_job_that_ended_the_server_too_often_is_told_as_failed(maps, tmp_path):
    folder = JobFolder(tmp_path / "jobs")
    job = Job.new("change", "raw").model_copy(update={"status": "running", "tries": 3})
    folder.add(job, json.dumps({"collection": "maps"}))
    with serve_jobs(maps, tmp_path) as service:
        told = service.job(job.id)
        assert told["status"] == "failed" and "ended 3 times" in told["message"]
        assert service.ask("GET", f"/jobs/{job.id}/results").status_code == 500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "inputs", "told"),
    [
        ("seconds = 1", {}, "It ran for 1 s"),
        ("memory_mb = 256\nseconds = 250", {"overwrite": True}, "more than 256 MB of memory"),
        ("pixels = 100000", {}, "more than 100,000 pixels"),
    ],
)
def test_what_goes_over_a_limit_is_stopped_and_told(many, tmp_path, limits, inputs, told):
    with serve_jobs(many, tmp_path, limits=limits) as service:
        name = service.start("change", {**ASKED, "name": "over", **inputs}).json()["jobID"]
        job = service.until(name, lambda job: job["status"] == "failed")
        assert told in job["message"]
        answer = service.ask("GET", f"/jobs/{name}/results")
        assert answer.status_code == 400 and answer.json()["detail"] == job["message"]
    assert not list((tmp_path / "jobs" / name).glob("scratch"))


@pytest.mark.slow
def test_more_jobs_than_may_wait_are_refused_and_what_ran_is_counted(many, tmp_path):
    with serve_jobs(many, tmp_path, limits="queued = 1") as service:
        names = [service.start("change", ASKED).json()["jobID"] for _ in range(2)]
        refused = service.start("change", ASKED)
        assert refused.status_code == 429 and refused.headers["retry-after"] and "1 jobs may wait" in refused.text
        for name in reversed(names):
            service.ask("DELETE", f"/jobs/{name}")
        text = requests.get(f"{service.url}/_mgmt/metrics", timeout=60).text
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        (ended,) = (one.value for one in samples if one.name == "landloom_jobs_ended_total")
        assert ended == 2
        page = service.read("/jobs?limit=1")
        assert [one["jobID"] for one in page["jobs"]] == names[1:]
        (more,) = (link["href"] for link in page["links"] if link["rel"] == "next")
        assert [one["jobID"] for one in requests.get(more, timeout=60).json()["jobs"]] == names[:1]


@pytest.mark.slow
def test_one_server_at_a_time_runs_the_jobs_of_a_folder(maps, tmp_path):
    with serve_jobs(maps, tmp_path):
        command = [sys.executable, "-m", "pipelines", "serve", "--catalog", str(maps), "--port", "0"]
        done = subprocess.run(
            [*command, "--jobs", str(tmp_path / "jobs")], capture_output=True, text=True, cwd=ROOT, timeout=250
        )
        assert done.returncode == 2 and "Another server runs the jobs" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [("minutes = 3", "minutes"), ("seconds = 'long'", "seconds"), ("seconds = 0", "seconds"), ("=", "TOML")],
)
def test_limits_that_are_none_are_said(tmp_path, text, told):
    from catalog.errors import BadInput

    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(BadInput, match=told):
        read_limits(tmp_path / "limits.toml")
