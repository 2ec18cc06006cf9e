"""Where radar scenes come from, and which of them are used beside the optical looks of a tile-year."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput, SceneUnreadable
from catalog.radar import POLARISATIONS, RadarScene, radar_from_item
from catalog.scenes import Exclusion
from catalog.sources import KNOWN_APIS, Source, StacApi, open_source

PASSES = 2
"""Of one track that are read in a month, at most: with 4.4 looks each, and the filter's window, speckle is small
against what classes differ by, and every further pass costs as much to read as a band of every optical look."""
_COLLECTIONS = ("sentinel-1-rtc",)
Month = tuple[int, int]


def open_radar(source: str, base: str = "") -> Source:
    """A source of terrain-corrected Sentinel-1.

    Args:
        source: `planetary-computer`, a STAC API's URL (its collection `sentinel-1-rtc`), or a static catalog.
        base: folder that a relative path starts from, by default the current one.

    Raises:
        BadInput: no such thing, or a known source that has none.
        SourceUnavailable: it does not answer.
    """
    if source in KNOWN_APIS and source != "planetary-computer":
        raise BadInput(
            f"--radar {source!r} has no terrain-corrected Sentinel-1. Give planetary-computer, a STAC API's URL with "
            f"the collection {_COLLECTIONS[0]}, or a static catalog."
        )
    known = KNOWN_APIS.get(source, StacApi(url=source))
    return open_source(source, known.model_copy(update={"collections": _COLLECTIONS}), base)


def search_radar(
    source: Source, geometry: BaseGeometry, months: Collection[Month]
) -> tuple[list[RadarScene], list[Exclusion]]:
    """The radar scenes that touch a geometry (longitude, latitude) from the first of some months to the last.

    Returns:
        Scenes in order of time, and the items that are none.

    Raises:
        BadInput: the source has items, but none with VV and VH.
        SourceUnavailable: it does not answer.
    """
    start = datetime(*min(months), 1, tzinfo=UTC)
    # From the 28th four days lead into the next month, whatever the month.
    end = (datetime(*max(months), 28, tzinfo=UTC) + timedelta(days=4)).replace(day=1) - timedelta(seconds=1)
    scenes, excluded, without = list[RadarScene](), list[Exclusion](), 0
    items = source.items(geometry, start, end)
    for item, href in items:
        try:
            scenes.append(radar_from_item(item, href, source.signer))
        except SceneUnreadable as error:
            without += "without polarisation" in str(error)
            excluded.append(Exclusion(scene=item["id"], reason=str(error)))
    excluded += [Exclusion(scene=name, reason="without a geometry") for name in source.nowhere]
    if items and without == len(items):
        raise BadInput(
            f"Radar source {source.name!r} lacks {' or '.join(POLARISATIONS)}: {excluded[0].scene} is "
            f"{excluded[0].reason}. Give a source of terrain-corrected Sentinel-1 that has both, as "
            "planetary-computer."
        )
    return sorted(scenes, key=lambda scene: (scene.datetime, scene.id)), excluded


def choose_radar(
    scenes: Sequence[RadarScene], months: Collection[Month], channels: Iterable[str]
) -> tuple[list[RadarScene], list[Exclusion]]:
    """Those that a network's channels need: `PASSES` overpasses a month of each track, spread evenly.

    Args:
        scenes: in order of time.
        months: of the optical looks.
        channels: of the network, as `VV_ascending`.

    Returns:
        Scenes in order of time, and those left out with the reason.
    """
    orbits = {channel.partition("_")[2] for channel in channels}
    tracks: dict[tuple, dict[str, list[RadarScene]]] = defaultdict(lambda: defaultdict(list))
    excluded = []
    for scene in scenes:
        if scene.orbit not in orbits:
            reason = f"seen on a {scene.orbit} orbit, while the network takes {' and '.join(sorted(orbits))}"
        elif scene.month not in months:
            reason = "in a month without an optical look"
        else:
            # Where the track is not told, an overpass may be the only one over its ground: it is a track of its own.
            track = scene.overpass if scene.track is None else scene.track
            tracks[scene.month, scene.orbit, track][scene.overpass].append(scene)
            continue
        excluded.append(Exclusion(scene=scene.id, reason=reason))
    chosen = []
    for overpasses in tracks.values():
        names = list(overpasses)
        taken = {names[k] for k in np.linspace(0, len(names) - 1, min(PASSES, len(names))).round().astype(int)}
        for name, members in overpasses.items():
            if name in taken:
                chosen += members
            else:
                reason = f"beyond {PASSES} overpasses of its track in a month"
                excluded += [Exclusion(scene=scene.id, reason=reason) for scene in members]
    return sorted(chosen, key=lambda scene: (scene.datetime, scene.id)), excluded
