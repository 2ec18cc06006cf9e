"""Chips as training and evaluation want them: in memory, in the teacher's nine bands."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from catalog.atmosphere import BANDS as TEACHER_BANDS
from catalog.atmosphere import USUAL_AEROSOL, USUAL_ZENITH, Atmosphere, Level, bring_to
from catalog.chips import UNLABELLED, Split, check_places
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.radar import RADAR_CHANNELS, bands_apart
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from catalog.tree import TEN, Tree, class_tree

NINE_TO_SIX = [TEACHER_BANDS.index(band) for band in BANDS]
"""The network's bands among the teacher's."""
CLOUD = MODEL_CLASSES.index("cloud")


@dataclass(frozen=True)
class Chip:
    """One chip of a training set."""

    id: str
    place: str
    scene: str
    image: np.ndarray
    """uint16 `[9, H, W]`, reflectance x 10,000, valid values at least 1, 0 = no data; 0, too, in bands it lacks."""
    classes: np.ndarray
    """uint8 `[H, W]`: the class to be learned among `MODEL_CLASSES`, cloud, too; elsewhere `UNLABELLED`."""
    level: Level
    sun_zenith: float
    """Degrees; 40 where unknown."""
    taught: bool
    """Its labels are a teacher's, which can be asked again: all of its bands are there."""
    source: str
    """Where image and labels come from."""
    teacher: str | None
    """The network whose answers the labels are, if they are a network's."""
    corrected: np.ndarray
    """Boolean `[H, W]`: somebody labelled what the teacher had called otherwise; the label is learned."""
    date: datetime | None = None
    grid: tuple[int | None, tuple[float, ...]] | None = None
    """EPSG code and transform, where known: chips of one place and size on one grid show the same pixels."""
    tree: Tree = TEN
    """Of the classes that its training set has."""
    finer: np.ndarray | None = None
    """uint8 `[H, W]`: number among the tree's classes of what the pixel is more closely; elsewhere `UNLABELLED`."""
    radar: np.ndarray | None = None
    """uint16 `[4, H, W]`, `RADAR_CHANNELS` as `catalog.radar.encode` gives them, 0 = missing; None: no radar."""

    def shown(self, bands: Sequence[str], level: Level | None = None) -> np.ndarray:
        """What a network of these bands and radar channels, made for a level, is shown: uint16 `[bands, H, W]`."""
        optical, channels = bands_apart(bands)
        image = self.image[[TEACHER_BANDS.index(band) for band in optical]]
        bring_to(level, image, optical, self.level, self.sun_zenith)
        if not channels:
            return image
        radar = np.zeros((len(RADAR_CHANNELS), *self.classes.shape), np.uint16) if self.radar is None else self.radar
        return np.concatenate([image, radar[[RADAR_CHANNELS.index(channel) for channel in channels]]])

    def surface(self, rows: slice = slice(None), cols: slice = slice(None)) -> np.ndarray:
        """Surface reflectance, L1C through the usual air: float32 `[9, H, W]`, at least 0.0001; 0 where `image` is."""
        reflectance = self.image[:, rows, cols] / np.float32(10_000)
        if self.level == "L2A":
            return reflectance
        corrected = Atmosphere.of(USUAL_AEROSOL, self.sun_zenith).lower_to_surface(reflectance)
        return np.where(reflectance > 0, np.maximum(corrected, np.float32(0.0001)), np.float32(0))

    @property
    def valid(self) -> np.ndarray:
        """Boolean `[H, W]`: land cover is to be learned here."""
        return self.classes < CLOUD

    @property
    def labels(self) -> np.ndarray:
        """uint8 `[H, W]`: number among the tree's classes, as closely as is known; elsewhere `UNLABELLED`."""
        if self.finer is None:
            return self.classes
        return np.where(self.valid & (self.finer != UNLABELLED), self.finer, self.classes)


