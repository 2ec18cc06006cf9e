"""Plan: a tile-year with its scenes, to be written down as a manifest before a pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict, Field
from shapely.geometry.base import BaseGeometry

from catalog.datatakes import footprint_of, group_datatakes
from catalog.errors import BadInput
from catalog.grid import RESOLUTION, Tile, block, blocks_intersecting, owned_geometry
from catalog.items import published_fingerprint
from catalog.legend import Legend
from catalog.manifest import Manifest, Period, digest, item_folder, item_key
from catalog.model import ModelSpec
from catalog.radar import RadarScene
from catalog.radar_source import choose_radar, search_radar
from catalog.scenes import Datatake, Exclusion
from catalog.season import FEWEST_LOOKS, check_bands
from catalog.second_stage import check_second_stage
from catalog.sources import Source
from catalog.store import Store

HALO_DEGREES = 0.01
"""About 1 km: scenes this near a tile may fill the halo round its blocks."""
ALREADY_PUBLISHED = "already published"
_GRID = 20
"""Points along a tile's side at which looks are counted when scenes are chosen."""
_ROUNDING = 1e-10
"""Square degrees, about a square metre: a neighbour's product that shares no more with a tile only touches it."""


class Settings(BaseModel):
    """What is the same for all tile-years of a run."""

    model_config = ConfigDict(frozen=True)

    model: ModelSpec
    legend: Legend
    max_scenes: int = 24
    max_cloud: float = 100.0
    min_observations: int = 1
    scores: bool = False
    overwrite: bool = False
    # Left out where not asked for, so that a map planned without them is known again.
    seasons: bool = Field(default=False, exclude_if=lambda asked: not asked)
    second_stage: ModelSpec | None = Field(default=None, exclude_if=lambda spec: spec is None)

    def check(self) -> None:
        """Refuse values that make no map.

        Raises:
            BadInput: naming the value.
        """
        if not 1 <= self.max_scenes <= 1000:
            raise BadInput(f"--max-scenes {self.max_scenes} is not possible. Give 1 to 1000 datatakes a tile-year.")
        if not 0 <= self.max_cloud <= 100:
            raise BadInput(f"--max-cloud {self.max_cloud:g} is not a percentage. Give 0 to 100.")
        if not 1 <= self.min_observations <= self.max_scenes:
            raise BadInput(
                f"--min-observations {self.min_observations} is not possible. "
                f"Give 1 to --max-scenes ({self.max_scenes})."
            )
        self.legend.codes(self.model.classes)
        if self.model.first is not None:
            raise BadInput(f"Network {self.model.id} is a second stage: it sees no scene. Give it as --second-stage.")
        if self.second_stage:
            check_second_stage(self.second_stage, self.model)
        if self.seasons or self.second_stage:
            check_bands(self.model.bands)


@dataclass(frozen=True)
class Planned:
    """One tile-year of the request: either a manifest to work on, or why there is none."""

    tile: str
    period: Period
    manifest: Manifest | None
    skipped: str = ""
    """Reason: already published, or nothing to map it from."""
    refused: str = ""
    """Reason: published with other settings, and overwriting was not allowed."""

    @property
    def id(self) -> str:
        """The tile-year's name, `48QUE-2020`."""
        return f"{self.tile}-{self.period.label}"


