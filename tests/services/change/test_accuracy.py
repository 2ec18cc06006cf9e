"""Accuracy and areas, against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.errors import BadInput
from services.change.accuracy import Labels, assess, assess_change, assess_matrix
from services.change.estimation import Strata

DEFORESTATION, FOREST, OTHER = "deforestation", "forest", "other"
PIXEL = 0.09
"""Hectares of 30 m."""


def values(estimates, what):
    return [getattr(one, what) for one in estimates]


def printed(numbers, digits):
    """As a paper prints them."""
    return [f"{number:.{digits}f}" for number in numbers]


# Olofsson et al. 2013, example 1: a map of forest change, its classes the strata


@pytest.fixture(scope="module")
def olofsson_2013():
    counts = [[97, 0, 3], [3, 279, 18], [2, 1, 97]]
    return assess_matrix([DEFORESTATION, FOREST, OTHER], counts, [22353, 1122543, 610228])


def test_accuracies_of_olofsson_2013(olofsson_2013):
    overall, classes = olofsson_2013.overall, olofsson_2013.classes
    assert printed([overall.value, overall.half_width], 6) == ["0.944417", "0.021882"]
    users, producers = [one.users for one in classes], [one.producers for one in classes]
    assert printed(values(users, "value"), 2) == ["0.97", "0.93", "0.97"]
    assert printed(values(users, "half_width"), 6) == ["0.033603", "0.028920", "0.033603"]
    assert printed(values(producers, "value"), 6) == ["0.480631", "0.994189", "0.896926"]
    assert printed(values(producers, "half_width"), 6) == ["0.224530", "0.011325", "0.041205"]


def test_areas_of_olofsson_2013(olofsson_2013):
    areas = [one.area for one in olofsson_2013.classes]
    assert printed(values(areas, "value"), 2) == ["45112.40", "1050067.27", "659944.33"]
    assert printed(values(areas, "half_width"), 2) == ["21072.37", "34597.37", "36525.61"]
    assert [one.mapped for one in olofsson_2013.classes] == [22353, 1122543, 610228]


# Olofsson et al. 2014, Table 8


@pytest.fixture(scope="module")
def olofsson_2014():
    counts = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
    names = ["deforestation", "forest gain", "stable forest", "stable non-forest"]
    area = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * PIXEL
    return assess_matrix(names, counts, area, z=1.96)


def test_areas_of_olofsson_2014(olofsson_2014):
    areas = [one.area for one in olofsson_2014.classes]
    assert printed(values(areas, "value"), 0) == ["21158", "11686", "285770", "581386"]
    assert printed(values(areas, "half_width"), 0) == ["6158", "3756", "15510", "16282"]


def test_accuracies_of_olofsson_2014(olofsson_2014):
    """Producer's accuracies by the paper's Eq. 7: the half-widths printed there come from a fault of a spreadsheet."""
    overall = olofsson_2014.overall
    assert printed([overall.value, overall.half_width], 4) == ["0.9465", "0.0185"]
    producers = [one.producers for one in olofsson_2014.classes]
    assert printed(values(producers, "half_width"), 4) == ["0.2133", "0.2544", "0.0343", "0.0184"]


def test_classes_with_few_omissions_are_marked(olofsson_2014):
    assert [one.omissions for one in olofsson_2014.classes] == [3, 1, 22, 27]
    assert [one.rare for one in olofsson_2014.classes] == [True, True, False, False]
    rare = olofsson_2014.classes[1].area
    assert rare.low < rare.value - rare.half_width * 0.5 and rare.high > rare.value + rare.half_width


# Stehman 2014: the strata are not the map's classes


@pytest.fixture(scope="module")
def stehman_2014():
    stratum = np.repeat([0, 1, 2, 3], 10)
    mapped = ["AAAAAAABBB", "ABBBBBBBBB", "BBCCCCCCBB", "DDDDDDDDDD"]
    reference = ["AAAAACBABC", "ABBBBBAABB", "CCCCCDDBBA", "DDDDDDDCCB"]
    strata = Strata.of("ABCD", [40_000, 30_000, 20_000, 10_000], np.full(4, 10))
    number = {name: k for k, name in enumerate("ABCD")}
    mapped, reference = (np.array([number[one] for one in "".join(rows)]) for rows in (mapped, reference))
    return assess(strata, stratum, Labels(tuple("ABCD"), mapped, reference))


def test_estimates_of_stehman_2014(stehman_2014):
    a, b, c, _ = stehman_2014.classes
    told = [a.area.scaled(1e-5), c.area.scaled(1e-5), stehman_2014.overall, b.users, b.producers]
    assert printed(values(told, "value"), 3) == ["0.350", "0.200", "0.630", "0.574", "0.794"]
    assert printed(values(told[:4], "standard_error"), 3) == ["0.082", "0.064", "0.085", "0.125"]
    assert stehman_2014.shares[1][2] == pytest.approx(0.08)


def test_the_error_of_a_ratio_is_that_of_its_residuals(stehman_2014):
    """Eq. 28 without shortcuts: variance of y - R x in each stratum, here of class B's producer's accuracy."""
    hit = np.array([[0] * 8 + [1, 0], [0] + [1] * 5 + [0, 0, 1, 1], [0] * 8 + [1, 0], [0] * 10])
    is_b = np.array([[0] * 6 + [1, 0, 1, 0], hit[1], [0] * 7 + [1, 1, 0], [0] * 9 + [1]])
    size = np.array([4e4, 3e4, 2e4, 1e4])
    residual = hit - (size @ hit.mean(axis=1)) / (size @ is_b.mean(axis=1)) * is_b
    error = np.sqrt(size**2 @ residual.var(axis=1, ddof=1) / 10) / (size @ is_b.mean(axis=1))
    assert stehman_2014.classes[1].producers.standard_error == pytest.approx(error)


def test_where_the_map_is_not_the_strata_its_area_is_not_known(stehman_2014):
    assert all(one.mapped is None for one in stehman_2014.classes)


def test_strata_that_are_the_maps_classes_give_the_same_both_ways(olofsson_2013):
    """Stehman's estimators on Olofsson's sample."""
    counts = np.array([[97, 0, 3], [3, 279, 18], [2, 1, 97]])
    mapped, reference = (np.repeat(one, counts.ravel()) for one in np.indices((3, 3)).reshape(2, -1))
    strata = Strata.of("abc", [22353, 1122543, 610228], counts.sum(axis=1))
    found = assess(strata, mapped, Labels(tuple("abc"), mapped, reference))
    for one, other in zip(found.classes, olofsson_2013.classes, strict=True):
        assert one.producers.standard_error == pytest.approx(other.producers.standard_error)
        assert one.area == other.area


# Change from one sample at two dates


def change_of(stratum, before, after, area=(100.0, 900.0)):
    """Two strata: 0 mapped as 1 -> 0, and 1 mapped as stable."""
    stratum, before, after = (np.asarray(one) for one in (stratum, before, after))
    strata = Strata.of(("changed", "stable"), area, np.bincount(stratum))
    mapped = np.array([[0, area[0]], [area[1], 0]]), np.array([[area[0], 0], [area[1], 0]])
    labels = [Labels(("a", "b"), one, one, areas) for one, areas in zip((before, after), mapped, strict=True)]
    return assess_change(strata, stratum, *labels)


def test_net_change_of_one_sample_is_surer_than_the_difference_of_two():
    random = np.random.default_rng(0)
    stratum = np.repeat([0, 1], [60, 140])
    before = np.where(stratum == 0, 1, random.random(200) < 0.5).astype(int)
    after = np.where((stratum == 0) & (random.random(200) < 0.9), 0, before)
    a, b = change_of(stratum, before, after)
    assert a.net.value == pytest.approx(a.after.value - a.before.value) == pytest.approx(-b.net.value)
    assert a.net.value == pytest.approx(100 * (after[:60] == 0).mean())
    assert a.net.half_width < 0.2 * np.hypot(a.before.half_width, a.after.half_width)
    assert a.relative.value == pytest.approx(a.net.value / a.before.value)
    assert a.net.low < a.net.value < a.net.high
    assert a.relative.low < a.relative.value < a.relative.high


def test_gain_and_loss_in_the_same_strata_do_not_cancel_unseen():
    stratum = np.repeat([0, 1], [50, 50])
    before = np.tile([0, 1], 50)
    after = np.where(np.arange(100) % 10 < 2, 1 - before, before)
    a, _ = change_of(stratum, before, after)
    assert a.net.value == pytest.approx(0)
    assert a.gain.value == a.loss.value == pytest.approx(100)
    assert a.net.low < -50 and a.net.high > 50


def test_change_of_what_was_not_there_has_no_ratio():
    stratum = np.repeat([0, 1], [50, 50])
    a, b = change_of(stratum, np.ones(100, int), np.where(stratum == 0, 0, 1))
    assert a.relative is None and a.before.value == 0 and a.before.high > 0
    assert b.relative.value == pytest.approx(-0.1)


# Bad input


@pytest.mark.parametrize(
    ("counts", "area", "told"),
    [
        ([[1, 2, 3], [4, 5, 6]], [1, 1], r"not square over its 2 classes: 2 rows of 3 columns"),
        ([[1, 2], [4]], [1, 1], r"not square .* 1 or 2 columns"),
        ([[9, 1], [2, 8], [1, 1]], [1, 1], r"3 rows of 2 columns"),
        ([[9, -1], [2, 8]], [1, 1], r"negative or missing count"),
        ([[9, np.nan], [2, 8]], [1, 1], r"negative or missing count"),
        ([[9, "x"], [2, 8]], [1, 1], r"no number"),
        ([[0.9, 0.1], [0.2, 0.8]], [1, 1], r"counts of units: whole numbers"),
        ([[9, 1], [0, 0]], [1, 1], r"Stratum 'forest' has 0 interpreted units"),
        ([[9, 1], [0, 1]], [1, 1], r"Stratum 'forest' has 1 interpreted unit:"),
        ([[9, 1], [2, 8]], [1, 0], r"Stratum 'forest' has the area 0"),
        ([[9, 1], [2, 8]], [1, 2, 3], r"3 areas are given for 2 classes"),
    ],
)
def test_what_is_no_error_matrix_is_refused(counts, area, told):
    with pytest.raises(BadInput, match=told):
        assess_matrix(["water", "forest"], counts, area)
