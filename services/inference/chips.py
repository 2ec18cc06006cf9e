"""Training chips: image, the teacher's classes where they are to be learned, and cloud.

A folder of them holds the index `chips.csv` and the rasters in `chips/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES

NINE_TO_SIX = [0, 1, 2, 6, 7, 8]
"""The network's bands among the teacher's nine, which a chip holds."""
CLOUD = MODEL_CLASSES.index("cloud")
UNLABELLED = 255
_HELD_OUT = ("brandenburg", "rufiji")
"""Places left out of both parts, for independent tests."""


@dataclass(frozen=True)
class Chip:
    """One training chip."""

    image: np.ndarray
    """uint16 `[9, H, W]`, reflectance x 10,000, valid values at least 1, 0 = no data."""
    classes: np.ndarray
    """uint8 `[H, W]`: the teacher's class where it is to be learned, or cloud; elsewhere `UNLABELLED`."""
    level: str
    """`L1C` or `L2A`."""
    sun_zenith: float
    """Degrees."""

    @property
    def valid(self) -> np.ndarray:
        """Boolean `[H, W]`: the teacher is to be learned here."""
        return self.classes < CLOUD


def read_chips(folder: Path, split: str) -> list[Chip]:
    """The chips of one split (`train` or `val`), places held out left aside.

    Raises:
        BadInput: no chips there.
    """
    if not (folder / "chips.csv").is_file():
        raise BadInput(f"There is no chips.csv in {str(folder)!r}. Give the folder of the training chips.")
    index = pd.read_csv(folder / "chips.csv").fillna({"sun_zenith": 40.0})
    chips = []
    for row in index[index["split"] == split].itertuples():
        if str(row.scene).startswith(_HELD_OUT):
            continue
        image, teacher, valid, cloud = (
            _read(folder / "chips" / f"{row.id}_{part}.tif") for part in ("image", "teacher", "valid", "cloud")
        )
        classes = np.where(valid[0] > 0, teacher.argmax(axis=0), UNLABELLED).astype(np.uint8)
        classes[cloud[0] > 0] = CLOUD
        image = np.where(image.any(axis=0), np.maximum(image, 1), 0).astype(np.uint16)
        chips.append(Chip(image, classes, str(row.level), float(str(row.sun_zenith))))
    if not chips:
        raise BadInput(f"{str(folder / 'chips.csv')!r} lists no chips of split {split!r}. It has train and val.")
    return chips


def read_labelled(folder: Path, split: str) -> list[Chip]:
    """Chips with labels from a map instead of a teacher's, six bands at 30 m (in `worldcover_hls/`, if it is there).

    The teacher's other three bands stay 0.
    """
    index = folder / "worldcover_hls" / "index.csv"
    if not index.is_file():
        return []
    chips = []
    for row in pd.read_csv(index).query("split == @split").itertuples():
        six, labels = (_read(index.parent / f"{row.id}_{part}.tif") for part in ("image", "label"))
        image = np.zeros((9, *labels.shape[1:]), np.uint16)
        image[NINE_TO_SIX] = np.where(six.any(axis=0), np.maximum(six, 1), 0)
        _, green, _, near_infrared, shortwave, _ = six.astype(np.float32)
        # The map is of a year: what lies under snow on the day cannot be learned from it.
        snow = (green - shortwave > 0.4 * (green + shortwave)) & (near_infrared > 1100)
        classes = np.where(snow, UNLABELLED, labels[0]).astype(np.uint8)
        chips.append(Chip(image, classes, "L2A", 40.0))
    return chips


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()
