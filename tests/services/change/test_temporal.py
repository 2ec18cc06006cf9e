from __future__ import annotations

import itertools

import numpy as np
import pytest

from catalog.errors import BadInput
from services.change import temporal
from services.change.emissions import (
    codes_log_emission,
    matrix_emission,
    scores_log_emission,
    sharpened,
    steady_truth,
    usual_prior,
)
from services.change.sharpness import fit_sharpness
from services.change.temporal import USUAL_CHANGE, Chain, fit, log_evidence, most_likely, posterior
from tests.services.change.simulated_years import (
    CLASSES,
    Years,
    changes_found,
    confidence_error,
    filtered,
    simulate_scores,
    simulate_years,
)

TWO = Chain(np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.2, 0.8]]))


def all_paths(log_emission: np.ndarray, chain: Chain) -> dict[tuple[int, ...], float]:
    """The probability of every path of one pixel, by going through them all."""
    years, classes, _ = log_emission.shape
    found = {}
    for path in itertools.product(range(classes), repeat=years):
        log = np.log(chain.initial[path[0]]) + sum(log_emission[t, c, 0] for t, c in enumerate(path))
        found[path] = np.exp(log + sum(np.log(chain.transition[a, b]) for a, b in itertools.pairwise(path)))
    total = sum(found.values())
    return {path: one / total for path, one in found.items()}


@pytest.fixture(scope="module")
def years() -> Years:
    return simulate_years(years=8, pixels=12_000)


@pytest.mark.parametrize("seed", range(5))
def test_path_and_probabilities_are_those_of_all_paths_compared(seed: int) -> None:
    random = np.random.default_rng(seed)
    chain = Chain(random.dirichlet([1, 1, 1]), random.dirichlet([3, 1, 1], 3))
    log_emission = np.log(random.random((5, 3, 1)))
    log_emission[seed] = 0  # a year without data
    paths = all_paths(log_emission, chain)
    assert tuple(most_likely(log_emission, chain, change_weight=1)[:, 0]) == max(paths, key=lambda one: paths[one])
    expected = [[sum(p for path, p in paths.items() if path[t] == c) for c in range(3)] for t in range(5)]
    np.testing.assert_allclose(posterior(log_emission, chain)[..., 0], expected, rtol=1e-5)


def test_a_missing_year_says_nothing_and_is_filled_from_its_neighbours() -> None:
    emission = np.array([[0.9, 0.1], [0.1, 0.9]])
    seen = codes_log_emission(np.array([[0], [-1], [0]]), emission)
    assert not seen[1].any()
    assert most_likely(seen, TWO)[:, 0].tolist() == [0, 0, 0]
    never = posterior(codes_log_emission(np.full((3, 1), -1), emission), TWO)[..., 0]
    np.testing.assert_allclose(never[0], TWO.initial, rtol=1e-6)
    np.testing.assert_allclose(never[1], TWO.initial @ TWO.transition, rtol=1e-6)


def test_flicker_goes_and_change_that_stays_is_kept() -> None:
    emission = np.array([[0.9, 0.1], [0.1, 0.9]])
    chain = Chain(np.array([0.5, 0.5]), np.array([[0.98, 0.02], [0.02, 0.98]]))
    flicker, change = [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1]
    path = most_likely(codes_log_emission(np.array([flicker, change]).T, emission), chain)
    assert path.T.tolist() == [[0] * 6, change]


def test_expectation_maximisation_finds_the_rate_of_change_that_counting_does_not(years: Years) -> None:
    true_rate = (years.truth[1:] != years.truth[:-1]).mean()
    counted = (years.mapped[1:] != years.mapped[:-1]).mean()
    emission = matrix_emission(years.sample(500), years.map_shares, repeated=0.5)
    found = fit(codes_log_emission(years.mapped, emission)).yearly_change
    assert counted > 8 * true_rate
    assert found == pytest.approx(true_rate, rel=0.2)
    # Errors that come back every year, taken for errors that come and go, hide true change.
    blunt = matrix_emission(years.sample(500), years.map_shares, repeated=0.0)
    assert fit(codes_log_emission(years.mapped, blunt)).yearly_change < 0.85 * true_rate


