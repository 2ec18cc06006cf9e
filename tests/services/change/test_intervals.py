"""Intervals: their limits in simple cases, and in how many samples they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from benchmarks.coverage import of_eight_classes, of_table_8
from services.change.estimation import Count, Strata
from services.change.intervals import Bounded, difference, jeffreys, share_of_both

EVERY = np.ones(2, bool)


def two_strata(units=(50, 200), area=(1.0, 9.0)) -> Strata:
    return Strata.of(("small", "large"), area, np.array(units))


def count(*units: int, possible=EVERY) -> Count:
    return Count(np.array(units), np.asarray(possible))


def test_limits_in_one_stratum_are_quantiles_of_a_beta_distribution():
    low, high = jeffreys(np.array([0, 3, 50]), np.array([50, 50, 50]))
    assert (low[0], high[2]) == (0, 1)
    assert (low[1], high[1]) == pytest.approx(beta.ppf([0.025, 0.975], 3.5, 47.5))
    assert high[0] == pytest.approx(1 - low[2]) == pytest.approx(beta.ppf(0.975, 0.5, 50.5))


def test_of_one_stratum_an_area_has_its_limits():
    one = Strata.of(("all",), [1.0], np.array([80]))
    told = one.share(Count(np.array([5]), np.ones(1, bool)))
    low, high = jeffreys(np.array([5]), np.array([80]))
    assert (told.low, told.high) == pytest.approx((low[0], high[0]))


def test_users_accuracy_of_a_class_that_is_a_stratum_has_its_limits_too():
    """Hits and misses are one stratum's: their errors are the same, with opposite signs."""
    for hits in (0, 1, 30, 49, 50):
        here = np.array([True, False])
        told = two_strata().ratio(count(hits, 0, possible=here), count(50 - hits, 0, possible=here))
        low, high = jeffreys(np.array([hits]), np.array([50]))
        assert (told.low, told.high) == pytest.approx((low[0], high[0]), abs=1e-9)


def test_a_stratum_without_errors_is_no_stratum_that_has_none():
    """No omission among 200 units: the usual interval says that there is none, in nine tenths of the area."""
    told = two_strata().share(count(45, 0))
    assert told.half_width < 0.01 < 0.9 * beta.ppf(0.975, 0.5, 200.5) < told.high - told.value + 1e-9


def test_where_a_class_cannot_occur_nothing_is_unsure():
    told = two_strata().share(count(45, 0, possible=[True, False]))
    assert told.high == pytest.approx(0.1 * beta.ppf(0.975, 45.5, 5.5))


def test_a_class_that_was_not_found_may_be_there():
    told = two_strata().share(count(0, 0))
    assert (told.value, told.low, told.half_width) == (0, 0, 0) and told.high > 0.009
    assert two_strata().ratio(count(0, 0), count(0, 0)) is None


def test_a_difference_of_independent_estimates_has_the_joined_distance():
    one, other = Bounded(5.0, 2.0, 9.0), Bounded(1.0, 0.0, 4.0)
    assert difference(one, other, 0.0).low == pytest.approx(4 - np.hypot(3, 3))
    assert difference(one, other, 0.0).high == pytest.approx(4 + np.hypot(4, 1))
    assert difference(one, other, -1.0).low == pytest.approx(4 - 6)
    assert difference(one, one, 1.0).low == pytest.approx(0 - abs(3 - 4))


def test_a_share_may_reach_to_nothing_or_all():
    told = share_of_both(Bounded(1.0, 0.0, 2.0), Bounded(1.0, 0.0, 2.0), 0.0)
    assert (told.value, told.low, told.high) == (0.5, 0, 1)
    assert share_of_both(Bounded(0.0, 0.0, 1.0), Bounded(1.0, 0.5, 2.0), 0.0).low == 0


def test_what_was_hardly_there_before_may_have_grown_many_times():
    told = two_strata().relative(count(20, 0), count(1, 0), np.array([0, 0]))
    assert 0 < told.low < 5 < told.value < 3 * told.value < told.high
    assert told.value == pytest.approx(19) and told.value - told.half_width < -1


def test_what_stayed_has_not_changed():
    """The same units at both dates: their number is unsure, that they stayed is not."""
    told = two_strata().relative(count(20, 9), count(20, 9), np.array([20, 9]))
    assert told.value == pytest.approx(0) and told.half_width == pytest.approx(0, abs=1e-6)
    assert -0.15 < told.low <= 0 <= told.high < 0.15


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(2, 60)), min_size=1, max_size=6))
def test_limits_enclose_the_estimate_and_are_possible(rows):
    part, rest, more = (np.array(column) for column in zip(*rows, strict=True))
    strata = Strata.of([str(k) for k in range(len(rows))], np.arange(1.0, len(rows) + 1), part + rest + more)
    every = np.ones(len(rows), bool)
    one, other = Count(part, every), Count(rest, every)
    area, ratio, net = strata.share(one), strata.ratio(one, other), strata.difference(one, other)
    assert 0 <= area.low <= area.value <= area.high <= 1
    assert -1 <= net.low <= net.value <= net.high <= 1
    if ratio is not None:
        assert 0 <= ratio.low <= ratio.value <= ratio.high <= 1
        turned = strata.ratio(other, one)
        assert (turned.low, turned.high) == pytest.approx((1 - ratio.high, 1 - ratio.low), abs=1e-6)


# Coverage; benchmarks/coverage.py draws 2,000 samples


def test_the_usual_interval_fails_rare_classes_and_ours_does_not():
    deforestation, gain, *common = of_table_8(draws=800)
    assert deforestation.omissions == pytest.approx(3, abs=0.01) and gain.omissions == pytest.approx(1, abs=0.01)
    assert 0.85 < deforestation.usual < 0.93 and 0.68 < gain.usual < 0.78
    assert min(deforestation.holds, gain.holds) > 0.93
    for one in common:
        assert 0.93 < one.usual < 0.97 and 0.93 < one.holds < 0.975


def test_where_all_is_common_the_two_are_nearly_the_same():
    for one in of_eight_classes(draws=400):
        assert one.holds > 0.915  # Of 400 samples 93 % are held give or take 1.3.
        if one.omissions > 15:
            assert one.wider < 1.2
