"""The assets of an item: the files, and how the legend and the number formats are told in STAC.

Fields stand in today's form (`classification:classes`, STAC 1.1's `nodata` and `data_type`) and, where code written
for io-lulc-9-class looks for them, in the older one as well (`file:values`, `raster:bands`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac

from catalog.legend import CLOUD, Legend
from catalog.manifest import Manifest
from catalog.season import SEASON_BANDS, SEASON_NODATA, SEASON_TITLES, band_scales

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
TITLES = {
    "data": ("Land cover", "Class of each pixel, by its published code"),
    "confidence": (
        "Confidence",
        "Per cent: how probable it is that the class is right where landloom:confidence says calibrated, else the "
        "share of the vote; 0 = none",
    ),
    "observations": ("Observations", "Number of clear looks at each pixel"),
    "scores": ("Scores", "Share of the vote of each class of the network, in per cent, one band a class"),
    "seasons": (
        "Season",
        "NDVI and EVI through the year at each pixel: percentiles, amplitude, day of the peak, a harmonic fit of two "
        "terms with its residual, and the number of looks; with fewer than 6 of them to be used with care",
    ),
    "thumbnail": ("Thumbnail", "The mapped part in the legend's colours"),
}


@dataclass(frozen=True)
class AssetFile:
    """A file that is published with an item."""

    name: str
    """The asset's key: `data`, `confidence`, `observations`, `scores`, `seasons` or `thumbnail`."""
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


def class_list(legend: Legend) -> list[dict[str, Any]]:
    """A legend as `classification:classes`."""
    nothing = {"value": legend.nodata, "name": "no_data", "title": "No Data", "description": "No Data", "nodata": True}
    return [
        nothing,
        *(
            {"value": c.code, "name": c.name, "title": c.title, "description": c.title, "color_hint": c.color.upper()}
            for c in legend.classes
        ),
    ]


def legend_tree(legend: Legend) -> dict[str, Any]:
    """The properties that tell the whole tree of a legend and the level that is shown; none of a flat legend."""
    if not legend.tree:
        return {}
    classes = [
        {"value": c.code, "name": c.name, "title": c.title, "color_hint": c.color.upper(), "parent": c.parent}
        for c in legend.tree
    ]
    shown = {c.name: list(c.model_classes) for c in legend.classes}
    return {
        "landloom:legend_level": legend.level,
        # Roots have no parent: servers drop a null.
        "landloom:legend_tree": [{k: v for k, v in one.items() if v is not None} for one in classes],
        "landloom:model_classes": shown,
    }


def file_values(classes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`classification:classes` as `file:values`, the form in which code written for io-lulc-9-class reads them."""
    return [{"values": [one["value"]], "summary": one["title"]} for one in classes]


def build_asset(file: AssetFile, manifest: Manifest) -> pystac.Asset:
    """The STAC asset of a file, its href relative to the item."""
    title, description = TITLES[file.name]
    fields: dict[str, Any] = {"file:size": file.size, "file:checksum": file.checksum}
    if file.name == "data":
        fields["file:values"] = file_values(class_list(manifest.legend))
        fields["classification:classes"] = class_list(manifest.legend)
    if file.name != "thumbnail":
        fields |= _bands(file.name, manifest)
    return pystac.Asset(
        href=f"./{manifest.fingerprint}/{file.file}",
        title=title,
        description=description,
        media_type="image/png" if file.name == "thumbnail" else COG,
        roles=["thumbnail"] if file.name == "thumbnail" else ["data"],
        extra_fields=fields,
    )


def _bands(name: str, manifest: Manifest) -> dict[str, Any]:
    """Number format and no data: as STAC 1.1 says it, and in `raster:bands` for readers that do not know 1.1."""
    if name == "seasons":
        return season_bands(manifest.gsd)
    common: dict[str, Any] = {"data_type": "uint16" if name == "observations" else "uint8"}
    if name != "observations":  # There, 0 is a number of looks like any other.
        common["nodata"] = 255 if name == "scores" else 0
    if name in ("confidence", "scores"):
        common["unit"] = "%"
    band = {**common, "spatial_resolution": manifest.gsd, "sampling": "area"}
    if name != "scores":
        return {**common, "raster:bands": [band]}
    land = [one for one in manifest.model.classes if one != CLOUD]
    return {**common, "bands": [{"name": one} for one in land], "raster:bands": [{**band, "name": one} for one in land]}


def season_bands(gsd: int) -> dict[str, Any]:
    """Bands of the asset `seasons`: numbers times `scale` are values; STAC 1.1's own fields have no word for that."""
    common = {"data_type": "int16", "nodata": SEASON_NODATA}
    bands, raster = [], []
    for name, scale in zip(SEASON_BANDS, band_scales(), strict=True):
        unit = {"unit": "day of the year"} if name.endswith("_day") else {}
        bands.append({"name": name, "description": SEASON_TITLES[name.partition("_")[2] or name], **unit})
        sampled = {"spatial_resolution": gsd, "sampling": "area", "scale": scale, "offset": 0.0}
        raster.append({"name": name, **common, **unit, **sampled})
    return {**common, "bands": bands, "raster:bands": raster}


def renders(legend: Legend, *, seasons: bool = False) -> dict[str, Any]:
    """How a viewer shows the assets, as the render extension says it."""
    ndvi = {"assets": ["seasons"], "nodata": SEASON_NODATA}
    of_season = {
        "season": {
            "title": "NDVI: 90th, 50th and 10th percentile of the year as red, green and blue",
            **ndvi,
            "bidx": [SEASON_BANDS.index(f"ndvi_p{share}") + 1 for share in (90, 50, 10)],
            "rescale": [[0, 9000]] * 3,
        },
        "season-amplitude": {
            "title": "NDVI: highest less lowest of the year's curve",
            **ndvi,
            "bidx": [SEASON_BANDS.index("ndvi_amplitude") + 1],
            "rescale": [[0, 8000]],
            "colormap_name": "viridis",
        },
    }
    return {
        **(of_season if seasons else {}),
        "land-cover": {
            "title": "Land cover",
            "assets": ["data"],
            "nodata": legend.nodata,
            "colormap": _colormap(legend),
            "resampling": "nearest",
        },
        "confidence": {
            "title": "Confidence, per cent",
            "assets": ["confidence"],
            "nodata": 0,
            "rescale": [[0, 100]],
            "colormap_name": "viridis",
        },
    }


def _colormap(legend: Legend) -> dict[str, list[int]]:
    return {str(code): list(rgba) for code, rgba in legend.palette().items() if code}
