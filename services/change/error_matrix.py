"""A published error matrix, read from a table: rows are the map's classes, columns the reference's."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.errors import BadInput
from services.change.accuracy import square


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


def read_error_matrix(file: Path, *, any_order: bool) -> ErrorMatrix:
    """An error matrix from a CSV file: a header of the reference's classes, then a row for each class of the map.

    Args:
        file: CSV; the first column names the class of the map.
        any_order: rows may stand in another order than columns; they are sorted by their names.

    Raises:
        BadInput: the file cannot be read, is not square, holds what is no count, or rows and columns differ.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = [row for row in csv.reader(opened) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"The error matrix {str(file)!r} cannot be read: {error}. Give a CSV file.") from error
    if not rows:
        raise BadInput(f"The error matrix {str(file)!r} cannot be read: it is empty. Give a CSV file.")
    if len(rows) < 2:
        raise BadInput(f"The error matrix {str(file)!r} has no rows. Give a header of classes, and a row for each.")
    columns = [cell.strip() for cell in rows[0][1:]]
    classes = [row[0].strip() for row in rows[1:]]
    cells: list[list[Any]] = [row[1:] for row in rows[1:]]
    try:
        counts = square(classes, cells)
    except BadInput as error:
        raise BadInput(f"{str(file)!r}: {error}") from error
    if sorted(columns) != sorted(classes) or (columns != classes and not any_order):
        raise BadInput(
            f"The error matrix {str(file)!r} has the classes {', '.join(classes)} in its rows and "
            f"{', '.join(columns)} in its columns. Give the same classes in the same order."
        )
    try:
        return error_matrix_of(classes, counts[:, [columns.index(name) for name in classes]])
    except BadInput as error:
        raise BadInput(f"{str(file)!r}: {error}") from error


def error_matrix_of(names: Sequence[str], counts: Sequence[Sequence[float]] | np.ndarray) -> ErrorMatrix:
    """An error matrix from its counts.

    Args:
        names: of the classes.
        counts: a row for each class of the map, a column for each of the reference, in the order of the names.

    Raises:
        BadInput: it is not square, holds what is no count or zeros alone, or a class stands twice.
    """
    found = square(names, counts)
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise BadInput(f"The error matrix has the class {twice[0]!r} twice. Give each class once.")
    if not found.any():
        raise BadInput("The error matrix holds zeros alone. Give counts of sample units.")
    return ErrorMatrix(tuple(names), found)
