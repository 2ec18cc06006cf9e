"""Legends whose classes form a tree: what a level shows, and what is no tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.tree import class_tree
from catalog.validation import validate
from tests.catalog.tile_years import manifest_of, register

FORESTS = [
    {"code": 1, "name": "trees", "title": "Trees", "color": "397D49", "model_classes": ["trees"]},
    {"code": 11, "name": "natural", "title": "Natural", "color": "1B5E20", "parent": "trees"},
    {"code": 12, "name": "old", "title": "Old", "color": "0B3E10", "parent": "natural", "model_classes": ["old"]},
    {"code": 13, "name": "young", "title": "Young", "color": "2B7E30", "parent": "natural", "model_classes": ["young"]},
    {"code": 14, "name": "planted", "title": "Rows", "color": "9CCC65", "parent": "trees", "model_classes": ["rows"]},
    {"code": 2, "name": "open", "title": "Open", "color": "E3E2C3",
     "model_classes": [name for name in MODEL_CLASSES if name not in ("trees", "cloud")]},
    {"code": 10, "name": "clouds", "title": "Clouds", "color": "616161", "model_classes": ["cloud"]},
]  # fmt: skip
"""Three levels of trees, one of all else."""


def write(folder: Path, *classes: dict[str, Any]) -> str:
    legend = {"id": "forests", "version": "1", "description": "Forests apart", "classes": classes or FORESTS}
    (path := folder / "forests.json").write_text(json.dumps(legend))
    return str(path)


def network(name: str, *finer: tuple[str, str]) -> ModelSpec:
    leaves = class_tree(finer, name).leaves
    return ModelSpec(id=name, version="1", bands=BANDS, classes=leaves, parents=finer, stride=8, halo=8)


FOREST_NETWORK = network("forest-net", ("old", "trees"), ("young", "trees"), ("rows", "trees"))


def test_a_level_shows_ancestors_and_leaves_above(tmp_path: Path) -> None:
    path = write(tmp_path)
    shown = {level: [one.name for one in load_legend(path, level).classes] for level in (1, 2, 3)}
    assert shown[1] == ["trees", "open", "clouds"]
    assert shown[2] == ["natural", "planted", "open", "clouds"]
    assert shown[3] == ["old", "young", "planted", "open", "clouds"]
    assert load_legend(path) == load_legend(path, 3)
    assert load_legend(path).at_level(1) == load_legend(path, 1)
    assert load_legend(path, 2).classes[0].model_classes == ("old", "young")
    assert load_legend(path).finer() == FOREST_NETWORK.parents


def test_a_network_is_shown_at_levels_that_it_knows(tmp_path: Path) -> None:
    path, ten = write(tmp_path), network("ten-net")
    codes = load_legend(path, 2).fitted(FOREST_NETWORK).codes(FOREST_NETWORK.classes)
    assert codes.tolist() == [2, 11, 11, 14, *[2] * 7, 10]
    assert set(load_legend(path, 1).fitted(ten).codes(MODEL_CLASSES).tolist()) == {1, 2, 10}
    # What a legend does not split is summed: code written for nine classes maps with a finer network, too.
    assert load_legend("nine").fitted(FOREST_NETWORK).codes(FOREST_NETWORK.classes).tolist()[1:4] == [2, 2, 2]
    with pytest.raises(BadInput, match="at level 2 has no class for trees of network ten-net"):
        load_legend(path, 2).fitted(ten)
    with pytest.raises(BadInput, match="finer at level 2 has no class for crops of network forest-net"):
        load_legend("finer").fitted(FOREST_NETWORK)


def test_the_shipped_tree_begins_with_the_nine_classes() -> None:
    nine, finer = load_legend("nine"), load_legend("finer")
    told = ("code", "name", "title", "color")
    assert [[getattr(one, what) for what in told] for one in finer.at_level(1).classes] == [
        [getattr(one, what) for what in told] for one in nine.classes
    ]
    assert finer.at_level(1).fitted(network("ten-net")).codes(MODEL_CLASSES).tolist() == [
        1,
        2,
        11,
        4,
        5,
        11,
        7,
        8,
        9,
        10,
    ]
    assert {one.name for one in finer.classes} > {"residential", "industrial", "annual_crops", "pasture", "grass"}


def test_maps_of_flat_legends_keep_their_fingerprints() -> None:
    """What is published stays resumable: a legend without a tree is written as ever."""
    assert set(load_legend("ten").model_dump()) == {"id", "version", "description", "nodata", "classes"}
    assert set(load_legend("ten").model_dump()["classes"][0]) == {"code", "name", "title", "color", "model_classes"}
    assert load_legend("nine").fitted(network("ten-net")) is not None
    assert "parents" not in network("ten-net").model_dump()
    assert manifest_of().fingerprint == "0600376a2089d025"


def test_an_item_tells_the_whole_tree_and_its_level(tmp_path: Path) -> None:
    legend = load_legend(write(tmp_path), 2).fitted(FOREST_NETWORK)
    item = register(open_store(str(tmp_path / "maps")), manifest_of(legend=legend))
    validate(item)
    told = item["properties"]
    assert (told["landloom:legend"], told["landloom:legend_level"]) == ("forests 1 level 2", 2)
    assert {one["name"]: one.get("parent") for one in told["landloom:legend_tree"]} == {
        one["name"]: one.get("parent") for one in FORESTS
    }
    assert told["landloom:model_classes"]["natural"] == ["old", "young"]
    shown = [one["value"] for one in item["assets"]["data"]["classification:classes"]]
    assert shown == [0, 11, 14, 2, 10]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({1: {"parent": "old"}}, r"Class natural is its own ancestor in legend forests \(natural in old in natural\)"),
        ({4: {"parent": "wood"}}, "Class planted has the parent 'wood' in legend forests, which is no class of it"),
        ({4: {"name": "old"}}, "Class old has two parents in legend forests: natural and trees"),
        ({4: {"parent": ["trees", "open"]}}, r"classes\.4: .*class planted has several parents, trees, open"),
        ({4: {"model_classes": ["old"]}}, r"model class old \(old, planted\) stands twice"),
        ({4: {"code": 1}}, r"code 1 \(trees, planted\) stands twice"),
        ({4: {"model_classes": []}}, "class planted stands for no class of the network and has no children"),
    ],
)
def test_what_is_no_tree_is_refused(tmp_path: Path, change: dict[int, dict[str, Any]], told: str) -> None:
    path = write(tmp_path, *({**one, **change.get(number, {})} for number, one in enumerate(FORESTS)))
    with pytest.raises(BadInput, match=told) as error:
        load_legend(path)
    assert "forests.json" in str(error.value)


def test_a_level_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no level 4 of legend forests: it has the levels 1 to 3"):
        load_legend(write(tmp_path), 4)
    with pytest.raises(BadInput, match="no level 2 of legend nine: it has one level, 1"):
        load_legend("nine", 2)
    unknown = {"code": 3, "name": "moss", "title": "Moss", "color": "00AA00", "model_classes": ["moss"]}
    with pytest.raises(BadInput, match="moss of class moss is none of water"):
        load_legend(write(tmp_path, *FORESTS, unknown)).finer()
