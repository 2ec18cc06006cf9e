"""Crops of labelled chips, for training without a teacher."""

from __future__ import annotations

import numpy as np

from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from services.inference.chips import CLOUD, Chip
from services.inference.recipe import Recipe


class Crops:
    """Deals out crops of all chips, each chip as often as it has room for crops, in a new order every epoch."""

    def __init__(self, chips: list[Chip], recipe: Recipe, random: np.random.Generator):
        """Of chips smaller than a crop the rest stays empty."""
        self._chips, self._recipe, self._random = chips, recipe, random
        self._bands = (*BANDS, *recipe.radar)
        rooms = [max(1, round(chip.classes.size / recipe.patch**2)) for chip in chips]
        self._deck = np.repeat(np.arange(len(chips)), rooms)
        self._order: list[int] = []

    @property
    def per_epoch(self) -> int:
        """Crops in an epoch."""
        return len(self._deck)

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Some crops.

        Returns:
            float32 `[batch, 6, side, side]`, reflectance x 10,000, with the recipe's radar channels after the
            six bands; and float32 `[batch, classes, side, side]`, probabilities of `MODEL_CLASSES`, all 0 where
            nothing is learned.
        """
        drawn = [self._crop(self._next()) for _ in range(self._recipe.batch)]
        return np.stack([image for image, _ in drawn]), np.stack([target for _, target in drawn])

    def _next(self) -> Chip:
        if not self._order:
            self._order = self._random.permutation(self._deck).tolist()
        return self._chips[self._order.pop()]

    def _crop(self, chip: Chip) -> tuple[np.ndarray, np.ndarray]:
        random, side = self._random, self._recipe.patch
        height, width = chip.classes.shape
        row, col = (int(random.integers(0, max(size - side, 0) + 1)) for size in (height, width))
        here = (slice(row, min(row + side, height)), slice(col, min(col + side, width)))
        there = (slice(0, here[0].stop - row), slice(0, here[1].stop - col))
        image = np.zeros((len(self._bands), side, side), np.float32)
        image[(slice(None), *there)] = chip.shown(self._bands)[(slice(None), *here)]
        if spread := self._recipe.brightness:
            factors = random.normal(1, spread) * random.normal(1, spread / 3, (len(BANDS), 1, 1))
            light = image[: len(BANDS)]
            np.multiply(light, np.clip(factors, 0.2, 5), out=light, casting="same_kind")
        if self._recipe.radar and random.random() < self._recipe.channel_dropout:
            # All at once, as where a month has no pass: so the network learns to do without.
            image[len(BANDS) :] = 0
        classes = chip.classes[here]
        target = np.zeros((len(MODEL_CLASSES), side, side), np.float32)
        known = (classes <= CLOUD) & image[(slice(len(BANDS)), *there)].any(axis=0)
        ten = hard_target(classes, known, self._recipe.label_smoothing, len(MODEL_CLASSES))
        target[(slice(None), *there)] = ten
        for axis in (1, 2):
            if random.random() < 0.5:
                image, target = np.flip(image, axis), np.flip(target, axis)
        return image, target


def hard_target(classes: np.ndarray, known: np.ndarray, smoothing: float, among: int) -> np.ndarray:
    """Labels as probabilities.

    Args:
        classes: `[H, W]`, numbers of classes.
        known: boolean `[H, W]`; elsewhere all probabilities are 0.
        smoothing: share that is spread evenly, since labels err, too.
        among: over how many classes, the first ones.

    Returns:
        float32 `[10, H, W]`.
    """
    target = np.zeros((len(MODEL_CLASSES), *classes.shape), np.float32)
    target[:among] = smoothing / among
    where = np.flatnonzero(known)
    target.reshape(len(MODEL_CLASSES), -1)[classes.ravel()[where], where] += 1 - smoothing
    target[:, ~known] = 0
    return target


def class_pixels(chips: list[Chip]) -> np.ndarray:
    """Labelled pixels of each of `MODEL_CLASSES`."""
    return np.sum([np.bincount(chip.classes.ravel(), minlength=256)[: CLOUD + 1] for chip in chips], axis=0)


def class_weights(chips: list[Chip]) -> np.ndarray:
    """Weight of each of `MODEL_CLASSES`, mean 1.

    `1 / ln(1.02 + share of the labelled pixels)` (Paszke et al. 2016, "ENet").
    """
    counts = class_pixels(chips)
    weights = 1 / np.log(1.02 + counts / max(counts.sum(), 1))
    return (weights / weights.mean()).astype(np.float32)
