"""A real Flink cluster on this machine's loopback interface: a JobManager and TaskManagers of one slot each.

All of Flink that is needed lies in the runner's jar (`make flink` builds it from `infra/flink/pom.xml`), which is the
cluster's class path, so that a job brings no code of its own. All that the cluster writes lies in one folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from catalog.errors import BadInput, LandloomError

JAR = Path(__file__).parents[2] / "infra/flink/target/beam-flink-runner-1.jar"
"""Where `make flink` puts it."""
_STARTS_SECONDS, _ENDS_SECONDS = 90, 15
_LOOPBACK = "127.0.0.1"
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_OPENED = (
    *("java.lang", "java.lang.reflect", "java.text", "java.time", "java.net", "java.io", "java.nio", "sun.nio.ch"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
)
"""What Flink reaches into of Java 17."""
_SETTINGS = {
    # One jar serves the cluster and its jobs.
    "classloader.resolve-order": "parent-first",
    # A job whose worker dies begins anew: what is staged is skipped. It waits until the dead worker is no longer kept
    # for the next stage (`--environment_cache_millis`).
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "20",
    "restart-strategy.fixed-delay.delay": "6 s",
    "heartbeat.interval": "2000",
    "heartbeat.timeout": "10000",
    "taskmanager.numberOfTaskSlots": "1",
    # Java passes addresses on; pixels and networks live in the Python workers. Flink's start scripts, which are not in
    # the jar, would compute these sizes from the machine's memory.
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
    "jobmanager.memory.process.size": "900m",
}
# Java passes addresses on: compiled quickly rather than well, a first job starts in three quarters of the time.
_STARTS_QUICKLY = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_JOB_MANAGER_MEMORY = ("-Xmx512m",)
_TASK_MANAGER_MEMORY = ("-Xmx384m", "-XX:MaxDirectMemorySize=192m", "-XX:MaxMetaspaceSize=256m")


@dataclass(frozen=True)
class Cluster:
    """One that was started here."""

    master: str
    """`HOST:PORT` of its REST interface, as `--flink_master` takes it."""
    processes: dict[str, int]
    """Name to process ID: `jobmanager`, `taskmanager-1`, …; their logs have these names."""

    def alive(self) -> dict[str, bool]:
        """Which of them run."""
        return {name: _runs(process) for name, process in self.processes.items()}


def start(folder: Path, workers: int = 2, jar: Path = JAR, host: str = _LOOPBACK) -> Cluster:
    """Start one and wait until all of its slots are there.

    Args:
        folder: for its configuration, logs and temporary files.
        workers: TaskManagers, of one slot each.
        jar: the runner's.
        host: this machine's address, by which TaskManagers elsewhere reach it.

    Raises:
        BadInput: one runs from there already; there is no jar, or no Java.
        LandloomError: it does not come up.
    """
    if (found := load(folder)) and any(found.alive().values()):
        raise BadInput(f"A cluster runs from {folder} already, at {found.master}. Stop it by `landloom cluster down`.")
    if not jar.is_file():
        raise BadInput(f"There is no runner for Flink at {jar}. Build it by `make flink`, or name another by --jar.")
    if shutil.which("java") is None:
        raise BadInput("Flink needs Java 11 or 17, and there is no `java` here. Install a Java runtime.")
    folder = folder.resolve()
    for name in ("conf", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rpc, rest = free_ports(2)
    settings = {
        **_SETTINGS,
        "jobmanager.rpc.address": host,
        "jobmanager.rpc.port": str(rpc),
        # A job is uploaded through `localhost`.
        "jobmanager.bind-host": host if host == _LOOPBACK else "0.0.0.0",
        "rest.address": host,
        "rest.bind-address": host,
        "rest.port": str(rest),
        "io.tmp.dirs": str(folder / "tmp"),
    }
    text = "".join(f"{name}: {value}\n" for name, value in settings.items())
    (folder / "conf/config.yaml").write_text(text)
    cluster = Cluster(f"{host}:{rest}", {})
    try:
        cluster.processes["jobmanager"] = _java(folder, "jobmanager", jar)
        _wait(cluster, folder, lambda: overview(cluster.master) is not None)
        for name in (f"taskmanager-{number + 1}" for number in range(workers)):
            cluster.processes[name] = _java(folder, name, jar, host)
        _wait(cluster, folder, lambda: int((overview(cluster.master) or {}).get("slots-total", 0)) >= workers)
    except BaseException:
        _save(folder, cluster)
        stop(folder)
        raise
    _save(folder, cluster)
    return cluster


def start_again(folder: Path, name: str, jar: Path = JAR, host: str = _LOOPBACK, within: Sequence[str] = ()) -> None:
    """Start a process of a folder's cluster that was killed, or one more TaskManager.

    Args:
        folder: the cluster's.
        name: `jobmanager`, `taskmanager-1`, …
        jar: the runner's.
        host: the TaskManager's own address.
        within: a command that runs it somewhere else, as `ip netns exec NAME`.

    Raises:
        BadInput: no cluster was started from there.
    """
    cluster = load(folder)
    if cluster is None:
        raise BadInput(f"No cluster runs from {folder}. Start one by `landloom cluster up`.")
    cluster.processes[name] = _java(folder.resolve(), name, jar, host, within)
    _save(folder, cluster)


def stop(folder: Path) -> list[str]:
    """End all of a cluster's processes, and those that they started.

    Returns:
        The names of those that were running.
    """
    cluster = load(folder)
    if cluster is None:
        return []
    running = [name for name, runs in cluster.alive().items() if runs]
    # TaskManagers first: they would look for a JobManager that has gone.
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for process in reversed(cluster.processes.values()):
            try:
                os.killpg(process, sent)
            except ProcessLookupError:
                continue
        end = time.monotonic() + _ENDS_SECONDS
        while any(cluster.alive().values()) and time.monotonic() < end:
            time.sleep(0.1)
    (folder / "cluster.json").unlink()
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    return running


def load(folder: Path) -> Cluster | None:
    """The cluster that was started from a folder; None: none was, or it was stopped."""
    try:
        return Cluster(**json.loads((folder / "cluster.json").read_text()))
    except FileNotFoundError:
        return None


def overview(master: str) -> dict[str, int | str] | None:
    """Flink's own summary of a cluster: slots, jobs, version; None: it does not answer."""
    try:
        answer = requests.get(f"http://{master.removeprefix('http://')}/overview", timeout=10)
        answer.raise_for_status()
        told: dict[str, int | str] = answer.json()
        return told
    except (requests.RequestException, ValueError):
        return None


