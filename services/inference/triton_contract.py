"""What server and client agree on: names of tensors, and where a model tells which network it is."""

from __future__ import annotations

from catalog.model import METADATA_KEY, ModelSpec

INPUT = "bands"
"""Name of the input: uint16 `[N, bands, H, W]`."""
SCORES = "scores"
"""Name of the output of the model `{id}`: uint8 `[N, classes, H, W]`."""
LABELS = ("class", "confidence")
"""Names of the outputs of the model `{id}-labels`: both uint8 `[N, H, W]`."""
LABELS_SUFFIX = "-labels"


def parameter(version: str) -> str:
    """The parameter of a model's configuration that tells of the network of a version."""
    return f"{METADATA_KEY}:{version}"


def spec_of(config: object, version: str) -> ModelSpec:
    """The network that a model serves as a version.

    Args:
        config: of the model, Triton's `ModelConfig`.
        version: of the network.

    Raises:
        KeyError: it tells of none.
    """
    parameters = config.parameters  # type: ignore[attr-defined]
    key = parameter(version)
    if key not in parameters:
        raise KeyError(key)
    return ModelSpec.model_validate_json(parameters[key].string_value)
