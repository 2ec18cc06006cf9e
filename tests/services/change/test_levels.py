"""Areas, transitions and zones follow the tree of classes that stands in the maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from catalog.assets import class_list, legend_tree
from catalog.errors import BadInput
from catalog.legend import load_legend
from services.change.blocks import opened
from services.change.crosswalks import crosswalked, load_crosswalk
from services.change.series import open_series
from services.change.tally import tally_place
from services.change.transitions import TransitionMatrix, matrix_of
from tests.pipelines.running import landloom
from tests.services.change.maps import BUILT, CROPS, TREES, write_collection, write_map, write_years

ANNUAL, PERMANENT, PASTURE, RESIDENTIAL, INDUSTRIAL, CLOUDS = 51, 52, 53, 71, 72, 10
FINER = load_legend("finer")


def told(level: int) -> dict[str, Any]:
    """What an item of a map at a level tells, besides the usual."""
    legend = load_legend("finer", level)
    return {"classes": class_list(legend), **legend_tree(legend)}


def drawn(seed: int) -> np.ndarray:
    codes = (TREES, ANNUAL, PERMANENT, PASTURE, RESIDENTIAL, INDUSTRIAL, CLOUDS)
    return np.random.default_rng(seed).choice(codes, (60, 80)).astype(np.uint8)


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> str:
    """Two years at level 2."""
    return write_years(tmp_path_factory.mktemp("maps"), drawn(1), drawn(2), **told(2))


def counted(maps: str, level: int | None) -> TransitionMatrix:
    series = open_series(maps, level=level)
    with opened(series, series.places[0]) as place:
        return matrix_of(tally_place(place), series.legend.names, 2017, 2018)


def test_children_sum_to_their_parent(maps: str) -> None:
    coarse, fine, tree = counted(maps, 1), counted(maps, None), FINER.as_tree()
    assert {"crops", "built", "rangeland"} < set(coarse.names) and "crops" not in fine.names
    assert counted(maps, 2).names == fine.names
    parent = np.array([coarse.names.index(tree.at(name, 1)) for name in fine.names])
    together = np.zeros_like(coarse.pixels)
    np.add.at(together, (parent[:, None], parent[None]), fine.pixels)
    assert (together == coarse.pixels).all() and coarse.unobserved_pixels == fine.unobserved_pixels > 0
    # From homes to works is change of level 2, and none of level 1.
    built = coarse.names.index("built")
    homes, works = (fine.names.index(name) for name in ("residential", "industrial"))
    assert 0 < fine.pixels[homes, works] < coarse.pixels[built, built]


def test_a_crosswalk_starts_from_a_level(maps: str) -> None:
    with pytest.raises(BadInput, match=r"does not say what annual_crops.* a coarser --level"):
        crosswalked(open_series(maps), load_crosswalk("ipcc"))
    series = crosswalked(open_series(maps, level=1), load_crosswalk("ipcc"))
    numbers = series.legend.numbers()
    assert numbers[ANNUAL] == numbers[PASTURE] == series.legend.names.index("cropland") + 1


@pytest.mark.slow
def test_the_commands_tell_a_level(maps: str, tmp_path: Path) -> None:
    item = json.loads(next(Path(maps).parent.glob("*/33UVU-2017.json")).read_text())
    ground = shapely.geometry.shape(item["geometry"]).buffer(0.01)
    geopandas.GeoDataFrame({"id": ["all"]}, geometry=[ground], crs=4326).to_file(tmp_path / "zones.gpkg")
    asked = ("--maps", maps, "--out", tmp_path / "out", "--level", "1", "--name", "here")
    done = landloom("change", *asked)
    item = Path(done.stdout.strip())
    assert item.stem == "here-level-1-2017-2018"
    areas = pd.read_parquet(item.parent / json.loads(item.read_text())["assets"]["areas"]["href"])
    landloom("zonal", *asked, "--zones", tmp_path / "zones.gpkg")
    (item,) = (tmp_path / "out").glob("lulc-zonal/here-level-1/*/*.json")
    zones = pd.read_parquet(item.parent / json.loads(item.read_text())["assets"]["areas"]["href"])
    crops, hectare = (ANNUAL, PERMANENT, PASTURE), 0.01
    for year, seed in ((2017, 1), (2018, 2)):
        mapped = np.isin(drawn(seed), crops).sum() * hectare
        for table in (areas, zones):
            (found,) = table[(table.year == year) & (table["class"] == "crops")].mapped_hectares
            assert found == pytest.approx(mapped, rel=2e-3)


def test_levels_that_cannot_be_compared_are_named(maps: str, tmp_path: Path) -> None:
    write_map(tmp_path, np.full((60, 80), BUILT, np.uint8), 2017, **told(1))
    write_map(tmp_path, drawn(2), 2018, **told(2))
    mixed = write_collection(tmp_path)
    with pytest.raises(BadInput, match=r"33UVU-2017 shows level 1 of its legend, 33UVU-2018 level 2.*Give --level 1"):
        open_series(mixed)
    with pytest.raises(BadInput, match="--level 2: 33UVU-2017 was published at level 1 and shows no finer class"):
        open_series(mixed, level=2)
    matrix = counted(mixed, 1)
    built = matrix.names.index("built")
    assert matrix.pixels[built].sum() == matrix.pixels.sum() > matrix.pixels[built, built] > 0
    with pytest.raises(BadInput, match="--level 3: the classes of 33UVU-2017 have the levels 1 to 2"):
        open_series(maps, level=3)
    flat = write_years(tmp_path / "flat", np.full((4, 4), CROPS), np.full((4, 4), TREES))
    with pytest.raises(BadInput, match="tell no tree of classes"):
        open_series(flat, level=1)
    write_map(tmp_path, drawn(1), 2017, **{**told(2), "landloom:legend_tree": told(2)["landloom:legend_tree"][:-1]})
    with pytest.raises(BadInput, match="different trees of classes"):
        open_series(mixed, level=1)
