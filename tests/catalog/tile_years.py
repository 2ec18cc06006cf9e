"""Tile-years to publish in tests: a manifest, small COGs made from a synthetic class map, and the item."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from catalog.assets import AssetFile
from catalog.cog import label_classes, plain_profile, write_cog, write_thumbnail
from catalog.collections import rebuild
from catalog.grid import Tile, owned_geometry
from catalog.items import build_item
from catalog.legend import Legend, load_legend
from catalog.manifest import Manifest, Period
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS, Datatake, Raster, Scene
from catalog.store import Store, open_store


def manifest_of(
    tile: str = "48QUE", period: Period | None = None, *, legend: Legend | None = None, version: str = "1"
) -> Manifest:
    """One scene of 5 June, to be mapped by the network `unet` in the given version."""
    taken = datetime(2020, 6, 5, 3, 35, tzinfo=UTC)
    scene = Scene(
        id=f"S2A_{tile}_20200605",
        collection="sentinel-2-l2a",
        href=f"https://example.com/sentinel-2-l2a/S2A_{tile}_20200605",
        datetime=taken,
        datatake="GS2A_20200605T033541_025863",
        datastrip=None,
        tile=tile,
        level="L2A",
        baseline="02.14",
        processed=None,
        cloud_cover=3.0,
        footprint={"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        bands={band: Raster(href=f"https://example.com/{band}.tif") for band in BANDS},
    )
    return Manifest(
        request="0" * 16,
        tile=tile,
        period=period or Period.of_year(2020),
        requested=(0,),
        blocks=(0,),
        datatakes=(Datatake(id=scene.datatake, datetime=taken, scenes=(scene,)),),
        model=ModelSpec(id="unet", version=version, bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=32, sha256="ab"),
        legend=legend or load_legend("nine"),
        min_observations=1,
        scores=False,
        software="0.1.0",
    )


def class_map(legend: Legend, size: int = 700, seed: int = 0) -> np.ndarray:
    """uint8 `[size, size]`: patches of every class with single odd pixels, and no data in one corner."""
    random = np.random.default_rng(seed)
    codes = np.array([one.code for one in legend.classes], np.uint8)
    patches = codes[random.integers(0, len(codes), (size // 20 + 1, size // 20 + 1))]
    data = np.kron(patches, np.ones((20, 20), np.uint8))[:size, :size]
    odd = random.random(data.shape) < 0.1
    data[odd] = random.choice(codes, int(odd.sum()))
    data[: size // 4, : size // 4] = legend.nodata
    return data


def write_plain(
    path: Path, bands: np.ndarray, transform: Affine, epsg: int, *, nodata: int, legend: Legend | None
) -> None:
    """A plain GeoTIFF of `[bands, H, W]`, with the palette if a legend is given."""
    with rasterio.open(
        path,
        "w",
        height=bands.shape[1],
        width=bands.shape[2],
        count=bands.shape[0],
        dtype=bands.dtype,
        nodata=nodata,
        crs=f"EPSG:{epsg}",
        transform=transform,
        **plain_profile(legend),
    ) as plain:
        if legend:
            label_classes(plain, legend)
        plain.write(bands)


def item_of(manifest: Manifest, assets: list[AssetFile], shape: tuple[int, int] = (700, 700)) -> dict[str, Any]:
    """The item of a tile-year of which the north-western corner is mapped."""
    tile = Tile.from_name(manifest.tile)
    counts = np.bincount(class_map(manifest.legend, shape[0]).ravel(), minlength=256)
    content = build_item(
        manifest,
        epsg=tile.epsg,
        transform=tile.transform,
        shape=shape,
        geometry=owned_geometry(tile, (0, shape[0], 0, shape[1])),
        scenes=list(manifest.datatakes[0].scenes),
        left_out=[],
        odd=[],
        class_pixels=counts,
        looks=int(counts[1:].sum()) * 12,
        assets=assets,
    )
    return json.loads(content)


def register(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Write an item without its files, for tests of what is derived from items."""
    names = ("data", "confidence", "observations", "thumbnail")
    files = [
        AssetFile(name, f"{name}.{'png' if name == 'thumbnail' else 'tif'}", 1, "1220" + "00" * 32) for name in names
    ]
    item = item_of(manifest, files)
    store.write(manifest.item_key, json.dumps(item).encode())
    return item


def publish(store: Store, manifest: Manifest, folder: Path, size: int = 700) -> dict[str, Any]:
    """Write a whole tile-year: COGs of so many pixels a side, thumbnail, item."""
    tile, legend = Tile.from_name(manifest.tile), manifest.legend
    data = class_map(legend, size)
    layers = {
        "data": data,
        "confidence": np.where(data == 0, 0, 73).astype(np.uint8),
        "observations": np.where(data == 0, 0, 12).astype(np.uint16),
    }
    files = []
    for name, layer in layers.items():
        plain, cog = folder / f"{name}.plain.tif", folder / f"{name}.tif"
        named = legend if name == "data" else None
        write_plain(plain, layer[np.newaxis], tile.transform, tile.epsg, nodata=0, legend=named)
        write_cog(plain, cog, classes=name == "data")
        files.append(AssetFile.of(name, cog))
    write_thumbnail(folder / "data.tif", folder / "thumbnail.png", legend)
    files.append(AssetFile.of("thumbnail", folder / "thumbnail.png"))
    for file in files:
        store.upload(f"{manifest.folder}/{manifest.fingerprint}/{file.file}", folder / file.file)
    item = item_of(manifest, files, (size, size))
    store.write(manifest.item_key, json.dumps(item).encode())
    return item


def publish_all(out: Path, *maps: tuple[str, int], folder: Path, size: int = 700) -> Store:
    """A catalog of whole annual maps, of tiles and years; files are made in `folder`."""
    store = open_store(str(out))
    for tile, year in maps:
        publish(store, manifest_of(tile, Period.of_year(year)), folder, size)
    rebuild(store)
    return store
