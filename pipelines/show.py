"""A picture of a published map with its legend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pystac
import rasterio
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling

from catalog.errors import BadInput

LONGEST_SIDE = 1200
"""Pixels of the picture; larger maps are shown through their overviews."""
_LEGEND_WIDTH = 280
_ROW = 30


def show(item: str, png: Path, asset: str = "data") -> Path:
    """Draw the class map of an item: the mapped part, its title, and the legend with each class's share.

    Args:
        item: path or URL of the item's JSON.
        png: file to write.
        asset: the class map among the item's assets.

    Raises:
        BadInput: there is no such item, or it has no class map.
    """
    try:
        found = pystac.Item.from_file(item)
    except Exception as error:
        raise BadInput(f"{item!r} cannot be read as a STAC item: {error}. Give the path or URL of an item.") from error
    if asset not in found.assets or "classification:classes" not in found.assets[asset].extra_fields:
        raise BadInput(f"Item {found.id} has no class map {asset!r}. Its assets are {', '.join(found.assets)}.")
    classes = found.assets[asset].extra_fields["classification:classes"]
    codes = _mapped_part(str(found.assets[asset].get_absolute_href()))
    counts = np.bincount(codes.ravel(), minlength=256)
    palette = np.full((256, 3), 255, np.uint8)
    for one in classes:
        if one["value"]:
            palette[one["value"]] = tuple(bytes.fromhex(one["color_hint"]))
    picture = Image.fromarray(palette[codes])
    height = max(picture.height, 90 + _ROW * len(classes))
    canvas = Image.new("RGB", (picture.width + _LEGEND_WIDTH, height), "white")
    canvas.paste(picture, (0, 0))
    draw, left = ImageDraw.Draw(canvas), picture.width + 16
    draw.text((left, 12), found.id, fill="black", font=ImageFont.load_default(22))
    draw.text((left, 42), str(found.collection_id), fill="#555555", font=ImageFont.load_default(14))
    shown = [one for one in classes if one["value"] and counts[one["value"]]]
    total = max(1, int(sum(counts[one["value"]] for one in shown)))
    for row, one in enumerate(sorted(shown, key=lambda one: -counts[one["value"]])):
        top = 74 + row * _ROW
        draw.rectangle((left, top, left + 22, top + 20), fill=f"#{one['color_hint']}", outline="#444444")
        share = 100 * counts[one["value"]] / total
        label = f"{one.get('title') or one['name']}  {f'{share:.1f}' if share >= 0.05 else '< 0.1'} %"
        draw.text((left + 32, top + 2), label, fill="black", font=ImageFont.load_default(15))
    png.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(png)
    return png


def _mapped_part(href: str) -> np.ndarray:
    """The class codes, uint8 `[h, w]`, cropped to what has data and small enough to look at."""
    with rasterio.open(href) as source:
        factor = max(1.0, max(source.shape) / 4096)
        shape = (round(source.height / factor), round(source.width / factor))
        codes = source.read(1, out_shape=shape, resampling=Resampling.nearest)
    rows, cols = np.flatnonzero(codes.any(axis=1)), np.flatnonzero(codes.any(axis=0))
    if rows.size:
        codes = codes[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    step = max(codes.shape) / LONGEST_SIDE
    size = (max(1, round(codes.shape[1] / step)), max(1, round(codes.shape[0] / step)))
    return np.asarray(Image.fromarray(codes).resize(size, Image.Resampling.NEAREST))
