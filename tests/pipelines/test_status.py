"""`landloom status`, and `landloom map --retry`: seeing where a run stands, and taking up what it left."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from catalog.store import open_store
from pipelines.records import Records, runs_of
from tests.pipelines.running import ROOT, contents, map_tiles
from tests.pipelines.test_faults import KILL_WHEN
from tests.servers.http import serve

AREA = ("--year", "2021", "--tiles", "33UUU,33UUT")


@pytest.fixture(scope="module")
def killed(simulated, network, tmp_path_factory):
    """The output of a run that was killed at its second block, and the run's name."""
    out = tmp_path_factory.mktemp("killed")
    script = KILL_WHEN.format(module="pipelines.block_step", function="classify_block", call=2, before=True)
    arguments = ("map", "--source", simulated.catalog, *AREA, "--out", out, "--model", network)
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, capture_output=True)
    return out, runs_of(open_store(str(out)))[0]


def standing(command, out, *run):
    code, printed, told = command("status", "--out", out, *run, "--json")
    assert code == 0, told
    return json.loads(printed)


@pytest.mark.slow
def test_a_run_that_ended(command, simulated, network, tmp_path):
    accounts = map_tiles(simulated.catalog, tmp_path, network, tiles="33UUU,33UUT")
    found = standing(command, tmp_path)
    assert (found["run"], found["state"]) == (accounts.run, "ended")
    assert (found["tile_years"], found["planned"], found["published"], found["skipped"]) == (2, 2, 1, 1)
    assert (found["blocks"], found["blocks_done"], found["blocks_left"], found["blocks_failed"]) == (2, 2, 0, 0)
    assert found["dead_lettered"] == {} and found["seconds"] == pytest.approx(accounts.seconds, abs=0.1)
    assert found["pixels_per_second"] > 0 and found["core_hours"] > 0 and found["usd"] > 0
    _, _, told = command("status", "--out", tmp_path)
    assert "1 published, 1 skipped, 0 dead-lettered" in told and "2 done" in told


@pytest.mark.slow
def test_a_run_under_way_and_one_whose_launcher_died(command, killed):
    out, run = killed
    found = standing(command, out, run)
    assert found["state"] == "running", "it was heard of a moment ago"
    assert (found["tile_years"], found["planned"], found["published"], found["skipped"]) == (2, 2, 0, 1)
    assert (found["blocks"], found["blocks_done"], found["blocks_left"]) == (2, 1, 1)
    assert found["seconds_left"] == pytest.approx(found["seconds"], rel=0.2), "half of it is done"
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    open_store(str(out)).write(f"runs/{run}/alive", long_ago.isoformat().encode())
    assert standing(command, out, run)["state"] == "stopped"
    _, _, told = command("status", "--out", out)
    assert f"landloom map --retry {run}" in told


@pytest.mark.slow
def test_what_a_killed_run_left_is_taken_up_as_it_was_asked_for(command, killed, simulated, network, tmp_path):
    out, run = killed
    code, printed, told = command("map", "--retry", run, "--out", out)
    assert code == 0, told
    assert printed == f"{out}/lulc-annual/33UUU/2021/33UUU-2021.json\n"
    (again,) = (name for name in runs_of(open_store(str(out))) if name != run)
    assert standing(command, out, again)["tile_years"] == 1, "what was skipped is not asked for again"
    assert standing(command, out, again)["blocks_staged_before"] == 1
    map_tiles(simulated.catalog, tmp_path, network, tiles="33UUU,33UUT")
    assert contents(out) == contents(tmp_path)
    code, _, told = command("map", "--retry", again, "--out", out)
    assert code == 2 and "left nothing to be tried again" in told


@pytest.mark.slow
def test_dead_letters_are_told_with_their_reason_and_taken_up(command, simulated, network, tmp_path):
    scene = min(path.parent for path in simulated.catalog.parent.rglob("B11.tif") if "_2021" in path.parent.name)
    band = (scene / "B11.tif").relative_to(simulated.catalog.parent).as_posix()
    with serve(simulated.catalog.parent) as server:
        server.behave(fail={"path": band, "status": 503, "times": 100_000})
        source = ("--source", f"{server.url}/catalog.json", "--model", network, "--retry-seconds", 1)
        code, _, told = command("map", *source, *AREA, "--out", tmp_path)
        assert code == 3
        failed = standing(command, tmp_path)
        assert f"{band} could not be read for 1 s" in failed["dead_lettered"]["33UUU-2021"]
        assert failed["blocks_failed"] >= 1 and failed["blocks_left"] == 0
        assert f"landloom map --retry {failed['run']} --out {tmp_path}" in told
        server.behave(fail={})
        code, _, told = command("map", "--retry", failed["run"], "--out", tmp_path)
        assert code == 0, told
    found = standing(command, tmp_path)
    assert found["run"] != failed["run"] and found["published"] == 1


def test_runs_that_are_not_there_are_named(command, tmp_path):
    code, _, told = command("status", "--out", tmp_path)
    assert code == 2 and "No run of `landloom map`" in told
    code, _, told = command("map", "--retry", "20260101T000000", "--out", tmp_path)
    assert code == 2 and "There is no run '20260101T000000'" in told


def test_a_retry_asks_for_nothing_else(command, tmp_path):
    code, _, told = command("map", "--retry", "20260101T000000", "--out", tmp_path, "--max-scenes", 3)
    assert code == 2 and "--max-scenes does not go with --retry" in told


def test_the_first_word_of_a_record_counts_but_that_it_is_published(tmp_path):
    from pipelines.records import EndedTileYear

    records = Records(open_store(str(tmp_path)), "r")
    records.end(EndedTileYear(id="33UUU-2021", state="dead-lettered", reason="no source"))
    records.end(EndedTileYear(id="33UUU-2021", state="skipped", reason="already published"))
    assert records.ended()["33UUU-2021"].reason == "no source"
    records.end(EndedTileYear(id="33UUU-2021", state="published"))
    assert records.ended()["33UUU-2021"].state == "published"
