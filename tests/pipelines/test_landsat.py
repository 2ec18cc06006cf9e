"""Maps of 30 m: simulated Landsat scenes, and HLS, through the commands that a user gives."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import from_bounds

from catalog.datatakes import group_datatakes
from catalog.grid import Tile, owned_geometry
from catalog.items import item_key_of
from catalog.legend import load_legend
from catalog.manifest import Manifest
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS, AssetNames, scene_from_item
from catalog.sources import KNOWN_APIS, open_source
from catalog.validation import validate
from pipelines.estimate import load_prices
from pipelines.landscape import SPECTRA
from pipelines.read import SceneReader
from pipelines.simulate import Product, simulate
from pipelines.simulate_landsat import simulate_landsat
from tests.catalog.tile_years import manifest_of
from tests.networks import SIX_BANDS, write_spectral_network
from tests.pipelines.running import landloom

NINE = load_legend("nine")
CODES = np.array([next(c.code for c in NINE.classes if name in c.model_classes) for name in MODEL_CLASSES])
GROUND = Product("33UUU", 300, 300, (600, 600))


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return write_spectral_network(tmp_path_factory.mktemp("network") / "spectral.onnx", gsd=30)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Landsat 5, and in 2010 Landsat 7 with its gaps, too; clouds in QA_PIXEL."""
    return simulate_landsat(tmp_path_factory.mktemp("landsat"), [GROUND], years=(1990, 2010), dates_per_year=4)


@pytest.fixture(scope="module")
def maps(scenes, network, tmp_path_factory) -> Path:
    """Both years, mapped by the command."""
    out = tmp_path_factory.mktemp("maps")
    where = ("--tiles", "33UUU", "--year", "1990,2010", "--model", network)
    done = landloom("map", "--source", scenes.catalog, "--out", out, *where)
    assert "lulc-annual-30m/33UUU/1990/33UUU-1990.json" in done.stdout
    return out


def item_of(maps: Path, year: int) -> dict:
    return json.loads((maps / f"lulc-annual-30m/33UUU/{year}/33UUU-{year}.json").read_text())


def shown(maps: Path, year: int, truth: Path, asset: str = "data") -> tuple[np.ndarray, np.ndarray]:
    """What the map shows where the truth is known, and the truth in published codes."""
    item = item_of(maps, year)
    href = maps / item_key_of(item).rpartition("/")[0] / item["assets"][asset]["href"]
    with rasterio.open(href) as source, rasterio.open(truth) as true:
        found = source.read(1, window=from_bounds(*true.bounds, source.transform))
        return found, CODES[true.read(1)]


def observed(maps: Path, year: int, truth: Path) -> np.ndarray:
    """Where a map has a class that is no cloud, in its own pixels; change is told of nothing else."""
    (path,) = maps.glob(f"lulc-annual*/33UUU/{year}/*/data.tif")
    with rasterio.open(path) as source, rasterio.open(truth) as true:
        found = source.read(1, window=from_bounds(*true.bounds, source.transform))
    return (found > 0) & (found != CODES[MODEL_CLASSES.index("cloud")])


@pytest.mark.slow
@pytest.mark.parametrize("year", [1990, 2010])
def test_the_map_shows_the_true_land_cover_and_lies_where_it_should(maps, scenes, year):
    found, true = shown(maps, year, scenes.truth["33UUU", year])
    inner = (slice(2, -2),) * 2
    agree = {
        (row, col): float((np.roll(found, (row, col), (0, 1)) == true)[inner].mean())
        for row in (-1, 0, 1)
        for col in (-1, 0, 1)
    }
    # Its corners lie half a pixel off the scenes'; were it moved by a pixel, it would fit worse.
    assert max(agree, key=lambda moved: agree[moved]) == (0, 0)
    assert agree[0, 0] > 0.85


