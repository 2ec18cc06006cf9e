"""From scenes to observations: what was seen in one overpass counts once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import shapely
from shapely.geometry.base import BaseGeometry

from catalog.grid import RESOLUTION
from catalog.scenes import Datatake, Exclusion, Scene

_SAME_FOOTPRINT = 0.9
"""Overlap (intersection over union) from which two products of one tile are taken for the same data."""


def group_datatakes(
    scenes: Sequence[Scene], tile: str, gsd: int = RESOLUTION
) -> tuple[list[Datatake], list[Exclusion]]:
    """Group scenes by datatake for one tile.

    Neighbours of a tile stay, since they fill its halo, and so do both halves of a product that was cut in two. Of
    the same data only the newest processing stays; of a tile seen as L2A and L1C only L2A. Scenes whose pixels are
    larger than those wanted are left out.

    Args:
        scenes: found over the tile and its surroundings.
        tile: its name; its own scenes come first in each datatake.
        gsd: metres a pixel of what is made from them.

    Returns:
        Datatakes in order of time, and the scenes left out.
    """
    excluded: list[Exclusion] = []
    level = "L2A" if any(scene.level == "L2A" for scene in scenes) else "L1C"
    together: dict[str, list[Scene]] = defaultdict(list)
    for scene in sorted(scenes, key=lambda scene: (scene.tile != tile, scene.tile or "", scene.id)):
        if scene.level != level:
            excluded.append(Exclusion(scene=scene.id, reason=f"{scene.level}, while there are {level} scenes"))
        elif scene.gsd > gsd:
            excluded.append(Exclusion(scene=scene.id, reason=f"pixels of {scene.gsd} m, larger than {gsd} m"))
        else:
            together[scene.datatake].append(scene)
    datatakes = []
    for name, members in together.items():
        newest, older = _newest(members)
        excluded += [Exclusion(scene=scene.id, reason="older processing of the same data") for scene in older]
        datatakes.append(Datatake(id=name, datetime=min(scene.datetime for scene in newest), scenes=tuple(newest)))
    return sorted(datatakes, key=lambda datatake: (datatake.datetime, datatake.id)), excluded


def footprint_of(datatake: Datatake) -> BaseGeometry:
    """The ground that its scenes cover together, longitude and latitude."""
    return shapely.union_all([scene.outline for scene in datatake.scenes])


def _newest(members: Sequence[Scene]) -> tuple[list[Scene], list[Scene]]:
    """Keep the newest processing of each piece of data, in the given order."""
    kept: list[Scene] = []
    older: list[Scene] = []
    for scene in sorted(members, key=_age, reverse=True):
        (older if any(_same_data(scene, one) for one in kept) else kept).append(scene)
    return [scene for scene in members if any(scene is one for one in kept)], older


def _age(scene: Scene) -> tuple[float, str, str]:
    return float(scene.baseline or 0), scene.processed or "", scene.id


def _same_data(one: Scene, other: Scene) -> bool:
    if one.tile != other.tile:
        return False
    if one.datastrip and other.datastrip:
        return one.datastrip == other.datastrip
    if one.footprint == other.footprint:
        return True
    shared = one.outline.intersection(other.outline).area
    return shared > _SAME_FOOTPRINT * one.outline.union(other.outline).area
