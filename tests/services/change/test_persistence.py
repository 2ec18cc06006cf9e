"""Persistence of single pixels, against the definitions written plainly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.change.persistence import KINDS, near_edge, persistence


def _kind(*years: int) -> str:
    return KINDS[int(persistence(np.array(years, np.uint8)[:, None, None]).kind.item())][0]


@pytest.mark.parametrize(
    ("years", "kind"),
    [
        ((1, 1, 1, 1), "stable"),
        ((1, 2, 2, 2), "sustained"),
        ((1, 1, 2, 2), "sustained"),
        ((1, 1, 1, 2), "unconfirmed"),
        ((1, 2, 1, 2), "unconfirmed"),
        ((1, 3, 2, 2), "endpoint_only"),
        ((1, 2, 1, 2, 2), "endpoint_only"),
        ((1, 2, 1, 1), "flicker"),
        ((1, 2, 2, 1), "flicker"),
        ((0, 1, 2, 2), "undetermined"),
        ((1, 2, 2, 0), "undetermined"),
        ((1, 0, 2, 2), "sustained"),
        ((1, 0, 0, 2), "unconfirmed"),
        ((1, 0, 1, 1), "stable"),
        ((1, 2), "unconfirmed"),
    ],
)
def test_kinds_of_change(years, kind):
    assert _kind(*years) == kind


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8))
def test_any_series_of_years(years):
    seen = [(number, one) for number, one in enumerate(years) if one]
    flips = sum(one != other for (_, one), (_, other) in pairwise(seen))
    since = max((number for (_, one), (number, other) in pairwise(seen) if one != other), default=0)
    found = persistence(np.array(years, np.uint8)[:, None, None])
    assert (found.flips.item(), found.since.item()) == (flips, since)
    if not years[0] or not years[-1]:
        expected = "undetermined"
    elif years[0] == years[-1]:
        expected = "flicker" if flips else "stable"
    elif sum(one == years[-1] for number, one in seen if number >= since) == 1:
        expected = "unconfirmed"
    else:
        expected = "sustained" if flips == 1 else "endpoint_only"
    assert KINDS[int(found.kind.item())][0] == expected


def test_pixels_near_an_edge_have_another_class_among_their_neighbours():
    random = np.random.default_rng(3)
    codes = np.kron(random.integers(0, 4, (9, 9)), np.ones((4, 4), int)).astype(np.uint8)
    found = near_edge(codes)
    for row, col in np.ndindex(found.shape):
        around = set(codes[row : row + 3, col : col + 3].ravel().tolist()) - {0}
        assert found[row, col] == (len(around) > 1)
    assert found.any() and not found.all()
