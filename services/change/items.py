"""What the items of `lulc-change`, `lulc-zonal` and `lulc-accuracy` have in common.

An item is `{collection}/{subject}/{label}/{subject}-{label}.json`; its files lie beside it under its fingerprint. The
item's JSON is written last: it is the only commit.
"""

from __future__ import annotations

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
from catalog.links import JSON, dumped
from catalog.products import Collection
from catalog.store import Store
from catalog.validation import validate


@dataclass(frozen=True)
class ItemName:
    """Of an item: its collection, what it is of, and the rest."""

    collection: Collection
    subject: str
    """Name of the place, of the area or of the zones."""
    label: str

    @property
    def id(self) -> str:
        """The item's."""
        return f"{self.subject}-{self.label}"

    @property
    def folder(self) -> str:
        """In the store."""
        return f"{self.collection.id}/{self.subject}/{self.label}"

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
    path: Path | None = None
    """Where it lies; None: beside the others, under its name."""


def build_item(
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
        properties: more of them, and those to tell otherwise.
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
        "stac_extensions": [
            f"https://stac-extensions.github.io/{one}/schema.json" for one in name.collection.extensions
        ],
        "id": name.id,
        "collection": name.collection.id,
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
        store.upload(f"{name.folder}/{fingerprint}/{one.file.file}", one.path or folder / one.file.file)
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
