"""Radar scenes of the simulated landscape (`pipelines.landscape`), as a static STAC catalog like `sentinel-1-rtc`.

The speckle is of independent pixels; that of real scenes reaches over two or three of 10 m, since they resolve 20 m.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import shapely

from catalog.errors import BadInput
from catalog.grid import RESOLUTION, Tile
from catalog.radar import ENL, ORBITS, POLARISATIONS, Orbit
from pipelines.landscape import backscatter, land_cover
from pipelines.simulate import Product, axes, footprint, strips, write_catalog, write_cog

_NODATA = -32768
_NOISE = 512
"""Pixels after which the speckle of a pass repeats: where products overlap they show the same numbers."""
_DAY = {"ascending": (8, 17), "descending": (3, 5)}
"""First day of the year, and hour, of each orbit direction."""
_TRACK = {"ascending": 44, "descending": 95}


def simulate_radar(
    out: Path,
    products: Sequence[Product],
    *,
    years: Sequence[int] = (2021, 2022),
    passes: int = 30,
    change: float = 0.1,
    looks: float = ENL,
    decibels: bool = False,
    orbits: Sequence[Orbit] = ORBITS,
    seed: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write radar scenes of the ground that `pipelines.simulate.simulate` shows with the same years, change and seed.

    Args:
        out: folder; the catalog is `radar/catalog.json` in it.
        products: ground that each pass covers.
        years: the land cover changes from each to the next.
        passes: of each orbit direction in a year, spread evenly; Sentinel-1's alone are 30.
        change: share of the change cells whose land cover changes from one year to the next.
        looks: equivalent number of looks of the speckle.
        decibels: write dB, and declare them; otherwise linear power.
        orbits: directions.
        seed: of the landscape.
        on_progress: called with the scenes written and planned.

    Returns:
        The catalog's JSON.

    Raises:
        BadInput: no passes, or no looks.
    """
    if passes < 1 or looks <= 0:
        raise BadInput(f"{passes} passes of {looks:g} looks are no radar scenes. Give one or more of both.")
    written: list[Path] = []
    planned = len(products) * len(years) * len(orbits) * passes
    folder = out / "radar" / "sentinel-1-rtc"
    for product in products:
        x, y, _ = axes(product)
        for number, year in enumerate(years):
            classes = np.concatenate([land_cover(x, y[rows], number, change, seed) for rows in strips(len(y))])
            for orbit in orbits:
                first, hour = _DAY[orbit]
                for k in range(passes):
                    on_progress(len(written), planned)
                    day = datetime(year, 1, first, hour, 30, tzinfo=UTC) + timedelta(days=int(k * 365 / passes))
                    random = np.random.default_rng([seed, number, k, ORBITS.index(orbit)])
                    gamma0 = _speckled(classes, x, y, day, orbit, seed, looks, random)
                    item = _item(product, day, orbit, number * passes + k, looks, decibels)
                    written.append(_write(folder, item, gamma0, product, decibels))
    write_catalog(out / "radar", "sentinel-1-rtc", written)
    return out / "radar" / "catalog.json"


def _speckled(
    classes: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    day: datetime,
    orbit: Orbit,
    seed: int,
    looks: float,
    random: np.random.Generator,
) -> np.ndarray:
    """gamma0 in linear power, float32 `[2, H, W]`: the mean times a gamma-distributed factor of mean 1 and variance
    1 / looks (Goodman 1976, "Some fundamental properties of speckle").
    """
    grain = random.standard_gamma(looks, (len(POLARISATIONS), _NOISE, _NOISE), np.float32) / np.float32(looks)
    across, down = (np.floor(axis / RESOLUTION).astype(np.int64) % _NOISE for axis in (x, y))
    out = np.empty((len(POLARISATIONS), *classes.shape), np.float32)
    for rows in strips(len(y)):
        mean = backscatter(classes[rows], x, y[rows], day, orbit == "ascending", seed)
        for number in range(len(POLARISATIONS)):
            out[number, rows] = mean[number] * grain[number][np.ix_(down[rows], across)]
    return out


def _write(folder: Path, item: dict, gamma0: np.ndarray, product: Product, decibels: bool) -> Path:
    home = folder / item["id"]
    home.mkdir(parents=True, exist_ok=True)
    _, _, transform = axes(product)
    for name, power in zip(POLARISATIONS, gamma0, strict=True):
        values = 10 * np.log10(power) if decibels else power
        write_cog(home / f"iw-{name.lower()}.rtc.tiff", values, transform, Tile.from_name(product.tile).epsg, _NODATA)
    path = home / f"{item['id']}.json"
    path.write_text(json.dumps(item, indent=1))
    return path


def _item(product: Product, day: datetime, orbit: Orbit, number: int, looks: float, decibels: bool) -> dict:
    tile, (_, _, transform) = Tile.from_name(product.tile), axes(product)
    geometry = footprint(transform, product.size, tile.epsg)
    raster = {"nodata": _NODATA, "data_type": "float32", "spatial_resolution": RESOLUTION}
    # As in Planetary Computer's items, linear power is not named.
    raster |= {"unit": "dB"} if decibels else {}
    start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (day, day + timedelta(seconds=25)))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": f"S1A_IW_GRDH_1SDV_{day:%Y%m%dT%H%M%S}_{product.tile}_{product.col}_{product.row}_rtc",
        "collection": "sentinel-1-rtc",
        "geometry": geometry,
        "bbox": list(shapely.geometry.shape(geometry).bounds),
        "properties": {
            "datetime": start,
            "start_datetime": start,
            "end_datetime": end,
            "platform": "SENTINEL-1A",
            "constellation": "Sentinel-1",
            "proj:code": f"EPSG:{tile.epsg}",
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:center_frequency": 5.405,
            "sar:polarizations": list(POLARISATIONS),
            "sar:product_type": "GRD",
            "sar:looks_equivalent_number": looks,
            "sat:orbit_state": orbit,
            "sat:absolute_orbit": 36000 + 1000 * ORBITS.index(orbit) + 175 * number,
            "sat:relative_orbit": _TRACK[orbit],
        },
        "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
        "assets": {
            name.lower(): {
                "href": f"./iw-{name.lower()}.rtc.tiff",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "proj:shape": list(product.size),
                "proj:transform": list(transform)[:6],
                "raster:bands": [raster],
            }
            for name in POLARISATIONS
        },
    }
