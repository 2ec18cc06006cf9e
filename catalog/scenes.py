"""A scene as Landloom sees it: where its bands lie and how their numbers become reflectance."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urljoin

import shapely
from pydantic import BaseModel, ConfigDict, Field
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from catalog.atmosphere import Level, sun_zenith
from catalog.errors import SceneUnreadable
from catalog.sensors import SENSORS, Sensor, SensorName, datatake_of, hls_tile_of, sensor_of

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
"""The bands of the networks that Landloom trains, in their order; others may want others."""
Signer = Literal["planetary-computer"]
"""Whose signatures a scene's files need when they are read."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PRODUCT = re.compile(r"(S2[A-D])_MSIL\d[AC]_(\d{8}T\d{6})_")
_DATATAKE = re.compile(r"G(S2[A-D])_(\d{8}T\d{6})_")
_DATASTRIP = re.compile(r"_S(\d{8}T\d{6})_")
_FIRST_OFFSET_BASELINE = 4.0
"""From this processing baseline on ESA adds 1000 to every DN, so that dark pixels are not cut off at 0."""
_LOCAL_BASELINE = 99.0
"""Products made by users with Sen2Cor say 99.99 and carry no offset."""


class Raster(BaseModel):
    """One band's file."""

    model_config = ConfigDict(frozen=True)

    href: str = Field(description="absolute and unsigned: signed only when read")
    nodata: float | None = Field(default=0, description="value without data, in the file's own numbers")
    scale: float = Field(default=1e-4, description="reflectance = DN * scale + offset")
    offset: float = Field(default=0.0, description="the offset still in the file: 0 where the source has removed it")


class Seen(BaseModel):
    """What a scene of any satellite has: where and when it was seen, and where its STAC item lies."""

    model_config = ConfigDict(frozen=True)

    id: str
    collection: str
    href: str = Field(description="the item itself, for derived_from links")
    datetime: datetime
    footprint: dict[str, Any] = Field(description="GeoJSON geometry, longitude and latitude")
    signer: Signer | None = None

    @functools.cached_property
    def outline(self) -> BaseGeometry:
        """The footprint as a valid geometry; made once, since planning asks for it again and again."""
        return shapely.make_valid(shape(self.footprint))


class Scene(Seen):
    """One STAC item, reduced to what mapping needs."""

    datatake: str = Field(description="items with the same datatake were seen in one overpass and count once")
    datastrip: str | None = Field(description="sensing start of the part of the datatake that one station received")
    tile: str | None = Field(description="Sentinel-2's name of the 100 km square, as 48QUE")
    level: Level
    baseline: str | None
    processed: str | None = Field(description="when the product was made, ISO: the newest processing is used")
    cloud_cover: float = Field(description="per cent of the product, 0-100")
    sun_zenith: float | None = Field(default=None, description="degrees, the product's mean")
    bands: dict[str, Raster]
    scl: Raster | None = Field(default=None, description="scene classification of L2A products, or QA_PIXEL, or Fmask")
    sensor: SensorName = Field(default="sentinel-2", exclude_if=lambda sensor: sensor == "sentinel-2")
    platform: str = Field(default="", description="satellite, as landsat-8", exclude_if=lambda told: not told)
    instruments: tuple[str, ...] = Field(default=("msi",), exclude_if=lambda told: told == ("msi",))

    @property
    def gsd(self) -> int:
        """Metres a pixel."""
        return SENSORS[self.sensor].gsd


class Datatake(BaseModel):
    """All scenes of one overpass that touch a tile: one observation of each of its pixels."""

    model_config = ConfigDict(frozen=True)

    id: str
    datetime: datetime
    scenes: tuple[Scene, ...] = Field(min_length=1, description="in order of preference: the tile's own first")


class Exclusion(BaseModel):
    """A scene that was found and not used."""

    model_config = ConfigDict(frozen=True)

    scene: str
    reason: str


