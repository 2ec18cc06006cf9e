"""How the values of an asset are coloured: 256 colours, as a PNG with a palette holds them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from rio_tiler.colormap import cmap

CLASSES = "data"
_RAMPS = {"confidence": ("viridis", 100), "observations": ("plasma", 40)}
"""Asset to colour ramp, and the value at which it ends; 0 is transparent."""
ASSETS = (CLASSES, *_RAMPS)


def palette_of(asset: str, item: dict[str, Any]) -> np.ndarray:
    """Colours of the values 0 to 255 of an asset, as uint8 `[256, 4]` (RGBA).

    Classes have the colours that the item tells in `classification:classes`.
    """
    colours = np.zeros((256, 4), np.uint8)
    if asset not in _RAMPS:
        for one in classes_of(item, asset):
            if "color_hint" in one:
                colours[one["value"]] = (*bytes.fromhex(one["color_hint"]), 255)
        return colours
    name, last = _RAMPS[asset]
    ramp = cmap.get(name)
    for value in range(1, 256):
        colours[value] = ramp[round(min(value, last) / last * 255)]
    return colours


def classes_of(item: dict[str, Any], asset: str = CLASSES) -> list[dict[str, Any]]:
    """The classes that an item, or what a collection tells of its items' assets, names; no data is none."""
    named = item["assets"].get(asset, {}).get("classification:classes", [])
    return [one for one in named if not one.get("nodata")]


def png(values: np.ndarray, palette: np.ndarray) -> bytes:
    """Values `[H, W]` as a PNG with a palette; what is above 255 has the colour of 255."""
    image = Image.fromarray(np.minimum(values, 255).astype(np.uint8), "P")
    image.putpalette(palette[:, :3].tobytes(), "RGB")
    content = io.BytesIO()
    # Level 1: a tile is sent once, and a smaller one would take longer to make than to send.
    image.save(content, "PNG", transparency=palette[:, 3].tobytes(), compress_level=1)
    return content.getvalue()
