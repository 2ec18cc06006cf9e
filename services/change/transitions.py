"""The transition matrix between two years, and what it tells: ranked transitions, components of change, themes.

`C[i, j]` is the area of class i in the first year and class j in the second, of the pixels observed in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from services.change.persistence import KINDS
from services.change.tally import UNOBSERVED, Tally


@dataclass(frozen=True)
class TransitionMatrix:
    """Change between two years."""

    from_year: int
    to_year: int
    names: tuple[str, ...]
    pixels: np.ndarray
    """int64 `[K, K]`, class in the first year by class in the second."""
    hectares: np.ndarray
    """float64 `[K, K]`."""
    unobserved_hectares: float = 0.0
    """No data or cloud in either year: in no cell and in no denominator."""
    unobserved_pixels: int = 0
    by_persistence: np.ndarray | None = None
    """Hectares, float64 `[K, K, 6, 2]`: of change, by the kinds of persistence and by nearness to a class edge."""

    @property
    def observed_hectares(self) -> float:
        """Of both years."""
        return float(self.hectares.sum())

    @property
    def changed_hectares(self) -> float:
        """Of the observed ones."""
        return float(self.hectares.sum() - np.trace(self.hectares))


def matrix_of(tally: Tally, names: tuple[str, ...], from_year: int, to_year: int) -> TransitionMatrix:
    """The matrix of two years that were counted.

    Args:
        tally: of a series.
        names: of all classes, in order.
        from_year: the first of the two.
        to_year: the second.
    """
    table = tally.transitions
    pair = table[(table.from_year == from_year) & (table.to_year == to_year)]
    lost = (pair.from_class == UNOBSERVED) | (pair.to_class == UNOBSERVED)
    seen, number = pair[~lost], {name: k for k, name in enumerate(names)}
    kind = {name: k for k, (name, _, _) in KINDS.items()}
    at = seen.from_class.map(number).to_numpy(int), seen.to_class.map(number).to_numpy(int)
    pixels, hectares = np.zeros((len(names),) * 2, np.int64), np.zeros((len(names),) * 2)
    np.add.at(pixels, at, seen.pixels.to_numpy())
    np.add.at(hectares, at, seen.mapped_hectares.to_numpy())
    split = np.zeros((len(names), len(names), len(KINDS), 2))
    moved = (seen.persistence != "").to_numpy()
    told = seen.persistence[moved].map(kind).to_numpy(int), seen.near_edge[moved].to_numpy(int)
    np.add.at(split, (at[0][moved], at[1][moved], *told), seen.mapped_hectares.to_numpy()[moved])
    left_out = pair[lost]
    return TransitionMatrix(
        int(from_year),
        int(to_year),
        names,
        pixels,
        hectares,
        float(left_out.mapped_hectares.sum()),
        int(left_out.pixels.sum()),
        split,
    )


def ranked(matrix: TransitionMatrix) -> pd.DataFrame:
    """The transitions that occur, the largest area first.

    Returns:
        Columns `from_year`, `to_year`, `from_class`, `to_class`, `pixels`, `mapped_hectares`, `percent_of_observed`,
        `percent_of_change`; and, where persistence was counted, the per cent of the transition's area that is of each
        kind (`sustained_percent`, …), and within a pixel of a class edge in either year (`near_edge_percent`).
    """
    before, after = np.nonzero(~np.eye(len(matrix.names), dtype=bool) & (matrix.pixels > 0))
    area = matrix.hectares[before, after]
    table = pd.DataFrame(
        {
            "from_year": matrix.from_year,
            "to_year": matrix.to_year,
            "from_class": np.take(matrix.names, before),
            "to_class": np.take(matrix.names, after),
            "pixels": matrix.pixels[before, after],
            "mapped_hectares": area,
            "percent_of_observed": 100 * area / (matrix.observed_hectares or 1),
            "percent_of_change": 100 * area / (matrix.changed_hectares or 1),
        }
    )
    if matrix.by_persistence is not None:
        split = 100 * matrix.by_persistence[before, after] / area[:, None, None]
        for kind, (name, _, _) in KINDS.items():
            if name != "stable":
                table[f"{name}_percent"] = split[:, kind].sum(axis=-1)
        table["near_edge_percent"] = split[..., 1].sum(axis=-1)
    return table.sort_values(["mapped_hectares", "from_class"], ascending=[False, True], ignore_index=True)


def components(matrix: TransitionMatrix) -> pd.DataFrame:
    """Quantity, exchange and shift: Pontius and Santacruz 2014, *Quantity, exchange, and shift components of
    difference in a square contingency table*, Int. J. Remote Sensing 35(21), Eqs. 1-8.

    Of class j: difference `d = sum_i (C_ij + C_ji) - 2 C_jj`, quantity `q = |sum_i (C_ij - C_ji)|`, exchange
    `e = 2 (sum_i min(C_ij, C_ji) - C_jj)`, shift `s = d - q - e`. Overall half of their sums, since each changed pixel
    counts in two classes.

    Returns:
        A row a class and one called `overall`; hectares `difference`, `quantity`, `exchange`, `shift`.
    """
    area = matrix.hectares
    kept, before, after = np.diag(area), area.sum(axis=1), area.sum(axis=0)
    difference, quantity = before + after - 2 * kept, np.abs(after - before)
    exchange = 2 * (np.minimum(area, area.T).sum(axis=0) - kept)
    # Rounding may leave -0.0.
    shift = np.maximum(difference - quantity - exchange, 0)
    parts = np.column_stack([difference, quantity, exchange, shift])
    table = pd.DataFrame(
        np.vstack([parts, parts.sum(axis=0) / 2]),
        columns=[f"{name}_hectares" for name in ("difference", "quantity", "exchange", "shift")],
    )
    table.insert(0, "class", [*matrix.names, "overall"])
    table.insert(0, "to_year", matrix.to_year)
    table.insert(0, "from_year", matrix.from_year)
    return table
