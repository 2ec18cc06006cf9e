"""Zonal statistics of two whole tile-years, against the ways of a notebook and of plain numpy; 100,000 zones.

`python -m benchmarks.zonal WAY MAPS ZONES` is one of the programs that are measured, each in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from rasterio.features import rasterize

from benchmarks import change
from benchmarks.measure import medians, print_work, python
from benchmarks.report import Figure
from services.change.blocks import opened
from services.change.series import open_series
from services.change.zonal import count_zones
from services.change.zones import read_zones
from tests.services.change.maps import UTM

_FOLDER = Path("out") / "bench" / "zonal"


def zonal() -> list[Figure]:
    """Seconds and memory, and the other ways on the same maps and zones."""
    maps = change._years(2)
    zones, many = _polygons(150), _polygons(100_000)
    programs = {
        way: python("benchmarks.zonal", way, str(maps), str(zones))
        for way in ("read", "count", "rasterstats", "notebook", "numpy", "imports")
    }
    programs["many"] = python("benchmarks.zonal", "count", str(maps), str(many))
    ways = medians(programs)
    ours, stats, notebook, plain, many_zones = (
        ways[way] for way in ("count", "rasterstats", "notebook", "numpy", "many")
    )
    own, plain_own = (one.peak_rss - ways["imports"].peak_rss for one in (ours, plain))
    return [
        Figure("zonal, two tile-years, 150 polygons, core-seconds", ours.core_seconds, "", ours.told),
        Figure("  of which reading the maps alone takes", ways["read"].core_seconds, "", ways["read"].told),
        Figure("zonal, peak memory, GB", ours.peak_rss / 1e9, "< 1"),
        Figure(
            "notebook's way to the same (rasterstats, sklearn), core-seconds",
            notebook.core_seconds / ours.core_seconds,
            ">= 20",
            notebook.told,
        ),
        Figure("  seconds", notebook.seconds / ours.seconds, ">= 20"),
        Figure(
            "rasterstats, areas alone, times as many core-seconds",
            stats.core_seconds / ours.core_seconds,
            "",
            stats.told,
        ),
        Figure(
            "plain numpy (rasterized, so no fractions), times as many core-seconds",
            plain.core_seconds / ours.core_seconds,
            ">= 1",
            plain.told,
        ),
        Figure("zonal, memory, share of plain numpy's", ours.peak_rss / plain.peak_rss, "< 0.1"),
        Figure(
            "  beyond Python and its libraries",
            own / plain_own,
            "< 0.1",
            f"{own / 1e9:.3f} and {plain_own / 1e9:.2f} GB",
        ),
        Figure("zonal, 100,000 zones, seconds", many_zones.seconds, "", many_zones.told),
    ]


def _polygons(count: int) -> Path:
    """Voronoi cells of so many points, which cover a tile as municipalities cover a country."""
    path = _FOLDER / f"{count}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        side = change.SIDE * 10
        box = shapely.box(UTM.c, UTM.f - side, UTM.c + side, UTM.f)
        points = shapely.MultiPoint(np.random.default_rng(5).random((count, 2)) * side + [UTM.c, UTM.f - side])
        cells = shapely.intersection(shapely.get_parts(shapely.voronoi_polygons(points)), box)
        geopandas.GeoDataFrame({"id": range(count)}, geometry=cells, crs="EPSG:32633").to_parquet(path)
    return path


def _count(maps: Path, zones: Path) -> object:
    return count_zones(open_series(str(maps / "collection.json")), read_zones(zones))


def _read(maps: Path, zones: Path) -> object:
    series = open_series(str(maps / "collection.json"))
    with opened(series, series.places[0]) as place:
        return sum(block.codes.size for block in place.blocks())


def _rasterstats(maps: Path, zones: Path) -> object:
    from rasterstats import zonal_stats

    frame = geopandas.read_parquet(zones)
    return [zonal_stats(frame, str(path), categorical=True, nodata=0) for path in sorted(maps.glob("*/map.tif"))]


def _notebook(maps: Path, zones: Path) -> object:
    """What `count_zones` gives, but for shares of pixels: areas of both years, and each zone's transition matrix."""
    from rasterstats import zonal_stats
    from sklearn.metrics import confusion_matrix

    frame = geopandas.read_parquet(zones)
    first, last = (
        zonal_stats(frame, str(path), categorical=True, nodata=0, raster_out=True)
        for path in sorted(maps.glob("*/map.tif"))
    )
    matrices = []
    for before, after in zip(first, last, strict=True):
        left, right = (one["mini_raster_array"] for one in (before, after))
        there = ~(left.mask | right.mask)
        matrices.append(confusion_matrix(left.data[there], right.data[there]))
    return matrices


def _numpy(maps: Path, zones: Path) -> object:
    """Each pixel to the zone of its centre, in memory; pixel counts and the zones' transition matrices."""
    codes = []
    for path in sorted(maps.glob("*/map.tif")):
        with rasterio.open(path) as source:
            codes.append(source.read(1))
            grid = source.transform
    frame = geopandas.read_parquet(zones)
    shapes = ((shape, number + 1) for number, shape in enumerate(frame.geometry))
    zone = rasterize(shapes, codes[0].shape, transform=grid, dtype="int32").astype(np.int64)
    return np.bincount(((zone * 12 + codes[0]) * 12 + codes[1]).ravel(), minlength=(len(frame) + 1) * 144)


def _nothing(maps: Path, zones: Path) -> object:
    return None


if __name__ == "__main__":
    ways: dict[str, Callable[[Path, Path], object]] = {
        "read": _read,
        "count": _count,
        "rasterstats": _rasterstats,
        "notebook": _notebook,
        "imports": _nothing,
        "numpy": _numpy,
    }
    print_work(lambda: ways[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3])))
