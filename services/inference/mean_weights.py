"""The mean of the weights of networks of which one has learned on from the other. Needs `train`.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from catalog.errors import BadInput
from services.inference.unet import UNet, normalise

_SIDE, _BATCH = 128, 16
"""Of the batches by which statistics are found, at most: as in training, of many places, whose differences count."""


def average(network: UNet, others: Mapping[str, UNet], images: Sequence[np.ndarray]) -> None:
    """Give a network the mean of its weights and others', in place.

    Args:
        network: one of them.
        others: by name.
        images: uint16 `[bands, H, W]`, by which batch normalisation is found again: the mean of statistics of other
            weights is not that of the mean weights.

    Raises:
        BadInput: another has other widths or bands.
    """
    mine = network.state_dict()
    for name, other in others.items():
        theirs = other.state_dict()
        if mine.keys() != theirs.keys() or any(mine[key].shape != theirs[key].shape for key in mine):
            raise BadInput(
                "Networks of different widths or bands have no mean: "
                f"the checkpoint has {network.told_widths}, {name!r} has {other.told_widths}. "
                "Give networks of which one has learned on from the other."
            )
    states = [mine, *(other.state_dict() for other in others.values())]
    mean = {key: torch.stack([state[key] for state in states]).double().mean(dim=0) for key in mine}
    network.load_state_dict({key: values.to(mine[key].dtype) for key, values in mean.items()})
    _find_statistics(network.eval(), images)


def _find_statistics(network: UNet, images: Sequence[np.ndarray]) -> None:
    side = min(_SIDE, *(size for image in images for size in image.shape[1:]))
    pieces = np.stack(
        [
            image[:, row : row + side, col : col + side]
            for image in images
            for row in range(0, image.shape[1] - side + 1, side)
            for col in range(0, image.shape[2] - side + 1, side)
        ]
    )
    order = np.random.default_rng(0).permutation(len(pieces))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # Of all batches alike.
        norm.train()
    with torch.no_grad():
        for some in np.array_split(order, -(-len(order) // _BATCH)):
            network(normalise(torch.from_numpy(pieces[some].astype(np.float32))))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    network.eval()
