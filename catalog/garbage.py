"""Python's search for rubbish in circles, made rare where much JSON passes: none of that lies in a circle."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 200_000
"""New ones between two searches, instead of Python's 700; an item of a map has 250."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Half of the time of reading or copying many items is spared."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
