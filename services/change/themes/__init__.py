"""Themes: named groups of transitions, as data. A transition may stand in several."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from catalog.errors import BadInput, first_fault
from services.change.persistence import KINDS
from services.change.transitions import TransitionMatrix


class Transitions(BaseModel):
    """From any of some classes to any of others, by their names; names that a legend lacks are passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: tuple[str, ...] = Field(alias="from", min_length=1)
    after: tuple[str, ...] = Field(alias="to", min_length=1)


class Theme(BaseModel):
    """What a group of transitions is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    description: str
    transitions: tuple[Transitions, ...] = Field(min_length=1)


def load_themes(path: Path | None = None) -> dict[str, Theme]:
    """The themes of a JSON file of the form of `standard.json`; None: those.

    Raises:
        BadInput: no such file, or not of that form.
    """
    try:
        text = (resources.files(__name__) / "standard.json" if path is None else path).read_text()
        return TypeAdapter(dict[str, Theme]).validate_json(text)
    except OSError as error:
        raise BadInput(f"There is no file of themes {str(path)!r}. Give a JSON file, see docs/change.md.") from error
    except ValidationError as error:
        raise BadInput(f"Themes {str(path)!r} are not valid at {first_fault(error)}. See docs/change.md.") from error


def theme_cells(theme: Theme, names: tuple[str, ...]) -> np.ndarray:
    """Which transitions between a legend's classes are of a theme, bool `[K, K]`, first year by second."""
    cells = np.zeros((len(names), len(names)), bool)
    for one in theme.transitions:
        before, after = ([names.index(name) for name in side if name in names] for side in (one.before, one.after))
        cells[np.ix_(before, after)] = True
    np.fill_diagonal(cells, False)
    return cells


def by_theme(matrix: TransitionMatrix, themes: dict[str, Theme]) -> pd.DataFrame:
    """Area of each theme between two years.

    Returns:
        Columns `from_year`, `to_year`, `theme`, `title`, `pixels`, `mapped_hectares` (empty where the legend has none
        of a theme's transitions: it cannot tell), and the per cent of it that is of each kind of persistence.
    """
    rows = []
    for name, theme in themes.items():
        cells = theme_cells(theme, matrix.names)
        row: dict[str, object] = {"theme": name, "title": theme.title, "pixels": None, "mapped_hectares": None}
        if cells.any():
            area = float(matrix.hectares[cells].sum())
            row |= {"pixels": int(matrix.pixels[cells].sum()), "mapped_hectares": area}
            if matrix.by_persistence is not None and area:
                split = matrix.by_persistence[cells].sum(axis=0)
                for kind, (label, _, _) in KINDS.items():
                    if label != "stable":
                        row[f"{label}_percent"] = float(100 * split[kind].sum() / area)
                row["near_edge_percent"] = float(100 * split[:, 1].sum() / area)
        rows.append(row)
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["theme", "title", "pixels", "mapped_hectares"])
    table.insert(0, "to_year", matrix.to_year)
    table.insert(0, "from_year", matrix.from_year)
    return table.astype({"pixels": "Int64", "mapped_hectares": float})
