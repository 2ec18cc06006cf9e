"""The items and the collection of change products, `lulc-change`.

Two kinds of items: of a place (`33UUU-area-2019-2021`: the maps of change, and what was counted), and of the area of
interest (`area-2019-2021`: tables and figures, from the counts of its places).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from catalog.assets import AssetFile
from catalog.errors import StoreError
from catalog.items import FINGERPRINT, bbox_of, fingerprint_of, rounded
from catalog.links import JSON, dumped, linked, root_with
from catalog.store import Store
from catalog.validation import validate

COLLECTION = "lulc-change"
_TITLE = "Land-cover change"
_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("classification/v1.1.0", "file/v2.1.0", "processing/v1.2.0", "projection/v2.0.0")
]


@dataclass(frozen=True)
class ItemName:
    """Of an item: what it is of, and the rest."""

    subject: str
    """Name of the place or of the area."""
    label: str

    @property
    def id(self) -> str:
        """The item's."""
        return f"{self.subject}-{self.label}"

    @property
    def folder(self) -> str:
        """In the store."""
        return f"{COLLECTION}/{self.subject}/{self.label}"

    @property
    def key(self) -> str:
        """Of the item's JSON in the store."""
        return f"{self.folder}/{self.id}.json"


@dataclass(frozen=True)
class ItemAsset:
    """A file and how it is told."""

    file: AssetFile
    type: str
    title: str
    roles: tuple[str, ...] = ("data",)
    fields: tuple[tuple[str, Any], ...] = ()


def build_change_item(
    name: ItemName,
    *,
    fingerprint: str,
    geometry: BaseGeometry,
    years: Sequence[int],
    title: str,
    lineage: str,
    properties: dict[str, Any],
    assets: Iterable[ItemAsset],
    sources: Iterable[tuple[str, str]],
) -> bytes:
    """The JSON of an item, validated.

    Args:
        name: of the item.
        fingerprint: of all that it is made from.
        geometry: longitude and latitude.
        years: first to last.
        title: for people.
        lineage: what was done.
        properties: more of them.
        assets: files that lie in the folder called by the fingerprint.
        sources: href and title of each item that it is derived from.

    Raises:
        BadInput: it is not valid.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    start = f"{years[0]}-01-01T00:00:00Z"
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": name.id,
        "collection": COLLECTION,
        "geometry": rounded(geometry),
        "bbox": bbox_of(geometry),
        "properties": {
            # Not null: servers drop a null, and what they then give is no valid item.
            "datetime": start,
            "start_datetime": start,
            "end_datetime": f"{years[-1]}-12-31T23:59:59Z",
            "created": now,
            "updated": now,
            "title": title,
            "processing:level": "L4",
            "processing:datetime": now,
            "processing:lineage": lineage,
            "processing:software": {"landloom": version("landloom")},
            FINGERPRINT: fingerprint,
            "landloom:years": list(years),
            **properties,
        },
        "assets": {
            one.file.name: {
                "href": f"./{fingerprint}/{one.file.file}",
                "type": one.type,
                "title": one.title,
                "roles": list(one.roles),
                "file:size": one.file.size,
                "file:checksum": one.file.checksum,
                **dict(one.fields),
            }
            for one in assets
        },
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": JSON},
            {"rel": "parent", "href": "../../collection.json", "type": JSON},
            {"rel": "root", "href": "../../../catalog.json", "type": JSON},
            *(
                {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": text}
                for href, text in sources
            ),
        ],
    }
    validate(item)
    return dumped(item)


def add_to_collection(store: Store, items: dict[str, dict[str, Any]]) -> None:
    """Let the collection grow by items; doing so twice changes nothing, and of two runs at once both count.

    Args:
        store: the output.
        items: key in the store to JSON.
    """
    store.update(f"{COLLECTION}/collection.json", lambda content: _grown(content, items))
    store.update("catalog.json", lambda content: root_with(content, {COLLECTION: _TITLE}))


def write_item(
    store: Store,
    name: ItemName,
    fingerprint: str,
    assets: Sequence[ItemAsset],
    folder: Path,
    item: bytes,
    before: tuple[bytes | None, str | None],
) -> None:
    """Upload an item's files, then the item, which is the commit; then remove the files of the one before.

    Args:
        store: the output.
        name: of the item.
        fingerprint: of the item.
        assets: its files.
        folder: where they lie.
        item: its JSON.
        before: content and version that stood when the work began.

    Raises:
        StoreError: another run came between.
    """
    for one in assets:
        store.upload(f"{name.folder}/{fingerprint}/{one.file.file}", folder / one.file.file)
    if not store.write_if(name.key, item, before[1]):
        raise StoreError(f"Another run published {name.id} at the same moment. Run again.")
    if (old := fingerprint_of(before[0])) not in (None, fingerprint):
        store.delete(store.list(f"{name.folder}/{old}/"))


def part_in(geometry: BaseGeometry, area: BaseGeometry | None) -> BaseGeometry:
    """The part that lies in the area of interest, polygons alone."""
    parts = shapely.get_parts(geometry if area is None else geometry.intersection(area))
    return shapely.orient_polygons(shapely.union_all(parts[shapely.area(parts) > 0]))


def source_href(store: Store, source: str) -> str:
    """Of a source item: relative where it lies in the same catalog, which may then be moved."""
    root = store.href("x").removesuffix("x")
    return f"../../../{source.removeprefix(root)}" if source.startswith(root) else source


def _grown(content: bytes | None, items: dict[str, dict[str, Any]]) -> bytes:
    empty: dict[str, Any] = {
        "type": "Collection",
        "id": COLLECTION,
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "title": _TITLE,
        "description": "What changed between years of categorical land-cover maps: areas, transitions, and whether the "
        "change lasts. Mapped areas are counted pixel by pixel on the ellipsoid; each item tells what is known of the "
        "accuracy of its source maps.",
        "keywords": ["land cover", "change", "transition matrix"],
        "license": "other",
        "extent": {"spatial": {"bbox": []}, "temporal": {"interval": []}},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": JSON},
            {"rel": "parent", "href": "../catalog.json", "type": JSON},
        ],
    }
    known = json.loads(content) if content else empty
    spatial, temporal = known["extent"]["spatial"], known["extent"]["temporal"]
    boxes = [*spatial["bbox"], *(one["bbox"] for one in items.values())]
    # One that crosses the antimeridian is taken as all around the globe.
    boxes = [[-180.0, box[1], 180.0, box[3]] if box[0] > box[2] else box for box in boxes]
    least, most = (min(box[i] for box in boxes) for i in (0, 1)), (max(box[i] for box in boxes) for i in (2, 3))
    spatial["bbox"] = [[*least, *most]]
    spans = [(one["properties"]["start_datetime"], one["properties"]["end_datetime"]) for one in items.values()]
    moments = [moment for span in (*temporal["interval"], *spans) for moment in span]
    temporal["interval"] = [[min(moments), max(moments)]]
    links = {f"./{key.removeprefix(f'{COLLECTION}/')}": one["id"] for key, one in items.items()}
    known["links"] = linked(known["links"], "item", "application/geo+json", links)
    return dumped(known)
