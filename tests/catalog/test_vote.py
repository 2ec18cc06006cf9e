"""The vote on hand-made cases: each a few looks at a single pixel."""

import numpy as np
import pytest

from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.tree import class_tree
from catalog.vote import NO_SCORE, Vote, Voted

NINE = load_legend("nine")
NODATA, WATER, TREES, FLOODED, CROPS, SNOW, CLOUDS, RANGELAND = 0, 1, 2, 4, 5, 9, 10, 11


def look(month: int, clear: bool = True, seen: bool = True, **probabilities: float) -> tuple:
    """One look at one pixel: `look(6, crops=0.8, trees=0.2)`."""
    scores = np.zeros((len(MODEL_CLASSES), 1, 1), np.uint8)
    for name, probability in probabilities.items():
        scores[MODEL_CLASSES.index(name)] = round(255 * probability)
    return (2020, month), scores, np.full((1, 1), clear), np.full((1, 1), seen)


def vote(*looks: tuple, legend=NINE, min_observations: int = 1, correlation: float | None = None) -> Voted:
    running = Vote(MODEL_CLASSES, legend, (1, 1), correlation)
    for one in looks:
        running.add(*one)
    return running.result(min_observations, with_scores=True)


def test_no_look_at_all_is_no_data():
    voted = vote()
    assert (voted.data[0, 0], voted.confidence[0, 0], voted.observations[0, 0]) == (NODATA, 0, 0)
    assert (voted.scores == NO_SCORE).all()


def test_a_pixel_outside_the_swath_is_no_data():
    assert vote(look(1, clear=False, seen=False)).data[0, 0] == NODATA


def test_cloud_only_is_published_as_clouds():
    voted = vote(*[look(month, clear=False, cloud=0.9) for month in range(1, 13)])
    assert (voted.data[0, 0], voted.confidence[0, 0], voted.observations[0, 0]) == (CLOUDS, 0, 0)


def test_one_clear_look_beats_any_number_of_clouds():
    voted = vote(*[look(1, clear=False, cloud=1.0)] * 20, look(2, trees=0.6, grass=0.4))
    assert (voted.data[0, 0], voted.observations[0, 0]) == (TREES, 1)


@pytest.mark.parametrize("correlation", [None, 0.0, 0.4])
def test_one_look_is_as_sure_as_its_score_and_no_map_is_certain(correlation):
    assert vote(look(6, water=0.8, trees=0.2), correlation=correlation).confidence[0, 0] == 80
    assert vote(look(6, water=1.0), correlation=correlation).confidence[0, 0] == 99
    year = [look(month, water=1.0) for month in range(1, 13) for _ in range(2)]
    assert vote(*year, correlation=correlation).confidence[0, 0] == 99


def test_looks_that_agree_are_surer_the_less_their_errors_correlate():
    looks = [look(month, crops=0.6, grass=0.2, trees=0.2) for month in range(1, 11)]
    sure = [int(vote(*looks, correlation=one).confidence[0, 0]) for one in (None, 1.0, 0.5, 0.2, 0.0)]
    # 0.6^a / (0.6^a + 2 x 0.2^a), with a = 10 / (1 + 9 r).
    assert sure == [60, 60, 79, 96, 99]
    assert {int(vote(*looks, correlation=one).data[0, 0]) for one in (None, 0.5, 0.0)} == {CROPS}


def test_more_looks_are_surer_and_a_month_rich_in_looks_counts_as_at_most_two():
    def sure(*months: int) -> int:
        return int(vote(*[look(month, crops=0.6, grass=0.4) for month in months], correlation=0.4).confidence[0, 0])

    assert sure(1) == 60 < sure(1, 2) < sure(1, 2, 3, 4) < sure(*range(1, 13))
    assert sure(1) < sure(1, 1) < sure(1, 2) and sure(*[1] * 30) <= sure(1, 2)


def test_a_weak_winner_of_many_classes_gains_by_more_looks_too():
    looks = [look(month, crops=0.4, water=0.2, trees=0.2, built=0.2) for month in range(1, 11)]
    assert vote(*looks[:1], correlation=0.3).confidence[0, 0] == 40
    assert vote(*looks, correlation=0.3).confidence[0, 0] == 68


def test_looks_at_snow_that_melts_tell_nothing_of_what_is_below():
    snowy = [look(month, snow_ice=1.0) for month in (1, 2, 3, 11, 12)]
    summer = look(7, trees=0.8, grass=0.2)
    voted = vote(*snowy[:3], summer, *snowy[3:], correlation=0.4)
    assert (voted.data[0, 0], voted.confidence[0, 0]) == (TREES, 80)


def test_confidence_is_how_often_the_class_is_right_whatever_the_number_of_looks():
    """Looks whose errors are independent: of three classes, one of which is seen with `p` 0.6 and is right so often."""
    random = np.random.default_rng(0)
    side = 200
    truth = random.integers(0, 3, (side, side))
    classes = [MODEL_CLASSES.index(name) for name in ("water", "trees", "crops")]
    codes = np.array([WATER, TREES, CROPS])
    for number in (1, 3, 6):
        running = Vote(MODEL_CLASSES, NINE, (side, side), 0.0)
        for month in range(1, number + 1):
            wrong = (truth + random.integers(1, 3, truth.shape)) % 3
            shown = np.where(random.random(truth.shape) < 0.6, truth, wrong)
            scores = np.zeros((len(MODEL_CLASSES), side, side), np.uint8)
            for k, number_of in enumerate(classes):
                scores[number_of] = np.where(shown == k, 153, 51)
            running.add((2020, month), scores, np.ones(truth.shape, bool), np.ones(truth.shape, bool))
        voted = running.result()
        right = (voted.data == codes[truth]).mean()
        assert voted.confidence.mean() / 100 == pytest.approx(right, abs=0.06), number


