"""Years of the Rufiji delta corrected together, from the scores of maps of real scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from catalog.store import open_store
from catalog.validation import validate
from services.change.corrected_series import correct_series
from services.change.correction import Settings
from services.change.series import open_series
from services.inference import DEFAULT_MODEL
from tests.pipelines.running import map_tiles

SCENES = Path(__file__).parents[2].parent / "shared" / "data" / "scenes"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SCENES.is_dir(), reason=f"no real scenes in {SCENES}")]
YEARS = (2016, 2017, 2018, 2019)
TREES = 2


def test_the_rufiji_delta(tmp_path: Path) -> None:
    map_tiles(SCENES, tmp_path, Path(DEFAULT_MODEL), tiles="37MEM", years=YEARS, scores=True)
    account = correct_series(open_series(str(tmp_path), YEARS), open_store(str(tmp_path)), Settings())
    mapped, corrected = account.published["37MEM"].changed
    assert corrected < 0.7 * mapped, "most of what the maps claim is flicker, or unconfirmed"
    maps, series = (_read(tmp_path, collection) for collection in ("lulc-annual", "lulc-temporal"))
    # Weak scores of a class in every year must not add up to ground that no map shows.
    assert set(np.unique(series)) <= set(np.unique(maps))
    assert ((series[0] == TREES) == (maps[0] == TREES))[maps[0] > 0].mean() > 0.95
    lost = {name: (one[0] == TREES) & (one[-1] != TREES) for name, one in (("maps", maps), ("series", series))}
    assert lost["series"].sum() <= lost["maps"].sum()
    for year in YEARS:
        item = json.loads((tmp_path / f"lulc-temporal/37MEM/{year}/37MEM-{year}.json").read_text())
        validate(item)
        assert item["properties"]["landloom:provisional"] is (year == 2019)
    hectares = {name: round(float(one.sum()) * 0.01, 1) for name, one in lost.items()}
    print(f"change of all pairs {mapped:.1f} and {corrected:.1f} ha; trees lost 2016 to 2019: {hectares} ha")


def _read(out: Path, collection: str) -> np.ndarray:
    """Codes of all years, `[years, H, W]`."""
    found = []
    for year in YEARS:
        (path,) = (out / collection / "37MEM" / str(year)).glob("*/data.tif")
        with rasterio.open(path) as source:
            found.append(source.read(1))
    return np.stack(found)
