"""A catalog of many maps without their files: ten years of so many of the world's land tiles.

Run as `python -m benchmarks.many_items ITEMS FOLDER` it writes the catalog and its index.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import shapely

from catalog.assets import AssetFile
from catalog.collections import add_items
from catalog.grid import Tile, land_tiles, owned_geometry
from catalog.index import Part, name_parts, write_parquet
from catalog.manifest import Period
from catalog.store import open_store
from tests.catalog.tile_years import item_of, manifest_of

FIRST_YEAR, YEARS = 2017, 10
COLLECTION = "lulc-annual"
_SCENES = 20
_SCENE = "https://planetarycomputer.microsoft.com/api/stac/v1/collections/sentinel-2-l2a/items/S2A_MSIL2A_"


def write_catalog(count: int, folder: Path) -> tuple[float, int]:
    """Write a catalog that has so many items in its index, and the first hundred as files.

    Returns:
        Seconds that the index took, and its bytes.
    """
    store = open_store(str(folder))
    add_items(store, COLLECTION, (item for item, _ in zip(items(count, folder), range(100), strict=False)))
    started = time.perf_counter()
    (folder / COLLECTION / "items").mkdir()
    parts = []
    for zone, some in itertools.groupby(items(count, folder), lambda item: item["id"][:2]):
        parts.append(Part(zone, f"{COLLECTION}/items/{zone}-{0:012x}.parquet", None, ()))
        write_parquet(some, folder / parts[-1].key)
    name_parts(store, COLLECTION, parts)
    return time.perf_counter() - started, sum((folder / part.key).stat().st_size for part in parts)


def write_lines(count: int, folder: Path) -> Path:
    """Write the same items as other loaders want them, JSON of one item a line."""
    path = folder / "items.ndjson"
    with path.open("wb") as file:
        for item in items(count, folder):
            file.write(orjson.dumps(item) + b"\n")
    return path


def items(count: int, folder: Path, years: int = YEARS) -> Iterator[dict[str, Any]]:
    """Items of some years, tile by tile, of 20 scenes each: one that is real, and others made after it."""
    names = ("data", "confidence", "observations", "thumbnail")
    files = [AssetFile(name, f"{name}.tif", 12_345_678, "1220" + "ab" * 32) for name in names]
    pattern = item_of(manifest_of("33UUU", Period.of_year(FIRST_YEAR)), files)
    random_ = random.Random(3)
    for number in range(-(-count // years)):
        tile = Tile.from_name(land_tiles()[number])
        outline = owned_geometry(tile)
        geometry, bbox = json.loads(shapely.to_geojson(outline)), [round(bound, 7) for bound in outline.bounds]
        for year in range(FIRST_YEAR, FIRST_YEAR + min(years, count - number * years)):
            name = f"{tile.name}-{year}"
            here = f"{folder}/{COLLECTION}/{tile.name}/{year}"
            days = [f"{year}{1 + n // 2:02d}{1 + n % 2 * 14:02d}" for n in range(_SCENES)]
            yield {
                **pattern,
                "id": name,
                "geometry": geometry,
                "bbox": bbox,
                "properties": {
                    **pattern["properties"],
                    "datetime": f"{year}-01-01T00:00:00Z",
                    "start_datetime": f"{year}-01-01T00:00:00Z",
                    "end_datetime": f"{year}-12-31T23:59:59Z",
                    "io:tile_id": tile.name,
                    "grid:code": f"MGRS-{tile.name}",
                    "proj:code": f"EPSG:{tile.epsg}",
                    "landloom:fingerprint": f"{random_.getrandbits(64):016x}",
                    "landloom:mean_observations": round(random_.uniform(2, 20), 2),
                    "landloom:datatakes": random_.randint(4, 24),
                },
                "assets": {
                    key: {**asset, "href": f"{here}/{name}/{key}.tif"} for key, asset in pattern["assets"].items()
                },
                "links": [
                    {"rel": "self", "href": f"{here}/{name}.json", "type": "application/geo+json"},
                    *({"rel": "derived_from", "href": f"{_SCENE}{day}T101031_T{tile.name}"} for day in days),
                ],
            }


if __name__ == "__main__":
    seconds, size = write_catalog(int(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"seconds": seconds, "bytes": size}))
