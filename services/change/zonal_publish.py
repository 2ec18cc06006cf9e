"""Publishing zonal statistics: one item of the collection `lulc-zonal` for a file of zones and a series of maps."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import shapely

from catalog.assets import AssetFile
from catalog.errors import BadInput
from catalog.items import fingerprint_of
from catalog.manifest import digest
from catalog.products import ZONAL, add_to_collection
from catalog.store import Store
from services.change.items import (
    ItemAsset,
    ItemName,
    build_item,
    source_href,
    write_item,
)
from services.change.runs import Account, Progress, Run, in_process
from services.change.series import Series
from services.change.uncertainty import Uncertainty
from services.change.zonal import Zonal, count_zones, places_of
from services.change.zonal_figures import DRAWN, choropleth_png, composition_png, interactive_map
from services.change.zonal_tables import COVERED, OUTSIDE, PARTLY, TITLES, Ratio, zonal_tables
from services.change.zones import Zones

_PARQUET, _CSV, _PNG = "application/vnd.apache.parquet", "text/csv", "image/png"


@dataclass(frozen=True)
class ZonalSettings:
    """How zonal statistics are published."""

    name: str
    """Of the zones, in IDs."""
    shown: str = ""
    """Class of the choropleths; empty: the one that changes most."""
    ratio: Ratio | None = None
    crosswalk: str = ""
    """Name of the legend that all is told in; empty: that of the maps."""
    level: int | None = None
    """Of the tree of the maps' classes; None: as published."""
    uncertainty: Uncertainty = field(default_factory=Uncertainty)
    """What is known of the source maps' accuracy, and of the true figures."""
    overwrite: bool = False


@dataclass
class ZonalAccount(Account):
    """What became of each place that a zone lies on, and of the item that tells them all."""

    key: str = ""
    """Of the item in the store."""
    coverage: dict[str, int] = field(default_factory=dict)
    """Zones that are covered, partly covered, and outside."""
    notes: tuple[str, ...] = ()


def publish_zonal(
    store: Store,
    series: Series,
    zones: Zones,
    settings: ZonalSettings,
    on_progress: Progress = lambda done, total: None,
    run: Run = in_process,
) -> ZonalAccount:
    """Count zones and publish tables (GeoParquet, Parquet, CSV), figures (PNG) and an interactive map (HTML).

    Args:
        store: the output.
        series: the maps.
        zones: to be counted.
        settings: how.
        on_progress: called with the places done and planned.
        run: does the counting, place by place.

    Raises:
        BadInput: no zone lies on a map, or the class to show is none of the legend's.
        StoreError: the output cannot be written.
    """
    names = series.legend.names
    if settings.shown and settings.shown not in names:
        raise BadInput(f"--class {settings.shown!r} is none of the maps' classes. Give one of {', '.join(names)}.")
    series = replace(series, places=places_of(series, zones))
    name = ItemName(ZONAL, settings.name, "-".join(map(str, sorted({series.years[0], series.years[-1]}))))
    fingerprint = _fingerprint(series, zones, settings)
    content, there = store.read_versioned(name.key)
    if content is not None and fingerprint_of(content) == fingerprint and not settings.overwrite:
        known = json.loads(content)
        # One that lacks a place which could not be read is tried again.
        if known["properties"]["landloom:excluded"] == series.excluded:
            add_to_collection(store, ZONAL, {name.key: known})
            return _account(series, name.key, known, skipped=True)
    found = count_zones(series, zones, on_progress=on_progress, run=run)
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        folder = Path(temporary)
        assets, told = _files(folder, found, settings)
        item = build_item(
            name,
            fingerprint=fingerprint,
            geometry=_ground(zones),
            years=series.years,
            title=f"Land cover by zone, {settings.name}, {_span(series)}",
            lineage="Pixels counted by the share that lies in a zone, areas on the ellipsoid",
            properties=told,
            assets=assets,
            sources=[(source_href(store, one.source), one.id) for place in series.places for one in place.maps],
        )
        write_item(store, name, fingerprint, assets, folder, item, (content, there))
    written = json.loads(item)
    add_to_collection(store, ZONAL, {name.key: written})
    return _account(series, name.key, written, skipped=False)


