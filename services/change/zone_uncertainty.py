"""What is known of the true figures of zones: from a reference sample, else from published accuracies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from services.change.interval_arrays import Told, ZoneIntervals
from services.change.interval_columns import Interval
from services.change.pair_uncertainty import no_change
from services.change.scenarios import area_ranges, change_ranges
from services.change.source_accuracy import SourceAccuracy
from services.change.uncertainty import Uncertainty
from services.change.zonal import Zonal
from services.change.zone_sample import put_estimates

_UNSEEN = "no land cover was observed here, in that year or in both"
MOST_ZONES = 1_000
"""Zones whose scenario ranges are told, at most: each takes 0.1 s."""


def zone_intervals(found: Zonal, known: Uncertainty) -> ZoneIntervals:
    """What is known of all zones.

    Args:
        found: what was counted.
        known: of the maps.
    """
    told = _published(found, known)
    if known.reference is not None:
        put_estimates(found, known, known.reference, told)
    side, both = found.areas.shape[-1], found.both()[0].sum(axis=1)
    told.areas.clear(found.observed <= 0, _UNSEEN)
    for one in (told.net, told.relative, told.changed):
        one.clear(both <= 0, _UNSEEN)
    told.transitions.clear((found.pairs // side % side == 0) | (found.pairs % side == 0), _UNSEEN)
    return told


def _published(found: Zonal, known: Uncertainty) -> ZoneIntervals:
    zones, years, classes = found.areas[..., 1:].shape
    accuracies = known.accuracies or (SourceAccuracy(),) * years
    first, last = accuracies[0], accuracies[-1]
    reason = no_change(first, last)
    same = first.matrix is not None and first == last
    many = f"scenario ranges are told of up to {MOST_ZONES:,} zones: give fewer at once" if zones > MOST_ZONES else ""
    of_change = many if same and many else "" if same else reason
    wholes = "scenario ranges of transitions and of relative change are told of whole areas: landloom change"
    told = ZoneIntervals(
        Told.nothing((zones, years, classes), ""),
        Told.nothing((zones, classes), of_change),
        Told.nothing((zones, classes), wholes if same else reason),
        Told.nothing((zones,), wholes if same else reason),
        Told.nothing(found.pairs.shape, wholes if same else reason),
    )
    names = found.series.legend.names
    for y, accuracy in enumerate(accuracies):
        if accuracy.matrix is not None and many:
            told.areas.reason[:, y] = many
            continue
        if accuracy.matrix is None:
            # The same for each class and zone: one call tells kind and reason.
            (one,) = area_ranges({"any": 1.0}, accuracy)
            low, high = (np.nan if limit is None else limit for limit in (one.low, one.high))
            told.areas.low[:, y], told.areas.high[:, y] = (found.areas[:, y, 1:] * limit for limit in (low, high))
            told.areas.kind[:, y], told.areas.reason[:, y] = one.kind, one.reason
            told.areas.source[:, y] = accuracy.figure if one.low is not None else ""
            continue
        for z in np.flatnonzero(found.observed[:, y]):
            mapped = dict(zip(names, found.areas[z, y, 1:].tolist(), strict=True))
            for k, one in enumerate(area_ranges(mapped, accuracy)):
                told.areas.put((z, y, k), _of_range(one.low, one.high, accuracy, one.reason))
    if same and not many:
        before, after, _ = found.both()
        for z in np.flatnonzero(before.sum(axis=1)):
            was, becomes = (dict(zip(names, own[z].tolist(), strict=True)) for own in (before, after))
            ranges = pd.DataFrame([vars(one) for one in change_ranges(was, becomes, first)])
            for k, name in enumerate(names):
                own = ranges[ranges["name"] == name]
                low, high = own["low"].astype(float).min(), own["high"].astype(float).max()
                told.net.put((z, k), _of_range(low, high, first, own["reason"].iloc[0]))
    return told


def _of_range(low: float | None, high: float | None, accuracy: SourceAccuracy, reason: str) -> Interval:
    if low is None or high is None or np.isnan(low):
        return Interval(reason=reason)
    return Interval("scenario range", low=low, high=high, source=accuracy.figure)
