"""The mean of the weights of several networks."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS

torch = pytest.importorskip("torch")

from services.inference.mean_weights import average  # noqa: E402
from services.inference.unet import UNet, normalise  # noqa: E402

IMAGES = [np.random.default_rng(top).integers(1, top, (len(BANDS), 64, 64), np.uint16) for top in (500, 2000, 8000)]
"""Of different brightness."""


def unet(*widths: int, bias: float = 0) -> UNet:
    torch.manual_seed(5)
    network = UNet(len(BANDS), len(MODEL_CLASSES), widths)
    with torch.no_grad():
        network.head.bias.fill_(bias)
    return network


def test_weights_are_averaged_and_batch_normalisation_is_found_again_on_images():
    network = unet(8, 16, bias=1)
    momentum = network.down[0][1].momentum
    average(network, {"one": unet(8, 16, bias=4), "other": unet(8, 16, bias=7)}, IMAGES)
    assert torch.equal(network.head.bias, torch.full((len(MODEL_CLASSES),), 4.0)) and not network.training
    norm = network.down[0][1]
    assert int(norm.num_batches_tracked) == 1 and norm.momentum == momentum
    seen = network.down[0][0](normalise(torch.from_numpy(np.stack(IMAGES).astype(np.float32)))).detach()
    assert torch.allclose(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-3)
    assert torch.allclose(norm.running_var, seen.var(dim=(0, 2, 3)), rtol=1e-3), "of all of them, not of each"


def test_networks_of_other_widths_have_no_mean():
    with pytest.raises(BadInput, match=r"the checkpoint has 8-16, 'narrow' has 8-8\. Give networks"):
        average(unet(8, 16), {"narrow": unet(8, 8)}, IMAGES)
