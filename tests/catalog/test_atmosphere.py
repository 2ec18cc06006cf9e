"""Between the surface and the top of the atmosphere, and what a network is shown of a scene of the other level."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from catalog.atmosphere import BANDS, USUAL_AEROSOL, Atmosphere, bring_to, sun_zenith
from catalog.errors import BadInput


def test_what_was_raised_is_lowered_again():
    surface = np.linspace(0.01, 0.6, 9 * 5).reshape(9, 5).astype(np.float32)
    for aerosol, zenith in ((0.02, 20), (0.25, 75)):
        air = Atmosphere.of(aerosol, zenith)
        top = air.raise_to_top(surface)
        assert top.dtype == np.float32
        np.testing.assert_allclose(air.lower_to_surface(top), surface, atol=1e-5)


def test_air_brightens_dark_blue_most_and_more_so_when_it_is_hazy_and_the_sun_is_low():
    dark = np.full(9, 0.02)
    clear, hazy, low = (Atmosphere.of(*one).raise_to_top(dark) for one in ((0.05, 30), (0.2, 30), (0.05, 70)))
    assert clear[0] > 0.06 and (np.diff(clear[[0, 1, 2, 6]]) < 0).all()
    assert (hazy > clear)[1:].all() and (low > clear).all()


def test_a_scene_is_brought_to_the_level_that_a_network_was_made_for():
    surface = np.full((2, 3, 3), 800, np.uint16)
    surface[:, 0] = 0
    image = surface.copy()
    bring_to("L1C", image, ("B02", "B12"), "L2A", 35.0)
    expected = Atmosphere.of(USUAL_AEROSOL, 35.0, ("B02", "B12")).raise_to_top(np.full((2, 1), 0.08))
    np.testing.assert_array_equal(image[:, 1:], np.broadcast_to(np.rint(10_000 * expected)[:, None], (2, 2, 3)))
    assert not image[:, 0].any()
    bring_to("L2A", image, ("B02", "B12"), "L1C", 35.0)
    assert np.abs(image.astype(int) - surface).max() <= 1 and not image[:, 0].any()


def test_nothing_darker_than_the_air_itself_becomes_no_data():
    image = np.full((1, 2, 2), 100, np.uint16)
    bring_to("L2A", image, ("B02",), "L1C", None)
    assert (image == 1).all()


@pytest.mark.parametrize(("wanted", "found"), [(None, "L1C"), (None, "L2A"), ("L1C", "L1C"), ("L2A", "L2A")])
def test_a_scene_of_the_right_level_stays_as_it_is(wanted, found):
    image = np.arange(9, dtype=np.uint16).reshape(9, 1, 1)
    bring_to(wanted, image, BANDS, found, 40.0)
    assert (image.ravel() == np.arange(9)).all()


def test_the_suns_place_is_known_by_date_and_place():
    """A morning in Brandenburg, an equinox, the polar night."""
    at = [
        (datetime(2017, 2, 16, 10, 21, 1, tzinfo=UTC), 12.4, 52.4, 66.2),
        (datetime(2021, 3, 20, 12, 7, 20, tzinfo=UTC), 0.0, 0.0, 0.0),
        (datetime(2021, 12, 21, 12, tzinfo=UTC), 0.0, 70.0, 93.4),
    ]
    for when, longitude, latitude, degrees in at:
        assert sun_zenith(when, longitude, latitude) == pytest.approx(degrees, abs=0.7)
    east = datetime(2017, 2, 16, 18, 21, 1, tzinfo=timezone(timedelta(hours=8)))
    assert sun_zenith(east, 12.4, 52.4) == sun_zenith(at[0][0], 12.4, 52.4)


def test_a_band_of_which_nothing_is_known_is_named():
    with pytest.raises(BadInput, match="air in band B01"):
        bring_to("L1C", np.ones((1, 2, 2), np.uint16), ("B01",), "L2A", 40.0)
