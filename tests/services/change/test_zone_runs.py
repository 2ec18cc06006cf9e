from __future__ import annotations

import numpy as np
import pytest

from services.change.zone_cells import ZoneCells
from services.change.zone_runs import Runs, class_words

ROWS, SIDE = slice(3, 10), 10


@pytest.mark.parametrize("steep", [1e-8, 1e-6], ids=["fine pixels", "coarse pixels"])
@pytest.mark.parametrize("cols", [1, 63, 64, 65, 128, 301])
def test_runs_have_the_hectares_of_their_pixels(cols: int, steep: float) -> None:
    random = np.random.default_rng(cols)
    row, left = random.integers(0, 12, 400), random.integers(0, cols, 400)
    start = np.sort(row * cols + left)
    stop = start + 1 + random.integers(0, cols - start % cols)
    stop[::7] = (start[::7] // cols + 1) * cols  # To the row's end.
    zone = random.integers(0, 5, 400)
    none = np.zeros(0, np.int64)
    cells = ZoneCells(none, none, none, zone, start, stop)
    along_rows = random.random((12, 2)) + 1
    along_cols = np.stack([1 + steep * np.arange(cols), 2 + steep * np.arange(cols)])
    codes = random.integers(0, SIDE, (12, cols)).astype(np.uint8)
    codes[codes == 4] = 5
    hectares = along_rows @ along_cols
    runs = Runs.of(cells, ROWS, along_rows, along_cols)
    own = np.flatnonzero((start >= ROWS.start * cols) & (start < ROWS.stop * cols))
    assert runs.zone.tolist() == zone[own].tolist()
    found = {k: runs.hectares(words) for k, words in class_words(codes[ROWS], SIDE, runs.bits)}
    for k in range(SIDE):
        expected = [hectares.ravel()[a:b][codes.ravel()[a:b] == k].sum() for a, b in zip(start, stop, strict=True)]
        np.testing.assert_allclose(found.get(k, np.zeros(own.size)), np.take(expected, own), rtol=5e-6)
    at = np.flatnonzero(codes[ROWS] == 7)
    which, of_zone, each = runs.pixels(at, cols)
    there = np.bincount(of_zone, each, 5)
    np.testing.assert_allclose(there, np.bincount(zone[own], found[7], 5) if at.size else 0, rtol=5e-6)
    assert which.max(initial=-1) < at.size
