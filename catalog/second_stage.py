"""The second stage: a small network that takes the vote and the season of a pixel to its class.

It is a network of the registry like any other, but for what it sees: planes of int16 instead of bands of an image. Its
`bands` name them: `vote:trees` is that class's share of the vote x 10,000, the others are bands of the asset `seasons`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from catalog.errors import BadInput
from catalog.legend import CLOUD
from catalog.model import ModelSpec
from catalog.season import FEW_LOOKS, SEASON_BANDS

SHARE = "vote:"
"""What the name of a plane begins with that is a class's share of the vote."""
SHARE_SCALE = 10_000


class SecondStage(Protocol):
    """Gives class scores for planes. `services.inference` implements it."""

    spec: ModelSpec

    def scores(self, chips: np.ndarray) -> np.ndarray:
        """Scores of planes.

        Args:
            chips: int16 `[N, planes, H, W]`, in the order of the spec's `bands`.

        Returns:
            uint8 `[N, classes, H, W]`, 255 x probability.
        """
        ...


def planes_of(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The planes that there are for votes on some classes: a share for each but cloud, and the season."""
    return (*(SHARE + name for name in classes if name != CLOUD), *SEASON_BANDS)


def check_second_stage(second: ModelSpec, first: ModelSpec) -> None:
    """Make sure that a second stage fits the network whose looks are voted on.

    Raises:
        BadInput: it is none, was made for another network, or has other classes or planes.
    """
    if second.first is None:
        raise BadInput(
            f"Network {second.id} is no second stage: it classifies scenes. Give it as --model, and a network made by "
            "`landloom train-seasons` as --second-stage."
        )
    if second.first != f"{first.id} {first.version}":
        raise BadInput(
            f"Second stage {second.id} was made for the votes of {second.first}, not of {first.id} {first.version}. "
            "Give that network as --model, or train a second stage for this one: landloom train-seasons."
        )
    land = tuple(name for name in first.classes if name != CLOUD)
    known = planes_of(first.classes)
    if second.classes != land or not set(second.bands) <= set(known):
        strange = sorted(set(second.bands) - set(known)) or list(second.classes)
        raise BadInput(
            f"Second stage {second.id} does not fit {first.id}: {', '.join(strange)}; there are the planes "
            f"{', '.join(known)} and the classes {', '.join(land)}."
        )


def decided(
    second: SecondStage, classes: tuple[str, ...], shares: np.ndarray, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a second stage says of some pixels.

    Args:
        second: the network.
        classes: of the first one.
        shares: float32 `[classes but cloud, h, W]`, of the vote, 0 to 1.
        features: int16 `[SEASON_BANDS, h, W]`.

    Returns:
        Probabilities, float32 `[classes but cloud, h, W]`; and bool `[h, W]`, where they are to be used: where a pixel
        has `FEW_LOOKS` or more. Elsewhere its season is a guess, and the vote stands.
    """
    there = {name: k for k, name in enumerate(planes_of(classes))}
    scaled = np.rint(shares * np.float32(SHARE_SCALE)).astype(np.int16)
    planes = np.concatenate([scaled, features])[[there[name] for name in second.spec.bands]]
    scores = second.scores(np.ascontiguousarray(planes[np.newaxis]))[0].astype(np.float32)
    scores /= np.maximum(scores.sum(axis=0), np.float32(1))
    return scores, features[-1] >= FEW_LOOKS
