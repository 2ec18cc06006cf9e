"""A network in a catalog: its item, its weights, and who links to it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pystac
import pytest

from catalog.errors import BadInput
from catalog.model import ModelSpec
from catalog.models import add_model, floats_beside, model_key
from catalog.store import open_store
from catalog.validation import validate
from services.inference import DEFAULT_MODEL, model_file, model_spec


@pytest.fixture
def spec() -> ModelSpec:
    return model_spec(DEFAULT_MODEL)


def test_a_network_becomes_a_valid_item_that_holds_its_weights(tmp_path: Path, spec: ModelSpec) -> None:
    store = open_store(str(tmp_path))
    key = add_model(store, spec, model_file(DEFAULT_MODEL))
    for path in ("catalog.json", "models/collection.json", key):
        validate(json.loads(store.read(path)))
    (item,) = pystac.Catalog.from_file(str(tmp_path / "catalog.json")).get_items(recursive=True)
    assert [band["name"] for band in item.properties["bands"]] == list(spec.bands)
    assert item.properties["mlm:input"][0]["input"]["shape"] == [-1, 6, -1, -1]
    assert item.properties["landloom:level"] == "L2A"
    assert item.properties["mlm:input"][0]["name"].startswith("Surface reflectance x 10,000")
    told = item.properties["landloom:confidence"]
    assert told["calibrated"] and 0 < told["correlation"] < 1 and told["places"] >= 2 and told["error"] < 0.05
    classes = item.properties["mlm:output"][0]["classification:classes"]
    assert [one["name"] for one in classes] == list(spec.classes)
    weights = Path(item.assets["model"].get_absolute_href()).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == spec.sha256


def test_the_same_network_in_floats_goes_with_it(tmp_path: Path, spec: ModelSpec) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(model_file(DEFAULT_MODEL).read_bytes())
    floats_beside(file).write_bytes(b"floats")
    store = open_store(str(tmp_path / "out"))
    item = json.loads(store.read(add_model(store, spec, file)))
    validate(item)
    assert [one["href"] for one in item["assets"].values()] == ["./unet-small.onnx", "./unet-small.float32.onnx"]
    told = pystac.Item.from_dict(item).assets["float32"]
    assert told.extra_fields["file:checksum"] == "1220" + hashlib.sha256(b"floats").hexdigest()
    assert store.exists(f"{model_key(spec).rpartition('/')[0]}/unet-small.float32.onnx")


def test_registering_twice_changes_nothing(tmp_path: Path, spec: ModelSpec) -> None:
    store = open_store(str(tmp_path))
    key = add_model(store, spec, model_file(DEFAULT_MODEL))
    before = {path: store.read(path) for path in store.list()}
    assert add_model(store, spec, model_file(DEFAULT_MODEL)) == key
    assert {path: store.read(path) for path in store.list()} == before


def test_networks_of_one_name_with_other_weights_lie_apart(tmp_path: Path, spec: ModelSpec) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other weights")
    retrained = spec.model_copy(update={"sha256": hashlib.sha256(b"other weights").hexdigest()})
    store = open_store(str(tmp_path / "out"))
    keys = {add_model(store, spec, model_file(DEFAULT_MODEL)), add_model(store, retrained, other)}
    assert keys == {model_key(spec), model_key(retrained)} and len(keys) == 2
    links = json.loads(store.read("models/collection.json"))["links"]
    assert [link["rel"] for link in links].count("item") == 2


def test_weights_that_are_not_those_described_are_refused(tmp_path: Path, spec: ModelSpec) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other weights")
    with pytest.raises(BadInput, match=r"other\.onnx' has changed"):
        add_model(open_store(str(tmp_path / "out")), spec, other)
    assert not (tmp_path / "out" / "catalog.json").exists()
