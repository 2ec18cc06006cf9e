"""The whole way from scenes to a published map, on a simulated year."""

import json

import numpy as np
import pyproj
import pystac
import pytest
import rasterio

from catalog.grid import Tile
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES
from catalog.store import open_store
from tests.pipelines.running import contents, landloom, map_tiles


@pytest.fixture(scope="module")
def published(simulated, network, tmp_path_factory):
    """One undisturbed run."""
    out = tmp_path_factory.mktemp("published")
    accounts = map_tiles(simulated.catalog, out, network, years=(2021, 2022), scores=True)
    assert (accounts.planned, len(accounts.published)) == (2, 2)
    return out


def lonlat(col, row):
    tile = Tile.from_name("33UUU")
    lon, lat = pyproj.Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(*(tile.transform @ (col, row)))
    return f"{lon},{lat}"


def read(out, year, asset="data"):
    item = pystac.Item.from_file(str(out / f"lulc-annual/33UUU/{year}/33UUU-{year}.json"))
    with rasterio.open(item.assets[asset].get_absolute_href()) as source:
        return source.read(), source.transform


@pytest.mark.parametrize("year", [2021, 2022])
def test_the_map_shows_the_true_land_cover(published, simulated, year):
    codes, transform = read(published, year)
    with rasterio.open(simulated.truth["33UUU", year]) as source:
        truth, window = source.read(1), source.bounds
    rows, cols = rasterio.transform.rowcol(transform, window.left + 5, window.top - 5)
    there = codes[0, rows : rows + truth.shape[0], cols : cols + truth.shape[1]]
    expected = load_legend("nine").codes(MODEL_CLASSES)[truth]
    seen = ~np.isin(there, (0, 10))
    assert seen.mean() > 0.95
    assert (there == expected)[seen].mean() > 0.95
    assert (codes != 0).sum() == (there != 0).sum(), "nothing is mapped where there is no scene"


def test_observations_confidence_and_scores_fit_the_map(published):
    codes, observations = read(published, 2021)[0][0], read(published, 2021, "observations")[0][0]
    confidence, scores = read(published, 2021, "confidence")[0][0], read(published, 2021, "scores")[0]
    land = ~np.isin(codes, (0, 10))
    assert observations.max() == 3
    assert (observations[land] >= 1).all() and (observations[~land] == 0).all()
    assert (confidence[land] > 0).all() and (confidence[~land] == 0).all() and confidence.max() < 100
    assert (scores[:, ~land] == 255).all()
    assert np.abs(scores[:, land].sum(axis=0, dtype=int) - 100).max() <= 5


def test_the_catalog_can_be_browsed_from_its_root(published):
    catalog = pystac.Catalog.from_file(str(published / "catalog.json"))
    maps, networks = (catalog.get_child(name) for name in ("lulc-annual", "models"))
    items = list(maps.get_items(recursive=True))
    assert {item.id for item in items} == {"33UUU-2021", "33UUU-2022"}
    (network,) = networks.get_items()
    assert all(item.get_links("derived_from")[-1].get_absolute_href() == network.get_self_href() for item in items)
    assert not (published / "staging").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["multi_processing", "multi_threading"])
def test_two_workers_give_the_same(published, simulated, network, tmp_path, mode):
    workers = ("--direct_num_workers=2", f"--direct_running_mode={mode}")
    map_tiles(simulated.catalog, tmp_path, network, years=(2021, 2022), scores=True, beam=workers)
    assert contents(tmp_path) == contents(published)


def test_a_second_run_does_nothing(published, simulated, network):
    before = contents(published)
    accounts = map_tiles(simulated.catalog, published, network, years=(2021, 2022), scores=True)
    assert accounts.skipped == {"33UUU-2021": "already published", "33UUU-2022": "already published"}
    assert contents(published) == before


