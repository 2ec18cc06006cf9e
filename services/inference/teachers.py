"""Teachers: trained networks that are asked what they see in a patch, each in its own bands, classes and level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalog.atmosphere import Atmosphere
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec, Network
from services.inference.chips import TEACHER_BANDS


class Teachers:
    """One or several, whose answers are averaged.

    As in Hinton et al. 2015, "Distilling the knowledge in a neural network".
    """

    def __init__(self, networks: Sequence[Network]):
        """Raise BadInput if one cannot be asked for what is learned."""
        for network in networks:
            _check(network.spec)
        self._networks = networks

    def answer(self, surface: np.ndarray, air: Atmosphere, empty: np.ndarray) -> np.ndarray:
        """The mean of what they say.

        Args:
            surface: reflectance of `TEACHER_BANDS`, `[9, H, W]`.
            air: through which those made for L1C see it.
            empty: boolean `[H, W]`, where there is no data.

        Returns:
            Probability of each of `MODEL_CLASSES`, float32 `[classes, H, W]`.
        """
        told = np.zeros((len(MODEL_CLASSES), *empty.shape), np.float32)
        top = air.raise_to_top(surface) if any(one.spec.level == "L1C" for one in self._networks) else surface
        for network in self._networks:
            shown = top if network.spec.level == "L1C" else surface
            bands = [TEACHER_BANDS.index(band) for band in network.spec.bands]
            asked = np.clip(shown[bands] * 10000, 1, 65535).astype(np.uint16)
            asked[:, empty] = 0
            classes = [MODEL_CLASSES.index(name) for name in network.spec.classes]
            told[classes] += network.scores(asked[np.newaxis])[0] / np.float32(255)
        return told / len(self._networks)


def _check(teacher: ModelSpec) -> None:
    """A teacher that can be asked for what the network learns, of bands that chips have."""
    if unknown := [band for band in teacher.bands if band not in TEACHER_BANDS]:
        raise BadInput(
            f"Teacher {teacher.id} wants band {unknown[0]}; chips have {', '.join(TEACHER_BANDS)}. Use another teacher."
        )
    if teacher.parents or teacher.first:
        what = "has finer classes" if teacher.parents else "is a second stage"
        raise BadInput(
            f"Teacher {teacher.id} {what}; one that says {', '.join(MODEL_CLASSES)} is needed. Use the network that it "
            "was made from."
        )
    if unknown := [name for name in teacher.classes if name not in MODEL_CLASSES]:
        raise BadInput(
            f"Teacher {teacher.id} knows the class {unknown[0]!r}, which is none of the network's: "
            f"{', '.join(MODEL_CLASSES)}. Register it with their names: landloom models add --classes …"
        )
