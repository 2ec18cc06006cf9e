"""The item of a grid zone and year (`21L-2020`), called a supercell in the items of io-lulc-9-class.

All that it tells comes from the items of the tile-years whose names begin with the zone's; every tile-year belongs to
one zone, so every pixel is in one item.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import shapely
from affine import Affine

from catalog.assets import COG, AssetFile
from catalog.collections import ZONES
from catalog.errors import BadInput
from catalog.items import EXTENSIONS, FINGERPRINT, bbox_of, item_key_of, projection, rounded
from catalog.manifest import digest

_TOLD = ("landloom:legend", "landloom:model")
_SNAP = 1e-7
"""Degrees: neighbours' edges, rounded apart, are joined without slivers."""


def zone_fingerprint(sources: Sequence[dict[str, Any]]) -> str:
    """16 hexadecimal digits that change whenever a tile-year is added, removed or made anew.

    Args:
        sources: items of the tile-years.
    """
    return digest({one["id"]: [one["properties"][FINGERPRINT], _data(one)["file:checksum"]] for one in sources})


def check_classes(sources: Sequence[dict[str, Any]]) -> None:
    """Whether codes mean the same in all tile-years.

    Raises:
        BadInput: they do not.
    """
    first = sources[0]
    for one in sources[1:]:
        if _data(one)["classification:classes"] != _data(first)["classification:classes"]:
            raise BadInput(
                f"{one['id']} has the legend {one['properties']['landloom:legend']}, {first['id']} has "
                f"{first['properties']['landloom:legend']}. Map one of them anew with the other's legend."
            )


def build_zone_item(
    zone: str,
    sources: Sequence[dict[str, Any]],
    *,
    epsg: int,
    transform: Affine,
    shape: tuple[int, int],
    cog: AssetFile,
) -> bytes:
    """The JSON of a zone-year's item.

    Args:
        zone: as `21L`.
        sources: items of its tile-years, of one year and with one legend.
        epsg: of the COG.
        transform: of the COG.
        shape: rows and columns of the COG.
        cog: the file.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    first, fingerprint = sources[0]["properties"], zone_fingerprint(sources)
    year = first["start_datetime"][:4]
    parts = [shapely.from_geojson(json.dumps(one["geometry"])) for one in sources]
    geometry = shapely.orient_polygons(shapely.union_all(shapely.set_precision(parts, _SNAP), grid_size=_SNAP))
    pixels: Counter[str] = Counter()
    for one in sources:
        pixels.update(one["properties"]["landloom:class_pixels"])
    told = {name: ", ".join(sorted({one["properties"][name] for one in sources})) for name in _TOLD}
    item = {
        "type": "Feature",
        "stac_version": sources[0]["stac_version"],
        "stac_extensions": EXTENSIONS,
        "id": f"{zone}-{year}",
        "collection": ZONES,
        "geometry": rounded(geometry),
        "bbox": bbox_of(geometry),
        "properties": {
            # Not null, and the same for all items of a year: loaders group by it.
            "datetime": first["start_datetime"],
            "start_datetime": first["start_datetime"],
            "end_datetime": first["end_datetime"],
            "created": now,
            "updated": now,
            "title": f"Land cover {zone} {year}",
            "gsd": first["gsd"],
            "constellation": first["constellation"],
            "instruments": first["instruments"],
            "io:tile_id": zone,
            "io:supercell_id": zone,
            "grid:code": f"MGRS-{zone}",
            **projection(epsg, transform, shape),
            "processing:level": "L4",
            "processing:datetime": now,
            "processing:lineage": f"{len(sources)} tile-years laid side by side, no pixel changed",
            "processing:software": first["processing:software"],
            FINGERPRINT: fingerprint,
            **told,
            "landloom:class_pixels": dict(pixels),
            "renders": {name: one for name, one in first["renders"].items() if one["assets"] == ["data"]},
        },
        "assets": {
            "data": {
                **_data(sources[0]),
                "href": f"./{fingerprint}/{cog.file}",
                "type": COG,
                "file:size": cog.size,
                "file:checksum": cog.checksum,
            }
        },
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": "application/json"},
            {"rel": "parent", "href": f"../../{zone}/catalog.json", "type": "application/json"},
            {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
            *(
                {
                    "rel": "derived_from",
                    "href": f"../../../{item_key_of(one)}",
                    "type": "application/geo+json",
                    "title": one["id"],
                }
                for one in sources
            ),
        ],
    }
    return json.dumps(item, indent=1).encode()


def _data(item: dict[str, Any]) -> dict[str, Any]:
    return item["assets"]["data"]
