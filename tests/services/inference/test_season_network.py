"""A second stage learns what a year tells and a vote does not, on simulated places; what teaches nothing is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES
from catalog.second_stage import check_second_stage
from catalog.store import open_store
from pipelines.simulated_chips import write_simulated_chips
from services.inference import open_network
from services.inference.chips import Chip, read_chips
from services.inference.season_gain import Gain, as_table, gains
from services.inference.season_lessons import Lesson, lessons
from services.inference.season_network import train_second_stage
from tests.networks import write_second_stage, write_spectral_network

CROPS, GRASS = (MODEL_CLASSES.index(name) for name in ("crops", "grass"))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return open_network(str(write_spectral_network(tmp_path_factory.mktemp("first") / "spectral.onnx")))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("simulated")
    write_simulated_chips(open_store(str(folder)), places=6, dates=8, cloud=0.1, seed=100)
    return str(folder)


@pytest.fixture(scope="module")
def unseen(first, dataset) -> list[Lesson]:
    return lessons(first, read_chips([dataset], "validation"))


@pytest.mark.slow
def test_it_gains_over_the_vote_on_places_that_it_has_not_learned(first, dataset, unseen, tmp_path):
    learned = lessons(first, read_chips([dataset], "train"), draws=1)
    assert {one.place for one in learned}.isdisjoint({one.place for one in unseen})
    file = tmp_path / "seasons.onnx"
    train_second_stage(first.spec, learned, file, "seasons", "1")
    assert file.stat().st_size < 200_000
    second = open_network(str(file))
    check_second_stage(second.spec, first.spec)
    overall = gains(unseen, second, first.spec.classes)[0]
    assert overall.second > overall.vote + 0.05


def test_a_lesson_is_what_a_map_would_show(first, unseen):
    (one, *_) = unseen
    assert one.shares.sum(axis=0) == pytest.approx(1, abs=1e-4)
    assert one.features[-1].min() >= 6 and one.wanted.max() < len(MODEL_CLASSES) - 1
    assert len(one.planes) == len(first.spec.classes) - 1 + len(one.features)


def lesson(place: str, wanted: list[int], voted: list[int], amplitude: int = 0) -> Lesson:
    shares = np.eye(len(MODEL_CLASSES) - 1, dtype=np.float32)[voted].T
    features = np.zeros((23, len(voted)), np.int16)
    features[3], features[-1] = amplitude, 12
    return Lesson(place, shares, features, np.array(wanted, np.uint8))


def test_gains_are_told_by_class_and_without_interval_below_five_places(tmp_path):
    second = open_network(str(write_second_stage(tmp_path / "swing.onnx")))
    few = [lesson("north", [CROPS, CROPS, GRASS], [GRASS, CROPS, GRASS], amplitude=8000)]
    told = {one.name: one for one in gains(few, second, MODEL_CLASSES)}
    assert told["all"].vote == told["all"].second == pytest.approx(2 / 3), "it calls all of them crops"
    assert told["grass"].second == 0 < told["grass"].vote and told["crops"].second > told["crops"].vote
    assert told["all"].interval is None
    many = [dataclasses.replace(few[0], place=f"place-{k}", wanted=np.full(3, CROPS, np.uint8)) for k in range(5)]
    (overall, crops) = gains(many, second, MODEL_CLASSES)
    assert overall.interval == pytest.approx((2 / 3, 2 / 3)) and crops.name == "crops"
    rows = as_table([Gain("all", 3, 1, 0.5, 0.6, None), overall], "gain")
    assert list(rows.columns[6].cells) == ["not estimable", "+66.7 to +66.7"]


def test_the_label_of_late_summer_is_the_target(first, dataset):
    chips = sorted(read_chips([dataset], "train"), key=lambda one: (one.place, one.date))[:8]

    def labelled(chip: Chip, number: int) -> Chip:
        return dataclasses.replace(chip, classes=np.full_like(chip.classes, number))

    september = min(range(8), key=lambda k: abs(chips[k].date.timetuple().tm_yday - 258))
    changed = [labelled(chip, CROPS if k == september else GRASS) for k, chip in enumerate(chips)]
    (one,) = lessons(first, changed)
    assert (one.wanted == CROPS).all()


def test_places_that_show_no_season_are_refused(first, dataset):
    chips = read_chips([dataset], "train")
    undated = [dataclasses.replace(chip, date=None) for chip in chips]
    with pytest.raises(BadInput, match="has 6 dated chips on one grid"):
        lessons(first, undated)


def test_numbers_that_make_no_set_are_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="2 places of 128 px"):
        write_simulated_chips(open_store(str(tmp_path)), places=2)
