"""A network whose answers are known: the nearest of the simulator's spectra, after a 3 x 3 average."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.radar import RADAR_CHANNELS, encode
from catalog.scenes import BANDS
from pipelines.landscape import BACKSCATTER, SPECTRA

SIX_BANDS = ModelSpec(id="any", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=32)


def write_spectral_network(
    path: Path, *, version: str = "1", bands: tuple[str, ...] = BANDS, stride: int = 8, gsd: int = 10
) -> Path:
    """Write it as ONNX: uint16 `[N, 6, H, W]` in, uint8 `[N, 10, H, W]` out, halo and stride 8 like the trained one."""
    # The distance to a spectrum is linear in the bands but for a term that all classes share.
    scale = 400.0
    weights = (2 * SPECTRA / scale**2).astype(np.float32)
    weights = np.repeat(weights[:, :, np.newaxis, np.newaxis] / 9, 3, axis=2).repeat(3, axis=3)
    if len(bands) != len(BANDS):
        weights = np.resize(weights, (len(SPECTRA), len(bands), 3, 3))
    bias = -(SPECTRA**2).sum(axis=1) / scale**2
    constants = {
        "weights": np.ascontiguousarray(weights, np.float32),
        "bias": bias.astype(np.float32),
        "scale": np.float32(255),
        "half": np.float32(0.5),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["reflectance"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["reflectance", "weights", "bias"], ["logits"], pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        helper.make_node("Mul", ["probability", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["scores"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "spectral",
        [helper.make_tensor_value_info("image", TensorProto.UINT16, ["n", len(bands), "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, ["n", len(MODEL_CLASSES), "h", "w"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = ModelSpec(id="spectral", version=version, bands=bands, classes=MODEL_CLASSES, stride=stride, halo=8, gsd=gsd)
    entry = model.metadata_props.add()
    entry.key, entry.value = "landloom", spec.model_dump_json(exclude={"sha256"})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def write_second_stage(path: Path, *, first: str = "spectral 1", least: float = 0.5) -> Path:
    """Write a second stage that keeps the vote, but calls crops what is green in part of the year only."""
    land = MODEL_CLASSES[:-1]
    planes = (*(f"vote:{name}" for name in land), "ndvi_amplitude")
    weights = np.zeros((len(land), len(planes), 1, 1), np.float32)
    weights[:, : len(land), 0, 0] = 10 * np.eye(len(land)) / 10_000
    crops = land.index("crops")
    weights[crops, -1], bias = 200 / 10_000, np.zeros(len(land), np.float32)
    bias[crops] = -200 * least
    constants = {"weights": weights, "bias": bias, "scale": np.float32(255), "half": np.float32(0.5)}
    nodes = [
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["numbers", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        helper.make_node("Mul", ["probability", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["scores"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "swing",
        [helper.make_tensor_value_info("planes", TensorProto.INT16, ["n", len(planes), "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, ["n", len(land), "h", "w"])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = ModelSpec(id="swing", version="1", bands=planes, classes=land, stride=1, halo=0, first=first)
    entry = model.metadata_props.add()
    entry.key, entry.value = "landloom", spec.model_dump_json(exclude={"sha256"})
    onnx.save(model, path)
    return path


def write_radar_network(path: Path, channels: tuple[str, ...] = RADAR_CHANNELS) -> Path:
    """The same, with radar channels: 3 dB off a class's backscatter weigh as much as 400 off its spectrum.

    Where a channel is missing it says nothing. Cloud, which radar does not see, is taken for water by it.
    """
    shown = np.concatenate([BACKSCATTER, BACKSCATTER[:1]]).astype(np.float64)
    level = encode(np.power(10, shown / 10).astype(np.float32)).astype(np.float64)
    level = np.stack([level[:, int(channel.startswith("VH"))] for channel in channels], axis=1)
    optical, radar = 400.0, 600.0
    # The input, and after it of each radar channel whether it is there.
    weights = np.concatenate([2 * SPECTRA / optical**2, 2 * level / radar**2, -((level / radar) ** 2)], axis=1)
    constants = {
        "weights": weights.astype(np.float32)[:, :, np.newaxis, np.newaxis],
        "bias": (-(SPECTRA**2).sum(axis=1) / optical**2).astype(np.float32),
        "begin": np.array([len(BANDS)]),
        "end": np.array([len(BANDS) + len(channels)]),
        "axis": np.array([1]),
        "scale": np.float32(255),
        "half": np.float32(0.5),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["numbers", "begin", "end", "axis"], ["radar"]),
        helper.make_node("Sign", ["radar"], ["there"]),
        helper.make_node("Concat", ["numbers", "there"], ["shown"], axis=1),
        helper.make_node("Conv", ["shown", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        helper.make_node("Mul", ["probability", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["scores"], to=TensorProto.UINT8),
    ]
    bands = (*BANDS, *channels)
    graph = helper.make_graph(
        nodes,
        "spectral-radar",
        [helper.make_tensor_value_info("image", TensorProto.UINT16, ["n", len(bands), "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, ["n", len(MODEL_CLASSES), "h", "w"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = ModelSpec(id="spectral-radar", version="1", bands=bands, classes=MODEL_CLASSES, stride=8, halo=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "landloom", spec.model_dump_json(exclude={"sha256"})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
