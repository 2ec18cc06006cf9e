"""What a run survives: each test disturbs one, and compares what is published in the end with an undisturbed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from catalog.errors import StoreError
from tests.pipelines.running import ROOT, contents, landloom, map_tiles

KILL_WHEN = """
import os, signal, sys
import {module} as module
whole, calls = module.{function}, 0
def dies(*arguments, **options):
    global calls
    calls += 1
    if {before} and calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    result = whole(*arguments, **options)
    if not {before} and calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
module.{function} = dies
from pipelines.__main__ import main
sys.argv = ["landloom", *sys.argv[1:]]
main()
"""


pytestmark = pytest.mark.slow


def arguments(simulated, network, out, year="2021"):
    return ["map", "--source", simulated.catalog, "--year", year, "--tiles", "33UUU", "--out", out, "--model", network]


@pytest.fixture(scope="module")
def undisturbed(simulated, network, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    map_tiles(simulated.catalog, out, network)
    return contents(out)


@pytest.mark.parametrize(
    ("module", "function", "call", "before", "staged"),
    [
        ("pipelines.block_step", "classify_block", 2, True, 1),
        ("pipelines.block_step", "stage", 1, False, 1),
        ("pipelines.assemble", "write_cog", 2, False, 2),
        ("pipelines.assemble", "_register", 1, True, 2),
        ("pipelines.register", "link_items", 1, True, 0),
        ("pipelines.register", "name_parts", 1, True, 0),
    ],
    ids=["classify", "stage", "assemble", "register", "zone", "index"],
)
def test_a_killed_run_is_finished_by_the_next(
    simulated, network, undisturbed, tmp_path, module, function, call, before, staged
):
    script = textwrap.dedent(KILL_WHEN).format(module=module, function=function, call=call, before=before)
    killed = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments(simulated, network, tmp_path))],
        cwd=ROOT,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list((tmp_path / "staging").rglob("*.npz.gz"))) == staged
    landloom(*arguments(simulated, network, tmp_path))
    last = max((tmp_path / "runs").glob("*.json"))
    blocks = json.loads(last.read_text())["blocks"]
    assert blocks.get("staged before", 0) == staged, "finished blocks are not repeated"
    assert contents(tmp_path) == undisturbed


def test_two_runs_at_once_give_one_result(simulated, network, undisturbed, tmp_path):
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "pipelines", *map(str, arguments(simulated, network, tmp_path))],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    ends = [run.communicate()[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], ends
    assert contents(tmp_path) == undisturbed


@pytest.fixture
def copied(simulated, tmp_path):
    """A copy of the scenes, to be damaged; its items in order of time."""
    shutil.copytree(simulated.catalog.parent, tmp_path / "scenes")
    return sorted(path for path in (tmp_path / "scenes").glob("sentinel-2-l2a/*/*.json") if "2021" in path.stem[:19])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda item: (item.parent / "B08.tif").unlink(), "No such file"),
        (lambda item: os.truncate(item.parent / "B11.tif", 3000), ""),
        (lambda item: (item.parent / "B02.tif").write_text("<html>not found</html>"), "not recognized"),
    ],
    ids=["missing", "truncated", "not a TIFF"],
)
def test_a_broken_scene_is_left_out_and_reported(copied, network, tmp_path, damage, reason):
    damage(copied[0])
    accounts = map_tiles(tmp_path / "scenes", tmp_path / "out", network)
    assert accounts.published == ["33UUU-2021"]
    item = json.loads((tmp_path / "out/lulc-annual/33UUU/2021/33UUU-2021.json").read_text())
    (left_out,) = item["properties"]["landloom:scenes_left_out"]
    assert left_out["scene"] == copied[0].stem
    assert reason in left_out["reason"]
    assert copied[0].stem not in {link.get("title") for link in item["links"] if link["rel"] == "derived_from"}


def test_an_item_without_a_band_is_left_out_at_planning(copied, network, tmp_path):
    item = json.loads(copied[0].read_text())
    del item["assets"]["B12"]
    copied[0].write_text(json.dumps(item))
    map_tiles(tmp_path / "scenes", tmp_path / "out", network)
    manifest = json.loads(next((tmp_path / "out").rglob("manifest.json")).read_text())
    assert manifest["excluded"] == [{"scene": copied[0].stem, "reason": "without band B12"}]
    assert len(manifest["datatakes"]) == 2


def test_a_tile_year_of_which_no_pixel_passes_is_dead_lettered(simulated, network, tmp_path):
    accounts = map_tiles(simulated.catalog, tmp_path, network, min_observations=4)
    assert "min-observations 4" in accounts.dead_lettered["33UUU-2021"]
    assert not (tmp_path / "lulc-annual/33UUU/2021/33UUU-2021.json").exists()


def test_a_full_disk_stops_the_run_which_resumes_later(simulated, network, undisturbed, tmp_path):
    """A file system with room for the manifest, not for the map."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        stopped = landloom(*arguments(simulated, network, small), check=1)
        assert "No space left" in stopped.stderr and "free space" in stopped.stderr
        assert not list(small.glob("lulc-annual/**/33UUU-2021.json"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        landloom(*arguments(simulated, network, small))
        assert contents(small) == undisturbed
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_bucket_that_does_not_exist_is_a_clear_error(simulated, network, s3):
    with pytest.raises(StoreError, match="no-such-bucket"):
        map_tiles(simulated.catalog, "s3://no-such-bucket/maps", network, s3_endpoint=s3.endpoint)


def test_runs_of_different_tiles_both_count_in_the_collection(simulated, network, tmp_path):
    """Two runs of different years into one output end at about the same time."""
    threads = [
        threading.Thread(target=landloom, args=arguments(simulated, network, tmp_path, year))
        for year in ("2021", "2022")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collection = json.loads((tmp_path / "lulc-annual/collection.json").read_text())
    assert collection["extent"]["temporal"]["interval"] == [["2021-01-01T00:00:00Z", "2022-12-31T23:59:59Z"]]
