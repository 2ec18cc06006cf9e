"""Scenes of the simulated landscape as Landsat sees it, in the form of Collection 2 Level-2, as a static STAC catalog.

For what the real ones have and Sentinel-2 has not: QA_PIXEL, corners half a pixel off the grid of the maps, rows of one
path that overlap, Landsat 7's scan-line gaps, northings below zero south of the equator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine

from catalog.clear import grow
from catalog.errors import BadInput
from catalog.grid import RESOLUTION, Tile
from catalog.scenes import BANDS
from pipelines.landscape import Overpass, land_cover
from pipelines.simulate import Product, Simulation, footprint, write_catalog, write_cog

PIXEL, FINE = 30, 3
"""Metres a pixel, and simulated pixels along one."""
_ASSETS = ("blue", "green", "red", "nir08", "swir16", "swir22")
"""Of the bands, in their order."""
_PATH, _ROWS = 193, (23, 24)
_GAPS_FROM = datetime(2003, 5, 31, tzinfo=UTC)
"""From this day on Landsat 7's scan lines left gaps."""
_LINES, _WIDEST = 33, 14
"""Pixels from gap to gap, and how many of them one has at the edge of the swath."""


def simulate_landsat(
    out: Path,
    products: Sequence[Product],
    *,
    years: Sequence[int] = (1990, 2010),
    dates_per_year: int = 5,
    cloud: float = 0.3,
    change: float = 0.1,
    seed: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Simulation:
    """Write a simulation.

    Args:
        out: folder for the catalog and, under `truth/`, the true land cover: of each pixel of the maps' grid the class
            that most of its nine simulated pixels have.
        products: the ground that each overpass sees, in pixels of 10 m; each is cut into two rows.
        years: the land cover changes from each to the next.
        dates_per_year: overpasses, spread evenly over the year, by Landsat 5, 7, 8 and 9, as they flew.
        cloud: mean share of cloud; it varies from date to date.
        change: share of the change cells whose land cover changes from one year to the next.
        seed: another one, another landscape.
        on_progress: called with the scenes written and planned.

    Raises:
        BadInput: years before Landsat 5, or a product that is too small.
    """
    smallest = min(side for product in products for side in product.size)
    if min(years) < 1984 or smallest < 100:
        raise BadInput(
            f"Years {', '.join(map(str, years))} and {smallest} px cannot be simulated. Give years from 1984 (Landsat "
            "5) and 100 px of 10 m or more."
        )

    def write(product: Product, tile: Tile, overpass: Overpass) -> list[Path]:
        return _write_overpass(out / "landsat-c2-l2", product, tile, overpass, change)

    dates = Dates(years, dates_per_year, cloud, change, seed)
    return write_simulation(out, "landsat-c2-l2", products, dates, write, on_progress)


@dataclass(frozen=True)
class Dates:
    """When a ground is seen, and how; see `simulate_landsat`."""

    years: Sequence[int]
    dates_per_year: int
    cloud: float
    change: float
    seed: int


def write_simulation(
    out: Path,
    collection: str,
    products: Sequence[Product],
    dates: Dates,
    write: Callable[[Product, Tile, Overpass], list[Path]],
    on_progress: Callable[[int, int], None],
) -> Simulation:
    """Write the truth of each year, what `write(product, tile, overpass)` makes of each date, and the catalog of all.

    Args:
        out: as of `simulate_landsat`.
        collection: of the scenes.
        products: likewise.
        dates: likewise.
        write: returns the JSON of the items that it wrote.
        on_progress: likewise.
    """
    truth, links = {}, list[Path]()
    planned = len(products) * len(dates.years) * dates.dates_per_year
    for product in products:
        tile = Tile.from_name(product.tile, PIXEL)
        for number, year in enumerate(dates.years):
            truth[product.tile, year] = out / "truth" / f"{product.tile}-{year}.tif"
            _write_truth(truth[product.tile, year], product, tile, number, dates.change, dates.seed)
            for k in range(dates.dates_per_year):
                day = datetime(year, 1, 8, 10, 5, tzinfo=UTC) + timedelta(days=int(k * 365 / dates.dates_per_year))
                written = write(product, tile, Overpass(day, number, k, dates.cloud, False, dates.seed))
                links += written
                on_progress(len(links), planned * len(written))
    write_catalog(out, collection, links)
    return Simulation(out / "catalog.json", truth)


def _write_truth(path: Path, product: Product, tile: Tile, number: int, change: float, seed: int) -> None:
    """Write the land cover of the year of that number: of each pixel the class of most of its nine."""
    x, y, transform = axes(product, tile, 0)
    fine = land_cover(x, y, number, change, seed)
    counts = np.stack([means(fine == one) for one in range(int(fine.max()) + 1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cog(path, counts.argmax(axis=0).astype(np.uint8), transform, tile.epsg, nodata=255)


def axes(product: Product, tile: Tile, shift: int) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Centres of the simulated pixels and transform of the large ones, from a line of the maps' grid less a shift."""
    grid = tile.transform
    col, row = (start * RESOLUTION // PIXEL for start in (product.col, product.row))
    transform = Affine(PIXEL, 0, grid.c + col * PIXEL - shift, 0, -PIXEL, grid.f - row * PIXEL + shift)
    rows, cols = (side // FINE for side in product.size)
    step = PIXEL / FINE
    x = transform.c + (np.arange(cols * FINE) + 0.5) * step
    y = transform.f - (np.arange(rows * FINE) + 0.5) * step
    return x, y, transform


def means(values: np.ndarray) -> np.ndarray:
    """Of three by three, `[…, H, W]` to `[…, H / 3, W / 3]`."""
    rows, cols = (side // FINE for side in values.shape[-2:])
    return values.reshape(*values.shape[:-2], rows, FINE, cols, FINE).mean(axis=(-3, -1))


def _write_overpass(folder: Path, product: Product, tile: Tile, overpass: Overpass, change: float) -> list[Path]:
    """Write both rows of one date; returns their items' JSON."""
    x, y, transform = axes(product, tile, PIXEL // 2)
    classes = land_cover(x, y, overpass.year, change, overpass.seed)
    reflectance, scl = overpass.look(classes, x, y)
    satellite = _satellite(overpass)
    noise = np.random.default_rng([overpass.seed, overpass.year, overpass.number]).normal(0, 10, (len(BANDS), 1, 1))
    numbers = np.rint((means(reflectance) + noise + 2000) / 0.275).clip(1, 65535).astype(np.uint16)
    quality = _qa_pixel(scl[1::FINE, 1::FINE], satellite)
    if satellite == 7 and overpass.day >= _GAPS_FROM:
        # Each band's detectors lie a little elsewhere, and so do its gaps.
        for band, plane in enumerate(numbers):
            plane[_gaps(plane.shape, 2 * band)] = 0
        quality[_gaps(quality.shape, 0)] = 1
    height = quality.shape[0]
    rows = (slice(0, round(height * 0.55)), slice(round(height * 0.45), height))
    return [
        _write_scene(folder, tile, overpass.day, satellite, number, numbers[:, part], quality[part],
                     transform @ Affine.translation(0, part.start))
        for number, part in zip(_ROWS, rows, strict=True)
    ]  # fmt: skip


def _satellite(overpass: Overpass) -> int:
    year, second = overpass.day.year, overpass.number % 2 == 1
    if year < 2013:
        return 7 if second and year >= 1999 else 5
    return 9 if second and year >= 2022 else 8


def _qa_pixel(scl: np.ndarray, satellite: int) -> np.ndarray:
    """QA_PIXEL of a scene classification, `[H, W]`."""
    cloud, shadow, snow, water = np.isin(scl, (8, 9)), scl == 3, scl == 11, scl == 6
    dilated = grow(cloud, 2) & ~cloud
    found = np.full(scl.shape, 0b01_01_01 << 8 | (0b01 << 14 if satellite >= 8 else 0), np.uint16)
    for bit, flag in ((1, dilated), (3, cloud), (4, shadow), (5, snow), (6, ~cloud & ~dilated), (7, water)):
        found[flag] |= np.uint16(1 << bit)
    # From unlikely (1) to likely (3).
    for bit, flag in ((8, cloud), (10, shadow), (12, snow)):
        found[flag] |= np.uint16(3 << bit)
    return found


def _gaps(shape: tuple[int, int], shift: int) -> np.ndarray:
    """Boolean `[H, W]`: wedges along the rows, none in the middle of the swath and widest at its edges."""
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return (rows + shift) % _LINES < _WIDEST * np.abs(2 * cols / shape[1] - 1)


def _write_scene(
    folder: Path,
    tile: Tile,
    day: datetime,
    satellite: int,
    row: int,
    numbers: np.ndarray,
    quality: np.ndarray,
    transform: Affine,
) -> Path:
    """Write one scene; returns its item's JSON."""
    # South of the equator, too, Landsat counts northings from it, in the zones of the north.
    epsg = 32600 + tile.zone
    transform = Affine.translation(0, -10_000_000 if epsg != tile.epsg else 0) @ transform
    instruments = {5: ["tm"], 7: ["etm"]}.get(satellite, ["oli", "tirs"])
    letter = {5: "T", 7: "E"}.get(satellite, "C")
    name = f"L{letter}{satellite:02d}_L2SP_{_PATH}{row:03d}_{day:%Y%m%d}_02_T1"
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    assets: dict[str, dict[str, Any]] = {}
    for asset, plane in zip(_ASSETS, numbers, strict=True):
        write_cog(home / f"{asset}.tif", plane, transform, epsg, nodata=0)
        raster = {"nodata": 0, "data_type": "uint16", "scale": 2.75e-05, "offset": -0.2}
        assets[asset] = _asset(asset, "reflectance", raster)
    write_cog(home / "qa_pixel.tif", quality, transform, epsg, nodata=1)
    assets["qa_pixel"] = _asset("qa_pixel", "cloud", {"data_type": "uint16", "unit": "bit index"})
    geometry = footprint(transform, quality.shape, epsg)
    seen = quality != 1
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            "https://stac-extensions.github.io/view/v1.0.0/schema.json",
        ],
        "id": name,
        "collection": "landsat-c2-l2",
        "geometry": geometry,
        "bbox": list(shapely.geometry.shape(geometry).bounds),
        "properties": {
            "datetime": f"{day + timedelta(seconds=24 * (row - _ROWS[0])):%Y-%m-%dT%H:%M:%SZ}",
            "created": f"{day + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
            "platform": f"landsat-{satellite}",
            "instruments": instruments,
            "gsd": 30,
            "eo:cloud_cover": round(100 * float((quality >> 3 & 1)[seen].mean()), 1),
            "view:sun_elevation": 40.0,
            "proj:epsg": epsg,
            "proj:shape": list(quality.shape),
            "proj:transform": list(transform)[:6],
            "landsat:wrs_type": "2",
            "landsat:wrs_path": str(_PATH),
            "landsat:wrs_row": f"{row:03d}",
            "landsat:collection_category": "T1",
            "landsat:collection_number": "02",
            "landsat:correction": "L2SP",
        },
        "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
        "assets": assets,
    }
    path = home / f"{name}.json"
    path.write_text(json.dumps(item, indent=1))
    return path


def _asset(name: str, role: str, raster: dict[str, Any]) -> dict[str, Any]:
    media = "image/tiff; application=geotiff; profile=cloud-optimized"
    return {"href": f"./{name}.tif", "type": media, "roles": [role], "raster:bands": [raster]}
