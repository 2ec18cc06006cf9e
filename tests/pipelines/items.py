"""Scenes that are only described: STAC items without files, for what must be decided before a pixel is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from catalog.grid import Tile, owned_geometry
from catalog.scenes import BANDS

WHOLE = (0, 10_000, 0, 10_000)


def ground(tile: str, window: tuple[int, int, int, int] = WHOLE) -> BaseGeometry:
    """What a tile owns of a window of its pixels, longitude and latitude."""
    return owned_geometry(Tile.from_name(tile), window)


def item(
    day: str,
    *,
    tile: str = "33UUU",
    over: BaseGeometry | None = None,
    cloud: float = 10.0,
    time: str = "101021",
    part: int = 0,
    baseline: str = "03.01",
) -> dict[str, Any]:
    """One product: `part` tells the halves of one that was cut in two apart, `baseline` its processing."""
    sensed = day.replace("-", "") + "T" + time
    product = f"S2A_MSIL2A_{sensed}_T{tile}_{part}_N{baseline}"
    outline = over if over is not None else ground(tile)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": product,
        "collection": "sentinel-2-l2a",
        "geometry": json.loads(shapely.to_geojson(outline)),
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": f"{day}T{time[:2]}:{time[2:4]}:{time[4:]}Z",
            "eo:cloud_cover": cloud,
            "s2:mgrs_tile": tile,
            "s2:processing_baseline": baseline,
            "s2:datatake_id": f"GS2A_{sensed}_000001_N{baseline}",
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_X_{sensed}_S{day.replace('-', '')}T1010{part:02d}_N{baseline}",
        },
        "links": [],
        "assets": {band: {"href": f"./{product}/{band}.tif", "roles": ["data"]} for band in BANDS},
    }


def write_items(folder: Path, items: Iterable[dict[str, Any]]) -> Path:
    """A static catalog of items; returns its JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for one in items:
        (folder / f"{one['id']}.json").write_text(json.dumps(one))
        links.append({"rel": "item", "href": f"./{one['id']}.json"})
    catalog = {"type": "Catalog", "id": "described", "stac_version": "1.1.0", "description": "-", "links": links}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder / "catalog.json"
