"""A Sentinel-2 scene as Landloom sees it: where its bands lie and how their numbers become reflectance."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
"""The network's bands, in its order."""


class Raster(BaseModel):
    """One band's file."""

    model_config = ConfigDict(frozen=True)

    href: str = Field(description="absolute and unsigned: signed only when read")
    nodata: float | None = Field(default=0, description="value without data, in the file's own numbers")
    scale: float = Field(default=1e-4, description="reflectance = DN * scale + offset")
    offset: float = Field(default=0.0, description="the offset still in the file: 0 where the source has removed it")


class Scene(BaseModel):
    """One STAC item of Sentinel-2, reduced to what mapping needs."""

    model_config = ConfigDict(frozen=True)

    id: str
    collection: str
    href: str = Field(description="the item itself, for derived_from links")
    datetime: datetime
    datatake: str = Field(description="items with the same datatake were seen in one overpass and count once")
    tile: str | None = Field(description="Sentinel-2's name of the 100 km square, as 48QUE")
    level: Literal["L1C", "L2A"]
    baseline: str | None
    processed: datetime | None = Field(description="when the product was made: the newest processing is used")
    orbit: int | None
    cloud_cover: float = Field(description="per cent of the product, 0-100")
    footprint: dict[str, Any] = Field(description="GeoJSON geometry, longitude and latitude")
    bands: dict[str, Raster]
    scl: Raster | None = Field(default=None, description="scene classification of L2A products")
    signer: Literal["planetary-computer"] | None = None


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
