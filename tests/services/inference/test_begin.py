"""Training that begins with a network that is trained already: as it was exported, made wider, or pruned."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import read_pixels
from pipelines.simulated_chips import write_simulated_chips
from services.inference import open_network
from services.inference.adopt import adopt

torch = pytest.importorskip("torch")

from services.inference.begin import begin_with  # noqa: E402
from services.inference.export import export  # noqa: E402
from services.inference.unet import UNet, normalise  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[np.ndarray]:
    """Simulated landscapes in summer and winter, some of them cloudy: uint16 `[6, 128, 128]`."""
    store = open_store(str(tmp_path_factory.mktemp("chips")))
    chips = write_simulated_chips(store, places=6, dates=2, cloud=0.1)
    return [read_pixels(store, chip).image for chip in chips]


def unet(*widths: int) -> UNet:
    torch.manual_seed(5)
    return UNet(len(BANDS), len(MODEL_CLASSES), widths)


def alike(network: UNet, name: str, images: list[np.ndarray]) -> float:
    """Share of the pixels with data that have the same class by both."""
    trained, same = open_network(name), []
    for image in images:
        with torch.no_grad():
            logits = network.eval()(normalise(torch.from_numpy(image[np.newaxis].astype(np.float32))))
        there = image.any(axis=0)
        same.append((logits[0].argmax(dim=0).numpy() == trained.scores(image[np.newaxis])[0].argmax(axis=0))[there])
    return float(np.concatenate(same).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "widths"), [("unet-small", (16, 32, 160, 320)), ("unet-30m", (16, 32, 160))])
def test_a_shipped_network_learns_on_from_what_it_says(name, widths, images):
    network = unet(*widths)
    begin_with(network, name, images)
    assert alike(network, name, images) > 0.93
    # Its batch normalisation has the statistics of real activations: it says much the same while it learns.
    norm = network.down[0][1]
    assert norm.running_var.min() > 0 and torch.allclose(norm.weight, (norm.running_var + norm.eps).sqrt(), atol=1e-4)


@pytest.mark.slow
def test_a_branch_for_finer_classes_is_left_behind(images):
    network = unet(16, 32, 160, 320)
    begin_with(network, "unet-finer", images)
    assert alike(network, "unet-small", images) > 0.93


@pytest.mark.slow
def test_radar_comes_to_a_network_without_it_as_new_channels(images):
    network = UNet(8, len(MODEL_CLASSES), (16, 32, 160))
    begin_with(network, "unet-30m", [np.concatenate([image, image[:2]]) for image in images])
    assert network.down[0][0].weight[:, :6].abs().min() > 0 and not network.down[0][0].weight[:, 6:].any()


@pytest.mark.slow
def test_channels_that_matter_least_are_pruned_and_others_added(images):
    network = unet(32, 32, 128, 256)
    assert alike(network, "unet-small", images) < 0.4
    begin_with(network, "unet-small", images)
    assert network.widths == (32, 32, 128, 256)
    assert alike(network, "unet-small", images) > 0.7


def test_a_checkpoint_is_begun_with_as_it_is(images, tmp_path):
    trained, again = unet(8, 16), unet(8, 16)
    with torch.no_grad():
        trained.head.bias += 1
    torch.save({"network": trained.state_dict()}, tmp_path / "trained.pt")
    begin_with(again, str(tmp_path / "trained.pt"), images)
    for name, values in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], values)


def test_floats_are_taken_over_to_the_last_digit(images, tmp_path):
    trained, again = unet(8, 16).eval(), unet(8, 16)
    spec = ModelSpec(id="x", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=2, halo=8)
    export(trained, spec, tmp_path / "x.onnx")
    begin_with(again, str(tmp_path / "x.onnx"), images)
    image = torch.randn(2, len(BANDS), 64, 64)
    with torch.no_grad():
        assert torch.allclose(again.eval()(image), trained(image), atol=1e-4)


def test_what_cannot_be_begun_with_is_named(images, tmp_path):
    torch.save({"network": torch.nn.Linear(2, 2).state_dict()}, tmp_path / "linear.pt")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["image"], ["bands"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Conv", ["bands", "weights"], ["logits"]),
            onnx.helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        "foreign",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT16, ["n", 6, "h", "w"])],
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 6, "h", "w"])],
        [onnx.numpy_helper.from_array(np.eye(6, dtype=np.float32)[:, :, None, None], "weights")],
    )
    file = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10), file)
    adopt(file, ModelSpec(id="f", version="1", bands=BANDS, classes=MODEL_CLASSES[:6], stride=1, halo=0), file)
    for begin, widths, told in (
        ("unet-small", (16, 32, 160), "widths 16-32-96-256, and the recipe 16-32-160, which are 3 levels. Give"),
        ("unet-tiny", (16, 32), "no network 'unet-tiny'"),
        (str(tmp_path / "gone.pt"), (16, 32), "There is no checkpoint .*gone.pt"),
        (str(tmp_path / "linear.pt"), (16, 32), "linear.pt' holds no U-Net"),
        (str(file), (16, 32), "foreign.onnx', which is no U-Net that `landloom export` wrote"),
    ):
        with pytest.raises(BadInput, match=told):
            begin_with(unet(*widths), begin, images)