@pytest.mark.slow
def test_items_are_valid_and_say_what_they_were_made_from(maps):
    for year in (1990, 2010):
        validate(item_of(maps, year))
    early, late = (item_of(maps, year)["properties"] for year in (1990, 2010))
    assert (early["gsd"], early["constellation"], early["platform"]) == (30, "landsat", "landsat-5")
    assert (early["instruments"], late["instruments"]) == (["tm"], ["etm", "tm"])
    assert late["landloom:platforms"] == ["landsat-5", "landsat-7"] and "platform" not in late
    assert "Landsat Collection 2 Level-2 (landsat-5)" in early["processing:lineage"]
    assert early["proj:transform"][0] == 30 and early["proj:transform"][2] % 30 == 0
    assert late["landloom:datatakes"] == 4  # Of eight scenes: two rows a day are one look.
    collection = json.loads((maps / "lulc-annual-30m/collection.json").read_text())
    assert collection["summaries"]["gsd"] == [30] and collection["summaries"]["constellation"] == ["landsat"]
    bands = item_of(maps, 1990)["assets"]["data"]["raster:bands"]
    assert bands[0]["spatial_resolution"] == 30


@pytest.mark.slow
def test_gaps_of_landsat_7_lack_looks_but_are_mapped(maps, scenes):
    truth = scenes.truth["33UUU", 2010]
    (looks, _), (data, _) = (shown(maps, 2010, truth, asset) for asset in ("observations", "data"))
    before, _ = shown(maps, 1990, scenes.truth["33UUU", 1990], "observations")
    middle, edge = looks[:, 90:110].mean(), looks[:, :10].mean()
    assert middle - edge > before[:, 90:110].mean() - before[:, :10].mean() + 0.3
    assert (data[5:-5] > 0).mean() > 0.95


@pytest.mark.slow
def test_at_the_tiles_last_corner_maps_end_with_the_tile_though_blocks_do_not(network, command, tmp_path):
    corner = Product("33UUU", 9700, 9700, (360, 360))
    seen = simulate_landsat(tmp_path / "scenes", [corner], years=(1990,), dates_per_year=3, cloud=0)
    where = ("--tiles", "33UUU", "--year", "1990", "--model", network, "--out", tmp_path / "maps", "--seasons")
    code, _, told = command("map", "--source", seen.catalog, *where)
    assert code == 0, told
    item, tile = item_of(tmp_path / "maps", 1990), Tile.from_name("33UUU", 30)
    folder = tmp_path / "maps" / item_key_of(item).rpartition("/")[0]
    for name in ("data", "confidence", "observations", "seasons"):
        with rasterio.open(folder / item["assets"][name]["href"]) as file:
            last = file.transform @ (file.width, file.height)
            assert last == tile.transform @ (tile.shape[1], tile.shape[0]), name
            # The neighbours' products reach on; their pixels are the neighbours'.
            assert name == "seasons" or (file.read(1)[-50:, -50:] > 0).mean() > 0.9, name


@pytest.mark.slow
def test_hls_is_mapped_from_both_of_its_satellites(network, command, tmp_path):
    ground = ("--size", "300", "--at", "300,300", "--years", "2021", "--dates", "4", "--cloud", "0.2")
    code, printed, told = command("simulate", "--sensor", "hls", *ground, "--out", tmp_path / "scenes")
    assert code == 0, told
    where = ("--tiles", "33UUU", "--year", "2021", "--model", network, "--out", tmp_path / "maps")
    code, _, told = command("map", "--source", printed.strip(), *where)
    assert code == 0, told
    item = item_of(tmp_path / "maps", 2021)
    validate(item)
    assert item["properties"]["landloom:platforms"] == ["landsat-8", "sentinel-2a"]
    assert item["properties"]["instruments"] == ["msi", "oli"] and "constellation" not in item["properties"]
    assert item["properties"]["landloom:datatakes"] == 4
    found, true = shown(tmp_path / "maps", 2021, tmp_path / "scenes/truth/33UUU-2021.tif")
    assert (found == true)[2:-2, 2:-2].mean() > 0.85


