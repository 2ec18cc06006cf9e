"""A simulated landscape whose land cover is known, seen by Sentinel-2 on several dates of several years.

For what real samples lack: full tiles, seams between tiles, clouds with their true masks, change that is known. The
landscape and the clouds are functions of UTM coordinates, so that neighbouring products show the same ground.

Run as `python -m pipelines.simulate OUT --size 4000`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
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

from catalog.grid import RESOLUTION, TILE_SIZE, Tile
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS

SPECTRA = np.array(
    [
        [580, 673, 437, 250, 141, 104],
        [276, 491, 314, 2939, 1577, 760],
        [456, 865, 510, 5110, 2680, 1390],
        [624, 692, 702, 1365, 1213, 772],
        [820, 1137, 1300, 2858, 2754, 2178],
        [534, 808, 1044, 2500, 2982, 1921],
        [1500, 1600, 1700, 2000, 2100, 1900],
        [1930, 2906, 3942, 4824, 6105, 5591],
        [7328, 6864, 7260, 7464, 498, 508],
        [5600, 5500, 5400, 5700, 4300, 3300],
    ],
    np.float32,
)
"""Surface reflectance x 10,000 of each model class, `[classes, bands]`: medians of confident L2A pixels of real scenes,
but for built (whose median there is that of gardens) and cloud, which stand for roofs and for a thick cloud."""
WATER, TREES, GRASS, FLOODED, CROPS, SHRUB, BUILT, BARE, SNOW, CLOUD = range(len(MODEL_CLASSES))
CHANGE_CELL = 400
"""Metres: land cover changes in squares of this size."""
_OFFSET_FROM = datetime(2022, 1, 25, tzinfo=UTC)
"""From this day on products carry +1000 (processing baseline 04.00)."""
_STRIP = 512
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
    """
    truth: dict[tuple[str, int], Path] = {}
    cover: dict[tuple[Product, int], np.ndarray] = {}
    for product in products:
        x, y, transform = _axes(product)
        for number, year in enumerate(years):
            strips = [land_cover(x, y[rows], number, change, seed) for rows in _strips(len(y))]
            cover[product, year] = np.concatenate(strips)
            if (product.tile, year) not in truth:
                path = truth[product.tile, year] = out / "truth" / f"{product.tile}-{year}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_cog(path, cover[product, year], transform, Tile.from_name(product.tile).epsg, nodata=255)
    links = []
    for number, year in enumerate(years):
        for k in range(dates_per_year):
            day = datetime(year, 1, 8, 10, 30, tzinfo=UTC) + timedelta(days=int(k * 365 / dates_per_year))
            overpass = _Overpass(day, number, k, cloud, wedge and k % 2 == 1, seed)
            for product in products:
                links.append(_write_scene(out / "sentinel-2-l2a", product, overpass, cover[product, year]))
    _write_catalog(out, links)
    return Simulation(out / "catalog.json", truth)


def land_cover(x: np.ndarray, y: np.ndarray, year: int, change: float, seed: int) -> np.ndarray:
    """True land cover.

    Args:
        x: eastings of columns, metres, `[W]`.
        y: northings of rows, metres, `[H]`.
        year: counted from 0.
        change: share of cells that change from year to year.
        seed: of the landscape.

    Returns:
        Model classes, uint8 `[H, W]`.
    """
    height = _noise(x, y, 6000, seed) + 0.4 * _noise(x, y, 1500, seed + 1) + 0.15 * _noise(x, y, 400, seed + 2)
    moisture = _noise(x, y, 4000, seed + 3) + 0.5 * _noise(x, y, 900, seed + 4)
    river = np.abs(_noise(x, y, 9000, seed + 5) + 0.05 * _noise(x, y, 600, seed + 6))
    town = _noise(x, y, 3000, seed + 7) + 0.3 * _noise(x, y, 500, seed + 8)
    classes = np.full(height.shape, GRASS, np.uint8)
    classes[moisture < -0.25] = SHRUB
    classes[moisture > 0.2] = TREES
    parcels = _cells(x, y, (240, 160), seed + 9)
    classes[(np.abs(height) < 0.45) & (parcels < 0.75) & (moisture < 0.35)] = CROPS
    classes[moisture < -0.75] = BARE
    grain = _cells(x, y, (40, 40), seed + 10)
    classes[(town > 0.55) & (grain < 0.8)] = BUILT
    classes[height > 0.95] = BARE
    classes[height > 1.1] = SNOW
    classes[(height < -0.85) | (river < 0.07)] = FLOODED
    classes[(height < -0.95) | (river < 0.04)] = WATER
    for passed in range(1, year + 1):
        changing = _cells(x, y, (CHANGE_CELL, CHANGE_CELL), seed + 100 + passed) < change
        before = classes.copy()
        classes[changing & (before == TREES)] = CROPS
        classes[changing & ((before == GRASS) | (before == SHRUB))] = BUILT
        classes[changing & (before == CROPS)] = GRASS
    return classes


