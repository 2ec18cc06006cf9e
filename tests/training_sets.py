"""A small training set to learn from, written as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from catalog.chips import UNLABELLED, Chip, Pixels
from catalog.model import MODEL_CLASSES
from catalog.store import open_store
from catalog.training_set import TrainingSet
from services.inference.chips import TEACHER_BANDS

WATER, CROPS, BUILT, CLOUD = (MODEL_CLASSES.index(name) for name in ("water", "crops", "built", "cloud"))
LAKES = TrainingSet(
    id="lakes", title="Lakes", description="Dark water in the west, bright crops in the east", bands=TEACHER_BANDS,
    classes=MODEL_CLASSES,
)  # fmt: skip


def a_chip(name: str = "lake", **values: object) -> Chip:
    """What is known of a chip: of 160 px in Bavaria unless told otherwise."""
    known = {
        "id": name, "place": name, "split": "train", "scene": name, "level": "L2A", "source": "made",
        "teacher": "threshold", "date": "2021-06-04T10:00:00Z", "epsg": 32632, "shape": (160, 160),
        "transform": (10, 0, 6e5, 0, -10, 5.4e6),
    }  # fmt: skip
    return Chip(**{**known, **values})


def a_lake(seed: int = 0, cloud: bool = False) -> Pixels:
    """Water west of the middle, crops east of it, ten empty rows in the north; or nothing but cloud."""
    image = np.full((9, 160, 160), 400.0)
    image[:, :, 80:] = 2500
    image *= np.exp(0.1 * gaussian_filter(np.random.default_rng(seed).normal(size=image.shape), (0, 2, 2)))
    labels = np.full((160, 160), CROPS, np.uint8)
    labels[:, :80] = WATER
    if cloud:
        image[:], labels[:] = 7000, CLOUD
    image[:, :10], labels[:10] = 0, UNLABELLED
    scores = np.zeros((len(MODEL_CLASSES), 160, 160), np.uint8)
    scores[WATER, :, :80] = scores[CROPS, :, 80:] = 250
    return Pixels(image.astype(np.uint16), labels, scores)


FOUR = (("lake", "train"), ("sky", "train"), ("shore", "validation"), ("delta", "train"))
"""Two chips to learn from, one of them all cloud, and one to be tested on; and a place to be left out."""


def write_lakes(folder: Path, *chips: tuple[str, str]) -> Path:
    """Chips by name and split; `FOUR` unless told otherwise."""
    store = open_store(str(folder))
    for number, (name, split) in enumerate(chips or FOUR):
        LAKES.write_chip(store, a_chip(name, split=split), a_lake(number, cloud=name == "sky"))
    LAKES.publish(store)
    return folder
