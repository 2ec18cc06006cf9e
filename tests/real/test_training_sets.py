"""Training sets from real scenes: labelled by OpenStreetMap, by a network, and by a map in degrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform as transform_points

from catalog.chips import UNLABELLED
from catalog.grid import Tile, tile_at
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from catalog.translation import numbers
from pipelines.simulate import Product, simulate
from services.inference.chips import TEACHER_BANDS, read_chips
from tests.pipelines.running import landloom
from tests.real.test_foreign_network import WEIGHTS, write_scene

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SCENES, OSM = SHARED / "scenes", SHARED / "training" / "osm_brandenburg.tif"
WORLDCOVER = SHARED / "reference" / "esa-worldcover" / "ESA_WorldCover_10m_2021_v200_N00E006"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not OSM.is_file(), reason=f"no real data in {SHARED}")]

RECIPE = """
learn_from = "labels"
epochs = 1
widths = [8, 16]
patch = 128
batch = 2
class_weights = "inverse-log"
held_out = 0
"""


@pytest.fixture(scope="module")
def brandenburg(tmp_path_factory) -> Path:
    """The winter scene with OpenStreetMap's land use, which leaves much unlabelled."""
    out = tmp_path_factory.mktemp("sets") / "brandenburg"
    landloom(
        *("dataset", "--source", SCENES, "--labels", OSM, "--classes", "landloom", "--year", "2017", "--out", out),
        *("--min-labelled", "20", "--split", "1,0,0"),
    )
    return out


def test_openstreetmap_lies_on_its_scene(brandenburg: Path) -> None:
    store = open_store(str(brandenburg))
    found, chips = open_training_set(store)
    report = json.loads((brandenburg / "report.json").read_text())
    assert found.bands == BANDS and {chip.level for chip in chips} == {"L1C"}
    assert len(chips) == report["written"] >= 10
    assert report["candidates"] == report["written"] + len(report["dropped"])
    with rasterio.open(OSM) as labels:
        for chip in chips:
            window = labels.window(*rasterio.transform.array_bounds(*chip.shape, Affine(*chip.transform)))
            window = window.round_offsets().round_lengths()
            wanted = labels.read(1, window=window, boundless=True, fill_value=UNLABELLED)
            pixels = read_pixels(store, chip)
            seen = pixels.image[0] > 0
            assert (pixels.labels == wanted)[seen].all() and (pixels.labels[~seen] == UNLABELLED).all()
    water, trees = (MODEL_CLASSES.index(name) for name in ("water", "trees"))
    everything = [read_pixels(store, chip) for chip in chips]
    near_infrared = {
        k: np.median(np.concatenate([one.image[3][one.labels == k] for one in everything])) for k in (water, trees)
    }
    assert near_infrared[water] < 0.7 * near_infrared[trees], "labels lie on what they name"


