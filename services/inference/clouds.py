"""Clouds of one place laid over another: for training, and to tell how well they are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from catalog.atmosphere import USUAL_AEROSOL, Atmosphere
from catalog.chips import UNLABELLED
from catalog.errors import BadInput
from services.inference.chips import CLOUD, Chip

_BLUE = 0
_BRIGHT = 0.15
"""Surface reflectance in blue from which a laid-on cloud is called one."""
_VEIL = 0.03
"""Reflectance that a thinner one adds to all bands, beyond twice what the ground has: over water it still shows."""
_CLEAR = 0.1
"""Opacity up to which the ground's own label stands."""


def all_cloud(chips: Sequence[Chip], side: int) -> list[Chip]:
    """Chips of at least `side` pixels that hold hardly anything but cloud."""
    return [c for c in chips if (c.classes == CLOUD).mean() > 0.9 and min(c.classes.shape) >= side]


def draw_cloud(source: Chip, side: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A soft-edged cloud.

    Args:
        source: chip of nothing but cloud.
        side: of the square, in pixels.
        random: draws part, brightness and form.

    Returns:
        The cloud's surface reflectance, `[9, side, side]`, and how much of the ground it hides, `[side, side]`, 0 to 1.
    """
    row, col = random.integers(0, np.array(source.classes.shape) - side + 1)
    there = source.surface(slice(row, row + side), slice(col, col + side))
    bright = np.clip(there * random.uniform(0.9, 2.5), 0, 2)
    # From small scattered clouds, as over the sea, to decks; some let the ground through at their thickest, too.
    field = gaussian_filter(random.normal(size=(side, side)), np.exp(random.uniform(np.log(2), np.log(16))))
    field = (field - np.quantile(field, random.uniform(0.3, 0.97))) / field.std()
    thickest = min(1.0, random.uniform(0.3, 1.6))
    return bright, (thickest * np.clip(field * random.uniform(1, 6), 0, 1)).astype(np.float32)


def told(ground: np.ndarray, surface: np.ndarray, opacity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What can be said of pixels under a laid-on cloud: boolean `[H, W]`, surely cloud; and: as clear as before.

    A dim veil over a dark forest looks like a forest in haze, and is neither; over water it can be nothing but cloud.

    Args:
        ground: reflectance without the cloud, `[9, H, W]`.
        surface: reflectance with the cloud, `[9, H, W]`.
        opacity: of the cloud, `[H, W]`.
    """
    bright = (opacity > 0.5) & (surface[_BLUE] > _BRIGHT)
    return bright | (surface > 2 * ground + _VEIL).all(axis=0), opacity < _CLEAR


def under_clouds(chips: Sequence[Chip], sources: Sequence[Chip], seed: int = 0) -> list[Chip]:
    """The clear chips, each under a cloud of another place; what is neither clear nor surely cloud has no label.

    Args:
        chips: with labels; those with clouds of their own are left aside.
        sources: chips of nothing but cloud.
        seed: of the clouds.

    Raises:
        BadInput: no clear chip, or no cloud as large as they are.
    """
    random, clouded = np.random.default_rng(seed), []
    if not all_cloud(sources, 1):
        raise BadInput("There is no chip of nothing but cloud to lay on: give a training set with one, labelled so.")
    for chip in chips:
        side = max(chip.classes.shape)
        clouds = all_cloud(sources, side)
        if not clouds or (chip.classes == CLOUD).any():
            continue
        height, width = chip.classes.shape
        bright, opacity = draw_cloud(clouds[random.integers(len(clouds))], side, random)
        bright, opacity = bright[:, :height, :width], opacity[:height, :width]
        seen = chip.image.any(axis=0)
        ground = chip.surface()
        surface = ground * (1 - opacity) + bright * opacity
        cloud, clear = told(ground, surface, opacity)
        if not (cloud & seen).any():
            continue  # Nothing but a veil: neither clear nor cloud.
        air = Atmosphere.of(USUAL_AEROSOL, chip.sun_zenith)
        shown = air.raise_to_top(surface) if chip.level == "L1C" else surface
        image = np.where((chip.image > 0) & seen, np.clip(np.rint(shown * 10000), 1, 65535), 0).astype(np.uint16)
        labels = np.where(clear, chip.classes, UNLABELLED)
        labels[cloud & seen] = CLOUD
        clouded.append(dataclasses.replace(chip, image=image, classes=labels.astype(np.uint8)))
    if not clouded:
        raise BadInput("No chip is clear and no larger than a chip of nothing but cloud: there is nothing to lay on.")
    return clouded
