"""Publishing change: every place on its own, then the area of interest from the counts of its places.

So the collection `lulc-change` has two kinds of items: of a place (`33UUU-area-2019-2021`: the maps of change, and what
was counted), and of the area of interest (`area-2019-2021`: tables and figures).

A place whose item stands with the same fingerprint (maps, years, area, options, software) is skipped, so that a run
that was stopped goes on where it was. The item's JSON is written last: it is the only commit.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from catalog.items import FINGERPRINT, fingerprint_of, published_fingerprint
from catalog.manifest import digest
from catalog.products import CHANGE, add_to_collection
from catalog.store import Store
from services.change.items import (
    ItemName,
    build_item,
    part_in,
    source_href,
    write_item,
)
from services.change.page import area_files
from services.change.place import counted, place_fingerprint, publish_place
from services.change.runs import Account, Progress, Run, in_process
from services.change.series import Place, Series
from services.change.settings import Settings, told_of
from services.change.tables import end_matrix, intervals_of_ends, summary
from services.change.tally import Tally


@dataclass
class ChangeAccount(Account):
    """What became of each place and of the area, by their items' IDs."""

    items: list[str] = field(default_factory=list)
    """Keys in the store of the items of places that could be counted, and last of the area's."""

    @property
    def item(self) -> str:
        """Key of the area's."""
        return self.items[-1]


def publish_change(
    store: Store,
    series: Series,
    settings: Settings,
    on_progress: Progress = lambda done, total: None,
    run: Run = in_process,
) -> ChangeAccount:
    """Publish the change of a series in the collection `lulc-change`.

    Args:
        store: the output.
        series: the maps.
        settings: how.
        on_progress: called with the places done and planned, of those that are not skipped.
        run: publishes the places.

    Raises:
        BadInput: no place could be counted; with the reasons.
        StoreError: the output cannot be written.
    """
    account = ChangeAccount(len(series.places) + len(series.excluded) + 1, failed=dict(series.excluded))
    work = PublishPlaces(store, series, settings)
    standing = work.standing(series.places)
    to_make = [place for place in series.places if settings.overwrite or place.name not in standing]
    skipped = {place.name for place in series.places} - {place.name for place in to_make}
    for outcome in run(work.alone(), to_make, on_progress):
        if outcome.failed:
            account.failed[outcome.place.name] = outcome.failed
    tallies: list[Tally] = []
    items: dict[str, dict[str, Any]] = {}
    for place in series.places:
        if place.name in account.failed:
            continue
        name = work.name(place)
        content, _ = store.read_versioned(name.key)
        if content is None or fingerprint_of(content) != place_fingerprint(series, place, settings):
            account.failed[place.name] = "its item is gone, or another run has replaced it: run again"
            continue
        (account.skipped if place.name in skipped else account.published).append(name.id)
        item = json.loads(content)
        # Added up at once, and no more kept than is needed: of thousands of places, what is held stays small.
        tallies = [Tally.together([*tallies, counted(store, name, item)])]
        kept = (FINGERPRINT, "start_datetime", "end_datetime", "updated")
        properties = {key: item["properties"][key] for key in kept}
        items[name.key] = {"id": item["id"], "bbox": item["bbox"], "properties": properties}
    if not tallies:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(account.failed.items())[:5])
        raise BadInput(f"No place could be counted. {reasons}")
    name = ItemName(CHANGE, settings.name, _label(series))
    made, items[name.key] = _publish_area(store, series, settings, tallies[0], items, account.failed)
    (account.published if made else account.skipped).append(name.id)
    account.items = list(items)
    add_to_collection(store, CHANGE, items)
    return account


