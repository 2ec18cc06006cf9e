"""What is known of a source map's accuracy, and from where: from a published matrix, an overall accuracy, or nothing.

Accuracies published by the makers of well-known maps are shipped (`accuracies/published.json`); others come as files.
Every table names the accuracy it relies on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog.errors import BadInput, first_fault
from services.change.accuracy import square
from services.change.error_matrix import read_error_matrix
from services.change.series import Series

_PERCENT = re.compile(r"(?P<percent>\d+(?:\.\d+)?) ?% ?\((?P<origin>.+)\)")


class SourceAccuracy(BaseModel):
    """What is known of a map's accuracy where no reference sample of the place is at hand."""

    model_config = ConfigDict(frozen=True)

    overall: float | None = Field(default=None, gt=0, le=1, description="overall accuracy, 0 to 1")
    classes: tuple[str, ...] = Field(default=(), description="of the matrix")
    matrix: tuple[tuple[float, ...], ...] | None = Field(default=None, description="map (rows) by reference")
    tiles: int | None = Field(default=None, ge=2, description="validation tiles: the matrix's sample size, not pixels")
    origin: str = Field(default="", description="who published it, of what; empty: nothing is known")
    note: str = ""

    @model_validator(mode="after")
    def _whole(self) -> SourceAccuracy:
        if self.matrix is not None:
            square(self.classes, self.matrix)
            if self.tiles is None:
                raise ValueError("a matrix needs its number of validation tiles")
        return self

    @property
    def told(self) -> str:
        """One sentence for tables and figures."""
        return f"Accuracy of the source map: {self.figure}."

    @property
    def figure(self) -> str:
        """What is known, and from where; "unknown" if nothing is."""
        if not self.origin:
            return "unknown"
        overall = "" if self.overall is None else f"overall accuracy {100 * self.overall:.1f} %, "
        what = f"error matrix of {self.tiles} validation tiles, " if self.matrix is not None else ""
        note = f" ({self.note})" if self.note else ""
        return f"{overall}{what}{self.origin}{note}"

    def grouped(self, names: Sequence[str], groups: dict[str, tuple[str, ...]]) -> SourceAccuracy:
        """The matrix in a map's own classes: counts of classes that are published as one are added.

        Args:
            names: of the map's classes.
            groups: names of the matrix's classes that a class of the map stands for; others bear the same name.
        """
        if self.matrix is None:
            return self
        parts = {name: groups.get(name, (name,)) for name in names}
        kept = [name for name, members in parts.items() if set(members) <= set(self.classes)]
        add = np.array([[float(one in parts[name]) for one in self.classes] for name in kept]).reshape(len(kept), -1)
        matrix = add @ np.array(self.matrix) @ add.T
        return self.model_copy(update={"classes": tuple(kept), "matrix": tuple(map(tuple, matrix.tolist()))})


def known_accuracy(collection: str, year: int, names: Sequence[str]) -> SourceAccuracy:
    """The published accuracy of a collection's map of a year, its matrix in the map's classes; unknown if none is.

    Args:
        collection: its ID, as `io-lulc-annual-v02`.
        year: of the map.
        names: of its classes.
    """
    told = json.loads((resources.files("services.change") / "accuracies" / "published.json").read_text())
    for one in told["sources"]:
        if collection in one["collections"] and year in one.get("years", [year]):
            found = SourceAccuracy.model_validate({k: v for k, v in one.items() if k in SourceAccuracy.model_fields})
            return found.grouped(names, {name: tuple(parts) for name, parts in one.get("groups", {}).items()})
    return SourceAccuracy()


def known_accuracies(series: Series) -> tuple[SourceAccuracy, ...]:
    """The same for each year of a series."""
    collections = {one.year: one.collection for place in series.places for one in place.maps}
    return tuple(known_accuracy(collections[year], year, series.legend.names) for year in series.years)


def told_together(years: Sequence[int], accuracies: Sequence[SourceAccuracy]) -> str:
    """What is known of all years' accuracy, in one text; "unknown" where nothing is."""
    if not any(one.origin for one in accuracies):
        return "unknown"
    if len(set(accuracies)) == 1:
        return accuracies[0].figure
    return "; ".join(f"{year}: {one.figure}" for year, one in zip(years, accuracies, strict=True))


