"""The products of one place: maps of change and what was counted, published as an item."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from catalog.assets import COG, AssetFile
from catalog.items import fingerprint_of
from catalog.manifest import digest
from catalog.store import Store
from services.change.blocks import MapUnreadable, opened
from services.change.items import ItemAsset, ItemName, build_item, part_in, source_href, write_item
from services.change.rasters import ChangeMaps
from services.change.series import Place, Series
from services.change.settings import Settings, told_of
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


def publish_place(
    store: Store, series: Series, place: Place, settings: Settings, name: ItemName
) -> tuple[bool, dict[str, Any]]:
    """Publish a place, unless its item stands with the same fingerprint.

    Returns:
        Whether it was made, and its JSON.

    Raises:
        MapUnreadable: a file is gone, or no pixel's centre lies in the area of interest.
        BadInput: its maps do not fit together.
        StoreError: the output cannot be written.
    """
    content, there = store.read_versioned(name.key)
    fingerprint = place_fingerprint(series, place, settings)
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
        item = build_item(
            name,
            fingerprint=fingerprint,
            geometry=part_in(place.geometry, series.area),
            years=series.years,
            title=f"Land-cover change {place.name} {series.years[0]} to {series.years[-1]}",
            lineage=f"{len(series.years)} maps compared pixel by pixel; areas on the ellipsoid, before any sieving",
            properties={**grid, **told_of(series, settings, place=True), **summary(tally, matrix)},
            assets=assets,
            sources=[(source_href(store, one.source), one.id) for one in place.maps],
        )
        write_item(store, name, fingerprint, assets, folder, item, (content, there))
    return True, json.loads(item)


def counted(store: Store, name: ItemName, item: dict[str, Any]) -> Tally:
    """What was counted of a published place: read from its item's files."""
    tables = []
    for key in _COUNTS:
        href = item["assets"][key]["href"].removeprefix("./")
        tables.append(pd.read_parquet(io.BytesIO(store.read(f"{name.folder}/{href}"))))
    return Tally(*tables)


def place_fingerprint(series: Series, place: Place, settings: Settings) -> str:
    """Of all that decides what is published of a place."""
    area = hashlib.sha256(series.area.wkb).hexdigest() if series.area is not None else ""
    classes = [[one.value, one.name, one.title, one.color] for one in series.legend.classes]
    classes += [list(one) for one in series.legend.translated]
    return digest(
        {"maps": place.identity, "area": area, "classes": classes, "told": told_of(series, settings, place=True)}
        | {"software": version("landloom"), "sieve": settings.minimum_mapping_unit}
    )


def _projection(crs: Any, transform: Any, shape: tuple[int, int]) -> dict[str, Any]:
    epsg = crs.to_epsg()
    code = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:code": None, "proj:wkt2": crs.to_wkt()}
    return {**code, "proj:shape": list(shape), "proj:transform": list(transform)[:6]}
