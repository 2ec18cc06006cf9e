"""Radar channels in training: learned where they are, done without where they are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import rasterio

from catalog.chips import UNLABELLED, Pixels
from catalog.errors import BadInput
from catalog.radar import RADAR_CHANNELS, encode
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from pipelines.chip_folder import chip_folder
from pipelines.dataset import make_training_set
from services.inference import open_network
from services.inference.chips import TEACHER_BANDS, read_chips
from services.inference.evaluate import as_wanted, predict
from tests.training_sets import CROPS, LAKES, WATER, a_chip, a_lake

torch = pytest.importorskip("torch")

from services.inference.crops import Crops  # noqa: E402
from services.inference.recipe import Recipe  # noqa: E402
from services.inference.release import export_checkpoint  # noqa: E402
from services.inference.train import train  # noqa: E402

BOTH = ("VV_ascending", "VH_ascending")
RECIPE = Recipe(
    learn_from="labels", radar=BOTH, widths=(8, 16), patch=64, batch=4, epochs=40, held_out=0, learning_rate=0.01
)


def wet_fields(seed: int, dark: float = 0.01) -> Pixels:
    """Lakes in the west and crops in the east; two crops in three, in strips, look like water to all but radar."""
    lake, random = a_lake(seed), np.random.default_rng(seed)
    image = lake.image.copy()
    hidden = np.zeros(lake.labels.shape, bool)
    hidden[:, 80:] = (np.arange(160) // 12 % 3 > 0)[:, np.newaxis]
    image[:, hidden] = a_lake(seed + 50).image[:, :, :80].repeat(2, axis=2)[:, hidden]
    mean = np.where(lake.labels == CROPS, 0.1, dark)
    radar = [encode((part * mean * random.gamma(9, 1 / 9, mean.shape)).astype(np.float32)) for part in (1, 0.2)]
    return Pixels(np.concatenate([image, radar]).astype(np.uint16), lake.labels)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wet-fields")
    store, made = open_store(str(folder)), LAKES.model_copy(update={"bands": (*TEACHER_BANDS, *BOTH)})
    for number, split in enumerate(("train", "train", "train", "validation", "validation")):
        name = f"field-{number}"
        made.write_chip(store, a_chip(name, split=split, teacher=None), wet_fields(number))
    made.publish(store)
    return str(folder)


@pytest.fixture(scope="module")
def network(dataset, tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("trained") / "radar.pt"
    train([dataset], RECIPE, checkpoint, threads=1)
    export_checkpoint(checkpoint, [dataset], checkpoint.with_suffix(".onnx"), "wet-fields", "1")
    return open_network(str(checkpoint.with_suffix(".onnx")))


def test_chips_carry_the_radar_channels_that_their_set_has(dataset):
    chip = read_chips([dataset], "validation")[0]
    assert chip.image.shape == (9, 160, 160) and chip.radar.shape == (4, 160, 160)
    assert chip.radar[:2].all() and not chip.radar[2:].any(), "what the set has not is missing"
    shown = chip.shown((*BANDS, "VH_ascending", "VV_descending"))
    assert (shown[6] == chip.radar[RADAR_CHANNELS.index("VH_ascending")]).all() and not shown[7].any()
    blind = dataclasses.replace(chip, radar=None)
    assert not blind.shown((*BANDS, *BOTH))[6:].any() and (blind.shown(BANDS) == chip.shown(BANDS)).all()


@pytest.mark.parametrize(("dropout", "without"), [(0.0, 0), (0.5, 40), (1.0, 80)])
def test_dropout_takes_all_radar_of_a_share_of_the_patches_and_no_light(dataset, dropout, without):
    recipe = RECIPE.model_copy(update={"channel_dropout": dropout})
    crops = Crops(read_chips([dataset], "train"), recipe, np.random.default_rng(0))
    images = np.concatenate([crops.batch()[0] for _ in range(20)])
    assert images.shape[1] == len(BANDS) + 2
    missing = ~images[:, len(BANDS) :].any(axis=(2, 3))
    assert (missing[:, 0] == missing[:, 1]).all() and abs(missing[:, 0].sum() - without) <= 12 * (0 < dropout < 1)
    assert images[:, : len(BANDS)].any(axis=(1, 2, 3)).all()


def agreement(network, chip) -> float:
    found, known = predict(network, as_wanted(chip, network.spec)).argmax(axis=0), chip.classes != UNLABELLED
    return float((found == chip.classes)[known].mean())


@pytest.mark.slow
def test_a_network_uses_radar_where_it_is_and_does_without_where_it_is_not(network, dataset):
    """Two thirds of the east look like water: light alone can tell at most two thirds of all pixels for certain."""
    assert network.spec.radar == BOTH and network.spec.optical.bands == BANDS
    places = read_chips([dataset], "validation")
    blind = [dataclasses.replace(chip, radar=None) for chip in places]
    seen = np.mean([agreement(network, chip) for chip in places])
    unseen = np.mean([agreement(network, chip) for chip in blind])
    assert seen > 0.9 and 0.6 < unseen < seen
    found = np.stack([predict(network, as_wanted(chip, network.spec)).argmax(axis=0) for chip in blind])
    assert np.isin(found, (WATER, CROPS)).mean() > 0.99, "what is missing is not taken for something else"


def test_channels_that_no_chip_has_are_refused(dataset, tmp_path):
    recipe = RECIPE.model_copy(update={"radar": ("VV_descending",)})
    with pytest.raises(BadInput, match="VV_descending, which no chip"):
        train([dataset], recipe, tmp_path / "never.pt")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"radar": ("HH_ascending",)}, "no radar channel"),
        ({"learn_from": "teacher", "epochs": None, "minutes": 1}, "no radar: learn"),
    ],
)
def test_recipes_name_channels_that_there_are_and_learn_them_from_labels(wrong, told):
    with pytest.raises(ValueError, match=told):
        Recipe.model_validate(RECIPE.model_dump() | wrong)


def test_ready_chips_may_name_radar_channels_of_which_0_stays_missing(tmp_path):
    made, radar = wet_fields(0), np.zeros((2, 160, 160), np.uint16)
    radar[:, :, :50] = 6000
    (tmp_path / "chips.csv").write_text("id,split\nfield,train\n")
    bands = (*BANDS, *BOTH)
    image = np.concatenate([made.image[[TEACHER_BANDS.index(band) for band in BANDS]], radar])
    for name, raster in (("image", image), ("label", made.labels[np.newaxis])):
        profile = {"count": len(raster), "height": 160, "width": 160, "dtype": raster.dtype}
        with rasterio.open(tmp_path / f"field_{name}.tif", "w", driver="GTiff", **profile) as target:
            target.write(raster)
            if name == "image":
                target.descriptions = bands
    store = open_store(str(tmp_path / "set"))
    make_training_set(chip_folder(tmp_path), store, "fields")
    found, (chip,) = open_training_set(store)
    image = read_pixels(store, chip).image
    assert found.bands == bands and (image[6:, :, 50:] == 0).all() and (image[6:, :, :50] == 6000).all()
