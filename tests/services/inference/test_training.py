"""From chips and a teacher to an ONNX file: every step of the training program, made small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import gaussian_filter

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.inference import open_network
from services.inference.atmosphere import GAS, Atmosphere
from services.inference.chips import CLOUD, NINE_TO_SIX, UNLABELLED, read_chips
from services.inference.evaluate import agreement, confusion

torch = pytest.importorskip("torch")

from services.inference import train as training  # noqa: E402
from services.inference.export import export  # noqa: E402
from services.inference.patches import PATCH, Patches  # noqa: E402
from services.inference.unet import HALO, STRIDE, UNet  # noqa: E402

SPEC = ModelSpec(id="tiny", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=STRIDE, halo=HALO)
WATER, TREES, CROPS = (MODEL_CLASSES.index(name) for name in ("water", "trees", "crops"))


@pytest.fixture(scope="module")
def chips(tmp_path_factory) -> Path:
    """Three chips with dark water in the west and bright crops in the east, and one that is all cloud."""
    folder = tmp_path_factory.mktemp("chips")
    (folder / "chips").mkdir()
    random = np.random.default_rng(0)
    rows = ["id,scene,split,level,sun_zenith"]
    for number, (scene, split) in enumerate(
        [("lake", "train"), ("sky", "train"), ("shore", "val"), ("rufiji-2016", "train")]
    ):
        image = np.full((9, 160, 160), 400.0)
        image[:, :, 80:] = 2500
        image *= np.exp(0.1 * gaussian_filter(random.normal(size=image.shape), (0, 2, 2)))
        teacher = np.zeros_like(image)
        teacher[WATER, :, :80] = teacher[CROPS, :, 80:] = 250
        valid, cloud = np.ones((1, 160, 160)), np.zeros((1, 160, 160))
        valid[:, :10] = image[:, :10] = 0
        if scene == "sky":
            image[:], valid[:], cloud[:] = 7000, 0, 1
        name = f"{scene}_{number}"
        parts = {"image": image.astype(np.uint16), "teacher": teacher, "valid": valid, "cloud": cloud}
        for part, data in parts.items():
            data = data if part == "image" else data.astype(np.uint8)
            with rasterio.open(
                folder / "chips" / f"{name}_{part}.tif", "w", driver="GTiff", count=len(data), height=160, width=160,
                dtype=data.dtype, crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
            ) as file:  # fmt: skip
                file.write(data)
        rows.append(f"{name},{scene},{split},L2A,30")
    (folder / "chips.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Says crops where the first band is bright and water where it is dark."""
    weights = np.zeros((9, 9, 1, 1), np.float32)
    weights[CROPS, 0], weights[WATER, 0] = 0.01, -0.01
    bias = np.full(9, -40.0, np.float32)
    bias[CROPS], bias[WATER] = -16, 16
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["bands"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["bands", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.UINT16, ["n", 9, "h", "w"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 9, "h", "w"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    path = tmp_path_factory.mktemp("teacher") / "threshold.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_chips_are_read_by_split_without_the_places_held_out(chips):
    assert [len(read_chips(chips, split)) for split in ("train", "val")] == [2, 1]
    lake, sky = read_chips(chips, "train")
    assert (lake.classes[:10] == UNLABELLED).all() and not lake.valid[:10].any()
    assert (lake.classes[10:, :80] == WATER).all() and (lake.classes[10:, 80:] == CROPS).all()
    assert (sky.classes == CLOUD).all() and not sky.valid.any()


def test_a_folder_without_chips_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"no chips\.csv"):
        read_chips(tmp_path, "train")


def test_patches_carry_the_teachers_answer_for_the_surface_shown(chips, teacher):
    patches = Patches(read_chips(chips, "train"), [], teacher, seed=1, threads=1)
    drawn = [patches.draw() for _ in range(40)]
    learned = np.stack([patch.target.sum(axis=0) > 0 for patch in drawn])
    assert not learned[:, :8].any() and not learned[:, :, -8:].any()
    assert 0.2 < learned.mean() < 0.9
    classes = np.stack([patch.target.argmax(axis=0) for patch in drawn])
    # The teacher's threshold is one of 1,600 at the top of the atmosphere.
    surface, top = (np.stack([getattr(patch, level)[0] for patch in drawn]) for level in ("surface", "top"))
    assert (surface[learned & (classes == CROPS)] > 1000).mean() > 0.99
    assert (surface[learned & (classes == WATER)] < 1800).mean() > 0.99
    assert (top > surface)[learned & (classes == WATER)].mean() > 0.99
    assert np.median(top[learned & (classes == CLOUD)]) > 3000
    assert all((patch.surface == 0).all(axis=0)[(patch.surface == 0).any(axis=0)].all() for patch in drawn)
    # Some are cut by the edge of the data, far inside; a chip's own empty rows are ten.
    empty = np.array([(patch.surface == 0).any(axis=0).mean() for patch in drawn])
    assert 2 <= (empty > 0.2).sum() <= 16
    assert drawn[0].surface.shape == (len(NINE_TO_SIX), PATCH, PATCH)


def test_training_learns_goes_on_and_is_exported(chips, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_BUFFER", 60)
    checkpoint = tmp_path / "unet.pt"
    for minutes in (0.1, 0.2):
        training.train(chips, teacher, checkpoint, minutes=minutes, threads=1)
    state = torch.load(checkpoint, weights_only=True)
    assert state["seconds"] >= 0.2 * 60 and state["step"] >= 4
    network = UNet(len(BANDS), len(MODEL_CLASSES))
    network.load_state_dict(state["network"])
    export(network, SPEC, tmp_path / "unet.onnx")
    found = confusion(open_network(str(tmp_path / "unet.onnx")), read_chips(chips, "val"))
    assert found.sum() == 150 * 160


@pytest.mark.parametrize(("aerosol", "zenith"), [(0.02, 20), (0.15, 65), (0.08, 89)])
def test_the_atmosphere_brightens_dark_blue_and_is_undone(aerosol, zenith):
    air = Atmosphere.of(aerosol, zenith)
    surface = np.linspace(0.01, 0.8, 9 * 4).reshape(4, 9).T
    top = air.raise_to_top(surface)
    assert np.allclose(air.lower_to_surface(top), surface)
    dark = air.raise_to_top(np.full(9, 0.01))
    assert dark[0] > 0.03 and dark[0] > dark[6] > dark[8]
    assert (air.raise_to_top(np.ones(9)) < GAS * 1.05).all()


def test_agreement_is_the_diagonal():
    assert agreement(np.array([[3, 1], [0, 4]])) == 87.5
    assert np.isnan(agreement(np.zeros((2, 2))))
