"""Which second stage goes with which network, and what a vote does with its answer."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.manifest import Manifest
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.season import FEW_LOOKS, SEASON_BANDS
from catalog.second_stage import check_second_stage, decided, planes_of
from catalog.vote import Vote
from pipelines.plan import Settings
from tests.catalog.tile_years import manifest_of

FIRST = ModelSpec(id="unet", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=32, sha256="ab")
LAND = MODEL_CLASSES[:-1]
SECOND = ModelSpec(
    id="seasons", version="1", bands=("vote:crops", "looks"), classes=LAND, stride=1, halo=0, first="unet 1"
)
TREES, GRASS, CROPS, SNOW = (MODEL_CLASSES.index(name) for name in ("trees", "grass", "crops", "snow_ice"))


class Always:
    """Names one class, whatever it sees, and remembers that."""

    spec = SECOND

    def __init__(self, number: int):
        self.number, self.seen = number, np.empty(0)

    def scores(self, planes: np.ndarray) -> np.ndarray:
        self.seen = planes
        scores = np.full((1, len(LAND), *planes.shape[2:]), 5, np.uint8)
        scores[:, self.number] = 200
        return scores


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"first": None}, "is no second stage"),
        ({"first": "unet 2"}, "made for the votes of unet 2, not of unet 1"),
        ({"bands": ("vote:moss",)}, "does not fit unet: vote:moss"),
        ({"classes": ("water", "moss")}, "does not fit unet: water, moss"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, reason):
    with pytest.raises(BadInput, match=reason):
        check_second_stage(SECOND.model_copy(update=changes), FIRST)


def test_settings_refuse_a_second_stage_as_network_and_a_season_without_infrared():
    with pytest.raises(BadInput, match="Give it as --second-stage"):
        Settings(model=SECOND, legend=load_legend("ten")).check()
    blind = FIRST.model_copy(update={"bands": ("B02", "B03", "B04")})
    with pytest.raises(BadInput, match="B08 is not among the bands"):
        Settings(model=blind, legend=load_legend("nine"), seasons=True).check()


def test_a_map_without_seasons_keeps_the_fingerprint_that_it_had_before_there_were_any():
    plain = manifest_of()
    assert (plain.fingerprint, plain.recipe) == ("0600376a2089d025", "dfdf11c42152a070")
    assert Manifest.model_validate_json(plain.to_json()) == plain
    asked: list[dict] = [{"seasons": True}, {"second_stage": SECOND}]
    changed = [Manifest.model_validate({**plain.model_dump(), **update}) for update in asked]
    assert len({one.fingerprint for one in (plain, *changed)}) == 3
    assert all(Manifest.model_validate_json(one.to_json()).fingerprint == one.fingerprint for one in changed)


def test_planes_are_given_in_the_order_that_the_second_stage_names():
    network = Always(CROPS)
    shares = np.zeros((len(LAND), 1, 2), np.float32)
    shares[CROPS, 0], shares[TREES, 0] = (0.25, 1.0), (0.75, 0.0)
    features = np.full((len(SEASON_BANDS), 1, 2), 77, np.int16)
    features[-1, 0] = FEW_LOOKS, FEW_LOOKS - 1
    told, used = decided(network, MODEL_CLASSES, shares, features)
    assert network.seen.tolist() == [[[[2500, 10_000]], [[FEW_LOOKS, FEW_LOOKS - 1]]]]
    assert used.tolist() == [[True, False]]
    assert told.argmax(axis=0).tolist() == [[CROPS, CROPS]] and told.sum(axis=0) == pytest.approx(1)
    assert len(planes_of(MODEL_CLASSES)) == len(LAND) + len(SEASON_BANDS)


def test_what_it_decides_is_the_class_the_confidence_and_the_scores_and_elsewhere_the_vote_stands():
    def vote() -> Vote:
        made = Vote(MODEL_CLASSES, load_legend("nine"), (1, 3))
        scores = np.zeros((len(MODEL_CLASSES), 1, 3), np.uint8)
        scores[TREES] = 200
        scores[SNOW] = 55
        made.add((2021, 6), scores, np.array([[True, True, False]]), np.ones((1, 3), bool))
        return made

    shown = []

    def decide(rows: slice, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown.append(shares)
        told = np.zeros_like(shares)
        told[CROPS], told[GRASS] = 0.8, 0.2
        return told, np.array([[True, False, True]])

    plain, with_second = vote().result(1, True), vote().result(1, True, decide)
    assert shown[0][TREES, 0, 0] == pytest.approx(1), "snow that melts is not shown to it"
    assert plain.scores is not None and plain.scores[TREES, 0, 0] == 78
    assert with_second.data.tolist() == [[5, 2, 10]], "never seen clearly: a cloud, whatever a second stage says"
    assert with_second.confidence[0].tolist() == [80, plain.confidence[0, 1], 0]
    assert with_second.scores is not None and with_second.scores[CROPS, 0].tolist() == [80, 0, 255]
    assert (with_second.scores[:, 0, 1:] == plain.scores[:, 0, 1:]).all()
