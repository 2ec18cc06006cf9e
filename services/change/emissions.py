"""What one year's map says about the true class: emissions of the hidden Markov model of `services.change.temporal`.

Two things differ from Abercrombie and Friedl 2016, both because errors repeat from year to year:

- an error that comes back every year cannot make a class come and go. So where emissions come from an error matrix,
  the share `repeated` of its errors is taken out of them; with it in, expectation maximisation blames true change on
  errors and finds a quarter less than there is (measured on simulated years, see the tests);
- no number of years makes an error that repeats unlikely. So the confidence from an error matrix counts it in full
  (`steady_truth`), and scores, which tell how far a pixel is from its class, are corrected with the deviation of all
  years taken for one (`services.change.steady_errors`).
"""

from __future__ import annotations

import numpy as np

from catalog.errors import BadInput

REPEATED = 0.5
"""Share of the errors that come back every year, where nothing better is known."""
SCORE_FLOOR = 0.01
"""How much less likely than the prior a score may make a class: no network is surer than that, and scores are published
in whole per cent. Of the ratio, not of the score: of a class rarer than any floor of scores, 0 would speak for it."""
LEAST_SCORE = 0.005
"""What a score of 0 stands for: scores are published in whole per cent. A rarer class is not ruled out by it."""
LEAST_SHARE = 0.05
"""Of a class by which scores are divided: chosen by `benchmarks/temporal_choice.py`."""
_MATRIX_FLOOR = 1e-3


def matrix_emission(counts: np.ndarray, map_shares: np.ndarray, repeated: float = REPEATED) -> np.ndarray:
    """What an error matrix says about a map's class, given the true one: p(map | true).

    Counts are weighted by the area mapped as each class, p_ij = W_i n_ij / n_i. (Olofsson et al. 2014, Eq. 4), then
    divided by their columns' sums. Of the errors the share `repeated` is taken out, see the module.

    Args:
        counts: sample units `[map, reference]`.
        map_shares: share of the map's area in each class, W_i.
        repeated: share of the errors that come back every year, 0 to 1.

    Returns:
        Probabilities `[map, true]`; columns sum to 1, none is 0.

    Raises:
        BadInput: the matrix is not square or has negative counts, a mapped class has no sample units, a class is never
            the true one, or `repeated` is no share.
    """
    counts, shares = np.asarray(counts, np.float64), np.asarray(map_shares, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] != shares.size:
        raise BadInput(
            f"The error matrix has the shape {counts.shape}, the map {shares.size} classes. "
            "Give one row and one column for each class of the map."
        )
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise BadInput("The error matrix holds a negative count, or none at all. Give numbers of sample units.")
    if not 0 <= repeated <= 1:
        raise BadInput(f"The share of errors that repeat is {repeated}. Give a number from 0 to 1.")
    rows = counts.sum(axis=1)
    if empty := np.flatnonzero((rows == 0) & (shares > 0)).tolist():
        raise BadInput(f"Row {empty[0]} of the error matrix has no sample units, but the map has that class.")
    joint = counts * (shares / np.maximum(rows, 1e-300))[:, None]
    columns = joint.sum(axis=0)
    if empty := np.flatnonzero(columns == 0).tolist():
        raise BadInput(
            f"Column {empty[0]} of the error matrix is empty: nothing tells how that class is mapped where it is true. "
            "Give more sample units, or join the class with another."
        )
    emission = np.maximum((1 - repeated) * joint / columns, _MATRIX_FLOOR)
    # What is not an error that comes and goes is, to the chain, the right class.
    np.fill_diagonal(emission, 0)
    wrong = np.minimum(emission.sum(axis=0), 0.99)
    emission *= wrong / emission.sum(axis=0)
    np.fill_diagonal(emission, 1 - wrong)
    return emission


def steady_truth(counts: np.ndarray, repeated: float = REPEATED) -> np.ndarray:
    """How likely each class is the true one where maps show one class every year: p(true | shown), `[shown, true]`.

    Of the errors in a row of the matrix, the share `repeated` is there every year. A row without sample units is
    taken to be right.

    Args:
        counts: sample units `[map, reference]`, as `matrix_emission` takes them.
        repeated: share of the errors that come back every year.
    """
    right, rows = np.eye(len(counts)), np.sum(counts, axis=1, keepdims=True)
    true = np.divide(counts, rows, out=right.copy(), where=rows > 0)
    return repeated * true + (1 - repeated) * right


def codes_log_emission(number: np.ndarray, emission: np.ndarray) -> np.ndarray:
    """Log-likelihood of each true class, from the mapped ones.

    Args:
        number: position of the mapped class, -1 for a missing year, `[years, pixels]`.
        emission: p(map | true), `[map, true]`.

    Returns:
        `[years, classes, pixels]`; 0 for all classes in a missing year, which says nothing.
    """
    table = np.vstack([np.log(emission), np.zeros((1, emission.shape[1]))])  # -1 is the last row
    return np.moveaxis(table[number], -1, 1)


def sharpened(scores: np.ndarray, exponent: float) -> np.ndarray:
    """Shares to the power of `exponent`, made to sum to 1 again: above 1 surer than before, below 1 less sure.

    Args:
        scores: shares 0 to 1, none counted below `LEAST_SCORE`, NaN for a missing year; classes along the second axis
            from the end.
        exponent: above 0.
    """
    powers = np.maximum(scores, LEAST_SCORE) ** exponent
    return powers / powers.sum(axis=-2, keepdims=True)


def usual_prior(scores: np.ndarray) -> np.ndarray:
    """Share of each class where scores are calibrated, if unknown: their mean, at least `LEAST_SHARE`, `[classes]`.

    Scores that are calibrated where they are used have the classes' shares as their mean. But of a class that is
    next to nowhere, a weak score that comes back every year, divided by next to nothing, would outweigh a strong
    one of another class.

    Args:
        scores: shares 0 to 1, NaN for a missing year, `[years, classes, pixels]`.
    """
    shares = np.maximum(np.nanmean(scores, axis=(0, 2)), LEAST_SHARE)
    return shares / shares.sum()


def scores_log_emission(scores: np.ndarray, prior: np.ndarray, floor: float = SCORE_FLOOR) -> np.ndarray:
    """Log-likelihood of each true class, from calibrated scores: p(looks | class) ~ p(class | looks) / p(class).

    Args:
        scores: shares 0 to 1, NaN for a missing year, `[years, classes, pixels]`.
        prior: share of each class where the network learned, or where its scores were calibrated, `[classes]`.
        floor: of the score divided by the prior.

    Returns:
        `[years, classes, pixels]`, 0 in a missing year.

    Raises:
        BadInput: a prior that is not positive, or another number of classes.
    """
    prior = np.asarray(prior, np.float64)
    if prior.shape != (scores.shape[1],) or not (prior > 0).all():
        raise BadInput(
            f"The training prior {prior.tolist()} is not possible: give a share above 0 for each of the "
            f"{scores.shape[1]} classes."
        )
    likelihood = np.log(np.maximum(scores / (prior / prior.sum())[:, None], floor))
    return np.where(np.isnan(scores), 0.0, likelihood)
