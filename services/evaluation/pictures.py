"""Pictures of an evaluation: what was seen, what the reference says, what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

_UNKNOWN = "F1F3F5"
"""Colour of pixels without a class."""


@dataclass(frozen=True)
class Picture:
    """Panels side by side, of the same ground."""

    title: str
    caption: str
    panels: tuple[tuple[str, np.ndarray], ...]
    """Name and uint8 `[H, W, 3]`."""


def true_colour(bands: np.ndarray) -> np.ndarray:
    """Red, green and blue as the eye expects them, stretched between their 2nd and 98th percentile.

    Args:
        bands: uint16 `[3, H, W]`, reflectance x 10,000, 0 = no data.

    Returns:
        uint8 `[H, W, 3]`, no data light grey.
    """
    seen = bands.any(axis=0)
    if not seen.any():
        return in_colours(np.zeros(seen.shape, np.uint8), (), 0)
    low, high = np.percentile(bands[:, seen], (2, 98), axis=1)[..., np.newaxis, np.newaxis]
    # Each band's darkest is black, without its haze; but a dark, even sea is not stretched into noise.
    bright = np.clip((bands - low) / max((high - low).max(), 600), 0, 1) ** 0.6
    bright[:, ~seen] = 0.95
    return (255 * bright).astype(np.uint8).transpose(1, 2, 0)


def in_colours(classes: np.ndarray, colors: Sequence[str], unknown: int) -> np.ndarray:
    """Numbers of classes as colours.

    Args:
        classes: `[H, W]`.
        colors: of each class, RGB hexadecimal.
        unknown: the number that stands for none; light grey.

    Returns:
        uint8 `[H, W, 3]`.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = np.array([tuple(bytes.fromhex(one)) for one in colors] or np.zeros((0, 3)))
    palette[unknown] = tuple(bytes.fromhex(_UNKNOWN))
    return palette[classes]


def png(image: np.ndarray) -> bytes:
    """uint8 `[H, W, 3]` as PNG."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
