"""A STAC API that has a year of scenes of every land tile, made up when they are asked for: nothing is stored.

Run as `python -m benchmarks.globe_source` it serves on the loopback interface; the port is printed first. Items are
as large as public APIs' are, products reach 9.8 km beyond their tile, and tiles that one orbit sees share datatakes.
"""

from __future__ import annotations

import functools
import json
import random
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import antimeridian
import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from catalog import zones
from catalog.grid import Tile, land_tiles
from catalog.sensors import ALL_BANDS

YEAR, SCENES = 2021, 22
_PRODUCT = 109_800
"""Metres along a product's side."""
_EVERY = 16
"""Days between the scenes of an orbit, of those that were clear enough."""
_ORBITS = 143
_COLLECTION = "sentinel-2-l2a"
_FAR = "https://scenes.example/sentinel2-l2"


def footprints() -> tuple[list[str], np.ndarray]:
    """Names of the land tiles, and the outlines of their products, longitude and latitude `[N]`."""
    tiles = sorted((Tile.from_name(name) for name in land_tiles()), key=lambda tile: tile.epsg)
    names, outlines = list[str](), list[BaseGeometry]()
    for tile in tiles:
        left, top = tile.left, tile.top
        x = np.array([left, left, left + _PRODUCT, left + _PRODUCT, left], float)
        y = np.array([top, top - _PRODUCT, top - _PRODUCT, top, top], float)
        outline = shapely.Polygon(np.column_stack(zones.to_lonlat(tile.epsg, x, y)))
        names.append(tile.name)
        crosses = outline.bounds[2] - outline.bounds[0] > 180
        outlines.append(shape(antimeridian.fix_shape(outline)) if crosses else outline)
    return names, np.array(outlines)


class Globe:
    """All scenes."""

    def __init__(self) -> None:
        self._names, self._outlines = footprints()
        self._tree = shapely.STRtree(self._outlines)
        self.items_of = functools.lru_cache(maxsize=256)(self._items_of)

    def search(self, query: dict[str, Any]) -> list[bytes]:
        """The JSON of the items that touch a geometry within a time."""
        start, _, end = query["datetime"].partition("/")
        near = sorted(self._tree.query(shape(query["intersects"]), predicate="intersects").tolist())
        parts = tuple(query.get("fields", {}).get("include", ()))
        return [content for one in near for moment, content in self.items_of(one, parts) if start <= moment <= end]

    def _items_of(self, number: int, parts: tuple[str, ...]) -> list[tuple[str, bytes]]:
        """Moment and JSON of the year's items of one tile; with these parts alone, if any are named."""
        tile, outline = self._names[number], self._outlines[number]
        centre, chance = shapely.centroid(outline), random.Random(number)
        # Orbits run down the globe aslant.
        orbit = int((centre.x + 180 + centre.y / 5) % 360 / 360 * _ORBITS) + 1
        first = datetime(YEAR, 1, 1, 8 + orbit % 6, orbit % 60, 21, tzinfo=UTC) + timedelta(days=orbit % 10)
        found = []
        for k in range(SCENES):
            moment = first + timedelta(days=_EVERY * k)
            sensed, satellite = f"{moment:%Y%m%dT%H%M%S}", "AB"[k % 2]
            name = f"S2{satellite}_MSIL2A_{sensed}_R{orbit:03d}_T{tile}_{sensed}"
            folder = (
                f"{_FAR}/{tile[:2]}/{tile[2]}/{tile[3:]}/{moment:%Y/%m/%d}/{name}.SAFE/GRANULE/L2A_T{tile}_{sensed}"
            )
            item = {
                "type": "Feature",
                "stac_version": "1.1.0",
                "stac_extensions": [f"https://stac.example/{part}/v1.0.0/schema.json" for part in _EXTENSIONS],
                "id": name,
                "collection": _COLLECTION,
                "geometry": json.loads(shapely.to_geojson(outline)),
                "bbox": list(outline.bounds),
                "properties": {
                    "datetime": f"{moment:%Y-%m-%dT%H:%M:%S}.024000Z",
                    "platform": f"Sentinel-2{satellite}",
                    "instruments": ["msi"],
                    "constellation": "Sentinel 2",
                    "eo:cloud_cover": round(chance.triangular(0, 100, 10), 6),
                    "sat:relative_orbit": orbit,
                    "s2:mgrs_tile": tile,
                    "s2:product_type": "S2MSI2A",
                    "s2:processing_baseline": "05.00",
                    "s2:generation_time": f"{moment + timedelta(hours=9):%Y-%m-%dT%H:%M:%S}.000000Z",
                    "s2:datatake_id": f"GS2{satellite}_{sensed}_{orbit:06d}_N05.00",
                    "s2:datastrip_id": f"S2{satellite}_OPER_MSI_L2A_DS_ESRI_{sensed}_S{sensed}_N05.00",
                    "s2:product_uri": f"{name}.SAFE",
                    "s2:mean_solar_zenith": round(chance.uniform(20, 70), 6),
                    **{f"s2:{share}_percentage": round(chance.uniform(0, 10), 6) for share in _SHARES},
                },
                "links": [
                    {"rel": rel, "href": f"https://stac.example/api/stac/v1/collections/{_COLLECTION}/items/{name}"}
                    for rel in ("collection", "parent", "root", "self", "license", "preview")
                ],
                "assets": {
                    key: _asset(key, folder, tile, sensed) for key in (*ALL_BANDS, "SCL", "AOT", "WVP", "visual")
                },
            }
            found.append((f"{moment:%Y-%m-%dT%H:%M:%SZ}", json.dumps(_part(item, parts)).encode()))
        return found


