"""Votes over the dates of made-up places, whose looks err as often, and as much alike, as they are told to."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES, ModelSpec, VoteCalibration
from catalog.scenes import BANDS
from services.inference.chips import TEACHER_BANDS, Chip
from services.inference.votes import calibrate, evaluate_votes, fit, fit_by_the_others, outcomes, stacks

SPEC = ModelSpec(id="made", version="2", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=0)
WATER, TREES, CROPS = (MODEL_CLASSES.index(name) for name in ("water", "trees", "crops"))
SIDE, RIGHT = 64, 0.6
SHOWN = {WATER: 400, TREES: 1200, CROPS: 2500}


class Made:
    """Names water, trees or crops by the brightness of the first band, always 60 % sure."""

    def __init__(self, **changes: object) -> None:
        self.spec = SPEC.model_copy(update=changes)

    def scores(self, chips: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(chips), len(MODEL_CLASSES), *chips.shape[2:]), np.uint8)
        for number, shown in SHOWN.items():
            scores[:, number] = np.where(chips[:, 0] == shown, 153, 51)
        return scores


def chip(place: str, scene: str, shown: np.ndarray, truth: np.ndarray, date: datetime | None, **changes) -> Chip:
    image = np.zeros((len(TEACHER_BANDS), *shown.shape), np.uint16)
    image[:] = np.select([shown == number for number in SHOWN], list(SHOWN.values()))
    made = Chip(
        *(f"{place}-{scene}", place, scene, image, truth, "L2A", 40.0, True, "made", "expert"),
        *(np.zeros(truth.shape, bool), date, (32632, (10.0, 0.0, 6e5, 0.0, -10.0, 5.4e6))),
    )
    return dataclasses.replace(made, **changes)


def place(name: str, looks: int, alike: float, seed: int) -> list[Chip]:
    """Looks at one place a month; a look is right in 60 %, and errs as the first one would in the share `alike`."""
    random = np.random.default_rng(seed)
    truth = random.choice(list(SHOWN), (SIDE, SIDE)).astype(np.uint8)

    def seen() -> np.ndarray:
        drawn = random.choice(list(SHOWN), (2, *truth.shape))
        other = np.where(drawn[0] != truth, drawn[0], np.where(truth == TREES, WATER, TREES))
        return np.where(random.random(truth.shape) < RIGHT, truth, other)

    shared = seen()
    return [
        chip(
            name,
            f"scene-{month}",
            np.where(random.random(truth.shape) < alike, shared, seen()),
            truth,
            datetime(2021, month, 5, tzinfo=UTC),
        )
        for month in range(1, looks + 1)
    ]


def places(alike: float, count: int = 4, looks: int = 5) -> list[Chip]:
    return [one for number in range(count) for one in place(f"place-{number}", looks, alike, number)]


def test_looks_at_the_same_pixels_are_put_together_in_order_of_time():
    looks = place("lake", 3, 0, 0)
    alone = place("hill", 1, 0, 1)
    elsewhere = dataclasses.replace(looks[0], id="next", grid=(32632, (10.0, 0.0, 7e5, 0.0, -10.0, 5.4e6)))
    found = stacks([looks[2], alone[0], elsewhere, looks[0], looks[1]])
    assert [[one.id for one in stack] for stack in found] == [
        ["lake-scene-1", "lake-scene-2", "lake-scene-3"], ["hill-scene-1"], ["next"],
    ]  # fmt: skip


def test_chips_of_one_scene_on_one_made_up_grid_are_not_looks_at_the_same_pixels():
    grid = (None, (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    chips = [dataclasses.replace(one, scene="one", grid=grid) for one in place("lake", 2, 0, 0)]
    assert [len(stack) for stack in stacks(chips)] == [1, 1]


def test_every_run_of_dates_is_a_vote_and_unlabelled_pixels_do_not_count():
    looks = place("lake", 4, 0, 0)
    for one in looks[:3]:
        one.classes[:32] = 255
    found = outcomes(Made(), looks, load_legend("nine"))
    assert [one.looks for one in found] == [1] * 4 + [2] * 4 + [3] * 4 + [4]
    # In the north only the last date has a label: enough for a vote of two looks, not for one of three or four.
    south, everywhere = 32 * SIDE, 2000
    assert [one.wanted.size for one in found[-1:]] == [min(south, everywhere)]
    assert (found[0].wanted == np.unique(found[0].wanted)[0]).mean() < 0.5


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_more_looks_err_alike_the_less_a_vote_is_surer_than_one(alike):
    found = outcomes(Made(), places(alike), load_legend("nine"))
    correlation = fit(found)
    for looks in (2, 3, 5):
        votes = [one for one in found if one.looks == looks]
        sure = np.concatenate([one.confidence(correlation) for one in votes]).mean()
        right = np.concatenate([one.found == one.wanted for one in votes]).mean()
        assert sure == pytest.approx(right, abs=0.05), looks
    assert correlation < 0.2 if not alike else correlation > 0.95 if alike == 1 else 0.2 < correlation < 0.9


def test_each_place_is_judged_by_the_others():
    chips = [*places(0.0, 3), *place("odd", 5, 1.0, 9)]
    without = fit_by_the_others(outcomes(Made(), chips, load_legend("nine")))
    assert without["odd"] == min(without.values()) < 0.1 < without["place-0"]
    assert fit_by_the_others(outcomes(Made(), place("alone", 3, 0, 0), load_legend("nine"))) == {}


@pytest.mark.slow
def test_calibration_tells_what_it_was_fitted_on():
    chips = [*places(0.3), *place("one date", 1, 0, 9)]
    told = calibrate(Made(), chips)
    assert told.places == 4 and told.reference == "teacher expert" and told.error < 0.05
    assert 0.1 < told.correlation < 0.7
    assert calibrate(Made(), place("alone", 3, 0, 0)) is None
    assert calibrate(Made(), chips, "experts").reference == "experts"


@pytest.mark.slow
def test_votes_are_evaluated_with_any_confidence_and_their_class_is_the_same():
    chips = [*places(0.0), *place("one date", 1, 0, 9)]
    calibration = VoteCalibration(correlation=0.02, reference="experts", places=4, error=0.01)
    network = Made(vote=calibration)
    of = {told: evaluate_votes(network, chips, "made", told) for told in ("published", "cross-fitted", "share")}
    assert len({one.pooled.overall.value for one in of.values()}) == 1
    levels = {told: {one.name: one for one in evaluation.groups["level"]} for told, evaluation in of.items()}
    one_look = [one["L2A, one look"].calibration.error.value for one in levels.values()]
    assert one_look == pytest.approx([one_look[0]] * 3, abs=1e-4)
    several = {told: one["L2A, several looks"].calibration.error.value for told, one in levels.items()}
    assert several["share"] > 0.1 > 0.05 > max(several["published"], several["cross-fitted"])
    assert [one.name for one in of["share"].groups["looks"]] == ["1 look", "2 looks", "3 and 4 looks", "5 to 9 looks"]
    assert of["published"].subject == "votes of made 2" and "confidence published" in of["published"].data
    uncalibrated = evaluate_votes(Made(), chips, "made", "published")
    assert uncalibrated.pooled.calibration == of["share"].pooled.calibration
    rows = of["share"].calibrations(("level", "looks")).row_count
    assert rows == 2 + 4


def test_what_cannot_be_fitted_is_named():
    with pytest.raises(BadInput, match="1 have several dates on one grid"):
        evaluate_votes(Made(), place("alone", 3, 0, 0), "made", "cross-fitted")
    with pytest.raises(BadInput, match="has the class 'moss'"):
        outcomes(Made(classes=("water", "moss")), place("alone", 1, 0, 0), load_legend("nine"))
