"""Networks: the ones shipped, and how they are opened. Importing this needs neither torch nor a server."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from catalog.errors import BadInput
from catalog.model import ModelSpec, Network
from services.inference.onnx import OnnxNetwork

DEFAULT_MODEL = "unet-small"


def shipped_models() -> dict[str, Path]:
    """ID to ONNX file of the networks that come with Landloom."""
    folder = Path(str(resources.files("services.inference"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def model_file(model: str) -> Path:
    """The ONNX file of a network, by the ID of a shipped one, or by its path.

    Raises:
        BadInput: no such network.
    """
    shipped = shipped_models()
    if model in shipped:
        return shipped[model]
    if not model.endswith(".onnx"):
        raise BadInput(f"There is no network {model!r}. Shipped are {', '.join(shipped)}; or give an ONNX file.")
    return Path(model)


def open_network(model: str) -> Network:
    """A network by the ID of a shipped one, or by the path of an ONNX file.

    Raises:
        BadInput: no such network, or one of another input.
    """
    return OnnxNetwork(model_file(model))


def model_spec(model: str) -> ModelSpec:
    """What a network tells of itself."""
    return open_network(model).spec
