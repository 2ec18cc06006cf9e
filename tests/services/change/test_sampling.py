"""The sample: how many units, where, and that they are drawn at random."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine
from shapely.geometry import box

from catalog.errors import BadInput
from services.change.sampling import allocate, draw, predicted_errors, predicted_shares, sample_size
from services.change.strata import CellCounts, count_cells, open_maps, stratify
from tests.services.change.maps import BUILT, CLOUDS, CROPS, TREES, UTM, WATER, write_map, write_years

# Size and allocation

OLOFSSON = np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95])
"""Shares and expected user's accuracies of the example of Olofsson et al. (2014), section 5.1.1."""


def test_size_of_olofsson_2014():
    assert sample_size(*OLOFSSON, 0.01, 10_000_000) == 641


def test_a_small_map_needs_fewer():
    assert sample_size(*OLOFSSON, 0.01, 1000) < 400


@pytest.mark.parametrize("error", [0, -0.1, 0.5, np.nan])
def test_errors_that_are_not_possible_are_refused(error):
    with pytest.raises(BadInput, match="is not possible"):
        sample_size(*OLOFSSON, error, 1000)


def test_a_needlessly_small_error_is_refused():
    with pytest.raises(BadInput, match=r"needs [\d,]+ units"):
        sample_size(*OLOFSSON, 1e-5, 10**12)


def test_rare_strata_get_fifty_units():
    weights, accuracy = OLOFSSON
    units = allocate(641, weights, np.full(4, 10**6), predicted_shares(weights, accuracy), np.array([2, 3]))
    assert list(units[:2]) == [50, 50] and 641 <= units.sum() <= 644


def test_the_allocation_makes_the_areas_of_interest_surer_than_others_do():
    weights, accuracy = OLOFSSON
    shares, interest = predicted_shares(weights, accuracy), np.array([0, 1])
    chosen = allocate(641, weights, np.full(4, 10**6), shares, interest)
    areas = weights @ shares

    def error(units):
        return np.sqrt(((predicted_errors(weights, shares, units) / areas)[interest] ** 2).sum())

    assert chosen.min() >= 50
    for other in (np.full(4, 160), [50, 50, 180, 361], [75, 75, 165, 326]):
        assert error(chosen) < error(np.asarray(other))


def test_no_stratum_gets_more_units_than_it_has_pixels():
    weights, accuracy = OLOFSSON
    units = allocate(641, weights, np.array([20, 60, 80, 10**6]), predicted_shares(weights, accuracy), np.arange(4))
    assert units[0] == 20 and units[1] <= 60 and units[2] <= 80
    assert units.sum() >= 641


# Strata