def plan_tile(
    tile: Tile, geometry: BaseGeometry | None, period: Period, source: Source, store: Store, settings: Settings
) -> Planned:
    """Plan one tile-year.

    What was planned before for the same request is taken up as it stands, without a search, so that a resumed run
    never works on another list of scenes. A new search covers the whole tile, whatever part of it is asked for, so
    that the scenes do not depend on the part. With a source of radar its scenes are searched for the months of the
    looks that were chosen.

    Raises:
        BadInput: the source lacks what is needed, or its pixels are larger than the map's.
        SourceUnavailable: it does not answer.
    """
    blocks = blocks_intersecting(tile, geometry)
    if not blocks:
        return Planned(tile.name, period, None, skipped="the tile owns no pixel of the area")
    asked = {"source": source.name, **({"radar": source.radar.name} if source.radar else {})}
    request = digest({**asked, **settings.model_dump(mode="json", exclude={"overwrite"})})
    published, pending = known_manifests(store, tile.name, period, tile.resolution)
    if published and published.request == request and not settings.overwrite:
        return _extended(published, tile, blocks)
    for manifest in pending:
        if manifest.request == request and manifest.requested == blocks:
            return Planned(tile.name, period, manifest)
    whole = owned_geometry(tile)
    found = source.search(whole.buffer(HALO_DEGREES), period.start, period.end, settings.model.optical.bands)
    if found.scenes and all(scene.gsd > tile.resolution for scene in found.scenes):
        raise BadInput(
            f"Source {source.name!r} has pixels of {found.scenes[0].gsd} m ({found.scenes[0].id}), and network "
            f"{settings.model.id} makes maps of {tile.resolution} m. Give --model a network of "
            f"{found.scenes[0].gsd} m, as unet-30m, or another source."
        )
    datatakes, excluded = group_datatakes(found.scenes, tile.name, tile.resolution)
    chosen, left_out = choose_datatakes(datatakes, tile, whole, settings.max_scenes, settings.max_cloud)
    excluded = [*found.excluded, *excluded, *left_out]
    if not chosen:
        reasons = sorted({exclusion.reason for exclusion in excluded})
        return Planned(
            tile.name, period, None, skipped="no usable scene" + (f" ({'; '.join(reasons[:3])})" if reasons else "")
        )
    if (settings.seasons or settings.second_stage) and (reason := _no_season(chosen)):
        return Planned(tile.name, period, None, refused=reason)
    touched = _touched(tile, blocks, chosen)
    if not touched:
        return Planned(tile.name, period, None, skipped="no scene touches the area")
    backscatter, unused = _radar_beside(chosen, source.radar, whole, settings.model)
    manifest = Manifest(
        request=request,
        tile=tile.name,
        period=period,
        requested=blocks,
        blocks=touched,
        datatakes=tuple(chosen),
        model=settings.model,
        legend=settings.legend,
        min_observations=settings.min_observations,
        scores=settings.scores,
        seasons=settings.seasons,
        second_stage=settings.second_stage,
        software=version("landloom"),
        excluded=(*excluded, *unused),
        radar=tuple(backscatter),
    )
    if published and published.recipe == manifest.recipe:
        return _extended(published, tile, blocks)
    if published is None or settings.overwrite:
        return Planned(tile.name, period, manifest)
    return Planned(
        tile.name,
        period,
        None,
        refused=(
            f"published from another manifest (fingerprint {published.fingerprint}, now {manifest.fingerprint}): "
            "other scenes, network, legend or options. Pass --overwrite to replace it, or another --out"
        ),
    )


def _radar_beside(
    datatakes: list[Datatake], radar: Source | None, whole: BaseGeometry, model: ModelSpec
) -> tuple[list[RadarScene], list[Exclusion]]:
    """The radar scenes of the months of some datatakes, and those left out."""
    if radar is None:
        return [], []
    months = {(datatake.datetime.year, datatake.datetime.month) for datatake in datatakes}
    scenes, excluded = search_radar(radar, whole.buffer(HALO_DEGREES), months)
    chosen, left_out = choose_radar(scenes, months, model.radar)
    return chosen, [*excluded, *left_out]


def _extended(published: Manifest, tile: Tile, blocks: tuple[int, ...]) -> Planned:
    """Nothing to do where the published map covers the area; else the tile-year anew, with both areas."""
    if set(blocks) <= set(published.requested):
        return Planned(published.tile, published.period, None, skipped=ALREADY_PUBLISHED)
    together = tuple(sorted({*blocks, *published.requested}))
    larger = {"requested": together, "blocks": _touched(tile, together, list(published.datatakes))}
    return Planned(published.tile, published.period, Manifest.model_validate({**published.model_dump(), **larger}))


def _touched(tile: Tile, blocks: tuple[int, ...], datatakes: list[Datatake]) -> tuple[int, ...]:
    """The blocks that any scene touches."""
    whole, footprints = owned_geometry(tile), [footprint_of(datatake) for datatake in datatakes]
    if any(footprint.covers(whole) for footprint in footprints):
        return blocks
    ground = shapely.union_all(footprints)
    return tuple(n for n in blocks if owned_geometry(tile, block(n, tile.resolution).window).intersects(ground))


def _no_season(chosen: list[Datatake]) -> str:
    """Why these datatakes show no season; empty if they show one."""
    months = sorted({f"{datatake.datetime:%Y-%m}" for datatake in chosen})
    if len(months) >= FEWEST_LOOKS:
        return ""
    return (
        f"no season can be told from {len(chosen)} datatakes in {len(months)} months ({', '.join(months)}): at least "
        f"{FEWEST_LOOKS} months are needed. Give a longer period, or map without --seasons and --second-stage"
    )


