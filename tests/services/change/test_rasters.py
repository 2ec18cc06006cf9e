from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

from catalog.errors import BadInput
from services.change import blocks, rasters
from services.change.blocks import opened
from services.change.persistence import persistence
from services.change.rasters import NO_CHANGE, ChangeMap, ChangeMaps, transition_value
from services.change.series import Series, open_series
from services.change.tally import tally_place
from tests.services.change.maps import BUILT, CROPS, RANGELAND, TREES, WATER, write_years


def _made(series: Series, folder: Path, unit: float = 0.0) -> dict[str, ChangeMap]:
    with opened(series, series.places[0]) as place:
        maps = ChangeMaps(place, folder, unit)
        tally_place(place, maps.write)
        return {one.name: one for one in maps.finish()}


def _read(one: ChangeMap) -> np.ndarray:
    with rasterio.open(one.path) as source:
        assert (source.dtypes[0], source.nodata) == (one.dtype, one.nodata)
        return source.read(1)


def test_maps_of_change_agree_with_the_years_pixel_by_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 256)
    random = np.random.default_rng(5)
    years = random.choice([0, WATER, TREES, CROPS, BUILT], (4, 600, 530), p=[0.05, 0.05, 0.5, 0.35, 0.05])
    series = open_series(write_years(tmp_path / "maps", *years))
    numbers = series.legend.numbers()[years]
    made = _made(series, tmp_path)
    assert list(made) == ["transition", "persistence", "change_year", "changes"]
    for one in made.values():
        assert cog_validate(one.path, quiet=True)[0]
    found, lost = persistence(numbers), (years[0] == 0) | (years[-1] == 0)
    np.testing.assert_array_equal(_read(made["persistence"]), found.kind)
    np.testing.assert_array_equal(_read(made["changes"])[~lost], found.flips[~lost])
    since = np.where(found.since > 0, 2017 + found.since.astype(int), 0)
    np.testing.assert_array_equal(_read(made["change_year"]), np.where(lost, 0, since))
    transition = _read(made["transition"])
    assert (transition[lost] == 0).all()
    np.testing.assert_array_equal((transition == NO_CHANGE), (years[0] == years[-1]) & ~lost)
    by_value = {one["value"]: one["name"] for one in made["transition"].classes}
    names = ("", *series.legend.names)
    for value in np.unique(transition[transition > NO_CHANGE]).tolist():
        before, after = by_value[value].split("_to_")
        here = transition == value
        assert {names[k] for k in np.unique(numbers[0][here])} == {before}
        assert {names[k] for k in np.unique(numbers[-1][here])} == {after}
    with rasterio.open(made["transition"].path) as source:
        table, tags = source.colormap(1), source.tags(1)
    for one in made["transition"].classes[1:]:
        assert table[one["value"]] == (*bytes.fromhex(one["color_hint"]), 255)
        assert tags[f"CLASS_{one['value']}"] == one["title"]


def test_two_years_give_the_transition_alone(tmp_path: Path) -> None:
    series = open_series(write_years(tmp_path / "maps", [[TREES, TREES]], [[TREES, CROPS]]))
    (one,) = _made(series, tmp_path).values()
    assert _read(one).tolist() == [[NO_CHANGE, transition_value(series.legend, 2, 4)]]
    assert [told["name"] for told in one.classes] == ["no_data", "no_change", "trees_to_crops"]


def test_beside_the_area_of_interest_is_no_data(tmp_path: Path) -> None:
    path = write_years(tmp_path / "maps", *[np.full((60, 60), TREES)] * 3)
    west, south, east, north = open_series(path).places[0].geometry.bounds
    series = open_series(path, geometry=shapely.Polygon([(west, south), (east, south), (west, north)]))
    made = _made(series, tmp_path)
    transition = _read(made["transition"])
    assert (transition == NO_CHANGE).mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(transition > 0, _read(made["persistence"]) > 0)
    np.testing.assert_array_equal(transition > 0, _read(made["changes"]) == 0)


def test_patches_below_the_minimum_mapping_unit_show_no_change_and_are_counted(tmp_path: Path) -> None:
    first, second = np.full((40, 40), TREES), np.full((40, 40), TREES)
    second[2:4, 2:4] = CROPS  # 4 px: too small.
    second[10:15, 10:15] = CROPS  # 25 px
    second[11, 11] = TREES  # An island in it stays what it is.
    second[15:18, 10:12] = RANGELAND  # 6 px, beside the other: not its change.
    series = open_series(write_years(tmp_path / "maps", first, second))
    crops = transition_value(series.legend, 2, 4)
    # A pixel has 0.01 ha.
    whole = _read(_made(series, tmp_path)["transition"])
    assert (whole == crops).sum() == 4 + 24
    sieved = _read(_made(series, tmp_path, 0.1)["transition"])
    assert (sieved == crops).sum() == 24 and (sieved[10:15, 10:15] == whole[10:15, 10:15]).all()
    assert (sieved[15:18, 10:12] == NO_CHANGE).all() and (sieved[2:4, 2:4] == NO_CHANGE).all()
    with opened(series, series.places[0]) as place:
        tally = tally_place(place).transitions
    assert tally[tally.to_class == "crops"].pixels.sum() == 28


def test_what_is_too_large_to_be_sieved_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasters, "_SIEVED_PIXELS", 3)
    series = open_series(write_years(tmp_path / "maps", [[TREES] * 4], [[TREES] * 4]))
    with pytest.raises(BadInput, match="4 px in the area of interest; 3 are possible"):
        _made(series, tmp_path, 0.5)