def test_pixels_alike_may_be_counted_instead_of_repeated(years: Years) -> None:
    mapped = years.mapped[:, :3000]
    emission = matrix_emission(years.sample(500), years.map_shares)
    one_each = fit(codes_log_emission(mapped, emission))
    kinds, counts = np.unique(mapped, axis=1, return_counts=True)
    assert kinds.shape[1] < 2500
    np.testing.assert_allclose(
        fit(codes_log_emission(kinds, emission), counts).transition, one_each.transition, atol=1e-9
    )


def test_blocks_change_nothing(years: Years, monkeypatch: pytest.MonkeyPatch) -> None:
    log_emission = codes_log_emission(years.mapped[:, :1000], matrix_emission(years.sample(500), years.map_shares))
    chain = fit(log_emission)
    whole = most_likely(log_emission, chain), posterior(log_emission, chain)
    monkeypatch.setattr(temporal, "_BLOCK", 77)
    np.testing.assert_array_equal(most_likely(log_emission, chain), whole[0])
    np.testing.assert_allclose(posterior(log_emission, chain), whole[1], rtol=1e-6)
    np.testing.assert_allclose(fit(log_emission).transition, chain.transition, atol=1e-9)


def test_change_is_found_far_better_than_in_the_maps_and_hardly_less_of_it(years: Years) -> None:
    log_emission = codes_log_emission(years.mapped, matrix_emission(years.sample(500), years.map_shares))
    corrected = most_likely(log_emission, fit(log_emission))
    raw, sieved, model = (changes_found(years.truth, one) for one in (years.mapped, filtered(years.mapped), corrected))
    assert model.f1 > 2 * raw.f1 and model.recall > raw.recall - 0.10
    assert model.f1 > sieved.f1 and model.recall > sieved.recall
    assert (corrected == years.truth).mean() > (years.mapped == years.truth).mean() + 0.07


@pytest.mark.slow
def test_scores_that_hedge_are_taken_surer_and_those_too_sure_less(years: Years) -> None:
    scores = simulate_scores(years.truth[:, :8000])
    as_they_are = fit_sharpness(scores)
    assert fit_sharpness(sharpened(scores, 0.5)) == pytest.approx(2 * as_they_are, rel=0.12)
    assert fit_sharpness(sharpened(scores, 2.0)) < 0.9 * as_they_are


def test_a_class_with_a_score_of_0_is_one_that_rounds_to_it() -> None:
    surer = sharpened(np.array([[[0.9], [0.1], [0.0]]]), 2.0)[0, :, 0]
    np.testing.assert_allclose(surer[1:] / surer[0], [(0.1 / 0.9) ** 2, (0.005 / 0.9) ** 2])
    np.testing.assert_allclose(usual_prior(np.array([[[0.8, np.nan], [0.2, np.nan]]])), [0.8, 0.2])
    np.testing.assert_allclose(usual_prior(np.array([[[1.0], [0.0]]])), [1 / 1.05, 0.05 / 1.05])


def test_where_nothing_changes_a_little_change_is_still_expected() -> None:
    steady = np.where(np.eye(3, dtype=bool)[None].repeat(5, axis=0), 0.0, -9.0).repeat(200, axis=2)
    stays = np.diag(fit(steady).transition)
    np.testing.assert_allclose(1 - stays, USUAL_CHANGE * 0.1 / 1.1, rtol=0.1)
    assert np.diag(fit(steady, expected=0.0).transition).min() > 0.9999