@dataclass(frozen=True)
class _Overpass:
    """One date."""

    day: datetime
    year: int
    """Counted from 0."""
    number: int
    """Within the year."""
    cloud: float
    wedge: bool
    seed: int

    def clouds(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Opacity, 0-1, `[H, W]`."""
        seed = self.seed + 1000 * (self.year + 1) + self.number
        share = self.cloud * (0.2 + 1.6 * _hash(np.array([self.number]), np.array([self.year]), seed)[0])
        field = _noise(x, y, 5000, seed) + 0.35 * _noise(x, y, 900, seed + 500)
        # The field is about normal with this deviation; its quantile gives the share.
        limit = 0.42 * float(np.sqrt(2) * _inverse_erf(1 - 2 * min(share, 0.98)))
        return np.clip((field - limit) * 5, 0, 1) if share > 0 else np.zeros(field.shape, np.float32)

    def look(self, classes: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reflectance x 10,000 `[bands, H, W]`, and scene classification `[H, W]`, over a true land cover `[H, W]`."""
        season = float(np.cos(2 * np.pi * (self.day.timetuple().tm_yday - 200) / 365))
        # In winter fields and meadows are drier: less infrared, more red and short-wave infrared.
        winter = np.array([1.05, 1.02, 1.15, 0.8, 1.05, 1.1], np.float32)
        spectra = SPECTRA.copy()
        spectra[[CROPS, GRASS]] *= 1 + (winter - 1) * np.float32((1 - season) / 2)
        marsh, frost = 10, 11
        spectra = np.vstack([spectra, 0.7 * SPECTRA[FLOODED] + 0.3 * SPECTRA[WATER], SPECTRA[SNOW]])
        shown = classes.copy()
        shown[(classes == FLOODED) & (_noise(x, y, 300, self.seed + 20) > season)] = marsh
        if season < -0.8:
            shown[(_noise(x, y, 6000, self.seed) > 0.5) & (classes != WATER)] = frost
        light = 1 + 0.05 * _noise(x, y, 60, self.seed + 21) + 0.03 * (_cells(x, y, (10, 10), self.seed + 22) - 0.5)
        opacity = self.clouds(x, y)
        shadow = (self.clouds(x + 320, y - 260) > 0.5) & (opacity < 0.1)
        light[shadow] *= np.float32(0.4)
        cloudy = opacity > 0
        reflectance = np.empty((len(BANDS), *classes.shape), np.float32)
        for number in range(len(BANDS)):
            np.multiply(spectra[:, number][shown], light, out=reflectance[number])
            thick = opacity[cloudy]
            reflectance[number][cloudy] = reflectance[number][cloudy] * (1 - thick) + SPECTRA[CLOUD, number] * thick
        scl = np.array([6, 4, 4, 4, 5, 4, 5, 5, 11, 9, 4, 11], np.uint8)[shown]
        scl[shadow] = 3
        scl[opacity > 0.2] = 8
        scl[opacity > 0.6] = 9
        return reflectance, scl


def _noise(x: np.ndarray, y: np.ndarray, wavelength: float, seed: int) -> np.ndarray:
    """Smooth noise, about -1..1, `[H, W]`: random values on a lattice, joined by cubics; the same wherever cut out."""
    (rows, along_y), (cols, along_x) = _joints(y, wavelength), _joints(x, wavelength)
    lattice = 2 * _hash(cols[np.newaxis, :], rows[:, np.newaxis], seed) - 1
    return along_y @ lattice @ along_x.T


def _joints(positions: np.ndarray, wavelength: float) -> tuple[np.ndarray, np.ndarray]:
    """Lattice points round positions, and the weights of each position on them."""
    scaled = positions / wavelength
    floor = np.floor(scaled).astype(np.int64)
    points = np.arange(floor.min(), floor.max() + 2)
    part = (scaled - floor).astype(np.float32)
    smooth = part * part * (3 - 2 * part)
    weights = np.zeros((len(positions), len(points)), np.float32)
    each = np.arange(len(positions))
    weights[each, floor - points[0]] = 1 - smooth
    weights[each, floor - points[0] + 1] = smooth
    return points, weights


def _cells(x: np.ndarray, y: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    """A random number 0-1 for each rectangle of a chequered plane, `[H, W]`."""
    cols, rows = np.floor(x / size[0]).astype(np.int64), np.floor(y / size[1]).astype(np.int64)
    first_col, first_row = cols.min(), rows.min()
    lattice = _hash(np.arange(first_col, cols.max() + 1)[None], np.arange(first_row, rows.max() + 1)[:, None], seed)
    return lattice[(rows - first_row)[:, None], (cols - first_col)[None]]


def _hash(col: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    """A random number 0-1 that depends on nothing but its arguments."""
    with np.errstate(over="ignore"):
        value = col.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ row.astype(np.uint64) * np.uint64(
            0xC2B2AE3D27D4EB4F
        )
        value ^= np.uint64(seed) * np.uint64(0x165667B19E3779F9)
        for _ in range(2):
            value ^= value >> np.uint64(29)
            value *= np.uint64(0xBF58476D1CE4E5B9)
        value ^= value >> np.uint64(32)
    return ((value >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)).astype(np.float32)


def _inverse_erf(value: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(value))


def _axes(product: Product) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Pixel centres and transform of a product."""
    tile = Tile.from_name(product.tile)
    left = tile.left + product.col * RESOLUTION + product.shift
    top = tile.top - product.row * RESOLUTION - product.shift
    x = left + (np.arange(product.size[1]) + 0.5) * RESOLUTION
    y = top - (np.arange(product.size[0]) + 0.5) * RESOLUTION
    return x, y, Affine(RESOLUTION, 0, left, 0, -RESOLUTION, top)


def _strips(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _STRIP):
        yield slice(start, min(start + _STRIP, rows))


def _write_scene(folder: Path, product: Product, overpass: _Overpass, classes: np.ndarray) -> Path:
    """Write one product on one date; returns its item's JSON."""
    tile = Tile.from_name(product.tile)
    x, y, transform = _axes(product)
    day, offset = overpass.day, 1000 if overpass.day >= _OFFSET_FROM else 0
    dn = np.empty((len(BANDS), *product.size), np.uint16)
    scl = np.empty(product.size, np.uint8)
    random = np.random.default_rng([overpass.seed, overpass.year, overpass.number])
    noise = random.integers(-25, 26, (len(BANDS), _NOISE, _NOISE), np.int8)
    across, down = (np.floor(axis / RESOLUTION).astype(np.int64) % _NOISE for axis in (x, y))
    for rows in _strips(len(y)):
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
        _write_cog(home / f"{band}.tif", values, transform @ Affine.scale(step), tile.epsg, nodata=0)
        assets[band] = _asset(band, values.shape, transform @ Affine.scale(step), -offset / 10000)
    _write_cog(home / "SCL.tif", scl[::2, ::2], transform @ Affine.scale(2), tile.epsg, nodata=0)
    assets["SCL"] = _asset("SCL", scl[::2, ::2].shape, transform @ Affine.scale(2), None)
    bounds = rasterio.transform.array_bounds(*product.size, transform)
    outline = shapely.segmentize(shapely.box(*bounds), 5000)
    geometry = transform_geom(f"EPSG:{tile.epsg}", "EPSG:4326", json.loads(shapely.to_geojson(outline)))
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


def _write_cog(path: Path, values: np.ndarray, transform: Affine, epsg: int, nodata: int) -> None:
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


def _write_catalog(out: Path, items: Sequence[Path]) -> None:
    collection = {
        "type": "Collection",
        "id": "sentinel-2-l2a",
        "stac_version": "1.1.0",
        "description": "Simulated Sentinel-2 scenes",
        "license": "CC0-1.0",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [
            {"rel": "item", "href": f"./{path.parent.name}/{path.name}", "type": "application/geo+json"}
            for path in items
        ],
    }
    (out / "sentinel-2-l2a" / "collection.json").write_text(json.dumps(collection, indent=1))
    catalog = {
        "type": "Catalog",
        "id": "simulated",
        "stac_version": "1.1.0",
        "description": "A simulated landscape",
        "links": [{"rel": "child", "href": "./sentinel-2-l2a/collection.json", "type": "application/json"}],
    }
    (out / "catalog.json").write_text(json.dumps(catalog, indent=1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tile", default="33UUU")
    parser.add_argument("--size", type=int, default=1000, help="pixels of 10 m, up to 10,980")
    parser.add_argument("--at", default="0,0", help="first column and row, pixels of the tile")
    parser.add_argument("--years", default="2021,2022")
    parser.add_argument("--dates", type=int, default=5, help="dates a year")
    parser.add_argument("--cloud", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    col, row = (int(v) for v in arguments.at.split(","))
    simulation = simulate(
        arguments.out,
        [Product(arguments.tile, col, row, (arguments.size, arguments.size))],
        years=[int(year) for year in arguments.years.split(",")],
        dates_per_year=arguments.dates,
        cloud=arguments.cloud,
        seed=arguments.seed,
    )
    print(simulation.catalog)


if __name__ == "__main__":
    main()
