"""Augmented patches for training, each with the teachers' answer for the surface that the network is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from catalog.atmosphere import USUAL_AEROSOL, WAVELENGTHS, Atmosphere
from catalog.chips import UNLABELLED
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, Network
from services.inference.chips import CLOUD, NINE_TO_SIX, Chip
from services.inference.clouds import all_cloud, draw_cloud, told
from services.inference.crops import hard_target
from services.inference.recipe import Recipe
from services.inference.teachers import Teachers

_BORDER = 8
"""Pixels at a patch's edge that are not learned: the teacher pads them with zeros."""
_AGREED = [MODEL_CLASSES.index(name) for name in ("water", "trees", "crops", "built")]
"""Classes that mean the same on every map: what one calls grass is shrub, crops or bare soil on another."""


@dataclass
class Patch:
    """One entry of the buffer."""

    surface: np.ndarray
    """uint16 `[6, side, side]`, surface reflectance x 10,000."""
    through_air: np.ndarray
    """The same as maps show a scene of L1C: through air of its own, and corrected for the usual one."""
    target: np.ndarray
    """uint8 `[classes, side, side]`, probabilities x 250; all 0 where nothing is learned."""


@dataclass(frozen=True)
class _Crop:
    """A square of one or several places."""

    image: np.ndarray
    """float32 `[9, side, side]`, surface reflectance; 0 = no data."""
    learn: np.ndarray
    """Boolean `[side, side]`."""
    cloud: np.ndarray
    """Boolean `[side, side]`."""
    corrected: np.ndarray
    """uint8 `[side, side]`: the class where the label is right and not the teacher; elsewhere `UNLABELLED`."""

    def turned(self, quarters: int, mirrored: bool) -> _Crop:
        parts = [np.rot90(getattr(self, one.name), quarters, (-2, -1)) for one in fields(self)]
        return _Crop(*(one[..., ::-1] for one in parts)) if mirrored else _Crop(*parts)

    def lay(self, other: _Crop, row: int, col: int) -> None:
        """Lay a smaller one into this one."""
        side = len(other.learn)
        here = (slice(row, row + side), slice(col, col + side))
        self.image[(slice(None), *here)] = other.image
        self.learn[here], self.cloud[here] = other.learn, other.cloud
        self.corrected[here] = other.corrected


@dataclass(frozen=True)
class _Climate:
    mean: np.ndarray
    """Of each band, reflectance."""
    spread: np.ndarray
    """Standard deviation of each band."""


def _climate(chip: Chip) -> _Climate | None:
    """How a place looks on the whole; None if little of it is seen."""
    seen = chip.surface()[:, chip.valid]
    return _Climate(seen.mean(axis=1), seen.std(axis=1)) if seen.shape[1] > 1000 else None


class _Drawn:
    """Chips, drawn so that each class comes equally often."""

    def __init__(self, chips: list[Chip], random: np.random.Generator):
        self.chips, self._random = chips, random
        counts = np.array([np.bincount(one.classes.ravel(), minlength=256)[: CLOUD + 1] for one in chips])
        # The square root lets small chips and rare places come more often than their pixels alone would.
        self._present = np.flatnonzero(counts.sum(axis=0))
        self._chances = np.sqrt(counts / np.maximum(counts.sum(axis=0), 1))
        self._chances /= np.maximum(self._chances.sum(axis=0), 1e-9)

    def draw(self) -> tuple[Chip, int]:
        """A chip, and the class for whose sake it was drawn."""
        wanted = int(self._random.choice(self._present))
        return self.chips[self._random.choice(len(self.chips), p=self._chances[:, wanted])], wanted


