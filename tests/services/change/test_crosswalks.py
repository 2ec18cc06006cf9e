"""Other legends, and what transitions mean in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.assets import class_list
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.store import open_store
from services.change.blocks import opened
from services.change.crosswalks import crosswalked, load_crosswalk
from services.change.degradation import degradation_table, load_degradation
from services.change.map_legend import read_legend
from services.change.publish import publish_change
from services.change.series import open_series
from services.change.settings import Settings
from services.change.tally import tally_place
from services.change.themes import load_themes
from services.change.transitions import TransitionMatrix, matrix_of
from tests.services.change.maps import BUILT, CROPS, RANGELAND, TREES, WATER, write_years

BARE, CLOUDS = 8, 10
FIRST = np.array([[TREES, TREES, RANGELAND, CROPS], [WATER, BARE, BUILT, CLOUDS]])
SECOND = np.array([[TREES, CROPS, CROPS, RANGELAND], [TREES, BUILT, BUILT, TREES]])


def test_maps_are_counted_in_the_other_legend(tmp_path: Path) -> None:
    series = crosswalked(open_series(write_years(tmp_path, FIRST, SECOND)), load_crosswalk("unccd"))
    assert series.legend.names[:3] == ("tree_covered", "grassland", "cropland")
    assert "Classes are those of UNCCD" in series.notes[-1]
    with opened(series, series.places[0]) as place:
        tally = tally_place(place)
    matrix = matrix_of(tally, series.legend.names, 2017, 2018)
    assert matrix.unobserved_pixels == 1
    found = {(matrix.names[i], matrix.names[j]): int(matrix.pixels[i, j]) for i, j in np.argwhere(matrix.pixels)}
    assert found == {
        ("tree_covered", "tree_covered"): 1,
        ("tree_covered", "cropland"): 1,
        ("grassland", "cropland"): 1,
        ("cropland", "grassland"): 1,
        ("water_body", "tree_covered"): 1,
        ("other_land", "artificial"): 1,
        ("artificial", "artificial"): 1,
    }
    table = degradation_table(matrix, load_degradation()).set_index("meaning")
    # Of six pixels of land: trees to crops, crops to grass, bare to built; grass to crops.
    assert table.pixels.to_dict() == {"degradation": 3, "stable": 2, "improvement": 1}
    assert table.percent_of_land["degradation"] == pytest.approx(50, abs=0.01)


@pytest.mark.parametrize("name", ["ipcc", "unccd", "worldcover"])
@pytest.mark.parametrize("legend", ["nine", "ten"])
def test_shipped_crosswalks_know_every_class_of_shipped_legends(tmp_path: Path, name: str, legend: str) -> None:
    classes = class_list(load_legend(legend))
    series = open_series(write_years(tmp_path, [[TREES]], [[TREES]], classes=classes))
    numbers = crosswalked(series, load_crosswalk(name)).legend.numbers()
    published = [one["value"] for one in classes if one["name"] not in ("no_data", "clouds")]
    assert ((numbers[published] > 0) & (numbers[published] < 100)).all()


def test_worldcover_and_older_io_maps_are_known(tmp_path: Path) -> None:
    worldcover = [{"value": one.value, "name": one.name} for one in load_crosswalk("worldcover").classes]
    older = ["Water", "Trees", "Flooded vegetation", "Crops", "Built area", "Bare ground", "Snow/ice", "Rangeland"]
    titles = [{"values": [value], "summary": title} for value, title in enumerate(older, start=1)]
    series = open_series(write_years(tmp_path, [[TREES]], [[TREES]]))
    for asset in ({"classification:classes": worldcover}, {"file:values": titles}):
        told = read_legend(asset, "an item")
        for name in ("ipcc", "unccd", "worldcover"):
            known = {source for one in load_crosswalk(name).classes for source in one.sources}
            assert set(told.names) <= known, name
    assert series.legend.names


def test_the_matrix_of_the_guidance_is_whole() -> None:
    meanings, names = load_degradation(), [one.name for one in load_crosswalk("unccd").classes]
    assert list(meanings.transitions) == names and all(list(row) == names for row in meanings.transitions.values())
    # Trends.Earth, LDMP/data/land_cover_transition_matrix_unccd.json, in the order of the classes.
    rows = ["0-----0", "+0+---0", "+-0---0", "---0--0", "++++0+0", "++++-00", "0000000"]
    sign = {"degradation": "-", "stable": "0", "improvement": "+"}
    assert ["".join(sign[one] for one in row.values()) for row in meanings.transitions.values()] == rows


@pytest.mark.slow
def test_degradation_stands_in_the_product_with_the_reason_for_no_interval(tmp_path: Path) -> None:
    series = crosswalked(open_series(write_years(tmp_path / "maps", FIRST, SECOND)), load_crosswalk("unccd"))
    store = open_store(str(tmp_path / "out"))
    settings = Settings("here-unccd", load_themes(), load_degradation())
    account = publish_change(store, series, settings)
    item = json.loads(store.read(account.item))
    assert {"degradation", "degradation_csv"} <= set(item["assets"])
    share = item["properties"]["landloom:degraded_percent_of_land"]
    assert share["mapped"] == pytest.approx(50, abs=0.01) and share["kind"] == "no interval" and share["reason"]
    assert "no interval can be given" in item["properties"]["landloom:source_accuracy"]["interval"]
    page = (Path(store.href(account.item)).parent / item["assets"]["page"]["href"]).read_text()
    assert "One of three sub-indicators" in page and "<td>degradation</td>" in page
    assert publish_change(store, series, settings).skipped == ["33UVU-here-unccd-2017-2018", "here-unccd-2017-2018"]


def test_gaps_are_refused(tmp_path: Path) -> None:
    series = open_series(write_years(tmp_path, FIRST, SECOND))
    with pytest.raises(BadInput, match="There is no crosswalk 'corine'"):
        load_crosswalk("corine")
    own = tmp_path / "own.json"
    two = [
        {"value": 1, "name": "forest", "title": "Forest", "color": "00FF00", "from": ["trees"]},
        {"value": 2, "name": "rest", "title": "Rest", "color": "FF0000", "from": ["water", "trees"]},
    ]
    own.write_text(json.dumps({"title": "Mine", "source": "me", "note": "", "classes": two}))
    with pytest.raises(BadInput, match="'Mine' gives the class 'trees' twice"):
        crosswalked(series, load_crosswalk(str(own)))
    two[1]["from"] = ["water"]
    own.write_text(json.dumps({"title": "Mine", "source": "me", "note": "", "classes": two}))
    with pytest.raises(BadInput, match="does not say what flooded_vegetation, crops, "):
        crosswalked(series, load_crosswalk(str(own)))
    one = np.array([[0, 1], [0, 0]])
    matrix = TransitionMatrix(2017, 2018, ("tree_covered", "rocks"), one, one * 1.0)
    with pytest.raises(BadInput, match="does not say what tree_covered to rocks means"):
        degradation_table(matrix, load_degradation())
    nothing = TransitionMatrix(2017, 2018, ("tree_covered",), one[:1, :1], one[:1, :1] * 1.0)
    assert degradation_table(nothing, load_degradation()).percent_of_land.isna().all()
