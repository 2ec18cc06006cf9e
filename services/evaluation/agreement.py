"""Agreement with a reference, from pixels counted by place: shares, their intervals, calibration.

Pixels of one place are alike, so the place is what is resampled: a cluster bootstrap (Field and Welsh 2007) with
percentile intervals. Precision is what Olofsson et al. (2014) call the user's, recall what they call the producer's.
Nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluation.result import Agreement, Bin, Calibration, ClassAgreement, Estimate, FalseCloud

BINS = 15
"""Of confidence, as in Guo et al. 2017."""
FEWEST_PLACES = 5
"""With fewer than these, resampling them tells nothing."""
RESAMPLES = 2000
_BATCH = 100
_SEED = 0


@dataclass(frozen=True)
class Tally:
    """Pixels of some places, counted."""

    places: tuple[str, ...]
    confusion: np.ndarray
    """int64 `[places, classes, classes]`: by the reference's class, then by the one found."""
    reliability: np.ndarray
    """float64 `[places, BINS, 3]`: pixels, pixels that agree, and the sum of confidences, by bin of confidence."""

    @classmethod
    def count(
        cls,
        places: Sequence[str],
        classes: int,
        place: np.ndarray,
        reference: np.ndarray,
        found: np.ndarray,
        confidence: np.ndarray,
    ) -> Tally:
        """Count pixels.

        Args:
            places: their names.
            classes: how many there are.
            place: number of each pixel's place, `[n]`.
            reference: number of its class in the reference, `[n]`.
            found: number of the class found, `[n]`.
            confidence: of the class found, 0 to 1, `[n]`.
        """
        place, reference, found = (np.asarray(one, np.int64).ravel() for one in (place, reference, found))
        cells = np.ravel_multi_index((place, reference, found), (len(places), classes, classes))
        confusion = np.bincount(cells, minlength=len(places) * classes**2).reshape(len(places), classes, classes)
        # Bins are closed above, as Guo et al. have them; 255ths and per cents must not be lost to rounding.
        bins = np.clip(np.ceil(np.asarray(confidence, float).ravel() * BINS - 1e-9).astype(np.int64) - 1, 0, BINS - 1)
        of_bin = place * BINS + bins
        weights = (None, (reference == found).astype(float), np.asarray(confidence, float).ravel())
        sums = [np.bincount(of_bin, one, len(places) * BINS).reshape(len(places), BINS) for one in weights]
        return cls(tuple(places), confusion, np.stack(sums, axis=-1).astype(float))

    @classmethod
    def together(cls, tallies: Sequence[Tally]) -> Tally:
        """Several as one; what was counted in the same place is added."""
        names = [name for one in tallies for name in one.places]
        places = tuple(dict.fromkeys(names))
        number = {name: k for k, name in enumerate(places)}
        rows = np.array([number[name] for name in names])

        def added(parts: list[np.ndarray]) -> np.ndarray:
            total = np.zeros((len(places), *parts[0].shape[1:]), parts[0].dtype)
            np.add.at(total, rows, np.concatenate(parts))
            return total

        return cls(places, added([one.confusion for one in tallies]), added([one.reliability for one in tallies]))


