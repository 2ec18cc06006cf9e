"""Dynamic World's network, nine bands and made for L1C, registered and mapping as any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from rasterio.warp import transform_bounds

from catalog.grid import tile_at
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES
from tests.pipelines.running import landloom

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS, CHIPS = SHARED / "weights" / "dynamic_world" / "dynamic_world.onnx", SHARED / "data" / "training" / "chips"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (WEIGHTS.is_file() and CHIPS.is_dir()), reason=f"no weights or chips in {SHARED}"),
]
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")


def write_scene(folder: Path, chip: str, level: str) -> str:
    """A chip as a static catalog with one scene of nine bands; returns its tile."""
    folder.mkdir()
    with rasterio.open(CHIPS / f"{chip}_image.tif") as source:
        image, profile = source.read(), source.profile
        bounds = transform_bounds(source.crs, 4326, *source.bounds)
    assets = {}
    for band, pixels in zip(BANDS, image, strict=True):
        with rasterio.open(folder / f"{band}.tif", "w", **{**profile, "count": 1, "nodata": 0}) as target:
            target.write(pixels, 1)
        scaled = {"scale": 0.0001, "offset": 0, "nodata": 0}
        assets[band] = {"href": f"./{band}.tif", "roles": ["data"], "raster:bands": [scaled]}
    tile = tile_at((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2).name
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": f"S2A_MSI{level}_20200604_{tile}", "collection": "chips",
        "geometry": shapely.geometry.mapping(shapely.box(*bounds)), "bbox": list(bounds), "links": [], "assets": assets,
        "properties": {"datetime": "2020-06-04T05:46:00Z", "s2:mgrs_tile": tile, "s2:product_type": f"S2MSI{level[1:]}",
                       "s2:mean_solar_zenith": 21.6},
    }  # fmt: skip
    (folder / "scene.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": "./scene.json"}]
    (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "chip", "links": links}))
    return tile


@pytest.mark.parametrize(("level", "least"), [("L1C", 0.99), ("L2A", 0.85)])
def test_it_maps_as_its_makers_run_it(tmp_path: Path, level: str, least: float) -> None:
    chip = f"punjab-20200604-{level.lower()}_00_00"
    tile = write_scene(tmp_path / "scene", chip, level)
    home = {"LANDLOOM_MODELS": str(tmp_path / "registry")}
    landloom(
        *("models", "add", WEIGHTS, "--id", "dynamic-world", "--bands", ",".join(BANDS)),
        *("--classes", ",".join(MODEL_CLASSES[:9]), "--stride", "2", "--halo", "24", "--level", "L1C"),
        **home,
    )
    assert "dynamic-world" in landloom("models", "list", **home).stderr
    done = landloom(
        *("map", "--source", tmp_path / "scene" / "catalog.json", "--out", tmp_path / "maps", "--tiles", tile),
        *("--period", "2020-06-01/2020-06-30", "--model", "dynamic-world"),
        **home,
    )
    item = json.loads(Path(done.stdout.strip().splitlines()[-1]).read_text())
    data = Path(done.stdout.strip().splitlines()[-1]).parent / item["assets"]["data"]["href"]
    with rasterio.open(CHIPS / f"{chip}_teacher.tif") as source, rasterio.open(data) as published:
        teacher, bounds = source.read(), source.bounds
        codes = published.read(1, window=published.window(*bounds))
    with rasterio.open(CHIPS / f"{chip}_valid.tif") as source:
        valid = source.read(1) > 0
    wanted = load_legend("nine").codes(MODEL_CLASSES)[teacher.argmax(axis=0)]
    # Its makers' answers were found with mirrored borders.
    valid[:24] = valid[-24:] = valid[:, :24] = valid[:, -24:] = False
    assert np.mean(codes[valid] == wanted[valid]) > least