@pytest.mark.slow
def test_change_since_1990_is_told_from_maps_of_30_m_alone(maps, scenes, command, tmp_path):
    arguments = ("--maps", maps, "--collection", "lulc-annual-30m", "--years", "1990,2010", "--out", tmp_path)
    code, printed, told = command("change", *arguments)
    assert code == 0, told
    item = json.loads(Path(printed.split()[0]).read_text())
    both = np.all([observed(maps, year, scenes.truth["33UUU", 1990]) for year in (1990, 2010)], axis=0)
    assert item["properties"]["landloom:observed_hectares"] == pytest.approx(both.sum() * 0.09, rel=0.015)
    assert "compared_at_metres" not in item["properties"]["landloom:parameters"]
    assert item["id"] == "whole-30m-1990-2010", "change between maps of 10 m may stand beside it"


@pytest.mark.slow
def test_a_series_from_30_m_to_10_m_is_compared_at_30_m_and_says_so(maps, scenes, command, tmp_path):
    """The landscape of 1990 is that of the first year of any simulation: nothing changes but the pixels."""
    seen = simulate(tmp_path / "s2", [GROUND], years=(2021,), dates_per_year=3, cloud=0.1)
    fine = write_spectral_network(tmp_path / "fine.onnx")
    where = ("--tiles", "33UUU", "--year", "2021", "--model", fine, "--out", maps)
    assert command("map", "--source", seen.catalog, *where)[0] == 0
    arguments = ("--maps", maps, "--out", tmp_path / "change", "--years", "1990,2021")
    code, _, told = command("change", *arguments)
    assert code == 2 and "--collection lulc-annual-30m,lulc-annual" in told
    code, printed, told = command("change", *arguments, "--collection", "lulc-annual-30m,lulc-annual")
    assert code == 0, told
    properties = json.loads(Path(printed.split()[0]).read_text())["properties"]
    assert properties["landloom:parameters"]["compared_at_metres"] == 30
    assert any("10 m in 2021 and 30 m in 1990" in note for note in properties["landloom:notes"])
    early, late = (observed(maps, year, scenes.truth["33UUU", 1990]) for year in (1990, 2021))
    squares = late.reshape(early.shape[0], 3, early.shape[1], 3).any(axis=(1, 3))
    assert properties["landloom:observed_hectares"] == pytest.approx((early & squares).sum() * 0.09, rel=0.015)
    # What is left is the two sensors' disagreement, far below the change of 20 years.
    assert properties["landloom:changed_hectares"] < 0.16 * properties["landloom:observed_hectares"]


@pytest.mark.slow
def test_a_network_of_10_m_is_refused_on_landsat(scenes, command, tmp_path):
    arguments = ("--source", scenes.catalog, "--tiles", "33UUU", "--year", "1990", "--out", tmp_path / "out")
    code, _, told = command("map", *arguments, "--model", "unet-small")
    assert code == 2 and "30 m" in told and "unet-small makes maps of 10 m" in told and "unet-30m" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "year", "first"), [("planetary-computer", 2014, 2015), ("landsat", 1983, 1984), ("hls", 2012, 2013)]
)
def test_years_before_a_sources_first_scene_are_refused(command, tmp_path, source, year, first):
    arguments = ("--source", source, "--tiles", "33UUU", "--year", year, "--out", tmp_path)
    code, _, told = command("map", *arguments)
    assert code == 2 and f"Year {year}" in told and f"from {first}" in told


def test_a_sensor_that_cannot_be_simulated_is_named(command, tmp_path):
    code, _, told = command("simulate", "--sensor", "modis", "--out", tmp_path / "out")
    assert code == 2 and "'modis'" in told and "sentinel-2, landsat, hls" in told
    for sensor, first in (("landsat", 1984), ("hls", 2013)):
        arguments = ("--sensor", sensor, "--years", first - 1, "--out", tmp_path / "out")
        code, _, told = command("simulate", *arguments)
        assert code == 2 and str(first - 1) in told and f"from {first}" in told
    assert not (tmp_path / "out").exists()


