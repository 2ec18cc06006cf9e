"""Change between two real maps: WorldCover of Sao Tome, 2020 and 2021, made by two versions of its method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import rasterio
from rasterio.windows import from_bounds

from catalog.store import open_store
from catalog.validation import validate
from pipelines.area import area_of_bbox
from services.change.publish import publish_change
from services.change.series import open_series
from services.change.settings import Settings
from services.change.themes import load_themes
from services.change.uncertainty import find_uncertainty

REFERENCE = Path(__file__).parents[2].parent / "shared" / "data" / "reference"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no real maps in {REFERENCE}")
BOX = (6.55, 0.25, 6.75, 0.40)
"""The north of the island, sea and the airport among it."""


@pytest.mark.slow
def test_worldcover_of_two_years(tmp_path: Path) -> None:
    series = open_series(str(REFERENCE / "catalog.json"), geometry=area_of_bbox(",".join(map(str, BOX))).geometry)
    assert series.years == (2020, 2021)
    store = open_store(str(tmp_path))
    account = publish_change(store, series, Settings("sao-tome", load_themes()))
    item = json.loads(store.read(account.item))
    validate(item)
    (note,) = item["properties"]["landloom:notes"]
    assert "2020 1.0.0, 2021 2.0.0" in note and "change of method" in note
    codes = []
    for path in sorted(REFERENCE.glob("esa-worldcover/*/*.tif")):
        with rasterio.open(path) as source:
            codes.append(source.read(1, window=from_bounds(*BOX, source.transform).round_offsets().round_lengths()))
    told = item["properties"]
    seen = (codes[0] > 0) & (codes[1] > 0)
    # A pixel at the equator has 0.8545 ha of a hundredth: 9.277 m x 9.213 m.
    pixel = 9.2766 * 9.2128 / 10_000
    assert told["landloom:observed_hectares"] == pytest.approx(seen.sum() * pixel, rel=2e-4)
    assert told["landloom:changed_hectares"] == pytest.approx(((codes[0] != codes[1]) & seen).sum() * pixel, rel=2e-4)
    assert np.isclose(told["landloom:persistence_hectares"]["unconfirmed"], told["landloom:changed_hectares"])


def test_worldcover_areas_are_told_with_its_published_accuracies(tmp_path: Path) -> None:
    """74.4 % of 2020 and 76.7 % of 2021: give or take 25.6 and 23.3 % of each area, and nothing of change."""
    series = open_series(str(REFERENCE / "catalog.json"), geometry=area_of_bbox(",".join(map(str, BOX))).geometry)
    store = open_store(str(tmp_path))
    known = find_uncertainty([store], series, series, "", "", {})
    account = publish_change(store, series, Settings("sao-tome", load_themes(), uncertainty=known))
    item = json.loads(store.read(account.item))
    folder = tmp_path / "lulc-change" / "sao-tome" / "2020-2021"
    areas = pandas.read_parquet(folder / item["assets"]["areas"]["href"]).set_index(["year", "class"])
    for year, off in ((2020, 0.256), (2021, 0.233)):
        trees = areas.loc[(year, "tree_cover")]
        assert trees.high_hectares - trees.mapped_hectares == pytest.approx(off * trees.mapped_hectares)
        assert trees.statement.endswith("% (scaled by overall accuracy)") and "WorldCover" in trees.interval_source
    changes = pandas.read_parquet(folder / item["assets"]["transitions"]["href"])
    assert (changes.interval == "no interval").all()
    assert (changes.interval_reason == "overall accuracy says nothing of change").all()
