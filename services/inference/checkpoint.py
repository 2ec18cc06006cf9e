"""Checkpoints of a training run: written at once, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch

from catalog.errors import BadInput


class Part(Protocol):
    """What has a state: a network, an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Its state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state over."""


def save(path: Path, parts: Mapping[str, Part], **figures: float) -> None:
    """Write the states of all parts, and figures; a reader sees the old file or the new one."""
    partial = path.with_suffix(".partial")
    torch.save({**{name: part.state_dict() for name, part in parts.items()}, **figures}, partial)
    partial.replace(path)


def load(path: Path, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Give the parts their states back.

    Returns:
        Everything in the file.

    Raises:
        BadInput: there is no such file, it is no checkpoint, or one of other parts.
    """
    try:
        state = torch.load(path, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(
            f"{str(path)!r} is no checkpoint of this network: {reason}. Give one that `landloom train` wrote."
        ) from error
    return state
