"""Networks: where they are found, and how they are opened. Importing this needs neither torch nor a server."""

from __future__ import annotations

from catalog.errors import BadInput
from catalog.model import ModelSpec, Network, Provenance
from services.inference.onnx import OnnxNetwork
from services.inference.registry import model_file, shipped_models

DEFAULT_MODEL = "unet-small"
DEFAULT_MODELS = {10: DEFAULT_MODEL, 30: "unet-30m"}
"""The network that maps scenes of so many metres a pixel, unless another is asked for."""

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_MODELS",
    "model_file",
    "model_provenance",
    "model_spec",
    "open_network",
    "reach_network",
    "shipped_models",
]


def open_network(model: str, threads: int = 1) -> Network:
    """A network by the ID of a shipped or registered one, or by the path of an ONNX file.

    Args:
        model: its ID or path.
        threads: processor threads.

    Raises:
        BadInput: no such network, or one of another form.
    """
    return OnnxNetwork(model_file(model), threads)


def reach_network(inference: str, spec: ModelSpec, retry_seconds: float = 300.0) -> Network:
    """A network that servers run. Needs the extra `triton`.

    Args:
        inference: their address, `triton://HOST:8001,OTHER:8001`.
        spec: of the network that they must run, weights and all.
        retry_seconds: how long servers that do not answer are tried again.

    Raises:
        BadInput: no such address, or a server that runs another network or refuses us.
        ServerUnavailable: no server answered in that time.
    """
    from services.inference.triton_address import TritonAddress

    address = TritonAddress.parse(inference)
    try:
        from services.inference.triton import TritonNetwork
    except ImportError as error:
        raise BadInput(f"--inference needs the extra triton ({error}): pip install 'landloom[triton]'.") from error
    return TritonNetwork(address, spec, retry_seconds)


def model_spec(model: str) -> ModelSpec:
    """What a network tells of itself."""
    return open_network(model).spec


def model_provenance(model: str) -> Provenance | None:
    """How a network was made, if its file tells."""
    return OnnxNetwork(model_file(model)).provenance
