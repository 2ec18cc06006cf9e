"""From chips and a teacher to an ONNX file: every step of the training program, made small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from catalog.atmosphere import GAS, Atmosphere
from catalog.chips import UNLABELLED, Pixels
from catalog.errors import BadInput
from catalog.scenes import BANDS
from catalog.store import open_store
from services.inference import open_network
from services.inference.chips import CLOUD, NINE_TO_SIX, read_chips
from services.inference.evaluate import evaluate_network
from tests.training_sets import CROPS, LAKES, WATER, a_chip, a_lake, write_lakes

torch = pytest.importorskip("torch")

from services.inference import train as training  # noqa: E402
from services.inference.export import export_checkpoint  # noqa: E402
from services.inference.patches import PATCH, Patches  # noqa: E402


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return str(write_lakes(tmp_path_factory.mktemp("lakes")))


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


def test_chips_are_read_by_split_without_the_places_left_out(dataset):
    assert [len(read_chips([dataset], split)) for split in ("train", "validation")] == [3, 1]
    lake, sky = read_chips([dataset], "train", leave_out=["delta"])
    assert (lake.classes[:10] == UNLABELLED).all() and not lake.valid[:10].any()
    assert (lake.classes[10:, :80] == WATER).all() and (lake.classes[10:, 80:] == CROPS).all()
    assert (sky.classes[10:] == CLOUD).all() and not sky.valid.any()
    with pytest.raises(BadInput, match="no chip of split 'test'"):
        read_chips([dataset], "test")


def test_labels_of_a_map_are_learned_from_six_bands_but_not_under_snow(tmp_path):
    store = open_store(str(tmp_path))
    mapped = LAKES.model_copy(update={"bands": BANDS})
    image = a_lake().image[NINE_TO_SIX]
    image[:, 100:] = np.array([8000, 8000, 8000, 8000, 500, 500])[:, None, None]
    chip = mapped.write_chip(store, a_chip(teacher=None), Pixels(image, a_lake().labels))
    mapped.publish(store)
    (found,) = read_chips([str(tmp_path)], "train")
    assert chip.class_pixels["crops"] == 150 * 80
    assert not found.taught and (found.image[NINE_TO_SIX] == image).all()
    assert (found.classes[100:] == UNLABELLED).all() and (found.classes[10:100, :80] == WATER).all()


def test_patches_carry_the_teachers_answer_for_the_surface_shown(dataset, teacher):
    patches = Patches(read_chips([dataset], "train", leave_out=["delta"]), teacher, seed=1, threads=1)
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


def test_training_learns_goes_on_and_is_exported(dataset, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_BUFFER", 60)
    checkpoint = tmp_path / "unet.pt"
    for minutes in (0.1, 0.2):
        training.train([dataset], teacher, checkpoint, minutes=minutes, threads=1)
    state = torch.load(checkpoint, weights_only=True)
    assert state["seconds"] >= 0.2 * 60 and state["step"] >= 4
    export_checkpoint(checkpoint, [], tmp_path / "unet.onnx", "tiny", "1")
    chips = read_chips([dataset], "validation")
    found, _ = evaluate_network(open_network(str(tmp_path / "unet.onnx")), chips, "lakes")
    assert found.pooled.pixels == 150 * 160


def test_what_cannot_be_trained_with_is_named(dataset, teacher, tmp_path):
    wrong = tmp_path / "wrong.pt"
    torch.save({"network": torch.nn.Linear(2, 2).state_dict()}, wrong)
    (tmp_path / "text.onnx").write_text("no network")
    for change, told in (
        ({"begin": wrong}, r"Training cannot begin with .*wrong\.pt"),
        ({"out": wrong}, r"wrong\.pt' is no checkpoint of this network"),
        ({"teacher": tmp_path / "text.onnx"}, r"teacher .*text\.onnx' cannot be opened"),
        ({"datasets": [str(tmp_path)]}, "no training set"),
    ):
        known = {"datasets": [dataset], "teacher": teacher, "out": tmp_path / "unet.pt", "minutes": 0.01, "threads": 1}
        with pytest.raises(BadInput, match=told):
            training.train(**{**known, **change})
    with pytest.raises(BadInput, match=r"wrong\.pt' is no checkpoint"):
        export_checkpoint(wrong, [], tmp_path / "x.onnx", "x", "1")


@pytest.mark.parametrize(("aerosol", "zenith"), [(0.02, 20), (0.15, 65), (0.08, 89)])
def test_the_atmosphere_brightens_dark_blue_and_is_undone(aerosol, zenith):
    air = Atmosphere.of(aerosol, zenith)
    surface = np.linspace(0.01, 0.8, 9 * 4).reshape(4, 9).T
    top = air.raise_to_top(surface)
    assert np.allclose(air.lower_to_surface(top), surface)
    dark = air.raise_to_top(np.full(9, 0.01))
    assert dark[0] > 0.03 and dark[0] > dark[6] > dark[8]
    assert (air.raise_to_top(np.ones(9)) < GAS * 1.05).all()
