"""Where networks are found: those that Landloom ships, and the user's own registry, a STAC collection `models`."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

from catalog.errors import BadInput
from catalog.model import ModelSpec, Provenance
from catalog.models import FLOATS, MODELS, add_model
from catalog.store import Store, open_store

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

    `my-unet.float32` is `my-unet` in floats, if it was registered with them.
    """
    store = registry()
    items = [key for key in store.list(f"{MODELS}/") if key.count("/") == 2 and key.endswith(".json")]
    found: dict[str, Path] = {}
    for path in sorted((Path(store.href(key)) for key in items), key=lambda path: path.stat().st_mtime):
        item = json.loads(path.read_text())
        name, files = item["properties"]["mlm:name"], item["assets"]
        found.pop(f"{name}.{FLOATS}", None)  # Of an earlier version.
        found[name] = path.parent / files["model"]["href"]
        if FLOATS in files:
            found[f"{name}.{FLOATS}"] = path.parent / files[FLOATS]["href"]
    return found


def register(spec: ModelSpec, weights: Path, provenance: Provenance | None = None) -> str:
    """Put a network into the user's registry.

    Returns:
        The key of its STAC item there.
    """
    return add_model(registry(), spec, weights, provenance)


def registry() -> Store:
    """The user's registry: `LANDLOOM_MODELS`, or `~/.local/share/landloom`."""
    return open_store(os.environ.get(_FOLDER) or str(Path.home() / ".local" / "share" / "landloom"))
