"""How work is done place by place: here, one place after the other, or by what the caller gives, as a Beam pipeline."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from catalog.errors import LandloomError, StoreError
from services.change.series import Place

Progress = Callable[[int, int], None]
"""Is called with the places done and planned."""


@dataclass
class Account:
    """What became of each place, and of what is made of all of them: planned = published + skipped + failed."""

    planned: int
    published: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Made before, from the same maps with the same settings."""
    failed: dict[str, str] = field(default_factory=dict)
    """Place to reason; what is made of all is without it, and says so."""


class Work(Protocol):
    """What is to be done for each place. It may be pickled and done elsewhere, several times, at the same time."""

    @property
    def key(self) -> str:
        """Differs wherever what comes of it may differ, so that results never mix."""

    def __call__(self, place: Place) -> bytes:
        """Do it.

        Returns:
            What comes of it.

        Raises:
            LandloomError: the place cannot be done; the others can, unless it is a `StoreError`.
        """


@dataclass(frozen=True)
class Outcome:
    """What became of a place."""

    place: Place
    content: bytes = b""
    """What came of the work."""
    failed: str = ""
    """Why nothing did."""


Run = Callable[[Work, Sequence[Place], Progress], Iterator[Outcome]]
"""Does work for places; gives their outcomes, in their order."""


def in_process(work: Work, places: Sequence[Place], on_progress: Progress) -> Iterator[Outcome]:
    """One place after the other.

    Raises:
        StoreError: the output cannot be written or read.
    """
    for done, place in enumerate(places):
        on_progress(done, len(places))
        yield attempt(work, place)
    on_progress(len(places), len(places))


def attempt(work: Work, place: Place) -> Outcome:
    """Do work for one place.

    Raises:
        StoreError: the output cannot be written or read.
    """
    try:
        return Outcome(place, work(place))
    except StoreError:
        raise
    except LandloomError as error:
        return Outcome(place, failed=str(error) or type(error).__name__)


def packed(**arrays: np.ndarray) -> bytes:
    """Arrays as bytes."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """What `packed` made bytes of."""
    with np.load(io.BytesIO(content)) as file:
        return dict(file)
