"""Tries that end with their worker's death are counted; those that end in any other way are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from catalog.store import open_store
from pipelines.tries import TRIES, UnderWay, WorkerDied, not_begun, noted_try
from tests.catalog.tile_years import manifest_of
from tests.pipelines.running import ROOT

BLOCK = 0


def run_worker(out: Path, script: str) -> subprocess.Popen[str]:
    """A process of its own in which `store` and `manifest` are there."""
    begin = f"""
        import os, signal, time
        from catalog.store import open_store
        from pipelines.tries import noted_try, take_back_when_terminated
        from tests.catalog.tile_years import manifest_of
        store, manifest = open_store({str(out)!r}), manifest_of()
    """
    program = textwrap.dedent(begin) + textwrap.dedent(script)
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def notes(out: Path) -> list[str]:
    return open_store(str(out)).list("staging/")


@pytest.mark.slow
def test_a_block_is_left_when_its_worker_died_in_each_try_but_another_run_tries_again(tmp_path):
    worker = run_worker(
        tmp_path,
        f"""
        for _ in range({TRIES}):
            worker = os.fork()
            if not worker:
                with noted_try(store, manifest, {BLOCK}, "run-1"):
                    os.kill(os.getpid(), signal.SIGKILL)
            assert os.waitpid(worker, 0)[1] == signal.SIGKILL
        """,
    )
    assert worker.wait() == 0
    store, manifest = open_store(str(tmp_path)), manifest_of()
    reason = r"died in each of 3 tries of block 0: most likely .*Give each worker more memory"
    with pytest.raises(WorkerDied, match=reason), noted_try(store, manifest, BLOCK, "run-1"):
        pytest.fail("it was tried once more")
    with noted_try(store, manifest, BLOCK, "run-2"):
        assert len(notes(tmp_path)) == TRIES + 1
    assert not notes(tmp_path), "success clears all"


def test_an_error_is_not_a_death(tmp_path):
    with pytest.raises(ValueError), noted_try(open_store(str(tmp_path)), manifest_of(), BLOCK, "run-1"):
        raise ValueError
    assert not notes(tmp_path)


def test_a_worker_that_is_told_to_end_takes_its_note_back(tmp_path):
    worker = run_worker(
        tmp_path,
        f"""
        take_back_when_terminated()
        with noted_try(store, manifest, {BLOCK}, "run-1"):
            print("trying", flush=True)
            time.sleep(60)
        """,
    )
    assert worker.stdout and worker.stdout.readline() == "trying\n" and len(notes(tmp_path)) == 1
    started = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait() == 128 + signal.SIGTERM and time.monotonic() - started < 30
    assert not notes(tmp_path)


def test_one_that_helps_gives_way_to_anybody_and_anybody_to_it(tmp_path):
    store, manifest = open_store(str(tmp_path)), manifest_of()
    assert not_begun(store, manifest, "run-1") == [BLOCK]
    with noted_try(store, manifest, BLOCK, "run-1"):
        assert not_begun(store, manifest, "run-1") == []
        assert not_begun(store, manifest, "run-2") == [BLOCK]
        with pytest.raises(UnderWay), noted_try(store, manifest, BLOCK, "run-1", gives_way_to="anybody"):
            pytest.fail("two were at it")
    with noted_try(store, manifest, BLOCK, "run-1", gives_way_to="anybody"):
        with pytest.raises(UnderWay), noted_try(store, manifest, BLOCK, "run-1"):
            pytest.fail("two were at it")
        with noted_try(store, manifest, BLOCK, "run-1", gives_way_to="nobody"):
            assert len(notes(tmp_path)) == 2
