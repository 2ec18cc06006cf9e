"""The item of an accuracy report, and its collection `lulc-accuracy`.

`lulc-accuracy/{name}/{label}/{name}-{label}.json`; the files lie beside it under a fingerprint of design and
interpretation. The item's JSON is written last: it is the only commit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import shapely

from catalog.assets import AssetFile
from catalog.errors import BadInput, StoreError
from catalog.index import INDEX, build_index
from catalog.items import FINGERPRINT, bbox_of, fingerprint_of, rounded
from catalog.links import JSON, dumped, linked, root_with
from catalog.manifest import digest
from catalog.store import Store
from catalog.validation import validate
from services.change.accuracy_report import Report
from services.change.design import Design
from services.change.estimation import Estimate
from services.change.interpretation import SAMPLE_TYPES

COLLECTION = "lulc-accuracy"
_TITLE = "Accuracy and areas of land cover, from reference samples"
_EXTENSIONS = [f"https://stac-extensions.github.io/{name}/schema.json" for name in ("file/v2.1.0", "processing/v1.2.0")]
_ASSETS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "report.json": ("report", "application/json", "All figures, as data", ("data",)),
    "areas.csv": ("table", "text/csv", "Areas and accuracies: mapped and estimated, with intervals", ("data",)),
    "areas.png": ("thumbnail", "image/png", "Mapped and estimated areas", ("overview", "thumbnail")),
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
    folder = f"{COLLECTION}/{name}/{design.label}"
    key = f"{folder}/{name}-{design.label}.json"
    made_from = {"design": design.fingerprint, "sample": hashlib.sha256(sample.read_bytes()).hexdigest()}
    fingerprint = digest({**made_from, "maps": [one.href for one in report.maps], "software": report.software})
    there, version = store.read_versioned(key)
    before = fingerprint_of(there)
    if before == fingerprint and not overwrite:
        _register(store, key, json.loads(there or b"{}"))
        return key, False
    if before is not None and not overwrite:
        raise BadInput(
            f"{store.href(key)} is a report of another design or sample ({before}). Give another --name, or "
            "--overwrite."
        )
    # A sample may bear any name in its folder; here all lie together.
    targets = {file: (file.name, *_ASSETS[file.name]) for file in files}
    suffix = sample.suffix.lower()
    targets[sample] = (f"sample{suffix}", "sample", SAMPLE_TYPES[suffix], "Interpreted sample", ("data",))
    assets = {}
    for file, (target, asset, kind, title, roles) in targets.items():
        store.upload(f"{folder}/{fingerprint}/{target}", file)
        assets[asset] = _asset(AssetFile.of(asset, file), f"./{fingerprint}/{target}", kind, title, roles)
    item = _item(report, design, f"{name}-{design.label}", fingerprint, assets, _sources(store, report))
    validate(item)
    if not store.write_if(key, dumped(item), version):
        raise StoreError(f"Another run published {key} at the same moment. Run again.")
    _register(store, key, item)
    if before not in (None, fingerprint):
        store.delete(store.list(f"{folder}/{before}/"))
    return key, True


def _item(
    report: Report,
    design: Design,
    name: str,
    fingerprint: str,
    assets: dict[str, Any],
    sources: Iterable[tuple[str, str]],
) -> dict[str, Any]:
    geometry = shapely.from_geojson(json.dumps(design.geometry))
    start = f"{design.years[0]}-01-01T00:00:00Z"
    last = report.years[-1].accuracy
    properties: dict[str, Any] = {
        # Not null: servers drop a null, and what they then give is no valid item.
        "datetime": start,
        "start_datetime": start,
        "end_datetime": f"{design.years[-1]}-12-31T23:59:59Z",
        "created": report.created,
        "updated": report.created,
        "title": report.title,
        "processing:level": "L4",
        "processing:datetime": report.created,
        "processing:lineage": (
            f"{report.interpreted} reference units in {len(design.strata)} strata, stratified estimation (Olofsson et "
            "al. 2014, Stehman 2014), intervals by Jeffreys' limits joined over the strata"
        ),
        "processing:software": {"landloom": report.software},
        FINGERPRINT: fingerprint,
        # Names the folder, as of the maps: the index finds items by it.
        "io:tile_id": name.removesuffix(f"-{design.label}"),
        "landloom:years": list(design.years),
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
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": name,
        "collection": COLLECTION,
        "geometry": rounded(geometry),
        "bbox": bbox_of(geometry),
        "properties": properties,
        "assets": assets,
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": JSON},
            {"rel": "parent", "href": "../../collection.json", "type": JSON},
            {"rel": "root", "href": "../../../catalog.json", "type": JSON},
            *(
                {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": title}
                for href, title in sources
            ),
        ],
    }


def _asset(file: AssetFile, href: str, kind: str, title: str, roles: Sequence[str]) -> dict[str, Any]:
    told = {"href": href, "type": kind, "title": title, "roles": list(roles)}
    return {**told, "file:size": file.size, "file:checksum": file.checksum}


def _told(one: Estimate) -> dict[str, float | None]:
    return {"value": one.value, "low": one.low, "high": one.high, "usual_half_width": one.half_width}


def _sources(store: Store, report: Report) -> Iterable[tuple[str, str]]:
    """Address and title of each map, relative where it lies in the same output."""
    here = store.href("catalog.json").removesuffix("catalog.json")
    for one in report.maps:
        yield (f"../../../{one.href.removeprefix(here)}" if one.href.startswith(here) else one.href), one.id


def _register(store: Store, key: str, item: dict[str, Any]) -> None:
    """Let collection, root catalog and index know the item; doing so twice changes nothing."""
    store.update(f"{COLLECTION}/collection.json", lambda content: _grown(content, key, item))
    store.update("catalog.json", lambda content: root_with(content, {COLLECTION: _TITLE}))
    build_index(store, COLLECTION)


def _grown(content: bytes | None, key: str, item: dict[str, Any]) -> bytes:
    empty: dict[str, Any] = {
        "type": "Collection",
        "id": COLLECTION,
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "title": _TITLE,
        "description": "Overall, user's and producer's accuracy of categorical land-cover maps, and areas and change "
        "of their classes estimated from probability samples of reference data, each with a 95 % interval.",
        "keywords": ["land cover", "accuracy", "area estimation", "reference data"],
        "license": "other",
        "extent": {"spatial": {"bbox": []}, "temporal": {"interval": []}},
        "assets": {
            "items": {
                "href": f"./{INDEX}",
                "type": "application/vnd.apache.parquet",
                "roles": ["collection-mirror"],
                "title": "All items, as STAC GeoParquet",
            }
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": JSON},
            {"rel": "parent", "href": "../catalog.json", "type": JSON},
        ],
    }
    known = json.loads(content) if content else empty
    spatial, temporal = known["extent"]["spatial"], known["extent"]["temporal"]
    # A box that crosses the antimeridian is taken as all around the globe.
    boxes = [[-180.0, b[1], 180.0, b[3]] if b[0] > b[2] else b for b in (*spatial["bbox"], item["bbox"])]
    spatial["bbox"] = [[*(min(b[i] for b in boxes) for i in (0, 1)), *(max(b[i] for b in boxes) for i in (2, 3))]]
    span = item["properties"]["start_datetime"], item["properties"]["end_datetime"]
    moments = [moment for interval in (*temporal["interval"], span) for moment in interval]
    temporal["interval"] = [[min(moments), max(moments)]]
    href = f"./{key.removeprefix(f'{COLLECTION}/')}"
    known["links"] = linked(known["links"], "item", "application/geo+json", {href: item["id"]})
    return dumped(known)
