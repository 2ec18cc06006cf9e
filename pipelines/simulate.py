"""Scenes of a simulated landscape (`pipelines.landscape`) on several dates of several years, as a static STAC catalog.

For what real samples lack: full tiles, seams between tiles, clouds with their true masks, change that is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.warp import transform_geom

from catalog.errors import BadInput
from catalog.grid import RESOLUTION, TILE_SIZE, Tile
from catalog.scenes import BANDS
from pipelines.landscape import Overpass, land_cover

_OFFSET_FROM = datetime(2022, 1, 25, tzinfo=UTC)
"""From this day on products carry +1000 (processing baseline 04.00)."""
_STRIP = 512
PRODUCT_SIDE = 10_980
"""Pixels along a product's sides: its tile's, and an overlap to the east and south."""
_NOISE = 1024
"""Pixels after which the noise of an overpass repeats: where products overlap they show the same numbers."""


@dataclass(frozen=True)
class Product:
    """What one simulated product covers."""

    tile: str
    col: int = 0
    """First column, pixels of the tile."""
    row: int = 0
    size: tuple[int, int] = (1000, 1000)
    """Rows and columns, even numbers, at most 10,980."""
    part: int = 0
    """Products of one tile that were cut in two have different parts."""
    shift: float = 0.0
    """Metres by which the grid is moved to the south-east, as in products warped by others."""


@dataclass(frozen=True)
class Simulation:
    """A written simulation."""

    catalog: Path
    """The static STAC catalog's JSON."""
    truth: dict[tuple[str, int], Path]
    """Product's tile and year to a GeoTIFF of model classes (uint8, on the first product of that tile)."""


