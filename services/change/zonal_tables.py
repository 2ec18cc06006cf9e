"""The tables of zonal statistics: per zone its cover and change, and long ones of areas, changes and transitions.

Mapped figures and estimated ones stand in columns of their own, with the kind of interval or the reason for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas
import numpy as np
import pandas as pd

from catalog.errors import BadInput
from services.change.interval_columns import joined
from services.change.tally import UNOBSERVED
from services.change.uncertainty import Uncertainty
from services.change.zonal import Zonal
from services.change.zone_uncertainty import zone_intervals
from services.change.zones import ZONE

MINIMUM_SHARE = 0.001
"""Share of a zone's observed area below which a class is no base for a relative change or a ratio."""
COVERED, PARTLY, OUTSIDE = "covered", "partly covered", "outside"
_WHOLE = 0.999
"""Covered share from which on a zone counts as covered: polygons and pixels differ by less."""
_RATIO = "the ratio of two classes is of mapped areas"
TITLES = {
    "zones": "Zones with their attributes, shares of the classes, covered share and changed share",
    "areas": "Area and share, mapped and estimated, of each class in each zone and year",
    "changes": "Absolute and relative change of each class in each zone, with ranks",
    "transitions": "Transition matrix of each zone, hectares",
}


@dataclass(frozen=True)
class Ratio:
    """One class over another, as crops over rangeland."""

    over: str
    under: str

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> Ratio:
        """From `crops/rangeland`.

        Raises:
            BadInput: not two different classes of the legend.
        """
        over, _, under = text.partition("/")
        if over not in names or under not in names or over == under:
            raise BadInput(
                f"--ratio {text!r} is not one class over another. Give two of {', '.join(names)}, as "
                f"{names[0]}/{names[-1]}."
            )
        return cls(over, under)


def zonal_tables(found: Zonal, ratio: Ratio | None, uncertainty: Uncertainty) -> dict[str, pd.DataFrame]:
    """The tables, by the names of `TITLES`; `zones` with polygons. Of one year those that tell no change.

    Args:
        found: what was counted.
        ratio: of two classes, told for each zone.
        uncertainty: what is known of the maps, told in every row: a table may be read without its item.
    """
    known, seen = zone_intervals(found, uncertainty), found.both()[0].sum(axis=1)
    points = np.divide(100, seen, out=np.full(len(seen), np.nan), where=seen > 0)
    shares = np.divide(1, found.observed, out=np.full(found.observed.shape, np.nan), where=found.observed > 0)
    if len(found.series.years) == 1:
        areas = _areas(found).assign(**known.areas.columns({"hectares": 1.0, "share": shares[..., None]}))
        told = {"zones": _zones(found, ratio), "areas": areas}
        return {name: table.assign(source_accuracy=uncertainty.accuracy) for name, table in told.items()}
    relative = known.relative.columns({"relative_change": 1.0}).filter(like="_relative_change")
    changes = known.net.columns({"change_hectares": 1.0, "change_points": points[:, None]})
    changes["interval_reason"] = [
        one if one == other else joined(one, other)
        for one, other in zip(known.net.reason.ravel(), known.relative.reason.ravel(), strict=True)
    ]
    columns = {
        "zones": known.changed.columns({"changed_hectares": 1.0, "changed_share": points / 100}),
        "areas": known.areas.columns({"hectares": 1.0, "share": shares[..., None]}),
        "changes": pd.concat([relative, changes], axis=1),
        "transitions": known.transitions.columns({"hectares": 1.0}),
    }
    tables = {
        "zones": _zones(found, ratio),
        "areas": _areas(found),
        "changes": _changes(found),
        "transitions": _transitions(found),
    }
    if ratio is not None:
        columns["zones"]["interval_reason"] = [joined(one, _RATIO) for one in columns["zones"]["interval_reason"]]
    return {name: table.assign(**columns[name], source_accuracy=uncertainty.accuracy) for name, table in tables.items()}


def covered(found: Zonal) -> np.ndarray:
    """Share of each zone with land cover in each year, 0 to 1, `[zones, years]`; 0 for a zone without area."""
    return np.minimum(_share(found.observed, found.zones.hectares[:, None], nothing=0.0), 1.0)


