"""Checkpoints of a training run: written at once, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch

from catalog.errors import BadInput, LandloomError
from services.inference.unet import UNet


class Part(Protocol):
    """What has a state: a network, an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Its state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state over."""


def save(path: Path, parts: Mapping[str, Part], **told: Any) -> None:
    """Write the states of all parts, and what else is told; a reader sees the old file or the new one.

    Raises:
        LandloomError: it cannot be written; the old file stays.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({**{name: part.state_dict() for name, part in parts.items()}, **told}, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LandloomError(
            f"The checkpoint {str(path)!r} cannot be written: {reason}. Make room, and give the same command again: "
            "training goes on from the last one, if there is one."
        ) from error


def load(path: Path, parts: Mapping[str, Part], told: Sequence[str] = ()) -> dict[str, Any]:
    """Give the parts their states back.

    Args:
        path: of the checkpoint, written on any device.
        parts: by the name with which they were saved.
        told: names of what else must be in it.

    Returns:
        Everything in the file.

    Raises:
        BadInput: there is no such file, it is no checkpoint, or one of other parts.
    """
    if not path.is_file():
        raise BadInput(f"There is no checkpoint {str(path)!r}. Give one that `landloom train` wrote.")
    try:
        # What was written on a GPU is read without one, too.
        state = torch.load(path, map_location="cpu", weights_only=True)
        if missing := [name for name in (*parts, *told) if name not in state]:
            raise KeyError(f"it has no {missing[0]}")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, UnpicklingError) as error:
        # PyTorch's own words would have it read without care.
        foreign = isinstance(error, UnpicklingError | OSError) or "zip archive" in str(error)
        reason = "it is no whole file of PyTorch's" if foreign else " ".join(str(error).split())[:300]
        raise BadInput(
            f"{str(path)!r} is no checkpoint of this network: {reason}. Give one that `landloom train` wrote."
        ) from error
    return state


def best_network(path: Path) -> tuple[UNet, dict[str, Any]]:
    """The U-Net of a checkpoint, the best one where places were watched; and everything in the file.

    Raises:
        BadInput: there is no such file, or it holds no U-Net.
    """
    state = load(path, {})
    try:
        return UNet.of(state.get("best") or state["network"]), state
    except (KeyError, RuntimeError, AttributeError) as error:
        raise BadInput(f"{str(path)!r} holds no U-Net: {error}. Give one that `landloom train` wrote.") from error
