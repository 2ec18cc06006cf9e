"""Zonal statistics of real municipalities: nine round Aquileia over a real map, 141 of Mato Grosso over coarse ones."""

from __future__ import annotations

import io
import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from rasterio.features import rasterize

from catalog.store import open_store
from catalog.validation import validate
from services.change.ground_area import pixel_areas
from services.change.series import open_series
from services.change.zonal import Zonal, count_zones
from services.change.zonal_publish import ZonalSettings, publish_zonal
from services.change.zonal_tables import Ratio
from services.change.zones import read_zones
from tests.pipelines.running import landloom
from tests.services.change.maps import CROPS, RANGELAND, TREES, write_years

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not (DATA / "zones").is_dir(), reason=f"no real zones in {DATA / 'zones'}")


def by_points(zones: geopandas.GeoSeries, codes: np.ndarray, crs: str, grid: Affine, finer: int) -> np.ndarray:
    """Hectares of each code in each zone, `[zones, 256]`, by points on a fine grid: slower, coarser, and none of ours.

    Zones do not overlap, so one raster holds them all; `finer` points lie along a pixel's side.
    """
    fine = grid @ Affine.scale(1 / finer)
    shapes = ((shape, number + 1) for number, shape in enumerate(zones.to_crs(crs)))
    burned = rasterize(shapes, tuple(finer * side for side in codes.shape), transform=fine, dtype="uint16")
    areas = pixel_areas(crs, grid, slice(0, codes.shape[0]), slice(0, codes.shape[1])) / finer**2
    areas = np.broadcast_to(areas, codes.shape)
    found = np.zeros((len(zones) + 1, 256))
    for row in range(finer):
        for col in range(finer):
            key = burned[row::finer, col::finer].astype(np.int64) * 256 + codes
            found += np.bincount(key.ravel(), areas.ravel(), found.size).reshape(found.shape)
    return found[1:]


@pytest.mark.slow
def test_the_municipalities_round_aquileia(tmp_path: Path) -> None:
    landloom("map", "--source", DATA / "scenes", "--tiles", "33TUL", "--year", "2019", "--out", tmp_path / "mapped")
    (path,) = (tmp_path / "mapped").glob("lulc-annual/33TUL/2019/*/data.tif")
    with rasterio.open(path) as source:
        codes, grid = source.read(1), source.transform
    seen = np.flatnonzero(codes.any(axis=1)), np.flatnonzero(codes.any(axis=0))
    (top, bottom), (left, right) = ((int(one[0]), int(one[-1]) + 1) for one in seen)
    codes, grid = codes[top:bottom, left:right], grid @ Affine.translation(left, top)
    # There is one date, so the second year is the first with every tree felled: change that is known.
    felled = np.where(codes == TREES, RANGELAND, codes)
    maps = write_years(tmp_path / "maps", codes, felled, first=2019, place="33TUL", transform=grid)
    file = DATA / "zones" / "friuli_aquileia.geojson"
    done = landloom("zonal", "--maps", maps, "--zones", file, "--class", "trees", "--out", tmp_path / "out")
    path, zones = Path(done.stdout.strip()), read_zones(file)
    item = json.loads(path.read_text())
    validate(item)
    coverage = item["properties"]["landloom:coverage"]
    assert sum(coverage.values()) == 9 and coverage["partly covered"] >= 5
    read = {name: _table(str(path), item, name) for name in ("zones", "areas", "changes")}
    expected = by_points(zones.frame.geometry, codes, "EPSG:32633", grid, 3)
    areas = read["areas"][read["areas"]["year"] == 2019].pivot(index="zone", columns="class", values="mapped_hectares")
    for name, code in (("trees", TREES), ("crops", CROPS), ("rangeland", RANGELAND)):
        np.testing.assert_allclose(areas[name].loc[zones.frame["zone"]], expected[:, code], rtol=0.01, atol=0.3)
    observed = areas.sum(axis=1).loc[zones.frame["zone"]].to_numpy()
    told = read["zones"]["covered_share_2019"].to_numpy() * zones.hectares
    np.testing.assert_allclose(told, observed, rtol=1e-6)
    trees = read["changes"][(read["changes"]["class"] == "trees") & (read["changes"]["from_share"] > 0.001)]
    assert len(trees) > 3 and np.allclose(trees["relative_change"], -1)
    share = read["changes"][read["changes"]["class"] == "trees"].set_index("zone")["from_share"]
    np.testing.assert_allclose(read["zones"].set_index("zone")["changed_share"], share, atol=1e-9)


