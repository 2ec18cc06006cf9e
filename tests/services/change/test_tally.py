from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from services.change import blocks
from services.change.areas import areas_by_year, net_and_gross
from services.change.blocks import opened, watched
from services.change.ground_area import pixel_areas
from services.change.persistence import near_edge, persistence
from services.change.series import open_series
from services.change.tally import UNOBSERVED, Tally, tally_place, year_pairs
from services.change.transitions import matrix_of
from tests.services.change.maps import BUILT, CLOUDS, CROPS, TREES, UTM, WATER, write_years

CLASSES = np.array([0, WATER, TREES, CROPS, BUILT, CLOUDS], np.uint8)


def _random_maps(years: int, shape: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    patches = random.choice(CLASSES, (years, shape[0] // 10 + 1, shape[1] // 10 + 1))
    maps = np.kron(patches, np.ones((10, 10), np.uint8))[:, : shape[0], : shape[1]]
    # Half of the ground stays what it was.
    maps[1:, :, : shape[1] // 2] = maps[0, :, : shape[1] // 2]
    odd = random.random(maps.shape) < 0.05
    maps[odd] = random.choice(CLASSES, int(odd.sum()))
    return list(maps)


def _tally(path: str, geometry: shapely.Geometry | None = None) -> tuple[Tally, tuple[str, ...]]:
    series = open_series(path, geometry=geometry)
    tallies = []
    for place in series.places:
        with opened(series, place) as one:
            tallies.append(tally_place(one))
    return Tally.together(tallies), series.legend.names


@pytest.mark.parametrize("block", [64, 2048])
def test_counts_are_those_of_every_single_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    maps = _random_maps(4, (150, 130))
    path = write_years(tmp_path, *maps)
    series = open_series(path)
    numbers = series.legend.numbers()[np.stack(maps)]
    areas = np.broadcast_to(pixel_areas("EPSG:32633", UTM, slice(0, 150), slice(0, 130)), (150, 130))
    tally, names = _tally(path)
    found = persistence(numbers)
    edges = [near_edge(np.pad(one, 1)) for one in numbers]
    assert year_pairs(series.years) == [(0, 1), (1, 2), (2, 3), (0, 3)]
    for first, second in year_pairs(series.years):
        matrix = matrix_of(tally, names, series.years[first], series.years[second])
        before, after = numbers[first], numbers[second]
        for i, j in np.ndindex(matrix.pixels.shape):
            here = (before == i + 1) & (after == j + 1)
            assert matrix.pixels[i, j] == here.sum()
            assert matrix.hectares[i, j] == pytest.approx(areas[here].sum(), rel=2e-5)
            if i != j:
                for kind, near in np.ndindex(6, 2):
                    these = here & (found.kind == kind) & ((edges[first] | edges[second]) == near)
                    assert matrix.by_persistence[i, j, kind, near] == pytest.approx(areas[these].sum(), rel=2e-5)
        assert matrix.unobserved_pixels == ((before == 0) | (after == 0)).sum()
    kinds = tally.persistence
    for year in range(1, 4):
        these = found.since == year
        assert kinds[kinds.last_class_since == 2017 + year].pixels.sum() == these.sum()
    assert (kinds.pixels * kinds.changes).sum() == found.flips.sum(dtype=int)
    assert kinds.mapped_hectares.sum() == pytest.approx(areas.sum(), rel=1e-7)


def test_areas_leave_out_what_was_not_observed_and_keep_what_does_not_occur(tmp_path: Path) -> None:
    first = np.array([[TREES, TREES, TREES, 0], [CROPS, CROPS, CLOUDS, TREES]])
    second = np.array([[TREES, CROPS, CROPS, TREES], [CROPS, 0, TREES, TREES]])
    tally, names = _tally(write_years(tmp_path, first, second))
    table = areas_by_year(tally, names).set_index(["year", "class"])
    assert table.loc[(2017, "trees"), "pixels"] == 4
    assert table.loc[(2017, "trees"), "share_percent"] == pytest.approx(100 * 4 / 6, abs=1e-3)
    assert table.loc[(2017, UNOBSERVED), "pixels"] == 2 and np.isnan(table.loc[(2017, UNOBSERVED), "share_percent"])
    assert table.loc[(2018, "snow_ice"), "pixels"] == 0 and table.loc[(2018, "snow_ice"), "share_percent"] == 0
    change = net_and_gross(matrix_of(tally, names, 2017, 2018)).set_index("class")
    # Of the five pixels that were seen twice, two of four went from trees to crops.
    hectares = change.before_hectares.sum() / 5
    assert change.loc["trees", "net_hectares"] == pytest.approx(-2 * hectares)
    assert change.loc["trees", "net_percent"] == pytest.approx(-50, abs=1e-3)
    assert change.loc["crops", "gain_hectares"] == pytest.approx(2 * hectares)
    assert change.loc["water", "gross_hectares"] == 0 and np.isnan(change.loc["water", "net_percent"])


def test_an_area_of_interest_bounds_all_that_is_counted(tmp_path: Path) -> None:
    path = write_years(tmp_path, *_random_maps(3, (200, 200)))
    west, south, east, north = open_series(path).places[0].geometry.bounds
    circle = shapely.Point((west + east) / 2, (south + north) / 2).buffer((north - south) / 3)
    tally, _ = _tally(path, circle)
    whole, _ = _tally(path)
    per_pixel = whole.persistence.mapped_hectares.sum() / 40_000
    # A circle in degrees is an ellipse on the ground.
    part = circle.area / ((east - west) * (north - south))
    assert tally.persistence.pixels.sum() == pytest.approx(40_000 * part, rel=0.02)
    assert tally.persistence.mapped_hectares.sum() == pytest.approx(
        per_pixel * tally.persistence.pixels.sum(), rel=1e-3
    )


def test_what_a_file_holds_beside_its_ground_is_not_unobserved(tmp_path: Path) -> None:
    codes = np.zeros((40, 40), np.uint8)
    codes[:, :20] = TREES
    path = write_years(tmp_path, codes, codes)
    for item in sorted(tmp_path.glob("*/*.json")):
        told = json.loads(item.read_text())
        west, south, east, north = told["bbox"]
        # The western half but for a column, and none of the rest is said to be mapped.
        told["geometry"] = shapely.geometry.mapping(shapely.box(west, south, west + 0.475 * (east - west), north))
        item.write_text(json.dumps(told))
    tally, names = _tally(path)
    matrix = matrix_of(tally, names, 2017, 2018)
    assert matrix.unobserved_pixels == 0
    # What was observed counts, also where the item's geometry is a little too small.
    assert matrix.pixels.sum() == 800


def test_blocks_tell_how_far_a_place_is(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 50)
    series = open_series(write_years(tmp_path, np.full((100, 150), TREES), np.full((100, 150), CROPS)))
    told: list[tuple[int, int]] = []
    with watched(lambda done, total: told.append((done, total))), opened(series, series.places[0]) as maps:
        assert len(list(maps.blocks())) == 6
    assert told == [(done, 6) for done in range(6)]