def test_two_snowy_looks_of_twenty_are_not_land_cover():
    looks = [look(1, snow_ice=1.0)] * 2 + [
        look(month, crops=0.6, grass=0.4) for month in range(4, 10) for _ in range(3)
    ]
    assert vote(*looks).data[0, 0] == CROPS


def test_snow_that_melts_in_summer_loses_even_where_it_lies_most_of_the_year():
    looks = [look(month, snow_ice=1.0) for month in range(1, 11)] + [look(11, bare=0.7, shrub=0.3)]
    assert vote(*looks).data[0, 0] == 8


def test_snow_that_lasts_wins():
    looks = [look(month, snow_ice=0.9, bare=0.1) for month in range(1, 12)] + [look(12, snow_ice=0.6, bare=0.4)]
    assert vote(*looks).data[0, 0] == SNOW


def test_a_flood_keeps_its_share_however_often_it_was_seen():
    dry = [look(month, crops=1.0) for month in range(1, 11)]
    seldom = vote(*dry, look(11, flooded_vegetation=1.0), look(12, flooded_vegetation=1.0))
    often = vote(*dry, *[look(11, flooded_vegetation=1.0)] * 9, *[look(12, flooded_vegetation=1.0)] * 9)
    flooded = MODEL_CLASSES.index("flooded_vegetation")
    assert seldom.scores[flooded, 0, 0] == 17  # two months of twelve
    assert often.scores[flooded, 0, 0] == 26  # 2 x 1.8 of 10 + 2 x 1.8
    assert often.data[0, 0] == CROPS


def test_a_month_rich_in_looks_does_not_drown_the_others():
    rich = [look(1, grass=1.0)] * 30
    others = [look(month, crops=1.0) for month in range(2, 6)]
    assert vote(*rich, *others).data[0, 0] == CROPS


def test_classes_published_together_are_added_before_the_largest_is_sought():
    mixed = look(6, grass=0.3, shrub=0.3, crops=0.4)
    assert vote(mixed).data[0, 0] == RANGELAND
    assert vote(mixed, legend=load_legend("ten")).data[0, 0] == CROPS


def test_a_tie_goes_to_the_lowest_code():
    assert vote(look(6, trees=0.5, crops=0.5)).data[0, 0] == TREES
    assert vote(look(6, crops=1.0), look(7, water=1.0)).data[0, 0] == WATER


def test_a_hazy_look_weighs_less():
    clear, hazy = look(6, trees=0.95, cloud=0.05), look(6, crops=0.55, cloud=0.45)
    assert vote(hazy, clear).data[0, 0] == TREES


def test_three_hundred_looks_do_not_overflow():
    voted = vote(*[look(7, crops=1.0)] * 300)
    assert (voted.data[0, 0], voted.observations[0, 0]) == (CROPS, 300)
    assert voted.scores[MODEL_CLASSES.index("crops"), 0, 0] == 100


def test_pixels_with_too_few_looks_are_no_data():
    assert vote(look(6, trees=1.0), min_observations=2).data[0, 0] == NODATA
    assert vote(look(6, trees=1.0), look(7, trees=1.0), min_observations=2).data[0, 0] == TREES


def test_looks_out_of_order_are_refused():
    running = Vote(MODEL_CLASSES, NINE, (1, 1))
    running.add(*look(6, trees=1.0))
    with pytest.raises(ValueError, match="order of time"):
        running.add(*look(5, trees=1.0))


def test_shares_add_up_to_a_hundred():
    voted = vote(look(1, trees=0.7, grass=0.3), look(5, trees=0.4, crops=0.6))
    assert voted.scores[:, 0, 0].sum() == pytest.approx(100, abs=3)


def test_parts_of_a_class_that_the_legend_does_not_split_vote_as_one_to_the_bit():
    finer = load_legend("finer").finer()
    spec = ModelSpec(id="split", version="1", bands=(), classes=class_tree(finer, "finer").leaves, parents=finer,
                     stride=1, halo=0)  # fmt: skip
    random = np.random.default_rng(0)
    whole = random.integers(0, 26, (24, len(MODEL_CLASSES), 8, 8), np.uint8)
    parts = np.zeros((24, len(spec.classes), 8, 8), np.uint8)
    for number, name in enumerate(MODEL_CLASSES):
        left, names = whole[:, number].copy(), class_tree(finer, "finer").under(name)
        for one in names[:-1]:
            parts[:, spec.classes.index(one)] = taken = random.integers(0, left + 1, dtype=np.uint8)
            left -= taken
        parts[:, spec.classes.index(names[-1])] = left
    clear = np.ones((8, 8), bool)
    ten = Vote(MODEL_CLASSES, NINE, (8, 8))
    split = Vote(spec.classes, load_legend("finer", 1).fitted(spec), (8, 8), parents=spec.parents)
    for date in range(24):
        ten.add((2020, date // 2), whole[date], clear, clear)
        split.add((2020, date // 2), parts[date], clear, clear)
    one, other = ten.result(), split.result(with_scores=True)
    assert np.array_equal(one.data, other.data) and np.array_equal(one.confidence, other.confidence)
    # Each part keeps its own score.
    assert np.abs(other.scores.sum(axis=0, dtype=int) - 100).max() <= 6