def known_manifests(
    store: Store, tile: str, period: Period, gsd: int = RESOLUTION
) -> tuple[Manifest | None, list[Manifest]]:
    """The manifest that the published tile-year was made from, if any, and those written but not published."""
    fingerprint = published_fingerprint(store, item_key(tile, period, gsd))
    published, pending = None, []
    for key in store.list(f"{item_folder(tile, period, gsd)}/"):
        if key.endswith("/manifest.json"):
            manifest = Manifest.model_validate_json(store.read(key))
            if manifest.fingerprint == fingerprint:
                published = manifest
            else:
                pending.append(manifest)
    return published, pending


def choose_datatakes(
    datatakes: list[Datatake], tile: Tile, whole: BaseGeometry, max_scenes: int, max_cloud: float
) -> tuple[list[Datatake], list[Exclusion]]:
    """Choose the least cloudy datatakes, spread over months and over the parts of the tile.

    Greedy: each step takes the datatake that adds most, where a clear look at a place counts
    1 / ((1 + clear looks taken there in the same month) (1 + clear looks taken there in all)²). So the second look in
    a month is worth half of the first in another month, and places that few orbits see are served before places
    seen often get one more look: no part of a tile is left without data for the sake of another.

    Args:
        datatakes: candidates, in order of time.
        tile: that is to be mapped.
        whole: the part of it that it owns, longitude and latitude.
        max_scenes: how many to take at most.
        max_cloud: per cent; those above are left out.

    Returns:
        The chosen ones in order of time, and the others with the reason.
    """
    excluded: list[Exclusion] = []
    candidates: list[tuple[Datatake, BaseGeometry, float]] = []
    for datatake in datatakes:
        footprint = footprint_of(datatake)
        own = [scene for scene in datatake.scenes if scene.tile == tile.name] or list(datatake.scenes)
        cloud = sum(scene.cloud_cover for scene in own) / len(own)
        if footprint.intersection(whole).area <= _ROUNDING:
            reason = "touches only the halo of the tile"
        elif cloud > max_cloud:
            reason = f"cloudier than --max-cloud {max_cloud:g} %"
        else:
            candidates.append((datatake, footprint, cloud))
            continue
        excluded += [Exclusion(scene=scene.id, reason=reason) for scene in datatake.scenes]
    if len(candidates) <= max_scenes:
        return [datatake for datatake, _, _ in candidates], excluded
    points = _points(whole, [footprint for _, footprint, _ in candidates])
    sees = np.stack([shapely.contains_xy(footprint, points) for _, footprint, _ in candidates])
    clear = np.array([1.01 - cloud / 100 for _, _, cloud in candidates])
    month = np.array([datatake.datetime.month - 1 for datatake, _, _ in candidates])
    looks = np.zeros((12, len(points)))
    left, taken = list(range(len(candidates))), list[int]()
    while left and len(taken) < max_scenes:
        served = (1 + looks.sum(axis=0)) ** 2
        gains = [clear[k] * (sees[k] / ((1 + looks[month[k]]) * served)).sum() for k in left]
        best = left.pop(int(np.argmax(gains)))
        taken.append(best)
        looks[month[best]] += clear[best] * sees[best]
    for k in left:
        reason = f"beyond --max-scenes {max_scenes}"
        excluded += [Exclusion(scene=scene.id, reason=reason) for scene in candidates[k][0].scenes]
    return [candidates[k][0] for k in sorted(taken)], excluded


def _points(whole: BaseGeometry, footprints: list[BaseGeometry]) -> np.ndarray:
    """Places at which looks are counted, `[N, 2]`: a grid over the tile, and one in each footprint that it misses."""
    west, south, east, north = whole.bounds
    lon, lat = np.meshgrid(np.linspace(west, east, _GRID + 2)[1:-1], np.linspace(south, north, _GRID + 2)[1:-1])
    points = np.column_stack([lon.ravel(), lat.ravel()])
    points = points[shapely.contains_xy(whole, points)]
    for footprint in footprints:
        if not shapely.contains_xy(footprint, points).any():
            inside = footprint.intersection(whole).representative_point()
            points = np.vstack([points, shapely.get_coordinates(inside)])
    return points
