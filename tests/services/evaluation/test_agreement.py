"""Shares, intervals and calibration, against cases worked out by hand and the definitions written plainly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluation.agreement import BINS, Tally, measure
from services.evaluation.result import ClassAgreement

NAMES = ("water", "trees", "cloud")
CLOUD = 2


def tally(*matrices, confidence=0.5):
    """One place a matrix (reference by found), every pixel equally sure."""
    counted = []
    for k, matrix in enumerate(matrices):
        reference, found = np.repeat(np.indices(np.shape(matrix)).reshape(2, -1), np.ravel(matrix), axis=1)
        counted.append(place(f"place-{k}", reference, found, np.full(len(found), confidence)))
    return Tally.together(counted)


def place(name, reference, found, confidence):
    return Tally.count((name,), len(NAMES), np.zeros(len(found), int), reference, found, confidence)


def of_class(agreement, name) -> ClassAgreement:
    return next(one for one in agreement.classes if one.name == name)


def test_shares_of_a_matrix_worked_out_by_hand():
    found = measure("all", tally([[6, 2, 0], [1, 9, 2], [0, 0, 0]]), NAMES)
    assert found.pixels == 20 and found.overall.value == 15 / 20
    water, trees, cloud = (of_class(found, name) for name in NAMES)
    assert (water.recall.value, water.precision.value) == (6 / 8, 6 / 7)
    assert (trees.recall.value, trees.precision.value) == (9 / 12, 9 / 11)
    assert trees.iou.value == pytest.approx(9 / (12 + 11 - 9))
    assert trees.f1.value == pytest.approx(2 / (12 / 9 + 11 / 9))
    assert (cloud.pixels, cloud.found, cloud.recall.value, cloud.precision.value) == (0, 2, None, 0)
    assert str(cloud.recall) == "–"


def test_a_class_in_neither_is_not_listed():
    assert [one.name for one in measure("all", tally([[6, 2, 0], [1, 9, 0], [0, 0, 0]]), NAMES).classes] == [*NAMES[:2]]


@given(st.lists(st.tuples(st.integers(0, 3), *[st.integers(0, 2)] * 2, st.integers(1, 255)), min_size=1, max_size=60))
def test_shares_are_those_of_the_definitions(pixels):
    """The definitions, written over pixels instead of a matrix."""
    where, reference, found, level = np.array(pixels).T
    sure = level / 255
    told = measure("all", Tally.count(tuple("abcd"), 3, where, reference, found, sure), NAMES)
    right = reference == found
    assert told.overall.value == pytest.approx(right.mean())
    assert told.mean_over_places.value == pytest.approx(np.mean([right[where == k].mean() for k in set(where)]))
    for k, name in enumerate(NAMES):
        of, said = reference == k, found == k
        if not (of | said).any():
            continue
        one = of_class(told, name)
        assert (one.pixels, one.found, one.places) == (of.sum(), said.sum(), len(set(where[of])))
        assert one.iou.value == pytest.approx((of & said).sum() / (of | said).sum())
        assert one.f1.value == pytest.approx(2 * (of & said).sum() / (of.sum() + said.sum()))
        assert one.recall.value == (pytest.approx(right[of].mean()) if of.any() else None)
        assert one.precision.value == (pytest.approx(right[said].mean()) if said.any() else None)
    error = 0.0
    for k in range(BINS):
        inside = (level * BINS > 255 * k) & (level * BINS <= 255 * (k + 1))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
            assert told.calibration.bins[k].agreement == pytest.approx(right[inside].mean())
        assert told.calibration.bins[k].pixels == inside.sum()
    assert told.calibration.error.value == pytest.approx(error)


def test_what_is_as_sure_as_it_is_right_has_no_calibration_error():
    half = tally([[5, 5, 0], [5, 5, 0], [0, 0, 0]], confidence=0.5)
    assert measure("all", half, NAMES).calibration.error.value == pytest.approx(0)
    too_sure = measure("all", tally([[5, 5, 0], [5, 5, 0], [0, 0, 0]], confidence=0.9), NAMES).calibration
    assert (too_sure.error.value, too_sure.confidence) == (pytest.approx(0.4), pytest.approx(0.9))


def test_counts_of_the_same_place_are_added():
    once, twice = tally([[6, 2, 0], [1, 9, 2], [0, 0, 0]]), tally([[12, 4, 0], [2, 18, 4], [0, 0, 0]])
    both = Tally.together([once, once])
    assert both.places == ("place-0",)
    np.testing.assert_array_equal(both.confusion, twice.confusion)
    np.testing.assert_array_equal(both.reliability, twice.reliability)


# Intervals


def test_places_are_resampled_not_pixels():
    """Ten places, each all right or all wrong: however many pixels they have, that is ten answers."""
    right, wrong = [[1000, 0, 0], [0, 0, 0], [0, 0, 0]], [[0, 1000, 0], [0, 0, 0], [0, 0, 0]]
    found = measure("all", tally(*[right] * 8, *[wrong] * 2), NAMES).overall
    # A binomial share of 8 in 10, drawn 10 times.
    assert (found.value, found.low, found.high) == (0.8, pytest.approx(0.5, abs=0.1), 1.0)
    few_pixels = measure("all", tally(*[np.array(right) // 100] * 8, *[np.array(wrong) // 100] * 2), NAMES).overall
    assert few_pixels == found


def test_where_all_places_are_alike_the_interval_is_a_point():
    found = measure("all", tally(*[[[6, 2, 0], [1, 9, 2], [0, 0, 0]]] * 7), NAMES)
    for one in (found.overall, found.mean_over_places, found.calibration.error, of_class(found, "trees").iou):
        assert one.low == pytest.approx(one.value) == pytest.approx(one.high)


def test_the_interval_holds_the_share_of_all_places_in_most_samples():
    """Of 150 samples of 30 places each from a world that agrees in 70 %."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(150):
        rights = random.binomial(100, random.beta(7, 3, 30))
        confusion = np.zeros((30, 3, 3), np.int64)
        confusion[:, 0, 0], confusion[:, 0, 1] = rights, 100 - rights
        sample = Tally(tuple(map(str, range(30))), confusion, np.ones((30, BINS, 3)))
        found = measure("all", sample, NAMES).overall
        held += found.low <= 0.7 <= found.high
    # Percentile intervals of few clusters are known to be a little too narrow.
    assert 0.87 < held / 150 < 0.99


