"""ONNX graphs as Triton's ONNX Runtime backend serves them: named tensors, checked chips, scores or labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from catalog.errors import BadInput
from catalog.model import ModelSpec


def write_scores_graph(file: Path, spec: ModelSpec, out: Path, gpu: bool) -> None:
    """A network with input `bands` and output `scores`, that refuses chips off its stride.

    Args:
        file: the network.
        spec: its description.
        out: file to write.
        gpu: in floating point, see `in_floating_point`.

    Raises:
        BadInput: its graph cannot be rewritten.
    """
    model = _prepared(file, spec, gpu)
    _save(model, file, out)


def write_labels_graph(file: Path, spec: ModelSpec, out: Path, gpu: bool) -> None:
    """The same, but with outputs `class`, the number of the class with most score, and `confidence`, its score."""
    model = _prepared(file, spec, gpu)
    graph = model.graph
    (scores,) = graph.output
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    largest = helper.make_node("ReduceMax", ["landloom_float"], ["landloom_max"], keepdims=0)
    if opset < 18:
        largest.attribute.append(helper.make_attribute("axes", [1]))
    else:
        largest.input.append("landloom_axes")
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "landloom_axes"))
    batch, _, height, width = (d.dim_param or d.dim_value for d in scores.type.tensor_type.shape.dim)
    graph.node.extend(
        [
            # Neither CUDA nor TensorRT compares 8-bit integers.
            helper.make_node("Cast", ["scores"], ["landloom_float"], to=TensorProto.FLOAT),
            helper.make_node("ArgMax", ["landloom_float"], ["landloom_argmax"], axis=1, keepdims=0),
            helper.make_node("Cast", ["landloom_argmax"], ["class"], to=TensorProto.UINT8),
            largest,
            helper.make_node("Cast", ["landloom_max"], ["confidence"], to=TensorProto.UINT8),
        ]
    )
    del graph.output[:]
    for name in ("class", "confidence"):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, [batch, height, width]))
    _save(model, file, out)


def in_floating_point(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with 32-bit floats where it has 8-bit integers, which TensorRT takes only in another form.

    Weights become what they stood for. Where activations were made integers they are still cut off at the ends of the
    range, since that may do the work of a ReLU; only the rounding goes.
    """
    graph = model.graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    constants |= {node.output[0]: _value(node) for node in graph.node if node.op_type == "Constant"}
    quantised = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            nodes.append(node)
            continue
        name, source, scale = node.output[0], node.input[0], constants[node.input[1]]
        zero = constants[node.input[2]] if len(node.input) > 2 else np.array(0, np.uint8)
        if source in quantised and scale.size == 1:
            ends = np.iinfo(zero.dtype)
            for end, value in (("low", ends.min), ("high", ends.max)):
                limit = np.float32((float(value) - zero.item()) * scale.item())
                graph.initializer.append(numpy_helper.from_array(np.array(limit), f"{name}_{end}"))
            given = quantised[source].input[0]
            nodes.append(helper.make_node("Clip", [given, f"{name}_low", f"{name}_high"], [name], name=name))
        elif source in constants:
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            along = [-1 if number == axis else 1 for number in range(constants[source].ndim)]
            scale, zero = (one.reshape(along) if one.size > 1 else one for one in (scale, zero))
            weights = (constants[source].astype(np.float32) - zero.astype(np.float32)) * scale
            graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), name))
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    nodes = [node for node in nodes if node.op_type != "QuantizeLinear" or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _value(constant: onnx.NodeProto) -> np.ndarray:
    (attribute,) = constant.attribute
    value = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if attribute.name == "value" else np.asarray(value)


def _save(model: onnx.ModelProto, file: Path, out: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise BadInput(
            f"The graph of {str(file)!r} cannot be made into one that a server serves: {error}. "
            "Serve it with --backend python, or export it in float32."
        ) from error
    onnx.save(model, out)


def _prepared(file: Path, spec: ModelSpec, gpu: bool) -> onnx.ModelProto:
    model = onnx.load(file)
    return _named(in_floating_point(model) if gpu else model, spec)


def _named(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Its tensors renamed, and its input checked.

    ONNX has no assertion. Looking up `side % stride` in a list of one number fails unless it is 0, and the error names
    the node: so the node's name says what is wrong. The number, 0, is added to the shape that the chips are given.
    """
    graph = model.graph
    _rename(graph, graph.output[0].name, "scores")
    (given,) = graph.input
    was, given.name = given.name, "bands"
    for node in graph.node:
        node.input[:] = ["landloom_checked" if name == was else name for name in node.input]
    constants = {"stride": [spec.stride], "zero": [0], "from": [2], "to": [4], "others": [0, 0]}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"landloom_{name}") for name, value in constants.items()
    )
    complaint = f"sides_of_chips_must_be_multiples_of_{spec.stride}"
    checks = [
        helper.make_node("Shape", ["bands"], ["landloom_shape"]),
        helper.make_node("Slice", ["landloom_shape", "landloom_from", "landloom_to"], ["landloom_sides"]),
        helper.make_node("Mod", ["landloom_sides", "landloom_stride"], ["landloom_rest"]),
        helper.make_node("Gather", ["landloom_zero", "landloom_rest"], ["landloom_zeros"], name=complaint),
        helper.make_node("Concat", ["landloom_others", "landloom_zeros"], ["landloom_nothing"], axis=0),
        helper.make_node("Add", ["landloom_shape", "landloom_nothing"], ["landloom_same"]),
        helper.make_node("Reshape", ["bands", "landloom_same"], ["landloom_checked"]),
    ]
    for check in reversed(checks):
        graph.node.insert(0, check)
    return model


def _rename(graph: onnx.GraphProto, was: str, name: str) -> None:
    """A tensor, wherever it is made and used."""
    for node in graph.node:
        node.input[:] = [name if one == was else one for one in node.input]
        node.output[:] = [name if one == was else one for one in node.output]
    for value in [*graph.output, *graph.value_info]:
        if value.name == was:
            value.name = name
