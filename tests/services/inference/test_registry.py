"""A network of another maker, brought into form, registered, found by its name, and mapping with its own bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from pipelines.cli.networks import models_add_command, models_list_command
from services.inference import open_network
from services.inference.adopt import adopt
from services.inference.registry import model_file, register

BANDS = ("B04", "B8A")
SPEC = ModelSpec(id="foreign", version="3", bands=BANDS, classes=MODEL_CLASSES[:2], stride=2, halo=4, level="L1C")


@pytest.fixture(autouse=True)
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDLOOM_MODELS", str(tmp_path / "registry"))


def foreign(
    path: Path, kind: int = TensorProto.UINT16, bands: int = 2, *, logits: bool = False, opset: int = 17
) -> Path:
    """Water is what is dark in the first band: 1 / (1 + exp((first - 1000) / 100))."""
    weights = np.zeros((2, bands, 1, 1), np.float32)
    weights[1, 0] = 0.01
    nodes = [
        helper.make_node("Conv", ["floats" if kind == TensorProto.UINT16 else "image", "weights", "bias"], ["logits"])
    ]
    if kind == TensorProto.UINT16:
        nodes.insert(0, helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT))
    if not logits:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes, "foreign",
        [helper.make_tensor_value_info("image", kind, ["n", bands, "h", "w"])],
        [helper.make_tensor_value_info("logits" if logits else "probabilities", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.float32([0, -10]), "bias")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


@pytest.mark.parametrize("kind", [TensorProto.UINT16, TensorProto.FLOAT])
@pytest.mark.parametrize("logits", [False, True])
def test_it_answers_as_before_in_landlooms_form(tmp_path: Path, kind: int, logits: bool) -> None:
    adopt(foreign(tmp_path / "in.onnx", kind, logits=logits), SPEC, tmp_path / "out.onnx", logits=logits)
    network = open_network(str(tmp_path / "out.onnx"))
    assert network.spec.model_copy(update={"sha256": ""}) == SPEC
    chips = np.tile(np.array([800, 1000, 1100, 1200], np.uint16), (1, 2, 2, 1))
    water, trees = network.scores(chips)[0, :, 0]
    assert water.tolist() == [round(255 / (1 + np.exp((value - 1000) / 100))) for value in (800, 1000, 1100, 1200)]
    assert (np.abs(water.astype(int) + trees - 255) <= 1).all()


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("logits", [False, True])
def test_its_scores_can_be_made_surer(tmp_path: Path, logits: bool, opset: int) -> None:
    source = foreign(tmp_path / "in.onnx", logits=logits, opset=opset)
    adopt(source, SPEC, tmp_path / "out.onnx", logits=logits, temperature=0.5)
    chips = np.tile(np.array([800, 1000, 1050, 1200], np.uint16), (1, 2, 2, 1))
    water, trees = open_network(str(tmp_path / "out.onnx")).scores(chips)[0, :, 0]
    assert water.tolist() == [round(255 / (1 + np.exp((value - 1000) / 50))) for value in (800, 1000, 1050, 1200)]
    assert (np.abs(water.astype(int) + trees - 255) <= 1).all()


def test_it_is_found_by_its_name(tmp_path: Path) -> None:
    adopt(foreign(tmp_path / "in.onnx"), SPEC, tmp_path / "out.onnx")
    register(open_network(str(tmp_path / "out.onnx")).spec, tmp_path / "out.onnx")
    assert open_network("foreign").spec.version == "3"
    assert model_file("foreign").read_bytes() == (tmp_path / "out.onnx").read_bytes()
    with pytest.raises(BadInput, match=r"no network 'other'. There are .*unet-small.*, foreign; .*landloom models add"):
        model_file("other")


def test_a_version_without_floats_does_not_answer_with_those_of_the_one_before(tmp_path: Path) -> None:
    for version, folder in (("1", tmp_path / "with"), ("2", tmp_path / "without")):
        adopt(foreign(tmp_path / "in.onnx"), SPEC.model_copy(update={"version": version}), folder / "out.onnx")
    (tmp_path / "with" / "out.float32.onnx").write_bytes(b"floats")
    register(open_network(str(tmp_path / "with" / "out.onnx")).spec, tmp_path / "with" / "out.onnx")
    assert model_file("foreign.float32").read_bytes() == b"floats"
    register(open_network(str(tmp_path / "without" / "out.onnx")).spec, tmp_path / "without" / "out.onnx")
    assert open_network("foreign").spec.version == "2"
    with pytest.raises(BadInput, match=r"no network 'foreign.float32'"):
        model_file("foreign.float32")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"bands": ("B02", "B03", "B04")},
            r"image as uint16 \['n', 2, 'h', 'w'\]; .* \[N, 3, H, W\] .* bands B02, B03",
        ),
        (
            {"classes": MODEL_CLASSES},
            r"probabilities as float .*\[N, 10, H, W\] is needed for the classes water, trees",
        ),
    ],
)
def test_what_is_not_as_described_is_refused(tmp_path: Path, change: dict[str, tuple[str, ...]], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        adopt(foreign(tmp_path / "in.onnx"), SPEC.model_copy(update=change), tmp_path / "out.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(BadInput, match="not an ONNX network"):
        adopt(tmp_path / "text.onnx", SPEC, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def altered(path: Path, how: str) -> Path:
    """A network that cannot make maps."""
    model = onnx.load(foreign(path, logits=how == "no softmax"))
    graph = model.graph
    if how == "of half the size":
        graph.node[-1].output[0] = "whole"
        graph.node.append(
            helper.make_node("MaxPool", ["whole"], ["probabilities"], kernel_shape=[2, 2], strides=[2, 2])
        )
    if how == "damaged":
        graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((2, 2, 1, 1), np.nan, np.float32), "weights"))
    if how == "of one size":
        graph.initializer.append(numpy_helper.from_array(np.zeros((2, 8, 8), np.float32), "eights"))
        graph.node[-1].output[0] = "before"
        graph.node.append(helper.make_node("Add", ["before", "eights"], ["probabilities"]))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no softmax", r"'in' cannot make maps: the scores of a pixel sum to .* instead of 1, .* say --logits"),
        ("damaged", "sum to 0.00 instead of 1, .* its weights are damaged"),
        ("of half the size", "of a chip of 64 x 96 px it gives scores of 32 x 48"),
        ("of one size", "a chip of 64 x 96 px makes it fail"),
    ],
)
def test_what_gives_no_probabilities_is_not_registered(tmp_path: Path, how: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        models_add_command(altered(tmp_path / "in.onnx", how), bands="B04,B8A", classes="water,trees", stride=2, halo=4)
    assert not (tmp_path / "registry" / "models").exists()


def test_a_damaged_one_is_named_and_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("whole", "short", "torn"):
        models_add_command(foreign(tmp_path / f"{name}.onnx"), bands="B04,B8A", classes="water,trees")
    (torn,) = (tmp_path / "registry" / "models").glob("torn*/*.json")
    torn.write_text(torn.read_text()[:100])
    model_file("short").write_bytes(model_file("short").read_bytes()[:100])
    assert open_network("whole").spec.id == "whole"
    assert f"delete {torn}, and register it again" in caplog.text
    models_list_command()
    told = " ".join(capsys.readouterr().err.split())
    assert "whole" in told and "unet-small" in told
    assert "Network short cannot be used" in told and "register it again" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "unet-small"}, "'unet-small' is the name of a network that Landloom ships: .* Give another --id"),
        ({"name": "mine.float32"}, "'mine.float32' is the name in floats, of any network"),
        ({"name": "foreign", "bands": ""}, "--id foreign is for networks of other makers, which --bands"),
        ({"bands": "B04,B04"}, "--bands 'B04,B04' is not possible: 'B04' stands there twice"),
        ({"classes": "water,water"}, "--classes 'water,water' is not possible: 'water' stands there twice"),
        ({"bands": "B04,B99"}, "--bands 'B99' is no band of Sentinel-2, which has B01, B02"),
        ({"name": "../foreign"}, r"--id '\.\./foreign' is not possible"),
        ({"version": "1/2"}, "--version '1/2' is not possible"),
        ({"temperature": 0.0}, "--temperature 0 is not possible. Give a number above 0"),
        (
            {"temperature": 0.5, "bands": "", "name": "", "classes": ""},
            "--temperature 0.5 is for networks of other makers, which --bands",
        ),
        ({"level": "L1B"}, "--level 'L1B' is not possible"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    known = {"name": "foreign", "bands": "B04, B8A", "classes": "water, trees"}
    with pytest.raises(BadInput, match=told):
        models_add_command(foreign(tmp_path / "in.onnx"), **{**known, **change})
    models_add_command(foreign(tmp_path / "in.onnx"), **known)
    assert open_network("foreign").spec.bands == BANDS