def test_the_evidence_is_the_probability_of_all_paths_together(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    log_emission = np.log(random.random((4, 2, 3)))
    monkeypatch.setattr(temporal, "_BLOCK", 2)
    total = 0.0
    for pixel in range(3):
        paths = itertools.product(range(2), repeat=4)
        one = log_emission[..., pixel]
        steps = [
            TWO.initial[path[0]]
            * np.prod([TWO.transition[a, b] for a, b in itertools.pairwise(path)])
            * np.exp(sum(one[t, c] for t, c in enumerate(path)))
            for path in paths
        ]
        total += np.log(sum(steps))
    assert log_evidence(log_emission, TWO) == pytest.approx(total / 3)


def test_confidence_is_how_often_the_class_is_right(years: Years) -> None:
    counts = years.sample(500)
    log_emission = codes_log_emission(years.mapped, matrix_emission(counts, years.map_shares))
    chain = fit(log_emission)
    path = most_likely(log_emission, chain)[:, None].astype(int)
    shown = posterior(log_emission, chain)
    true = np.einsum("tcn,cd->tdn", shown, steady_truth(counts))
    right = path[:, 0] == years.truth
    naive, told = (np.take_along_axis(one, path, axis=1)[:, 0] for one in (shown, true))
    assert confidence_error(told, right) < 0.03
    assert confidence_error(naive, right) > 0.05


def test_the_error_matrix_is_weighted_by_area() -> None:
    counts, shares = np.array([[80, 20], [10, 90]]), np.array([0.9, 0.1])
    emission = matrix_emission(counts, shares, repeated=0)
    joint = np.array([[0.72, 0.18], [0.01, 0.09]])
    np.testing.assert_allclose(emission, joint / joint.sum(axis=0))
    half = matrix_emission(counts, shares, repeated=0.5)
    np.testing.assert_allclose(half[1, 0], emission[1, 0] / 2)
    np.testing.assert_allclose(half.sum(axis=0), 1)
    np.testing.assert_allclose(steady_truth(counts, 0.5), [[0.9, 0.1], [0.05, 0.95]])


def test_scores_are_divided_by_the_prior_and_never_believed_beyond_the_floor() -> None:
    scores = np.array([[[0.5, 1.0, np.nan], [0.5, 0.0, np.nan]]])
    looks = scores_log_emission(scores, np.array([0.9, 0.1]), floor=0.01)
    np.testing.assert_allclose(looks[0, 1, 0] - looks[0, 0, 0], np.log(9))
    np.testing.assert_allclose(looks[0, 1, 1] - looks[0, 0, 1], np.log(0.01 * 0.9))
    assert not looks[0, :, 2].any()


@pytest.mark.parametrize(
    ("counts", "shares", "repeated", "told"),
    [
        (np.ones((2, 3)), [0.5, 0.5], 0.5, "shape"),
        (np.ones((2, 2)), [0.3, 0.3, 0.4], 0.5, "3 classes"),
        ([[1, -1], [0, 1]], [0.5, 0.5], 0.5, "negative"),
        ([[0, 0], [1, 1]], [0.5, 0.5], 0.5, "Row 0"),
        ([[1, 0], [1, 0]], [0.5, 0.5], 0.5, "Column 1"),
        ([[1, 0], [0, 1]], [0.5, 0.5], 1.5, "1.5"),
    ],
)
def test_error_matrices_that_tell_nothing_are_refused(counts, shares, repeated, told) -> None:
    with pytest.raises(BadInput, match=told):
        matrix_emission(np.array(counts), np.array(shares), repeated)


def test_impossible_chains_priors_and_series_are_refused() -> None:
    with pytest.raises(BadInput, match="sum to 1"):
        Chain(np.array([0.5, 0.5]), np.array([[0.9, 0.2], [0.1, 0.9]]))
    with pytest.raises(BadInput, match="prior"):
        scores_log_emission(np.full((2, 3, 1), 0.3), np.array([0.5, 0.5, 0.0]))
    with pytest.raises(BadInput, match="1 years"):
        fit(np.zeros((1, len(CLASSES), 5)))