class AssetNames(BaseModel):
    """How a source names its assets and flags; the default fits Planetary Computer, Earth Search and their like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: dict[str, str] = Field(default={}, description="band to asset, where the names are neither B02 nor blue")
    scl: str = "SCL"
    offset_applied: str = Field(
        default="earthsearch:boa_offset_applied",
        description="property that is true where the source has removed the offset from the pixels, "
        "whatever its raster:bands say",
    )


def scene_from_item(
    item: Mapping[str, Any],
    href: str,
    names: AssetNames,
    signer: Signer | None = None,
    bands: Sequence[str] = BANDS,
    also: Sequence[str] = (),
) -> Scene:
    """Reduce a STAC item (JSON) to a scene.

    The offset is decided in this order: a flag of the source that it has been removed; scale and offset in
    `raster:bands` (or STAC 1.1's `raster:scale`); the processing baseline.

    Args:
        item: of Sentinel-2 L2A or L1C, Landsat Collection 2 Level-2, or HLS.
        href: the item's own address, against which its assets' are resolved.
        names: of the source's assets.
        signer: whose signatures its assets need.
        bands: that are wanted.
        also: bands that are taken where there are.

    Raises:
        SceneUnreadable: a band is missing, or its numbers are no reflectance.
    """
    properties, assets = item["properties"], item["assets"]
    name = sensor_of(item)
    sensor = SENSORS[name]
    rasters, missing = {}, []
    for band in dict.fromkeys([*bands, *also]):
        asset = asset_of(assets, names.bands.get(band), *sensor.bands.get(band, ()))
        if asset is None:
            missing += [band] if band in bands else []
        else:
            rasters[band] = _raster(asset, href, properties, names.offset_applied, name)
    if missing:
        raise SceneUnreadable(f"without band {', '.join(missing)}")
    scl = asset_of(assets, names.scl, *sensor.classification)
    if scl is None and name != "sentinel-2":
        raise SceneUnreadable(f"without {sensor.classification[0]}, which tells its clouds")
    product = str(properties.get("s2:product_uri") or item["id"])
    return Scene(
        id=item["id"],
        collection=item.get("collection") or "",
        href=href,
        datetime=moment_of(properties),
        datatake=_datatake(properties, product) if name == "sentinel-2" else _overpass(item, name),
        datastrip=_first(_DATASTRIP, properties.get("s2:datastrip_id")),
        tile=hls_tile_of(item) or _tile_name(properties),
        level=_level(properties, item),
        baseline=_baseline(properties),
        processed=_processed(properties, name),
        cloud_cover=float(properties.get("eo:cloud_cover") or 0.0),
        sun_zenith=_sun_zenith(item),
        footprint=item["geometry"],
        bands=rasters,
        scl=None if scl is None else Raster(href=resolved(scl["href"], href), nodata=sensor.classification_nodata),
        signer=signer,
        **({} if name == "sentinel-2" else _seen_by(properties, name)),
    )


def asset_keys(names: AssetNames, bands: Sequence[str], gsd: int) -> list[str]:
    """The keys under which a source's assets of these bands, and of the scene classification, are looked for first.

    Args:
        names: of the source's assets.
        bands: that are wanted.
        gsd: metres a pixel of the source's scenes, by which the sensors are known that it may have.
    """
    sensors = [sensor for sensor in SENSORS.values() if sensor.gsd == gsd]
    keys = [key for band in bands for key in (names.bands.get(band), *_keys(sensors, band)) if key]
    return list(dict.fromkeys([*keys, names.scl, *(key for sensor in sensors for key in sensor.classification)]))


def _keys(sensors: Sequence[Sensor], band: str) -> Iterator[str]:
    for sensor in sensors:
        yield from sensor.bands.get(band, ())


def has_bands(item: Mapping[str, Any], names: AssetNames, bands: Sequence[str]) -> bool:
    """Whether an item has an asset for each of these bands; of one that cannot be read nothing is missed."""
    try:
        sensor = SENSORS[sensor_of(item)]
    except SceneUnreadable:
        return True
    assets = item.get("assets", {})
    return all(asset_of(assets, names.bands.get(band), *sensor.bands.get(band, ())) for band in bands)


def interval_of(properties: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """When an item was seen: its own interval, or twice its moment.

    Raises:
        SceneUnreadable: it does not say.
    """
    moment = properties.get("datetime")
    start, end = properties.get("start_datetime") or moment, properties.get("end_datetime") or moment
    if not (start and end):
        raise SceneUnreadable("without a date")
    return _parse(start), _parse(end)


def moment_of(properties: Mapping[str, Any]) -> datetime:
    """When an item was seen: its `datetime`, or the middle of its interval.

    Raises:
        SceneUnreadable: it does not say.
    """
    start, end = interval_of(properties)
    return _parse(properties["datetime"]) if properties.get("datetime") else start + (end - start) / 2


def _parse(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def asset_of(assets: Mapping[str, Any], *names: str | None) -> Mapping[str, Any] | None:
    """The asset of one of these keys, or the one whose only band has one of these names."""
    known = [name for name in names if name]
    for name in known:
        if name in assets:
            return assets[name]
    for asset in assets.values():
        bands = asset.get("bands") or asset.get("eo:bands") or []
        if len(bands) == 1 and bands[0].get("name") in known and "data" in asset.get("roles", ["data"]):
            return asset
    return None


def _raster(asset: Mapping[str, Any], href: str, properties: Mapping[str, Any], flag: str, name: SensorName) -> Raster:
    stated = (asset.get("raster:bands") or asset.get("bands") or [{}])[0]
    scale = stated.get("scale", stated.get("raster:scale", asset.get("raster:scale")))
    offset = stated.get("offset", stated.get("raster:offset", asset.get("raster:offset")))
    sensor = SENSORS[name]
    nodata = stated.get("nodata", asset.get("nodata", sensor.nodata))
    if name != "sentinel-2":
        offset = sensor.offset if scale is None and offset is None else offset
    elif properties.get(flag) is True:
        offset = 0.0
    elif scale is None and offset is None:
        baseline = float(_baseline(properties) or 0)
        offset = -0.1 if _FIRST_OFFSET_BASELINE <= baseline < _LOCAL_BASELINE else 0.0
    scale = sensor.scale if scale is None else float(scale)
    if not 1e-6 <= scale <= 1e-2:
        raise SceneUnreadable(f"with scale {scale:g}, which gives no reflectance")
    return Raster(
        href=resolved(asset["href"], href),
        nodata=None if nodata is None else float(nodata),
        scale=scale,
        offset=float(offset or 0.0),
    )


def resolved(asset: str, item: str) -> str:
    """The address of an asset, which may be relative to its item's."""
    # A pattern instead of urlparse: a tile's search brings some 2,000 addresses.
    if asset.startswith("/") or _SCHEME.match(asset):
        return asset
    scheme, _, rest = item.partition("://")
    if scheme in ("s3", "gs"):
        return urljoin(f"http://{rest}", asset).replace("http", scheme, 1)
    return urljoin(item, asset)


def _datatake(properties: Mapping[str, Any], product: str) -> str:
    found = _DATATAKE.match(str(properties.get("s2:datatake_id") or "")) or _PRODUCT.match(product)
    if found:
        return f"{found[1]}_{found[2]}"
    orbit = properties.get("sat:relative_orbit")
    date = moment_of(properties)
    return f"{properties.get('platform', 'Sentinel-2')}_{date:%Y%m%d}" + ("" if orbit is None else f"_R{orbit:03d}")


def _overpass(item: Mapping[str, Any], name: SensorName) -> str:
    return datatake_of(name, item, _platform(item["properties"]) or name, f"{moment_of(item['properties']):%Y%m%d}")


def _platform(properties: Mapping[str, Any]) -> str:
    return str(properties.get("platform") or "").lower().replace("_", "-").replace(" ", "-")


def _seen_by(properties: Mapping[str, Any], name: SensorName) -> dict[str, Any]:
    told = [str(one).lower() for one in properties.get("instruments") or SENSORS[name].instruments]
    # Surface temperature is not used.
    instruments = tuple(one for one in told if one != "tirs")
    return {"sensor": name, "platform": _platform(properties), "instruments": instruments}


def _processed(properties: Mapping[str, Any], name: SensorName) -> str | None:
    told = properties.get("s2:generation_time") or properties.get("processing:datetime")
    return told if name == "sentinel-2" else told or properties.get("created")


def _tile_name(properties: Mapping[str, Any]) -> str | None:
    name = properties.get("s2:mgrs_tile") or str(properties.get("grid:code") or "").removeprefix("MGRS-")
    return str(name).removeprefix("T") or None


def _level(properties: Mapping[str, Any], item: Mapping[str, Any]) -> Level:
    told = f"{properties.get('s2:product_type', '')} {item.get('collection', '')} {item['id']}".upper()
    return "L1C" if "1C" in told.split()[0] or "L1C" in told else "L2A"


def _sun_zenith(item: Mapping[str, Any]) -> float:
    """As the product tells; else by date and place."""
    properties = item["properties"]
    if (zenith := properties.get("s2:mean_solar_zenith")) is not None:
        return float(zenith)
    if (elevation := properties.get("view:sun_elevation")) is not None:
        return 90.0 - float(elevation)
    inside = shape(item["geometry"]).representative_point()
    return sun_zenith(moment_of(properties), inside.x, inside.y)


def _baseline(properties: Mapping[str, Any]) -> str | None:
    return _baseline_in(str(properties.get("s2:processing_baseline") or properties.get("processing:version") or ""))


@functools.lru_cache(maxsize=256)
def _baseline_in(told: str) -> str | None:
    # Asked for every band of every scene, and there are few.
    found = re.search(r"\d\d?\.\d\d", told)
    return found[0] if found else None


def _first(pattern: re.Pattern[str], text: Any) -> str | None:
    found = pattern.search(str(text or ""))
    return found[1] if found else None
