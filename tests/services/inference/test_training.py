"""From chips and a teacher to an ONNX file: every step of the training program, made small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
from onnx import TensorProto, helper, numpy_helper

from catalog.chips import UNLABELLED, Pixels
from catalog.errors import BadInput, StoreError
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.models import floats_beside
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.validation import validate
from pipelines.cli.networks import evaluate_command
from services.inference import model_file, open_network
from services.inference.adopt import adopt
from services.inference.chips import CLOUD, NINE_TO_SIX, TEACHER_BANDS, gsd_apart, read_chips
from services.inference.evaluate import evaluate_network
from services.inference.registry import register, registry
from tests.training_sets import BUILT, CROPS, FOUR, LAKES, WATER, a_chip, a_lake, write_lakes

torch = pytest.importorskip("torch")

from services.inference import run  # noqa: E402
from services.inference import train as training  # noqa: E402
from services.inference.crops import Crops, class_weights  # noqa: E402
from services.inference.patches import Patches  # noqa: E402
from services.inference.recipe import Recipe, load_recipe  # noqa: E402
from services.inference.release import export_checkpoint  # noqa: E402
from services.inference.unet import UNet  # noqa: E402

TREES = 1
SMALL = Recipe(widths=(8, 16), buffer=60, batch=4, held_out=0, minutes=0.1, learning_rate=0.01)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return str(write_lakes(tmp_path_factory.mktemp("lakes")))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    """Says crops where the first band is bright and water where it is dark."""
    weights = np.zeros((9, 9, 1, 1), np.float32)
    weights[CROPS, 0], weights[WATER, 0] = 0.01, -0.01
    bias = np.full(9, -40.0, np.float32)
    bias[CROPS], bias[WATER] = -16, 16
    spec = ModelSpec(
        id="threshold", version="1", bands=TEACHER_BANDS, classes=MODEL_CLASSES[:9], stride=1, halo=0, level="L1C"
    )
    return write_network(tmp_path_factory.mktemp("teacher"), spec, weights, bias)


@pytest.fixture(scope="module")
def forester(tmp_path_factory) -> str:
    """Says trees everywhere, and sees the six bands of surface reflectance."""
    bias = np.full(10, -40.0, np.float32)
    bias[TREES] = 0
    spec = ModelSpec(id="forester", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=1, halo=0, level="L2A")
    return write_network(tmp_path_factory.mktemp("forester"), spec, np.zeros((10, 6, 1, 1), np.float32), bias)


def write_network(folder: Path, spec: ModelSpec, weights: np.ndarray, bias: np.ndarray) -> str:
    """A network of one pixel's view: the classes' logits are sums of the bands."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["bands"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["bands", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        spec.id,
        [helper.make_tensor_value_info("image", TensorProto.UINT16, ["n", weights.shape[1], "h", "w"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(weights), "h", "w"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    path = folder / f"{spec.id}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    adopt(path, spec, path)
    return str(path)


def test_chips_are_read_by_split_without_the_places_left_out(dataset):
    assert [len(read_chips([dataset], split)) for split in ("train", "validation")] == [3, 1]
    lake, sky = read_chips([dataset], "train", leave_out=["delta"])
    assert (lake.classes[:10] == UNLABELLED).all() and not lake.valid[:10].any()
    assert (lake.classes[10:, :80] == WATER).all() and (lake.classes[10:, 80:] == CROPS).all()
    assert (sky.classes[10:] == CLOUD).all() and not sky.valid.any()
    with pytest.raises(BadInput, match="no chip of split 'test'"):
        read_chips([dataset], "test")
    with pytest.raises(BadInput, match=r"the place 'dleta' that is to be left out\. There are delta"):
        read_chips([dataset], "train", leave_out=["dleta"])


def test_a_place_that_one_set_learns_and_another_tests_is_named(dataset, tmp_path):
    other = write_lakes(tmp_path, ("delta", "validation"), ("pond", "train"))
    with pytest.raises(BadInput, match="Place delta lies in two splits: delta in train and delta in validation"):
        read_chips([dataset, str(other)], "train")


def test_a_chip_that_lies_in_two_sets_is_named(dataset):
    with pytest.raises(BadInput, match=r"Chip delta lies in .* and in .*: give it once, or it counts twice"):
        read_chips([dataset, dataset], "train")


def test_pixels_that_are_not_what_their_set_says_are_named(tmp_path):
    folder = write_lakes(tmp_path)
    labels = folder / "delta" / "delta" / "labels.tif"
    with rasterio.open(labels, "r+") as file:
        file.write(np.full((1, 160, 160), 37, np.uint8))
    with pytest.raises(BadInput, match="Chip delta: label 37 is none of the 10 classes of lakes"):
        read_chips([str(folder)], "train")
    assert len(read_chips([str(folder)], "train", leave_out=["delta"])) == 2


def six_bands(folder: Path) -> str:
    """A map's labels, and snow in the south."""
    store = open_store(str(folder))
    mapped = LAKES.model_copy(update={"bands": BANDS})
    image = a_lake().image[NINE_TO_SIX]
    image[:, 100:] = np.array([8000, 8000, 8000, 8000, 500, 500])[:, None, None]
    mapped.write_chip(store, a_chip(teacher=None), Pixels(image, a_lake().labels))
    mapped.publish(store)
    return str(folder)


def test_labels_of_a_map_are_learned_from_six_bands_but_not_under_snow(tmp_path):
    (found,) = read_chips([six_bands(tmp_path)], "train")
    assert not found.taught and (found.image[NINE_TO_SIX, 10:100] == a_lake().image[NINE_TO_SIX, 10:100]).all()
    assert (found.classes[100:] == UNLABELLED).all() and (found.classes[10:100, :80] == WATER).all()


def test_patches_carry_the_teachers_answer_for_the_surface_shown(dataset, teacher):
    chips = read_chips([dataset], "train", leave_out=["delta"])
    patches = Patches(chips, [open_network(teacher)], SMALL, np.random.default_rng(1))
    drawn = [patches.draw() for _ in range(40)]
    learned = np.stack([patch.target.sum(axis=0) > 0 for patch in drawn])
    assert not learned[:, :8].any() and not learned[:, :, -8:].any()
    assert 0.2 < learned.mean() < 0.9
    classes = np.stack([patch.target.argmax(axis=0) for patch in drawn])
    # The teacher's threshold is one of 1,600 at the top of the atmosphere.
    surface, through_air = (
        np.stack([getattr(patch, shown)[0] for patch in drawn]) for shown in ("surface", "through_air")
    )
    assert (surface[learned & (classes == CROPS)] > 1000).mean() > 0.99
    assert (surface[learned & (classes == WATER)] < 1800).mean() > 0.99
    # Through clearer or, more often, hazier air than that which it is corrected for.
    brighter = [
        np.median((there.astype(int) - here)[where])
        for there, here, where in zip(through_air, surface, learned & (classes == WATER), strict=True)
        if where.any()
    ]
    assert -300 < min(brighter) < 0 < np.median(brighter) < max(brighter) and 100 < max(brighter) < 1000, brighter
    assert np.median(through_air[learned & (classes == CLOUD)]) > 3000
    assert all((patch.surface == 0).all(axis=0)[(patch.surface == 0).any(axis=0)].all() for patch in drawn)
    # Some are cut by the edge of the data, far inside; a chip's own empty rows are ten.
    empty = np.array([(patch.surface == 0).any(axis=0).mean() for patch in drawn])
    assert 2 <= (empty > 0.2).sum() <= 16
    assert drawn[0].surface.shape == (len(NINE_TO_SIX), 128, 128)


def test_of_several_teachers_the_mean_is_learned(dataset, teacher, forester):
    chips = read_chips([dataset], "train", leave_out=["delta"])
    patches = Patches(chips, [open_network(teacher), open_network(forester)], SMALL, np.random.default_rng(1))
    targets = np.stack([patches.draw().target for _ in range(20)]).astype(float) / 250
    learned = (targets.sum(axis=1) > 0) & (targets[:, CLOUD] < 0.5)
    assert np.allclose(targets[:, TREES][learned], 0.5, atol=0.01)
    assert np.allclose((targets[:, CROPS] + targets[:, WATER])[learned], 0.5, atol=0.01)


def test_labels_that_correct_the_teacher_are_learned_instead_of_its_answer(tmp_path, teacher):
    store, lake = open_store(str(tmp_path)), a_lake()
    labels = lake.labels.copy()
    labels[:, 120:] = np.where(labels[:, 120:] == CROPS, BUILT, labels[:, 120:])
    LAKES.write_chip(store, a_chip(), Pixels(lake.image, labels, lake.scores))
    LAKES.publish(store)
    (chip,) = read_chips([str(tmp_path)], "train")
    assert chip.corrected[10:, 120:].all() and not chip.corrected[:, :120].any()
    patches = Patches([chip], [open_network(teacher)], SMALL, np.random.default_rng(0))
    targets = np.stack([patches.draw().target for _ in range(20)]).astype(float) / 250
    built = targets[:, BUILT] > 0.5
    assert 0.03 < built.mean() < 0.4
    # Smoothed over the nine classes of land cover; what the teacher says here, crops, is one of them.
    assert np.allclose(targets[:, BUILT][built], 0.8 + 0.2 / 9, atol=0.01)
    assert (targets[:, CROPS][built] < 0.03).all()


def agreement(network: Path, *datasets: str) -> float:
    chips = read_chips(datasets, "validation")
    evaluation, _ = evaluate_network(open_network(str(network)), chips, "lakes")
    assert evaluation.pooled.pixels == 150 * 160 * len(datasets)
    return evaluation.pooled.overall.value


@pytest.mark.slow
def test_training_learns_goes_on_and_is_exported(dataset, teacher, tmp_path):
    checkpoint = tmp_path / "unet.pt"
    for minutes in (0.1, 0.3):
        recipe = SMALL.model_copy(update={"minutes": minutes})
        training.train([dataset], recipe, checkpoint, [teacher], threads=1)
    state = torch.load(checkpoint, weights_only=True)
    assert state["seconds"] >= 0.3 * 60 and state["step"] >= 20
    assert list((tmp_path / "unet-curves").glob("events.*"))
    export_checkpoint(checkpoint, [], tmp_path / "unet.onnx", "tiny", "1")
    spec = open_network(str(tmp_path / "unet.onnx")).spec
    assert (spec.stride, spec.level) == (2, "L2A"), "L1C is corrected for what a teacher taught"
    assert agreement(tmp_path / "unet.onnx", dataset) > 0.9


@pytest.mark.slow
def test_training_from_labels_by_the_published_recipe(dataset, tmp_path, caplog):
    recipe = load_recipe("karra-2021").model_copy(update={"widths": (8, 16), "batch": 3, "learning_rate": 0.01})
    assert (recipe.epochs, recipe.dropout, recipe.class_weights) == (100, 0.2, "inverse-log")
    seen = []
    training.train([dataset], recipe, tmp_path / "unet.pt", threads=1, on_progress=seen.append)
    assert "No chip to learn from shows trees, grass, flooded_vegetation, shrub" in caplog.text
    # Each of three chips has room for two crops.
    assert seen[-1].step == 100 * 3 * 2 / 3
    assert seen[-1].loss < seen[0].loss
    export_checkpoint(tmp_path / "unet.pt", [], tmp_path / "unet.onnx", "tiny", "1")
    assert open_network(str(tmp_path / "unet.onnx")).spec.level is None, "chips were learned as they are"
    assert agreement(tmp_path / "unet.onnx", dataset) > 0.95
    with pytest.raises(BadInput, match="labels in 1"):
        export_checkpoint(tmp_path / "unet.pt", [dataset], tmp_path / "unet.onnx", "tiny", "1")


@pytest.mark.slow
def test_an_export_is_calibrated_and_tells_how_it_was_made_and_how_good_it_is(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("LANDLOOM_MODELS", str(tmp_path / "registry"))
    more = write_lakes(tmp_path / "more", ("bay", "validation"))
    recipe = SMALL.model_copy(update={"learn_from": "labels", "minutes": None, "epochs": 5})
    training.train([dataset], recipe, tmp_path / "unet.pt", threads=1, leave_out=["delta"])
    file = tmp_path / "unet.onnx"
    fitted = export_checkpoint(tmp_path / "unet.pt", [dataset, str(more)], file, "tiny", "1", ["delta"])
    told = open_network(str(file)).provenance
    assert (told.training_sets, told.left_out) == (("lakes", "lakes"), ("delta",))
    assert (told.steps, told.recipe["epochs"]) == (5, 5)
    assert told.temperature == fitted.value and told.temperature_without.keys() == {"shore", "bay"}
    assert told.metrics["pooled"]["overall"] == pytest.approx(agreement(file, dataset, str(more)), abs=1e-4)
    assert told.metrics["L2A"]["classes"]["crops"]["recall"] is not None
    assert open_network(str(file)).spec.vote is None, "no place has several dates"
    floats = floats_beside(file)
    in_integers, in_floats = ({node.op_type for node in onnx.load(one).graph.node} for one in (file, floats))
    assert in_integers - in_floats == {"QuantizeLinear", "DequantizeLinear"}
    assert agreement(floats, dataset, str(more)) == pytest.approx(told.metrics["pooled"]["overall"], abs=0.02)
    assert open_network(str(floats)).provenance.temperature_without.keys() == {"shore", "bay"}
    item = json.loads(registry().read(register(open_network(str(file)).spec, file, told)))
    assert item["assets"]["float32"]["file:size"] == floats.stat().st_size
    assert model_file("tiny").read_bytes() == file.read_bytes()
    assert model_file("tiny.float32").read_bytes() == floats.read_bytes()
    assert item["properties"]["landloom:metrics"] == told.metrics
    assert item["properties"]["landloom:training"]["recipe"]["learn_from"] == "labels"
    validate(item)


@pytest.mark.slow
def test_the_mean_of_a_network_and_what_it_learned_on_is_exported(dataset, tmp_path):
    more = write_lakes(tmp_path / "more", ("bay", "validation"))
    recipe = SMALL.model_copy(update={"learn_from": "labels", "minutes": None, "epochs": 30})
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    training.train([dataset], recipe, first, threads=1)
    file = tmp_path / "first.onnx"
    export_checkpoint(first, [dataset, str(more)], file, "tiny", "1")
    begun_with = str(floats_beside(file))
    training.train([dataset], recipe.model_copy(update={"seed": 1}), second, threads=1, begin=begun_with)
    export_checkpoint(second, [dataset, str(more)], tmp_path / "mean.onnx", "tiny", "2", mean_with=[begun_with])
    told = open_network(str(tmp_path / "mean.onnx")).provenance
    assert told.mean_with == ("tiny 1",) and told.steps == 60
    assert agreement(tmp_path / "mean.onnx", dataset) > 0.95
    with pytest.raises(BadInput, match=r"mean with '.*first\.float32\.onnx' to be normalised\? Give the training set"):
        export_checkpoint(second, [], tmp_path / "mean.onnx", "tiny", "2", mean_with=[begun_with])


@pytest.mark.slow
def test_a_network_of_30_m_says_so_and_no_one_is_of_two_resolutions(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LANDLOOM_MODELS", str(tmp_path / "registry"))
    store, coarse = open_store(str(tmp_path / "coarse")), (30, 0, 6e5, 0, -30, 5.4e6)
    for number, (name, split) in enumerate([*FOUR, ("bay", "validation")]):
        LAKES.write_chip(store, a_chip(name, split=split, transform=coarse), a_lake(number, cloud=name == "sky"))
    LAKES.publish(store)
    recipe = load_recipe("labels-30m").model_copy(update={"widths": (8, 16), "minutes": None, "epochs": 5})
    recipe = recipe.model_copy(update={"patience": None, "batch": 3})
    training.train([str(tmp_path / "coarse")], recipe, tmp_path / "unet.pt", threads=1)
    file = tmp_path / "unet.onnx"
    export_checkpoint(tmp_path / "unet.pt", [str(tmp_path / "coarse")], file, "tiny", "1")
    network = open_network(str(file))
    assert network.spec.gsd == 30
    item = json.loads(registry().read(register(network.spec, file, network.provenance)))
    assert item["properties"]["gsd"] == 30
    validate(item)
    evaluate_command(tmp_path / "page", str(file), [dataset])
    assert "of 10 m though tiny is made for 30 m" in " ".join(capsys.readouterr().err.split())
    assert gsd_apart([str(tmp_path / "coarse"), dataset], network.spec) == "of 10 m though tiny is made for 30 m"
    with pytest.raises(BadInput, match=r"differ in resolution.*30 m"):
        export_checkpoint(tmp_path / "unet.pt", [dataset, str(tmp_path / "coarse")], file, "tiny", "1")


def test_patches_of_labels_are_made_brighter_and_darker(dataset):
    chips = [chip for chip in read_chips([dataset], "train") if chip.id == "lake"]
    recipe = load_recipe("labels-30m").model_copy(update={"batch": 40, "patch": 160})
    spread = {}
    for brightness in (0.0, recipe.brightness):
        crops = Crops(chips, recipe.model_copy(update={"brightness": brightness}), np.random.default_rng(3))
        means = crops.batch()[0].mean(axis=(1, 2, 3))
        spread[brightness] = float(means.std() / means.mean())
    assert spread[0.0] < 1e-6 and 0.05 < spread[recipe.brightness] < 0.12


@pytest.mark.slow
def test_an_export_calibrates_votes_where_places_have_several_dates(dataset, tmp_path):
    store = open_store(str(tmp_path / "dated"))
    for number in range(4):
        place, date = f"bay-{number // 2}", f"2021-0{5 + number % 2}-04T10:00:00Z"
        chip = a_chip(f"{place}-{number}", place=place, scene=f"{place}-{number}", date=date, split="validation")
        LAKES.write_chip(store, chip, a_lake(number))
    LAKES.publish(store)
    recipe = SMALL.model_copy(update={"learn_from": "labels", "minutes": None, "epochs": 30})
    training.train([dataset], recipe, tmp_path / "unet.pt", threads=1)
    file = tmp_path / "unet.onnx"
    export_checkpoint(tmp_path / "unet.pt", [dataset, str(tmp_path / "dated")], file, "tiny", "1")
    found = open_network(str(file))
    assert (found.spec.version, found.spec.vote.places, found.spec.vote.reference) == ("1", 2, "teacher threshold")
    assert found.provenance.temperature > 0


@pytest.mark.slow
def test_training_stops_when_places_it_does_not_learn_get_no_better(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_WATCH", 2)
    recipe = Recipe(
        widths=(8, 16), learn_from="labels", epochs=1000, batch=1, held_out=0.34, patience=3, learning_rate=0.05
    )
    seen = []
    training.train([dataset], recipe, tmp_path / "unet.pt", threads=1, on_progress=seen.append)
    assert seen[-1].share < 0.5 and seen[-1].held_out is not None
    state = torch.load(tmp_path / "unet.pt", weights_only=True)
    assert state["best_loss"] < seen[-1].held_out and UNet.of(state["best"]).widths == (8, 16)


def test_crops_show_every_chip_and_rare_classes_weigh_more(dataset):
    chips = read_chips([dataset], "train")
    crops = Crops(chips, SMALL.model_copy(update={"label_smoothing": 0.1}), np.random.default_rng(0))
    assert crops.per_epoch == 3 * 2
    images, targets = crops.batch()
    assert images.shape == (4, 6, 128, 128) and targets.shape == (4, 10, 128, 128)
    sums = targets.sum(axis=1)
    assert np.allclose(sums[sums > 0], 1) and np.isclose(targets.max(), 0.91)
    assert (images == 0).any() and not sums[(images == 0).all(axis=1)].any()
    weights = class_weights(chips)
    assert weights[CLOUD] == pytest.approx(weights[WATER], rel=0.2)
    assert weights[TREES] > 3 * weights[WATER]  # There are none.


def test_what_cannot_be_trained_with_is_named(dataset, teacher, tmp_path):
    wrong = tmp_path / "wrong.pt"
    torch.save({"network": torch.nn.Linear(2, 2).state_dict()}, wrong)
    (tmp_path / "text.onnx").write_text("no network")
    begun, six = tmp_path / "begun.pt", six_bands(tmp_path / "six")
    training.train([dataset], SMALL.model_copy(update={"minutes": 0.001}), begun, [teacher], threads=1)
    garbage, unfinished = tmp_path / "garbage.pt", tmp_path / "unfinished.pt"
    garbage.write_bytes(b"no zip" * 100)
    torch.save({name: one for name, one in torch.load(begun, weights_only=True).items() if name != "best"}, unfinished)
    for change, told in (
        ({"begin": str(wrong)}, r"wrong\.pt' holds no U-Net"),
        ({"out": wrong}, r"wrong\.pt' is no checkpoint that this version can go on from"),
        ({"out": garbage}, r"garbage\.pt' is no checkpoint of this network: it is no whole file of PyTorch's"),
        ({"out": begun, "recipe": SMALL.model_copy(update={"widths": (8, 32)})}, r"begun with widths = \(8, 16\)"),
        ({"out": unfinished}, r"unfinished\.pt' is no checkpoint of this network: 'it has no best'"),
        ({"threads": 0}, "--threads 0 is not possible"),
        ({"teachers": [teacher, str(tmp_path / "text.onnx")]}, r"text\.onnx' is not an ONNX network"),
        ({"teachers": ["unet-small"], "datasets": [six]}, "No chip to learn from has a teacher's labels"),
        ({"teachers": ["unet-finer"]}, "unet-finer has finer classes; .* Use the network that it was made from"),
        ({"teachers": []}, "learns from a teacher: give --teacher"),
        ({"datasets": [str(tmp_path)]}, "no training set"),
        (
            {"out": begun, "recipe": SMALL.model_copy(update={"learning_rate": 0.02})},
            r"begun with learning_rate = 0\.01; the recipe now says 0\.02",
        ),
        (
            {"out": begun, "teachers": [teacher, teacher]},
            r"another --teacher: threshold 1 .*, and now threshold 1",
        ),
        ({"out": begun, "leave_out": ["delta"]}, r"another --dataset and --leave-out: 3 chips .*, and now 2 chips"),
        ({"recipe": SMALL.model_copy(update={"patience": 1, "held_out": 0.1})}, "which is none"),
        ({"recipe": SMALL.model_copy(update={"held_out": 0.9})}, "holds out 90.000%, which is every one"),
    ):
        known = {"datasets": [dataset], "recipe": SMALL, "out": tmp_path / "unet.pt", "teachers": [teacher]}
        with pytest.raises(BadInput, match=told):
            training.train(**{**known, **change})
    with pytest.raises(StoreError, match=r"network cannot be written to .*Make room"):
        export_checkpoint(begun, [], tmp_path, "x", "1")
    assert not list(tmp_path.parent.glob("*.partial"))
    with pytest.raises(BadInput, match=r"wrong\.pt' holds no U-Net"):
        export_checkpoint(wrong, [], tmp_path / "x.onnx", "x", "1")
    torch.save({"network": UNet(4, 10, (8, 8)).state_dict()}, wrong)
    with pytest.raises(BadInput, match="4 bands and 10 classes"):
        export_checkpoint(wrong, [], tmp_path / "x.onnx", "x", "1")
