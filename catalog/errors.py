"""What can go wrong, by what is to be done about it. Catch `LandloomError` to catch them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class LandloomError(Exception):
    """Base of every error Landloom raises on purpose; its text names the value and the remedy."""


class BadInput(LandloomError):
    """The request itself is wrong: a value to correct. The command line exits with 2."""


class SceneUnreadable(LandloomError):
    """A scene that no further try will read (404, truncated, a band missing): it is left out."""


class SourceUnavailable(LandloomError):
    """A source that kept failing in ways that may pass (503, time-out, expired signature)."""


class ServerUnavailable(LandloomError):
    """Servers of networks that kept failing in ways that may pass."""


class StoreError(LandloomError):
    """The output cannot be written or read (disk full, bucket refused): the run stops."""


def first_fault(error: ValidationError) -> str:
    """Where a file is first not of its form, and why: `classes.2.name: Field required`."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
