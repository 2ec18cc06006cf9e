"""How the years of a pixel are corrected together: the settings, and what `ByClasses` and `ByScores` have in common.

Both learn the chain of the true classes in one pass over the maps, then correct block by block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from catalog.errors import BadInput
from services.change import steady_errors, temporal
from services.change.blocks import Block, OpenPlace
from services.change.emissions import LEAST_SHARE, REPEATED
from services.change.error_matrix import ErrorMatrix
from services.change.reference import Reference
from services.change.temporal import USUAL_CHANGE, USUAL_WEIGHT, Chain, fit, posterior


@dataclass(frozen=True)
class Settings:
    """How a series is to be corrected."""

    error_matrix: ErrorMatrix | None = None
    """None: from the scores that are published with the maps."""
    prior: Mapping[str, float] | None = None
    """Share of each class where the network learnt; None: `services.change.emissions.usual_prior`."""
    transition: np.ndarray | None = None
    """Probabilities of going from a class (row) to another (column) in a year, in the legend's order; None: learnt."""
    repeated: float = REPEATED
    change_weight: float | None = None
    """How many false changes a missed one weighs; None: as chosen, for maps or for scores."""
    accuracy: str = "unknown"
    """Of the source maps: a figure and where it comes from."""
    reference: Reference | None = None
    """Sample for intervals of the true change; it decides nothing of the correction."""

    def check(self) -> None:
        """Whether they are possible.

        Raises:
            BadInput: they are not.
        """
        if not 0 <= self.repeated <= 1:
            raise BadInput(f"--repeated {self.repeated} is no share of the errors. Give a number from 0 to 1.")
        if self.error_matrix is None and self.repeated == 1:
            raise BadInput(
                "--repeated 1 leaves no error that is new in a year, so all that differs between years would be "
                "change. Give less than 1."
            )
        if not 1 <= self.missed_weighs <= 1000:
            raise BadInput(f"--change-weight {self.change_weight} is not possible. Give a number from 1 to 1000.")

    @property
    def missed_weighs(self) -> float:
        """How many false changes a missed one weighs."""
        if self.change_weight is not None:
            return self.change_weight
        return steady_errors.CHANGE_WEIGHT if self.error_matrix is None else temporal.CHANGE_WEIGHT

    def told(self) -> dict[str, Any]:
        """What decides the correction, for fingerprints and items."""
        matrix = self.error_matrix
        return {
            "emission": "scores" if matrix is None else "error matrix",
            "error_matrix": None if matrix is None else [list(matrix.names), matrix.counts.tolist()],
            "prior": f"mean, at least {LEAST_SHARE}" if self.prior is None else dict(self.prior),
            "transition": f"learnt, {USUAL_CHANGE} a year expected, weighing {USUAL_WEIGHT}"
            if self.transition is None
            else self.transition.tolist(),
            "repeated": self.repeated,
            "change_weight": self.missed_weighs,
        }


class Correction(Protocol):
    """Corrects the blocks of a series, after it has looked at all of its places."""

    classes: np.ndarray
    """Numbers of the classes of the chain, in the legend's order, `[classes]`."""
    chain: Chain

    @property
    def sharpness(self) -> float | None:
        """Exponent of the scores; None: from an error matrix."""

    def look(self, place: OpenPlace) -> bytes:
        """What is to be learnt from a place; changes nothing."""

    def take(self, seen: bytes) -> None:
        """Take in what was seen of a place, before `learn`; places in the order of the series."""

    def learn(self) -> None:
        """Find the chain of the true classes."""

    def correct(self, place: OpenPlace, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Class numbers (0: no year has data) and confidence in per cent, both uint8 `[years, H, W]`."""


def chain_of(log_emission: np.ndarray, counts: np.ndarray | None, settings: Settings, classes: np.ndarray) -> Chain:
    """Learnt by expectation maximisation, or with the transitions that are configured.

    Args:
        log_emission: `[years, classes, pixels]`.
        counts: how many pixels each stands for; None: one.
        settings: of the correction.
        classes: numbers of the classes, in the legend's order.
    """
    if settings.transition is None:
        return fit(log_emission, counts)
    chosen = settings.transition[np.ix_(classes - 1, classes - 1)]
    if not (chosen.sum(axis=1) > 0).all():
        raise BadInput(
            "A row of the given transitions is empty for the mapped classes. Give the share that stays, too."
        )
    transition = chosen / chosen.sum(axis=1, keepdims=True)
    first = posterior(log_emission[:1], Chain(np.full(len(classes), 1 / len(classes)), transition))[0]
    return Chain(np.average(first, axis=1, weights=counts).astype(np.float64), transition)


def transition_matrix(told: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    """Yearly transitions as a matrix, `[classes, classes]` in the legend's order; what is not named does not happen.

    Args:
        told: probabilities by class before and class after.
        names: of the legend's classes.

    Raises:
        BadInput: other classes are named, or a row does not sum to 1.
    """
    if strange := ({*told} | {one for after in told.values() for one in after}) - set(names):
        raise BadInput(
            f"--transitions names {sorted(strange)[0]!r}, which the maps do not have. Their classes are "
            f"{', '.join(names)}."
        )
    found = np.array([[float(told.get(one, {}).get(other, one == other)) for other in names] for one in names])
    if (found < 0).any() or not np.allclose(found.sum(axis=1), 1, atol=0.01):
        wrong = names[int(np.argmax(np.abs(found.sum(axis=1) - 1)))]
        raise BadInput(f"--transitions: the row of {wrong!r} does not sum to 1. Give probabilities.")
    return found


def check_classes(classes: np.ndarray) -> None:
    """Whether there are two to change between.

    Raises:
        BadInput: there are not.
    """
    if classes.size < 2:
        raise BadInput("The maps show fewer than two classes, so nothing can have changed. Give another area.")


def per_cent(probability: np.ndarray, path: np.ndarray) -> np.ndarray:
    """The probability of the path's classes, uint8 `[years, pixels]`, at least 1 and never 100."""
    of_path = np.take_along_axis(probability, path[:, None].astype(int), axis=1)[:, 0]
    return np.clip(np.floor(100 * of_path), 1, 99).astype(np.uint8)
