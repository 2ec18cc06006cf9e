"""Where networks are found: those that Landloom ships, and the user's own registry, a STAC collection `models`."""

from __future__ import annotations

import json
import logging
import os
from importlib import resources
from pathlib import Path

import numpy as np

from catalog.errors import BadInput
from catalog.model import ModelSpec, Provenance
from catalog.models import FLOATS, MODELS, add_model
from catalog.store import Store, open_store
from services.inference.onnx import OnnxNetwork

log = logging.getLogger(__name__)

_FOLDER = "LANDLOOM_MODELS"
"""Environment variable: the registry's folder."""


def model_file(model: str) -> Path:
    """The ONNX file of a network: by the ID of a shipped or a registered one, or by its path.

    Raises:
        BadInput: no such network.
    """
    if model.endswith(".onnx"):
        return Path(model)
    shipped = shipped_models()
    if model in shipped:
        return shipped[model]
    registered = registered_models()
    if model not in registered:
        known = ", ".join([*shipped, *registered])
        raise BadInput(
            f"There is no network {model!r}. There are {known}; or give an ONNX file, or register one: "
            "landloom models add FILE."
        )
    return registered[model]


def shipped_models() -> dict[str, Path]:
    """ID to ONNX file of the networks that come with Landloom; `unet-small.float32` is `unet-small` in floats."""
    folder = Path(str(resources.files("services.inference"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def registered_models() -> dict[str, Path]:
    """ID to ONNX file of the user's networks; of several versions the one that was registered last.

    `my-unet.float32` is `my-unet` in floats, if it was registered with them. One whose item is damaged is named in the
    log and left out.
    """
    store = registry()
    items = [key for key in store.list(f"{MODELS}/") if key.count("/") == 2 and key.endswith(".json")]
    found: dict[str, Path] = {}
    for path in sorted((Path(store.href(key)) for key in items), key=lambda path: path.stat().st_mtime):
        try:
            item = json.loads(path.read_text())
            name, files = item["properties"]["mlm:name"], item["assets"]
            weights = path.parent / files["model"]["href"]
        except (KeyError, TypeError, ValueError) as error:
            log.warning("A network of the registry cannot be read (%r): delete %s, and register it again.", error, path)
            continue
        found.pop(f"{name}.{FLOATS}", None)  # Of an earlier version.
        found[name] = weights
        if FLOATS in files:
            found[f"{name}.{FLOATS}"] = path.parent / files[FLOATS]["href"]
    return found


def register(spec: ModelSpec, weights: Path, provenance: Provenance | None = None) -> str:
    """Put a network into the user's registry, if it answers as maps need it.

    Returns:
        The key of its STAC item there.

    Raises:
        BadInput: its name is taken, or what it says of a chip is not a probability of each class for each pixel.
    """
    if spec.id in shipped_models() or spec.id.endswith(f".{FLOATS}"):
        whose = "in floats, of any network" if spec.id.endswith(f".{FLOATS}") else "of a network that Landloom ships"
        raise BadInput(f"{spec.id!r} is the name {whose}: --model would never find another. Give another --id.")
    _try(weights)
    return add_model(registry(), spec, weights, provenance)


def _try(weights: Path) -> None:
    """Show a network a chip of noise."""
    network = OnnxNetwork(weights)
    spec, told = network.spec, f"Network {network.spec.id!r} cannot make maps:"
    height, width = (spec.stride * -(-side // spec.stride) for side in (64, 96))
    noise = np.random.default_rng(0).integers(1, 6000, (1, len(spec.bands), height, width))
    try:
        scores = network.scores(noise.astype(np.int16 if spec.first else np.uint16))[0]
    except Exception as error:  # ONNX Runtime has many of its own.
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"{told} a chip of {height} x {width} px makes it fail ({reason}).") from error
    if scores.shape != (len(spec.classes), height, width):
        raise BadInput(
            f"{told} of a chip of {height} x {width} px it gives scores of {' x '.join(map(str, scores.shape[1:]))}; "
            "one for each pixel is needed. Put what enlarges them into it."
        )
    sums = scores.sum(axis=0, dtype=int) / 255
    furthest = float(sums.flat[np.abs(sums - 1).argmax()])
    # Each of them is rounded.
    if abs(furthest - 1) > (len(spec.classes) / 2 + 1) / 255:
        raise BadInput(
            f"{told} the scores of a pixel sum to {furthest:.2f} instead of 1, so they are no probabilities. If it "
            "ends before a softmax, say --logits; if it has one, its weights are damaged."
        )


def registry() -> Store:
    """The user's registry: `LANDLOOM_MODELS`, or `~/.local/share/landloom`."""
    return open_store(os.environ.get(_FOLDER) or str(Path.home() / ".local" / "share" / "landloom"))
