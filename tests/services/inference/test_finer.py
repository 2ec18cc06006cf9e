"""A branch tells the parts of classes apart, and what the network says of the classes stays to the unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalog.chips import Pixels
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.models import floats_beside
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import TrainingSet
from catalog.tree import class_tree
from services.inference import model_provenance, open_network
from services.inference.chips import TEACHER_BANDS, read_chips
from services.inference.evaluate import evaluate_network
from tests.networks import SIX_BANDS, write_spectral_network
from tests.training_sets import CROPS, a_chip, a_lake, write_lakes

torch = pytest.importorskip("torch")

from services.inference.crops import Crops, class_pixels  # noqa: E402
from services.inference.export import export  # noqa: E402
from services.inference.features import Features  # noqa: E402
from services.inference.finer import _dealt, train_finer  # noqa: E402
from services.inference.recipe import Recipe  # noqa: E402
from services.inference.release import calibrate_network  # noqa: E402
from services.inference.unet import UNet  # noqa: E402

TREE = class_tree(load_legend("finer").finer(), "finer")
ANNUAL, PERMANENT = (TREE.names.index(name) for name in ("annual_crops", "permanent_crops"))


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
def base(tmp_path_factory) -> Path:
    """A network of three levels that has learned nothing: its answers are odd, but they are to stay."""
    torch.manual_seed(0)
    out, network = tmp_path_factory.mktemp("base") / "base.onnx", UNet(len(BANDS), len(MODEL_CLASSES), (8, 16, 16))
    spec = SIX_BANDS.model_copy(update={"id": "base", "stride": network.stride, "halo": network.halo})
    export(network, spec, out)
    export(network, spec, floats_beside(out))
    return out


@pytest.fixture(scope="module")
def finer(base, fields) -> Path:
    out = base.with_name("finer.onnx")
    train_finer(base, [fields], out, "finer", "1")
    return out


@pytest.mark.slow
def test_parts_add_up_to_the_class_and_all_else_stays(base, finer) -> None:
    network, before = open_network(str(finer)), open_network(str(base))
    assert network.spec.classes == TREE.leaves and network.spec.parents == TREE.finer
    chips = np.random.default_rng(0).integers(0, 6000, (2, len(BANDS), 64, 48), np.uint16)
    scores = network.scores(chips).astype(int)
    together = TREE.members(MODEL_CLASSES, TREE.leaves).astype(int) @ scores.reshape(2, len(TREE.leaves), -1)
    assert np.array_equal(together.reshape(2, -1, 64, 48), before.scores(chips))
    in_floats = open_network(str(floats_beside(finer)))
    assert np.array_equal(in_floats.scores(chips), scores) and in_floats.provenance == network.provenance


def test_a_score_is_dealt_out_in_whole_numbers_none_below_nought() -> None:
    whole = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8)
    logits = torch.randn(1, 3, 16, 16) * 4
    parts = torch.cat(_dealt(whole, logits, stride=2), dim=1)
    assert parts.dtype == torch.uint8 and torch.equal(parts.sum(dim=1, keepdim=True), whole.long())
    even = torch.cat(_dealt(whole, torch.zeros(1, 3, 16, 16), stride=2), dim=1)
    assert (even - whole / 3).abs().max() < 1


def test_parts_are_told_apart_in_places_that_were_not_learned(fields, finer) -> None:
    network, chips = open_network(str(finer)), read_chips([fields], "validation")
    judged, _ = evaluate_network(network, chips, "fields", level=2)
    (crops,) = judged.groups["siblings"]
    assert crops.name == "annual_crops or permanent_crops or pasture"
    assert (crops.pixels, crops.places) == (2 * 150 * 80, 2) and crops.overall.value > 0.9
    assert any("has the highest score of these in" in line for line in judged.remarks())
    (farm,) = (chip for chip in read_chips([fields], "train") if chip.id == "farm")
    told, _ = evaluate_network(network, [farm], "farm", level=2)
    assert told.left_out["px with a label that is coarser than level 2"] == 150 * 80


def test_the_file_tells_what_it_was_made_of(finer) -> None:
    made = model_provenance(str(finer))
    assert made.recipe == {"branch_of": "base 1"} and made.training_sets == ("fields",)
    assert made.metrics["annual_crops or permanent_crops or pasture"]["overall"] > 0.9


def test_a_level_sums_what_the_legend_shows(finer) -> None:
    spec = open_network(str(finer)).spec
    codes = {level: load_legend("finer", level).fitted(spec).codes(spec.classes) for level in (1, 2)}
    at = [spec.classes.index(name) for name in ("annual_crops", "pasture", "industrial", "shrub")]
    assert codes[1][at].tolist() == [5, 5, 7, 11] and codes[2][at].tolist() == [51, 53, 72, 6]


def test_a_network_of_the_ten_classes_learns_finer_labels_as_what_they_are_part_of(fields) -> None:
    chips = read_chips([fields], "train")
    recipe = Recipe(patch=128, batch=3, epochs=1, learn_from="labels", label_smoothing=0)
    _, target = Crops(chips, recipe, np.random.default_rng(0)).batch()
    assert target.shape == (3, len(MODEL_CLASSES), 128, 128) and target[:, CROPS].any()
    assert class_pixels(chips)[CROPS] == 3 * 150 * 80


def test_what_does_not_fit_is_named(fields, base, finer, tmp_path) -> None:
    lakes = str(write_lakes(tmp_path / "lakes"))

    def refused(file: Path, *datasets: str) -> str:
        with pytest.raises(BadInput) as error:
            train_finer(file, datasets, tmp_path / "out.onnx", "finer", "1")
        return str(error.value)

    assert "takes B02, B03" in refused(finer, fields) and "annual_crops" in refused(finer, fields)
    spectral = write_spectral_network(tmp_path / "spectral.onnx")
    assert "no U-Net: it halves 0 times" in refused(spectral, fields)
    coarse = write_spectral_network(tmp_path / "coarse.onnx", gsd=30)
    assert "The training sets are of 10 m, and spectral is for 30 m" in refused(coarse, fields)
    assert "No chip to learn from tells a finer class" in refused(base, lakes)
    with pytest.raises(BadInput, match="no U-Net"):
        Features(spectral)
    with pytest.raises(BadInput, match=r"has a branch.*Calibrate the network without it.*train-finer"):
        calibrate_network(finer, [fields], tmp_path / "out.onnx", "2")


def test_what_does_not_fit_the_tree_is_named(fields, tmp_path) -> None:
    chips, lakes = read_chips([fields], "validation"), str(write_lakes(tmp_path / "lakes"))
    blind = _Blind(ModelSpec(id="ten", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=2, halo=8))
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


class _Blind:
    """A network that is not asked."""

    def __init__(self, spec: ModelSpec):
        self.spec = spec
