"""Networks: where they are found, and how they are opened. Importing this needs neither torch nor a server."""

from __future__ import annotations

from catalog.model import ModelSpec, Network, Provenance
from services.inference.onnx import OnnxNetwork
from services.inference.registry import model_file, shipped_models

DEFAULT_MODEL = "unet-small"

__all__ = ["DEFAULT_MODEL", "model_file", "model_provenance", "model_spec", "open_network", "shipped_models"]


def open_network(model: str, threads: int = 1) -> Network:
    """A network by the ID of a shipped or registered one, or by the path of an ONNX file.

    Args:
        model: its ID or path.
        threads: processor threads.

    Raises:
        BadInput: no such network, or one of another form.
    """
    return OnnxNetwork(model_file(model), threads)


def model_spec(model: str) -> ModelSpec:
    """What a network tells of itself."""
    return open_network(model).spec


def model_provenance(model: str) -> Provenance | None:
    """How a network was made, if its file tells."""
    return OnnxNetwork(model_file(model)).provenance
