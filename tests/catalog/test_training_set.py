"""Chips written, found again, and never of one place in two splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest

from catalog.chips import Pixels, place_of
from catalog.errors import BadInput
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from catalog.validation import validate
from tests.training_sets import LAKES, WATER, a_chip, a_lake, write_lakes

SMALL = {"shape": (64, 64), "transform": (10, 0, 6e5, 0, -10, 5.4e6)}


def test_a_chip_is_read_as_it_was_written(tmp_path: Path) -> None:
    store, lake = open_store(str(tmp_path)), a_lake()
    written = LAKES.write_chip(store, a_chip(sun_zenith=33.5, biome="temperate"), lake)
    LAKES.publish(store)
    found, (chip,) = open_training_set(store)
    assert found == LAKES
    assert chip == written
    assert chip.class_pixels == {"water": 150 * 80, "crops": 150 * 80}
    again = read_pixels(store, chip)
    for name in ("image", "labels", "scores"):
        assert (getattr(again, name) == getattr(lake, name)).all()


def test_a_chip_of_unknown_place_and_date_and_without_a_teacher(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    lake = a_lake()
    LAKES.write_chip(store, a_chip(epsg=None, date=None, teacher=None), Pixels(lake.image, lake.labels))
    LAKES.publish(store)
    _, (chip,) = open_training_set(store)
    assert (chip.epsg, chip.date, read_pixels(store, chip).scores) == (None, None, None)


def test_all_of_it_is_valid_stac_that_pystac_can_walk(tmp_path: Path) -> None:
    folder = write_lakes(tmp_path / "lakes")
    files = [path for path in folder.rglob("*.json") if path.name != "report.json"]
    assert len(files) == 5
    for path in files:
        validate(json.loads(path.read_text()))
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    items = list(collection.get_items())
    assert {item.id for item in items} == {"lake", "sky", "shore", "delta"}
    assert all(Path(asset.get_absolute_href()).exists() for item in items for asset in item.assets.values())
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert 10 < west < east < 11 and 48 < south < north < 49
    splits = collection.summaries.to_dict()["landloom:splits"]
    assert (splits["train"]["chips"], splits["validation"]["places"]) == (3, 1)


def test_a_place_in_two_splits_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    LAKES.write_chip(store, a_chip("one", place="pond"), a_lake())
    LAKES.write_chip(store, a_chip("two", place="pond", split="validation"), a_lake())
    with pytest.raises(BadInput, match="Place pond lies in two splits: one in train and two in validation"):
        LAKES.publish(store)


def test_small_chips_share_the_place_of_their_cell_of_half_a_degree() -> None:
    here, near = a_chip(**SMALL), a_chip("near", **{**SMALL, "transform": (10, 0, 6.05e5, 0, -10, 5.41e6)})
    far = a_chip("far", **{**SMALL, "transform": (10, 0, 6.6e5, 0, -10, 5.4e6)})
    assert place_of(here) == place_of(near) == "p48.5p10.0"
    assert place_of(far) == "p48.5p11.0"
    assert place_of(a_chip(epsg=None, shape=(64, 64))) == place_of(a_chip()) == "lake"
    assert place_of(a_chip(**{**SMALL, "epsg": 32719, "transform": (10, 0, 5e5, 0, -10, 7e6)})) == "m27.5m69.0"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": np.ones((6, 160, 160), np.uint16)}, r"image is uint16 \[6, 160, 160\]; uint16 \[9, 160, 160\]"),
        ({"image": np.ones((9, 160, 160), np.float32)}, "image is float32"),
        ({"labels": np.full((80, 160), WATER, np.uint8)}, r"labels is uint8 \[80, 160\]"),
        ({"labels": np.full((160, 160), 17, np.uint8)}, "label 17 is none of the 10 classes of lakes"),
        ({"scores": np.full((10, 160, 160), 255, np.uint8)}, "scores reach 255; 1 is written as 250"),
    ],
    ids=["bands", "type", "size", "label", "scores"],
)
def test_pixels_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, np.ndarray], told: str) -> None:
    lake = a_lake()
    pixels = Pixels(**{**lake.__dict__, **change})
    with pytest.raises(BadInput, match=rf"Chip lake: {told}"):
        LAKES.write_chip(open_store(str(tmp_path)), a_chip(), pixels)
    assert not list(tmp_path.rglob("*.*"))


def test_a_folder_without_a_training_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"collection\.json' is no training set .*landloom dataset"):
        open_training_set(open_store(str(tmp_path)))


def test_a_chip_that_was_broken_is_named(tmp_path: Path) -> None:
    folder = write_lakes(tmp_path / "lakes")
    store, item = open_store(str(folder)), folder / "lake" / "lake" / "lake.json"
    _, (chip, *_) = open_training_set(store)
    image = folder / chip.folder / "image.tif"
    image.write_bytes(image.read_bytes()[:2000])
    with pytest.raises(BadInput, match=rf"A raster of chip {chip.id} cannot be read: .*image\.tif.*Delete"):
        read_pixels(store, chip)
    told = item.read_text()
    for broken, reason in (
        (told.replace('"train"', '"val"'), r"lake\.json' is no chip of a training set: split: .*'validation'"),
        ("{}", r"lake\.json' is no chip of a training set: .*properties"),
        (told[:-9], r"lake\.json' is no chip of a training set: JSONDecodeError"),
    ):
        item.write_text(broken)
        with pytest.raises(BadInput, match=reason):
            open_training_set(store)
