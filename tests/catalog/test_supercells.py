from __future__ import annotations

import json

import pytest
import shapely
from affine import Affine

from catalog.assets import AssetFile
from catalog.grid import owned_geometry, tile_at
from catalog.store import open_store
from catalog.supercells import build_zone_item
from tests.catalog.tile_years import manifest_of, register


@pytest.mark.parametrize(("lon", "edge"), [(-179.9, -180), (179.9, 180)])
def test_a_zone_at_the_antimeridian_ends_there(tmp_path, lon: float, edge: float) -> None:
    tiles = [tile_at(lon, lat) for lat in (-17.0, -17.9)]
    sources = []
    for tile in tiles:
        item = register(open_store(str(tmp_path)), manifest_of(tile.name))
        sources.append({**item, "geometry": shapely.geometry.mapping(owned_geometry(tile))})
    cog = AssetFile("data", "data.tif", 1, "1220" + "00" * 32)
    transform = Affine(10, 0, tiles[0].left, 0, -10, tiles[0].top)
    zone = tiles[0].name[:3]
    item = json.loads(
        build_zone_item(zone, sources, epsg=tiles[0].epsg, transform=transform, shape=(20_000, 10_000), cog=cog)
    )
    west, south, east, north = item["bbox"]
    assert west < east and east - west < 6 and south < -17.9 and north > -17
    assert edge in (west, east)
    geometry = shapely.from_geojson(json.dumps(item["geometry"]))
    assert geometry.is_valid and geometry.geom_type == "Polygon" and not geometry.interiors
    apart = sum(shapely.geometry.shape(one["geometry"]).area for one in sources)
    assert geometry.area == pytest.approx(apart, rel=1e-6)
