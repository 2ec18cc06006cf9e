"""Degradation by land cover: which transitions are degradation and which improvement, as data that may be edited.

The land-cover sub-indicator of SDG 15.3.1: one of the three, never the indicator itself, which also takes
productivity and carbon.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from catalog.errors import BadInput, first_fault
from services.change.transitions import TransitionMatrix

Meaning = Literal["degradation", "stable", "improvement"]
MEANINGS: tuple[Meaning, ...] = ("degradation", "stable", "improvement")


class DegradationMatrix(BaseModel):
    """What each transition means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    checked: str = ""
    """Against what, and how, the matrix was checked."""
    legend: str
    """Crosswalk into whose classes maps are translated first."""
    not_land: tuple[str, ...] = ()
    """Classes that are no land: pixels that had one in the first year are in no denominator."""
    transitions: dict[str, dict[str, Meaning]]
    """Class in the first year, class in the last year, meaning."""


def load_degradation(name: str = "sdg-15-3-1") -> DegradationMatrix:
    """The shipped matrix, or the one in a JSON file of the same form.

    Raises:
        BadInput: no such file, or not of that form.
    """
    shipped = resources.files(__name__) / f"{name}.json"
    try:
        return DegradationMatrix.model_validate_json((shipped if shipped.is_file() else Path(name)).read_text())
    except OSError as error:
        raise BadInput(
            f"There is no degradation matrix {name!r}. Give sdg-15-3-1, or a JSON file, see docs/change.md."
        ) from error
    except ValidationError as error:
        raise BadInput(f"Matrix {name!r} is not valid at {first_fault(error)}. See docs/change.md.") from error


def meaning_cells(meanings: DegradationMatrix, names: tuple[str, ...]) -> dict[Meaning, np.ndarray]:
    """Which transitions have each meaning, bool `[K, K]`, first year by second; of land alone."""
    told = [[meanings.transitions.get(before, {}).get(after) for after in names] for before in names]
    land = np.array([name not in meanings.not_land for name in names])[:, None]
    return {meaning: land & np.array([[one == meaning for one in row] for row in told]) for meaning in MEANINGS}


def degradation_table(matrix: TransitionMatrix, meanings: DegradationMatrix) -> pd.DataFrame:
    """Area of degradation, stability and improvement between two years, of the land observed in both.

    Args:
        matrix: in the legend of `meanings`.
        meanings: of the transitions.

    Returns:
        Columns `from_year`, `to_year`, `meaning`, `pixels`, `mapped_hectares`, `percent_of_land`.

    Raises:
        BadInput: a transition that occurs has no meaning.
    """
    cells = meaning_cells(meanings, matrix.names)
    land = np.array([name not in meanings.not_land for name in matrix.names])[:, None]
    for i, j in np.argwhere(land & (matrix.pixels > 0) & ~np.logical_or.reduce([*cells.values()])):
        raise BadInput(
            f"{meanings.title} does not say what {matrix.names[i]} to {matrix.names[j]} means, which occurs. Add it to "
            "the transitions of the matrix."
        )
    area = {meaning: float(matrix.hectares[own].sum()) for meaning, own in cells.items()}
    total = sum(area.values())
    return pd.DataFrame(
        {
            "from_year": matrix.from_year,
            "to_year": matrix.to_year,
            "meaning": MEANINGS,
            "pixels": [int(matrix.pixels[cells[one]].sum()) for one in MEANINGS],
            "mapped_hectares": [area[one] for one in MEANINGS],
            "percent_of_land": [100 * area[one] / total if total else np.nan for one in MEANINGS],
        }
    )