def relative_change(before: np.ndarray, after: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change relative to the first year, and why there is none.

    Nothing is divided by nearly nothing: where a class has less than `MINIMUM_SHARE` of the observed area at first,
    there is no relative change but a reason.

    Args:
        before: hectares in the first year, `[...]`.
        after: in the last.
        observed: in both.

    Returns:
        `(after - before) / before`, NaN without; and the reason, empty with one.
    """
    large = (before >= MINIMUM_SHARE * observed) & (before > 0)
    relative = np.where(large, (after - before) / np.where(large, before, 1), np.nan)
    reason = np.select(
        [observed <= 0, large, (before <= 0) & (after <= 0), before <= 0],
        ["not observed in both years", "", "in neither year", "none in the first year"],
        f"below {MINIMUM_SHARE:.1%} in the first year",
    )
    return relative, reason


def _areas(found: Zonal) -> pd.DataFrame:
    years, legend = found.series.years, found.series.legend
    zones, classes = len(found.areas), len(legend.classes)
    shares = _share(found.areas[..., 1:], found.observed[..., None])

    def spread(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, (zones, len(years), classes)).ravel()

    return pd.DataFrame(
        {
            ZONE: pd.Categorical.from_codes(
                spread(np.arange(zones)[:, None, None]), categories=pd.Index(found.zones.frame[ZONE])
            ),
            "year": spread(np.array(years)[:, None]),
            "class": pd.Categorical.from_codes(spread(np.arange(classes)), categories=pd.Index(legend.names)),
            "mapped_hectares": found.areas[..., 1:].ravel(),
            "mapped_share": shares.ravel(),
            "observed_hectares": spread(found.observed[..., None]),
            "covered_share": spread(covered(found)[..., None]),
        }
    )


def _changes(found: Zonal) -> pd.DataFrame:
    years, legend = found.series.years, found.series.legend
    before, after, _ = found.both()
    observed = before.sum(axis=1, keepdims=True)
    relative, reason = relative_change(before, after, np.broadcast_to(observed, before.shape))
    shares = _share(before, observed), _share(after, observed)
    # 1 is the largest gain of that class among the zones; zones without pixels in both years have no rank.
    change = np.where(observed > 0, after - before, np.nan)
    ranks = pd.DataFrame(-change).rank(method="min").to_numpy()
    zones, classes = before.shape
    return pd.DataFrame(
        {
            ZONE: np.repeat(found.zones.frame[ZONE].to_numpy(), classes),
            "class": np.tile(np.array(legend.names), zones),
            "from_year": years[0],
            "to_year": years[-1],
            "from_hectares": before.ravel(),
            "to_hectares": after.ravel(),
            "change_hectares": change.ravel(),
            "from_share": shares[0].ravel(),
            "to_share": shares[1].ravel(),
            "change_points": 100 * (shares[1] - shares[0]).ravel(),
            "relative_change": relative.ravel(),
            "relative_missing": reason.ravel(),
            "rank": pd.array(ranks.ravel()).astype("Int32"),
        }
    )


def _transitions(found: Zonal) -> pd.DataFrame:
    years, side = found.series.years, found.areas.shape[-1]
    names = np.array([UNOBSERVED, *found.series.legend.names])
    return pd.DataFrame(
        {
            ZONE: found.zones.frame[ZONE].to_numpy()[found.pairs // side**2],
            "from_year": years[0],
            "to_year": years[-1],
            "from_class": names[found.pairs // side % side],
            "to_class": names[found.pairs % side],
            "mapped_hectares": found.pair_areas,
        }
    )


def _zones(found: Zonal, ratio: Ratio | None) -> geopandas.GeoDataFrame:
    """One row a zone; columns of ours that the file has, too, keep the file's under `{name}_given`."""
    years, names = found.series.years, found.series.legend.names
    before, _, kept = found.both()
    observed, shares = before.sum(axis=1), _share(found.areas[..., 1:], found.observed[..., None])
    cover = covered(found)
    least = cover.min(axis=1)
    changed = observed - kept.sum(axis=1)
    ours: dict[str, object] = {
        "zone_hectares": found.zones.hectares,
        "coverage": np.select([least >= _WHOLE, cover.max(axis=1) <= 0], [COVERED, OUTSIDE], PARTLY),
        **{f"covered_share_{year}": cover[:, k] for k, year in enumerate(years)},
    }
    if len(years) > 1:
        ours |= {
            "covered_share_both": np.minimum(_share(observed, found.zones.hectares, nothing=0.0), 1.0),
            "changed_hectares": np.where(observed > 0, np.maximum(changed, 0), np.nan),
            "changed_share": _share(np.maximum(changed, 0), observed),
        }
    for k, year in enumerate(years):
        ours |= {f"{name}_share_{year}": shares[:, k, j] for j, name in enumerate(names)}
    if ratio is not None:
        over, under = names.index(ratio.over), names.index(ratio.under)
        for k, year in enumerate(years):
            base = found.areas[:, k, 1 + under]
            large = (base > 0) & (base >= MINIMUM_SHARE * found.observed[:, k])
            value = np.where(large, found.areas[:, k, 1 + over] / np.where(large, base, 1), np.nan)
            ours[f"{ratio.over}_to_{ratio.under}_{year}"] = value
    given = found.zones.frame
    given = given.rename(columns={name: f"{name}_given" for name in given.columns if name in ours})
    table = pd.concat([given.drop(columns="geometry"), pd.DataFrame(ours, index=given.index)], axis=1)
    return geopandas.GeoDataFrame(table, geometry=given.geometry, crs=given.crs)


def _share(part: np.ndarray, whole: np.ndarray, nothing: float = np.nan) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, nothing), where=whole > 0)