def simulate(
    out: Path,
    products: Sequence[Product],
    *,
    years: Sequence[int] = (2021, 2022),
    dates_per_year: int = 5,
    cloud: float = 0.3,
    change: float = 0.1,
    wedge: bool = False,
    seed: int = 1,
    phenology: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Simulation:
    """Write a simulation.

    Args:
        out: folder for the catalog and, under `truth/`, the true land cover.
        products: what each overpass delivers.
        years: the land cover changes from each to the next.
        dates_per_year: overpasses, spread evenly over the year.
        cloud: mean share of cloud; it varies from date to date.
        change: share of the change cells whose land cover changes from one year to the next.
        wedge: leave every second overpass without data beyond a slanting swath edge.
        seed: another one, another landscape.
        phenology: vegetation changes through the year as `pipelines.phenology` says.
        on_progress: called with the scenes written and planned.

    Raises:
        BadInput: a product that does not fit its tile or has an odd side, or numbers that cannot be.
    """
    _check(products, years, dates_per_year, cloud)
    truth: dict[tuple[str, int], Path] = {}
    cover: dict[tuple[Product, int], np.ndarray] = {}
    for product in products:
        x, y, transform = axes(product)
        for number, year in enumerate(years):
            parts = [land_cover(x, y[rows], number, change, seed) for rows in strips(len(y))]
            cover[product, year] = np.concatenate(parts)
            if (product.tile, year) not in truth:
                path = truth[product.tile, year] = out / "truth" / f"{product.tile}-{year}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_cog(path, cover[product, year], transform, Tile.from_name(product.tile).epsg, nodata=255)
    links: list[Path] = []
    for number, year in enumerate(years):
        for k in range(dates_per_year):
            day = datetime(year, 1, 8, 10, 30, tzinfo=UTC) + timedelta(days=int(k * 365 / dates_per_year))
            overpass = Overpass(day, number, k, cloud, wedge and k % 2 == 1, seed, phenology)
            for product in products:
                on_progress(len(links), len(years) * dates_per_year * len(products))
                links.append(_write_scene(out / "sentinel-2-l2a", product, overpass, cover[product, year]))
    write_catalog(out, "sentinel-2-l2a", links)
    return Simulation(out / "catalog.json", truth)


def _check(products: Sequence[Product], years: Sequence[int], dates: int, cloud: float) -> None:
    for one in products:
        last = max(one.col + one.size[1], one.row + one.size[0])
        if min(one.size) < 2 or any(side % 2 for side in one.size) or min(one.col, one.row) < 0 or last > PRODUCT_SIDE:
            raise BadInput(
                f"{one.size[1]} x {one.size[0]} px from column {one.col}, row {one.row} are no part of a tile. Give "
                f"even sides, since there are bands of 20 m, within its {PRODUCT_SIDE:,} px."
            )
    if not years or dates < 1 or not 0 <= cloud <= 1:
        raise BadInput(
            f"{len(years)} years of {dates} dates with a share of cloud of {cloud} are no scenes. Give one year and "
            "one date or more, and a share from 0 to 1."
        )


def axes(product: Product) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Pixel centres and transform of a product."""
    tile = Tile.from_name(product.tile)
    left = tile.left + product.col * RESOLUTION + product.shift
    top = tile.top - product.row * RESOLUTION - product.shift
    x = left + (np.arange(product.size[1]) + 0.5) * RESOLUTION
    y = top - (np.arange(product.size[0]) + 0.5) * RESOLUTION
    return x, y, Affine(RESOLUTION, 0, left, 0, -RESOLUTION, top)


def strips(rows: int) -> Iterator[slice]:
    """Rows worked on at a time."""
    for start in range(0, rows, _STRIP):
        yield slice(start, min(start + _STRIP, rows))


def _write_scene(folder: Path, product: Product, overpass: Overpass, classes: np.ndarray) -> Path:
    """Write one product on one date; returns its item's JSON."""
    tile = Tile.from_name(product.tile)
    x, y, transform = axes(product)
    day, offset = overpass.day, 1000 if overpass.day >= _OFFSET_FROM else 0
    dn = np.empty((len(BANDS), *product.size), np.uint16)
    scl = np.empty(product.size, np.uint8)
    random = np.random.default_rng([overpass.seed, overpass.year, overpass.number])
    noise = random.integers(-25, 26, (len(BANDS), _NOISE, _NOISE), np.int8)
    across, down = (np.floor(axis / RESOLUTION).astype(np.int64) % _NOISE for axis in (x, y))
    for rows in strips(len(y)):
        reflectance, scl[rows] = overpass.look(classes[rows], x, y[rows])
        for number in range(len(BANDS)):
            numbers = reflectance[number] + noise[number][np.ix_(down[rows], across)]
            dn[number, rows] = np.clip(numbers, 1, 20_000).astype(np.uint16) + np.uint16(offset)
        if overpass.wedge:
            # The swath's edge runs from north-north-east to south-south-west through the tile's middle.
            edge = tile.left + TILE_SIZE * RESOLUTION / 2 + (y[rows] - (tile.bottom + tile.top) / 2) * 0.2
            beyond = x[np.newaxis] > edge[:, np.newaxis]
            dn[:, rows][:, beyond] = 0
            scl[rows][beyond] = 0
    baseline = "04.00" if offset else "03.01"
    sensed, orbit = f"{day:%Y%m%dT%H%M%S}", 22 + 43 * (overpass.number % 2)
    begun = day + timedelta(seconds=7 * product.part)
    name = f"S2A_MSIL2A_{sensed}_R{orbit:03d}_T{product.tile}_{day:%Y%m%d}T2{product.part}0000"
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    assets: dict[str, dict[str, Any]] = {}
    for number, band in enumerate(BANDS):
        step = 2 if band in ("B11", "B12") else 1
        values = dn[number] if step == 1 else _coarser(dn[number])
        write_cog(home / f"{band}.tif", values, transform @ Affine.scale(step), tile.epsg, nodata=0)
        assets[band] = _asset(band, values.shape, transform @ Affine.scale(step), -offset / 10000)
    write_cog(home / "SCL.tif", scl[::2, ::2], transform @ Affine.scale(2), tile.epsg, nodata=0)
    assets["SCL"] = _asset("SCL", scl[::2, ::2].shape, transform @ Affine.scale(2), None)
    geometry = footprint(transform, product.size, tile.epsg)
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": geometry,
        "bbox": list(shapely.geometry.shape(geometry).bounds),
        "properties": {
            "datetime": f"{day:%Y-%m-%dT%H:%M:%SZ}",
            "platform": "Sentinel-2A",
            "constellation": "Sentinel 2",
            "eo:cloud_cover": round(100 * float(np.isin(scl, (8, 9)).mean()), 1),
            "grid:code": f"MGRS-{product.tile}",
            "proj:code": f"EPSG:{tile.epsg}",
            "sat:relative_orbit": orbit,
            "s2:mgrs_tile": product.tile,
            "s2:processing_baseline": baseline,
            "s2:product_type": "S2MSI2A",
            "s2:datatake_id": f"GS2A_{sensed}_{overpass.number:06d}_N{baseline}",
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_SIM_{sensed}_S{begun:%Y%m%dT%H%M%S}_N{baseline}",
        },
        "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
        "assets": assets,
    }
    path = home / f"{name}.json"
    path.write_text(json.dumps(item, indent=1))
    return path


