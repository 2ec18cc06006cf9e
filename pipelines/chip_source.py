"""What every way to a training set has in common: chips that could be, and how each is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import apache_beam as beam

from catalog.chips import Chip, Pixels
from catalog.store import Store


class Cutter(Protocol):
    """Makes chips on the workers. Elements are small: what tells one chip from another."""

    def chip(self, store: Store, element: str) -> Chip:
        """What is known of a chip before its pixels are."""
        ...

    def pixels(self, store: Store, element: str) -> Pixels:
        """Its image and labels.

        Raises:
            BadInput: it cannot be used; the reason.
        """
        ...


@dataclass(frozen=True)
class Settled:
    """What became of candidates before they were to be written."""

    not_drawn: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    """Candidate to reason."""


@dataclass(frozen=True)
class ChipSource:
    """Chips that could be."""

    bands: tuple[str, ...]
    candidates: int
    """In all, those dropped already among them."""
    steps: int
    """Chips to write and what is to be counted before, for the progress."""
    chips: Callable[[Store], beam.PTransform[Any, Any]]
    """For the output, a transform from root to the elements of the chips to write."""
    cutter: Cutter
    dropped: dict[str, str] = field(default_factory=dict)
    """Candidate to reason."""
    unused: dict[str, str] = field(default_factory=dict)
    """Scene that was found to the reason why it was not used."""
    settle: Callable[[Store], Settled] = lambda store: Settled()
    """Called when all is written."""
    finer: tuple[tuple[str, str], ...] = ()
    """Class and what it is part of, of those that labels may name besides `MODEL_CLASSES`."""
    steps_done: Callable[[Store], int] = lambda store: 0
    """Of `steps`, those besides chips that are done."""