def test_landsat_and_hls_are_known_sources():
    assert KNOWN_APIS["landsat"].collections == ("landsat-c2-l2",)
    assert KNOWN_APIS["hls"].collections == ("hls2-l30", "hls2-s30")
    assert KNOWN_APIS["landsat"].signer == KNOWN_APIS["hls"].signer == "planetary-computer"


@pytest.mark.slow
def test_an_estimate_counts_pixels_of_30_m(scenes, network, command):
    arguments = ("--source", scenes.catalog, "--tiles", "33UUU", "--year", "1990", "--model", network, "--json")
    code, printed, told = command("estimate", *arguments)
    assert code == 0, told
    found = json.loads(printed)
    assert (found["tile_years"], found["datatakes"], found["scenes"]) == (1, 4, 8)
    assert found["looks"] == pytest.approx(4 * 200 * 200, rel=0.03)
    rates = load_prices("").rates_30m
    assert found["core_hours"] == pytest.approx(found["looks"] / rates["pixels_per_core_second"] / 3600)
    assert found["read_gigabytes"] == pytest.approx(found["looks"] * rates["bytes_per_pixel"] / 1e9)


def test_south_of_the_equator_landsats_northings_are_negative(tmp_path):
    """Its zones are those of the north there: scenes are warped onto the tile, to the very pixel."""
    ground = Product("36MZU", 0, 300, (300, 300))
    found = simulate_landsat(tmp_path, [ground], years=(1990,), dates_per_year=1, cloud=0)
    tile = Tile.from_name("36MZU", 30)
    source = open_source(str(found.catalog))
    with rasterio.open(found.truth["36MZU", 1990]) as truth:
        square, true = truth.transform, truth.read(1)
    year = (datetime(1990, 1, 1, tzinfo=UTC), datetime(1990, 12, 31, tzinfo=UTC))
    scenes = source.search(owned_geometry(tile).buffer(0.1), *year).scenes
    datatakes, _ = group_datatakes(scenes, tile.name, 30)
    look = SceneReader(2.0).read(datatakes[0], SIX_BANDS, tile.epsg, square, true.shape)
    with rasterio.open(scenes[0].bands["B08"].href) as file:
        assert file.crs.to_epsg() == 32636 and file.bounds.top < 0
    seen = look.bands[BANDS.index("B08")]
    assert (seen[3:-3, 3:-3] > 0).all()
    # Meadows are brighter in the infrared than fields and scrub, each where the truth has it and nowhere beside.
    expected, inner = SPECTRA[true, BANDS.index("B08")], (slice(3, -3),) * 2
    likeness = {
        (row, col): np.corrcoef(np.roll(seen, (row, col), (0, 1))[inner].ravel(), expected[inner].ravel())[0, 1]
        for row in (-1, 0, 1)
        for col in (-1, 0, 1)
    }
    assert max(likeness, key=lambda moved: likeness[moved]) == (0, 0) and likeness[0, 0] > 0.7