def half_and_half(size=300):
    """Trees in the west and crops in the east; in the second year a strip of trees has become crops."""
    before = np.full((size, size), TREES)
    before[:, size // 2 :] = CROPS
    after = before.copy()
    after[:, size // 2 - 20 : size // 2] = CROPS
    return before, after


def names_of(series):
    return [one.name for one in series.legend.classes]


def test_classes_are_strata(tmp_path):
    before, _ = half_and_half()
    before[:5, :20] = BUILT
    before[10:20, :10] = CLOUDS
    series = open_maps(write_years(tmp_path, before), [2017])
    counts = count_cells(series)
    strata = {one.name: one for one in stratify(names_of(series), counts, 0.001)}
    assert {name: one.pixels for name, one in strata.items()} == {"trees": 44_800, "crops": 45_000, "built": 100}
    assert strata["crops"].hectares == pytest.approx(450, rel=0.001)
    assert counts.unobserved == pytest.approx(1, rel=0.001)


def test_transitions_are_strata_and_rare_ones_are_together(tmp_path):
    before, after = half_and_half()
    after[:10, :10], after[-10:, -10:] = WATER, BUILT
    series = open_maps(write_years(tmp_path, before, after), [2017, 2018])
    strata = stratify(names_of(series), count_cells(series), 0.01)
    assert {one.name: one.pixels for one in strata} == {
        "trees": 150 * 300 - 6000 - 100, "crops": 45_000 - 100, "trees>crops": 6000, "all_rare": 200,
    }  # fmt: skip
    assert sum(one.hectares for one in strata) == pytest.approx(count_cells(series).hectares.sum())


def test_a_handful_of_pixels_is_no_stratum():
    counts = CellCounts(np.array([900.0, 99.0, 0.1, 0.0]), np.array([9000, 990, 1, 0]), 0.0, {})
    large, small = stratify(["a", "b", "c", "d"], counts, 0.001)
    assert (large.cells, small.cells) == ((0, 2), (1,))
    assert large.pixels == 9001


# Drawing


def drawn_of(series, units, seed=1):
    counts = count_cells(series)
    strata = stratify(names_of(series), counts, 0.001)
    return strata, draw(series, strata, np.asarray(units), seed)


def test_units_lie_in_their_strata_and_differ(tmp_path):
    before, after = half_and_half()
    series = open_maps(write_years(tmp_path, before, after), [2017, 2018])
    strata, drawn = drawn_of(series, [60, 70, 80])
    assert np.bincount([one.stratum for one in drawn]).tolist() == [60, 70, 80]
    assert len({(one.row, one.col) for one in drawn}) == 210
    k = len(series.legend.classes)
    number = {one.value: n for n, one in enumerate(series.legend.classes)}
    for one in drawn:
        assert one.cell == number[before[one.row, one.col]] * k + number[after[one.row, one.col]]
        assert one.cell in strata[one.stratum].cells
    assert [one.stratum for one in drawn] != sorted(one.stratum for one in drawn)


def test_the_same_seed_draws_the_same_units(tmp_path):
    series = open_maps(write_years(tmp_path, half_and_half()[0]), [2017])
    assert drawn_of(series, [50, 50])[1] == drawn_of(series, [50, 50])[1]
    assert drawn_of(series, [50, 50], seed=2)[1] != drawn_of(series, [50, 50])[1]


def test_a_larger_sample_of_a_seed_holds_the_smaller(tmp_path):
    series = open_maps(write_years(tmp_path, half_and_half()[0]), [2017])
    few, many = ({(one.row, one.col) for one in drawn_of(series, n)[1]} for n in ([50, 50], [80, 90]))
    assert few < many


def test_a_unit_is_where_its_pixel_is(tmp_path):
    series = open_maps(write_years(tmp_path, half_and_half()[0]), [2017])
    _, drawn = drawn_of(series, [50, 50])
    to_map = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    for one in drawn:
        assert (one.lon, one.lat) == pytest.approx((one.geometry.centroid.x, one.geometry.centroid.y), abs=1e-8)
        col, row = ~UTM @ to_map.transform(one.lon, one.lat)
        assert (row, col) == pytest.approx((one.row + 0.5, one.col + 0.5), abs=1e-5)


def test_all_pixels_are_drawn_equally_often(tmp_path):
    """Chi-squared over the quarters of a map of one class, of 40 samples of 50."""
    series = open_maps(write_years(tmp_path, np.full((60, 60), TREES)), [2017])
    found = np.zeros((2, 2))
    for seed in range(40):
        for one in drawn_of(series, [50], seed)[1]:
            found[one.row // 30, one.col // 30] += 1
    assert found.sum() == 2000
    assert ((found - 500) ** 2 / 500).sum() < 16.3  # 0.1 % of the chi-squared distribution with 3 degrees of freedom


def test_pixels_are_drawn_by_their_ground(tmp_path):
    """From the equator to 60 degrees north a pixel of equal degrees loses half of its ground."""
    grid = Affine(0.5, 0, 10, 0, -0.5, 60)
    series = open_maps(write_years(tmp_path, np.full((120, 40), TREES), crs="EPSG:4326", transform=grid), [2017])
    drawn = [one for seed in range(8) for one in drawn_of(series, [300], seed)[1]]
    # Ground goes with the sine of the latitude (of the sphere, nearly).
    assert np.mean([one.lat < 30 for one in drawn]) == pytest.approx(np.sin(np.pi / 6) / np.sin(np.pi / 3), abs=0.03)


def test_an_area_of_interest_is_kept_to(tmp_path):
    maps = write_years(tmp_path, half_and_half()[0])
    inner = open_maps(maps, [2017], box(15.005, 52.2, 15.01, 52.6))
    counts = count_cells(inner)
    assert 0 < counts.hectares.sum() < 150
    strata = stratify(names_of(inner), counts, 0.001)
    assert all(15.005 < one.lon < 15.01 for one in draw(inner, strata, np.array([50]), 0))


# Bad input


def test_three_years_are_not_two(tmp_path):
    maps = write_years(tmp_path, *[half_and_half()[0]] * 3)
    with pytest.raises(BadInput, match="3 years are given"):
        open_maps(maps, [2017, 2018, 2019])


def test_maps_of_cloud_alone_are_refused(tmp_path):
    series = open_maps(write_years(tmp_path, np.full((50, 50), CLOUDS)), [2017])
    with pytest.raises(BadInput, match="No pixel of the maps has a class"):
        count_cells(series)


def test_a_place_whose_file_is_gone_is_reported(tmp_path):
    write_map(tmp_path, half_and_half()[0].astype(np.uint8), 2017, place="33UWU").with_name("map.tif").unlink()
    series = open_maps(write_years(tmp_path, half_and_half()[0]), [2017])
    counts = count_cells(series)
    assert list(counts.excluded) == ["33UWU"] and "33UWU-2017" in counts.excluded["33UWU"]
    strata = stratify(names_of(series), counts, 0.001)
    assert {one.place for one in draw(series, strata, np.array([5, 5]), 0, counts.excluded)} == {"33UVU"}
    with pytest.raises(BadInput, match="33UWU was counted, and can no longer be read"):
        draw(series, strata, np.array([5, 5]), 0)
