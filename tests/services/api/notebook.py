"""A notebook as it is written for io-lulc-annual-v02: `python notebook.py URL COLLECTION W,S,E,N` prints its findings.

Nothing of Landloom's is imported, so that it runs with whatever versions of the libraries are at hand.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import odc.stac
import planetary_computer
import pystac
import pystac_client
import rasterio
from pystac.extensions.item_assets import ItemAssetsExtension

warnings.filterwarnings("ignore")


def findings(url: str, collection_id: str, bbox: list[float]) -> dict:
    """What the notebook shows."""
    catalog = pystac_client.Client.open(url, modifier=planetary_computer.sign_inplace)
    search = catalog.search(bbox=bbox, collections=[collection_id], datetime="2017-01-01/2023-12-31")
    # `get_items` is how older code asks; today's library has only `items`.
    items = list(search.get_items() if hasattr(search, "get_items") else search.items())
    plain = {"bands": ["data"], "crs": "EPSG:4326", "resolution": 0.0027, "chunks": {}, "bbox": bbox}
    stacks = [
        odc.stac.load(items, **plain),
        odc.stac.load(items, **plain, groupby="start_datetime", resampling="mode"),
    ]
    collection = catalog.get_collection(collection_id)
    extended = ItemAssetsExtension.ext(collection, add_if_missing=True)
    values = extended.item_assets["data"].properties["file:values"]
    with rasterio.open(items[0].assets["data"].href) as cog:
        colours = cog.colormap(1)
    return {
        "versions": {one.__name__: one.__version__ for one in (pystac, pystac_client, odc.stac)},
        "items": {item.id: item.properties["io:tile_id"] for item in items},
        "signed": [planetary_computer.sign(item).assets["data"].href for item in items],
        "hrefs": [item.assets["data"].href for item in items],
        "years": [[int(year) for year in stack.time.dt.year] for stack in stacks],
        "codes": [[np.unique(stack["data"].isel(time=step)).tolist() for step in (0, 1)] for stack in stacks],
        "seen twice": int((stacks[0]["data"] > 0).sum("time").max()),
        "names": {value: one["summary"] for one in values for value in one["values"]},
        "colours": {code: colours[code] for code in (1, 2, 11)},
    }


if __name__ == "__main__":
    print(json.dumps(findings(sys.argv[1], sys.argv[2], [float(bound) for bound in sys.argv[3].split(",")])))
