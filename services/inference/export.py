"""Export a trained network to ONNX, normalisation and softmax inside: uint16 bands in, uint8 scores out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from catalog.errors import StoreError
from catalog.legend import CLOUD, SNOW
from catalog.model import METADATA_KEY, PROVENANCE_KEY, ModelSpec, Provenance
from services.inference.unet import normalise

_LEAST_SNOW = 0.2
"""Normalised difference of green and short-wave infrared. Of snow it is 0.4 and more (Hall et al. 1995, "Development of
methods for mapping global snow cover"); of clouds, which a teacher without that class calls snow, about 0."""


class _Deployed(nn.Module):
    """Bands as float, 0 = no data, to `255 x probability`, still as float; what cannot be snow is cloud instead."""

    change: torch.Tensor

    def __init__(self, network: nn.Module, spec: ModelSpec):
        super().__init__()
        self.network = network
        self.green, self.shortwave = (spec.bands.index(band) for band in ("B03", "B11"))
        self.snow = spec.classes.index(SNOW)
        change = torch.zeros(1, len(spec.classes), 1, 1)
        change[0, self.snow], change[0, spec.classes.index(CLOUD)] = -1, 1
        self.register_buffer("change", change)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(normalise(x))
        # Softmax by hand: ONNX Runtime's own transposes the whole array when it runs over channels.
        odds = torch.exp(logits - logits.amax(dim=1, keepdim=True))
        scores = odds * (255.0 / odds.sum(dim=1, keepdim=True))
        green, shortwave = (x[:, band : band + 1] for band in (self.green, self.shortwave))
        snowless = (green - shortwave < _LEAST_SNOW * (green + shortwave)).float()
        return scores + scores[:, self.snow : self.snow + 1] * snowless * self.change + 0.5


def export(network: nn.Module, spec: ModelSpec, out: Path, samples: Iterable[np.ndarray] = ()) -> None:
    """Write a network as ONNX with its description inside.

    Args:
        network: normalised bands to logits, `[N, bands, H, W]` to `[N, classes, H, W]`.
        spec: what it is; stored under the metadata key `landloom`.
        out: file to write.
        samples: images, uint16 `[bands, H, W]`, from whose activations the ranges of 8-bit integers are taken;
            without any the network stays in float32.
    """
    model = traced(_Deployed(network, spec), spec, "image", TensorProto.UINT16)
    images = [{"image": image[np.newaxis]} for image in samples]
    if images:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.onnx"
            onnx.save(model, file)
            _quantise(file, images)
            model = onnx.load(file)
    write(model, spec, out)


def traced(deployed: nn.Module, spec: ModelSpec, image: str, kind: TensorProto.DataType) -> onnx.ModelProto:
    """A network as ONNX in float32, with whole numbers at both ends.

    Args:
        deployed: whole numbers as float to `255 x probability` as float, `[N, bands, H, W]` to `[N, classes, H, W]`.
        spec: how many bands and classes.
        image: name of the input.
        kind: its type; the output `scores` is uint8.
    """
    axes = {0: "n", 2: "h", 3: "w"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traced.onnx"
        torch.onnx.export(
            deployed.eval(),
            (torch.ones(1, len(spec.bands), 64, 64),),
            file,
            input_names=["numbers"],
            output_names=["scaled"],
            dynamic_axes={"numbers": axes, "scaled": axes},
            opset_version=17,
            dynamo=False,
        )
        model = onnx.load(file)
    # The exporter knows no small integers: the casts at both ends are put in here.
    graph = model.graph
    graph.input[0].CopyFrom(helper.make_tensor_value_info(image, kind, ["n", len(spec.bands), "h", "w"]))
    graph.output[0].CopyFrom(
        helper.make_tensor_value_info("scores", TensorProto.UINT8, ["n", len(spec.classes), "h", "w"])
    )
    graph.node.insert(0, helper.make_node("Cast", [image], ["numbers"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Cast", ["scaled"], ["scores"], to=TensorProto.UINT8))
    return model


def write(model: onnx.ModelProto, spec: ModelSpec, out: Path) -> None:
    """Write an ONNX file with the network's description inside."""
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.model_dump_json(exclude={"sha256"})
    onnx.checker.check_model(model)
    save(model, out)


def save(model: onnx.ModelProto, out: Path) -> None:
    """Write an ONNX file; a reader sees all of it or what was there before.

    Raises:
        StoreError: it cannot be written; what was there before stays.
    """
    partial = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, partial)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            f"The network cannot be written to {str(out)!r}: {error}. Make room, or give another file."
        ) from error


def _quantise(file: Path, images: list[dict[str, np.ndarray]]) -> None:
    """Replace the convolutions' float32 by 8-bit integers: twice as fast on processors with VNNI instructions."""
    model = onnx.load(file)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    quantize_static(
        file,
        file,
        _Images(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Weights of 7 bits: processors without VNNI add two products in 16 bits, which 8-bit weights overflow.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Relu", "Concat", "MaxPool"],
        # Steps of 1/255 are too coarse for the bands, where water is all darkness, and for the logits.
        nodes_to_exclude=[convolutions[0], convolutions[-1]],
    )


class _Images(CalibrationDataReader):
    def __init__(self, images: list[dict[str, np.ndarray]]):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._images, None)


def describe(file: Path, spec: ModelSpec, out: Path, provenance: Provenance | None = None) -> None:
    """Write an ONNX file anew with another description of its network; the network stays what it is.

    Args:
        file: of the network.
        spec: its description from now on.
        out: ONNX file to write.
        provenance: how it was made; by default as the file tells.
    """
    model = onnx.load(file)
    told = {METADATA_KEY: spec.model_dump_json(exclude={"sha256"})}
    if provenance:
        told[PROVENANCE_KEY] = provenance.model_dump_json()
    helper.set_model_props(model, {one.key: one.value for one in model.metadata_props} | told)
    save(model, out)
