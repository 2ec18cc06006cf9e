"""Which pixels of a look count: seen, and neither cloud nor its edge nor shadow."""

from __future__ import annotations

import functools
from collections import defaultdict

import numpy as np

from catalog.grid import RESOLUTION
from catalog.legend import CLOUD
from catalog.tree import class_tree

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
    parents: tuple[tuple[str, str], ...] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which pixels of a look count.

    Left out are clouds (where the network gives no other class as much, parts of a class taken together; and the scene
    classification's where there is one), their edges, and the scene classification's shadows. Specks of cloud less than
    three pixels wide have no edge: they are mostly bright roofs, and would blank a whole town.

    Args:
        scores: uint8 `[classes, H, W]`.
        valid: bool `[H, W]`.
        scl: uint8 `[H, W]`, scene classification of Sentinel-2 L2A, or what others tell in its values; or None.
        classes: of the network.
        resolution: metres a pixel, by which the edges are made no wider than at 10 m.
        parents: of its classes that are part of another: class and what it is part of.

    Returns:
        bool `[H, W]`: clear; and bool `[H, W]`: seen at all.
    """
    cloud = np.zeros(valid.shape, bool)
    if CLOUD in classes:
        land = _wholes(scores, classes, parents)
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


def _wholes(scores: np.ndarray, classes: tuple[str, ...], parents: tuple[tuple[str, str], ...]) -> list[np.ndarray]:
    """Scores of each class but cloud, `[H, W]`, those of its parts added up: what splits a class makes no cloud."""
    tree, members = class_tree(parents, "the network"), defaultdict(list)
    for number, name in enumerate(classes):
        members[tree.path(name)[0]].append(number)
    return [
        scores[parts[0]] if len(parts) == 1 else scores[parts].sum(axis=0, dtype=np.uint16)
        for name, parts in members.items()
        if name != CLOUD
    ]


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
