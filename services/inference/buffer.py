"""A store of patches from which training is fed."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from services.inference.patches import Patch
from services.inference.recipe import Recipe


class Source(Protocol):
    """Where patches come from: `Patches`, or a file of them."""

    def draw(self) -> Patch:
        """The next one."""


class Buffer:
    """Keeps patches and deals each of them several times, turned anew, since the teacher's answers cost most."""

    def __init__(self, patches: Source, recipe: Recipe, random: np.random.Generator):
        """Fill a twentieth of the buffer; the rest comes while it is used."""
        self._patches, self._recipe, self._random = patches, recipe, random
        self._kept = [patches.draw() for _ in range(max(1, recipe.buffer // 20))]

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Some patches, half of them as L2A and half as L1C.

        Returns:
            float32 `[batch, 6, side, side]`, reflectance x 10,000; and float32 `[batch, classes, side, side]`,
            probabilities, all 0 where nothing is learned.
        """
        for _ in range(self._recipe.fresh):
            if len(self._kept) < self._recipe.buffer:
                self._kept.append(self._patches.draw())
            else:
                self._kept[int(self._random.integers(len(self._kept)))] = self._patches.draw()
        chosen = self._random.integers(0, len(self._kept), self._recipe.batch)
        turned = [self._turned(self._kept[int(number)]) for number in chosen]
        return np.stack([image for image, _ in turned]), np.stack([target for _, target in turned])

    def _turned(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        random = self._random
        image, target = (patch.surface if random.random() < 0.5 else patch.through_air), patch.target
        turns = int(random.integers(4))
        image, target = np.rot90(image, turns, (1, 2)), np.rot90(target, turns, (1, 2))
        if random.random() < 0.5:
            image, target = image[..., ::-1], target[..., ::-1]
        return image.astype(np.float32), target.astype(np.float32) / 250
