"""The network that training begins with: a trained one, wider or narrower than the recipe wants. Needs `train`.

A network of the registry is as it was exported: batch normalisation folded into the convolutions, weights in 8-bit
integers, logits divided by a temperature. All of that is taken back, so that it can learn on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from catalog.errors import BadInput
from services.inference.checkpoint import best_network
from services.inference.onnx import OnnxNetwork
from services.inference.registry import model_file
from services.inference.unet import UNet, normalise


def begin_with(network: UNet, begin: str, images: Sequence[np.ndarray]) -> None:
    """Let a network begin as a trained one of the same depth.

    Where the trained one is wider it is pruned first: the channels go whose weights, in all layers that they tie
    together, are the smallest (Fang et al. 2023, "DepGraph: Towards any structural pruning"). Channels that it has not
    say nothing until they have learned something.

    Args:
        network: to begin.
        begin: ID of a network that Landloom exported, its ONNX file, or a checkpoint of `landloom train`.
        images: uint16 `[bands, H, W]`, by which batch normalisation of an exported network is found again. Of more
            bands than it has the first ones are its own, and radar channels follow.

    Raises:
        BadInput: no such network, one of another depth, or one of other bands or classes.
    """
    trained = best_network(Path(begin))[0] if begin.endswith(".pt") else unfolded(model_file(begin), images)
    if len(trained.widths) != len(network.widths):
        raise BadInput(
            f"Training cannot begin with {begin!r}: it has the widths {trained.told_widths}, and the recipe "
            f"{network.told_widths}, which are {len(network.widths)} levels. Give the recipe {len(trained.widths)} "
            "widths."
        )
    _prune(trained, network.widths)
    try:
        network.begin_with(trained.state_dict())
    except ValueError as error:
        raise BadInput(f"Training cannot begin with {begin!r}: {error}.") from error


def unfolded(file: Path, images: Sequence[np.ndarray]) -> UNet:
    """A network as it was before its export, without a branch for finer classes.

    Args:
        file: ONNX file that `landloom export` wrote.
        images: uint16 `[bands, H, W]`, by which batch normalisation is found again.

    Raises:
        BadInput: another maker's network.
    """
    opened = OnnxNetwork(file)
    weights = dict(_weights(onnx.load(file).graph))
    state = {name: values for name, values in weights.items() if name.startswith(("grow.", "head."))}
    for name, values in weights.items():
        if not name.startswith(("down.", "up.")) or not name.endswith(".weight"):
            continue
        convolution = name.removesuffix(".weight")
        level, number = convolution.rsplit(".", 1)
        norm = f"{level}.{int(number) + 1}"
        state[name] = values
        state |= {f"{norm}.weight": torch.ones(len(values)), f"{norm}.bias": weights[f"{convolution}.bias"]}
        state |= {f"{norm}.running_mean": torch.zeros(len(values)), f"{norm}.running_var": torch.ones(len(values))}
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    try:
        network = UNet.of(state)
    except (KeyError, RuntimeError) as error:
        raise BadInput(
            f"No weights can be taken from {str(file)!r}, which is no U-Net that `landloom export` wrote: {error}."
        ) from error
    if opened.provenance:
        with torch.no_grad():
            for values in network.head.parameters():
                values.mul_(opened.provenance.temperature)
    _settle(network.eval(), images)
    return network


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights and biases of a U-Net by the names that its layers had before the export."""
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in stored:  # Of values that are alike one is kept.
            stored[node.output[0]] = stored[node.input[0]]
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored:
            whole, scale, zero = (stored[name] for name in node.input)
            along_first = (-1, *[1] * (whole.ndim - 1))
            stored[node.output[0]] = (whole - zero.astype(np.float32).reshape(along_first)) * scale.reshape(along_first)
    for node in graph.node:
        convolves = node.op_type in ("Conv", "ConvTranspose")
        layer = node.name.rpartition("/")[0].rpartition("/")[2] if convolves else ""
        if layer.startswith(("down.", "grow.", "up.", "head")):
            for name, kind in zip(node.input[1:], ("weight", "bias"), strict=True):
                yield f"{layer}.{kind}", torch.from_numpy(stored[name].astype(np.float32))


@torch.no_grad()
def _settle(network: UNet, images: Sequence[np.ndarray]) -> None:
    """Give each batch normalisation the mean and spread of what comes to it, without changing what it gives."""
    hooks = []
    for layers in (*network.down, *network.up):
        for convolution, norm in ((layers[0], layers[1]), (layers[3], layers[4])):

            def measure(_: nn.Module, __: object, found: torch.Tensor, norm: nn.BatchNorm2d = norm) -> None:
                variance, mean = torch.var_mean(found, dim=(0, 2, 3))
                norm.running_mean, norm.running_var = mean, variance
                norm.weight.copy_(torch.sqrt(variance + norm.eps))
                norm.bias.add_(mean)

            hooks.append(convolution.register_forward_hook(measure))
    side = min(min(image.shape[1:]) for image in images) // network.stride * network.stride
    bands = network.down[0][0].in_channels  # type: ignore[index]
    shown = np.stack([image[:bands, :side, :side] for image in images])
    network(normalise(torch.from_numpy(shown.astype(np.float32))))
    for hook in hooks:
        hook.remove()


def _prune(network: UNet, widths: Sequence[int]) -> None:
    """Take channels away where there are more than wanted."""
    import torch_pruning

    ratios = {}
    for level, (old, new) in enumerate(zip(network.widths, widths, strict=True)):
        for layers in (network.down, network.grow, network.up):
            for layer in layers[level].modules() if level < len(layers) else ():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    ratios[layer] = max(0.0, 1 - new / old)
    if not any(ratios.values()):
        return
    bands = network.down[0][0].in_channels  # type: ignore[index]
    torch_pruning.pruner.BasePruner(
        network,
        torch.zeros(1, bands, 8 * network.stride, 8 * network.stride),
        torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=0,
        pruning_ratio_dict=ratios,
        ignored_layers=[network.head],
    ).step()
