"""Labels that are not the teacher's: both networks on the same pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.references import Answers, Panel, eurosat, learn_red_edge, shares, table, with_red_edge
from catalog.model import MODEL_CLASSES
from tests.services.inference.test_evaluate import Threshold, chip


def told(first: list[bool], second: list[bool]) -> Answers:
    """Two pixels of each place."""
    place, label = np.repeat(np.arange(len(first) // 2), 2), np.array(["trees"] * len(first))
    right = {"student": np.array(first), "teacher": np.array(second)}
    sure = {name: np.full(len(first), 0.5) for name in right}
    return Answers(place, label, right, sure, np.zeros(len(first), bool))


def test_both_are_drawn_with_the_same_places():
    # Where the one is right the other is, too: however places are drawn, neither is ahead.
    alike = [True, True, False, False, True, True, False, False, True, False]
    student, teacher, ahead = shares(told(alike, alike))
    assert student == teacher and student.startswith("50.0 (")
    assert ahead == "0.0 (0.0 to 0.0)"
    assert shares(told(alike[:4], alike[:4])) == ("50.0", "50.0", "0.0"), "two places tell no interval"


def test_chips_of_one_class_are_judged_by_what_is_right_there():
    student, teacher = Threshold(), Threshold(id="teacher", classes=("crops", "grass"), level="L1C")
    student.provenance = teacher.provenance = None
    # Each has water in its west; the teacher does not know it, and says the first of its classes.
    chips = [dataclasses.replace(chip(name), scene=f"eurosat-{name}-1") for name in ("sealake", "pasture", "river")]
    teacher.scores = lambda images: (
        np.repeat([[[[200]], [[55]]]], len(images), 0).repeat(images.shape[2], 2).repeat(images.shape[3], 3)
    )
    found = eurosat([Panel([student]), Panel([teacher])], chips)
    by = {label: found.where(found.label == label) for label in np.unique(found.label)}
    assert by.keys() == {"sealake", "pasture"} and len(found.place) == 2 * 128 * 128
    assert by["sealake"].right["threshold"].mean() == 0.5 and not by["sealake"].right["teacher"].any()
    assert by["pasture"].right["threshold"].mean() == 0.5 and by["pasture"].right["teacher"].all()
    shown = table("EuroSAT", found, "places")
    assert list(shown.columns[-1].cells) == ["0.0", "0.0", "-50.0", "50.0"]
    assert "teacher: mean confidence 78.4 %, calibration error 28.4 % (not estimable)" in str(shown.caption)


def test_several_teachers_answer_with_their_mean():
    # The second says water everywhere.
    first, second = Threshold(classes=("crops", "water")), Threshold(id="second", classes=("crops", "water"))
    first.provenance = second.provenance = None
    second.scores = lambda images: np.stack([0 * images[:, 0] + 55, 0 * images[:, 0] + 200], axis=1)
    both = Panel([first, second])
    water, crops = both.scores(chip("coast"))[[MODEL_CLASSES.index("water"), MODEL_CLASSES.index("crops")]]
    assert both.name == "threshold + second"
    assert (water[:, :64] == (204 + 200) / 2).all() and (water[:, 64:] == 200 / 2).all()
    assert (crops[:, :64] == 55 / 2).all() and (crops[:, 64:] == (204 + 55) / 2).all()


@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_a_red_edge_that_follows_from_the_other_bands_is_foretold(level):
    random, chips = np.random.default_rng(0), []
    for name in ("one", "two"):
        image = chip(name).image * random.uniform(0.5, 1.5, chip(name).image.shape)
        image[3:6] = 0.3 * image[2] + 0.5 * image[6] + image[2] * image[6] / 10_000
        chips.append(dataclasses.replace(chip(name), image=np.rint(image).astype(np.uint16)))
    coefficients = learn_red_edge(chips[:1])
    without = chips[1].image.copy()
    without[3:6] = 0
    foretold = with_red_edge(dataclasses.replace(chips[1], image=without, level=level), coefficients).image
    off = np.abs(foretold.astype(int) - chips[1].image)
    assert not off[:3].any() and not off[6:].any()
    assert off[3:6].max() <= 2 if level == "L2A" else foretold[3:6].all()
