"""Maps with the season of each pixel, and with a second stage that decides from it, on a simulated year."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES
from catalog.season import FEW_LOOKS, SEASON_BANDS, SEASON_NODATA
from catalog.validation import validate
from pipelines.simulate import Product, Simulation, simulate
from services.inference import model_spec
from tests.networks import write_second_stage, write_spectral_network
from tests.pipelines.running import map_tiles

pytestmark = pytest.mark.slow
CROPS = MODEL_CLASSES.index("crops")


@pytest.fixture(scope="module")
def year(tmp_path_factory) -> Simulation:
    """A year of twelve dates whose vegetation changes, at the end of the last block: its last strip is a short one."""
    product = Product("33UUU", col=9000, row=9840, size=(160, 240))
    folder = tmp_path_factory.mktemp("year")
    return simulate(folder, [product], years=(2021,), dates_per_year=12, cloud=0.45, seed=4, phenology=True)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> tuple[Path, Path]:
    """One that knows the simulator's spectra, and a second stage that calls crops what is green in part of the year."""
    folder = tmp_path_factory.mktemp("networks")
    return write_spectral_network(folder / "spectral.onnx"), write_second_stage(folder / "swing.onnx")


@pytest.fixture(scope="module")
def maps(year, networks, tmp_path_factory) -> tuple[Path, Path]:
    """The same year by the plain vote, and with seasons and a second stage."""
    plain, seasonal = (tmp_path_factory.mktemp(name) for name in ("plain", "seasonal"))
    first, second = networks
    assert map_tiles(year.catalog, plain, first).published == ["33UUU-2021"]
    accounts = map_tiles(year.catalog, seasonal, first, second_stage=second, seasons=True, scores=True)
    assert accounts.published == ["33UUU-2021"]
    return plain, seasonal


def item_in(out: Path) -> dict:
    return json.loads((out / "lulc-annual/33UUU/2021/33UUU-2021.json").read_text())


def read(out: Path, asset: str) -> np.ndarray:
    """The bands of an asset where the scene lies."""
    href = item_in(out)["assets"][asset]["href"]
    with rasterio.open(out / "lulc-annual/33UUU/2021" / href) as source:
        bands = source.read()
    with rasterio.open(out / "lulc-annual/33UUU/2021" / item_in(out)["assets"]["observations"]["href"]) as source:
        rows, cols = np.nonzero(source.read(1))
    return bands[:, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]


def truth_of(year: Simulation) -> np.ndarray:
    with rasterio.open(year.truth["33UUU", 2021]) as source:
        return source.read(1)


def test_the_season_of_each_class_is_the_simulators(maps, year):
    found = dict(zip(SEASON_BANDS, read(maps[1], "seasons"), strict=True))
    truth = truth_of(year)
    rich = found["looks"] >= FEW_LOOKS
    # Snow that lies on some winter days lowers what is low in a year, not what is high.
    above = found["ndvi_p90"] - found["ndvi_p50"]
    swing = {name: np.median(above[rich & (truth == MODEL_CLASSES.index(name))]) for name in ("crops", "shrub")}
    assert swing["crops"] > 2000 > 1000 > swing["shrub"]
    peaks = found["ndvi_peak_day"][rich & (truth == CROPS)]
    assert ((peaks > 100) & (peaks < 240)).mean() > 0.9
    assert (found["looks"] == read(maps[1], "observations")[0]).all(), "the same looks as those that vote"


def test_a_second_stage_decides_where_there_are_looks_enough_and_the_vote_elsewhere(maps):
    plain, seasonal = (read(out, "data")[0] for out in maps)
    looks = read(maps[0], "observations")[0]
    assert (plain == seasonal)[looks < FEW_LOOKS].all()
    features = dict(zip(SEASON_BANDS, read(maps[1], "seasons"), strict=True))
    swings = (looks >= FEW_LOOKS) & (features["ndvi_amplitude"] > 5500)
    crops = load_legend("nine").codes(MODEL_CLASSES)[CROPS]
    assert swings.any() and (seasonal == crops)[swings].mean() > 0.95
    scores = read(maps[1], "scores")
    assert (scores[MODEL_CLASSES.index("crops")][swings] > 50).mean() > 0.95, "its scores are published"


def test_the_item_says_which_stages_made_the_map(maps, networks):
    item, second = item_in(maps[1]), model_spec(str(networks[1]))
    validate(item)
    properties = item["properties"]
    assert "swing 1 decided from the vote and the season" in properties["processing:lineage"]
    told = properties["landloom:second_stage"]
    features = read(maps[1], "seasons")
    assert told["model"] == "swing 1" and told["sha256"] == second.sha256
    assert told["pixels"] == (features[-1] >= FEW_LOOKS).sum()
    few = properties["landloom:season"]["pixels_with_few_looks"]
    assert few == ((features[-1] > 0) & (features[-1] < FEW_LOOKS)).sum() > 0
    assert properties["landloom:confidence"] == {"calibrated": False}
    derived = [link["title"] for link in item["links"] if link["rel"] == "derived_from"]
    assert derived[-2:] == ["spectral", "swing"]
    models = json.loads((maps[1] / "models/collection.json").read_text())
    assert len([link for link in models["links"] if link["rel"] == "item"]) == 2
    (manifest,) = (json.loads(path.read_text()) for path in maps[1].glob("lulc-annual/33UUU/2021/*/manifest.json"))
    assert manifest["second_stage"]["sha256"] == second.sha256


def test_the_asset_tells_its_bands_and_their_scale(maps):
    asset = item_in(maps[1])["assets"]["seasons"]
    assert [one["name"] for one in asset["bands"]] == list(SEASON_BANDS)
    with rasterio.open(maps[1] / "lulc-annual/33UUU/2021" / asset["href"]) as source:
        assert source.descriptions == SEASON_BANDS and source.nodata == SEASON_NODATA
        assert source.scales == tuple(one["scale"] for one in asset["raster:bands"])
    assert "season" in item_in(maps[1])["properties"]["renders"]
    assert "seasons" not in item_in(maps[0])["assets"] and "season" not in item_in(maps[0])["properties"]["renders"]
    assert not list(maps[1].glob("staging/**/*.tif")), "what was staged is gone"


def test_what_shows_no_season_is_dead_lettered_and_says_why(year, networks, tmp_path):
    accounts = map_tiles(year.catalog, tmp_path, networks[0], seasons=True, max_scenes=2)
    assert "no season can be told from 2 datatakes in 2 months" in accounts.dead_lettered["33UUU-2021"]
