"""Scenes of the simulated landscape as NASA's Harmonized Landsat Sentinel-2 (2.0) has them, as a static STAC catalog.

Signed numbers with -9999 where there are none, Fmask, and bands numbered as on the satellite that saw them: Landsat's
near infrared is B05, and its B11 is a thermal band.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine

from catalog.clear import grow
from catalog.errors import BadInput
from catalog.grid import Tile
from pipelines.landscape import Overpass, land_cover
from pipelines.simulate import Product, Simulation, footprint, write_cog
from pipelines.simulate_landsat import FINE, Dates, axes, means, write_simulation

_NAMES = {"S30": ("B02", "B03", "B04", "B8A", "B11", "B12"), "L30": ("B02", "B03", "B04", "B05", "B06", "B07")}
"""Assets of the bands, in their order."""
_NONE = -9999


def simulate_hls(
    out: Path,
    products: Sequence[Product],
    *,
    years: Sequence[int] = (2021, 2022),
    dates_per_year: int = 5,
    cloud: float = 0.3,
    change: float = 0.1,
    seed: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Simulation:
    """Write a simulation; arguments as of `pipelines.simulate_landsat.simulate_landsat`.

    Sentinel-2 and Landsat 8 take turns.

    Raises:
        BadInput: years before Landsat 8.
    """
    if min(years) < 2013:
        raise BadInput(f"Year {min(years)} has no HLS. Give years from 2013 (Landsat 8).")

    def write(product: Product, tile: Tile, overpass: Overpass) -> list[Path]:
        x, y, transform = axes(product, tile, 0)
        classes = land_cover(x, y, overpass.year, change, seed)
        reflectance, scl = overpass.look(classes, x, y)
        numbers = np.rint(means(reflectance)).astype(np.int16)
        kind = "L30" if overpass.number % 2 else "S30"
        flags = _fmask(scl[1::FINE, 1::FINE])
        return [_write_granule(out / "hls", tile, overpass.day, kind, numbers, flags, transform)]

    return write_simulation(out, "hls", products, Dates(years, dates_per_year, cloud, change, seed), write, on_progress)


def _fmask(scl: np.ndarray) -> np.ndarray:
    """Fmask of a scene classification, `[H, W]`, with little aerosol everywhere."""
    cloud = np.isin(scl, (8, 9))
    flags = ((1, cloud), (2, grow(cloud, 2) & ~cloud), (3, scl == 3), (4, scl == 11), (5, scl == 6))
    found = np.full(scl.shape, 1 << 6, np.uint8)
    for bit, flag in flags:
        found[flag] |= np.uint8(1 << bit)
    return found


def _write_granule(
    folder: Path, tile: Tile, day: datetime, kind: str, numbers: np.ndarray, flags: np.ndarray, transform: Affine
) -> Path:
    """Write one granule; returns its item's JSON."""
    name = f"HLS.{kind}.T{tile.name}.{day:%Y%jT%H%M%S}.v2.0"
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    planes = dict(zip(_NAMES[kind], numbers, strict=True))
    if kind == "L30":
        planes["B11"] = np.full(flags.shape, 2900, np.int16)  # Degrees Celsius x 100.
    for asset, plane in planes.items():
        write_cog(home / f"{asset}.tif", plane, transform, tile.epsg, nodata=_NONE)
    write_cog(home / "Fmask.tif", flags, transform, tile.epsg, nodata=255)
    geometry = footprint(transform, flags.shape, tile.epsg)
    media = "image/tiff; application=geotiff; profile=cloud-optimized"
    assets: dict[str, Any] = {
        asset: {"href": f"./{asset}.tif", "type": media, "roles": ["data"], "eo:bands": [{"name": asset}]}
        for asset in (*planes, "Fmask")
    }
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.0.0/schema.json"],
        "id": name,
        "collection": f"hls2-{kind.lower()}",
        "geometry": geometry,
        "bbox": list(shapely.geometry.shape(geometry).bounds),
        "properties": {
            "datetime": f"{day:%Y-%m-%dT%H:%M:%SZ}",
            "platform": "sentinel-2a" if kind == "S30" else "landsat-8",
            "instruments": ["msi"] if kind == "S30" else ["oli", "tirs"],
            "eo:cloud_cover": round(100 * float((flags >> 1 & 1).mean()), 1),
        },
        "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
        "assets": assets,
    }
    path = home / f"{name}.json"
    path.write_text(json.dumps(item, indent=1))
    return path
