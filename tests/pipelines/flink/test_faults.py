"""What a run on a real Flink cluster survives: each time the same is published as by one process, little done twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rasterio.shutil

from catalog.errors import LandloomError
from catalog.store import open_store
from pipelines.flink import cluster as flink
from pipelines.flink.submit import complete, job_server, told_if_lost
from pipelines.run import Accounts
from tests.pipelines.flink.conftest import YEARS, Watched
from tests.pipelines.running import contents, map_tiles
from tests.servers.proxy import proxy
from tests.servers.triton import serve_triton

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not flink.JAR.is_file(), reason="no runner for Flink: `make flink` builds it"),
    pytest.mark.timeout(600),
]
BLOCKS, SLOTS = 4, 2
OUTAGE_SECONDS = float(os.environ.get("LANDLOOM_OUTAGE_SECONDS", "20"))
CUT_SECONDS = 15
"""More than Flink's heartbeat: it gives the TaskManager up."""


def balanced(accounts: Accounts) -> bool:
    ended = len(accounts.published) + len(accounts.skipped) + len(accounts.dead_lettered)
    return accounts.planned == ended == len(YEARS)


def in_mid_run(watched: Watched, act: Callable[[], None]) -> threading.Thread:
    """Act once a block is staged and a further one is begun."""

    def wait() -> None:
        end = time.monotonic() + 120
        while len(watched.computed()) <= len(watched.computed("done")) or not watched.computed("done"):
            if time.monotonic() > end:
                return
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def processes(folder: Path) -> dict[str, int]:
    cluster = flink.load(folder)
    assert cluster is not None
    return cluster.processes


def workers_of(task_manager: int) -> list[int]:
    """Its Python workers."""
    found = subprocess.run(["pgrep", "-P", str(task_manager)], capture_output=True, text=True)
    return [int(one) for one in found.stdout.split()]


@pytest.mark.parametrize("and_the_others_worker", [False, True])
def test_a_killed_task_manager_is_replaced(
    simulated, network, folder, options, watch, in_process, tmp_path, and_the_others_worker
):
    """Its Python worker, which nobody ended, ends by itself."""
    out, watched = tmp_path / "out", watch(options)

    def kill() -> None:
        os.kill(processes(folder)["taskmanager-1"], signal.SIGKILL)
        for worker in workers_of(processes(folder)["taskmanager-2"]) if and_the_others_worker else ():
            os.kill(worker, signal.SIGKILL)
        time.sleep(2)
        flink.start_again(folder, "taskmanager-1")

    thread = in_mid_run(watched, kill)
    accounts = map_tiles(simulated.catalog, out, network, years=YEARS, beam=watched.options)
    thread.join()
    assert balanced(accounts) and not accounts.dead_lettered
    assert contents(out) == in_process
    assert len(watched.computed()) <= BLOCKS + SLOTS


def test_a_block_that_always_kills_its_worker_is_left_and_reported(
    simulated, network, options, watch, in_process, tmp_path
):
    """A scene whose file ends the process that reads it, as the lack of memory would.

    No other block is to suffer: workers that the runner ends meanwhile are not counted.
    """
    shutil.copytree(simulated.catalog.parent, tmp_path / "scenes")
    band = min((tmp_path / "scenes").glob("sentinel-2-l2a/*2021*/B02.tif"))
    whole = band.rename(band.with_suffix(".whole"))
    kills_its_reader(whole, band)
    out, watched = tmp_path / "out", watch(options)
    accounts = map_tiles(tmp_path / "scenes", out, network, years=YEARS, beam=watched.options)
    assert balanced(accounts)
    assert accounts.published == ["33UUU-2022"]
    assert "the worker died in each of 3 tries of block" in accounts.dead_lettered["33UUU-2021"]
    tries = [one.block for one in watched.computed() if one.tile_year == "33UUU-2021"]
    assert max(tries.count(block) for block in tries) == 3
    # Mended, another run maps what is left.
    whole.replace(band)
    again = map_tiles(tmp_path / "scenes", out, network, years=YEARS)
    assert again.published == ["33UUU-2021"] and "33UUU-2022" in again.skipped
    assert rasters(contents(out)) == rasters(in_process)