def _coarser(values: np.ndarray) -> np.ndarray:
    """Means of two by two pixels; no data where any is."""
    four = values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2)
    mean = np.rint(four.astype(np.float32).mean(axis=(1, 3))).astype(np.uint16)
    mean[(four == 0).any(axis=(1, 3))] = 0
    return mean


def _asset(name: str, shape: tuple[int, ...], transform: Affine, offset: float | None) -> dict:
    raster = {"nodata": 0, "data_type": "uint8" if offset is None else "uint16", "spatial_resolution": transform.a}
    if offset is not None:
        raster |= {"scale": 0.0001, "offset": offset}
    return {
        "href": f"./{name}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "proj:shape": list(shape),
        "proj:transform": list(transform)[:6],
        "raster:bands": [raster],
    }


def write_cog(path: Path, values: np.ndarray, transform: Affine, epsg: int, nodata: int) -> None:
    """Write one band as a COG."""
    profile = {
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": values.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": transform,
        "nodata": nodata,
    }
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", **profile) as plain:
            plain.write(values, 1)
        with memory.open() as plain:
            rasterio.shutil.copy(
                plain, path, driver="COG", compress="DEFLATE", level=1, predictor="STANDARD", blocksize=512
            )


def footprint(transform: Affine, shape: tuple[int, ...], epsg: int) -> dict[str, Any]:
    """The ground of a raster of `[H, W]` pixels, as GeoJSON in longitude and latitude."""
    outline = shapely.segmentize(shapely.box(*rasterio.transform.array_bounds(*shape, transform)), 5000)
    geometry: dict[str, Any] = transform_geom(f"EPSG:{epsg}", "EPSG:4326", json.loads(shapely.to_geojson(outline)))
    return geometry


def write_catalog(out: Path, collection_id: str, items: Sequence[Path]) -> None:
    """Write collection and catalog of scenes that lie in folders of their own under `out/collection_id`."""
    collection = {
        "type": "Collection",
        "id": collection_id,
        "stac_version": "1.1.0",
        "description": f"Simulated scenes of {collection_id}",
        "license": "CC0-1.0",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [
            {"rel": "item", "href": f"./{path.parent.name}/{path.name}", "type": "application/geo+json"}
            for path in items
        ],
    }
    (out / collection_id / "collection.json").write_text(json.dumps(collection, indent=1))
    catalog = {
        "type": "Catalog",
        "id": "simulated",
        "stac_version": "1.1.0",
        "description": "A simulated landscape",
        "links": [{"rel": "child", "href": f"./{collection_id}/collection.json", "type": "application/json"}],
    }
    (out / "catalog.json").write_text(json.dumps(catalog, indent=1))
