"""The item of an accuracy report, in the collection `lulc-accuracy`, under a fingerprint of design and sample."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import shapely

from catalog.assets import AssetFile
from catalog.errors import BadInput
from catalog.items import fingerprint_of
from catalog.manifest import digest
from catalog.products import ACCURACY, add_to_collection
from catalog.store import Store
from services.change.accuracy_report import Report
from services.change.design import Design
from services.change.estimation import Estimate
from services.change.interpretation import SAMPLE_TYPES
from services.change.items import (
    ItemAsset,
    ItemName,
    build_item,
    source_href,
    write_item,
)

_ASSETS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "report.json": ("report", "application/json", "All figures, as data", ("data",)),
    "areas.csv": ("table", "text/csv", "Areas and accuracies: mapped and estimated, with intervals", ("data",)),
    "areas.png": ("thumbnail", "image/png", "Mapped and estimated areas", ("thumbnail",)),
    "report.html": ("page", "text/html", "All of it on one page", ("overview",)),
    "design.json": ("design", "application/json", "Sample design: maps, strata, units", ("metadata",)),
}


def publish_report(
    store: Store, report: Report, design: Design, files: Sequence[Path], sample: Path, name: str, *, overwrite: bool
) -> tuple[str, bool]:
    """Publish a report as a STAC item.

    Args:
        store: the output.
        report: what the sample tells.
        design: from which it was drawn.
        files: of the report, and the design's.
        sample: the interpreted sample.
        name: what is assessed, in the item's ID.
        overwrite: replace a report of another design or sample of the same name and years.

    Returns:
        The key of the item's JSON, and whether it was written; it is not if the same report stands there.

    Raises:
        BadInput: a name that is none, or another report stands there.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name):
        raise BadInput(f"--name {name!r} is no name. Give letters, digits and hyphens, as alta-floresta.")
    item_name = ItemName(ACCURACY, name, design.label)
    made_from = {"design": design.fingerprint, "sample": hashlib.sha256(sample.read_bytes()).hexdigest()}
    fingerprint = digest({**made_from, "maps": [one.href for one in report.maps], "software": report.software})
    content, there = store.read_versioned(item_name.key)
    before = fingerprint_of(content)
    if before == fingerprint and not overwrite:
        add_to_collection(store, ACCURACY, {item_name.key: json.loads(content or b"{}")})
        return item_name.key, False
    if before is not None and not overwrite:
        raise BadInput(
            f"{store.href(item_name.key)} is a report of another design or sample ({before}). Give another --name, or "
            "--overwrite."
        )
    assets = [_asset(file, file.name, *_ASSETS[file.name]) for file in files]
    # A sample may bear any name in its folder; here all lie together.
    suffix = sample.suffix.lower()
    assets.append(_asset(sample, f"sample{suffix}", "sample", SAMPLE_TYPES[suffix], "Interpreted sample", ("data",)))
    item = build_item(
        item_name,
        fingerprint=fingerprint,
        geometry=shapely.from_geojson(json.dumps(design.geometry)),
        years=design.years,
        title=report.title,
        lineage=(
            f"{report.interpreted} reference units in {len(design.strata)} strata, stratified estimation (Olofsson et "
            "al. 2014, Stehman 2014), intervals by Jeffreys' limits joined over the strata"
        ),
        properties=_properties(report, design, name),
        assets=assets,
        sources=[(source_href(store, one.href), one.id) for one in report.maps],
    )
    write_item(store, item_name, fingerprint, assets, sample.parent, item, (content, there))
    add_to_collection(store, ACCURACY, {item_name.key: json.loads(item)})
    return item_name.key, True


def _asset(path: Path, target: str, key: str, kind: str, title: str, roles: tuple[str, ...]) -> ItemAsset:
    return ItemAsset(replace(AssetFile.of(key, path), file=target), kind, title, roles, path=path)


def _properties(report: Report, design: Design, name: str) -> dict[str, Any]:
    last = report.years[-1].accuracy
    properties: dict[str, Any] = {
        # The item is as old as its report.
        "created": report.created,
        "updated": report.created,
        "processing:datetime": report.created,
        "processing:software": {"landloom": report.software},
        "landloom:design": {"fingerprint": design.fingerprint, "seed": design.seed, **design.options},
        "landloom:units": {"drawn": report.drawn, "interpreted": report.interpreted},
        "landloom:hectares": round(report.hectares, 4),
        "landloom:unobserved_hectares": round(report.unobserved, 4),
        "landloom:overall_accuracy": {str(one.year): _told(one.accuracy.overall) for one in report.years},
        "landloom:estimated_hectares": {one.name: _told(one.area) for one in last.classes},
        "landloom:mapped_hectares": {one.name: one.mapped for one in last.classes},
        "landloom:source_accuracy": [one.source for one in report.years],
        "landloom:notes": report.notes,
    }
    if report.changed:
        properties["landloom:changed_hectares"] = _told(report.changed)
        properties["landloom:changed_mapped_hectares"] = report.changed_mapped
    return properties


def _told(one: Estimate) -> dict[str, float | None]:
    return {"value": one.value, "low": one.low, "high": one.high, "usual_half_width": one.half_width}