def read_chips(folders: Sequence[str], split: Split, leave_out: Sequence[str] = ()) -> list[Chip]:
    """The chips of one split of some training sets.

    Args:
        folders: of training sets, or their `s3://`.
        split: which.
        leave_out: places whose chips are left aside, for an independent test.

    Raises:
        BadInput: no training set there, other classes or bands than the network's, several trees of finer classes, no
            such chip, one that lies in two of the sets, a place in two splits, a place to leave out that no chip lies
            in, or pixels that are not what the set says.
    """
    chips, sets = [], [(folder, *open_training_set(open_store(folder))) for folder in folders]
    tree = _one_tree({folder: found.parents for folder, found, _ in sets})
    # What one set learns another must not test.
    check_places(chip for *_, records in sets for chip in records)
    held: dict[tuple[str, str], str] = {}
    for folder, _, records in sets:
        if twice := [chip for chip in records if (chip.place, chip.id) in held]:
            first = held[twice[0].place, twice[0].id]
            raise BadInput(f"Chip {twice[0].id} lies in {first!r} and in {folder!r}: give it once, or it counts twice.")
        held |= {(chip.place, chip.id): folder for chip in records}
    places = {chip.place for *_, records in sets for chip in records}
    if strange := sorted(set(leave_out) - places):
        told = difflib.get_close_matches(strange[0], places, n=3) or sorted(places)[:3]
        raise BadInput(
            f"No chip lies in the place {strange[0]!r} that is to be left out. There are {', '.join(told)}, …"
        )
    for folder, found, records in sets:
        store = open_store(folder)
        if found.classes not in (MODEL_CLASSES, tree.names) or not set(BANDS) <= set(found.bands):
            raise BadInput(
                f"{folder!r} has the bands {', '.join(found.bands)} and the classes {', '.join(found.classes)}; "
                f"{', '.join(BANDS)} and {', '.join(tree.names)} are needed."
            )
        roots = _roots(tree)
        there = [TEACHER_BANDS.index(band) for band in found.bands if band in TEACHER_BANDS]
        for chip in records:
            if chip.split != split or chip.place in leave_out:
                continue
            pixels = read_pixels(store, chip)
            found.check(chip, pixels)
            image = np.zeros((len(TEACHER_BANDS), *chip.shape), np.uint16)
            image[there] = pixels.image[[found.bands.index(TEACHER_BANDS[k]) for k in there]]
            taught = chip.teacher is not None and len(there) == len(TEACHER_BANDS)
            classes = roots[pixels.labels]
            classes = classes if taught else _without_snow_cover(image, classes)
            corrected = np.zeros(classes.shape, bool)
            if pixels.scores is not None:
                corrected = (classes < CLOUD) & (classes != pixels.scores[: len(MODEL_CLASSES)].argmax(axis=0))
            zenith = USUAL_ZENITH if chip.sun_zenith is None else chip.sun_zenith
            chips.append(
                Chip(
                    chip.id,
                    chip.place,
                    chip.scene,
                    image,
                    classes,
                    chip.level,
                    zenith,
                    taught,
                    chip.source,
                    chip.teacher,
                    corrected,
                    chip.date,
                    (chip.epsg, chip.transform),
                    tree,
                    np.where(pixels.labels < len(MODEL_CLASSES), UNLABELLED, pixels.labels) if found.parents else None,
                    _radar(found.bands, pixels.image),
                )
            )
    if not chips:
        raise BadInput(f"There is no chip of split {split!r} in {', '.join(folders)}.")
    return chips


def gsd_of(datasets: Sequence[str]) -> Literal[10, 30]:
    """Metres a pixel of the chips of training sets, as maps have them; 10 without any.

    Raises:
        BadInput: one set is of 10 m and another of 30 m.
    """
    found: dict[str, Literal[10, 30]] = {}
    for dataset in datasets:
        _, chips = open_training_set(open_store(dataset))
        usual = float(np.median([chip.gsd for chip in chips]))
        found[dataset] = 10 if usual < math.sqrt(10 * 30) else 30
    if len(set(found.values())) > 1:
        told = ", ".join(f"{dataset} {gsd} m" for dataset, gsd in found.items())
        raise BadInput(f"The training sets differ in resolution ({told}). Give sets of one; --aggregate makes them so.")
    return next(iter(found.values()), 10)


def gsd_apart(datasets: Sequence[str], spec: ModelSpec) -> str:
    """That chips are of another resolution than a network: `of 10 m though unet-30m is made for 30 m`, or nothing."""
    for dataset in datasets:
        if (gsd := gsd_of([dataset])) != spec.gsd:
            return f"of {gsd} m though {spec.id} is made for {spec.gsd} m"
    return ""


def _radar(bands: Sequence[str], image: np.ndarray) -> np.ndarray | None:
    """The radar channels of a set's image, if it has any."""
    if not set(RADAR_CHANNELS) & set(bands):
        return None
    radar = np.zeros((len(RADAR_CHANNELS), *image.shape[1:]), np.uint16)
    for number, channel in enumerate(RADAR_CHANNELS):
        if channel in bands:
            radar[number] = image[bands.index(channel)]
    return radar


def _one_tree(told: Mapping[str, tuple[tuple[str, str], ...]]) -> Tree:
    """The tree of the training sets that have finer classes; the labels of others are no closer than its roots."""
    trees = {folder: parents for folder, parents in told.items() if parents}
    if len(set(trees.values())) > 1:
        raise BadInput(
            "These training sets have different finer classes: "
            + "; ".join(f"{folder!r} {', '.join(name for name, _ in parents)}" for folder, parents in trees.items())
            + ". Make them with one --legend."
        )
    folder, parents = next(iter(trees.items()), ("", ()))
    return class_tree(parents, f"training set {folder!r}")


def _roots(tree: Tree) -> np.ndarray:
    """Of each class of a tree the number among `MODEL_CLASSES` of what it is part of, uint8 `[256]`."""
    roots = np.full(256, UNLABELLED, np.uint8)
    roots[: len(tree.names)] = [MODEL_CLASSES.index(tree.path(name)[0]) for name in tree.names]
    return roots


def _without_snow_cover(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of a map of the year, but not where snow lay on the day: what is under it cannot be learned."""
    green, near_infrared, shortwave = (image[TEACHER_BANDS.index(band)].astype(np.float32) for band in _SNOW_BANDS)
    snow = (green - shortwave > 0.4 * (green + shortwave)) & (near_infrared > 1100)
    return np.where(snow & (labels != MODEL_CLASSES.index("snow_ice")), UNLABELLED, labels).astype(np.uint8)


_SNOW_BANDS = ("B03", "B08", "B11")


def mirror(image: np.ndarray, stride: int, halo: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """An image mirrored at its borders as far as a network sees, and where in it the image lies.

    Args:
        image: `[bands, H, W]`.
        stride: rows and columns of the mirrored image are multiples of it.
        halo: pixels to add on each side.
    """
    height, width = image.shape[1:]
    below, right = (-(side + 2 * halo) % stride for side in (height, width))
    mirrored = np.pad(image, ((0, 0), (halo, halo + below), (halo, halo + right)), mode="reflect")
    return mirrored, (slice(halo, halo + height), slice(halo, halo + width))
