"""The matrix of a published notebook, and cases of the papers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BadInput
from services.change.areas import net_and_gross
from services.change.intensity import intensity
from services.change.themes import by_theme, load_themes
from services.change.transitions import TransitionMatrix, components, ranked

NAMES = ("water", "trees", "flooded_vegetation", "crops", "built", "bare", "rangeland")
CELLS = np.array(
    [
        [10185, 473, 66, 74, 10, 5, 601],
        [2577, 1410068, 245, 23500, 180, 504, 48050],
        [214, 100, 678, 7, 0, 15, 143],
        [167, 9397, 3, 638037, 476, 1746, 33554],
        [5, 60, 1, 125, 5227, 5, 160],
        [15, 179, 42, 2221, 15, 1251, 1136],
        [1110, 57494, 323, 129038, 638, 1691, 595239],
    ]
)
"""A box in Mato Grosso, 2017 to 2021, as a notebook over io-lulc-9-class counts it: cells of 300 m in Web Mercator."""


@pytest.fixture
def mato_grosso() -> TransitionMatrix:
    assert CELLS.sum() == 2225 * 1338
    return TransitionMatrix(2017, 2021, NAMES, CELLS, CELLS * 9.0)


def test_the_largest_transitions_of_mato_grosso_in_the_published_order(mato_grosso: TransitionMatrix) -> None:
    table = ranked(mato_grosso)
    assert list(zip(table.from_class, table.to_class, strict=True))[:5] == [
        ("rangeland", "crops"),
        ("rangeland", "trees"),
        ("trees", "rangeland"),
        ("crops", "rangeland"),
        ("trees", "crops"),
    ]
    assert table.pixels.sum() == CELLS.sum() - np.trace(CELLS)
    assert table.percent_of_change.sum() == pytest.approx(100)
    assert "sustained_percent" not in table


def test_net_and_gross_change_of_mato_grosso(mato_grosso: TransitionMatrix) -> None:
    change = net_and_gross(mato_grosso).set_index("class")
    assert change.loc["crops", "before_hectares"] == 9 * 683_380
    assert change.loc["crops", "after_hectares"] == 9 * 793_002
    assert change.loc["crops", "net_percent"] == pytest.approx(16.04, abs=0.01)
    assert change.net_hectares.sum() == pytest.approx(0)


def test_quantity_exchange_and_shift_of_a_square_table() -> None:
    """Three classes: 10 go round in a circle (shift), 5 are exchanged, 3 are net gain (quantity)."""
    area = np.array([[50, 10 + 5 + 3, 0], [5, 50, 10], [10, 0, 50]], float)
    table = components(TransitionMatrix(2017, 2018, ("a", "b", "c"), area.astype(int), area)).set_index("class")
    overall = table.loc["overall", ["quantity_hectares", "exchange_hectares", "shift_hectares"]].tolist()
    assert overall == [3, 10, 30]
    assert table.loc["a", "quantity_hectares"] == 3 and table.loc["c", "exchange_hectares"] == 0


def test_components_of_mato_grosso_add_up(mato_grosso: TransitionMatrix) -> None:
    table = components(mato_grosso).set_index("class")
    parts = table[["quantity_hectares", "exchange_hectares", "shift_hectares"]].sum(axis=1)
    np.testing.assert_allclose(parts, table.difference_hectares)
    assert table.loc["overall", "difference_hectares"] == mato_grosso.changed_hectares
    quantity = np.abs(CELLS.sum(axis=0) - CELLS.sum(axis=1)).sum() / 2 * 9
    assert table.loc["overall", "quantity_hectares"] == quantity


def test_intensities_of_two_intervals() -> None:
    """100 ha: 8 of 60 ha of trees go to crops in two years, then 2 in one year, and 1 back."""
    first = np.array([[52, 8], [0, 40]], float)
    second = np.array([[50, 2], [1, 47]], float)
    matrices = [
        TransitionMatrix(2017, 2019, ("trees", "crops"), first.astype(int), first),
        TransitionMatrix(2019, 2020, ("trees", "crops"), second.astype(int), second),
    ]
    table = intensity(matrices)
    interval = table[table.level == "interval"].set_index("from_year")
    assert interval.intensity.tolist() == pytest.approx([4.0, 3.0])
    assert interval.uniform.tolist() == pytest.approx([100 * 11 / 300] * 2)
    assert interval.stronger.tolist() == [True, False]
    at = table.set_index(["from_year", "measure", "from_class", "to_class"])
    assert at.loc[(2017, "G", "", "crops"), "intensity"] == pytest.approx(100 * 8 / 2 / 48)
    assert at.loc[(2017, "L", "trees", ""), "intensity"] == pytest.approx(100 * 8 / 2 / 60)
    assert at.loc[(2019, "R", "trees", "crops"), "intensity"] == pytest.approx(100 * 2 / 52)
    assert at.loc[(2019, "R", "trees", "crops"), "uniform"] == pytest.approx(100 * 2 / 52)
    assert at.loc[(2019, "Q", "crops", "trees"), "intensity"] == pytest.approx(100 * 1 / 51)


def test_a_class_without_area_has_no_intensity(mato_grosso: TransitionMatrix) -> None:
    area = np.array([[5.0, 1, 0], [0, 4, 0], [0, 0, 0]])
    table = intensity([TransitionMatrix(2017, 2018, ("a", "b", "none"), area.astype(int), area)])
    nothing = table[(table.level == "category") & ((table.from_class == "none") | (table.to_class == "none"))]
    assert nothing.intensity.isna().all() and not nothing.stronger.any()


def test_themes_group_transitions(mato_grosso: TransitionMatrix, tmp_path: Path) -> None:
    table = by_theme(mato_grosso, load_themes()).set_index("theme")
    assert table.loc["deforestation", "pixels"] == 23500 + 180 + 504 + 48050
    assert table.loc["seasonal_farming", "mapped_hectares"] == 9 * (129038 + 33554)
    assert table.loc["urbanisation", "pixels"] == 180 + 0 + 476 + 15 + 638
    own = tmp_path / "themes.json"
    own.write_text(
        '{"ice": {"title": "Ice lost", "description": "", "transitions": [{"from": ["snow_ice"], "to": ["bare"]}]}}'
    )
    # The legend has no ice: nothing can be told, which is not 0.
    assert by_theme(mato_grosso, load_themes(own)).pixels.isna().all()
    own.write_text('{"ice": {"title": "Ice lost"}}')
    with pytest.raises(BadInput, match=r"themes.json' are not valid at ice"):
        load_themes(own)
