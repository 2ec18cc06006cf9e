"""Years of 30 m and of 10 m in one series: compared at 30 m, the small pixels by their majority, and said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from catalog.collections import rebuild
from catalog.errors import BadInput
from catalog.items import read_items
from catalog.store import open_store
from catalog.validation import validate
from services.change.blocks import most_frequent, opened
from services.change.products import make_temporal
from services.change.requests import GivenMatrix, TemporalRequest
from services.change.series import Series, open_series
from tests.services.change.maps import CROPS, TREES, UTM, WATER, write_collection, write_map

COARSE = Affine(30, 0, UTM.c, 0, -30, UTM.f)


def both(folder: Path, coarse: np.ndarray, fine: np.ndarray, at: Affine = UTM, told: bool = True) -> Series:
    """The coarse map of 2000 and the fine one of 2020."""
    for codes, year, transform in ((coarse, 2000, COARSE), (fine, 2020, at)):
        grid = {"proj:transform": list(transform)[:6]} if told else {}
        write_map(folder, np.asarray(codes, np.uint8), year, transform=transform, **grid)
    return open_series(write_collection(folder))


def codes_of(series: Series, margin: int = 0) -> np.ndarray:
    with opened(series, series.places[0]) as place:
        (block,) = place.blocks(margin)
        assert place.transform.a == 30
    return block.codes


def test_a_square_has_the_class_that_most_of_its_pixels_have():
    numbers = np.array([[1, 1, 2], [2, 2, 0], [1, 0, 2]])
    assert most_frequent(numbers.astype(np.uint8), 3, 2).tolist() == [[2]]
    # Of two as frequent the first; where nothing was seen there is nothing; one pixel seen is enough.
    pairs = np.array([[3, 1, 0, 0], [3, 1, 0, 2]], np.uint8)
    assert most_frequent(pairs, 2, 3).tolist() == [[1, 2]]
    assert most_frequent(np.zeros((6, 3), np.uint8), 3, 2).tolist() == [[0], [0]]


def test_the_fine_year_is_aggregated_and_the_series_says_so(tmp_path: Path) -> None:
    fine = np.full((6, 9), TREES)
    fine[:, 3:6] = CROPS
    fine[0, 0] = WATER
    series = both(tmp_path, np.full((2, 3), TREES), fine)
    assert series.compared_at == 30
    assert any("10 m in 2020 and 30 m in 2000" in note and "compared at 30 m" in note for note in series.notes)
    np.testing.assert_array_equal(codes_of(series), [[[2, 2, 2]] * 2, [[2, 4, 2]] * 2])


def test_margins_are_aggregated_too(tmp_path: Path) -> None:
    series = both(tmp_path, np.full((2, 2), TREES), np.full((6, 6), CROPS))
    expected = np.pad(np.full((2, 2), 4), 1)
    np.testing.assert_array_equal(codes_of(series, margin=1)[1], expected)


def test_at_a_tiles_edge_the_pixels_that_lie_in_it_decide(tmp_path: Path) -> None:
    """The square of the tile begins 10 m within the first pixels of 30 m, and ends 10 m beyond the last ones."""
    fine = np.full((6, 6), CROPS)
    fine[:, :2] = TREES
    fine[:, -1] = WATER  # Of a pixel whose centre lies in the next tile.
    series = both(tmp_path, np.full((2, 2), TREES), fine, UTM @ Affine.translation(1, 0))
    np.testing.assert_array_equal(codes_of(series)[1], [[2, 4]] * 2)


def test_pixels_that_do_not_fit_or_are_not_told_are_refused(tmp_path: Path) -> None:
    aside = both(tmp_path / "aside", np.full((2, 2), TREES), np.full((6, 6), TREES), UTM @ Affine.translation(0.5, 0))
    with pytest.raises(BadInput, match="another grid"):
        codes_of(aside)
    untold = both(tmp_path / "untold", np.full((2, 2), TREES), np.full((6, 6), TREES), told=False)
    with pytest.raises(BadInput, match=r"pixels of 30, 10 m.*proj:transform"):
        codes_of(untold)


def test_maps_of_one_size_are_as_they_were(tmp_path: Path) -> None:
    for year in (2000, 2020):
        write_map(tmp_path, np.full((2, 2), TREES, np.uint8), year, transform=COARSE)
    series = open_series(write_collection(tmp_path))
    assert series.compared_at is None and not any("compared at" in note for note in series.notes)


def test_series_corrected_at_30_m_and_at_10_m_lie_side_by_side(tmp_path: Path) -> None:
    """The same place and years in one catalog, and neither replaces the other."""
    store, matrix = open_store(str(tmp_path / "out")), GivenMatrix(classes=("trees", "crops"), counts=((9, 1), (1, 9)))
    for side, grid in ((4, COARSE), (12, UTM)):
        folder = tmp_path / f"{grid.a:g}m"
        for year, codes in ((2020, TREES), (2021, CROPS)):
            told = {"proj:transform": list(grid)[:6], "gsd": round(grid.a)}
            write_map(folder, np.full((side, side), codes, np.uint8), year, transform=grid, **told)
        maps = write_collection(folder)
        make_temporal(TemporalRequest(error_matrix=matrix, accuracy="90 % (a guess)"), maps, None, store)
    sizes = {}
    for collection in ("lulc-temporal", "lulc-temporal-30m"):
        items = list(read_items(store, collection))
        sizes[collection] = {item["properties"]["gsd"] for item in items}
        assert [item["id"] for item in items] == ["33UVU-2020", "33UVU-2021"]
        assert {item["collection"] for item in items} == {collection}
        validate(items[0])
    assert sizes == {"lulc-temporal": {10}, "lulc-temporal-30m": {30}}
    assert rebuild(store) == {"lulc-temporal": 2, "lulc-temporal-30m": 2}
