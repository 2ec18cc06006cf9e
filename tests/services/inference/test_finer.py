"""Networks of a tree of classes learn from labels of any depth, and are judged at any level."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from catalog.chips import UNLABELLED, Pixels
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import TrainingSet
from catalog.tree import class_tree
from services.inference import open_network
from services.inference.chips import TEACHER_BANDS, read_chips
from services.inference.evaluate import evaluate_network
from tests.training_sets import CROPS, WATER, a_chip, a_lake, write_lakes

torch = pytest.importorskip("torch")

from services.inference import train as training  # noqa: E402
from services.inference.crops import refine  # noqa: E402
from services.inference.finer import Sums, inherited  # noqa: E402
from services.inference.recipe import Recipe  # noqa: E402
from services.inference.release import export_checkpoint  # noqa: E402
from services.inference.temperature import fit_temperature  # noqa: E402
from services.inference.unet import UNet  # noqa: E402

TREE = class_tree(load_legend("finer").finer(), "finer")
ANNUAL, PERMANENT, PASTURE = (TREE.names.index(name) for name in ("annual_crops", "permanent_crops", "pasture"))
RECIPE = Recipe(
    widths=(8, 16), patch=64, batch=2, held_out=0, epochs=24, learning_rate=0.02, learn_from="labels", label_smoothing=0
)


def write_fields(folder: Path) -> Path:
    """Water, and crops that are annual where they are bright and permanent where they are very bright.

    Of each kind one chip to learn and one to be tested on; and one whose crops nobody knows more closely.
    """
    store = open_store(str(folder))
    fields = TrainingSet(
        id="fields", title="Fields", description="Kinds of crops", bands=TEACHER_BANDS, classes=TREE.names,
        parents=TREE.finer,
    )  # fmt: skip
    for number, (name, split, factor, label) in enumerate(
        (
            ("wheat", "train", 1.0, ANNUAL),
            ("vines", "train", 2.0, PERMANENT),
            ("maize", "validation", 1.0, ANNUAL),
            ("olives", "validation", 2.0, PERMANENT),
            ("farm", "train", 2.0, CROPS),
        )
    ):
        lake = a_lake(number)
        labels = np.where(lake.labels == CROPS, label, lake.labels).astype(np.uint8)
        image = np.where(lake.labels == CROPS, lake.image * factor, lake.image).astype(np.uint16)
        fields.write_chip(store, a_chip(name, split=split, teacher=None), Pixels(image, labels))
    fields.publish(store)
    return folder


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> str:
    return str(write_fields(tmp_path_factory.mktemp("fields")))


@pytest.fixture(scope="module")
def checkpoint(fields, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "unet.pt"
    training.train([fields], RECIPE, out, threads=1)
    return out


@pytest.fixture(scope="module")
def network(checkpoint) -> Path:
    out = checkpoint.with_suffix(".onnx")
    export_checkpoint(checkpoint, [], out, "fields", "1")
    return out


def test_a_class_is_as_probable_as_its_parts_together() -> None:
    probable = torch.softmax(torch.randn(1, len(TREE.leaves), 2, 2), dim=1)
    found = Sums(TREE)(probable.log()).exp()
    parts = [TREE.leaves.index(name) for name in TREE.children("crops")]
    assert torch.allclose(found[:, CROPS], probable[:, parts].sum(dim=1))
    assert torch.allclose(found[:, ANNUAL], probable[:, parts[0]])
    assert torch.allclose(found[:, : len(MODEL_CLASSES)].sum(dim=1), torch.ones(1, 2, 2))


def test_a_coarse_label_teaches_the_sum_and_not_which_part() -> None:
    logits = torch.randn(1, len(TREE.leaves), 1, 1, requires_grad=True)
    (-Sums(TREE)(torch.log_softmax(logits, dim=1))[:, CROPS]).sum().backward()
    probable = torch.softmax(logits, dim=1).detach()
    parts = [TREE.leaves.index(name) for name in TREE.children("crops")]
    pull = (-logits.grad / probable)[0, parts, 0, 0]
    # Each part is drawn up in proportion to what it has: their odds against each other stay.
    assert (pull > 0).all() and torch.allclose(pull, pull[0].expand(3), atol=1e-5)


def test_where_a_part_is_known_it_takes_what_the_teacher_gives_the_whole() -> None:
    target = np.zeros((len(TREE.names), 1, 2), np.float32)
    target[[CROPS, WATER]] = [[[0.7, 0.7]], [[0.3, 0.3]]]
    refine(target, np.array([[ANNUAL, UNLABELLED]], np.uint8), TREE)
    assert np.allclose(target[[CROPS, ANNUAL, WATER], 0], [[0, 0.7], [0.7, 0], [0.3, 0.3]])


def test_a_finer_network_begins_with_the_answers_of_the_one_before() -> None:
    old = UNet(len(BANDS), len(MODEL_CLASSES), (8, 16)).eval()
    new = UNet(len(BANDS), len(TREE.leaves), (8, 16)).eval()
    new.begin_with(inherited({"network": old.state_dict()}, TREE))
    x = torch.randn(1, len(BANDS), 16, 16)
    found = Sums(TREE)(torch.log_softmax(new(x), dim=1)).exp()
    assert torch.allclose(found[:, : len(MODEL_CLASSES)], torch.softmax(old(x), dim=1), atol=1e-5)
    assert torch.allclose(found[:, ANNUAL], found[:, PASTURE])


@pytest.mark.slow
def test_labels_of_any_depth_are_learned_and_judged_at_any_level(fields, network) -> None:
    opened, chips = open_network(str(network)), read_chips([fields], "validation")
    assert opened.spec.classes == TREE.leaves and opened.spec.parents == TREE.finer
    coarse, _ = evaluate_network(opened, chips, "fields")
    assert [one.name for one in coarse.classes] == list(MODEL_CLASSES)
    assert coarse.pooled.overall.value > 0.95
    fine, _ = evaluate_network(opened, chips, "fields", level=2)
    recall = {one.name: one.recall.value for one in fine.pooled.classes}
    assert recall["annual_crops"] > 0.9 and recall["permanent_crops"] > 0.9
    (crops,) = fine.groups["siblings"]
    assert crops.name == "annual_crops or permanent_crops or pasture"
    assert (crops.pixels, crops.places) == (2 * 150 * 80, 2) and crops.overall.value > 0.9
    assert any("has the highest score of these in" in line for line in fine.remarks())
    (farm,) = (chip for chip in read_chips([fields], "train") if chip.id == "farm")
    told, _ = evaluate_network(opened, [farm], "farm", level=2)
    assert told.left_out["px with a label that is coarser than level 2"] == 150 * 80


def test_temperature_is_fitted_on_labels_of_any_depth(fields) -> None:
    chips = read_chips([fields], "validation")
    random = np.random.default_rng(0)

    def logits_of(image: np.ndarray) -> np.ndarray:
        """Right of water and crops, and blind to their kinds."""
        logits = random.normal(0, 0.1, (len(TREE.leaves), *image.shape[1:]))
        logits[TREE.leaves.index("water")] += np.where(image[0] < 1000, 3, -3)
        return logits

    fitted = fit_temperature(logits_of, chips, TREE)
    coarse = [dataclasses.replace(chip, finer=None) for chip in chips]
    surer = fit_temperature(logits_of, coarse, TREE)
    # Kinds of crops that are mere guesses make the network as unsure as it should be; without them it is surer.
    assert len(fitted.without) == 2 and surer.value < fitted.value


@pytest.mark.slow
def test_a_mapped_year_votes_for_what_the_legend_shows(network) -> None:
    spec = open_network(str(network)).spec
    codes = {level: load_legend("finer", level).fitted(spec).codes(spec.classes) for level in (1, 2)}
    at = [spec.classes.index(name) for name in ("annual_crops", "pasture", "industrial", "shrub")]
    assert codes[1][at].tolist() == [5, 5, 7, 11] and codes[2][at].tolist() == [51, 53, 72, 6]


@pytest.mark.slow
def test_what_does_not_fit_the_tree_is_named(fields, checkpoint, network, tmp_path) -> None:
    chips, lakes = read_chips([fields], "validation"), str(write_lakes(tmp_path / "lakes"))
    spec = ModelSpec(id="ten", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=2, halo=8)
    blind = _Blind(spec)
    with pytest.raises(BadInput, match=r"Network ten has the class 'crops'; chips hold .*annual_crops"):
        evaluate_network(blind, chips, "fields", level=2)
    with pytest.raises(BadInput, match="no level 3 of fields: its classes have the levels 1 to 2"):
        evaluate_network(blind, chips, "fields", level=3)
    forests = TrainingSet(
        id="forests", title="Forests", description="Planted apart", bands=TEACHER_BANDS,
        classes=(*MODEL_CLASSES, "planted"), parents=(("planted", "trees"),),
    )  # fmt: skip
    store = open_store(str(tmp_path / "forests"))
    forests.write_chip(store, a_chip(teacher=None), Pixels(a_lake().image, a_lake().labels))
    forests.publish(store)
    with pytest.raises(BadInput, match=r"different finer classes: .*planted"):
        read_chips([fields, str(tmp_path / "forests")], "train")
    with pytest.raises(BadInput, match="label 11 is none of the 11 classes of forests"):
        forests.write_chip(
            store, a_chip("odd", teacher=None), Pixels(a_lake().image, np.full((160, 160), 11, np.uint8))
        )
    # A set of the ten classes goes with one of finer ones: its labels are coarse.
    assert all(chip.tree == TREE for chip in read_chips([fields, lakes], "train"))
    with pytest.raises(BadInput, match=r"learns water, .*the training sets now have"):
        training.train([lakes], RECIPE, checkpoint, threads=1)


class _Blind:
    """A network that is not asked."""

    def __init__(self, spec: ModelSpec):
        self.spec = spec
