"""A job for Flink: Beam's options completed, the cluster asked what it is, and the server that sends it the job."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from catalog.errors import BadInput, LandloomError
from pipelines.beam_options import option, with_defaults
from pipelines.flink.cluster import JAR, free_ports, overview

_CACHE_MILLISECONDS = 3_000
"""How long a worker waits for the next stage. Without it each stage starts its own; but one that was killed is kept as
long, too, and a job that begins anew meanwhile finds it dead."""


def is_flink(beam_options: Sequence[str]) -> bool:
    """Whether Beam's options name Flink's runner and a cluster."""
    return option(beam_options, "--runner") in ("FlinkRunner", "flink") and bool(master_of(beam_options))


def complete(beam_options: Sequence[str]) -> list[str]:
    """Beam's options for a Flink cluster with what the user left open.

    Raises:
        BadInput: the cluster does not answer, has no slot, or is of another version than the runner; or there is no
            runner.
    """
    master = master_of(beam_options)
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
    if not Path(jar).is_file():
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
    # Beam would list all packages that are installed here, for a second, and send the list along with each job.
    return [*with_defaults(beam_options, defaults), "--experiments=disable_logging_submission_environment"]


@contextmanager
def job_server(beam_options: Sequence[str]) -> Iterator[list[str]]:
    """Within it Beam's job server runs, one for the check of the workers and the job.

    It is started before Beam is imported, and starts meanwhile: each of the two takes seconds.

    Args:
        beam_options: from `complete`.

    Yields:
        The options with its address, at once: who sends it a job waits until it answers.

    Raises:
        BadInput: there is no Java.
        LandloomError: it ended by itself.
    """
    options = list(beam_options)
    if option(options, "--job_endpoint"):
        yield options  # The user's own.
        return
    if shutil.which("java") is None:
        raise BadInput("Jobs for Flink are sent by Java 11 or 17, and there is no `java` here. Install a Java runtime.")
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="landloom-job-server-") as folder:
        # It lives for a job: compiled quickly rather than well it starts in half the time.
        command = ["java", "-XX:TieredStopAtLevel=1", "-jar", option(options, "--flink_job_server_jar") or str(JAR)]
        command += ["--flink-master", f"http://{master_of(options).removeprefix('http://')}", "--job-port", str(port)]
        command += ["--artifacts-dir", folder, "--artifact-port", "0", "--expansion-port", "0"]
        with (Path(folder) / "log").open("wb+") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            # Told to end, this process would leave it behind.
            before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            try:
                yield [*options, f"--job_endpoint=localhost:{port}"]
            except Exception as error:
                if server.poll() is None:
                    raise
                log.seek(0)
                last = log.read().decode(errors="replace").strip().splitlines()[-1:]
                raise LandloomError(f"Beam's job server has ended by itself; the last that it said: {last}.") from error
            finally:
                server.terminate()
                signal.signal(signal.SIGTERM, before)


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
        if (master := master_of(beam_options)) and overview(master) is None:
            raise LandloomError(
                f"The Flink cluster at {master} no longer answers: its JobManager has ended or cannot be reached. "
                "Start it again and give the same command: what is staged is not done twice."
            ) from error
        raise


def master_of(beam_options: Sequence[str]) -> str:
    """The address of the cluster that Beam's options name; empty: they name none."""
    master = option(beam_options, "--flink_master") or ""
    return "" if master.startswith("[") else master


def _empty_jar() -> str:
    path = Path(tempfile.gettempdir()) / "landloom-empty.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    return str(path)
