"""Planning a country: 1,000 tiles of 20 scenes each, from a static catalog to written manifests; no pixel exists.

Run as `python -m benchmarks.planning CATALOG TILES OUT` it plans and writes the manifests.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import shapely

from benchmarks.measure import python, run
from benchmarks.report import Figure
from catalog.area import area_of_tiles
from catalog.grid import Tile, land_tiles, owned_geometry
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.scenes import BANDS
from catalog.store import open_store
from pipelines.plan import Settings
from pipelines.request import Request
from services.inference import DEFAULT_MODEL, model_spec

YEAR = 2021


def planning(tiles: int = 1000, scenes: int = 20) -> list[Figure]:
    """Seconds and memory of the planning process, its start included."""
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        # Every twentieth land tile: all zones and latitudes.
        names = sorted(land_tiles())[:: max(1, len(land_tiles()) // tiles)][:tiles]
        catalog = _write_catalog(folder / "scenes", names, scenes)
        (folder / "tiles.txt").write_text(",".join(names))
        command = python("benchmarks.planning", str(catalog), str(folder / "tiles.txt"), str(folder / "out"))
        measured = run(command)
        count = sum(1 for _ in (folder / "out").rglob("manifest.json"))
        if count != len(names):
            raise RuntimeError(f"{count} manifests of {len(names)}:\n{measured.output}")
    finally:
        shutil.rmtree(folder)
    note = f"{len(names):,} tiles x {scenes} scenes"
    return [
        Figure("planning, seconds", measured.seconds, "< 60", note),
        Figure("planning, peak GB", measured.peak_rss / 1e9, "< 1", note),
    ]


def _write_catalog(folder: Path, tiles: list[str], scenes: int) -> Path:
    links = []
    for name in tiles:
        outline = owned_geometry(Tile.from_name(name)).simplify(0.001)  # As coarse as the products' footprints.
        (folder / name).mkdir(parents=True)
        for number in range(scenes):
            month, day = 1 + number * 12 // scenes, 1 + number % 3 * 10
            moment = f"{YEAR}{month:02d}{day:02d}T100000"
            item_id = f"S2A_MSIL2A_{moment}_R022_T{name}"
            item = {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": item_id,
                "geometry": json.loads(shapely.to_geojson(outline)),
                "bbox": list(outline.bounds),
                "properties": {
                    "datetime": f"{YEAR}-{month:02d}-{day:02d}T10:00:00Z",
                    "eo:cloud_cover": number * 3,
                    "s2:mgrs_tile": name,
                    "s2:processing_baseline": "05.00",
                    "s2:datatake_id": f"GS2A_{moment}_{number:06d}_N05.00",
                },
                "links": [],
                "assets": {band: {"href": f"./{item_id}_{band}.tif"} for band in (*BANDS, "SCL")},
            }
            (folder / name / f"{number}.json").write_text(json.dumps(item))
            links.append({"rel": "item", "href": f"./{name}/{number}.json"})
    catalog = {"type": "Catalog", "id": "many", "stac_version": "1.0.0", "description": "No pixels", "links": links}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder / "catalog.json"


def main(catalog: str, tiles: str, out: str) -> None:
    """Plan and write the manifests, as a run does before its first block."""
    store = open_store(out)
    settings = Settings(model=model_spec(DEFAULT_MODEL), legend=load_legend("nine"))
    area = area_of_tiles(Path(tiles).read_text())
    request = Request.of(catalog, area, [Period.of_year(YEAR)], settings)
    source = request.open()
    for tile, period in request.tile_years():
        planned = request.plan(tile, period, source, store)
        if planned.manifest:
            store.write(planned.manifest.key, planned.manifest.to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
