"""Networks of other makers, brought into Landloom's form: uint16 bands in, uint8 scores out, a description inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.version_converter import convert_version

from catalog.errors import BadInput
from catalog.model import METADATA_KEY, ModelSpec


def adopt(file: Path, spec: ModelSpec, out: Path, *, logits: bool = False, temperature: float = 1.0) -> None:
    """Write a foreign network in Landloom's form.

    Args:
        file: ONNX; one input `[N, bands, H, W]` of uint16 or float32 (reflectance x 10,000, 0 = no data), one output
            `[N, classes, H, W]` of float32.
        spec: its description.
        out: ONNX file to write.
        logits: the output is not yet probabilities: a softmax is put behind it.
        temperature: logits are divided by it (Guo et al. 2017, "On calibration of modern neural networks"); below 1
            the network's answers become surer, which one trained with smoothed labels wants.

    Raises:
        BadInput: it is no ONNX file, its input or output are not as described, or the temperature is not above 0.
    """
    if not temperature > 0:
        raise BadInput(f"--temperature {temperature:g} is not possible. Give a number above 0; 1 leaves scores alone.")
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
        if logits or temperature != 1:
            model = _with_softmax_of_one_axis(model)
    except Exception as error:
        raise BadInput(f"{str(file)!r} is not an ONNX network that can be read: {error}.") from error
    graph = model.graph
    names = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in names]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise BadInput(
            f"{str(file)!r} has {len(inputs)} inputs and {len(graph.output)} outputs; one of each is needed."
        )
    _check(file, inputs[0], "bands", spec.bands, {TensorProto.UINT16, TensorProto.FLOAT})
    _check(file, graph.output[0], "classes", spec.classes, {TensorProto.FLOAT})
    found = graph.output[0].name
    if inputs[0].type.tensor_type.elem_type == TensorProto.FLOAT:
        graph.node.insert(0, helper.make_node("Cast", ["landloom_image"], [inputs[0].name], to=TensorProto.FLOAT))
        inputs[0].CopyFrom(_tensor("landloom_image", TensorProto.UINT16, len(spec.bands)))
    if temperature != 1:
        graph.initializer.append(numpy_helper.from_array(np.array(temperature, np.float32), "landloom_temperature"))
        if not logits:
            graph.node.append(helper.make_node("Log", [found], ["landloom_logits"]))
            found, logits = "landloom_logits", True
        graph.node.append(helper.make_node("Div", [found, "landloom_temperature"], ["landloom_tempered"]))
        found = "landloom_tempered"
    if logits:
        graph.node.append(helper.make_node("Softmax", [found], ["landloom_probability"], axis=1))
        found = "landloom_probability"
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(255, np.float32), "landloom_scale"),
            numpy_helper.from_array(np.array(0.5, np.float32), "landloom_half"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Mul", [found, "landloom_scale"], ["landloom_scaled"]),
            helper.make_node("Add", ["landloom_scaled", "landloom_half"], ["landloom_rounded"]),
            helper.make_node("Cast", ["landloom_rounded"], ["landloom_scores"], to=TensorProto.UINT8),
        ]
    )
    graph.output[0].CopyFrom(_tensor("landloom_scores", TensorProto.UINT8, len(spec.classes)))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.model_dump_json(exclude={"sha256"})
    onnx.checker.check_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out)


def _with_softmax_of_one_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    """Before version 13 of ONNX's operators, a softmax took all axes after the first for one."""
    versions = [one.version for one in model.opset_import if not one.domain]
    return convert_version(model, 13) if min(versions) < 13 else model


def _check(file: Path, tensor: onnx.ValueInfoProto, axis: str, named: tuple[str, ...], kinds: set[int]) -> None:
    kind = tensor.type.tensor_type.elem_type
    shape = [dimension.dim_value or dimension.dim_param for dimension in tensor.type.tensor_type.shape.dim]
    if len(shape) != 4 or shape[1] != len(named) or kind not in kinds:
        wanted = " or ".join(sorted(TensorProto.DataType.Name(one).lower() for one in kinds))
        raise BadInput(
            f"{str(file)!r} has {tensor.name} as {TensorProto.DataType.Name(kind).lower()} {shape}; {wanted} "
            f"[N, {len(named)}, H, W] is needed for the {axis} {', '.join(named)}."
        )


def _tensor(name: str, kind: int, channels: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["n", channels, "h", "w"])
