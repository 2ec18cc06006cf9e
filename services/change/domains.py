"""Zones within the sampled area: estimated from their own units where there are enough, else by what holds everywhere.

A zone is a *domain* of the sample. With 30 units or more in it, its shares of classes are ratios of two estimated
areas (Cochran 1977, *Sampling techniques*, section 5A.14), which no assumption about the map stands behind. With
fewer, the estimate is *synthetic* (Rao and Molina 2015, *Small area estimation*, section 3.2): each stratum is taken to
err in the zone as it does in the whole. Nothing in the data tells whether it does, and the interval does not cover it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import geopandas
import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict, Field
from rasterio.features import rasterize

from catalog.errors import BadInput
from services.change.blocks import MapUnreadable, opened
from services.change.estimation import Count, Estimate, Strata
from services.change.series import Series
from services.change.strata import cell_blocks

FEWEST_UNITS = 30
"""Of a zone, to be estimated from them alone."""
Method = Literal["direct", "synthetic", "not sampled"]


class Zone(BaseModel):
    """A zone, and what the maps have of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    hectares: float = Field(description="observed in all maps: what is sampled and estimated")
    unobserved: float = Field(description="hectares of the zone that are not: off the maps, no data or cloud")
    cells: dict[int, float] = Field(description="hectares by cell")


class ZoneEstimate(BaseModel):
    """One class in one zone, hectares."""

    model_config = ConfigDict(frozen=True)

    zone: str
    name: str
    mapped: float | None = Field(description="null where another map is assessed than the sample was drawn from")
    units: int = Field(description="interpreted units in the zone")
    method: Method
    area: Estimate | None = Field(description="null where nothing of the zone was sampled")
    net: Estimate | None = Field(description="net change between two years; null where there is one")


def count_zones(series: Series, zones: geopandas.GeoDataFrame, left_out: Sequence[str] = ()) -> list[Zone]:
    """What the maps have of each zone: pixels whose centres lie in it; where zones overlap, in the first by name.

    Args:
        series: of one or two years.
        zones: frame of `services.change.zones.read_zones`, dissolved.
        left_out: places that could not be read when the cells were counted.
    """
    size = len(series.legend.classes) ** len(series.years)
    hectares = np.zeros((len(zones), size))
    for place in series.places:
        if place.name in left_out:
            continue
        try:
            with opened(series, place) as maps:
                shapes = zones.to_crs(maps.crs).geometry.to_numpy()
                grid = maps.transform
            tree = shapely.STRtree(shapes)
            for part in cell_blocks(series, place):
                rows, cols = part.block.rows, part.block.cols
                own = grid @ type(grid).translation(cols.start, rows.start)
                height, width = part.seen.shape
                near = tree.query(shapely.box(*_bounds(own, height, width)))
                if not near.size or not part.cell.size:
                    continue
                # Later ones are drawn over earlier ones: the first by name is drawn last.
                drawn = [(shapes[k], int(k) + 1) for k in sorted(near, reverse=True)]
                zone = rasterize(drawn, part.seen.shape, transform=own, dtype="int32")[part.seen].astype(np.int64)
                inside = zone > 0
                cells = (zone[inside] - 1) * size + part.cell[inside]
                hectares += np.bincount(cells, part.hectares[inside], len(zones) * size).reshape(hectares.shape)
        except MapUnreadable as error:
            raise BadInput(f"{place.name} was counted, and can no longer be read: {error}. Start again.") from error
    whole = zones.to_crs("+proj=cea +ellps=WGS84").area.to_numpy() / 10_000
    return [
        Zone(
            name=str(name),
            hectares=float(own.sum()),
            unobserved=float(max(0.0, all_of - own.sum())),
            cells={int(cell): float(own[cell]) for cell in np.flatnonzero(own)},
        )
        for name, own, all_of in zip(zones["zone"], hectares, whole, strict=True)
    ]