def rasters(published: dict[str, object]) -> dict[tuple[str, str], object]:
    """By year and kind: their folders have other names, since the scenes lie elsewhere."""
    names = {name: Path(name).parts for name in published if name.endswith(".tif")}
    return {(parts[2], parts[-1]): published[name] for name, parts in names.items()}


def kills_its_reader(band: Path, path: Path) -> None:
    """Write a file that GDAL opens like the band, and that kills the process that reads a pixel."""
    rasterio.shutil.copy(band, path, driver="VRT")
    function = "import os\ndef die(*arguments, **options):\n    os.kill(os.getpid(), 9)\n"
    derived = (
        ' subClass="VRTDerivedRasterBand"><PixelFunctionLanguage>Python</PixelFunctionLanguage>'
        f"<PixelFunctionType>die</PixelFunctionType><PixelFunctionCode><![CDATA[{function}]]></PixelFunctionCode>"
    )
    before, tag, after = path.read_text().partition('<VRTRasterBand dataType="UInt16" band="1"')
    assert tag
    path.write_text(before + tag + after.replace(">", derived, 1))


def test_a_killed_job_manager_ends_the_run_and_the_next_goes_on(
    simulated, network, folder, options, watch, in_process, tmp_path
):
    # Longer than TaskManagers take to find that it has gone: else they would end their work before.
    out, watched = tmp_path / "out", watch(options, pause=12)
    thread = in_mid_run(watched, lambda: os.kill(processes(folder)["jobmanager"], signal.SIGKILL))
    with pytest.raises(LandloomError, match=r"no longer answers.*Start it again"), told_if_lost(options):
        map_tiles(simulated.catalog, out, network, years=YEARS, beam=watched.options)
    thread.join()
    flink.start_again(folder, "jobmanager")
    wait_for_slots(options_master(options))
    accounts = map_tiles(simulated.catalog, out, network, years=YEARS, beam=watched.options)
    assert balanced(accounts) and not accounts.dead_lettered
    # What the first one did counts: a block that is staged, or a tile-year that its workers still published.
    assert accounts.blocks["staged before"] or accounts.skipped
    assert contents(out) == in_process
    assert len(watched.computed()) <= BLOCKS + SLOTS


def options_master(options: list[str]) -> str:
    return next(one for one in options if one.startswith("--flink_master")).partition("=")[2]


def test_an_object_store_that_refuses_for_a_while_is_waited_for(
    simulated, network, options, watch, in_process, s3, tmp_path
):
    bucket, watched = s3.new_bucket(), watch(options)

    with proxy(s3.endpoint) as way:

        def refuse() -> None:
            way.close()
            time.sleep(OUTAGE_SECONDS)
            way.reopen()

        thread = in_mid_run(watched, refuse)
        accounts = map_tiles(
            *(simulated.catalog, f"s3://{bucket}/maps", network),
            years=YEARS,
            beam=watched.options,
            s3_endpoint=way.url,
        )
        thread.join()
        assert way.refused > 0
    assert balanced(accounts) and not accounts.dead_lettered
    assert len(watched.computed()) == BLOCKS, "it waits, and loses nothing"
    store = open_store(f"s3://{bucket}/maps", s3_endpoint=s3.endpoint)
    for key in store.list():
        (tmp_path / "copy" / key).parent.mkdir(parents=True, exist_ok=True)
        store.download(key, tmp_path / "copy" / key)
    assert contents(tmp_path / "copy") == in_process


