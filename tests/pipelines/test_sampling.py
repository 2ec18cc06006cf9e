"""Which candidates are drawn, and how places are split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from catalog.errors import BadInput
from pipelines.sampling import Candidate, draw, parse_shares, split_of


def of(name: str, biome: str | None = None, **pixels: int) -> Candidate:
    return Candidate(name, biome, pixels)


def pixels_of(candidates: list[Candidate]) -> Counter[str]:
    together: Counter[str] = Counter()
    for one in candidates:
        together.update(one.class_pixels)
    return together


FOREST = [of(f"forest-{k:03d}", trees=1000) for k in range(200)]
LAKES = [of(f"lake-{k}", water=600, trees=400) for k in range(10)]


def test_a_rare_class_comes_as_often_as_there_is_any_of_it() -> None:
    drawn = draw([*FOREST, *LAKES], 10, seed=1)
    assert len(drawn) == 10
    together = pixels_of(drawn)
    assert 0.7 < together["water"] / together["trees"] < 1.4
    plenty = draw([*FOREST, *LAKES], 100, seed=1)
    assert pixels_of(plenty)["water"] == 6000 and len(plenty) == 100


def test_what_has_most_of_the_rare_class_is_drawn_sooner() -> None:
    puddles = [of(f"puddle-{k:03d}", water=1, crops=999) for k in range(100)]
    drawn = draw([*puddles, *LAKES], 10, seed=3)
    assert sum(one.id.startswith("lake") for one in drawn) >= 5


def test_classes_are_evened_out_within_each_biome() -> None:
    tundra = [of(f"tundra-{k}", "tundra", water=500, bare=500) for k in range(5)]
    temperate = [of(f"wood-{k:02d}", "temperate", trees=1000) for k in range(50)]
    drawn = draw([*tundra, *temperate], 8, seed=0)
    assert sum(one.biome == "tundra" for one in drawn) >= 3


def test_a_draw_depends_on_the_seed_alone() -> None:
    candidates = [*FOREST, *LAKES]
    shuffled = [candidates[k] for k in np.random.default_rng(5).permutation(len(candidates))]
    assert draw(candidates, 20, seed=1) == draw(shuffled, 20, seed=1)
    assert draw(candidates, 20, seed=1) != draw(candidates, 20, seed=2)


def test_all_are_taken_where_no_number_is_asked_for() -> None:
    assert len(draw([*FOREST, *LAKES], None, seed=1)) == len(draw([*FOREST, *LAKES], 999, seed=1)) == 210


def test_a_place_stays_in_its_split_whatever_other_places_there_are() -> None:
    places = [f"p{lat / 2:.1f}p{lon / 2:.1f}" for lat in range(40) for lon in range(50)]
    splits = {place: split_of(place, (0.8, 0.1, 0.1), 7) for place in places}
    shares = Counter(splits.values())
    assert abs(shares["train"] / 2000 - 0.8) < 0.04 and abs(shares["test"] / 2000 - 0.1) < 0.03
    assert {place: split_of(place, (0.8, 0.1, 0.1), 7) for place in places[::17]}.items() <= splits.items()
    assert any(split_of(place, (0.8, 0.1, 0.1), 8) != splits[place] for place in places)


def test_splits_without_a_share_get_no_place() -> None:
    places = [f"p{k}.0p0.0" for k in range(500)]
    assert {split_of(place, (1, 0, 0), 0) for place in places} == {"train"}
    assert {split_of(place, (0, 0.5, 0.5), 0) for place in places} == {"validation", "test"}


@pytest.mark.parametrize("text", ["0.8,0.2", "0.8,0.1,0.2", "1.2,-0.1,-0.1", "most,some,few"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="Give the shares of train, validation and test"):
        parse_shares(text)
