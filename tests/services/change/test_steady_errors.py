"""Paths and probabilities of pixels whose looks deviate the same way every year, in part."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from catalog.errors import BadInput
from services.change import steady_errors
from services.change.correction import Settings
from services.change.emissions import scores_log_emission, sharpened, usual_prior
from services.change.sharpness import fit_sharpness
from services.change.steady_errors import looks_alike, path_and_probability
from services.change.temporal import Chain, fit, most_likely
from tests.services.change.simulated_years import (
    Years,
    changes_found,
    confidence_error,
    simulate_scores,
    simulate_years,
)

CENTRES = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
"""Mean looks of three classes, `[classes, dimensions]`; within a class the covariance is the identity."""
ALIKE = CENTRES @ CENTRES.T
CHAIN = Chain(np.array([0.5, 0.3, 0.2]), np.array([[0.9, 0.06, 0.04], [0.05, 0.9, 0.05], [0.02, 0.08, 0.9]]))
REPEATED = 0.4


def looks_at(path: list[int], seed: int) -> np.ndarray:
    """Simulated looks at a pixel, `[years, dimensions]`."""
    random = np.random.default_rng(seed)
    steady, fresh = random.normal(size=2), random.normal(size=(len(path), 2))
    return CENTRES[path] + np.sqrt(REPEATED) * steady + np.sqrt(1 - REPEATED) * fresh


def log_emission_of(looks: np.ndarray) -> np.ndarray:
    return -((looks[:, None] - CENTRES) ** 2).sum(axis=-1)[..., None] / 2


def likelihood(looks: np.ndarray, path: tuple[int, ...], seen: np.ndarray) -> float:
    """Of a path and the looks at it in the seen years, from their joint normal distribution."""
    years = int(seen.sum())
    covariance = (1 - REPEATED) * np.eye(years) + REPEATED
    away = (looks - CENTRES[list(path)])[seen]
    density = np.prod([multivariate_normal.pdf(one, np.zeros(years), covariance) for one in away.T])
    moves = np.prod([CHAIN.transition[a, b] for a, b in itertools.pairwise(path)])
    return float(density * moves * CHAIN.initial[path[0]])


def all_likelihoods(looks: np.ndarray, seen: np.ndarray, most_changes: int) -> dict[tuple[int, ...], float]:
    """Of all paths with no more changes."""
    paths = itertools.product(range(3), repeat=len(looks))
    few = [one for one in paths if sum(a != b for a, b in itertools.pairwise(one)) <= most_changes]
    return {path: likelihood(looks, path, seen) for path in few}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("missing", [None, 2])
def test_probabilities_are_those_of_the_joint_distribution_of_all_looks(seed: int, missing: int | None) -> None:
    looks, seen = looks_at([0, 0, 1, 1], seed), np.arange(4) != missing
    log_emission = log_emission_of(looks) * seen[:, None, None]
    path, probability = path_and_probability(log_emission, CHAIN, ALIKE, REPEATED, change_weight=1)
    likely = all_likelihoods(looks, seen, most_changes=1)
    expected = [[sum(p for path, p in likely.items() if path[t] == c) for c in range(3)] for t in range(4)]
    np.testing.assert_allclose(probability[..., 0], np.array(expected) / sum(likely.values()), atol=1e-5)
    # Paths of two changes or more may be better still.
    assert likelihood(looks, tuple(path[:, 0]), seen) > 0.999 * max(likely.values())


def test_what_a_pixel_has_every_year_is_no_reason_to_miss_its_change() -> None:
    # Every look is pulled towards class 1, as much as it differs in class.
    looks = CENTRES[[0, 0, 0, 2, 2, 2]] + (CENTRES[1] - CENTRES[0]) * 0.6
    log_emission = log_emission_of(looks)
    assert set(most_likely(log_emission, CHAIN, 1)[:3, 0]) == {1}
    assert path_and_probability(log_emission, CHAIN, ALIKE, REPEATED)[0][:, 0].tolist() == [0, 0, 0, 2, 2, 2]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = np.concatenate([log_emission_of(looks_at([0, 1, 1, 2], seed)) for seed in range(50)], axis=2)
    whole = path_and_probability(looks, CHAIN, ALIKE, REPEATED)
    monkeypatch.setattr(steady_errors, "_PATHS", 7 * 4 * 3**2)
    for one, other in zip(path_and_probability(looks, CHAIN, ALIKE, REPEATED), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_change_that_is_ruled_out_is_never_found() -> None:
    looks = log_emission_of(CENTRES[[0, 0, 0, 2, 2, 2]] * 5)
    assert path_and_probability(looks, CHAIN, ALIKE, REPEATED)[0][:, 0].tolist() == [0, 0, 0, 2, 2, 2]
    without = Chain(CHAIN.initial, np.array([[0.95, 0.05, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]]))
    path, probability = path_and_probability(looks, without, ALIKE, REPEATED)
    assert not {*itertools.pairwise(path[:, 0].tolist())} & {(0, 2), (1, 2)}
    assert np.isfinite(probability).all()


def test_where_no_error_repeats_a_path_that_changes_is_viterbis() -> None:
    looks = np.concatenate([log_emission_of(looks_at([0, 1, 0, 2, 2], seed)) for seed in range(50)], axis=2)
    path, _ = path_and_probability(looks, CHAIN, ALIKE, repeated=0.0, change_weight=3)
    changed = (path[1:] != path[:-1]).any(axis=0)
    assert changed.sum() > 40
    np.testing.assert_array_equal(path[:, changed], most_likely(looks[..., changed], CHAIN, 3))


def test_how_alike_looks_are_is_learnt_from_them() -> None:
    random = np.random.default_rng(3)
    truth = np.array([random.choice(3, 4000, p=CHAIN.initial)] * 4)
    looks = CENTRES[truth] * 1.5 + random.normal(size=(4, 4000, 2))
    log_emission = np.moveaxis(-((looks[..., None, :] - CENTRES * 1.5) ** 2).sum(axis=-1) / 2, -1, 1)
    log_emission[2, :, ::2] = 0  # years without data tell nothing
    chain = Chain(CHAIN.initial, 0.999 * np.eye(3) + 0.001 / 3)
    np.testing.assert_allclose(looks_alike(log_emission, chain), ALIKE * 1.5**2, atol=0.3)


@pytest.fixture(scope="module")
def years() -> Years:
    return simulate_years(years=5, pixels=16_000)


@pytest.fixture(scope="module")
def scores(years: Years) -> np.ndarray:
    return simulate_scores(years.truth, distance=3.4)


@pytest.fixture(scope="module")
def learnt(scores: np.ndarray) -> tuple[np.ndarray, Chain, np.ndarray]:
    """Log-likelihoods, chain, and how alike looks are, as they are found for a series."""
    shares = sharpened(scores, fit_sharpness(scores))
    looks = scores_log_emission(shares, usual_prior(shares))
    chain = fit(looks)
    return looks, chain, looks_alike(looks, chain)


def test_change_is_found_far_better_than_in_the_maps_and_hardly_less_of_it(years: Years, scores, learnt) -> None:
    looks, chain, alike = learnt
    path, _ = path_and_probability(looks, chain, alike, 0.5)
    raw, independent, model = (
        changes_found(years.truth, one) for one in (scores.argmax(axis=1), most_likely(looks, chain), path)
    )
    assert model.f1 > 4 * raw.f1 and model.recall > raw.recall - 0.09
    assert model.precision > independent.precision + 0.1 and model.recall > independent.recall


def test_confidence_is_how_often_the_class_is_right_also_where_it_changed(years: Years, learnt) -> None:
    looks, chain, alike = learnt
    path, probability = path_and_probability(looks, chain, alike, 0.5)
    told = np.take_along_axis(probability, path[:, None].astype(int), axis=1)[:, 0]
    right = path == years.truth
    assert confidence_error(told, right) < 0.02
    changed = (path[1:] != path[:-1]).any(axis=0)
    assert told[:, changed].mean() == pytest.approx(right[:, changed].mean(), abs=0.05)


def test_from_scores_some_error_must_be_new_each_year() -> None:
    with pytest.raises(BadInput, match="Give less than 1"):
        Settings(repeated=1.0).check()