class Patches:
    """Draws augmented patches and asks the teachers about them."""

    def __init__(self, chips: list[Chip], teachers: Sequence[Network], recipe: Recipe, random: np.random.Generator):
        """Make ready.

        Args:
            chips: the teachers are asked about those that a teacher labelled; of others, of at least a patch a side,
                the labels count.
            teachers: networks whose bands chips have, and whose classes are among the network's; the mean of their
                answers is learned.
            recipe: size of patches, share and smoothing of hard labels.
            random: of all that is random.

        Raises:
            BadInput: a teacher is no such network, or no chip has a teacher's labels.
        """
        self._teachers = Teachers(teachers)
        self._random, self._recipe, self._side = random, recipe, recipe.patch
        labelled = [chip for chip in chips if not chip.taught and min(chip.classes.shape) >= self._side]
        chips = [chip for chip in chips if chip.taught]
        if not chips:
            raise BadInput(
                "No chip to learn from has a teacher's labels and all of its bands, so there is nothing to ask the "
                "teacher about. Use a recipe that learns from labels, as karra-2021."
            )
        self._taught, self._labelled = _Drawn(chips, self._random), _Drawn(labelled, self._random)
        self._climates = [_climate(chip) for chip in chips]
        self._clouds = all_cloud(chips, self._side)

    def draw(self) -> Patch:
        """One patch: a whole crop, or four quarters from four places."""
        random = self._random
        if self._labelled.chips and random.random() < self._recipe.hard_labels:
            return self._draw_labelled()
        # The teachers answer under clearer air than the network is shown, which so learns to see through haze.
        clear = Atmosphere.of(float(random.uniform(0.02, 0.1)), float(random.uniform(20, 60)))
        sun_zenith = float(random.uniform(15, 75))
        air = Atmosphere.of(float(random.uniform(0.02, 0.25)), sun_zenith)
        crop = self._crop(self._side) if random.random() < 0.4 else self._quartered()
        if random.random() < 0.12:
            crop = self._mingle(crop, self._crop(self._side))
        surface, learn, cloud = crop.image, crop.learn, crop.cloud
        if random.random() < 0.25:
            surface = np.where(surface.any(axis=0), surface + self._veil(), surface)
        top = air.raise_to_top(surface)
        empty = np.logical_not(surface.any(axis=0))
        top[:, empty] = 0
        target = self._teachers.answer(surface, clear, empty)
        better = crop.corrected != UNLABELLED
        hard = hard_target(crop.corrected, better, self._recipe.label_smoothing, CLOUD)
        target[:, better] = hard[:, better]
        known = learn & ~empty & ~cloud
        if random.random() < 0.4 and self._clouds:
            surface, top, known, cloud = self._paste_cloud(surface, top, known, cloud, air)
        if random.random() < 0.2:
            # The teachers saw what lies there; the network is to do without.
            empty = empty | self._beyond_edge()
            known, cloud = known & ~empty, cloud & ~empty
        through_air = Atmosphere.of(USUAL_AEROSOL, sun_zenith).lower_to_surface(top)
        # Labels across the seams of the quarters are the teachers' own: they saw the same seam.
        target[:, ~known] = 0
        target[:, cloud] = 0
        target[CLOUD, cloud & ~empty] = 1
        target[:, :_BORDER] = target[:, -_BORDER:] = 0
        target[:, :, :_BORDER] = target[:, :, -_BORDER:] = 0
        return Patch(_pack(surface, empty), _pack(through_air, empty), np.rint(target * 250).astype(np.uint8))

    def _quartered(self) -> _Crop:
        side = self._side
        whole = _Crop(
            np.zeros((9, side, side), np.float32),
            np.zeros((side, side), bool),
            np.zeros((side, side), bool),
            np.full((side, side), UNLABELLED, np.uint8),
        )
        for row in (0, side // 2):
            for col in (0, side // 2):
                whole.lay(self._crop(side // 2), row, col)
        return whole

    def _draw_labelled(self) -> Patch:
        """A patch of a chip with labels of its own, smoothed, since maps err, too."""
        random = self._random
        chip, _ = self._labelled.draw()
        row, col = random.integers(0, np.array(chip.classes.shape) - self._side + 1)
        here = (slice(row, row + self._side), slice(col, col + self._side))
        surface = chip.surface(*here)
        surface *= (random.normal(1, 0.08) * random.normal(1, 0.025, (9, 1, 1))).astype(np.float32)
        classes, empty = chip.classes[here], np.logical_not(surface.any(axis=0))
        known = np.isin(classes, _AGREED) & ~empty
        target = hard_target(classes, known, self._recipe.label_smoothing, CLOUD)
        sun_zenith = float(random.uniform(15, 75))
        top = Atmosphere.of(float(random.uniform(0.02, 0.25)), sun_zenith).raise_to_top(surface)
        through_air = Atmosphere.of(USUAL_AEROSOL, sun_zenith).lower_to_surface(top)
        return Patch(_pack(surface, empty), _pack(through_air, empty), np.rint(target * 250).astype(np.uint8))

    def _crop(self, side: int) -> _Crop:
        """A square of surface reflectance round a pixel of an evenly drawn class, turned, zoomed and re-lit."""
        random = self._random
        chip, wanted = self._taught.draw()
        height, width = chip.classes.shape
        factor = float(random.uniform(0.75, 1.4)) if random.random() < 0.3 and min(height, width) > side * 1.4 else 1.0
        size = min(round(side / factor), height, width)
        places = np.argwhere(chip.classes == wanted)
        row, col = places[random.integers(len(places))] - random.integers(0, size, 2)
        row, col = int(np.clip(row, 0, height - size)), int(np.clip(col, 0, width - size))
        window = (slice(row, row + size), slice(col, col + size))
        image = chip.surface(*window)
        learn, cloud = chip.valid[window], chip.classes[window] == CLOUD
        corrected = np.where(chip.corrected[window], chip.classes[window], UNLABELLED).astype(np.uint8)
        if size != side:
            image = zoom(image, (1, side / size, side / size), order=1)
            masks = (learn, cloud, corrected)
            learn, cloud, corrected = (zoom(mask, side / size, order=0) for mask in masks)
        if random.random() < 0.15:
            image = self._in_another_climate(image)
        image = image * self._light()
        turns, mirror = int(random.integers(4)), random.random() < 0.5
        return _Crop(np.clip(image, 0, 2).astype(np.float32), learn, cloud, corrected).turned(turns, mirror)

    def _light(self) -> np.ndarray:
        """A factor for each band, `[9, 1, 1]`: more light or less, as ground looks brighter under a higher sun.

        Now and then, as in winter and drought, the visible, the near infrared and the short-wave infrared change much,
        and each for itself.
        """
        random = self._random
        light = np.exp(random.normal(0, 0.15)) * random.normal(1, 0.025, (9, 1, 1))
        if random.random() < 0.1:
            light *= np.repeat(np.exp(random.uniform(np.log(0.4), np.log(1.6), 3)), [3, 4, 2])[:, None, None]
        return light

    def _veil(self) -> np.ndarray:
        """Light that a thin veil of cirrus or haze adds, here more and there less: reflectance `[9, side, side]`."""
        random = self._random
        field = gaussian_filter(random.normal(size=(self._side, self._side)), random.uniform(10, 40))
        share = np.clip(0.6 + 0.3 * field / field.std(), 0, 1)
        bluer = (WAVELENGTHS / WAVELENGTHS[0]) ** -random.uniform(0, 1.5)
        return (random.uniform(0, 0.08) * share * bluer[:, None, None]).astype(np.float32)

    def _mingle(self, one: _Crop, other: _Crop) -> _Crop:
        """Two places in each pixel, in shares that vary from pixel to pixel: so savanna, steppe and marsh look."""
        random = self._random
        field = gaussian_filter(random.normal(size=(self._side, self._side)), random.uniform(0.5, 3))
        share = np.clip(0.5 + field / field.std() * random.uniform(0.1, 0.6), 0, 1).astype(np.float32)
        full = one.image.any(axis=0) & other.image.any(axis=0)
        mingled = (one.image * (1 - share) + other.image * share) * full
        # What a mixture with a corrected pixel is, nobody knows.
        told = (one.corrected == UNLABELLED) & (other.corrected == UNLABELLED)
        nothing = np.full_like(one.corrected, UNLABELLED)
        return _Crop(mingled, one.learn & other.learn & told, one.cloud & other.cloud, nothing)

    def _in_another_climate(self, image: np.ndarray) -> np.ndarray:
        """Mean and spread of each band moved towards those of another place: the same forms, greener or drier.

        As Reinhard et al. 2001 ("Color transfer between images") move the colours of a picture.
        """
        random = self._random
        there = self._climates[random.integers(len(self._climates))]
        seen = image.any(axis=0)
        if there is None or seen.sum() < 100:
            return image
        mean, spread = image[:, seen].mean(axis=1), image[:, seen].std(axis=1) + 1e-3
        gain = np.clip(there.spread / spread, 0.5, 2)
        moved = (image - mean[:, None, None]) * gain[:, None, None] + there.mean[:, None, None]
        return np.where(seen, np.maximum(image + (moved - image) * random.uniform(0, 1), 0.001), 0)

    def _beyond_edge(self) -> np.ndarray:
        """What lies beyond the edge of a swath through the patch: boolean `[side, side]`."""
        random = self._random
        angle = random.uniform(0, 2 * np.pi)
        rows, cols = np.mgrid[: self._side, : self._side] - self._side / 2
        return np.cos(angle) * rows + np.sin(angle) * cols > random.uniform(-0.3, 0.4) * self._side

    def _paste_cloud(
        self, surface: np.ndarray, top: np.ndarray, known: np.ndarray, cloud: np.ndarray, air: Atmosphere
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lay a cloud over part of a patch; what is neither clear nor surely cloud is not learned."""
        source = self._clouds[self._random.integers(len(self._clouds))]
        bright, opacity = draw_cloud(source, self._side, self._random)
        ground, surface = surface, surface * (1 - opacity) + bright * opacity
        top = top * (1 - opacity) + air.raise_to_top(bright) * opacity
        certain, clear = told(ground, surface, opacity)
        return surface, top, known & clear, (cloud & clear) | certain


def _pack(reflectance: np.ndarray, empty: np.ndarray) -> np.ndarray:
    packed = np.clip(np.rint(reflectance[NINE_TO_SIX] * 10000), 1, 65535).astype(np.uint16)
    packed[:, empty] = 0
    return packed