def read_accuracy(text: str) -> SourceAccuracy:
    """What a user knows of the maps' accuracy.

    Args:
        text: overall accuracy and who says so, as `85 % (Karra et al. 2021)`; or a JSON file of the form of an entry of
            `accuracies/published.json`: `origin`, and `overall` or `classes`, `matrix` and `tiles`. Any other text
            stands in the products as it is, and tells no interval.

    Raises:
        BadInput: the file is not of that form, or the accuracy is not possible.
    """
    if text.endswith(".json"):
        try:
            return SourceAccuracy.model_validate_json(Path(text).read_text())
        except OSError as error:
            raise BadInput(
                f"--accuracy {text!r} cannot be read: {error.strerror or error}. Give a JSON file."
            ) from error
        except ValidationError as error:
            raise BadInput(
                f"--accuracy {text!r} is not valid at {first_fault(error)}. See docs/accuracy.md."
            ) from error
    if not (found := _PERCENT.fullmatch(text.strip())):
        return SourceAccuracy(origin=text.strip())
    overall = float(found["percent"]) / 100
    if not 0 < overall <= 1:
        raise BadInput(f"--accuracy {text!r} is not possible. Give per cent up to 100, as '85 % (who says so)'.")
    return SourceAccuracy(overall=overall, origin=found["origin"])


def given_accuracy(
    matrix: Path | None, tiles: int | None, overall: float | None, origin: str, names: Sequence[str]
) -> SourceAccuracy | None:
    """What a user knows of the maps' accuracy; None where nothing is given.

    Args:
        matrix: CSV, see `read_matrix`.
        tiles: validation tiles behind it.
        overall: overall accuracy instead, 0 to 1.
        origin: who published it, of what.
        names: of the maps' classes.

    Raises:
        BadInput: both, or half of one, or an accuracy that is not possible.
    """
    if matrix is not None and overall is not None:
        raise BadInput(
            "--error-matrix and --overall-accuracy do not go together: the matrix tells the overall accuracy."
        )
    if matrix is not None:
        return read_matrix(matrix, tiles, origin, names)
    if overall is None:
        if tiles is not None or origin:
            raise BadInput(
                "--tiles and --origin belong to --error-matrix, --origin also to --overall-accuracy. Give one."
            )
        return None
    if not 0 < overall <= 1:
        raise BadInput(f"--overall-accuracy {overall:g} is not possible. Give a share up to 1, as 0.85.")
    if not origin:
        raise BadInput("--overall-accuracy needs --origin TEXT: who published it, and of which map.")
    return SourceAccuracy(overall=overall, origin=origin)


def read_matrix(file: Path, tiles: int | None, origin: str, names: Sequence[str]) -> SourceAccuracy:
    """What an error matrix in a file tells of a map's accuracy.

    Args:
        file: CSV, see `read_error_matrix`.
        tiles: independent validation tiles behind it.
        origin: who published it, of what.
        names: of the map's classes, one of which each class of the matrix has to be.

    Raises:
        BadInput: the file holds no error matrix, names other classes, or a number or origin is missing.
    """
    if tiles is None or tiles < 2:
        raise BadInput(
            "An error matrix needs --tiles N, the number of independent validation tiles behind it (2 or more): its "
            "pixels are alike within a tile, so that their number says nothing of how sure the matrix is."
        )
    if not origin:
        raise BadInput("An error matrix needs --origin TEXT: who published it, and of which map.")
    found = read_error_matrix(file, any_order=False)
    if strange := [name for name in found.names if name not in names]:
        raise BadInput(
            f"Class {strange[0]!r} of the error matrix {str(file)!r} is none of the map's: {', '.join(names)}. "
            "Name its classes as the map does."
        )
    overall = float(np.trace(found.counts) / found.counts.sum())
    matrix = tuple(map(tuple, found.counts.tolist()))
    return SourceAccuracy(overall=overall, classes=found.names, matrix=matrix, tiles=tiles, origin=origin)
