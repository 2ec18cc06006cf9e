"""How much of a real clearing the maps, the persistence product and the temporal model find, pixel by pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.validation import validate
from tests.real.rufiji import HECTARES, SCENES, TILE, TREES, YEARS, Rufiji, measure, table

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SCENES.is_dir(), reason=f"no real scenes in {SCENES}")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rufiji")


@pytest.fixture(scope="module")
def rufiji(folder: Path) -> Rufiji:
    found = measure(folder)
    print(table(found))
    return found


def told(rufiji: Rufiji, name: str) -> tuple[float, float]:
    """Hectares of the clearing that a product finds, and those that it claims elsewhere."""
    lost = rufiji.lost()[name]
    return float((lost & rufiji.cleared).sum() * HECTARES), float((lost & ~rufiji.cleared).sum() * HECTARES)


def test_ndvi_says_what_the_scenes_readme_says(rufiji: Rufiji) -> None:
    assert rufiji.cleared.sum() * HECTARES == pytest.approx(16, abs=1)
    assert rufiji.grown.sum() * HECTARES == pytest.approx(3.5, abs=1.5)


@pytest.mark.parametrize("name", ["maps of the two dates", "annual maps"])
def test_maps_find_more_than_half_of_the_clearing_and_claim_more_elsewhere(rufiji: Rufiji, name: str) -> None:
    found, elsewhere = told(rufiji, name)
    assert found > 0.5 * rufiji.cleared.sum() * HECTARES
    assert elsewhere > found


def test_most_of_what_the_maps_find_is_unconfirmed_since_most_was_cleared_after_2018(rufiji: Rufiji) -> None:
    found, unconfirmed, confirmed = (told(rufiji, name)[0] for name in ("annual maps", "  unconfirmed", "  confirmed"))
    assert unconfirmed + confirmed == pytest.approx(found)
    assert unconfirmed > 0.6 * found


def test_the_model_keeps_some_of_the_clearing_and_is_right_about_more_of_what_it_keeps(rufiji: Rufiji) -> None:
    (found, elsewhere), (model, model_elsewhere) = told(rufiji, "annual maps"), told(rufiji, "temporal model")
    assert model > 0.15 * rufiji.cleared.sum() * HECTARES, "what no later year confirms is hard to keep"
    assert model_elsewhere < 0.35 * elsewhere
    assert model / (model + model_elsewhere) > found / (found + elsewhere) + 0.1
    # More of the clearing than by asking for two years alike.
    assert model > told(rufiji, "  confirmed")[0]


def test_the_model_makes_no_ground_that_no_map_shows(rufiji: Rufiji, folder: Path) -> None:
    # Weak scores of a class in every year must not add up.
    assert set(np.unique(rufiji.series)) <= set(np.unique(rufiji.maps))
    seen = rufiji.maps[0] > 0
    assert ((rufiji.series[0] == TREES) == (rufiji.maps[0] == TREES))[seen].mean() > 0.95
    woods = [(one == TREES)[:, rufiji.land] for one in (rufiji.maps, rufiji.series)]
    felled_or_grown = [(one[1:] != one[:-1]).sum() for one in woods]
    assert felled_or_grown[1] < 0.3 * felled_or_grown[0], "most of what the maps claim is flicker, or unconfirmed"
    for year in YEARS:
        item = json.loads((folder / f"lulc-temporal/{TILE}/{year}/{TILE}-{year}.json").read_text())
        validate(item)
        assert item["properties"]["landloom:provisional"] is (year == 2019)
        assert 0.5 < item["properties"]["landloom:sharpness"] < 3
