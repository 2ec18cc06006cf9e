"""Small catalogs of categorical maps, drawn as arrays of published codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine

from catalog.assets import class_list
from catalog.legend import load_legend

NINE = class_list(load_legend("nine"))
WATER, TREES, CROPS, BUILT, CLOUDS, RANGELAND = 1, 2, 5, 7, 10, 11
"""Codes of the legend of nine classes."""
UTM = Affine(10, 0, 500_000, 0, -10, 5_800_000)
"""On the central meridian of zone 33, at 52 degrees north."""


def write_map(
    folder: Path,
    codes: np.ndarray,
    year: int,
    *,
    place: str = "33UVU",
    crs: str = "EPSG:32633",
    transform: Affine = UTM,
    classes: list[dict[str, Any]] | None = None,
    collection: str = "maps",
    **properties: str,
) -> Path:
    """One item with its map, uint8 `[H, W]`; its path."""
    name = f"{place}-{year}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 1, "dtype": codes.dtype, "nodata": 0, "crs": crs, "transform": transform}
    with rasterio.open(folder / name / "map.tif", "w", height=codes.shape[0], width=codes.shape[1], **profile) as file:
        file.write(codes, 1)
    left, top = transform.c, transform.f
    right, bottom = transform @ (codes.shape[1], codes.shape[0])
    to_lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    ring = shapely.segmentize(shapely.box(left, bottom, right, top), max(right - left, top - bottom) / 20)
    ground = shapely.transform(ring, lambda xy: np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1])))
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": collection,
        "geometry": shapely.geometry.mapping(ground),
        "bbox": list(ground.bounds),
        "properties": {
            "datetime": f"{year}-01-01T00:00:00Z",
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
            "grid:code": f"MGRS-{place}",
            **properties,
        },
        "assets": {"data": {"href": "./map.tif", "classification:classes": NINE if classes is None else classes}},
        "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
    }
    path = folder / name / f"{name}.json"
    path.write_text(json.dumps(item))
    return path


def write_collection(folder: Path) -> str:
    """A static collection of all items of a folder; the path of its JSON."""
    items = sorted(path.relative_to(folder) for path in folder.glob("*/*.json"))
    collection = {
        "type": "Collection",
        "id": "maps",
        "stac_version": "1.1.0",
        "description": "Maps",
        "license": "other",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [{"rel": "item", "href": f"./{item}", "type": "application/geo+json"} for item in items],
    }
    (folder / "collection.json").write_text(json.dumps(collection))
    return str(folder / "collection.json")


def write_years(folder: Path, *maps: np.ndarray, first: int = 2017, **options: Any) -> str:
    """A collection of one place's maps in years that follow each other."""
    for year, codes in enumerate(maps, start=first):
        write_map(folder, np.asarray(codes, np.uint8), year, **options)
    return write_collection(folder)
