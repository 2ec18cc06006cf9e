"""The grid against real scenes: where they lie, and who owns their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog.grid import RESOLUTION, Tile, owned_mask, tile_at
from catalog.zones import to_lonlat

SCENES = Path(__file__).parents[2].parent / "shared" / "data" / "scenes"
pytestmark = pytest.mark.skipif(not SCENES.is_dir(), reason=f"no real scenes in {SCENES}")


def test_scenes_lie_in_the_square_that_their_item_names() -> None:
    seen = 0
    for path in sorted(SCENES.glob("*/*/*.json")):
        item = json.loads(path.read_text())
        code = item["properties"].get("grid:code", "")
        west, south, east, north = item["bbox"]
        if not code.startswith("MGRS-"):
            continue
        assert tile_at((west + east) / 2, (south + north) / 2) == Tile.from_name(code.removeprefix("MGRS-")), path.name
        seen += 1
    assert seen


def test_the_last_34_rows_of_the_congo_scene_belong_to_the_square_south_of_the_equator() -> None:
    path = next(SCENES.glob("*/*T33NZA*/*.json"))
    asset = json.loads(path.read_text())["assets"]["B02"]
    (rows, cols), transform = asset["proj:shape"], asset["proj:transform"]
    tile = Tile.from_name("33NZA")
    row0, col0 = int(tile.top - transform[5]) // RESOLUTION, int(transform[2] - tile.left) // RESOLUTION
    inside = rows - 34
    assert row0 + inside == 10_000
    assert owned_mask(tile, row0, 10_000, col0, min(col0 + cols, 10_000)).shape[0] == inside
    lon, lat = to_lonlat(tile.epsg, transform[2] + 5, transform[5] - 10 * inside - 5)
    assert lat < 0
    assert tile_at(float(lon), float(lat)).name == "33MZV"
