"""Between the surface and the top of the atmosphere, and what a network is shown of a scene of the other level."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from PythonicDISORT.pydisort import pydisort

from catalog.atmosphere import BANDS, USUAL_AEROSOL, WAVELENGTHS, Atmosphere, bring_to, sun_zenith
from catalog.errors import BadInput


def test_what_was_raised_is_lowered_again():
    surface = np.linspace(0.01, 0.6, 9 * 5).reshape(9, 5).astype(np.float32)
    for aerosol, zenith in ((0.02, 20), (0.25, 75), (0.08, 89)):
        air = Atmosphere.of(aerosol, zenith)
        top = air.raise_to_top(surface)
        assert top.dtype == np.float32
        np.testing.assert_allclose(air.lower_to_surface(top), surface, atol=1e-5)


def test_haze_brightens_dark_ground_in_every_band_and_more_so_when_the_sun_is_low():
    dark = np.full(9, 0.02)
    for zenith in (20, 45, 70):
        clear, hazy, thick = (Atmosphere.of(aerosol, zenith).raise_to_top(dark) for aerosol in (0.05, 0.2, 0.5))
        assert (hazy > clear)[:7].all() and (thick > hazy)[:7].all()
        assert (np.diff(clear[[0, 1, 2, 6]]) < 0).all() and clear[0] > 0.06
        assert (Atmosphere.of(0.2, zenith + 5).raise_to_top(dark) > hazy)[:7].all()


def test_winter_haze_that_is_taken_for_clear_air_leaves_a_blue_forest():
    """Pines of Brandenburg in February, as Sentinel-2 saw them: 0.087 in B02, 0.07 in B03 and in B04, B08 0.15."""
    forest = np.array([0.038, 0.05, 0.035, 0.15])
    bands = ("B02", "B03", "B04", "B08")
    seen = Atmosphere.of(0.4, 66.5, bands).raise_to_top(forest)
    taken_for = Atmosphere.of(USUAL_AEROSOL, 66.5, bands).lower_to_surface(seen)
    np.testing.assert_allclose(taken_for, [0.087, 0.07, 0.069, 0.151], atol=0.02)


@pytest.mark.parametrize(("zenith", "off"), [(20, 0.006), (40, 0.006), (67, 0.018)])
def test_air_is_as_bright_as_discrete_ordinates_say(zenith, off):
    """Stamnes et al. 1988, "Numerically stable algorithm for discrete-ordinate-method radiative transfer"."""
    for aerosol in (0.02, USUAL_AEROSOL, 0.25):
        air = Atmosphere.of(aerosol, zenith)
        for band in ("B02", "B04", "B08"):
            k = BANDS.index(band)
            for ground in (0.0, 0.3):
                ours = air.path[k] + air.transmittance[k] * ground / (1 - air.albedo[k] * ground)
                assert ours == pytest.approx(_discrete_ordinates(WAVELENGTHS[k], aerosol, zenith, ground), abs=off)


def _discrete_ordinates(wave: float, aerosol: float, zenith: float, ground: float) -> float:
    """Reflectance seen from the nadir of Rayleigh and Henyey-Greenstein scattering over Lambertian ground."""
    streams = 32
    rayleigh = 0.00864 * wave ** -(3.916 + 0.074 * wave + 0.05 / wave)
    haze = aerosol * (wave / 0.55) ** -1.3
    scattered = rayleigh + 0.95 * haze
    moments = 0.65 ** np.arange(2 * streams) * 0.95 * haze / scattered
    moments[0] = 1
    moments[2] += 0.1 * rayleigh / scattered
    sun = np.cos(np.radians(zenith))
    # A sun as strong as makes radiance the reflectance.
    up, *_, radiance = pydisort(
        np.array([rayleigh + haze]),
        np.array([scattered / (rayleigh + haze)]),
        streams,
        moments[np.newaxis],
        sun,
        np.pi / sun,
        0.0,
        f_arr=moments[[streams // 2]],
        NT_cor=True,
        BDRF_Fourier_modes=[lambda here, there: np.full((len(here), len(there)), ground)],
    )
    return float(radiance(0.0, 0.0)[np.argmax(up)])


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
