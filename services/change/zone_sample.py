"""Zones as domains of a reference sample, all at once.

With 30 units or more a zone is estimated from them alone, with fewer from the strata that lie in it: synthetic, see
`services.change.domains`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from services.change.domains import FEWEST_UNITS, DomainSample
from services.change.interval_arrays import Told, ZoneIntervals
from services.change.interval_columns import from_sample
from services.change.intervals import jeffreys
from services.change.reference import Reference
from services.change.uncertainty import SAME_GROUND, Uncertainty, not_sampled
from services.change.zonal import Zonal

_RELATIVE = "relative change is estimated from 30 units or more alone"


def put_estimates(found: Zonal, known: Uncertainty, reference: Reference, told: ZoneIntervals) -> None:
    """Put what a sample tells over what is published.

    Args:
        found: what was counted.
        known: of the maps.
        reference: sample, in their classes.
        told: changed in place.
    """
    years, names = found.series.years, found.series.legend.names
    inside = _inside(found, reference)
    count = np.array([len(one) for one in inside])
    within, strata = _within(found, known, reference), _strata(found, known, reference)
    both = np.array([0.0] * len(count)) if strata is None else strata.sum(axis=1)
    no_pair = not_sampled(reference, (years[0], years[-1]))
    unsampled = [not_sampled(reference, [year]) for year in years]
    for y, reason in enumerate(unsampled):
        told.areas.explain(np.s_[:, y], reason)
    of_change = (told.net, told.relative, told.changed, told.transitions)
    for one in of_change:
        one.explain(np.s_[:], no_pair)
    seen = found.both()[0].sum(axis=1)
    zone_of_pair = found.pairs // found.areas.shape[-1] ** 2
    direct, borrowed = count >= FEWEST_UNITS, (count < FEWEST_UNITS) & (both > 0)
    outside = f"the reference sample {reference.origin} was not drawn from all of this zone"
    few = f"fewer than {FEWEST_UNITS} units lie here, and the sample's strata are not those of these maps"
    for mask, reason in ((~within, outside), (within & ~direct & ~borrowed, few)):
        for one in of_change[:3]:
            one.explain(np.s_[mask], reason)
        told.areas.explain(np.s_[mask], reason)
        told.transitions.explain(np.s_[mask[zone_of_pair]], reason)
    for z in np.flatnonzero(within & direct):
        mask = np.zeros(len(reference.sample.unit), bool)
        mask[inside[z]] = True
        domain = reference.domain(mask, None if strata is None or not both[z] else strata[z])
        assert isinstance(domain, DomainSample), "a zone of 30 units or more is estimated from them"
        _areas_of(found, reference, domain, told, int(z), None if strata is None else float(both[z]))
        if not no_pair:
            _change_of(found, reference, domain, told, int(z), float(seen[z]))
    if borrowed.any():
        assert strata is not None
        chosen = np.flatnonzero(within & borrowed)
        _Synthetic(reference, strata[chosen], count[chosen]).put(found, told, chosen, no_pair, len(names))


def _areas_of(
    found: Zonal, reference: Reference, domain: DomainSample, told: ZoneIntervals, z: int, sampled: float | None
) -> None:
    """Areas of a zone from its own units."""
    whole = float(domain.hectares.sum())
    for date, year in enumerate(reference.design.years):
        if year not in found.series.years:
            continue
        y = found.series.years.index(year)
        observed = float(found.observed[z, y])
        if sampled is not None and abs(observed - sampled) > SAME_GROUND * sampled:
            reason = f"the sample stands for {sampled:,.1f} ha that its maps observed, this is of {observed:,.1f} ha"
            told.areas.explain(np.s_[z, y], reason)
            continue
        for k in range(found.areas.shape[-1] - 1):
            estimate = domain.area(reference.label[date] == k)
            told.areas.put((z, y, k), from_sample(estimate, reference, domain).scaled(observed / whole))


def _change_of(
    found: Zonal, reference: Reference, domain: DomainSample, told: ZoneIntervals, z: int, hectares: float
) -> None:
    """Change of a zone from its own units; hectares that were observed in the first and the last year."""
    (first, last), side, factor = reference.label, found.areas.shape[-1], hectares / float(domain.hectares.sum())
    told.changed.put((z,), from_sample(domain.area(first != last), reference, domain).scaled(factor))
    for k in range(side - 1):
        was, becomes = first == k, last == k
        told.net.put((z, k), from_sample(domain.net(was, becomes), reference, domain))
        told.relative.put((z, k), from_sample(domain.relative(was, becomes), reference, domain))
    begin, end = np.searchsorted(found.pairs, [z * side**2, (z + 1) * side**2])
    for at in range(begin, end):
        before, after = divmod(int(found.pairs[at]) - z * side**2, side)
        if before and after:
            estimate = domain.area((first == before - 1) & (last == after - 1))
            told.transitions.put((at,), from_sample(estimate, reference, domain).scaled(factor))


class _Synthetic:
    """Zones from the strata that lie in them: the sums of `services.change.estimation.Strata` for all at once."""

    def __init__(self, reference: Reference, hectares: np.ndarray, units: np.ndarray) -> None:
        self._reference, self._hectares = reference, hectares
        self._n = np.bincount(reference.sample.stratum, minlength=hectares.shape[1])
        self._reason = [
            f"{one} units lie here: the strata are taken to err here as in the whole sample" for one in units
        ]

    def put(self, found: Zonal, told: ZoneIntervals, zones: np.ndarray, no_pair: str, classes: int) -> None:
        """All figures of the zones."""
        label = self._reference.label
        for date, year in enumerate(self._reference.design.years):
            if year in found.series.years:
                for k in range(classes):
                    self._put(told.areas, (zones, found.series.years.index(year), k), self._area(label[date] == k))
        if no_pair:
            return
        first, last = label
        self._put(told.changed, (zones,), self._area(first != last))
        for k in range(classes):
            gain, loss = (last == k) & (first != k), (first == k) & (last != k)
            self._put(told.net, (zones, k), self._net(gain, loss))
            told.relative.reason[zones, k] = _RELATIVE
        side = classes + 1
        row = np.full(len(found.areas), -1)
        row[zones] = np.arange(len(zones))
        zone, kind = found.pairs // side**2, found.pairs % side**2
        for one in np.unique(kind):
            before, after = divmod(int(one), side)
            at = np.flatnonzero((kind == one) & (row[zone] >= 0))
            if before and after and at.size:
                limits = self._area((first == before - 1) & (last == after - 1))
                self._put(told.transitions, (at,), limits[:, row[zone[at]]], row[zone[at]])

    def _area(self, what: np.ndarray) -> np.ndarray:
        """Estimate, lower and upper limit, `[3, zones]`."""
        share, below, above = self._parts(what)
        value, squares = self._hectares @ share, self._hectares**2
        return np.stack([value, value - np.sqrt(squares @ below**2), value + np.sqrt(squares @ above**2)])

    def _net(self, gain: np.ndarray, loss: np.ndarray) -> np.ndarray:
        (one, one_low, one_high), (other, other_low, other_high) = self._area(gain), self._area(loss)
        p, q = ((self._hits(what) + 0.5) / (self._n + 1) for what in (gain, loss))
        weights = self._hectares**2 / self._n
        spread = np.sqrt((weights @ (p * (1 - p))) * (weights @ (q * (1 - q))))
        correlation = np.clip(weights @ (-p * q) / np.where(spread > 0, spread, 1), -1, 1)

        def joined_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.sqrt(np.maximum(0, a**2 + b**2 - 2 * correlation * a * b))

        value = one - other
        below = joined_distance(one - one_low, other_high - other)
        return np.stack([value, value - below, value + joined_distance(one_high - one, other - other_low)])

    def _hits(self, what: np.ndarray) -> np.ndarray:
        return np.bincount(self._reference.sample.stratum[what], minlength=len(self._n))

    def _parts(self, what: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hits = self._hits(what)
        share, (low, high) = hits / self._n, jeffreys(hits, self._n, self._reference.strata.z)
        return share, share - low, high - share

    def _put(self, told: Told, at: Any, limits: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        told.estimate[at], told.low[at], told.high[at] = limits
        told.kind[at], told.source[at] = "synthetic", self._reference.told
        told.reason[at] = np.array(self._reason, object)[rows]


def _inside(found: Zonal, reference: Reference) -> list[np.ndarray]:
    """Units of the sample in each zone; one on a common border lies in both."""
    points, shapes = shapely.points(*reference.places), found.zones.frame.geometry.to_numpy()
    zone, unit = shapely.STRtree(points).query(shapes, predicate="intersects")
    order = np.argsort(zone, kind="stable")
    return np.split(unit[order], np.searchsorted(zone[order], np.arange(1, len(shapes))))


def _within(found: Zonal, known: Uncertainty, reference: Reference) -> np.ndarray:
    """Whether the mapped part of each zone was sampled from, bool `[zones]`."""
    shapes = found.zones.frame.geometry.to_numpy()
    if known.ground is not None and reference.covers(known.ground):
        return np.ones(len(shapes), bool)
    mapped = shapes if known.ground is None else shapely.intersection(shapes, known.ground)
    sampled = shapely.area(shapely.intersection(mapped, shape(reference.design.geometry)))
    return sampled >= (1 - SAME_GROUND) * shapely.area(mapped)


def _strata(found: Zonal, known: Uncertainty, reference: Reference) -> np.ndarray | None:
    """Hectares of each stratum in each zone, `[zones, H]`, where the sample was drawn from these maps and classes."""
    years, drawn = found.series.years, reference.design.years
    if not known.same_maps or reference.translated:
        return None
    if len(drawn) == 1:
        cells = found.areas[:, years.index(drawn[0]), 1:]
    elif drawn == (years[0], years[-1]):
        side = found.areas.shape[-1]
        whole = np.bincount(found.pairs, found.pair_areas, len(found.areas) * side**2)
        cells = whole.reshape(-1, side, side)[:, 1:, 1:].reshape(len(found.areas), -1)
    else:
        return None
    return reference.strata_hectares(cells, found.series.legend.names)
