"""Export a trained network to ONNX, normalisation and softmax inside: uint16 bands in, uint8 scores out.

Run as `python -m services.inference.export --checkpoint FILE.pt --out FILE.onnx --id NAME --version 1`.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.inference.unet import RECEPTIVE_RADIUS, STRIDE, UNet, normalise


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


def export(network: nn.Module, spec: ModelSpec, out: Path) -> None:
    """Write a network as ONNX with its description inside.

    Args:
        network: normalised bands to logits, `[N, bands, H, W]` to `[N, classes, H, W]`.
        spec: what it is; stored under the metadata key `landloom`.
        out: file to write.
    """
    buffer = io.BytesIO()
    axes = {0: "n", 2: "h", 3: "w"}
    torch.onnx.export(
        _Deployed(network).eval(),
        (torch.ones(1, len(spec.bands), 64, 64),),
        buffer,
        input_names=["reflectance"],
        output_names=["rounded"],
        dynamic_axes={"reflectance": axes, "rounded": axes},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    # The exporter knows no uint16: the casts at both ends are put in here.
    graph = model.graph
    sizes = ["n", "h", "w"]
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info("image", TensorProto.UINT16, [sizes[0], len(spec.bands), *sizes[1:]])
    )
    graph.output[0].CopyFrom(
        helper.make_tensor_value_info("scores", TensorProto.UINT8, [sizes[0], len(spec.classes), *sizes[1:]])
    )
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["reflectance"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Cast", ["rounded"], ["scores"], to=TensorProto.UINT8))
    entry = model.metadata_props.add()
    entry.key, entry.value = "landloom", spec.model_dump_json(exclude={"sha256"})
    onnx.checker.check_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="written by services.inference.train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    state = torch.load(arguments.checkpoint, weights_only=True)["average"]
    network = UNet(len(BANDS), len(MODEL_CLASSES))
    network.load_state_dict({k.removeprefix("module."): v for k, v in state.items() if k.startswith("module.")})
    spec = ModelSpec(
        id=arguments.id,
        version=arguments.version,
        bands=BANDS,
        classes=MODEL_CLASSES,
        stride=STRIDE,
        halo=-(-RECEPTIVE_RADIUS // STRIDE) * STRIDE,
    )
    export(network, spec, arguments.out)


if __name__ == "__main__":
    main()
