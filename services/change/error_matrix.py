"""A published error matrix, read from a table: rows are the map's classes, columns the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas

from catalog.errors import BadInput


@dataclass(frozen=True)
class ErrorMatrix:
    """Sample units by mapped and by true class."""

    names: tuple[str, ...]
    """Of the classes, as in the legend of the map."""
    counts: np.ndarray
    """`[map, reference]`."""

    def of(self, names: Sequence[str], legend: Sequence[str]) -> np.ndarray:
        """The part for some classes, in their order, `[map, reference]`.

        Args:
            names: the classes that are mapped.
            legend: all classes that the map may have.

        Raises:
            BadInput: the matrix lacks one that is mapped, or has one that the map does not know.
        """
        if strange := sorted(set(self.names) - set(legend)):
            raise BadInput(
                f"The error matrix has the class {strange[0]!r}, which the map does not have. Its classes are "
                f"{', '.join(legend)}: name the rows and columns like them, and add up those that it joins."
            )
        if missing := [name for name in names if name not in self.names]:
            raise BadInput(
                f"The error matrix has no class {missing[0]!r}, which is mapped. It has {', '.join(self.names)}: "
                "give a matrix of all mapped classes."
            )
        chosen = [self.names.index(name) for name in names]
        return self.counts[np.ix_(chosen, chosen)]


def read_error_matrix(path: Path | str) -> ErrorMatrix:
    """An error matrix from a CSV file: class names in the first row and the first column, counts between them.

    Raises:
        BadInput: no such file, not a square of numbers, or rows and columns of different names.
    """
    try:
        table = pandas.read_csv(path, index_col=0)
    except (OSError, ValueError) as error:
        raise BadInput(f"The error matrix {str(path)!r} cannot be read: {error}. Give a CSV file.") from error
    rows, columns = ([str(one).strip() for one in names] for names in (table.index, table.columns))
    if table.shape[0] != table.shape[1] or sorted(rows) != sorted(columns) or len(set(rows)) != len(rows):
        raise BadInput(
            f"The error matrix {str(path)!r} has {len(rows)} rows ({', '.join(rows)}) and {len(columns)} columns "
            f"({', '.join(columns)}). Give it square, with each class once as a row (mapped) and a column (reference)."
        )
    table.index, table.columns = pandas.Index(rows), pandas.Index(columns)
    try:
        counts = table.loc[rows, rows].to_numpy(np.float64)
    except ValueError as error:
        raise BadInput(f"The error matrix {str(path)!r} holds {error}. Give counts of sample units.") from error
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise BadInput(f"The error matrix {str(path)!r} has an empty or negative cell. Give counts of sample units.")
    return ErrorMatrix(tuple(rows), counts)
