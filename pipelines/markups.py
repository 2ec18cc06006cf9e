"""Rasters of labels that are each of one scene, as the markups from which Dynamic World was trained.

The scene is told by the file's name: by the scene's STAC ID or the name of its Sentinel-2 product in it, or by the date
(`dw_-60.4013_-22.1234-20190602.tif`), which with the raster's place leaves one overpass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import rasterio
import shapely
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from catalog.datatakes import footprint_of, group_datatakes
from catalog.errors import BadInput
from catalog.grid import RESOLUTION, Tile, tile_at
from catalog.manifest import FIRST_YEAR
from catalog.scenes import Datatake
from catalog.sources import Source
from catalog.squares import SQUARE, square_name
from pipelines.candidates import Candidates, Wanted, described, lay, plain, sighting

_DATE = re.compile(r"(?<![\d.])(20\d{6})(?!\d)")
"""Eight digits, but not those of a coordinate."""
_PRODUCT = re.compile(r"(S2[A-D])_MSIL\d[AC]_(\d{8}T\d{6})")
_SEARCHES = 8
"""At once: each is a question to the source."""


@dataclass(frozen=True)
class _Markup:
    name: str
    """Its path in the folder, as it may stand in names of files."""
    path: Path
    tile: Tile
    """On whose grid its chips lie: of the raster's own UTM zone, if it has one."""
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top, metres of the tile's zone."""
    outline: BaseGeometry
    """Longitude and latitude."""
    day: datetime


def candidates_of_markups(
    folder: Path,
    source: Source,
    wanted: Wanted,
    within: BaseGeometry | None = None,
    track: Callable[[Sequence[Path]], Iterable[Path]] = lambda paths: paths,
) -> Candidates:
    """Squares of the scenes that were marked up, as many as each raster has room for.

    Args:
        folder: of the rasters.
        source: of the scenes.
        wanted: bands and size.
        within: leaves aside rasters that do not touch it, longitude and latitude.
        track: is given the rasters and gives them back one by one, to show the progress.

    Raises:
        BadInput: no raster there, or the source's scenes lack bands.
        SourceUnavailable: the source does not answer.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        raise BadInput(f"There is no GeoTIFF in {str(folder)!r}. Give --labels a folder of markups, or a file.")
    found, taken = Candidates(), set[str]()
    opened: list[_Markup] = []
    for path in paths:
        name = plain(str(path.relative_to(folder).with_suffix("")))
        try:
            markup = _open(path, name)
        except (BadInput, RasterioError) as error:
            found.dropped[name] = f"markup of no use: {error}"
            continue
        if within is None or within.intersects(markup.outline):
            opened.append(markup)
    with ThreadPoolExecutor(_SEARCHES, thread_name_prefix="search") as pool:
        answers = pool.map(lambda markup: _overpass(markup, source, wanted, found), opened)
        for _, markup, datatake in zip(track([one.path for one in opened]), opened, answers, strict=True):
            if datatake is None:
                reason = f"no scene for the markup: {source.name} has none of {markup.day:%Y-%m-%d} over it"
                found.dropped[markup.name] = reason
            else:
                _add(found, markup, datatake, wanted, taken)
    return found


def _add(found: Candidates, markup: _Markup, datatake: Datatake, wanted: Wanted, taken: set[str]) -> None:
    """The squares of a markup, but for those that another one of the same scene has taken already."""
    tile, (left, bottom, right, top) = markup.tile, markup.bounds
    rows = lay((tile.top - top) / RESOLUTION, (tile.top - bottom) / RESOLUTION, wanted.side)
    cols = lay((left - tile.left) / RESOLUTION, (right - tile.left) / RESOLUTION, wanted.side)
    squares, _ = described(tile.epsg, (tile.left, tile.top), list(product(rows, cols)), wanted)
    one = sighting(tile, datatake, tuple(squares), markup.path, markup.name)
    kept = []
    for number, square in enumerate(squares):
        if one.name(number) in taken:
            found.dropped[f"{one.id}_{square.row}_{square.col}"] = "another markup has the same square"
        else:
            kept.append(square)
            taken.add(one.name(number))
    if kept:
        found.sightings.append(one.model_copy(update={"squares": tuple(kept)}))


def _open(path: Path, name: str) -> _Markup:
    """Where a raster lies and of which day it is.

    Raises:
        BadInput: it does not say.
    """
    with rasterio.open(path) as raster:
        if raster.crs is None:
            raise BadInput("it does not say its CRS")
        crs, own = raster.crs, tuple(raster.bounds)
        epsg = raster.crs.to_epsg() or 0
    outline = shapely.box(*transform_bounds(crs, "EPSG:4326", *own, densify_pts=5))
    if 32601 <= epsg <= 32660 or 32701 <= epsg <= 32760:
        corner = [int((low + high) / 2 // SQUARE) * SQUARE for low, high in ((own[0], own[2]), (own[1], own[3]))]
        tile, bounds = Tile(square_name(epsg, *corner), epsg, *corner), own
    else:
        tile = tile_at(outline.centroid.x, outline.centroid.y)
        bounds = transform_bounds(crs, f"EPSG:{tile.epsg}", *own, densify_pts=5)
    return _Markup(name, path, tile, bounds, outline, _day(path.stem))


def _day(name: str) -> datetime:
    """The first day in a file's name: of products it is that of the sensing."""
    for digits in _DATE.findall(name):
        try:
            day = datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
        except ValueError:
            continue
        if day.year >= FIRST_YEAR:
            return day
    raise BadInput("its name tells no day; name it as its scene, or dw_LON_LAT-YYYYMMDD.tif")


def _overpass(markup: _Markup, source: Source, wanted: Wanted, found: Candidates) -> Datatake | None:
    """The overpass that a markup is of: the one it names, else the one of its day that covers most of it."""
    end = markup.day + timedelta(days=1, seconds=-1)
    searched = source.search(markup.outline, markup.day, end, wanted.bands, wanted.also)
    datatakes, excluded = group_datatakes(searched.scenes, markup.tile.name)
    for exclusion in (*searched.excluded, *excluded):
        found.unused[exclusion.scene] = exclusion.reason
    name = markup.path.stem
    of_product = {"_".join(told) for told in _PRODUCT.findall(name)}
    for datatake in datatakes:
        if datatake.id in of_product or any(scene.id in name for scene in datatake.scenes):
            return datatake
    if of_product:
        return None

    def covered(datatake: Datatake) -> float:
        return footprint_of(datatake).intersection(markup.outline).area

    return max((one for one in datatakes if covered(one) > 0), key=covered, default=None)
