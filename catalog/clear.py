"""Which pixels of a look count: seen, and neither cloud nor its edge nor shadow."""

from __future__ import annotations

import functools

import numpy as np

from catalog.grid import RESOLUTION
from catalog.legend import CLOUD

CLOUD_EDGE = 5
"""Pixels (of 10 m) round a cloud whose look does not count: thin rims and halos."""
SCL_CLOUD = np.isin(np.arange(256), (8, 9, 10))
"""Which values of the scene classification are clouds: of medium and high probability, cirrus."""
SCL_SHADOW = 3


def clear_pixels(
    scores: np.ndarray,
    valid: np.ndarray,
    scl: np.ndarray | None,
    classes: tuple[str, ...],
    resolution: int = RESOLUTION,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which pixels of a look count.

    Left out are clouds (the network's, and the scene classification's where there is one), their edges, and the
    scene classification's shadows. Specks of cloud less than three pixels wide have no edge: they are mostly
    bright roofs, and would blank a whole town.

    Args:
        scores: uint8 `[classes, H, W]`.
        valid: bool `[H, W]`.
        scl: uint8 `[H, W]`, scene classification of Sentinel-2 L2A, or what others tell in its values; or None.
        classes: of the network.
        resolution: metres a pixel, by which the edges are made no wider than at 10 m.

    Returns:
        bool `[H, W]`: clear; and bool `[H, W]`: seen at all.
    """
    cloud = np.zeros(valid.shape, bool)
    if CLOUD in classes:
        land = [scores[i] for i, name in enumerate(classes) if name != CLOUD]
        cloud = scores[classes.index(CLOUD)] > functools.reduce(np.maximum, land)
    hidden = np.zeros(valid.shape, bool)
    if scl is not None:
        cloud |= SCL_CLOUD[scl]
        hidden = scl == SCL_SHADOW
    cloud &= valid
    hidden |= cloud
    if cloud.any():
        hidden |= grow(grow(cloud, 1, shrink=True), -(-CLOUD_EDGE * RESOLUTION // resolution) + 1)
    return valid & ~hidden, valid


def grow(mask: np.ndarray, radius: int, *, shrink: bool = False) -> np.ndarray:
    """Dilate (or erode) a mask by a square of `2 radius + 1` pixels, by whole-array shifts."""
    grown = ~mask if shrink else mask.copy()
    for axis in (0, 1):
        done = 0
        while done < radius:
            # Shifting the already grown mask doubles its reach each time.
            step = min(max(done, 1), radius - done)
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            before = grown.copy()
            grown[tuple(ahead)] |= before[tuple(behind)]
            grown[tuple(behind)] |= before[tuple(ahead)]
            done += step
    return ~grown if shrink else grown
