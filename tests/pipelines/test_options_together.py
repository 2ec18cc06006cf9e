"""Options given together publish valid items, and those that need not change the map do not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from catalog.validation import validate
from pipelines.radar_simulation import simulate_radar
from pipelines.simulate import Product, simulate
from pipelines.simulate_landsat import simulate_landsat
from tests.networks import write_radar_network, write_second_stage, write_spectral_network
from tests.pipelines.running import contents, map_tiles
from tests.servers.triton import serve_triton

pytestmark = pytest.mark.slow

GROUND = Product("33UUU", col=9000, row=9840, size=(120, 120))
DECIDING = {"radar", "second stage"}
"""Options that another map comes of; the others add to it."""
ADDING = {"seasons", "scores", "finer"}
TOGETHER = [
    ("sentinel-2", ADDING | {"radar"}),
    ("sentinel-2", ADDING | {"second stage"}),
    ("landsat", ADDING | {"second stage"}),
]
ELSEWHERE = {"radar", "second stage", "seasons"}
"""Given with the network on a server."""


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What is passed for each source and option."""
    folder = tmp_path_factory.mktemp("given")
    common: dict[str, Any] = {"years": (2021,), "dates_per_year": 7, "cloud": 0.2, "seed": 4}
    light = simulate(folder / "light", [GROUND], phenology=True, **common)
    landsat = simulate_landsat(folder / "landsat", [GROUND], **common)
    # A network is asked for radar by its channels: without --radar it finds none.
    radar = write_radar_network(folder / "spectral-radar.onnx")
    coarse = write_spectral_network(folder / "spectral.onnx", gsd=30)
    return {
        "sentinel-2": {
            "map": {"source": light.catalog, "network": radar},
            "radar": {"radar": simulate_radar(folder / "radar", [GROUND], years=(2021,), passes=12, seed=4)},
            "second stage": {"second_stage": write_second_stage(folder / "swing.onnx", first="spectral-radar 1")},
        },
        "landsat": {
            "map": {"source": landsat.catalog, "network": coarse},
            "second stage": {"second_stage": write_second_stage(folder / "swing-30m.onnx", least=0.2)},
        },
        "any": {
            "seasons": {"seasons": True},
            "scores": {"scores": True},
            "finer": {"legend": "finer", "level": 1},
        },
    }


def asked(given: dict[str, dict[str, Any]], source: str, options: Iterable[str]) -> dict[str, Any]:
    told = {**given["any"], **given[source]}
    return {name: value for one in ("map", *options) for name, value in told[one].items()}


@pytest.fixture(scope="module")
def mapped(given, tmp_path_factory):
    """Maps a source with some options, once: `mapped("landsat", {"seasons"})` is the output."""
    made: dict[tuple[str, frozenset[str]], Path] = {}

    def run(source: str, options: set[str]) -> Path:
        key = source, frozenset(options)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(source)
            accounts = map_tiles(out=made[key], **asked(given, source, options))
            assert accounts.published == ["33UUU-2021"], accounts.dead_lettered
        return made[key]

    return run


def item_in(out: Path) -> tuple[dict[str, Any], Path]:
    (path,) = out.glob("lulc-annual*/33UUU/2021/33UUU-2021.json")
    return json.loads(path.read_text()), path.parent


def read(out: Path, asset: str) -> np.ndarray:
    item, folder = item_in(out)
    with rasterio.open(folder / item["assets"][asset]["href"]) as source:
        return source.read()


@pytest.mark.parametrize(
    ("source", "options"), TOGETHER, ids=[f"{source}, {' + '.join(sorted(some))}" for source, some in TOGETHER]
)
def test_they_publish_a_valid_item_of_the_same_map(mapped, source, options) -> None:
    out = mapped(source, options)
    item, _ = item_in(out)
    validate(item)
    properties = item["properties"]
    assert {"seasons", "scores"} <= set(item["assets"]) and properties["landloom:legend"] == "finer 1 level 1"
    assert ("landloom:second_stage" in properties) is ("second stage" in options)
    assert (properties.get("landloom:radar", {}).get("scenes", 0) > 0) is ("radar" in options)
    without = mapped(source, options & DECIDING)
    for asset in ("data", "confidence", "observations"):
        assert (read(out, asset) == read(without, asset)).all(), asset


def test_radar_and_a_second_stage_both_have_their_say(mapped) -> None:
    both = read(mapped("sentinel-2", ELSEWHERE), "data")
    assert all((both != read(mapped("sentinel-2", {one}), "data")).any() for one in DECIDING)
    validate(item_in(mapped("sentinel-2", ELSEWHERE))[0])


def test_the_map_is_the_same_with_the_network_elsewhere(given, mapped, tmp_path) -> None:
    """Radar goes to the server with the bands; the second stage stays in the worker. Bit for bit."""
    known = asked(given, "sentinel-2", ELSEWHERE)
    with serve_triton(tmp_path / "models", known["network"]) as server:
        accounts = map_tiles(out=tmp_path / "out", inference=f"triton://{server.grpc}", **known)
    assert accounts.published == ["33UUU-2021"]
    assert contents(tmp_path / "out") == contents(mapped("sentinel-2", ELSEWHERE))


def test_each_pair_is_given_together() -> None:
    given = [options for source, options in TOGETHER if source == "sentinel-2"] + [ELSEWHERE]
    assert all(any({*pair} <= options for options in given) for pair in combinations(ADDING | DECIDING, 2))
