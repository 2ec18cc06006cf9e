"""Publishing change: every place on its own, then the area of interest from the counts of its places.

A place whose item stands with the same fingerprint (maps, years, area, options, software) is skipped, so that a run
that was stopped goes on where it was. The item's JSON is written last: it is the only commit.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.assets import COG, AssetFile
from catalog.errors import BadInput, LandloomError, StoreError
from catalog.items import FINGERPRINT, fingerprint_of
from catalog.manifest import digest
from catalog.store import Store
from services.change.blocks import MapUnreadable, opened
from services.change.items import ItemAsset, ItemName, add_to_collection, build_change_item
from services.change.page import area_files
from services.change.rasters import ChangeMaps
from services.change.series import Place, Series
from services.change.settings import Settings
from services.change.tables import end_matrix, summary
from services.change.tally import Tally, tally_place

PARQUET = "application/vnd.apache.parquet"
_COUNTS = {
    "transition_counts": "Counted transitions: pixels and hectares by years, classes, persistence, nearness to an edge",
    "persistence_counts": "Counted persistence: pixels and hectares by kind, year of change, number of changes",
}
_MAPS = {
    "transition": "Transition from the first year to the last",
    "persistence": "Whether change lasts",
    "change_year": "Year in which the last class was first seen without a break; 0 = never changed",
    "changes": "Number of changes between observed years; 255 = not observed in the first or last year",
}


@dataclass
class Account:
    """What became of each place and of the area: planned = published + skipped + failed."""

    planned: int
    published: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Made before from the same maps and options."""
    failed: dict[str, str] = field(default_factory=dict)
    """Place to reason; the area's figures are without it, and say so."""
    item: str = ""
    """Key of the area's item in the store."""


def publish_change(
    store: Store, series: Series, settings: Settings, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Account:
    """Publish the change of a series in the collection `lulc-change`.

    Args:
        store: the output.
        series: the maps.
        settings: how.
        on_progress: called with the places done and planned.

    Raises:
        BadInput: no place could be counted; with the reasons.
        StoreError: the output cannot be written.
    """
    account = Account(len(series.places) + len(series.excluded) + 1, failed=dict(series.excluded))
    tallies, items = [], {}
    for done, place in enumerate(series.places):
        on_progress(done, len(series.places))
        name = ItemName(place.name, f"{settings.name}-{_label(series)}")
        try:
            made, item = _publish_place(store, series, place, settings, name)
        except StoreError:
            raise
        except LandloomError as error:
            account.failed[place.name] = str(error)
            continue
        (account.published if made else account.skipped).append(name.id)
        items[name.key] = item
        tallies.append(_counted(store, name, item))
    on_progress(len(series.places), len(series.places))
    if not tallies:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(account.failed.items())[:5])
        raise BadInput(f"No place could be counted. {reasons}")
    name = ItemName(settings.name, _label(series))
    made, items[name.key] = _publish_area(store, series, settings, Tally.together(tallies), items, account.failed)
    (account.published if made else account.skipped).append(name.id)
    account.item = name.key
    add_to_collection(store, items)
    return account


def _label(series: Series) -> str:
    years = [str(year) for year in series.years]
    return "-".join(years) if len(years) <= 3 else f"{years[0]}-{years[-1]}-{len(years)}y"


def _publish_place(
    store: Store, series: Series, place: Place, settings: Settings, name: ItemName
) -> tuple[bool, dict[str, Any]]:
    """Whether the item was made, and its JSON."""
    content, there = store.read_versioned(name.key)
    fingerprint = _fingerprint(series, place, settings)
    if content is not None and fingerprint_of(content) == fingerprint and not settings.overwrite:
        return False, json.loads(content)
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        folder = Path(temporary)
        with opened(series, place) as maps:
            written = ChangeMaps(maps, folder, settings.minimum_mapping_unit)
            tally = tally_place(maps, written.write)
            if tally.persistence.empty:
                raise MapUnreadable("no pixel's centre lies in the area of interest")
            cogs, grid = written.finish(), _projection(maps.crs, maps.transform, maps.shape)
        assets = [
            ItemAsset(
                AssetFile.of(one.name, one.path),
                COG,
                _MAPS[one.name],
                fields=(
                    ("data_type", one.dtype),
                    ("nodata", one.nodata),
                    *((("classification:classes", one.classes),) if one.classes else ()),
                ),
            )
            for one in cogs
        ]
        for key, table in zip(_COUNTS, (tally.transitions, tally.persistence), strict=True):
            table.to_parquet(folder / f"{key}.parquet")
            assets.append(ItemAsset(AssetFile.of(key, folder / f"{key}.parquet"), PARQUET, _COUNTS[key]))
        matrix = end_matrix(tally, series.legend, series.years)
        item = build_change_item(
            name,
            fingerprint=fingerprint,
            geometry=_part(place.geometry, series.area),
            years=series.years,
            title=f"Land-cover change {place.name} {series.years[0]} to {series.years[-1]}",
            lineage=f"{len(series.years)} maps compared pixel by pixel; areas on the ellipsoid, before any sieving",
            properties={**grid, **_told(series, settings), **summary(tally, matrix)},
            assets=assets,
            sources=[(_href(store, one.source), one.id) for one in place.maps],
        )
        _write(store, name, fingerprint, assets, folder, item, (content, there))
    return True, json.loads(item)