def _bounds(grid: object, height: int, width: int) -> tuple[float, float, float, float]:
    x, y = grid @ (np.array([0, width, width, 0]), np.array([0, 0, height, height]))  # type: ignore[operator]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def zone_of_points(zones: geopandas.GeoDataFrame, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Number of the zone of each point, int64 `[n]`; -1 in none."""
    points, shapes = shapely.points(lon, lat), zones.geometry.to_numpy()
    number = np.full(len(points), -1)
    found, zone = shapely.STRtree(shapes).query(points, predicate="within")
    for point, one in sorted(zip(found, zone, strict=True), key=lambda pair: -pair[1]):
        number[point] = one
    return number


@dataclass(frozen=True)
class DomainSample:
    """A zone's part of a sample."""

    strata: Strata
    """Of the whole sample."""
    stratum: np.ndarray
    """Of each unit of the whole sample, int64 `[n]`."""
    inside: np.ndarray
    """Whether it lies in the zone, bool `[n]`."""
    hectares: np.ndarray
    """Of each stratum in the zone, float64 `[H]`."""

    @property
    def method(self) -> Method:
        """How the zone is estimated."""
        if not self.hectares.any():
            return "not sampled"
        return "direct" if self.inside.all() or self.inside.sum() >= FEWEST_UNITS else "synthetic"

    def area(self, is_class: np.ndarray) -> Estimate | None:
        """Hectares of the units `[n]` that are of a class; None where nothing was sampled."""
        if self.method == "not sampled":
            return None
        if self.method == "synthetic":
            own = self._strata_here()
            return own.share(self._count_here(is_class)).scaled(float(own.area.sum()))
        if self.inside.all():
            return self.strata.share(self._count(is_class)).scaled(float(self.hectares.sum()))
        share = self.strata.ratio(self._count(is_class), self._count(~is_class))
        return None if share is None else share.scaled(float(self.hectares.sum()))

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> Estimate | None:
        """Share of the units of `whole` that are also of `part`, bool `[n]` each; None where there are none."""
        if self.method == "synthetic":
            return self._strata_here().ratio(self._count_here(part & whole), self._count_here(whole & ~part))
        return self.strata.ratio(self._count(part & whole), self._count(whole & ~part))

    def relative(self, was: np.ndarray, becomes: np.ndarray) -> Estimate | None:
        """Change relative to before of units `[n]` that were and are of a class; None where none was."""
        if self.method == "synthetic":
            counts = self._count_here(becomes), self._count_here(was), self._count_here(was & becomes).units
            return self._strata_here().relative(*counts)
        return self.strata.relative(self._count(becomes), self._count(was), self._count(was & becomes).units)

    def net(self, was: np.ndarray, becomes: np.ndarray) -> Estimate | None:
        """Net change, hectares, of units `[n]` that were and are of a class; None where nothing was sampled."""
        gain, loss = becomes & ~was, was & ~becomes
        if self.method == "not sampled":
            return None
        if self.method == "synthetic":
            own = self._strata_here()
            return own.difference(self._count_here(gain), self._count_here(loss)).scaled(float(own.area.sum()))
        return self.strata.difference(self._count(gain), self._count(loss)).scaled(float(self.strata.area.sum()))

    def _count(self, what: np.ndarray) -> Count:
        """Units in the zone; where a stratum has no ground in it, none can be."""
        units = np.bincount(self.stratum[what & self.inside], minlength=len(self.hectares))
        # On a border, a pixel may be counted for one zone and its centre drawn in the other.
        return Count(units, (self.hectares > 0) | (units > 0))

    def _strata_here(self) -> Strata:
        here = self.hectares > 0
        names = tuple(np.array(self.strata.names)[here])
        return Strata(names, self.hectares[here], self.strata.units[here], self.strata.z)

    def _count_here(self, what: np.ndarray) -> Count:
        """Units anywhere, of the strata that have ground in the zone."""
        here = self.hectares > 0
        return Count(np.bincount(self.stratum[what], minlength=len(here))[here], np.ones(int(here.sum()), bool))
