"""What server and client agree on: names of tensors, and where a model tells which network it is."""

from __future__ import annotations

from tritonclient.grpc.model_config_pb2 import ModelConfig

from catalog.model import METADATA_KEY, ModelSpec

INPUT = "bands"
"""Name of the input: uint16 `[N, bands, H, W]`."""
SCORES = "scores"
"""Name of the output of the model `{id}`: uint8 `[N, classes, H, W]`."""
LABELS = ("class", "confidence")
"""Names of the outputs of the model `{id}-labels`: both uint8 `[N, H, W]`."""
LABELS_SUFFIX = "-labels"


def parameter(version: str = "") -> str:
    """The parameter of a model's configuration that tells of the network of a version, or of the newest."""
    return f"{METADATA_KEY}:{version}" if version else METADATA_KEY


def spec_of(config: ModelConfig, version: str = "") -> ModelSpec:
    """The network that a model serves as a version; the newest unless one is named.

    Raises:
        KeyError: its configuration tells of none.
    """
    key = parameter(version)
    if key not in config.parameters:
        raise KeyError(key)
    return ModelSpec.model_validate_json(config.parameters[key].string_value)
