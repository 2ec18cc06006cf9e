"""Speckle and its filter, by their statistics."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.radar_speckle import lee_filter, looks_of

SIDE = 400


def speckled(mean: np.ndarray, looks: float, seed: int = 0) -> np.ndarray:
    grain = np.random.default_rng(seed).gamma(looks, 1 / looks, mean.shape)
    return (mean * grain).astype(np.float32)


def even(looks: float) -> np.ndarray:
    return np.full((SIDE, SIDE), looks, np.float32)


@pytest.mark.parametrize("looks", [1.0, 4.4, 13.2])
@pytest.mark.parametrize("mean", [0.002, 0.3])
def test_on_even_ground_the_mean_is_kept_and_looks_are_gained(looks, mean):
    power = speckled(np.full((SIDE, SIDE), mean), looks)
    filtered = lee_filter(power, even(looks))
    assert looks_of(power) == pytest.approx(looks, rel=0.03)
    assert filtered.mean() == pytest.approx(power.mean(), rel=0.01)
    assert 15 * looks < looks_of(filtered) < 49 * looks


def test_an_edge_is_not_blurred_and_each_side_keeps_its_mean():
    ground = np.full((SIDE, SIDE), 0.01)
    ground[:, SIDE // 2 :] = 0.2
    filtered = lee_filter(speckled(ground, 4.4), even(4.4))
    west, east = filtered[:, SIDE // 2 - 2], filtered[:, SIDE // 2 + 1]
    # A window's mean would be 0.05 and more here.
    assert np.median(west) < 0.02 and np.median(east) > 0.14
    assert filtered[:, : SIDE // 2 - 4].mean() == pytest.approx(0.01, rel=0.01)
    assert filtered[:, SIDE // 2 + 4 :].mean() == pytest.approx(0.2, rel=0.01)


def test_a_bright_point_stays():
    ground = np.full((SIDE, SIDE), 0.05)
    ground[200, 200] = 20
    power = speckled(ground, 4.4)
    assert lee_filter(power, even(4.4))[200, 200] > 0.9 * power[200, 200]


def test_missing_pixels_stay_missing_and_darken_nothing():
    power = speckled(np.full((SIDE, SIDE), 0.1), 4.4)
    missing = np.random.default_rng(1).random(power.shape) < 0.3
    missing[:100] = True
    power[missing] = 0
    filtered = lee_filter(power, even(4.4))
    assert (filtered[missing] == 0).all() and (filtered[~missing] > 0).all()
    assert filtered[~missing].mean() == pytest.approx(0.1, rel=0.01)
    # Along the edge of the data, too.
    assert filtered[100:103][~missing[100:103]].mean() == pytest.approx(0.1, rel=0.05)


def test_where_there_are_more_looks_less_is_taken_for_speckle():
    """Ground whose own variation is that of 8 looks: of 2 looks the filter takes it for speckle, of 50 looks not."""
    ground = np.random.default_rng(2).gamma(8, 1 / 8, (SIDE, SIDE)).astype(np.float32)
    assert looks_of(lee_filter(ground, even(2))) > 100
    assert looks_of(lee_filter(ground, even(50))) < 12


def test_what_is_filtered_does_not_depend_on_where_an_image_is_cut():
    power = speckled(np.full((SIDE, SIDE), 0.1), 4.4)
    whole, part = lee_filter(power, even(4.4)), lee_filter(power[90:350, 40:200], even(4.4)[90:350, 40:200])
    assert np.allclose(whole[93:347, 43:197], part[3:-3, 3:-3], rtol=1e-4)
