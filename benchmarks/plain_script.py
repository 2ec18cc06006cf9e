"""What a user would write instead of Landloom: pystac-client, odc-stac and onnxruntime, one script.

Run as `python -m benchmarks.plain_script CATALOG MODEL OUT.tif EPSG LEFT BOTTOM RIGHT TOP`.
"""

from __future__ import annotations

import sys

import numpy as np
import odc.stac
import onnxruntime
import pystac_client
import rasterio
from odc.geo.geobox import GeoBox

BANDS = ["B02", "B03", "B04", "B08", "B11", "B12"]
CHIP, HALO = 512, 48


def main(catalog: str, model: str, out: str, epsg: str, *bounds: str) -> None:
    items = list(pystac_client.Client.open(catalog).get_items(recursive=True))
    geobox = GeoBox.from_bbox(tuple(map(float, bounds)), crs=f"EPSG:{epsg}", resolution=10, tight=True)
    cube = odc.stac.load(items, bands=[*BANDS, "SCL"], geobox=geobox, groupby="solar_day", resampling="bilinear")
    scale = {item.datetime.date(): offset_of(item) for item in items}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    votes = np.zeros((10, *geobox.shape), np.float32)
    for step in range(cube.sizes["time"]):
        day = cube.isel(time=step)
        bands = np.stack([day[name].values for name in BANDS])
        offset = scale[day.time.values.astype("datetime64[D]").astype(object)]
        image = np.where(bands > 0, np.maximum(bands.astype(np.float32) + offset, 1), 0).astype(np.uint16)
        scores = predict(session, image)
        cloudy = np.isin(day["SCL"].values, [0, 3, 8, 9, 10]) | (scores.argmax(axis=0) == 9)
        votes += np.where(cloudy, 0, scores.astype(np.float32))
    codes = np.array([1, 2, 11, 4, 5, 11, 7, 8, 9, 10], np.uint8)[votes.argmax(axis=0)]
    codes[votes.sum(axis=0) == 0] = 0
    profile = {"driver": "COG", "dtype": "uint8", "count": 1, "height": codes.shape[0], "width": codes.shape[1]}
    with rasterio.open(
        out,
        "w",
        crs=f"EPSG:{epsg}",
        transform=geobox.transform,
        compress="DEFLATE",
        overview_resampling="mode",
        **profile,
    ) as target:
        target.write(codes, 1)


def offset_of(item) -> int:
    return round(item.assets["B02"].extra_fields["raster:bands"][0].get("offset", 0) * 10000)


def predict(session: onnxruntime.InferenceSession, image: np.ndarray) -> np.ndarray:
    """Scores `[10, H, W]`, by chips with a margin that is cropped."""
    _, height, width = image.shape
    rows, cols = -(-height // CHIP) * CHIP, -(-width // CHIP) * CHIP
    padded = np.zeros((6, rows + 2 * HALO, cols + 2 * HALO), np.uint16)
    padded[:, HALO : HALO + height, HALO : HALO + width] = image
    scores = np.zeros((10, rows, cols), np.uint8)
    name = session.get_inputs()[0].name
    for row in range(0, rows, CHIP):
        for col in range(0, cols, CHIP):
            chip = padded[np.newaxis, :, row : row + CHIP + 2 * HALO, col : col + CHIP + 2 * HALO]
            found = session.run(None, {name: chip})[0][0]
            scores[:, row : row + CHIP, col : col + CHIP] = found[:, HALO:-HALO, HALO:-HALO]
    return scores[:, :height, :width]


if __name__ == "__main__":
    main(*sys.argv[1:])
