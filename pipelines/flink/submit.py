"""A job for Flink: Beam's options completed, and the cluster asked whether it can run the job before it is sent.

A worker that cannot start makes a job wait for ever; so a few elements that only look at what a worker has go first.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer, FlinkRunner
from apache_beam.runners.runner import PipelineState
from apache_beam.utils import subprocess_server

from catalog.errors import BadInput, LandloomError
from catalog.model import ModelSpec
from pipelines.flink.cluster import JAR, call_off, overview
from pipelines.job import Job
from pipelines.runner import option, with_defaults
from services.inference import model_spec

_CACHE_MILLISECONDS = 3_000
"""How long a worker waits for the next stage. Without it each stage starts its own; but one that was killed is kept as
long, too, and a job that begins anew meanwhile finds it dead."""
_STARTS_SECONDS = 90
_LOOKS_PER_SLOT = 4


class CannotWork(LandloomError):
    """A worker lacks what the job needs."""


def is_flink(beam_options: Sequence[str]) -> bool:
    """Whether Beam's options name Flink's runner and a cluster."""
    return option(beam_options, "--runner") in ("FlinkRunner", "flink") and bool(_master(beam_options))


def complete(beam_options: Sequence[str]) -> list[str]:
    """Beam's options for a Flink cluster with what the user left open.

    Raises:
        BadInput: the cluster does not answer, has no slot, or is of another version than the runner; or there is no
            runner.
    """
    master = _master(beam_options)
    told = overview(master)
    if told is None:
        raise BadInput(
            f"No Flink cluster answers at {master}. Name its REST address by --flink_master=HOST:PORT; "
            "`landloom cluster up` starts one here."
        )
    slots = int(told["slots-total"])
    if not slots:
        raise BadInput(f"The Flink cluster at {master} has no task slots: no TaskManager has joined it.")
    jar = option(beam_options, "--flink_job_server_jar") or str(JAR)
    if not Path(jar).is_file() and "://" not in jar:
        raise BadInput(f"There is no runner for Flink at {jar}. Build it by `make flink`; see docs/flink.md.")
    series = str(told["flink-version"]).rpartition(".")[0]
    if (wanted := option(beam_options, "--flink_version") or series) != series:
        raise BadInput(f"The cluster at {master} is Flink {told['flink-version']}; --flink_version says {wanted}.")
    defaults = {
        "--flink_job_server_jar": jar,
        "--flink_version": series,
        "--parallelism": str(slots),
        "--environment_type": "PROCESS",
        "--environment_config": json.dumps({"command": str(Path(sys.executable).with_name("landloom-worker"))}),
        "--environment_cache_millis": str(_CACHE_MILLISECONDS),
        # The cluster has the code already: 160 MB less to send.
        "--files_to_stage": _empty_jar(),
    }
    return with_defaults(beam_options, defaults)


@contextmanager
def job_server(beam_options: Sequence[str]) -> Iterator[list[str]]:
    """Within it Beam's job server runs, one for the check of the workers and the job: Java takes seconds to start.

    Args:
        beam_options: from `complete`.

    Yields:
        The options with its address, at once: who sends it a job waits until it answers.

    Raises:
        BadInput: there is no Java.
    """
    options = list(beam_options)
    if option(options, "--job_endpoint"):
        yield options  # The user's own.
        return
    if shutil.which("java") is None:
        raise BadInput("Jobs for Flink are sent by Java 11 or 17, and there is no `java` here. Install a Java runtime.")
    [port] = subprocess_server.pick_port(None)
    master = FlinkRunner.add_http_scheme(_master(options))
    server = FlinkJarJobServer(PipelineOptions([*options, f"--flink_master={master}", f"--job_port={port}"]))
    with ThreadPoolExecutor(1, thread_name_prefix="job-server") as starter:
        starting = starter.submit(server.start)
        try:
            yield [*options, f"--job_endpoint=localhost:{port}"]
            starting.result()
        finally:
            if not starting.cancel():
                server.stop()


def check_workers(job: Job, beam_options: Sequence[str]) -> None:
    """Have the cluster's workers start, and look whether they see the output, the code and the network.

    Args:
        job: what is to be run.
        beam_options: from `complete`.

    Raises:
        CannotWork: one of them does not, or does not start, and why.
    """
    store, folder = job.store(), f"runs/{job.run}/check"
    store.write(f"{folder}/launcher", b"")
    networks = [one for one in ("" if job.inference else job.model, job.second_stage) if one]
    specs = {network: model_spec(network) for network in networks}
    looks = [(one, one) for one in range(_LOOKS_PER_SLOT * int(option(beam_options, "--parallelism") or 1))]
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_options)))
    numbers = pipeline | "Looks" >> beam.Create(looks, reshuffle=False) | "Spread" >> beam.GroupByKey()
    numbers | "Look" >> beam.ParDo(_Look(job, folder, specs, version("landloom")))
    try:
        running = pipeline.run()
        state = running.wait_until_finish(duration=_STARTS_SECONDS * 1000)
        if state != PipelineState.DONE:
            # Beam's own way to cancel does not reach a job that begins anew again and again. Flink knows the job by
            # what Beam calls it, a suffix apart.
            call_off(_master(beam_options), str(getattr(running, "_job_id", "")).rpartition("_")[0])
            raise CannotWork(
                f"The cluster's workers do not start within {_STARTS_SECONDS} s. Each machine needs this version of "
                "Landloom, as `landloom-worker`; a TaskManager's log tells more."
            )
        answers = {key: store.read(key).decode() for key in store.list(folder) if not key.endswith("/launcher")}
        if reasons := set(answers.values()) - {""}:
            raise CannotWork(f"{min(reasons)} Give every worker the same as the launcher.")
        if len(answers) < len(looks):
            raise CannotWork(
                f"{len(looks) - len(answers)} of {len(looks)} workers' answers are not in {job.out}. Give an output "
                "that all machines share: s3://bucket/prefix, or a folder that lies at the same path on each."
            )
    finally:
        store.delete(store.list(folder))


@contextmanager
def told_if_lost(beam_options: Sequence[str]) -> Iterator[None]:
    """Within it a job runs: that its cluster has gone is told in place of the connection that failed.

    Raises:
        LandloomError: the cluster no longer answers.
    """
    try:
        yield
    except LandloomError:
        raise
    except Exception as error:
        if (master := _master(beam_options)) and overview(master) is None:
            raise LandloomError(
                f"The Flink cluster at {master} no longer answers: its JobManager has ended or cannot be reached. "
                "Start it again and give the same command: what is staged is not done twice."
            ) from error
        raise


class _Look(beam.DoFn):  # type: ignore[misc]
    """Writes what a worker lacks; nothing, if it lacks nothing."""

    def __init__(self, job: Job, folder: str, specs: dict[str, ModelSpec], release: str):
        self._job, self._folder, self._specs, self._release = job, folder, specs, release

    def process(self, element: tuple[int, Iterable[int]]) -> None:
        self._job.store().write(f"{self._folder}/{element[0]}", self._lacks().encode())

    def _lacks(self) -> str:
        if (here := version("landloom")) != self._release:
            return f"A worker has Landloom {here}, the launcher {self._release}."
        for network, spec in self._specs.items():
            try:
                if model_spec(network) != spec:
                    return f"A worker's network {network} is not the launcher's ({spec.sha256[:12]})."
            except LandloomError as error:
                return f"A worker cannot open the network: {error}"
        return ""


def _master(beam_options: Sequence[str]) -> str:
    master = option(beam_options, "--flink_master") or ""
    return "" if master.startswith("[") else master


def _empty_jar() -> str:
    path = Path(tempfile.gettempdir()) / "landloom-empty.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    return str(path)
