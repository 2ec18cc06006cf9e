"""The sample as interpreters get it, and as they give it back: GeoPackage, GeoJSON or CSV.

It tells neither strata nor the map's classes: who knows what the map says sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas

from catalog.errors import BadInput
from services.change.design import Design, DesignUnit
from services.change.sampling import Drawn

SAMPLE_TYPES = {
    ".gpkg": "application/geopackage+sqlite3",
    ".geojson": "application/geo+json",
    ".csv": "text/csv",
}
"""Media type of each format, by the file's ending."""


def write_sample(design: Design, drawn: Sequence[Drawn], out: Path) -> list[Path]:
    """Write `design.json`, and the sample for interpreters as GeoPackage, GeoJSON and CSV, all with the same columns:
    `unit`, `lon`, `lat`, a column `reference_YEAR` a year to be filled in with a class, and `note`.

    Args:
        design: as it was made.
        drawn: its units.
        out: folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "design.json").write_text(design.model_dump_json(indent=1))
    columns: dict[str, Any] = {name: [getattr(one, name) for one in design.sample] for name in ("unit", "lon", "lat")}
    columns |= {name: [""] * len(drawn) for name in (*reference_columns(design), "note")}
    frame = geopandas.GeoDataFrame(columns, geometry=[one.geometry for one in drawn], crs="EPSG:4326")
    files = [out / f"sample{suffix}" for suffix in SAMPLE_TYPES]
    frame.to_file(files[0], layer="sample", driver="GPKG")
    frame.to_file(files[1], driver="GeoJSON")
    frame.drop(columns="geometry").to_csv(files[2], index=False)
    return [out / "design.json", *files]


def reference_columns(design: Design) -> list[str]:
    """The columns that interpreters fill in."""
    return [f"reference_{year}" for year in design.years]


@dataclass(frozen=True)
class Interpreted:
    """The units of a design that were interpreted."""

    unit: np.ndarray
    """Number of each unit in the design, from 0, int64 `[n]`."""
    stratum: np.ndarray
    """int64 `[n]`."""
    cell: np.ndarray
    """int64 `[n]`."""
    reference: np.ndarray
    """Number of the class at each date, int64 `[dates, n]`."""
    zone: np.ndarray
    """Number of each unit's zone, int64 `[n]`; -1: in none."""
    missing: dict[str, int]
    """Units without a reference class, by stratum."""


def read_interpreted(design: Design, file: Path) -> Interpreted:
    """Read the sample back, from any of its three formats.

    Args:
        design: from which it was drawn.
        file: GeoPackage, GeoJSON or CSV; classes by name, title or published value. Empty: could not be told.

    Raises:
        BadInput: the file cannot be read or lacks a column, a unit stands twice or is not the design's, a class is
            unknown.
    """
    rows = _rows(file)
    wanted = ["unit", *reference_columns(design)]
    if missing := [name for name in wanted if name not in rows.columns]:
        raise BadInput(f"{str(file)!r} has no column {missing[0]!r}. It has {', '.join(map(str, rows.columns))}.")
    number = {
        text: k
        for k, one in enumerate(design.classes)
        for text in (one.name.lower(), one.title.lower(), str(one.value), f"{one.value}.0")
    }
    known, seen = {one.unit: one for one in design.sample}, set()
    found: list[tuple[DesignUnit, list[int]]] = []
    for row in rows[wanted].itertuples(index=False):
        unit = _unit(row[0], file)
        if unit not in known:
            raise BadInput(
                f"Unit {unit} of {str(file)!r} is not of this design. Give the sample that was drawn with it."
            )
        if unit in seen:
            raise BadInput(f"Unit {unit} stands twice in {str(file)!r}. Leave one of its rows.")
        seen.add(unit)
        texts = ["" if cell is None or cell != cell else str(cell).strip().lower() for cell in row[1:]]
        for column, text in zip(wanted[1:], texts, strict=True):
            if text and text not in number:
                raise BadInput(
                    f"Unit {unit} of {str(file)!r} has the unknown class {text!r} in {column}. Give one of "
                    f"{', '.join(design.names)}, or leave it empty where nothing can be told."
                )
        if all(texts):
            found.append((known[unit], [number[text] for text in texts]))
    if not found:
        raise BadInput(f"No unit of {str(file)!r} has a class in {' and '.join(wanted[1:])}. Fill the columns in.")
    done = {one.unit for one, _ in found}
    missing_in: dict[str, int] = {}
    for one in design.sample:
        if one.unit not in done:
            name = design.strata[one.stratum].name
            missing_in[name] = missing_in.get(name, 0) + 1
    return Interpreted(
        unit=np.array([one.unit - 1 for one, _ in found]),
        stratum=np.array([one.stratum for one, _ in found]),
        cell=np.array([one.cell for one, _ in found]),
        reference=np.array([classes for _, classes in found]).T,
        zone=np.array([one.zone for one, _ in found]),
        missing=missing_in,
    )


def _rows(file: Path) -> pandas.DataFrame:
    if file.suffix.lower() not in SAMPLE_TYPES:
        raise BadInput(f"The sample {str(file)!r} is none of {', '.join(SAMPLE_TYPES)}. Give one of these formats.")
    try:
        if file.suffix.lower() == ".csv":
            return pandas.read_csv(file, dtype=str, keep_default_na=False)
        return geopandas.read_file(file)
    except Exception as error:
        raise BadInput(
            f"The sample {str(file)!r} cannot be read: {error}. Give the GeoPackage, GeoJSON or CSV that was filled in."
        ) from error


def _unit(value: Any, file: Path) -> int:
    try:
        number = float(value)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise BadInput(
        f"{value!r} in the column 'unit' of {str(file)!r} is no number of a unit. Leave that column as it was."
    )
