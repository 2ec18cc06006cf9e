"""The head of a network that Landloom exported: the last convolution, which gives the logits, in float32.

Only networks of `services.inference.export` have it: another maker's end as they please.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from catalog.model import ModelSpec
from services.inference.chips import mirror

_PARAMETERS = ("network.head.weight", "network.head.bias")
"""As PyTorch names them."""


def has_head(file: Path) -> bool:
    """Whether a network's logits can be seen and divided."""
    return set(_PARAMETERS) <= {one.name for one in onnx.load(file).graph.initializer}


def logits_of(file: Path, spec: ModelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """What a network computes before the softmax, 8-bit integers and all.

    Args:
        file: of a network that has a head.
        spec: its description.

    Returns:
        uint16 `[bands, H, W]`, mirrored at its borders, to float32 `[classes, H, W]`.
    """
    model = onnx.load(file)
    head = next(node for node in model.graph.node if _PARAMETERS[0] in node.input)
    shape: list[str | int | None] = ["n", len(spec.classes), "h", "w"]
    model.graph.output.append(helper.make_tensor_value_info(head.output[0], TensorProto.FLOAT, shape))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = model.graph.input[0].name

    def logits(image: np.ndarray) -> np.ndarray:
        mirrored, here = mirror(image, spec.stride, spec.halo)
        return session.run([head.output[0]], {source: mirrored[np.newaxis]})[0][0][(slice(None), *here)]

    return logits


def divide_logits(file: Path, temperature: float, out: Path) -> None:
    """Write a network that has a head anew, its logits divided by a temperature."""
    model = onnx.load(file)
    for one in model.graph.initializer:
        if one.name in _PARAMETERS:
            divided = numpy_helper.to_array(one) / np.float32(temperature)
            one.CopyFrom(numpy_helper.from_array(divided, one.name))
    onnx.save(model, out)
