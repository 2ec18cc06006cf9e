"""Jobs, queued and run: one process each, watched for its limits, and taken up again where the server ended.

A product is idempotent, and what of it was published is skipped, so that a job which was cut off is simply begun again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import psutil
from prometheus_client import Counter, Gauge, Histogram

from catalog.errors import BadInput, LandloomError, StoreError
from services.processes.jobs import ENDED, Job, JobFolder, JobLimits, Status, now
from services.processes.processes import PROCESSES, as_inputs

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
_ENDED = Counter("landloom_jobs_ended_total", "Jobs that ended, by process and how.", ("process", "status"))
_SECONDS = Histogram(
    "landloom_job_seconds", "How long jobs ran.", ("process",), buckets=(1, 3, 10, 30, 100, 300, 1000, 3000)
)
_NOW = Gauge("landloom_jobs", "Jobs that wait or run.", ("status",))


class QueueFull(LandloomError):
    """As many jobs wait as may."""


class NoSuchJob(LandloomError):
    """There is no job of that ID."""


@dataclass(frozen=True)
class Setup:
    """What jobs are run with."""

    catalog: str
    """Folder or `s3://` of the catalog."""
    s3_endpoint: str | None
    files: Path | None
    """Folder of what the operator has laid ready for clients to name."""
    limits: JobLimits
    json_logs: bool = False
    database: str | None = None
    """Address of the pgSTAC that answers for the catalog, which is told of what jobs publish; None: its own files."""


class Jobs:
    """All jobs of a server. May be asked by many threads at once."""

    def __init__(self, folder: Path, setup: Setup):
        """Take up what is there.

        Args:
            folder: where jobs are kept; one server at a time.
            setup: what they are run with.

        Raises:
            BadInput: another server runs jobs of this folder.
            StoreError: it cannot be written.
        """
        self.setup, self._folder = setup, JobFolder(folder)
        try:
            self._lock_file = (folder / ".lock").open("w")
        except OSError as error:
            raise StoreError(
                f"The folder of jobs {folder} cannot be written: {error.strerror}. Give another."
            ) from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInput(f"Another server runs the jobs of {folder}. Give each a folder of its own.") from error
        self._changed = threading.Condition()
        self._jobs = {one.id: one for one in self._folder.load()}
        self._closing = False
        for job in self._jobs.values():
            if job.status == "running":
                self._take_up(job)
        self._sweep()
        self._threads = [
            threading.Thread(target=self._work, name=f"jobs-{number}", daemon=True)
            for number in range(setup.limits.at_once)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, process: str, given: str, response: Literal["raw", "document"]) -> Job:
        """Take a job.

        Args:
            process: its ID.
            given: JSON of the inputs.
            response: how its results will be asked for.

        Raises:
            BadInput: the inputs cannot be.
            QueueFull: as many jobs wait as may.
        """
        PROCESSES[process].read(given, self.setup.files, self.setup.limits.zones)
        with self._changed:
            limits = self.setup.limits
            if len(self._with("accepted")) + len(self._with("running")) >= limits.at_once + limits.queued:
                raise QueueFull(f"{limits.queued} jobs may wait here, and as many do. Try again later.")
            self._sweep()
            job = Job.new(process, response)
            self._folder.add(job, given)
            self._jobs[job.id] = job
            self._changed.notify_all()
            _log.info("Job %s accepted: %s.", job.id, process, extra={"job": job.id, "job_process": process})
            return job.model_copy()

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._changed:
            return sorted((one.model_copy() for one in self._jobs.values()), key=lambda one: one.created, reverse=True)

    def get(self, name: str) -> Job:
        """A job.

        Raises:
            NoSuchJob: there is none.
        """
        with self._changed:
            if name not in self._jobs:
                raise NoSuchJob(f"There is no job {name!r}. /jobs lists them.")
            return self._jobs[name].model_copy()

    def dismiss(self, name: str) -> Job:
        """Cancel a job; one that has ended is forgotten, what it published stays.

        Raises:
            NoSuchJob: there is none.
        """
        with self._changed:
            self.get(name)
            job = self._jobs[name]
            if job.status in ENDED:
                del self._jobs[name]
                self._folder.remove(job)
                return job.model_copy(update={"status": "dismissed", "message": "Forgotten."})
            self._end(job, "dismissed", "Cancelled.")
            self._changed.notify_all()
            return job.model_copy()

    def file(self, name: str, file: str) -> Path | None:
        """A file that a job made; None: there is none.

        Raises:
            NoSuchJob: there is no such job.
        """
        job = self.get(name)
        there = file in ((job.result or {}).get("files") or ())
        return self._folder.of(job) / "files" / file if there else None

    def close(self) -> None:
        """Stop what runs; it is taken up again by the next server."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(10)
        with self._changed:
            for job in self._with("running"):
                # It was not at fault, so this is not counted as a try.
                self._set(job, status="accepted", tries=job.tries - 1, message="The server was stopped: waits.")
        self._lock_file.close()

    def _with(self, status: Status) -> list[Job]:
        return [one for one in self._jobs.values() if one.status == status]

    def _take_up(self, job: Job) -> None:
        if job.tries >= self.setup.limits.tries:
            self._end(job, "failed", f"The server ended {job.tries} times while this ran. It is not begun again.")
            return
        _log.warning("Job %s was cut off and is taken up again.", job.id, extra={"job": job.id})
        self._set(job, status="accepted", message="The server was started anew: waits to be begun again.")

    def _sweep(self) -> None:
        """Forget what ended long ago."""
        oldest = (datetime.now(UTC) - timedelta(days=self.setup.limits.kept_days)).strftime("%Y-%m-%d")
        for job in [one for one in self._jobs.values() if one.finished and one.finished < oldest]:
            del self._jobs[job.id]
            self._folder.remove(job)

    def _set(self, job: Job, **values: Any) -> None:
        for name, value in {**values, "updated": now()}.items():
            setattr(job, name, value)
        try:
            self._folder.save(job)
        except OSError:
            # Clients are told all the same; only the next server would not know.
            _log.exception("The state of job %s cannot be kept.", job.id)
        for status in ("accepted", "running"):
            _NOW.labels(status).set(len(self._with(status)))

    def _end(self, job: Job, status: Status, message: str, **values: Any) -> None:
        self._set(job, status=status, message=message, finished=now(), **values)
        _ENDED.labels(job.process, status).inc()
        told = {"job": job.id, "job_process": job.process, "job_status": status}
        _log.info("Job %s %s: %s", job.id, status, message, extra=told)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not self._with("accepted"):
                    self._changed.wait()
                if self._closing:
                    return
                job = min(self._with("accepted"), key=lambda one: one.created)
                self._set(job, status="running", tries=job.tries + 1, message="Begins.", started=now(), progress=0)
            began = time.monotonic()
            try:
                self._run(job)
            except Exception:
                _log.exception("Job %s could not be run.", job.id)
                with self._changed:
                    if job.status == "running":
                        self._end(job, "failed", "The job could not be run. The server's log says why.")
            _SECONDS.labels(job.process).observe(time.monotonic() - began)

    def _run(self, job: Job) -> None:
        folder, setup = self._folder.of(job).absolute(), self.setup
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        order = {
            "process": job.process,
            "catalog": setup.catalog,
            "s3_endpoint": setup.s3_endpoint,
            "files": str(setup.files.absolute()) if setup.files else None,
            "limits": setup.limits.model_dump(),
            "json_logs": setup.json_logs,
            "database": setup.database,
        }
        environment = {**os.environ, "TMPDIR": str(scratch)}
        if setup.s3_endpoint:
            environment["AWS_ENDPOINT_URL"] = setup.s3_endpoint
        child = subprocess.Popen(
            [sys.executable, "-m", "services.processes.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert child.stdin
        try:
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.flush()
            self._follow(job, child)
        finally:
            with_all_of_it(child)
            shutil.rmtree(scratch, ignore_errors=True)

    def _follow(self, job: Job, child: subprocess.Popen[bytes]) -> None:
        """Keep what it tells; returns when it has ended or must."""
        limits, began = self.setup.limits, time.monotonic()
        for line in _lines(child):
            with self._changed:
                if self._closing or job.status != "running":
                    return
                if "progress" in line:
                    self._set(job, progress=line["progress"], message=line["message"])
                elif "result" in line:
                    self._end(job, "successful", "Done.", progress=100, result=line["result"])
                    return
                elif "error" in line:
                    self._end(job, "failed", self._shown(job, line["error"]), refused=line["refused"])
                    return
                elif time.monotonic() - began > limits.seconds:
                    self._end(job, "failed", f"It ran for {limits.seconds} s, the most that a job may.", refused=True)
                    return
                elif _memory_mb(child.pid) > limits.memory_mb:
                    told = f"It took more than {limits.memory_mb} MB of memory, the most that a job may."
                    self._end(job, "failed", f"{told} Give a smaller area.", refused=True)
                    return
        code = child.wait()
        with self._changed:
            if job.status == "running" and not self._closing:
                how = f"by signal {-code}" if code < 0 else f"with code {code}"
                self._end(job, "failed", f"Its process ended {how}. The server's log says more.")

    def _shown(self, job: Job, text: str) -> str:
        # Where things lie is for who runs the server.
        for place in (self._folder.of(job).absolute(), self.setup.files and self.setup.files.absolute()):
            text = text.replace(f"{place}/", "") if place else text
        return as_inputs(text.replace(f"{self.setup.catalog}/", "").replace(self.setup.catalog, "the catalog"))


def with_all_of_it(child: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started. What it was writing is not there, since all is written whole or not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()


def _lines(child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """What a job tells, and from time to time an empty object, while it runs."""
    assert child.stdout
    source, rest = child.stdout.fileno(), b""
    while True:
        ready, _, _ = select.select([source], [], [], _LOOK_SECONDS)
        if not ready:
            yield {}
            continue
        piece = os.read(source, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)
        yield {}


def _memory_mb(pid: int) -> float:
    """Resident, of a process and those that it started."""
    try:
        whole = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (whole, *whole.children(recursive=True))) / 1e6
    except psutil.Error:
        return 0.0
