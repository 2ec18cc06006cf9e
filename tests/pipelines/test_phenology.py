"""The simulator's vegetation through a year: alike on one date, told apart by the year."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from pipelines.landscape import SPECTRA, Overpass
from pipelines.phenology import green, spectra_of

CLASSES = {name: number for number, name in enumerate(MODEL_CLASSES)}
RED, INFRARED = BANDS.index("B04"), BANDS.index("B08")
MAY, AUGUST, OCTOBER, JANUARY = 135, 225, 285, 15


def ndvi(kind: str, day: int) -> float:
    spectra, rows = spectra_of(day, SPECTRA, CLASSES)
    one = spectra[rows[kind][len(rows[kind]) // 2]]
    return float((one[INFRARED] - one[RED]) / (one[INFRARED] + one[RED]))


def test_fields_look_like_meadows_when_they_are_highest_and_bare_after_the_harvest():
    assert ndvi("winter crops", MAY) == pytest.approx(ndvi("grass", MAY), abs=0.05)
    assert ndvi("summer crops", MAY) < 0.25 and ndvi("winter crops", AUGUST) < 0.25
    assert ndvi("grass", OCTOBER) > 0.5


def test_shrub_hardly_changes_and_leafless_trees_look_like_it():
    year = [ndvi("shrub", day) for day in range(1, 366, 10)]
    assert max(year) - min(year) < 0.15
    assert ndvi("leafy trees", JANUARY) < 0.6 < ndvi("leafy trees", AUGUST)
    assert green("marsh", 75) < 0.2 < 0.9 < green("marsh", 190)


def test_a_new_year_goes_on_where_the_old_one_ended():
    for kind in ("winter crops", "summer crops", "grass", "shrub", "leafy trees", "marsh"):
        assert green(kind, 365) == pytest.approx(green(kind, 1), abs=0.03), kind


def test_without_phenology_all_is_as_it_was_and_with_it_only_what_grows_differs():
    x, y = 300_000 + 10 * np.arange(64), 5_800_000 - 10 * np.arange(64)
    classes = np.repeat(np.arange(8, dtype=np.uint8), 8)[:, np.newaxis].repeat(64, axis=1)
    day = datetime(2021, 8, 13, 10, 30, tzinfo=UTC)
    plain, grown = (
        Overpass(day, 0, 0, 0.0, False, 1, phenology=phenology).look(classes, x, y)[0] for phenology in (False, True)
    )
    changed = (plain != grown).any(axis=(0, 2)).reshape(8, 8).any(axis=1)
    assert [name for name, one in zip(MODEL_CLASSES, changed, strict=False) if one] == [
        "trees", "grass", "flooded_vegetation", "crops", "shrub",
    ]  # fmt: skip
