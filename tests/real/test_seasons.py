"""Seasons of real places: a year of Belgian fields, and five years of Rufiji that show none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from catalog.season import SEASON_BANDS
from tests.pipelines.running import landloom

SCENES = Path(__file__).parents[2].parent / "shared" / "data" / "scenes" / "catalog.json"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SCENES.is_file(), reason=f"no real scenes in {SCENES}")]
CROPS, BUILT = 5, 7


def test_belgian_fields_go_up_and_down_and_villages_do_not(tmp_path):
    landloom(
        *("map", "--source", SCENES, "--period", "2020-11-01/2021-10-31", "--tiles", "31UFS"),
        *("--seasons", "--out", tmp_path),
    )
    (file,) = tmp_path.glob("lulc-period/*/*/*.json")
    item = json.loads(file.read_text())
    bands = {}
    for name in ("data", "seasons"):
        with rasterio.open(file.parent / item["assets"][name]["href"]) as source:
            bands[name] = source.read()
    found, codes = dict(zip(SEASON_BANDS, bands["seasons"], strict=True)), bands["data"][0]
    assert (found["looks"][codes == CROPS] == 10).mean() > 0.9, "two of the twelve months are empty"
    swing = {code: np.median(found["ndvi_amplitude"][codes == code]) for code in (CROPS, BUILT)}
    assert swing[CROPS] > 5000 > 3000 > swing[BUILT]
    assert found["ndvi_p90"][codes == CROPS].mean() > found["ndvi_p90"][codes == BUILT].mean()
    seen = found["looks"] > 0
    # Nobody looked in December and January: no peak is told there.
    peaks = found["ndvi_peak_day"][seen]
    assert ((peaks > 20) & (peaks <= 345)).all()
    assert item["properties"]["landloom:season"]["pixels_with_few_looks"] == 0


def test_two_months_of_rufiji_are_no_season(tmp_path):
    told = landloom(
        *("map", "--source", SCENES, "--year", 2016, "--tiles", "37MEM", "--seasons", "--out", tmp_path), check=3
    )
    assert "no season can be told from 3 datatakes in 2 months (2016-07, 2016-09)" in told.stdout + told.stderr
    assert not (tmp_path / "lulc-annual").exists()