_ASSETS = (*ALL_BANDS, "SCL", "AOT", "WVP", "visual")
_EXTENSIONS = ("eo", "sat", "projection", "raster", "grid", "sentinel-2")
_SHARES = ("vegetation", "water", "snow_ice", "thin_cirrus", "cloud_shadow", "nodata_pixel", "dark_features")


def _asset(key: str, folder: str, tile: str, sensed: str) -> dict[str, Any]:
    metres = 10 if key in ("B02", "B03", "B04", "B08", "visual") else 20
    side = _PRODUCT // metres
    return {
        "href": f"{folder}/IMG_DATA/R{metres}m/T{tile}_{sensed}_{key}_{metres}m.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": f"Band {key} - {metres}m",
        "gsd": metres,
        "proj:shape": [side, side],
        "proj:bbox": [300000.0, 5790240.0, 409800.0, 5900040.0],
        "proj:transform": [float(metres), 0.0, 300000.0, 0.0, -float(metres), 5900040.0],
        "eo:bands": [{"name": key, "description": f"Band {key}", "center_wavelength": 0.665}],
        "roles": ["data"],
    }


def _part(item: dict[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
    if not parts:
        return item
    assets = {key: asset for key, asset in item["assets"].items() if f"assets.{key}" in parts}
    return {key: value for key, value in item.items() if key in parts} | {"assets": assets}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    globe: Globe

    def do_GET(self) -> None:
        api = f"http://{self.headers['Host']}"
        core = ("core", "item-search", "item-search#fields")
        links = [{"rel": rel, "href": api, "type": "application/json"} for rel in ("self", "root")]
        links.append({"rel": "search", "href": f"{api}/search", "type": "application/geo+json", "method": "POST"})
        landing = {
            "type": "Catalog",
            "id": "globe",
            "stac_version": "1.0.0",
            "description": "A year of every land tile",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in core],
            "links": links,
        }
        self._send(json.dumps(landing).encode())

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found, first = self.globe.search(query), int(query.get("token", 0))
        last = first + query["limit"]
        body = {**query, "token": str(last)}
        following = {"rel": "next", "href": f"http://{self.headers['Host']}/search", "method": "POST", "body": body}
        links = json.dumps([following] if last < len(found) else []).encode()
        features = b",".join(found[first:last])
        self._send(b'{"type":"FeatureCollection","features":[' + features + b'],"links":' + links + b"}")

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Thousands of requests are not told."""


def main() -> None:
    """Serve until killed."""
    handler = type("Handler", (_Handler,), {"globe": Globe()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
