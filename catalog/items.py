"""The STAC item of a published tile-year. Its JSON beside the COGs is the truth; everything else is derived from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pystac
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from catalog.grid import RESOLUTION, Tile
from catalog.legend import CLOUD, Legend
from catalog.manifest import Manifest
from catalog.scenes import Exclusion, Scene
from catalog.store import NotFound, Store

EXTENSIONS = [
    "https://stac-extensions.github.io/classification/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/render/v2.0.0/schema.json",
]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_FINGERPRINT = "landloom:fingerprint"
_TITLES = {
    "data": ("Land cover", "Class of each pixel, by its published code"),
    "confidence": ("Confidence", "Share of the vote that the class won, in per cent, lower with few looks; 0 = none"),
    "observations": ("Observations", "Number of clear looks at each pixel"),
    "scores": ("Scores", "Share of the vote of each class of the network, in per cent, one band a class"),
    "thumbnail": ("Thumbnail", "The mapped part in the legend's colours"),
}


@dataclass(frozen=True)
class AssetFile:
    """A file that is published with an item."""

    name: str
    """The asset's key: `data`, `confidence`, `observations`, `scores` or `thumbnail`."""
    file: str
    size: int
    checksum: str
    """Multihash of the SHA-256, hexadecimal."""

    @classmethod
    def of(cls, name: str, path: Path) -> AssetFile:
        """Measure a file."""
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while chunk := source.read(1 << 22):
                digest.update(chunk)
        # 0x12 is SHA-256 in the multihash table, 0x20 its length.
        return cls(name, path.name, path.stat().st_size, "1220" + digest.hexdigest())


def build_item(
    manifest: Manifest,
    *,
    epsg: int,
    transform: Affine,
    shape: tuple[int, int],
    geometry: BaseGeometry,
    scenes: Sequence[Scene],
    left_out: Sequence[Exclusion],
    odd: Sequence[Exclusion],
    class_pixels: np.ndarray,
    looks: int,
    assets: Sequence[AssetFile],
) -> bytes:
    """The JSON of a tile-year's item.

    Args:
        manifest: what it was made from.
        epsg: of the COGs.
        transform: of the COGs.
        shape: rows and columns of the COGs.
        geometry: the part that is mapped, longitude and latitude.
        scenes: that were used.
        left_out: scenes that could not be read.
        odd: scenes that were used, but are implausible.
        class_pixels: `[256]`, pixels of each published code.
        looks: clear looks, summed over pixels.
        assets: the files.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (manifest.period.start, manifest.period.end))
    left, top = transform.c, transform.f
    bbox = [left, top - shape[0] * RESOLUTION, left + shape[1] * RESOLUTION, top]
    seen = int(class_pixels[1:].sum())
    legend = manifest.legend
    item = pystac.Item(
        id=manifest.id,
        geometry=_rounded(geometry),
        bbox=[round(value, 7) for value in geometry.bounds],
        # Not null, and the same for all items of a period: loaders group by it.
        datetime=manifest.period.start,
        properties={
            "start_datetime": start,
            "end_datetime": end,
            "created": now,
            "updated": now,
            "title": f"Land cover {manifest.tile} {manifest.period.label}",
            "gsd": RESOLUTION,
            "io:tile_id": manifest.tile,
            "grid:code": f"MGRS-{manifest.tile}",
            "proj:code": f"EPSG:{epsg}",
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
            "proj:bbox": bbox,
            "proj:centroid": _centroid(epsg, bbox),
            "processing:level": "L4",
            "processing:datetime": now,
            "processing:lineage": (
                f"{len(manifest.datatakes)} datatakes of Sentinel-2 {'/'.join(sorted({s.level for s in scenes}))} "
                f"classified by {manifest.model.id} {manifest.model.version} and voted month by month"
            ),
            "processing:software": {"landloom": manifest.software},
            "landloom:recipe": manifest.recipe,
            _FINGERPRINT: manifest.fingerprint,
            "landloom:legend": f"{legend.id} {legend.version}",
            "landloom:model": f"{manifest.model.id} {manifest.model.version}",
            "landloom:blocks": list(manifest.blocks),
            "landloom:datatakes": len(manifest.datatakes),
            "landloom:mean_observations": round(looks / seen, 2) if seen else 0,
            "landloom:class_pixels": {c.name: int(class_pixels[c.code]) for c in legend.classes},
            "landloom:scenes_left_out": [exclusion.model_dump() for exclusion in left_out],
            "landloom:scenes_implausible": [exclusion.model_dump() for exclusion in odd],
            "renders": {"land-cover": {"title": "Land cover", "assets": ["data"], "colormap": _colormap(legend)}},
        },
        stac_extensions=EXTENSIONS,
        collection=manifest.period.collection,
    )
    for file in assets:
        item.add_asset(file.name, _asset(file, manifest))
    item.add_link(pystac.Link("collection", "../../collection.json", "application/json"))
    item.add_link(pystac.Link("parent", "../../collection.json", "application/json"))
    item.add_link(pystac.Link("root", "../../../catalog.json", "application/json"))
    for scene in scenes:
        item.add_link(pystac.Link("derived_from", scene.href, "application/geo+json", title=scene.id))
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    content["links"].append(
        {"rel": "via", "href": f"./{manifest.fingerprint}/manifest.json", "type": "application/json", "title": "Manifest"}
    )
    return json.dumps(content, indent=1).encode()


def fingerprint_of(item: bytes | None) -> str | None:
    """The fingerprint in an item's JSON."""
    return None if item is None else str(json.loads(item)["properties"][_FINGERPRINT])