def test_it_is_trained_on(brandenburg: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert len(read_chips([str(brandenburg)], "train")) >= 10
    (tmp_path / "recipe.toml").write_text(RECIPE)
    landloom(
        *("train", "--dataset", brandenburg, "--config", tmp_path / "recipe.toml", "--out", tmp_path / "net.pt"),
        *("--threads", "1"),
    )
    assert (tmp_path / "net.pt").is_file()


def test_a_shipped_network_teaches(tmp_path: Path) -> None:
    out = tmp_path / "aquileia"
    done = landloom(
        *("dataset", "--source", SCENES, "--teacher", "unet-small", "--bbox", "13.33,45.72,13.40,45.77"),
        *("--year", "2019", "--chip", "128", "--count", "6", "--split", "1,0,0", "--out", out),
    )
    assert "6 of" in done.stderr
    store = open_store(str(out))
    _, chips = open_training_set(store)
    assert {chip.scene for chip in chips} == {"S2_MSIL2A_20190416_T33TUL_aquileia"}
    for chip in chips:
        pixels = read_pixels(store, chip)
        known = pixels.labels != UNLABELLED
        assert chip.teacher == "unet-small" and pixels.scores is not None and known.mean() > 0.5
        assert (pixels.scores.argmax(axis=0) == pixels.labels)[known].all()
    assert len(read_chips([str(out)], "train")) == 6


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no {WEIGHTS}")
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_a_foreign_network_of_nine_bands_teaches(tmp_path: Path, level: str) -> None:
    """As its makers' own answers are, which stand beside the chip from which the scene is made."""
    name = f"punjab-20200604-{level.lower()}_00_00"
    tile = write_scene(tmp_path / "scene", name, level)
    home = {"LANDLOOM_MODELS": str(tmp_path / "registry")}
    landloom(
        *("models", "add", WEIGHTS, "--id", "dynamic-world", "--bands", ",".join(TEACHER_BANDS)),
        *("--classes", ",".join(MODEL_CLASSES[:9]), "--stride", "2", "--halo", "24", "--level", "L1C"),
        **home,
    )
    landloom(
        *("dataset", "--source", tmp_path / "scene", "--teacher", "dynamic-world", "--tiles", tile, "--year", "2020"),
        *("--chip", "128", "--min-labelled", "10", "--split", "1,0,0", "--out", tmp_path / "set"),
        **home,
    )
    store = open_store(str(tmp_path / "set"))
    found, chips = open_training_set(store)
    assert found.bands == TEACHER_BANDS and chips
    same = []
    with rasterio.open(SHARED / "training" / "chips" / f"{name}_teacher.tif") as answers:
        for chip in chips:
            window = answers.window(*rasterio.transform.array_bounds(*chip.shape, Affine(*chip.transform)))
            window = window.round_offsets().round_lengths()
            wanted = answers.read(window=window, boundless=True, fill_value=0)
            labels = read_pixels(store, chip).labels
            known = (labels != UNLABELLED) & (wanted.max(axis=0) > 0)
            same.append((wanted.argmax(axis=0) == labels)[known])
    assert np.concatenate(same).mean() > 0.85


def test_worldcover_in_degrees_lies_on_utm(tmp_path: Path) -> None:
    """Real labels of Sao Tome and its year, from the published item; scenes of that place are simulated."""
    lon, lat = 6.6, 0.25
    tile = Tile.from_name(tile_at(lon, lat).name)
    (x,), (y,) = transform_points("EPSG:4326", f"EPSG:{tile.epsg}", [lon], [lat])
    col, row = (int(v) // 16 * 16 for v in ~tile.transform @ (x, y))
    source = simulate(
        tmp_path / "scenes", [Product(tile.name, col, row, (256, 256))], years=(2021,), dates_per_year=1, cloud=0.0
    )  # fmt: skip
    out = tmp_path / "set"
    landloom(
        *("dataset", "--source", source.catalog, "--labels", WORLDCOVER / f"{WORLDCOVER.name}.json", "--out", out),
        *("--classes", "worldcover", "--centre", f"{lon + 0.0115},{lat - 0.0115}", "--size-km", "2.5,2.5"),
        *("--chip", "128"),
    )
    store = open_store(str(out))
    _, chips = open_training_set(store)
    assert chips
    meaning = numbers("worldcover", MODEL_CLASSES)
    with rasterio.open(WORLDCOVER / f"{WORLDCOVER.name}_Map.tif") as labels:
        for chip in chips:
            pixels = read_pixels(store, chip)
            rows, cols = np.argwhere((pixels.labels != UNLABELLED) & (pixels.labels != 9))[::97].T
            to_utm = Affine(*chip.transform)
            xs, ys = to_utm @ (cols + 0.5, rows + 0.5)
            lons, lats = transform_points(f"EPSG:{chip.epsg}", "EPSG:4326", xs, ys)
            there = [meaning[str(int(value))] for (value,) in labels.sample(zip(lons, lats, strict=True))]
            assert np.mean(np.array(there) == pixels.labels[rows, cols]) > 0.98