def measure(name: str, tally: Tally, classes: Sequence[str], cloud: int | None = None) -> Agreement:
    """Agreement of some places, with intervals where there are enough of them.

    Args:
        name: of the group.
        tally: their pixels, at least one.
        classes: names.
        cloud: number of the class that is cloud, if there is one.
    """
    confusion, reliability = tally.confusion.sum(axis=0), tally.reliability.sum(axis=0)
    shares = _shares(confusion, reliability)
    of_place = _divided(np.trace(tally.confusion, axis1=1, axis2=2), tally.confusion.sum(axis=(1, 2)))
    shares["mean"] = np.array(np.nanmean(of_place))
    resampled = _resampled(tally, of_place)
    in_reference = (tally.confusion.sum(axis=2) > 0).sum(axis=0)
    in_found = (tally.confusion.sum(axis=1) > 0).sum(axis=0)

    def estimate(what: str, places: int, index: int | tuple[()] = ()) -> Estimate:
        value = float(shares[what][index])
        if np.isnan(value):
            return Estimate(value=None)
        if places < FEWEST_PLACES:
            return Estimate(value=value)
        low, high = np.nanpercentile(resampled[what][(slice(None), *np.atleast_1d(index).astype(int))], [2.5, 97.5])
        return Estimate(value=value, low=float(low), high=float(high))

    seen = int((~np.isnan(of_place)).sum())
    found = [
        ClassAgreement(
            name=classes[k],
            pixels=int(confusion[k].sum()),
            found=int(confusion[:, k].sum()),
            places=int(in_reference[k]),
            precision=estimate("precision", min(in_reference[k], in_found[k]), k),
            **{what: estimate(what, in_reference[k], k) for what in ("recall", "f1", "iou")},
        )
        for k in range(len(classes))
        if confusion[k].any() or confusion[:, k].any()
    ]
    mean = _divided(reliability[:, 2].sum(), reliability[:, 0].sum())
    return Agreement(
        name=name,
        pixels=int(confusion.sum()),
        places=seen,
        overall=estimate("overall", seen),
        mean_over_places=estimate("mean", seen),
        classes=found,
        confusion=confusion.tolist(),
        calibration=Calibration(
            error=estimate("calibration", seen),
            confidence=None if np.isnan(mean) else float(mean),
            bins=[_bin(k, *reliability[k]) for k in range(BINS)],
        ),
        false_cloud=None if cloud is None else _false_cloud(tally, cloud),
    )


def _shares(confusion: np.ndarray, reliability: np.ndarray) -> dict[str, np.ndarray]:
    """Of confusions `[…, classes, classes]` and reliabilities `[…, BINS, 3]`; NaN where there is nothing to share."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    reference, found = confusion.sum(axis=-1), confusion.sum(axis=-2)
    return {
        "overall": _divided(right.sum(axis=-1), reference.sum(axis=-1)),
        "recall": _divided(right, reference),
        "precision": _divided(right, found),
        "f1": _divided(2 * right, reference + found),
        "iou": _divided(right, reference + found - right),
        "calibration": _divided(
            np.abs(reliability[..., 1] - reliability[..., 2]).sum(axis=-1), reliability[..., 0].sum(axis=-1)
        ),
    }


def _resampled(tally: Tally, of_place: np.ndarray) -> dict[str, np.ndarray]:
    """The same of places drawn with replacement, `[RESAMPLES, …]`; empty with too few places."""
    seen = np.flatnonzero(~np.isnan(of_place))
    if len(seen) < FEWEST_PLACES:
        return {}
    confusion, reliability = tally.confusion[seen].astype(float), tally.reliability[seen]
    random, batches = np.random.default_rng(_SEED), []
    for _ in range(RESAMPLES // _BATCH):
        times = random.multinomial(len(seen), np.full(len(seen), 1 / len(seen)), _BATCH).astype(float)
        batch = _shares(np.tensordot(times, confusion, 1), np.tensordot(times, reliability, 1))
        batches.append(batch | {"mean": times @ of_place[seen] / len(seen)})
    return {what: np.concatenate([batch[what] for batch in batches]) for what in batches[0]}


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(part) / np.where(np.asarray(whole) == 0, np.nan, whole)


def _bin(number: int, pixels: float, right: float, confidence: float) -> Bin:
    return Bin(
        low=number / BINS,
        high=(number + 1) / BINS,
        pixels=int(pixels),
        confidence=confidence / pixels if pixels else None,
        agreement=right / pixels if pixels else None,
    )


def _false_cloud(tally: Tally, cloud: int) -> FalseCloud | None:
    pixels = tally.confusion.sum(axis=(1, 2))
    clear = np.flatnonzero((tally.confusion[:, cloud].sum(axis=1) == 0) & (pixels > 0))
    if not clear.size:
        return None
    shares = tally.confusion[clear, :, cloud].sum(axis=1) / pixels[clear]
    worst = int(shares.argmax())
    return FalseCloud(
        place=tally.places[clear[worst]],
        share=float(shares[worst]),
        pixels=int(pixels[clear[worst]]),
        clear_places=len(clear),
    )