def test_a_slow_worker_does_not_hold_the_run(simulated, network, folder, options, watch, in_process, tmp_path):
    """One worker runs for a tenth of the time: the other does its own blocks, and what the slow one has not begun."""
    out, watched, ended = tmp_path / "out", watch(options), threading.Event()
    slow = processes(folder)["taskmanager-1"]

    def slow_down() -> None:
        while not ended.is_set():
            if any(one.task_manager == slow for one in watched.computed()):
                for what, seconds in ((signal.SIGSTOP, 0.45), (signal.SIGCONT, 0.05)):
                    for worker in workers_of(slow):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(worker, what)
                    time.sleep(seconds)

    thread = threading.Thread(target=slow_down)
    thread.start()
    accounts = map_tiles(simulated.catalog, out, network, years=YEARS, beam=watched.options)
    ended.set()
    thread.join()
    assert balanced(accounts) and not accounts.dead_lettered
    assert accounts.blocks == {"done": BLOCKS, "staged before": 0, "failed": 0, "not reached": 0}
    assert contents(out) == in_process
    assert len(watched.computed()) == BLOCKS
    done = [one.task_manager == slow for one in sorted(watched.computed("done"), key=lambda one: one.time)]
    assert done == [False, False, False, True]


def test_through_triton_with_a_worker_killed(simulated, network, folder, options, watch, in_process, tmp_path):
    out, watched = tmp_path / "out", watch(options)
    with serve_triton(tmp_path / "models", network) as server:

        def kill() -> None:
            for worker in workers_of(processes(folder)["taskmanager-1"]):
                os.kill(worker, signal.SIGKILL)

        thread = in_mid_run(watched, kill)
        accounts = map_tiles(
            *(simulated.catalog, out, network),
            years=YEARS,
            beam=watched.options,
            inference=f"triton://{server.grpc}",
            retry_seconds=60,
        )
        thread.join()
    assert balanced(accounts) and not accounts.dead_lettered
    assert contents(out) == in_process
    assert len(watched.computed()) <= BLOCKS + SLOTS


@pytest.fixture
def apart() -> Iterator[tuple[str, str, list[str]]]:
    """This machine's address, that of a network namespace joined to it by a cable, and the command to run in there."""
    name = f"ll{os.getpid()}"
    here, there = f"10.{os.getpid() % 200 + 20}.77.1", f"10.{os.getpid() % 200 + 20}.77.2"
    within = ["ip", "netns", "exec", name]
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("network namespaces need root and iproute2")
    try:
        for command in (
            ["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name],
            ["ip", "address", "add", f"{here}/24", "dev", f"{name}a"],
            ["ip", "link", "set", f"{name}a", "up"],
            [*within, "ip", "address", "add", f"{there}/24", "dev", f"{name}b"],
            [*within, "ip", "link", "set", f"{name}b", "up"],
            [*within, "ip", "link", "set", "lo", "up"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"a network namespace cannot be joined here: {done.stderr.strip()}")
        yield here, there, within
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_task_manager_cut_off_from_the_network_comes_back(simulated, network, watch, in_process, apart, tmp_path):
    here, there, within = apart
    cable = f"{within[-1]}b"
    folder = tmp_path / "flink"
    cluster = flink.start(folder, workers=1, host=here)
    try:
        flink.start_again(folder, "taskmanager-2", host=there, within=within)
        wait_for_slots(cluster.master)
        out = tmp_path / "out"
        options = complete(["--runner=FlinkRunner", f"--flink_master={cluster.master}"])

        def cut() -> None:
            subprocess.run([*within, "ip", "link", "set", cable, "down"], check=True)
            time.sleep(CUT_SECONDS)
            subprocess.run([*within, "ip", "link", "set", cable, "up"], check=True)

        with job_server(options) as options:
            watched = watch(options)
            thread = in_mid_run(watched, cut)
            accounts = map_tiles(simulated.catalog, out, network, years=YEARS, beam=watched.options)
            thread.join()
        assert balanced(accounts) and not accounts.dead_lettered
        assert contents(out) == in_process
        assert len(watched.computed()) <= BLOCKS + SLOTS
    finally:
        flink.stop(folder)


def wait_for_slots(master: str) -> None:
    end = time.monotonic() + 90
    while int((flink.overview(master) or {}).get("slots-available", 0)) < SLOTS:
        assert time.monotonic() < end, "a TaskManager did not join"
        time.sleep(0.2)
