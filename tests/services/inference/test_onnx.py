"""Networks of other forms are refused, by a text that says what differs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.inference import open_network

SPEC = ModelSpec(id="first-bands", version="1", bands=BANDS, classes=MODEL_CLASSES[:6], stride=2, halo=4)


def write(path: Path, metadata: str | None, *, bands: int = 6, kind: int = TensorProto.UINT16) -> Path:
    """A network that gives each band, cut off at 8 bits, as a class."""
    sizes = ["n", bands, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Cast", ["image"], ["scores"], to=TensorProto.UINT8)],
        "bands",
        [helper.make_tensor_value_info("image", kind, sizes)],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, sizes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    if metadata is not None:
        helper.set_model_props(model, {"landloom": metadata})
    onnx.save(model, path)
    return path


def test_a_network_of_ones_own_is_opened_by_its_path(tmp_path):
    path = write(tmp_path / "own.onnx", SPEC.model_dump_json())
    network = open_network(str(path))
    assert network.spec == SPEC.model_copy(update={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    chips = np.arange(1, 6 * 4 * 2 + 1, dtype=np.uint16).reshape(1, 6, 4, 2)
    assert np.array_equal(network.scores(chips), chips.astype(np.uint8))


def test_other_bands_than_landlooms_own_are_welcome_in_any_order(tmp_path):
    bands = ("B12", "B11", "B02", "B03", "B04", "B05", "B06", "B07", "B8A")
    nine = SPEC.model_copy(update={"bands": bands, "classes": MODEL_CLASSES[:9]})
    path = write(tmp_path / "nine.onnx", nine.model_dump_json(), bands=9)
    assert open_network(str(path)).spec.bands == nine.bands


def test_another_number_of_bands_than_described_is_refused(tmp_path):
    path = write(tmp_path / "four.onnx", SPEC.model_dump_json(), bands=4)
    with pytest.raises(BadInput, match=r"takes .*4 bands.*6 bands \(B02, B03, B04, B08, B11, B12\)"):
        open_network(str(path))


def test_a_band_that_sentinel_2_has_not_is_named(tmp_path):
    path = write(tmp_path / "radar.onnx", SPEC.model_copy(update={"bands": (*BANDS[:5], "VV")}).model_dump_json())
    with pytest.raises(BadInput, match="wants band 'VV'"):
        open_network(str(path))


def test_float_input_is_refused(tmp_path):
    path = write(tmp_path / "float.onnx", SPEC.model_dump_json(), kind=TensorProto.FLOAT)
    with pytest.raises(BadInput, match=r"takes tensor\(float\).*tensor\(uint16\)"):
        open_network(str(path))


def test_another_number_of_classes_than_described_is_refused(tmp_path):
    path = write(tmp_path / "ten.onnx", SPEC.model_copy(update={"classes": MODEL_CLASSES}).model_dump_json())
    with pytest.raises(BadInput, match=r"gives tensor\(uint8\) with 6 classes.*10 classes"):
        open_network(str(path))


@pytest.mark.parametrize(
    ("metadata", "said"), [(None, "says nothing of its bands"), ("{}", "not valid: id: Field required")]
)
def test_a_network_that_does_not_describe_itself_is_refused(tmp_path, metadata, said):
    path = write(tmp_path / "silent.onnx", metadata)
    with pytest.raises(BadInput, match=said):
        open_network(str(path))


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    for name, said in (("text.onnx", "not an ONNX network"), ("none.onnx", "There is no network")):
        with pytest.raises(BadInput, match=said):
            open_network(str(tmp_path / name))
