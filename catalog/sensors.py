"""The families of scenes that maps are made from: their items' names of bands, what numbers mean, how fine they are.

Networks name bands as Sentinel-2 does. Landsat's are those of Collection 2 Level-2 (USGS product guides LSDS-1618 and
LSDS-1619), HLS's those of version 2.0 (its User Guide), where bands are numbered as on the satellite that saw them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog.errors import SceneUnreadable

SensorName = Literal["sentinel-2", "landsat", "hls-l30", "hls-s30"]
_COMMON_NAMES = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
}
ALL_BANDS = tuple(_COMMON_NAMES)
"""Every band that a network may want."""


@dataclass(frozen=True)
class Sensor:
    """One family."""

    title: str
    gsd: int
    """Metres a pixel, of its finest bands."""
    bands: Mapping[str, tuple[str, ...]]
    """Names of the assets of each band, those tried first first."""
    classification: tuple[str, ...]
    """Names of the asset that tells clouds and shadows."""
    classification_nodata: int = 0
    scale: float = 1e-4
    """Reflectance = number x scale + offset, where the item does not say."""
    offset: float = 0.0
    nodata: int = 0
    instruments: tuple[str, ...] = field(default=())
    """Where the item does not say."""


SENSORS: Mapping[SensorName, Sensor] = {
    "sentinel-2": Sensor(
        title="Sentinel-2",
        gsd=10,
        bands={band: (band, common) for band, common in _COMMON_NAMES.items()},
        classification=("SCL", "scl"),
        instruments=("msi",),
    ),
    "landsat": Sensor(
        title="Landsat Collection 2 Level-2",
        gsd=30,
        bands={
            "B01": ("coastal",),
            "B02": ("blue",),
            "B03": ("green",),
            "B04": ("red",),
            "B08": ("nir08",),
            "B8A": ("nir08",),
            "B11": ("swir16",),
            "B12": ("swir22",),
        },
        classification=("qa_pixel",),
        classification_nodata=1,
        scale=2.75e-5,
        offset=-0.2,
    ),
    # The narrow band of Sentinel-2 is the one that matches Landsat's near infrared.
    "hls-s30": Sensor(
        title="HLS 2.0",
        gsd=30,
        bands={band: ("B8A",) if band == "B08" else (band,) for band in ALL_BANDS},
        classification=("Fmask",),
        classification_nodata=255,
        nodata=-9999,
        instruments=("msi",),
    ),
    "hls-l30": Sensor(
        title="HLS 2.0",
        gsd=30,
        bands={
            "B01": ("B01",),
            "B02": ("B02",),
            "B03": ("B03",),
            "B04": ("B04",),
            "B08": ("B05",),
            "B8A": ("B05",),
            "B11": ("B06",),
            "B12": ("B07",),
        },
        classification=("Fmask",),
        classification_nodata=255,
        nodata=-9999,
        instruments=("oli",),
    ),
}
_LANDSAT = re.compile(r"L[COTEM]0\d_(L\d\w\w)_")
_HLS = re.compile(r"HLS\.([LS])30\.T(\d\d[A-Z]{3})\.(\d{7})T(\d{6})")


def sensor_of(item: Mapping[str, Any]) -> SensorName:
    """Which family a STAC item belongs to: by its ID, or by its collection.

    Raises:
        SceneUnreadable: Landsat without surface reflectance.
    """
    properties, collection = item["properties"], str(item.get("collection") or "").lower()
    landsat = _LANDSAT.match(item["id"])
    if landsat or collection.startswith("landsat"):
        level = str(properties.get("landsat:correction") or (landsat[1] if landsat else "L2"))
        if not level.startswith("L2"):
            raise SceneUnreadable(f"of level {level}, which is no surface reflectance: Level-2 is needed")
        return "landsat"
    if hls := _HLS.match(item["id"]):
        return "hls-l30" if hls[1] == "L" else "hls-s30"
    if "hls" in collection and ("l30" in collection or "s30" in collection):
        return "hls-l30" if "l30" in collection else "hls-s30"
    return "sentinel-2"


def datatake_of(name: SensorName, item: Mapping[str, Any], platform: str, day: str) -> str:
    """What was seen in one overpass: scenes of one name count once.

    Landsat cuts a path into rows, which overlap. HLS cuts overpasses into tiles: those of Sentinel-2 bear the time of
    their datatake, those of Landsat their own, but no satellite of its sees a place twice a day.

    Args:
        name: of the family, not Sentinel-2's own.
        item: STAC item.
        platform: satellite, as `landsat-8`.
        day: on which it was seen, `20200417`.
    """
    properties = item["properties"]
    if name == "landsat":
        path = str(properties.get("landsat:wrs_path") or item["id"][10:13])
        return f"{platform}_{day}_P{path.zfill(3)}"
    hls = _HLS.match(item["id"])
    if name == "hls-s30" and hls:
        return f"hls-s30_{hls[3]}T{hls[4]}"
    return f"{name}_{platform}_{day}"


def hls_tile_of(item: Mapping[str, Any]) -> str | None:
    """The tile of an item of HLS."""
    found = _HLS.match(item["id"])
    return found[2] if found else None