def test_below_five_places_that_hold_the_class_nothing_is_estimable():
    both, water_only = [[6, 2, 0], [1, 9, 0], [0, 0, 0]], [[6, 2, 0], [0, 0, 0], [0, 0, 0]]
    found = measure("all", tally(*[both] * 4, *[water_only] * 2), NAMES)
    assert found.overall.low is not None and of_class(found, "water").recall.low is not None
    trees = of_class(found, "trees")
    assert (trees.places, trees.recall.low, trees.f1.high) == (4, None, None)
    assert str(trees.recall) == "90.0 % (not estimable)"
    assert measure("all", tally(*[both] * 4), NAMES).overall.low is None


def test_the_same_pixels_give_the_same_intervals():
    counted = tally(*[[[k, 2, 0], [1, 9, 2], [0, 0, 0]] for k in range(8)])
    assert measure("all", counted, NAMES) == measure("all", counted, NAMES)


# Cloud


def test_the_clear_place_with_most_false_cloud_is_named():
    clear, worse = [[90, 0, 10], [0, 0, 0], [0, 0, 0]], [[80, 0, 20], [0, 0, 0], [0, 0, 0]]
    cloudy = [[10, 0, 90], [0, 0, 0], [0, 0, 1]]
    found = measure("all", tally(clear, worse, cloudy), NAMES, CLOUD).false_cloud
    assert (found.place, found.share, found.pixels, found.clear_places) == ("place-1", 0.2, 100, 2)
    assert measure("all", tally(cloudy), NAMES, CLOUD).false_cloud is None
    assert measure("all", tally(clear), NAMES).false_cloud is None