def _publish_area(
    store: Store,
    series: Series,
    settings: Settings,
    tally: Tally,
    items: dict[str, dict[str, Any]],
    failed: dict[str, str],
) -> tuple[bool, dict[str, Any]]:
    name = ItemName(settings.name, _label(series))
    content, there = store.read_versioned(name.key)
    excluded = {place: {"reason": reason, **_hectares(series, place)} for place, reason in sorted(failed.items())}
    themes = {key: one.model_dump() for key, one in settings.themes.items()}
    told = _told(series, settings)
    fingerprint = digest(
        {"places": [one["properties"][FINGERPRINT] for one in items.values()], "themes": themes, "excluded": excluded}
        | {"told": told, "software": version("landloom")}
        | {"degradation": settings.degradation.model_dump() if settings.degradation else None}
    )
    if content is not None and fingerprint_of(content) == fingerprint and not settings.overwrite:
        return False, json.loads(content)
    geometry = shapely.union_all([place.geometry for place in series.places if place.name not in failed])
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        folder, matrix = Path(temporary), end_matrix(tally, series.legend, series.years)
        assets = area_files(folder, settings, series, tally, list(excluded.items()))
        item = build_change_item(
            name,
            fingerprint=fingerprint,
            geometry=_part(geometry, series.area),
            years=series.years,
            title=f"Land-cover change of {settings.name}, {series.years[0]} to {series.years[-1]}",
            lineage=f"Counts of {len(items)} places added",
            properties={**told, **summary(tally, matrix), "landloom:excluded": excluded},
            assets=assets,
            sources=[
                *((f"../../../{key}", one["id"]) for key, one in items.items()),
                *((_href(store, one.source), one.id) for place in series.places for one in place.maps),
            ],
        )
        _write(store, name, fingerprint, assets, folder, item, (content, there))
    return True, json.loads(item)


def _write(
    store: Store,
    name: ItemName,
    fingerprint: str,
    assets: Sequence[ItemAsset],
    folder: Path,
    item: bytes,
    before: tuple[bytes | None, str | None],
) -> None:
    for one in assets:
        store.upload(f"{name.folder}/{fingerprint}/{one.file.file}", folder / one.file.file)
    if not store.write_if(name.key, item, before[1]):
        raise StoreError(f"Another run published {name.id} at the same moment. Run again.")
    if (old := fingerprint_of(before[0])) not in (None, fingerprint):
        store.delete(store.list(f"{name.folder}/{old}/"))


def _counted(store: Store, name: ItemName, item: dict[str, Any]) -> Tally:
    """What was counted of a published place."""
    tables = []
    for key in _COUNTS:
        href = item["assets"][key]["href"].removeprefix("./")
        tables.append(pd.read_parquet(io.BytesIO(store.read(f"{name.folder}/{href}"))))
    return Tally(*tables)


def _told(series: Series, settings: Settings) -> dict[str, Any]:
    """What every item says of how it was made and how far it can be trusted."""
    return {
        "landloom:parameters": {
            "years": list(series.years),
            "area": settings.name,
            "minimum_mapping_unit_hectares": settings.minimum_mapping_unit,
        },
        "landloom:source_accuracy": {"accuracy": settings.accuracy, "interval": settings.interval},
        "landloom:notes": [*series.notes, *settings.notes],
    }


def _fingerprint(series: Series, place: Place, settings: Settings) -> str:
    told = ("file:checksum", "updated", "created")
    maps = [
        [one.id, one.source, one.href, *(str(one.asset.get(key) or one.properties.get(key)) for key in told)]
        for one in place.maps
    ]
    area = hashlib.sha256(series.area.wkb).hexdigest() if series.area is not None else ""
    classes = [[one.value, one.name, one.title, one.color] for one in series.legend.classes]
    classes += [list(one) for one in series.legend.translated]
    return digest(
        {"maps": maps, "area": area, "classes": classes, "told": _told(series, settings)}
        | {"software": version("landloom"), "sieve": settings.minimum_mapping_unit}
    )


def _projection(crs: Any, transform: Any, shape: tuple[int, int]) -> dict[str, Any]:
    epsg = crs.to_epsg()
    code = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:code": None, "proj:wkt2": crs.to_wkt()}
    return {**code, "proj:shape": list(shape), "proj:transform": list(transform)[:6]}


def _part(geometry: BaseGeometry, area: BaseGeometry | None) -> BaseGeometry:
    """The part that lies in the area of interest, polygons alone."""
    parts = shapely.get_parts(geometry if area is None else geometry.intersection(area))
    return shapely.orient_polygons(shapely.union_all(parts[shapely.area(parts) > 0]))


def _hectares(series: Series, place: str) -> dict[str, float]:
    """How much of the area of interest is missing with a place."""
    found = {one.name: one.geometry for one in series.places} | series.excluded_ground
    part = _part(found[place], series.area)
    return {"hectares": round(abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(part)[0]) / 10_000, 1)}


def _href(store: Store, source: str) -> str:
    """Of a source item: relative where it lies in the same catalog, which may then be moved."""
    root = store.href("x").removesuffix("x")
    return f"../../../{source.removeprefix(root)}" if source.startswith(root) else source
