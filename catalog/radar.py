"""Sentinel-1 as Landloom sees it: terrain-corrected backscatter (gamma0) of one pass, and how networks are shown it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from catalog.errors import BadInput, SceneUnreadable
from catalog.scenes import Raster, Seen, Signer, asset_of, moment_of, resolved

Orbit = Literal["ascending", "descending"]
ORBITS: tuple[Orbit, ...] = ("ascending", "descending")
POLARISATIONS = ("VV", "VH")
RADAR_CHANNELS = tuple(f"{one}_{orbit}" for orbit in ORBITS for one in POLARISATIONS)
"""What a network may want besides bands. The two orbit directions look at a slope from its two sides, so that they are
never mixed."""
ENL = 4.4
"""Equivalent number of looks of Sentinel-1's IW GRD products at high resolution, where an item does not tell."""
_LOWEST, _STEPS = -50.0, 200.0
"""dB that is encoded as 0, and steps in a dB."""
_POWER = ("", "1", "linear", "linear power", "power", "natural")
_DECIBELS = ("db", "decibel", "decibels")
_BRIGHTEST = 10.0
"""Linear power: no land has a median of 10 dB. Digital numbers of products that are not calibrated are far above."""


class RadarScene(Seen):
    """One STAC item of Sentinel-1, terrain-corrected, reduced to what mapping needs."""

    orbit: Orbit = Field(description="direction of the orbit")
    track: int | None = Field(description="relative orbit: passes on one track see the same ground")
    overpass: str = Field(description="items of one overpass fill each other's gaps and count once")
    looks: float = Field(gt=0, description="equivalent number of looks")
    decibels: bool = Field(description="declared in dB; otherwise in linear power")
    bands: dict[str, Raster] = Field(description="VV and VH")

    @property
    def month(self) -> tuple[int, int]:
        """Year and month in which it was seen."""
        return self.datetime.year, self.datetime.month


def radar_from_item(item: Mapping[str, Any], href: str, signer: Signer | None = None) -> RadarScene:
    """Reduce a STAC item (JSON) to a radar scene.

    Its form is that of Planetary Computer's `sentinel-1-rtc`: assets `vv` and `vh`, the properties `sat:orbit_state`,
    `sat:absolute_orbit`, `sat:relative_orbit`, `sar:looks_equivalent_number`. The unit is what the band's `unit` says
    (STAC's raster extension, or STAC 1.1): dB, or without any linear power.

    Args:
        item: of terrain-corrected Sentinel-1.
        href: the item's own address, against which its assets' are resolved.
        signer: whose signatures its assets need.

    Raises:
        SceneUnreadable: another radar, a polarisation missing, no orbit direction, or another unit.
    """
    properties, assets = item["properties"], item["assets"]
    if (band := properties.get("sar:frequency_band", "C")) != "C":
        raise SceneUnreadable(f"of frequency band {band}, while Sentinel-1's is C")
    found = {name: asset_of(assets, name, name.lower()) for name in POLARISATIONS}
    if missing := [name for name, asset in found.items() if asset is None]:
        raise SceneUnreadable(f"without polarisation {', '.join(missing)}")
    orbit = str(properties.get("sat:orbit_state", "")).lower()
    if orbit not in ORBITS:
        raise SceneUnreadable(f"without an orbit direction (sat:orbit_state is {orbit or 'missing'})")
    units = {_unit(asset) for asset in found.values() if asset is not None}
    if len(units) > 1 or not units <= {*_POWER, *_DECIBELS}:
        raise SceneUnreadable(f"in the unit {' and '.join(sorted(units))}; dB or linear power is needed")
    when = moment_of(properties)
    platform = str(properties.get("platform") or "Sentinel-1")
    turn = properties.get("sat:absolute_orbit")
    return RadarScene(
        id=item["id"],
        collection=item.get("collection") or "",
        href=href,
        datetime=when,
        orbit=orbit,  # type: ignore[arg-type]
        track=properties.get("sat:relative_orbit"),
        overpass=f"{platform}_{f'{when:%Y%m%d}_{orbit}' if turn is None else turn}",
        looks=float(properties.get("sar:looks_equivalent_number") or ENL),
        decibels=units <= set(_DECIBELS),
        footprint=item["geometry"],
        bands={name: _raster(asset, href) for name, asset in found.items() if asset is not None},
        signer=signer,
    )