def _files(folder: Path, found: Zonal, settings: ZonalSettings) -> tuple[list[ItemAsset], dict[str, Any]]:
    """The files, and what the item tells of them."""
    series, legend = found.series, found.series.legend
    tables = zonal_tables(found, settings.ratio, settings.uncertainty)
    zones, changes = tables["zones"], tables.get("changes")
    assets = list(_tables(folder, tables))
    note = f"Mapped areas. {settings.uncertainty.note}"
    shown = settings.shown or _most(tables)
    pictures = {
        "choropleth": choropleth_png(zones, changes, legend, shown, series.years[-1], note),
        "composition": composition_png(zones, legend, series.years, note),
    }
    alone = changes is None
    titles = {
        "choropleth": f"Share of {shown} in {series.years[-1]}" + ("" if alone else ", and its relative change"),
        "composition": f"Composition of the largest zones{'' if alone else ' in the first and the last year'}",
    }
    for key, content in pictures.items():
        (folder / f"{key}.png").write_bytes(content)
        # No overview: browsers lay these on the ground.
        roles = ("thumbnail",) if key == "choropleth" else ("data",)
        assets.append(ItemAsset(AssetFile.of(key, folder / f"{key}.png"), _PNG, titles[key], roles))
    counted = zones["coverage"].value_counts()
    coverage = {name: int(counted.get(name, 0)) for name in (COVERED, PARTLY, OUTSIDE)}
    notes = [*series.notes, *found.zones.notes, *settings.uncertainty.notes]
    if len(zones) <= DRAWN:
        (folder / "map.html").write_text(interactive_map(tables, legend, series.years, note))
        told = AssetFile.of("map", folder / "map.html")
        assets.append(ItemAsset(told, "text/html", "Interactive map of the zones", ("overview",)))
    else:
        notes.append(f"No interactive map: browsers do not draw {len(zones):,} zones ({DRAWN:,} at most).")
    return assets, {
        "landloom:parameters": {
            "class": shown,
            "ratio": None if settings.ratio is None else vars(settings.ratio),
            **({"crosswalk": settings.crosswalk} if settings.crosswalk else {}),
            **({} if settings.level is None else {"level": settings.level}),
        },
        "landloom:source_accuracy": settings.uncertainty.properties(),
        "landloom:zones": len(zones),
        "landloom:coverage": coverage,
        "landloom:excluded": found.failed,
        "landloom:notes": notes,
    }


def _tables(folder: Path, tables: dict[str, pd.DataFrame]) -> Iterator[ItemAsset]:
    for key, table in tables.items():
        table.to_parquet(folder / f"{key}.parquet")
        plain = table.drop(columns="geometry") if key == "zones" else table
        plain.to_csv(folder / f"{key}.csv", index=False, float_format="%.6f")
        yield ItemAsset(AssetFile.of(key, folder / f"{key}.parquet"), _PARQUET, TITLES[key])
        yield ItemAsset(AssetFile.of(f"{key}_csv", folder / f"{key}.csv"), _CSV, TITLES[key])


def _most(tables: dict[str, pd.DataFrame]) -> str:
    """The class that changes most; of one year, that there is most of."""
    name, column = ("changes", "change_hectares") if "changes" in tables else ("areas", "mapped_hectares")
    return str(tables[name][column].abs().groupby(tables[name]["class"], observed=True).sum().idxmax())


def _span(series: Series) -> str:
    return " to ".join(map(str, dict.fromkeys((series.years[0], series.years[-1]))))


def _account(series: Series, key: str, item: dict[str, Any], *, skipped: bool) -> ZonalAccount:
    told = item["properties"]
    failed = told["landloom:excluded"]
    made = [*(place.name for place in series.places if place.name not in failed), item["id"]]
    return ZonalAccount(
        planned=len(series.places) + len(series.excluded) + 1,
        published=[] if skipped else made,
        skipped=made if skipped else [],
        failed=failed,
        key=key,
        coverage=told["landloom:coverage"],
        notes=tuple(told["landloom:notes"]),
    )


def _ground(zones: Zones) -> shapely.Geometry:
    """The box round all zones: their outlines lie in the table."""
    return shapely.box(*zones.frame.total_bounds)


def _fingerprint(series: Series, zones: Zones, settings: ZonalSettings) -> str:
    maps = [one for place in series.places for one in place.identity]
    outlines = hashlib.sha256(b"".join(zones.frame.geometry.to_wkb())).hexdigest()
    columns = hashlib.sha256(zones.frame.drop(columns="geometry").to_csv().encode()).hexdigest()
    ratio = None if settings.ratio is None else vars(settings.ratio)
    classes = [[one.value, one.name, one.title, one.color] for one in series.legend.classes]
    return digest(
        {"maps": maps, "zones": [outlines, columns], "excluded": series.excluded}
        | {"uncertainty": settings.uncertainty.fingerprint()}
        | {"classes": classes, "notes": [*series.notes, *zones.notes]}
        | {"years": list(series.years), "ratio": ratio, "class": settings.shown, "software": version("landloom")}
    )
