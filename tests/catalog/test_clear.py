"""Which pixels of a look count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from catalog.clear import CLOUD_EDGE, clear_pixels, grow
from catalog.model import MODEL_CLASSES

CLOUD, WATER = MODEL_CLASSES.index("cloud"), 0
NO_DATA, SHADOW, VEGETATION, WATER_SCL, CLOUD_MAYBE, CLOUD_SURE, CIRRUS, SNOW = 0, 3, 4, 6, 8, 9, 10, 11
SIZE = 40


def clear(*, cloud=(), scl=None, valid=None, classes=MODEL_CLASSES):
    """Clear and seen pixels of a look over water, in which the network finds clouds at some places."""
    scores = np.zeros((len(classes), SIZE, SIZE), np.uint8)
    scores[WATER] = 200
    for place in cloud:
        scores[:, *place] = 0
        scores[CLOUD, *place] = 250
    valid = np.ones((SIZE, SIZE), bool) if valid is None else valid
    return clear_pixels(scores, valid, scl, classes)


def scl_with(value, *place):
    scl = np.full((SIZE, SIZE), VEGETATION, np.uint8)
    scl[place] = value
    return scl


def test_a_cloudless_look_counts_everywhere():
    for scl in (None, scl_with(VEGETATION)):
        found, seen = clear(scl=scl)
        assert found.all() and seen.all()


@pytest.mark.parametrize("value", [CLOUD_MAYBE, CLOUD_SURE, CIRRUS])
def test_clouds_of_the_scene_classification_and_five_pixels_round_them_do_not_count(value):
    hidden = ~clear(scl=scl_with(value, slice(15, 20), slice(15, 20)))[0]
    expected = np.zeros((SIZE, SIZE), bool)
    expected[15 - CLOUD_EDGE : 20 + CLOUD_EDGE, 15 - CLOUD_EDGE : 20 + CLOUD_EDGE] = True
    assert CLOUD_EDGE == 5
    np.testing.assert_array_equal(hidden, expected)


def test_clouds_of_the_network_have_the_same_edge():
    by_network = clear(cloud=[(slice(15, 20), slice(15, 20))])[0]
    by_scl = clear(scl=scl_with(CLOUD_SURE, slice(15, 20), slice(15, 20)))[0]
    np.testing.assert_array_equal(by_network, by_scl)


def test_either_is_enough():
    found, _ = clear(cloud=[(slice(2, 6), slice(2, 6))], scl=scl_with(CLOUD_SURE, slice(30, 35), slice(30, 35)))
    assert not found[4, 4] and not found[32, 32] and found[20, 20]


def test_shadows_do_not_count_but_have_no_edge():
    hidden = ~clear(scl=scl_with(SHADOW, slice(15, 20), slice(15, 20)))[0]
    np.testing.assert_array_equal(np.argwhere(hidden).min(axis=0), (15, 15))
    assert hidden.sum() == 25


@pytest.mark.parametrize("value", [NO_DATA, WATER_SCL, SNOW, 1, 2, 5, 7])
def test_other_classes_of_the_scene_classification_count(value):
    assert clear(scl=scl_with(value, slice(15, 20), slice(15, 20)))[0].all()


def test_specks_less_than_three_pixels_wide_have_no_edge():
    """They are mostly bright roofs."""
    hidden = ~clear(scl=scl_with(CLOUD_SURE, slice(10, 12), slice(5, 35)))[0]
    assert hidden.sum() == 2 * 30
    hidden = ~clear(scl=scl_with(CLOUD_SURE, slice(10, 13), slice(10, 13)))[0]
    assert hidden.sum() == (3 + 2 * CLOUD_EDGE) ** 2


def test_a_pixel_is_cloud_only_if_no_class_is_as_likely():
    scores = np.zeros((len(MODEL_CLASSES), 1, 2), np.uint8)
    scores[WATER], scores[CLOUD, 0] = 100, (100, 101)
    found, _ = clear_pixels(scores, np.ones((1, 2), bool), None, MODEL_CLASSES)
    np.testing.assert_array_equal(found, [[True, False]])


def test_pixels_without_data_are_not_even_seen():
    valid = np.ones((SIZE, SIZE), bool)
    valid[:, :10] = False
    found, seen = clear(valid=valid)
    np.testing.assert_array_equal(found, valid)
    np.testing.assert_array_equal(seen, valid)


def test_clouds_where_there_are_no_data_hide_nothing():
    """The network says anything there."""
    valid = np.ones((SIZE, SIZE), bool)
    valid[:, :10] = False
    found, _ = clear(cloud=[(slice(0, SIZE), slice(0, 10))], valid=valid)
    np.testing.assert_array_equal(found, valid)


def test_clouds_are_seen_but_not_clear():
    found, seen = clear(scl=scl_with(CLOUD_SURE, slice(0, SIZE), slice(0, SIZE)))
    assert not found.any() and seen.all()


def test_a_network_without_a_class_for_clouds_relies_on_the_scene_classification():
    land = tuple(name for name in MODEL_CLASSES if name != "cloud")
    assert clear(classes=land)[0].all()
    assert not clear(classes=land, scl=scl_with(CLOUD_SURE, slice(15, 20), slice(15, 20)))[0][17, 17]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_growing_and_shrinking_are_those_of_morphology(radius, shrink, seed):
    mask = np.random.default_rng(seed).random((23, 31)) < (0.9 if shrink else 0.02)
    square = np.ones((2 * radius + 1,) * 2, bool)
    expected = ndimage.binary_erosion(mask, square, border_value=1) if shrink else ndimage.binary_dilation(mask, square)
    np.testing.assert_array_equal(grow(mask, radius, shrink=shrink), expected)


def test_a_class_that_is_split_is_no_more_cloud_than_before():
    classes, parents = (
        (*MODEL_CLASSES, "residential", "industrial"),
        (("residential", "built"), ("industrial", "built")),
    )
    scores = np.zeros((len(classes), 1, 1), np.uint8)
    scores[[classes.index(name) for name in ("cloud", "residential", "industrial")], 0, 0] = 100, 85, 70
    seen = np.ones((1, 1), bool)
    assert clear_pixels(scores, seen, None, classes, parents=parents)[0].all()
    assert not clear_pixels(scores, seen, None, classes)[0].any()