def _stated(asset: Mapping[str, Any]) -> Mapping[str, Any]:
    return (asset.get("raster:bands") or asset.get("bands") or [{}])[0]


def _unit(asset: Mapping[str, Any]) -> str:
    return str(_stated(asset).get("unit") or asset.get("unit") or "").strip().lower()


def _raster(asset: Mapping[str, Any], href: str) -> Raster:
    stated = _stated(asset)
    nodata = stated.get("nodata", asset.get("nodata"))
    # STAC writes a number that is none as "nan"; it is left out anyway, and JSON could not keep it.
    known = nodata is not None and math.isfinite(float(nodata))
    scale, offset = (stated.get(name, stated.get(f"raster:{name}")) for name in ("scale", "offset"))
    return Raster(
        href=resolved(asset["href"], href),
        nodata=float(nodata) if known else None,
        scale=1.0 if scale is None else float(scale),
        offset=float(offset or 0.0),
    )


def gamma0_of(scene: RadarScene, numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Numbers read from a scene's VV and VH, as gamma0 in linear power.

    That they have the unit which the item declares is seen by the values: linear power is above 0, and gamma0 in dB
    nearly always below, on land and on water.

    Args:
        scene: whose they are.
        numbers: `[rows, cols]` each, as the files hold them.

    Returns:
        float32 of the same shape each; 0 where there are no data: the file's own, not a number, or no power at all, as
        in the unmarked fringes of older scenes.

    Raises:
        SceneUnreadable: they are of another unit than is declared, or no gamma0 at all; with the range of the numbers.
    """
    values, known = [], []
    for found, raster in zip(numbers, scene.bands.values(), strict=True):
        known.append(np.isfinite(found) & (found != (raster.nodata or 0)))
        values.append(found.astype(np.float32) * np.float32(raster.scale) + np.float32(raster.offset))
    # One pixel of sixteen is enough to tell.
    sample = [one[::4, ::4][there[::4, ::4]] for one, there in zip(values, known, strict=True)]
    _check_unit(scene, np.concatenate(sample))
    powers = []
    for one, there in zip(values, known, strict=True):
        there &= one > 0 if not scene.decibels else True
        power = np.power(10, one / 10, where=there, out=np.zeros_like(one)) if scene.decibels else one
        powers.append(np.where(there, power, 0).astype(np.float32, copy=False))
    return powers


def _check_unit(scene: RadarScene, sample: np.ndarray) -> None:
    if not sample.size:
        return
    median, (low, high) = float(np.median(sample)), np.percentile(sample, (1, 99))
    told = f"declared in {'dB' if scene.decibels else 'linear power'}, but its numbers ({low:.3g} to {high:.3g})"
    if scene.decibels and median > 0:
        raise SceneUnreadable(f"{told} are mostly above 0, as linear power is: correct the unit of its bands")
    if not scene.decibels and median < 0:
        raise SceneUnreadable(f'{told} are mostly below 0, as dB are: give its bands the unit "dB"')
    if not scene.decibels and median > _BRIGHTEST:
        raise SceneUnreadable(f"{told} are no gamma0: give a product that is calibrated and terrain-corrected")


def encode(power: np.ndarray) -> np.ndarray:
    """Linear power as networks are shown it: uint16, (dB + 50) x 200, at least 1; 0 = missing."""
    known = power > 0
    decibels = 10 * np.log10(power, where=known, out=np.zeros(power.shape, np.float32))
    steps = np.clip(np.rint((decibels - _LOWEST) * _STEPS), 1, 65535)
    return np.where(known, steps, 0).astype(np.uint16)


def decode(channel: np.ndarray) -> np.ndarray:
    """What `encode` made, in dB: float32, not a number where it is missing."""
    decibels = channel.astype(np.float32) / np.float32(_STEPS) + np.float32(_LOWEST)
    return np.where(channel > 0, decibels, np.float32(np.nan))


def bands_apart(bands: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A network's bands of Sentinel-2, and its radar channels.

    Raises:
        BadInput: radar alone, or a band after a radar channel.
    """
    radar = tuple(band for band in bands if band in RADAR_CHANNELS)
    optical = tuple(band for band in bands if band not in RADAR_CHANNELS)
    if radar and (not optical or tuple(bands) != optical + radar):
        raise BadInput(
            f"The bands {', '.join(bands)} mix radar and light. Name bands of Sentinel-2 first, one at least, and the "
            "radar channels after them."
        )
    return optical, radar
