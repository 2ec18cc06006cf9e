"""A simple atmosphere between surface (L2A) and top-of-atmosphere (L1C) reflectance, for nine Sentinel-2 bands.

Light scattered once by molecules and aerosol is counted as it is, light scattered more often by Sobolev's
approximation (Sobolev 1975, "Light scattering in planetary atmospheres"). Against discrete ordinates it is off by 0.006
in reflectance at most up to an optical depth of 0.25 and 40 degrees of the sun's zenith, by 0.018 at 67 degrees; enough
to let a network that was made for one level learn on, or answer for, the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from catalog.errors import BadInput

Level = Literal["L1C", "L2A"]
"""Top-of-atmosphere or surface reflectance."""
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
WAVELENGTHS = np.array([0.490, 0.560, 0.665, 0.705, 0.740, 0.783, 0.842, 1.610, 2.190])
"""Micrometres, of each of `BANDS`."""
GAS = np.array([0.985, 0.94, 0.965, 0.94, 0.955, 0.985, 0.93, 0.955, 0.89])
"""Two-way transmittance of the gases, of each of `BANDS`."""
_ASYMMETRY = 0.65
"""Of the aerosol's phase function: how far light goes on forward."""
_ALBEDO = 0.95
"""Share of what meets the aerosol that is scattered and not absorbed."""
USUAL_AEROSOL = 0.08
"""Optical depth at 0.55 micrometres, where nothing is known of a day's haze."""
USUAL_ZENITH = 40.0
"""Degrees, of a chip or scene that does not tell the sun's."""


@dataclass(frozen=True)
class Atmosphere:
    """One state of the air, as arrays of one value a band."""

    path: np.ndarray
    transmittance: np.ndarray
    albedo: np.ndarray
    gas: np.ndarray

    @classmethod
    def of(cls, aerosol: float, sun_zenith: float, bands: Sequence[str] = BANDS) -> Atmosphere:
        """The air over some bands.

        Args:
            aerosol: optical depth at 0.55 micrometres (0.02 very clear, 0.4 hazy).
            sun_zenith: degrees.
            bands: some of `BANDS`.

        Raises:
            BadInput: a band of which nothing is known here.
        """
        if unknown := set(bands) - set(BANDS):
            raise BadInput(f"Nothing is known of the air in band {min(unknown)}, only in {', '.join(BANDS)}.")
        chosen = [BANDS.index(band) for band in bands]
        waves = WAVELENGTHS[chosen]
        sun, nadir = np.cos(np.radians(min(sun_zenith, 80.0))), 1.0
        rayleigh = 0.00864 * waves ** -(3.916 + 0.074 * waves + 0.05 / waves)
        haze = aerosol * (waves / 0.55) ** -1.3
        scattered = rayleigh + _ALBEDO * haze
        # Seen from the nadir, light has been turned by 180 degrees less the sun's zenith.
        henyey_greenstein = (1 - _ASYMMETRY**2) / (1 + _ASYMMETRY**2 + 2 * _ASYMMETRY * sun) ** 1.5
        phase = (rayleigh * 0.75 * (1 + sun**2) + _ALBEDO * haze * henyey_greenstein) / scattered
        forward = 3 * _ASYMMETRY * _ALBEDO * haze / scattered
        met = (1 - np.exp(-scattered * (1 / sun + 1 / nadir))) / (4 * (sun + nadir))
        thick = 4 + (3 - forward) * scattered
        down, up = (1 + 1.5 * mu + (1 - 1.5 * mu) * np.exp(-scattered / mu) for mu in (sun, nadir))
        once = phase * met
        often = 1 - down * up / thick + ((3 + forward) * sun * nadir - 2 * (sun + nadir)) * met
        absorbed = np.exp(-(1 - _ALBEDO) * haze * (1 / sun + 1 / nadir))
        return cls(absorbed * (once + often), absorbed * 4 * down * up / thick**2, 1 - 4 / thick, GAS[chosen])

    def raise_to_top(self, surface: np.ndarray) -> np.ndarray:
        """Surface to top-of-atmosphere reflectance, `[bands, ...]`, as fractions."""
        path, through, albedo, gas = self._columns(surface)
        return gas * (path + through * surface / (1 - albedo * surface))

    def lower_to_surface(self, top: np.ndarray) -> np.ndarray:
        """The inverse of `raise_to_top`."""
        path, through, albedo, gas = self._columns(top)
        beyond = top / gas - path
        return beyond / (through + albedo * beyond)

    def _columns(self, like: np.ndarray) -> list[np.ndarray]:
        """Of as many dimensions as the reflectance, and as precise."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        return [a.reshape(shape).astype(like.dtype) for a in (self.path, self.transmittance, self.albedo, self.gas)]


def bring_to(
    wanted: Level | None, image: np.ndarray, bands: Sequence[str], found: Level, sun_zenith: float | None
) -> None:
    """Bring a scene's reflectance, in place, to the level that a network was made for, through the usual air.

    Args:
        wanted: by the network; None: it takes either as it is.
        image: uint16 `[bands, H, W]`, reflectance x 10,000; 0 = no data, which stays.
        bands: its bands.
        found: the level of the scene.
        sun_zenith: degrees, if known.

    Raises:
        BadInput: a band of which nothing is known here.
    """
    if wanted in (None, found):
        return
    air = Atmosphere.of(USUAL_AEROSOL, USUAL_ZENITH if sun_zenith is None else sun_zenith, bands)
    numbers = np.broadcast_to(np.arange(1, 1 << 16) / 10_000, (len(bands), (1 << 16) - 1))
    brought = air.raise_to_top(numbers) if wanted == "L1C" else air.lower_to_surface(numbers)
    # There are fewer numbers than pixels.
    table = np.zeros((len(bands), 1 << 16), np.uint16)
    table[:, 1:] = np.clip(np.rint(10_000 * brought), 1, (1 << 16) - 1)
    for one, of_band in zip(table, image, strict=True):
        of_band[...] = one[of_band]


def sun_zenith(when: datetime, longitude: float, latitude: float) -> float:
    """The sun's distance from the zenith in degrees, to about half a degree.

    Spencer 1971, "Fourier series representation of the position of the sun".

    Args:
        when: with a time zone.
        longitude: degrees east.
        latitude: degrees north.
    """
    utc = when.astimezone(UTC)
    hours = utc.hour + utc.minute / 60 + utc.second / 3600
    year = 2 * np.pi * (utc.timetuple().tm_yday - 1 + (hours - 12) / 24) / 365
    declination = (
        0.006918
        - 0.399912 * np.cos(year)
        + 0.070257 * np.sin(year)
        - 0.006758 * np.cos(2 * year)
        + 0.000907 * np.sin(2 * year)
        - 0.002697 * np.cos(3 * year)
        + 0.00148 * np.sin(3 * year)
    )
    ahead = 0.000075 + 0.001868 * np.cos(year) - 0.032077 * np.sin(year)
    ahead -= 0.014615 * np.cos(2 * year) + 0.040849 * np.sin(2 * year)
    hour_angle = np.radians(15 * (hours - 12) + longitude) + ahead
    north = np.radians(latitude)
    high = np.sin(north) * np.sin(declination) + np.cos(north) * np.cos(declination) * np.cos(hour_angle)
    return float(np.degrees(np.arccos(np.clip(high, -1, 1))))