def published_fingerprint(store: Store, key: str) -> str | None:
    """The fingerprint of the item under a key, or None if none is published there."""
    try:
        return fingerprint_of(store.read(key))
    except NotFound:
        return None


def class_list(legend: Legend) -> list[dict[str, Any]]:
    """A legend as `classification:classes`."""
    nothing = {"value": legend.nodata, "name": "no_data", "title": "No data", "description": "No data", "nodata": True}
    return [
        nothing,
        *(
            {"value": c.code, "name": c.name, "title": c.title, "description": c.title, "color_hint": c.color.upper()}
            for c in legend.classes
        ),
    ]


def file_values(legend: Legend) -> list[dict[str, Any]]:
    """A legend as `file:values`, the form in which code written for io-lulc-9-class reads it."""
    return [
        {"values": [legend.nodata], "summary": "No Data"},
        *({"values": [c.code], "summary": c.title} for c in legend.classes),
    ]


def _asset(file: AssetFile, manifest: Manifest) -> pystac.Asset:
    title, description = _TITLES[file.name]
    fields: dict[str, Any] = {"file:size": file.size, "file:checksum": file.checksum}
    if file.name == "data":
        fields["file:values"] = file_values(manifest.legend)
        fields["classification:classes"] = class_list(manifest.legend)
    if file.name != "thumbnail":
        fields["raster:bands"] = _raster_bands(file.name, manifest)
    return pystac.Asset(
        href=f"./{manifest.fingerprint}/{file.file}",
        title=title,
        description=description,
        media_type="image/png" if file.name == "thumbnail" else COG,
        roles=["thumbnail"] if file.name == "thumbnail" else ["data"],
        extra_fields=fields,
    )


def _raster_bands(name: str, manifest: Manifest) -> list[dict[str, Any]]:
    band = {"spatial_resolution": RESOLUTION, "sampling": "area"}
    if name == "observations":
        return [{**band, "data_type": "uint16"}]
    if name != "scores":
        return [{**band, "data_type": "uint8", "nodata": 0, **({"unit": "%"} if name == "confidence" else {})}]
    land = [one for one in manifest.model.classes if one != CLOUD]
    return [{**band, "data_type": "uint8", "nodata": 255, "unit": "%", "name": one} for one in land]


def _colormap(legend: Legend) -> dict[str, list[int]]:
    return {str(code): list(rgba) for code, rgba in legend.palette().items() if code}


def _centroid(epsg: int, bbox: list[float]) -> dict[str, float]:
    to_lonlat = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    lon, lat = to_lonlat.transform((bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2)
    return {"lat": round(lat, 6), "lon": round(lon, 6)}


def _rounded(geometry: BaseGeometry) -> dict[str, Any]:
    # 7 decimals are a centimetre.
    return json.loads(shapely.to_geojson(shapely.set_precision(geometry, 1e-7)))


def tile_of(item: dict[str, Any]) -> Tile:
    """The tile of an item's JSON."""
    return Tile.from_name(item["properties"]["io:tile_id"])
