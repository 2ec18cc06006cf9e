"""How far the network sees, and what of it survives the export."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.inference import open_network

torch = pytest.importorskip("torch")

from services.inference.export import export  # noqa: E402
from services.inference.unet import HALO, STRIDE, UNet, normalise  # noqa: E402

SPEC = ModelSpec(id="random", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=STRIDE, halo=HALO)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Random weights, with the statistics of a few batches."""
    torch.manual_seed(0)
    unet = UNet(len(BANDS), len(MODEL_CLASSES))
    with torch.no_grad():
        for _ in range(5):
            unet(torch.randn(4, len(BANDS), 64, 64))
    return unet.eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    random = np.random.default_rng(0)
    field = gaussian_filter(random.normal(size=(len(BANDS), 256, 256)), (0, 3, 3))
    image = np.exp(7.3 + field / field.std()).clip(1, 12_000).astype(np.uint16)
    image[:, 40:60, 100:140] = 0
    return image


def test_the_halo_is_what_the_network_sees_round_a_square_on_the_stride(network):
    image = torch.randn(1, len(BANDS), 256, 256, dtype=torch.float64, requires_grad=True)
    square = network.double()(image)[:, :, 128:136, 128:136].abs().sum()
    (slope,) = torch.autograd.grad(square, image)
    rows, cols = np.nonzero(slope.abs().sum(dim=(0, 1)).numpy())
    network.float()
    reach = max(128 - rows.min(), rows.max() - 135, 128 - cols.min(), cols.max() - 135)
    assert reach <= 46
    assert -(-46 // STRIDE) * STRIDE == HALO


def test_a_wider_network_begins_with_the_answers_of_a_trained_one(network):
    wide = UNet(len(BANDS), len(MODEL_CLASSES), widths=(32, 32, 160, 256)).eval()
    wide.begin_with(network.state_dict())
    image = torch.randn(1, len(BANDS), 64, 64)
    with torch.no_grad():
        assert torch.allclose(wide(image), network(image), atol=1e-4)
    with pytest.raises(ValueError, match=r"down\.0\.0\.weight is .* wider than"):
        network.begin_with(wide.state_dict())


def test_no_data_is_neutral_and_dark_is_spread():
    reflectance = torch.tensor([0.0, 1.0, 100.0, 1600.0, 6400.0])
    assert normalise(reflectance).tolist() == pytest.approx([0, -1.95, -1.5, 0, 2])


def test_the_export_gives_the_networks_own_probabilities(network, image, tmp_path):
    export(network, SPEC, tmp_path / "float.onnx")
    opened = open_network(str(tmp_path / "float.onnx"))
    found = opened.scores(image[np.newaxis])
    with torch.no_grad():
        logits = network(normalise(torch.from_numpy(image[np.newaxis].astype(np.float32))))
    wanted = torch.softmax(logits, dim=1).numpy() * 255
    assert np.abs(found - wanted).max() <= 0.51
    assert opened.spec.model_copy(update={"sha256": ""}) == SPEC


def test_eight_bits_change_little(network, image, tmp_path):
    export(network, SPEC, tmp_path / "float.onnx")
    export(network, SPEC, tmp_path / "quantised.onnx", calibration=[image])
    assert (tmp_path / "quantised.onnx").stat().st_size < 0.5 * (tmp_path / "float.onnx").stat().st_size
    exact, coarse = (
        open_network(str(tmp_path / f"{name}.onnx")).scores(image[np.newaxis])[0].astype(int)
        for name in ("float", "quantised")
    )
    assert np.abs(exact - coarse).mean() < 3
    assert (exact.argmax(axis=0) == coarse.argmax(axis=0)).mean() > 0.9
