"""Years of land cover with known change, and maps of them whose errors partly come back every year."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ("water", "trees", "flooded_vegetation", "crops", "built", "bare", "rangeland")
IO_2020 = np.array(
    [
        [4275518, 448170, 72099, 123837, 63534, 6035, 162202],
        [5616, 6643727, 32665, 132827, 73687, 4843, 460039],
        [2819, 13621, 372760, 161871, 50153, 5352, 41062],
        [2688, 63360, 9110, 5253462, 68746, 27953, 370005],
        [5313, 1767, 149, 10449, 1950581, 17547, 50520],
        [15301, 2761, 2162, 1453, 4188, 502719, 290718],
        [2498, 122027, 20189, 157806, 119675, 10731, 1457646],
    ]
)
"""The error matrix of the IO 2020 map (Karra et al. 2021), rows map, columns reference, grass and scrub joined."""
SHARES = IO_2020.sum(axis=0) / IO_2020.sum()
"""Of the true classes in the first year: with them, the maps are as good as that one."""
_GOES_TO = np.array(
    [
        [0.0, 0.1, 0.3, 0.1, 0.1, 0.2, 0.2],
        [0.05, 0.0, 0.05, 0.3, 0.05, 0.05, 0.5],
        [0.3, 0.3, 0.0, 0.2, 0.0, 0.0, 0.2],
        [0.0, 0.1, 0.0, 0.0, 0.2, 0.1, 0.6],
        [0.0, 0.1, 0.0, 0.2, 0.0, 0.5, 0.2],
        [0.1, 0.0, 0.0, 0.2, 0.4, 0.0, 0.3],
        [0.02, 0.28, 0.02, 0.5, 0.1, 0.08, 0.0],
    ]
)


@dataclass(frozen=True)
class Years:
    """A simulated series."""

    truth: np.ndarray
    """Number of the true class, `[years, pixels]`."""
    mapped: np.ndarray
    """Number of the mapped class, -1 where a year is missing, `[years, pixels]`."""

    def sample(self, units: int, seed: int = 9) -> np.ndarray:
        """The error matrix of so many units of each mapped class, from all years."""
        random, counts = np.random.default_rng(seed), np.zeros((len(CLASSES), len(CLASSES)), int)
        for k in range(len(CLASSES)):
            there = np.flatnonzero(self.mapped.ravel() == k)
            drawn = random.choice(there, units)
            counts[k] = np.bincount(self.truth.ravel()[drawn], minlength=len(CLASSES))
        return counts

    @property
    def map_shares(self) -> np.ndarray:
        """Of the classes in all maps."""
        return np.bincount(self.mapped[self.mapped >= 0], minlength=len(CLASSES)) / (self.mapped >= 0).sum()


def simulate_years(
    years: int = 8,
    pixels: int = 40_000,
    *,
    change: float = 0.02,
    repeated: float = 0.5,
    missing: float = 0.03,
    seed: int = 1,
) -> Years:
    """True classes that follow a Markov chain, mapped with the errors of the IO 2020 map.

    Args:
        years: of the series.
        pixels: of each year.
        change: share of the pixels whose class changes from one year to the next.
        repeated: share of the errors that a pixel has in every year in which it has that class; the others are new
            each year.
        missing: share of the pixel-years without data.
        seed: another one, another series.
    """
    random = np.random.default_rng(seed)
    moves = (1 - change) * np.eye(len(CLASSES)) + change * _GOES_TO
    truth = np.empty((years, pixels), int)
    truth[0] = _drawn(np.broadcast_to(SHARES, (pixels, len(CLASSES))), random.random(pixels))
    for year in range(1, years):
        truth[year] = _drawn(moves[truth[year - 1]], random.random(pixels))
    mapped_as = (IO_2020 / IO_2020.sum(axis=0)).T
    wrong = mapped_as * (1 - np.eye(len(CLASSES)))
    error = wrong.sum(axis=1)
    wrong /= error[:, None]
    # One number a pixel: the same class errs the same way in every year.
    steady = (random.random(pixels) < repeated * error[truth]).astype(bool)
    fresh = random.random((years, pixels)) < ((1 - repeated) * error / (1 - repeated * error))[truth]
    steady_class = _drawn(wrong[truth], np.broadcast_to(random.random(pixels), truth.shape))
    fresh_class = _drawn(wrong[truth], random.random(truth.shape))
    mapped = np.where(steady, steady_class, np.where(fresh, fresh_class, truth))
    mapped[random.random(truth.shape) < missing] = -1
    return Years(truth, mapped)


def simulate_scores(truth: np.ndarray, *, distance: float = 4.0, repeated: float = 0.5, seed: int = 2) -> np.ndarray:
    """Calibrated scores, in whole per cent as they are published, `[years, classes, pixels]`.

    Each class is a point among others, each look a normal deviate round it, the score Bayes' rule on one look. Of the
    noise's variance the share `repeated` is the same every year.
    """
    random, classes = np.random.default_rng(seed), len(SHARES)
    centres = np.eye(classes) * distance / np.sqrt(2)
    steady, fresh = random.normal(size=(1, truth.shape[1], classes)), random.normal(size=(*truth.shape, classes))
    looks = centres[truth] + np.sqrt(repeated) * steady + np.sqrt(1 - repeated) * fresh
    shares = np.bincount(truth.ravel(), minlength=classes) / truth.size
    likelihood = looks @ centres.T - (centres**2).sum(axis=1) / 2 + np.log(shares)
    scores = np.exp(likelihood - likelihood.max(axis=-1, keepdims=True))
    return np.round(100 * np.moveaxis(scores / scores.sum(axis=-1, keepdims=True), -1, 1)) / 100


def filtered(mapped: np.ndarray) -> np.ndarray:
    """The persistence filter: a new class counts when it also stands in the next seen year; `[years, pixels]`.

    Missing years take the class of the year before, else after. A class that is new in the last year is unconfirmed.
    """
    filled = mapped.copy()
    for year in range(1, len(filled)):
        filled[year] = np.where(filled[year] < 0, filled[year - 1], filled[year])
    for year in range(len(filled) - 2, -1, -1):
        filled[year] = np.where(filled[year] < 0, filled[year + 1], filled[year])
    kept = filled.copy()
    for year in range(1, len(filled)):
        stays = filled[year] == filled[year + 1] if year + 1 < len(filled) else False
        kept[year] = np.where(stays, filled[year], kept[year - 1])
    return kept


@dataclass(frozen=True)
class Found:
    """How well changes from one year to the next were found; a pixel and a pair of years is a unit."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.precision * self.recall / max(1e-9, self.precision + self.recall)


def changes_found(truth: np.ndarray, series: np.ndarray, *, last_year: bool = False) -> Found:
    """Precision and recall of change between consecutive years, by the right year.

    Args:
        truth: `[years, pixels]`.
        series: the same, -1 where a year is missing; a change from or to it is not found.
        last_year: count the last year, too, which is provisional.
    """
    stop = len(truth) if last_year else len(truth) - 1
    true = truth[1:stop] != truth[: stop - 1]
    seen = (series[1:stop] >= 0) & (series[: stop - 1] >= 0)
    told = (series[1:stop] != series[: stop - 1]) & seen
    both = int((true & told).sum())
    return Found(both / max(1, int(told.sum())), both / int(true.sum()))


def confidence_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error over ten bins: how far the confidence, 0 to 1, is from the share that is right."""
    number = np.minimum((10 * confidence).astype(int), 9)
    bins = [(number == k) for k in range(10) if (number == k).any()]
    return float(sum(abs(confidence[one].mean() - right[one].mean()) * one.mean() for one in bins))


def _drawn(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """One class each, by inverting the distribution function."""
    return np.minimum((uniform[..., None] > probabilities.cumsum(axis=-1)).sum(axis=-1), probabilities.shape[-1] - 1)