def test_a_scene_whose_flags_are_none_is_left_out_and_named(tmp_path):
    simulated = simulate_landsat(tmp_path, [GROUND], years=(1990,), dates_per_year=1)
    tile, year = Tile.from_name("33UUU", 30), (datetime(1990, 1, 1, tzinfo=UTC), datetime(1990, 12, 31, tzinfo=UTC))
    datatakes, _ = group_datatakes(
        open_source(str(simulated.catalog)).search(owned_geometry(tile), *year).scenes, "33UUU", 30
    )
    first = datatakes[0].scenes[0]
    with rasterio.open(first.scl.href, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(np.full((1, *file.shape), 4, np.uint16))  # As a scene classification would have it.
    look = SceneReader(2.0).read(datatakes[0], SIX_BANDS, tile.epsg, tile.transform, (330, 330))
    assert [one.scene for one in look.problems] == [first.id] and "QA_PIXEL holds 4" in look.problems[0].reason
    assert (look.bands[0] > 0).any()  # The other row is read all the same.


def test_sentinel_2_may_be_read_at_30_m_as_the_mean_of_its_pixels(simulated):
    coarse, side = Tile.from_name("33UUU", 30), 60
    there = coarse.transform @ Affine.translation(540, 110)
    source, year = (
        open_source(str(simulated.catalog)),
        (datetime(2021, 1, 1, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)),
    )
    datatakes, _ = group_datatakes(source.search(owned_geometry(coarse), *year).scenes, "33UUU", 30)
    reader = SceneReader(2.0)
    large = reader.read(datatakes[0], SIX_BANDS, coarse.epsg, there, (side, side)).bands
    small = reader.read(datatakes[0], SIX_BANDS, coarse.epsg, there @ Affine.scale(1 / 3), (3 * side, 3 * side)).bands
    means = small.reshape(6, side, 3, side, 3).mean(axis=(2, 4))
    inner = (slice(None), slice(1, -1), slice(1, -1))
    likeness = np.corrcoef(large[inner].ravel(), means[inner].ravel())[0, 1]
    assert likeness > 0.98 and large[inner].mean() == pytest.approx(means[inner].mean(), rel=0.01)


def test_hls_is_read_as_it_is_written(tmp_path):
    """Signed numbers, -9999 where there are none, and Fmask; on the maps' own lattice nothing is interpolated."""
    tile, side = Tile.from_name("33UUU", 30), 64
    random = np.random.default_rng(1)
    bands = random.integers(-50, 5000, (6, side, side)).astype(np.int16)
    bands[0, 3, :] = -9999
    fmask = np.full((side, side), 64, np.uint8)
    fmask[10, 10], fmask[20, 20] = 64 | 2, 64 | 8
    names = ["B02", "B03", "B04", "B05", "B06", "B07", "Fmask"]
    for name, plane, nodata in zip(names, [*bands, fmask], [-9999] * 6 + [255], strict=True):
        profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": plane.dtype, "nodata": nodata}
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", crs=f"EPSG:{tile.epsg}", transform=tile.transform, **profile
        ) as file:
            file.write(plane, 1)
    # B11 is a thermal band on this satellite.
    assets = {name: {"href": f"./{name}.tif"} for name in [*names, "B11"]}
    item = {
        "id": "HLS.L30.T33UUU.2023165T100023.v2.0",
        "collection": "hls2-l30",
        "geometry": {"type": "Polygon", "coordinates": [[[11, 52], [14, 52], [14, 54], [11, 54], [11, 52]]]},
        "properties": {"datetime": "2023-06-14T10:00:23Z", "platform": "LANDSAT-8", "eo:cloud_cover": 1},
        "assets": assets,
    }
    scene = scene_from_item(item, str(tmp_path / "item.json"), AssetNames())
    datatakes, _ = group_datatakes([scene], "33UUU", 30)
    look = SceneReader(2.0).read(datatakes[0], SIX_BANDS, tile.epsg, tile.transform, (side, side))
    expected = np.maximum(bands, 1).astype(np.uint16)
    expected[:, 3] = 0  # A pixel without one band is none.
    assert np.array_equal(look.bands, expected)
    assert look.scl is not None and (look.scl[10, 10], look.scl[20, 20], look.scl[0, 0]) == (9, 3, 7)


def test_manifests_of_10_m_keep_their_fingerprints():
    """Published maps stay resumable: what is new leaves no trace where it is not used."""
    manifest = manifest_of()
    assert (manifest.fingerprint, manifest.recipe) == ("0600376a2089d025", "dfdf11c42152a070")
    assert "gsd" not in manifest.model_dump()["model"]
    assert Manifest.model_validate_json(manifest.to_json()) == manifest