@pytest.mark.slow
def test_other_settings_are_refused_without_overwrite(simulated, network, tmp_path):
    map_tiles(simulated.catalog, tmp_path, network)
    refused = map_tiles(simulated.catalog, tmp_path, network, max_scenes=2)
    assert "--overwrite" in refused.dead_lettered["33UUU-2021"]
    replaced = map_tiles(simulated.catalog, tmp_path, network, max_scenes=2, overwrite=True)
    assert replaced.published == ["33UUU-2021"]
    manifests = list(tmp_path.rglob("manifest.json"))
    assert len(manifests) == 1, "what was replaced is gone"


@pytest.mark.slow
def test_a_small_area_maps_its_block_and_a_larger_one_maps_anew(simulated, network, tmp_path):
    common = ("map", "--source", simulated.catalog, "--year", 2021, "--out", tmp_path, "--model", network)
    west = landloom(*common, "--centre", lonlat(col=1700, row=400), "--size-km", "0.2,0.2")
    item = json.loads((tmp_path / "lulc-annual/33UUU/2021/33UUU-2021.json").read_text())
    assert len(item["properties"]["landloom:blocks"]) == 1, west.stderr
    small = item["geometry"]
    landloom(*common, "--tiles", "33UUU")
    item = json.loads((tmp_path / "lulc-annual/33UUU/2021/33UUU-2021.json").read_text())
    assert len(item["properties"]["landloom:blocks"]) == 2
    assert pystac.Item.from_dict(item).geometry != small


@pytest.mark.slow
def test_a_season_goes_to_its_own_collection(simulated, network, tmp_path):
    landloom(
        *("map", "--source", simulated.catalog, "--period", "2021-01-01/2021-02-28", "--tiles", "33UUU"),
        *("--out", tmp_path, "--model", network),
    )
    item = json.loads((tmp_path / "lulc-period/33UUU/20210101-20210228/33UUU-20210101-20210228.json").read_text())
    assert item["properties"]["landloom:datatakes"] == 1
    assert item["properties"]["datetime"] == "2021-01-01T00:00:00Z"
    assert item["properties"]["end_datetime"] == "2021-02-28T23:59:59Z"


@pytest.mark.slow
def test_the_output_may_be_an_s3_bucket(published, simulated, network, s3, tmp_path):
    out = f"s3://{s3.new_bucket()}/maps"
    map_tiles(simulated.catalog, out, network, years=(2021, 2022), scores=True, s3_endpoint=s3.endpoint)
    store = open_store(out, s3_endpoint=s3.endpoint)
    for key in store.list(""):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(store.read(key))
    assert contents(tmp_path) == contents(published)


@pytest.mark.slow
def test_accounts_add_up(simulated, network, tmp_path):
    accounts = map_tiles(simulated.catalog, tmp_path, network, tiles="33UUU,33UUT", years=(2020, 2021))
    assert accounts.planned == 4
    assert accounts.published == ["33UUU-2021"]
    assert all(reason.startswith("no ") for reason in accounts.skipped.values())
    assert accounts.planned == len(accounts.published) + len(accounts.skipped) + len(accounts.dead_lettered)
    written = json.loads((tmp_path / f"runs/{accounts.run}.json").read_text())
    assert written["published"] == accounts.published and written["blocks"]["done"] == 2


@pytest.mark.slow
def test_finer_classes_leave_the_level_above_as_it_is(simulated, tmp_path):
    levels = {"before": ("unet-small", 1), "above": ("unet-finer", 1), "finest": ("unet-finer", 2)}
    files = {}
    for name, (model, level) in levels.items():
        map_tiles(simulated.catalog, tmp_path / name, model, legend="finer", level=level)
        (files[name],) = (tmp_path / name / "lulc-annual").rglob("data.tif")
    assert files["before"].read_bytes() == files["above"].read_bytes()
    parts = {51, 52, 53, 71, 72}
    codes = np.unique(read(tmp_path / "finest", 2021)[0])
    assert parts & set(codes.tolist()) and not {5, 7} & set(codes.tolist())