@dataclass(frozen=True)
class PublishPlaces:
    """The work of publishing places."""

    store: Store
    series: Series
    settings: Settings
    key: str = ""

    def alone(self) -> PublishPlaces:
        """The same without the series' places, since each is given to it; and with a key."""
        made = [place_fingerprint(self.series, place, self.settings) for place in self.series.places]
        key = f"{CHANGE.id}-{self.settings.name}-{digest({'places': made})}"
        return replace(self, series=replace(self.series, places=()), key=key)

    def name(self, place: Place) -> ItemName:
        """Of a place's item."""
        return ItemName(CHANGE, place.name, f"{self.settings.name}-{_label(self.series)}")

    def standing(self, places: Sequence[Place]) -> set[str]:
        """Names of the places that are published from the same maps with the same settings."""

        def stands(place: Place) -> bool:
            found = published_fingerprint(self.store, self.name(place).key)
            return found == place_fingerprint(self.series, place, self.settings)

        # A far store answers slowly.
        with ThreadPoolExecutor(16) as readers:
            return {place.name for place, there in zip(places, readers.map(stands, places), strict=True) if there}

    def __call__(self, place: Place) -> bytes:
        """Publish a place."""
        publish_place(self.store, self.series, place, self.settings, self.name(place))
        return b""


def _label(series: Series) -> str:
    years = [str(year) for year in series.years]
    return "-".join(years) if len(years) <= 3 else f"{years[0]}-{years[-1]}-{len(years)}y"


def _publish_area(
    store: Store,
    series: Series,
    settings: Settings,
    tally: Tally,
    items: dict[str, dict[str, Any]],
    failed: dict[str, str],
) -> tuple[bool, dict[str, Any]]:
    name = ItemName(CHANGE, settings.name, _label(series))
    content, there = store.read_versioned(name.key)
    ground = {one.name: one.geometry for one in series.places} | series.excluded_ground
    excluded = {
        place: {"reason": reason, "hectares": _geodesic(part_in(ground[place], series.area))}
        for place, reason in sorted(failed.items())
    }
    not_mapped = _not_mapped(series)
    themes = {key: one.model_dump() for key, one in settings.themes.items()}
    told = told_of(series, settings, place=False)
    fingerprint = digest(
        {"places": [one["properties"][FINGERPRINT] for one in items.values()], "themes": themes, "excluded": excluded}
        | {"told": told, "software": version("landloom")}
        | {"degradation": settings.degradation.model_dump() if settings.degradation else None}
        | {"uncertainty": settings.uncertainty.fingerprint()}
    )
    if content is not None and fingerprint_of(content) == fingerprint and not settings.overwrite:
        return False, json.loads(content)
    geometry = shapely.union_all([place.geometry for place in series.places if place.name not in failed])
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        folder, matrix = Path(temporary), end_matrix(tally, series.legend, series.years)
        assets = area_files(folder, settings, series, tally, list(excluded.items()), not_mapped)
        item = build_item(
            name,
            fingerprint=fingerprint,
            geometry=part_in(geometry, series.area),
            years=series.years,
            title=f"Land-cover change of {settings.name}, {series.years[0]} to {series.years[-1]}",
            lineage=f"Counts of {len(items)} place{'s' if len(items) > 1 else ''} added",
            properties={
                **told,
                **summary(tally, matrix),
                **intervals_of_ends(matrix, settings.uncertainty, settings.degradation),
                "landloom:excluded": excluded,
                "landloom:not_mapped_hectares": not_mapped,
            },
            assets=assets,
            sources=[
                *((f"../../../{key}", one["id"]) for key, one in items.items()),
                *(
                    (source_href(store, one.source), one.id)
                    for place in series.places
                    if place.name not in failed
                    for one in place.maps
                ),
            ],
        )
        write_item(store, name, fingerprint, assets, folder, item, (content, there))
    return True, json.loads(item)


def _geodesic(geometry: BaseGeometry) -> float:
    """Hectares of polygons, to one decimal."""
    return round(abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(geometry)[0]) / 10_000, 1)


def _not_mapped(series: Series) -> float:
    """Hectares of the area of interest where there is no map at all."""
    if series.area is None:
        return 0.0
    ground = [place.geometry for place in series.places] + list(series.excluded_ground.values())
    return _geodesic(part_in(series.area.difference(shapely.union_all(ground)), None))
