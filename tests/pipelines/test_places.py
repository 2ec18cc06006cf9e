"""Change, corrected series and zones by a Beam pipeline: what comes out is that of one process, whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from catalog.store import open_store
from pipelines.cli import run
from pipelines.places import by_beam
from services.change import corrected_series, zonal
from services.change.by_classes import ByClasses
from services.change.corrected_series import correct_series
from services.change.correction import Settings as CorrectionSettings
from services.change.error_matrix import ErrorMatrix
from services.change.publish import publish_change
from services.change.runs import Run, in_process
from services.change.series import open_series
from services.change.settings import Settings
from services.change.themes import load_themes
from services.change.zonal import count_zones
from services.change.zonal_publish import ZonalSettings, publish_zonal
from services.change.zones import Zones, read_zones
from tests.pipelines.running import ROOT, contents
from tests.pipelines.test_faults import KILL_WHEN
from tests.services.change.maps import CROPS, RANGELAND, TREES, UTM, write_collection, write_map

pytestmark = pytest.mark.slow
PLACES = ("33UVU", "33UWU", "33UXU")
TWO_PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture
def maps(tmp_path: Path) -> str:
    """Three years of three places side by side, of odd pixels."""
    random, folder = np.random.default_rng(3), tmp_path / "maps"
    for east, place in enumerate(PLACES):
        codes = random.choice(np.array([TREES, CROPS, RANGELAND], np.uint8), (120, 100))
        for year in (2017, 2018, 2019):
            odd = random.random(codes.shape) < 0.2
            codes[odd] = CROPS
            write_map(folder, codes, year, place=place, transform=UTM @ UTM.translation(100 * east, 0))
    return write_collection(folder)


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    left, top = UTM.c, UTM.f
    shapes = [shapely.box(left + x, top - 1100, left + x + 730, top - 33) for x in (15, 745, 1475, 2205)]
    geopandas.GeoDataFrame({"id": range(4)}, geometry=shapes, crs="EPSG:32633").to_parquet(tmp_path / "zones.parquet")
    return read_zones(tmp_path / "zones.parquet")


MATRIX = ErrorMatrix(("trees", "crops", "rangeland"), np.array([[90, 5, 5], [5, 90, 5], [5, 5, 90]]))


def change(maps: str, out: Path, run: Run) -> Any:
    return publish_change(open_store(str(out)), open_series(maps), Settings("here", load_themes()), run=run)


def temporal(maps: str, out: Path, run: Run) -> Any:
    return correct_series(open_series(maps), open_store(str(out)), CorrectionSettings(error_matrix=MATRIX), run=run)


def by_zone(maps: str, out: Path, run: Run) -> Any:
    zones = read_zones(Path(maps).parents[1] / "zones.parquet")
    return publish_zonal(open_store(str(out)), open_series(maps), zones, ZonalSettings("here"), run=run)


@pytest.mark.parametrize("publish", [change, temporal])
@pytest.mark.parametrize("options", [(), TWO_PROCESSES], ids=["one worker", "two"])
def test_products_are_those_of_one_process_bit_for_bit(maps: str, tmp_path: Path, publish: Any, options: Any) -> None:
    publish(maps, tmp_path / "here", in_process)
    account = publish(maps, tmp_path / "beam", by_beam(open_store(str(tmp_path / "beam")), options))
    assert not account.failed and account.planned == len(account.published)
    assert contents(tmp_path / "beam") == contents(tmp_path / "here")
    again = publish(maps, tmp_path / "beam", by_beam(open_store(str(tmp_path / "beam")), options))
    assert not again.published and len(again.skipped) == again.planned


def test_zones_of_many_places_are_summed(maps: str, tmp_path: Path, zones: Zones) -> None:
    store = open_store(str(tmp_path / "out"))
    here = count_zones(open_series(maps), zones)
    there = count_zones(open_series(maps), zones, run=by_beam(store, TWO_PROCESSES))
    np.testing.assert_array_equal(here.areas, there.areas)
    np.testing.assert_array_equal(here.pair_areas, there.pair_areas)
    assert not store.list(), "what was staged is removed"


@pytest.mark.usefixtures("zones")
@pytest.mark.parametrize("publish", [change, temporal, by_zone])
def test_a_broken_place_is_told_and_the_others_are_published(maps: str, tmp_path: Path, publish: Any) -> None:
    broken = Path(maps).parent / "33UWU-2018" / "map.tif"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1500])
    run = by_beam(open_store(str(tmp_path / "out")))
    account = publish(maps, tmp_path / "out", run)
    assert "33UWU-2018" in account.failed["33UWU"] and list(account.failed) == ["33UWU"]
    assert account.planned == len(account.published) + len(account.failed)
    broken.write_bytes(whole)
    mended = publish(maps, tmp_path / "out", run)
    assert not mended.failed and any("33UWU" in name for name in mended.published)
    publish(maps, tmp_path / "whole", in_process)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def killed(module: str, function: str, call: int, *arguments: object) -> None:
    script = textwrap.dedent(KILL_WHEN).format(module=module, function=function, call=call, before=True)
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_killed_run_goes_on_where_it_was(maps: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed("services.change.publish", "publish_place", 3, "change", "--maps", maps, "--out", out, "--name", "here")
    assert len(list(out.glob("lulc-change/*/*/*.json"))) == 2
    account = change(maps, out, by_beam(open_store(str(out))))
    assert len(account.skipped) == 2 and len(account.published) == 2
    change(maps, tmp_path / "whole", in_process)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("module", "function", "left"),
    [
        ("services.change.by_classes", "ByClasses.look", {"look": 1, "publish": 3}),
        ("services.change.corrected_series", "_publish", {"look": 3, "publish": 1}),
    ],
    ids=["while it learns", "while it corrects"],
)
def test_a_killed_correction_does_not_do_again_what_is_done(
    maps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, function: str, left: dict[str, int]
) -> None:
    out, matrix = tmp_path / "out", pd.DataFrame(MATRIX.counts, MATRIX.names, MATRIX.names)
    matrix.to_csv(tmp_path / "matrix.csv")
    arguments = ("temporal", "--maps", maps, "--error-matrix", str(tmp_path / "matrix.csv"), "--out")
    killed(module, function, 3, *arguments, out)
    real_look, real_publish, done = ByClasses.look, corrected_series._publish, {"look": 0, "publish": 0}

    def look(*given: Any) -> Any:
        done["look"] += 1
        return real_look(*given)

    def publish(*given: Any) -> Any:
        done["publish"] += 1
        return real_publish(*given)

    monkeypatch.setattr(ByClasses, "look", look)
    monkeypatch.setattr(corrected_series, "_publish", publish)
    for folder in (out, tmp_path / "whole"):
        monkeypatch.setattr(sys, "argv", ["landloom", *arguments, str(folder)])
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 0
        assert done == (left if folder == out else {name: count + 3 for name, count in left.items()})
    (account,) = (json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    assert len(account["published"]) == left["publish"] and not account["failed"]
    assert account["planned"] == len(account["published"]) + len(account["skipped"]) == 3
    assert contents(out) == contents(tmp_path / "whole")


def test_counted_zones_are_not_counted_again(
    maps: str, tmp_path: Path, zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, series = tmp_path / "out", open_series(maps)
    arguments = ("zonal", "--maps", maps, "--zones", tmp_path / "zones.parquet", "--out", out)
    killed("services.change.zonal", "count_place", 3, *arguments)
    assert len(list(out.glob("staging/zonal-*/*.done"))) == 2
    real, counted = zonal.count_place, []

    def noted(counts: Any, place: Any, shapes: Any) -> None:
        counted.append(place.place.name)
        real(counts, place, shapes)

    monkeypatch.setattr(zonal, "count_place", noted)
    found = count_zones(series, zones, run=by_beam(open_store(str(out))))
    assert len(counted) == 1
    np.testing.assert_array_equal(found.areas, count_zones(series, zones).areas)
    assert not open_store(str(out)).list("staging/")
