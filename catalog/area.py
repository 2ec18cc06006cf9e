"""The area to map, as a user gives it: a box, a centre with a size, tile names, or a polygon file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import antimeridian
import numpy as np
import pyproj
import shapely
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from catalog.grid import Tile, land_tiles, owned_geometry, tiles_intersecting

if TYPE_CHECKING:
    import geopandas


@dataclass(frozen=True)
class Area:
    """Tiles to map, and the geometry (longitude and latitude) that says which of their blocks; None: all of them."""

    tiles: tuple[Tile, ...]
    geometry: BaseGeometry | None = None
    notes: tuple[str, ...] = ()
    """What of a file was not taken as it stands."""


def area_of_tiles(names: str) -> Area:
    """Whole tiles: comma-separated names, or `land` for every tile with land.

    Raises:
        BadInput: an unknown tile.
    """
    listed = land_tiles() if names.strip().lower() == "land" else [n.strip() for n in names.split(",") if n.strip()]
    if not listed:
        raise BadInput(f"No tile in {names!r}. Give names as 48QUE,48QUF, or land.")
    found = {tile.name: tile for tile in map(Tile.from_name, listed)}
    return Area(tuple(found[name] for name in sorted(found)))


def area_of_bbox(text: str) -> Area:
    """A box `W,S,E,N` in degrees; W greater than E crosses the antimeridian.

    Raises:
        BadInput: not four numbers, off the globe, empty or upside down.
    """
    west, south, east, north = _numbers(text, 4, "--bbox", "W,S,E,N in degrees, as 103.7,17.87,103.8,17.97")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise BadInput(f"Box {text!r} lies off the globe. Longitudes are -180 to 180, latitudes -90 to 90 degrees.")
    if south >= north or west == east:
        raise BadInput(f"Box {text!r} is empty or upside down. Give W,S,E,N with S below N and W left of E.")
    if west > east:
        if west - east < 180:
            raise BadInput(
                f"Box {text!r} is inverted: W lies right of E. Give W,S,E,N; only a box across the antimeridian "
                "has W greater than E."
            )
        return area_of_geometry(shapely.union_all([box(west, south, 180, north), box(-180, south, east, north)]), text)
    return area_of_geometry(box(west, south, east, north), text)


def area_of_centre(centre: str, size_km: str) -> Area:
    """A rectangle of `W,H` kilometres round `LON,LAT`.

    Raises:
        BadInput: not numbers, off the globe, or no size.
    """
    lon, lat = _numbers(centre, 2, "--centre", "LON,LAT in degrees, as 103.75,17.92")
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise BadInput(f"Centre {centre!r} lies off the globe. Give LON,LAT, -180 to 180 and -90 to 90 degrees.")
    width, height = _numbers(size_km, 2, "--size-km", "W,H in kilometres, as 10,10")
    if not (0 < width <= 2000 and 0 < height <= 2000):
        raise BadInput(f"Size {size_km!r} is not possible. Give W,H in kilometres, each above 0 and up to 2000.")
    geod = pyproj.Geod(ellps="WGS84")
    north = geod.fwd(lon, lat, 0, height * 500)[1]
    south = geod.fwd(lon, lat, 180, height * 500)[1]
    east = geod.fwd(lon, lat, 90, width * 500)[0]
    west = geod.fwd(lon, lat, 270, width * 500)[0]
    return area_of_bbox(f"{west},{south},{east},{north}")


def area_of_file(path: str) -> Area:
    """The polygons of a file that geopandas reads (GeoJSON, GeoPackage, GeoParquet, Shapefile), in any CRS.

    Raises:
        BadInput: no such file, no polygons, no CRS, or off the globe.
    """
    if not Path(path).exists():
        raise BadInput(f"There is no file {path!r}. Give --aoi a polygon file (GeoJSON, GeoPackage, GeoParquet).")
    import geopandas  # Takes a second, and most areas are no file.

    try:
        frame = geopandas.read_parquet(path) if path.endswith("parquet") else geopandas.read_file(path)
    except Exception as error:
        raise BadInput(
            f"{path!r} cannot be read as polygons: {error}. Give GeoJSON, GeoPackage or GeoParquet."
        ) from error
    polygons = frame.geometry[frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    others, crossed = len(frame) - len(polygons), int((~polygons.is_valid).sum())
    polygons = polygons.make_valid(method="structure", keep_collapsed=False)
    polygons = polygons[~polygons.is_empty]
    if polygons.empty:
        raise BadInput(f"{path!r} holds no polygon. Give a file with polygons.")
    if polygons.crs is None:
        raise BadInput(f"{path!r} does not say its CRS. Write the file with one, as EPSG:4326.")
    polygons = _to_lonlat(polygons)
    west, south, east, north = polygons.total_bounds
    if not (west >= -180 and south >= -90 and east <= 180 and north <= 90):
        raise BadInput(
            f"The polygons of {path!r} reach off the globe: {west:g},{south:g},{east:g},{north:g}. "
            "Check their CRS; longitudes are -180 to 180, latitudes -90 to 90 degrees."
        )
    told, notes = f"Of the area's file {Path(path).name}", []
    if others:
        notes.append(f"{told} {others} of {len(frame)} rows are no polygons: left out.")
    if crossed:
        notes.append(f"{told} {crossed} of {len(frame)} polygons are invalid: made valid.")
    return replace(area_of_geometry(shapely.union_all(polygons.to_numpy()), path), notes=tuple(notes))


def _to_lonlat(polygons: geopandas.GeoSeries) -> geopandas.GeoSeries:
    """In degrees. Edges that were straight in metres stay on their ground, also across the antimeridian."""
    if polygons.crs.is_geographic:
        return polygons.to_crs("EPSG:4326")
    west, south, east, north = polygons.total_bounds
    dense = polygons.segmentize(max(east - west, north - south) / 500).to_crs("EPSG:4326")
    if not np.isfinite(dense.total_bounds).all():
        return dense
    return dense.apply(lambda one: shape(antimeridian.fix_shape(shapely.orient_polygons(one)))).make_valid()


def area_of_geometry(geometry: BaseGeometry, given: str) -> Area:
    """Polygons in degrees.

    Raises:
        BadInput: no tile lies there; `given` is what the user knows the place by.
    """
    tiles = tuple(tiles_intersecting(geometry))
    if not tiles:
        raise BadInput(f"No tile lies in {given!r}: the grid ends at 80 S and 84 N.")
    return Area(tiles, geometry)


def _numbers(text: str, count: int, option: str, form: str) -> Sequence[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(abs(value) < 1e9 for value in values):
        raise BadInput(f"{option} {text!r} is not {form}.")
    return values


def mapped_geometry(tile: Tile, windows: Sequence[tuple[int, int, int, int]]) -> BaseGeometry:
    """The part of a tile that the pixel windows (row0, row1, col0, col1) cover and that it owns."""
    return shapely.union_all([owned_geometry(tile, window) for window in windows])
