"""More channels and finer classes than today's networks have need no other form of training set, registry or legend."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from catalog.chips import Pixels
from catalog.legend import Legend, LegendClass, load_legend
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.models import add_model
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import TrainingSet, open_training_set, read_pixels
from catalog.validation import validate
from tests.training_sets import a_chip

CHANNELS = (*BANDS, "NDVI_p10", "NDVI_p90", "VV", "VH", "day_of_year")
CLASSES = (
    "water", "natural_forest", "plantation", *MODEL_CLASSES[2:6], "residential", "industrial", *MODEL_CLASSES[7:]
)  # fmt: skip


def test_a_training_set_takes_them(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    finer = TrainingSet(id="finer", title="Finer", description="Forests apart", bands=CHANNELS, classes=CLASSES)
    random = np.random.default_rng(0)
    chip = a_chip(teacher=None)
    pixels = Pixels(
        random.integers(1, 9_000, (len(CHANNELS), *chip.shape)).astype(np.uint16),
        random.integers(0, len(CLASSES), chip.shape).astype(np.uint8),
    )
    finer.write_chip(store, chip, pixels)
    finer.publish(store)
    found, (again,) = open_training_set(store)
    assert (found.bands, found.classes) == (CHANNELS, CLASSES)
    assert "plantation" in again.class_pixels
    assert (read_pixels(store, again).image == pixels.image).all()
    validate(json.loads(store.read(f"{again.folder}/{again.id}.json")))


def test_the_registry_takes_them(tmp_path: Path) -> None:
    (weights := tmp_path / "finer.onnx").write_bytes(b"weights")
    spec = ModelSpec(
        id="finer", version="1", bands=CHANNELS, classes=CLASSES, stride=8, halo=48,
        sha256=hashlib.sha256(b"weights").hexdigest(),
    )  # fmt: skip
    store = open_store(str(tmp_path / "registry"))
    item = json.loads(store.read(add_model(store, spec, weights)))
    validate(item)
    assert [band["name"] for band in item["properties"]["bands"]] == list(CHANNELS)


def test_a_legend_shows_them_apart_or_together() -> None:
    nine = load_legend("nine")
    members = {"trees": ("natural_forest", "plantation"), "built": ("residential", "industrial")}
    together = [
        one.model_copy(update={"model_classes": members.get(one.name, one.model_classes)}) for one in nine.classes
    ]
    legend = Legend(id="nine-of-finer", version="1", description="As ever", classes=tuple(together))
    codes = dict(zip(CLASSES, legend.codes(CLASSES).tolist(), strict=True))
    assert codes["natural_forest"] == codes["plantation"] == 2 and codes["industrial"] == 7
    kept = [one for one in together if one.name != "trees"]
    forests = [
        LegendClass(code=code, name=name, title=name, color=color, model_classes=(name,))
        for code, name, color in ((20, "natural_forest", "1B5E20"), (21, "plantation", "9CCC65"))
    ]
    apart = Legend(id="forests", version="1", description="Forests apart", classes=(*kept, *forests))
    assert apart.codes(CLASSES)[1:3].tolist() == [20, 21]
