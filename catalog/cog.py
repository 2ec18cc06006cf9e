"""Cloud Optimized GeoTIFFs, and the picture that stands for one in a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from PIL import Image
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rio_cogeo.cogeo import cog_validate

from catalog.errors import StoreError
from catalog.legend import Legend

BLOCK = 512
_CACHE_MB = 256
"""GDAL's block cache while a COG is written, whatever the size of the map."""
_THUMBNAIL = 512


def plain_profile(legend: Legend | None) -> dict[str, Any]:
    """How the GeoTIFF is made from which `write_cog` copies: tiled, quickly compressed, empty parts left out."""
    profile = {
        "driver": "GTiff",
        "tiled": True,
        "interleave": "band",
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "sparse_ok": True,
        "bigtiff": "IF_SAFER",
    }
    return {**profile, "photometric": "PALETTE"} if legend else profile


def label_classes(plain: rasterio.io.DatasetWriter, legend: Legend) -> None:
    """Give band 1 the legend's palette, and its class names as the band's metadata (`CLASS_1=Water`)."""
    plain.write_colormap(1, legend.palette())
    plain.update_tags(1, **{f"CLASS_{one.code}": one.title for one in legend.classes})


def write_cog(plain: Path, cog: Path, *, classes: bool, overviews: str = "") -> None:
    """Copy a GeoTIFF to a COG and check it; the palette, no data and band names come along.

    Overviews show the most frequent class of the pixels below, or the mean of values: averaged class codes would be
    other classes. Memory stays bounded: GDAL works by blocks.

    Args:
        plain: made with `plain_profile`; the overviews are added to it.
        cog: file to write, DEFLATE, 512 px blocks.
        classes: whether the pixels are class codes.
        overviews: name of how they are made (`rasterio.enums.Resampling`), where it is neither of these.

    Raises:
        StoreError: there is no room for it, or what came out is no valid COG.
    """
    try:
        with rasterio.Env(
            GDAL_CACHEMAX=_CACHE_MB,
            GDAL_TIFF_INTERNAL_MASK=True,
            GDAL_TIFF_OVR_BLOCKSIZE=BLOCK,
            GDAL_NUM_THREADS="ALL_CPUS",
        ):
            # Made beforehand, band by band: the COG driver makes those of many bands ten times more slowly.
            with rasterio.open(plain, "r+") as source:
                factors = [2**k for k in range(1, _overviews(source.width, source.height) + 1)]
                if factors:
                    source.build_overviews(factors, Resampling[overviews or ("mode" if classes else "average")])
            rasterio.shutil.copy(
                plain,
                cog,
                driver="COG",
                blocksize=BLOCK,
                compress="DEFLATE",
                level=6,
                num_threads="ALL_CPUS",
                predictor="NO" if classes else "STANDARD",
                overviews="FORCE_USE_EXISTING" if factors else "NONE",
                sparse_ok=True,
                bigtiff="IF_SAFER",
            )
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise StoreError(f"Cannot write {cog.name} in {cog.parent}: {error}. Is the temporary folder full?") from error
    valid, problems, _ = cog_validate(cog, quiet=True)
    if not valid:
        raise StoreError(f"{cog} is not a valid COG: {'; '.join(problems)}. Is the temporary folder full?")


def _overviews(width: int, height: int) -> int:
    """How many overviews: until one fits into a block, but none of just a block's width that is longer.

    Validators take such a one, 512 x 514 px, for untiled. Blocks of a tile are 2048 px wide, so it is not rare.
    """
    count = 0
    while max(width, height) > BLOCK:
        width, height = -(-width // 2), -(-height // 2)
        if width == BLOCK < height:
            break
        count += 1
    return count


def write_thumbnail(cog: Path, png: Path, legend: Legend) -> None:
    """A PNG of the mapped part of a class map, at most 512 px a side, in the legend's colours."""
    with rasterio.open(cog) as source:
        scale = max(1.0, max(source.shape) / 2048)
        codes = source.read(1, out_shape=(round(source.height / scale), round(source.width / scale)))
    rows, cols = np.flatnonzero(codes.any(axis=1)), np.flatnonzero(codes.any(axis=0))
    if rows.size:
        codes = codes[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    colors = np.zeros((256, 4), np.uint8)
    for code, rgba in legend.palette().items():
        colors[code] = rgba
    step = max(codes.shape) / _THUMBNAIL
    size = (max(1, round(codes.shape[1] / step)), max(1, round(codes.shape[0] / step)))
    small = np.asarray(Image.fromarray(codes).resize(size, Image.Resampling.NEAREST))
    Image.fromarray(colors[small]).save(png)
