"""Temperatures of networks whose logits are known, and what each place's confidence is without that place."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.model import Provenance
from services.inference.chips import Chip
from services.inference.temperature import as_the_others_say, fit_temperature

Made = tuple[Chip, np.ndarray]
"""A chip, and what a network says of it: logits `[10, H, W]`."""


def a_place(name: str, sharpness: float, side: int = 40) -> Made:
    """Given logits `x`, right as often as `softmax(sharpness x)` says."""
    random = np.random.default_rng(len(name))
    logits = random.normal(0, 2, (10, side, side))
    odds = np.exp(sharpness * logits)
    labels = (random.random((side, side)) > (odds / odds.sum(axis=0)).cumsum(axis=0)).sum(axis=0).astype(np.uint8)
    image = np.full((9, side, side), 1000, np.uint16)
    return Chip(name, name, name, image, labels, "L2A", 40.0, True, "made", None, np.zeros(labels.shape, bool)), logits


def fit(places: list[Made]):
    given = iter([logits for _, logits in places])
    return fit_temperature(lambda image: next(given), [chip for chip, _ in places])


def test_a_temperature_makes_probabilities_what_they_say():
    fitted = fit([a_place("x" * number, 2) for number in range(1, 7)])
    assert fitted.value == pytest.approx(0.5, abs=0.05) and len(fitted.without) == 6
    assert fitted.error_before > 0.1 and fitted.error_after < 0.03


def test_every_pixel_counts_alike_and_each_place_is_left_out_in_turn():
    large, small = a_place("large", 2, side=100), [a_place("s" * number, 0.5, side=8) for number in range(1, 5)]
    fitted = fit([large, *small])
    assert fitted.value == pytest.approx(0.5, abs=0.05), "four small places are a fortieth of the pixels"
    assert fitted.without["large"] > 1.5 and fitted.without["ss"] == pytest.approx(fitted.value, abs=0.05)


def test_a_place_alone_gives_no_temperature():
    with pytest.raises(BadInput, match="labels in 1"):
        fit([a_place("alone", 1)])


def test_scores_as_the_other_places_say_differ_in_confidence_alone():
    scores = np.array([204, 38, 13, 0], np.uint8).reshape(4, 1, 1)
    made = Provenance(
        training_sets=("lakes",),
        temperature=0.5,
        temperature_without={"shore": 1.0},
        reference="experts",
        metrics={},
    )
    told = as_the_others_say(scores, "shore", made)[:, 0, 0]
    roots = np.sqrt([204, 38, 13, 0])
    assert told.tolist() == pytest.approx((255 * roots / roots.sum()).tolist(), rel=1e-5)
    for place, provenance in (("elsewhere", made), ("shore", None)):
        assert (as_the_others_say(scores, place, provenance) == scores).all()
