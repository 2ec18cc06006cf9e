"""Export a trained network to ONNX, normalisation and softmax inside: uint16 bands in, uint8 scores out."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from catalog.errors import BadInput
from catalog.model import METADATA_KEY, MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.inference.checkpoint import load
from services.inference.chips import NINE_TO_SIX, mirror, read_chips
from services.inference.temperature import Temperature, fit_temperature
from services.inference.unet import UNet, normalise


class _Deployed(nn.Module):
    """Bands as float, 0 = no data, to `255 x probability`, still as float."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(normalise(x))
        # Softmax by hand: ONNX Runtime's own transposes the whole array when it runs over channels.
        odds = torch.exp(logits - logits.amax(dim=1, keepdim=True))
        return odds * (255.0 / odds.sum(dim=1, keepdim=True)) + 0.5


def export(network: nn.Module, spec: ModelSpec, out: Path, samples: Iterable[np.ndarray] = ()) -> None:
    """Write a network as ONNX with its description inside.

    Args:
        network: normalised bands to logits, `[N, bands, H, W]` to `[N, classes, H, W]`.
        spec: what it is; stored under the metadata key `landloom`.
        out: file to write.
        samples: images, uint16 `[bands, H, W]`, from whose activations the ranges of 8-bit integers are taken;
            without any the network stays in float32.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        _export_float(network, spec, file)
        images = [{"image": image[np.newaxis]} for image in samples]
        if images:
            _quantise(file, images)
        model = onnx.load(file)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.model_dump_json(exclude={"sha256"})
    onnx.checker.check_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out)


def _export_float(network: nn.Module, spec: ModelSpec, file: Path) -> None:
    axes = {0: "n", 2: "h", 3: "w"}
    torch.onnx.export(
        _Deployed(network).eval(),
        (torch.ones(1, len(spec.bands), 64, 64),),
        file,
        input_names=["reflectance"],
        output_names=["scaled"],
        dynamic_axes={"reflectance": axes, "scaled": axes},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(file)
    # The exporter knows no uint16: the casts at both ends are put in here.
    graph = model.graph
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info("image", TensorProto.UINT16, ["n", len(spec.bands), "h", "w"])
    )
    graph.output[0].CopyFrom(
        helper.make_tensor_value_info("scores", TensorProto.UINT8, ["n", len(spec.classes), "h", "w"])
    )
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["reflectance"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Cast", ["scaled"], ["scores"], to=TensorProto.UINT8))
    onnx.save(model, file)


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


def export_checkpoint(
    checkpoint: Path, datasets: Sequence[str], out: Path, name: str, version: str, leave_out: Sequence[str] = ()
) -> Temperature | None:
    """Export what `train` wrote.

    The class weights of the training are taken back, and the scores are brought to mean what they say on the training
    sets' split `validation`.

    Args:
        checkpoint: as `train` wrote it.
        datasets: training sets whose large chips set the ranges of 8-bit integers, and whose validation places the
            temperature; without any: float32, and scores as they were learned.
        out: ONNX file.
        name: ID of the network.
        version: of the network.
        leave_out: places that were not learned, and set no range either.

    Returns:
        The temperature, if one was fitted.

    Raises:
        BadInput: no such checkpoint, one of another network, or training sets that do not suffice.
    """
    network, temperature = _open(checkpoint), None
    spec = ModelSpec(
        id=name,
        version=version,
        bands=BANDS,
        classes=MODEL_CLASSES,
        stride=network.stride,
        halo=network.halo,
        architecture="U-Net",
    )
    if datasets:
        temperature = fit_temperature(functools.partial(_logits, network), read_chips(datasets, "validation"))
        with torch.no_grad():
            network.head.weight.div_(temperature.value)
            network.head.bias.div_(temperature.value)  # type: ignore[union-attr]
    export(network, spec, out, _samples(datasets, leave_out) if datasets else ())
    return temperature


def _open(checkpoint: Path) -> UNet:
    """The best network of a checkpoint, without the class weights of its training.

    A loss whose classes weigh `w` teaches probabilities in proportion to `w p`.
    """
    state = load(checkpoint, {})
    try:
        network = UNet.of(state.get("best") or state["network"]).eval()
    except (KeyError, RuntimeError, AttributeError) as error:
        raise BadInput(f"{str(checkpoint)!r} holds no U-Net: {error}. Give one that `landloom train` wrote.") from error
    if (found := (network.down[0][0].in_channels, network.head.out_channels)) != (len(BANDS), len(MODEL_CLASSES)):  # type: ignore[index]
        raise BadInput(
            f"{str(checkpoint)!r} holds a network of {found[0]} bands and {found[1]} classes; {len(BANDS)} "
            f"({', '.join(BANDS)}) and {len(MODEL_CLASSES)} are needed."
        )
    shift = torch.tensor(state.get("class_weights", [1.0] * len(MODEL_CLASSES))).log()
    with torch.no_grad():
        network.head.bias.sub_(shift)  # type: ignore[union-attr]
    return network


@torch.no_grad()
def _logits(network: UNet, image: np.ndarray) -> np.ndarray:
    """Of uint16 `[6, H, W]`, mirrored at its borders: float32 `[10, H, W]`."""
    mirrored, here = mirror(image, network.stride, network.halo)
    return network(normalise(torch.from_numpy(mirrored[np.newaxis].astype(np.float32))))[0].numpy()[
        (slice(None), *here)
    ]


def _samples(datasets: Sequence[str], leave_out: Sequence[str], count: int = 32) -> list[np.ndarray]:
    """Large training chips from end to end of the list, which is ordered by place."""
    read = read_chips(datasets, "train", leave_out)
    chips = [chip for chip in read if chip.taught and min(chip.classes.shape) >= 256]
    return [chip.image[NINE_TO_SIX] for chip in chips[:: max(1, len(chips) // count)]]
