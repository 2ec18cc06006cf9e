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
from services.inference.unet import UNet, normalise  # noqa: E402

SPEC = ModelSpec(id="random", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=48)


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


@pytest.mark.parametrize(
    ("widths", "stride", "halo"), [((8, 8, 8, 8), 8, 48), ((8, 8, 8), 4, 24), ((8, 8), 2, 8), ((4,) * 5, 16, 96)]
)
def test_the_halo_is_what_the_network_sees_round_a_square_on_the_stride(widths, stride, halo):
    torch.manual_seed(0)
    network = UNet(len(BANDS), len(MODEL_CLASSES), widths).double()
    assert (network.stride, network.halo) == (stride, halo)
    image = torch.randn(1, len(BANDS), 256, 256, dtype=torch.float64, requires_grad=True)
    square = network.eval()(image)[:, :, 128 : 128 + stride, 128 : 128 + stride].abs().sum()
    (slope,) = torch.autograd.grad(square, image)
    rows, cols = np.nonzero(slope.abs().sum(dim=(0, 1)).numpy())
    last = 127 + stride
    reach = max(128 - rows.min(), rows.max() - last, 128 - cols.min(), cols.max() - last)
    assert halo - stride < reach <= halo


def test_a_network_is_known_by_its_weights(network):
    again = UNet.of(network.state_dict()).eval()
    assert again.widths == network.widths
    image = torch.randn(1, len(BANDS), 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image), network(image))


def test_a_wider_network_begins_with_the_answers_of_a_trained_one(network):
    wide = UNet(len(BANDS), len(MODEL_CLASSES), widths=(32, 32, 192, 320)).eval()
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
    green, shortwave = (image[BANDS.index(band)].astype(float) for band in ("B03", "B11"))
    snowless = green - shortwave < 0.2 * (green + shortwave)
    snow, cloud = (MODEL_CLASSES.index(name) for name in ("snow_ice", "cloud"))
    assert snowless.any() and not snowless.all()
    wanted[0, cloud] += snowless * wanted[0, snow]
    wanted[0, snow] *= ~snowless
    assert np.abs(found - wanted).max() <= 0.51
    assert opened.spec.model_copy(update={"sha256": ""}) == SPEC


def test_what_is_as_bright_in_the_short_wave_infrared_is_cloud_and_no_snow(tmp_path):
    class Snow(torch.nn.Module):
        def forward(self, x):
            none = 0 * x[:, :1]
            return torch.cat([none + 9 if name == "snow_ice" else none for name in MODEL_CLASSES], dim=1)

    export(Snow(), SPEC, tmp_path / "snow.onnx")
    chip = np.full((1, len(BANDS), 64, 64), 6000, np.uint16)
    chip[:, BANDS.index("B11"), :, 32:] = 800
    found = open_network(str(tmp_path / "snow.onnx")).scores(chip)[0].argmax(axis=0)
    assert (found[:, :32] == MODEL_CLASSES.index("cloud")).all()
    assert (found[:, 32:] == MODEL_CLASSES.index("snow_ice")).all()


@pytest.mark.slow
def test_eight_bits_change_little(network, image, tmp_path):
    export(network, SPEC, tmp_path / "float.onnx")
    export(network, SPEC, tmp_path / "quantised.onnx", samples=[image])
    assert (tmp_path / "quantised.onnx").stat().st_size < 0.5 * (tmp_path / "float.onnx").stat().st_size
    exact, coarse = (
        open_network(str(tmp_path / f"{name}.onnx")).scores(image[np.newaxis])[0].astype(int)
        for name in ("float", "quantised")
    )
    assert np.abs(exact - coarse).mean() < 3
    assert (exact.argmax(axis=0) == coarse.argmax(axis=0)).mean() > 0.9