def call_off(master: str, name: str) -> None:
    """Cancel the jobs of a name that have not ended; a cluster that does not answer has none."""
    root = f"http://{master.removeprefix('http://')}/jobs"
    with suppress(requests.RequestException):
        for job in requests.get(f"{root}/overview", timeout=10).json()["jobs"]:
            if job["name"] == name and job["state"] not in ("FINISHED", "CANCELED", "FAILED"):
                requests.patch(f"{root}/{job['jid']}?mode=cancel", timeout=10)


def _java(folder: Path, name: str, jar: Path, host: str = _LOOPBACK, within: Sequence[str] = ()) -> int:
    main: str = _JOB_MANAGER
    memory: Sequence[str] = _JOB_MANAGER_MEMORY
    own: dict[str, str] = {}
    if name != "jobmanager":
        main, memory = _TASK_MANAGER, _TASK_MANAGER_MEMORY
        own = {"taskmanager.host": host, "taskmanager.bind-host": host}
    opened = [flag for package in _OPENED for flag in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]
    command = [*within, "java", *_STARTS_QUICKLY, *memory, *opened]
    command += ["-cp", str(jar), main, "--configDir", str(folder / "conf")]
    command += [word for key, value in own.items() for word in ("-D", f"{key}={value}")]
    with (folder / f"{name}.log").open("ab") as log:
        # A session of its own: it outlives this command, and its Python workers end with it.
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True).pid


def _wait(cluster: Cluster, folder: Path, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + _STARTS_SECONDS
    while not ready():
        dead = [name for name, runs in cluster.alive().items() if not runs]
        if dead or time.monotonic() > end:
            name = (dead or list(cluster.processes))[0]
            log = (folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
            raise LandloomError(f"Flink's {name} does not come up; its log ({folder}/{name}.log) ends: {log[-1:]}.")
        time.sleep(0.25)


def _save(folder: Path, cluster: Cluster) -> None:
    (folder / "cluster.json").write_text(json.dumps(asdict(cluster), indent=1))


def _runs(process: int) -> bool:
    try:
        ended, _ = os.waitpid(process, os.WNOHANG)  # Of children of this process, which else stay as zombies.
        return ended == 0
    except ChildProcessError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at now."""
    with_sockets = [socket.socket() for _ in range(count)]
    try:
        for one in with_sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in with_sockets]
    finally:
        for one in with_sockets:
            one.close()