@pytest.fixture(scope="module")
def mato_grosso(tmp_path_factory: pytest.TempPathFactory) -> tuple[Zonal, np.ndarray, Affine]:
    """Maps of 0.02 degrees, of which the cropland grows from the south by known steps."""
    grid, rows, cols = Affine(0.02, 0, -61.7, 0, -0.02, -7.3), 550, 575
    random = np.random.default_rng(7)
    first = random.choice(np.array([TREES, RANGELAND, CROPS]), (rows, cols), p=[0.5, 0.3, 0.2])
    last = first.copy()
    last[300:][first[300:] == RANGELAND] = CROPS
    path = write_years(
        tmp_path_factory.mktemp("mato_grosso"), first, last, crs="EPSG:4326", transform=grid, place="coarse"
    )
    zones = read_zones(DATA / "zones" / "mato_grosso.parquet", key="id")
    return count_zones(open_series(path), zones), first, grid


@pytest.mark.slow
def test_mato_grosso_is_as_large_as_its_municipalities(mato_grosso: tuple[Zonal, np.ndarray, Affine]) -> None:
    found, first, grid = mato_grosso
    assert len(found.areas) == 141
    np.testing.assert_allclose(found.areas.sum(axis=-1)[:, 0], found.zones.hectares, rtol=1e-5)
    # 903,207 square kilometres (IBGE); the outlines are simplified.
    assert found.areas[:, 0].sum() == pytest.approx(90_320_700, rel=0.002)
    expected = by_points(found.zones.frame.geometry, first, "EPSG:4326", grid, 10)
    for number, code in ((2, TREES), (4, CROPS), (8, RANGELAND)):
        np.testing.assert_allclose(found.areas[:, 0, number], expected[:, code], rtol=0.01, atol=300)


@pytest.mark.slow
def test_cropland_in_mato_grosso_grows_where_it_was_made_to(
    mato_grosso: tuple[Zonal, np.ndarray, Affine], tmp_path: Path
) -> None:
    found, _, grid = mato_grosso
    store = open_store(str(tmp_path))
    settings = ZonalSettings("mato-grosso", shown="crops", ratio=Ratio("crops", "rangeland"))
    made = publish_zonal(store, found.series, found.zones, settings)
    item = json.loads(store.read(made.key))
    assert made.coverage["covered"] == 141
    changes = _table(store.href(made.key), item, "changes")
    crops = changes[changes["class"] == "crops"].set_index("zone")["change_points"]
    box = found.zones.frame.set_index("zone").bounds
    edge = grid.f + 300 * grid.e
    north, south = crops[box.miny > edge], crops[box.maxy < edge]
    assert len(north) > 20 and len(south) > 40
    assert (north.abs() < 1e-9).all()
    assert south.between(20, 40).all() and south.mean() == pytest.approx(30, abs=0.5)
    zones = _table(store.href(made.key), item, "zones").set_index("zone")
    assert zones.loc[south.index, "crops_to_rangeland_2018"].isna().all(), "no ratio to a class that is gone"
    picture = Path(store.href(made.key)).parent / item["assets"]["choropleth"]["href"]
    assert picture.stat().st_size > 50_000


def _table(item_path: str, item: dict, name: str) -> pd.DataFrame:
    path = Path(item_path).parent / item["assets"][name]["href"]
    return (geopandas.read_parquet if name == "zones" else pd.read_parquet)(io.BytesIO(path.read_bytes()))
