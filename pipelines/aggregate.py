"""Chips at a coarser resolution: a set of 10 m made into one of 30 m, for networks that map Landsat's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine

from catalog.chips import UNLABELLED, Chip, Pixels
from catalog.errors import BadInput
from catalog.store import Store
from pipelines.chip_source import Cutter

LEAST = 16
"""Pixels a side that a chip must have afterwards."""


@dataclass(frozen=True)
class Aggregated:
    """Another cutter's chips, each square of `factor` by `factor` pixels made one."""

    cutter: Cutter
    factor: int

    def chip(self, store: Store, element: str) -> Chip:
        """See `pipelines.chip_source.Cutter`; rows and columns that fill no whole pixel are left away."""
        chip = self.cutter.chip(store, element)
        rows, cols = (side // self.factor for side in chip.shape)
        transform = tuple(Affine(*chip.transform) @ Affine.scale(self.factor))[:6]
        return chip.model_copy(update={"shape": (rows, cols), "transform": transform})

    def pixels(self, store: Store, element: str) -> Pixels:
        """See `Cutter`; the means, and the labels that most of the small pixels carry.

        Raises:
            BadInput: the chip cannot be used, or becomes too small.
        """
        chip = self.chip(store, element)
        if min(chip.shape) < LEAST:
            raise BadInput(f"{chip.shape[0]} x {chip.shape[1]} px are left of it, less than {LEAST}")
        pixels = aggregate(self.cutter.pixels(store, element), self.factor)
        if (pixels.labels == UNLABELLED).all():
            raise BadInput("nothing in it is labelled when its pixels are aggregated")
        return pixels


def aggregate(pixels: Pixels, factor: int) -> Pixels:
    """Pixels of a chip, `factor` by `factor` made one.

    Reflectance is the mean, no data where any is; a teacher's scores are averaged, too. The label is the one that most
    of the small pixels carry (of several as frequent the first class), unknown where fewer than half carry any.

    Args:
        pixels: image `[bands, H, W]`, labels `[H, W]`, scores `[classes, H, W]` or None.
        factor: small pixels along a large one.

    Returns:
        The same of `[…, H // factor, W // factor]`.
    """
    squares = _squares(pixels.image, factor)
    image = np.rint(squares.mean(axis=-1)).astype(np.uint16)
    image[:, (squares == 0).any(axis=(0, -1))] = 0
    scores = None if pixels.scores is None else np.rint(_squares(pixels.scores, factor).mean(axis=-1)).astype(np.uint8)
    labels = _squares(pixels.labels, factor)
    classes = np.unique(pixels.labels[pixels.labels != UNLABELLED])
    counts = np.stack([(labels == one).sum(axis=-1) for one in classes]) if classes.size else np.zeros((1, 1, 1), int)
    most = np.full(labels.shape[:-1], UNLABELLED, np.uint8)
    if classes.size:
        known = (2 * counts.sum(axis=0) >= factor**2) & image.any(axis=0)
        most[known] = classes[counts.argmax(axis=0)][known]
    return Pixels(image, most, scores)


def _squares(raster: np.ndarray, factor: int) -> np.ndarray:
    """`[…, H, W]` to `[…, H // factor, W // factor, factor * factor]`."""
    rows, cols = (side // factor for side in raster.shape[-2:])
    cut = raster[..., : rows * factor, : cols * factor]
    split = cut.reshape(*cut.shape[:-2], rows, factor, cols, factor)
    return np.moveaxis(split, -3, -2).reshape(*cut.shape[:-2], rows, cols, factor**2)
