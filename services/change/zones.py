"""The zones of zonal statistics: polygons of any file with their attributes, and columns joined to them by a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyproj
import shapely

from catalog.errors import BadInput

ZONE = "zone"
"""Name of the column that tells zones apart, in every table."""
_POLYGONS = {"Polygon", "MultiPolygon", "GeometryCollection"}
_STEP = 0.005
"""Degrees between points on an edge: straight edges of the file's projection stay on their ground in another."""
_GEOD = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True)
class Zones:
    """Zones, none of them dropped: one without a valid polygon has an empty one, and is told."""

    frame: geopandas.GeoDataFrame
    """One row a zone: column `zone`, the file's attributes, joined columns; polygons in longitude and latitude."""
    hectares: np.ndarray
    """True (geodesic) area of each, `[zones]`."""
    notes: tuple[str, ...] = ()
    """What was mended or is missing."""


def read_zones(file: Path | str, key: str = "", table: Path | str | None = None, *, dissolve: bool = False) -> Zones:
    """Read zones.

    Invalid polygons are made valid and counted in the notes.

    Args:
        file: polygons, GeoPackage, GeoJSON, GeoParquet or any other format and CRS that geopandas reads.
        key: column that tells zones apart; by default `id` where it does, else the number in the file.
        table: CSV or Parquet with more columns, joined by `key`; values are compared as text.
        dissolve: polygons of one name are one zone, without other attributes, and zones are in order of their names;
            otherwise such polygons are refused.

    Raises:
        BadInput: the file cannot be read, has no CRS, holds other geometries than polygons, or none; the key is not
            there or not unique; the table cannot be read, or none of its rows is of a zone.
    """
    found = _read(file)
    given = found.geometry.to_numpy()
    shaped = pd.Series(~(shapely.is_missing(given) | shapely.is_empty(given)), index=found.index)
    if strange := sorted(set(found.geom_type[shaped]) - _POLYGONS):
        raise BadInput(f"{str(file)!r} holds {', '.join(strange)}. Zones are polygons: give these alone.")
    if not shaped.any():
        raise BadInput(f"{str(file)!r} holds no polygon. Give a file with zones.")
    notes = []
    invalid = shaped & ~found.geometry.is_valid
    lonlat, empty = _to_lonlat(found, invalid), ~shaped
    lost = shaped & lonlat.is_empty
    if invalid.any():
        notes.append(
            f"{int(invalid.sum()):,} invalid polygons were made valid: {_few(found.index[invalid], found, key)}."
        )
    if (lost | empty).any():
        named = _few(found.index[lost | empty], found, key)
        notes.append(f"{int((lost | empty).sum()):,} zones have no polygon, and so no area: {named}.")
    frame = found.drop(columns=found.geometry.name).rename(columns=str)
    frame = frame.rename(columns={ZONE: f"{ZONE}_given"})
    frame.insert(0, ZONE, _names(frame, f"{ZONE}_given" if key == ZONE else key, file, dissolve))
    if table is not None:
        if not key:
            raise BadInput(f"To join {str(table)!r} say by which column: --key, one of {', '.join(frame.columns[1:])}.")
        frame, told = _joined(frame, key, table)
        notes += told
    zones = geopandas.GeoDataFrame(frame, geometry=lonlat.to_numpy(), crs="EPSG:4326")
    if dissolve:
        zones = zones[[ZONE, "geometry"]].dissolve(ZONE).reset_index()
    # Edges are straight in degrees, as GeoJSON has it, not the shortest way over the ground.
    dense = shapely.orient_polygons(shapely.segmentize(zones.geometry.to_numpy(), _STEP))
    areas = [abs(_GEOD.geometry_area_perimeter(one)[0]) for one in dense]
    return Zones(zones, np.array(areas) / 10_000, tuple(notes))


def _read(file: Path | str) -> geopandas.GeoDataFrame:
    if not Path(file).exists():
        raise BadInput(
            f"There is no file {str(file)!r}. Give --zones a polygon file (GeoJSON, GeoPackage, GeoParquet)."
        )
    try:
        found = geopandas.read_parquet(file) if str(file).endswith("parquet") else geopandas.read_file(file)
    except Exception as error:
        raise BadInput(
            f"{str(file)!r} cannot be read as polygons: {error}. Give GeoJSON, GeoPackage or GeoParquet."
        ) from error
    if not isinstance(found, geopandas.GeoDataFrame) or found.empty:
        raise BadInput(f"{str(file)!r} holds no polygon. Give a file with zones.")
    if found.crs is None:
        raise BadInput(f"{str(file)!r} does not say its coordinate system. Write it with its CRS.")
    return found.reset_index(drop=True)


def _to_lonlat(found: geopandas.GeoDataFrame, invalid: pd.Series) -> geopandas.GeoSeries:
    """Valid polygons in degrees, empty where there is none."""
    shapes = found.geometry.copy()
    shapes[invalid] = shapes[invalid].make_valid(method="structure", keep_collapsed=False)
    shapes = geopandas.GeoSeries([polygons(one) for one in shapes], crs=found.crs)
    if found.crs.is_projected:
        unit = found.crs.axis_info[0].unit_conversion_factor
        shapes = shapes.segmentize(_STEP * 111_000 / unit)
    lonlat = shapes.to_crs("EPSG:4326")
    bounds = lonlat.bounds[~lonlat.is_empty]
    if not np.isfinite(bounds).all(axis=None) or (bounds.abs() > [180, 90, 180, 90]).any(axis=None):
        raise BadInput(
            f"Zones lie off the globe: in degrees they reach from {', '.join(f'{one:g}' for one in bounds.min())} to "
            f"{', '.join(f'{one:g}' for one in bounds.max())}. Is the file's CRS ({found.crs.name}) right?"
        )
    return lonlat


def polygons(shape: shapely.Geometry | None) -> shapely.Geometry:
    """The polygons of a geometry, without the lines and points that mending may leave."""
    if shape is None:
        return shapely.MultiPolygon()
    if shape.geom_type != "GeometryCollection":
        return shape
    parts = shapely.get_parts(shape)
    return shapely.union_all(parts[shapely.area(parts) > 0])


def _names(frame: pd.DataFrame, key: str, file: Path | str, several: bool) -> Sequence[str]:
    if key and key not in frame:
        raise BadInput(f"{str(file)!r} has no column {key!r}. It has {', '.join(frame.columns) or 'none'}.")
    chosen = key or ("id" if "id" in frame and frame["id"].notna().all() and frame["id"].is_unique else "")
    if not chosen:
        return [str(number) for number in range(1, len(frame) + 1)]
    names = frame[chosen].astype(str)
    unnamed = frame[chosen].isna()
    if unnamed.any() or not (several or names.is_unique):
        twice = [] if several else names[names.duplicated() & ~unnamed].head(1).tolist()
        raise BadInput(
            f"Column {key!r} of {str(file)!r} does not tell zones apart: "
            f"{f'{twice[0]!r} stands twice' if twice else 'a value is missing'}. Give another --key, or dissolve them."
        )
    return names.tolist()


def _joined(frame: pd.DataFrame, key: str, table: Path | str) -> tuple[pd.DataFrame, list[str]]:
    try:
        more = pd.read_parquet(table) if str(table).endswith("parquet") else pd.read_csv(table, dtype={key: str})
    except (OSError, ValueError) as error:
        raise BadInput(f"{str(table)!r} cannot be read: {error}. Give CSV or Parquet.") from error
    if key not in more:
        raise BadInput(f"{str(table)!r} has no column {key!r} to join by. It has {', '.join(map(str, more.columns))}.")
    # As text, so that a number in one file and a text in the other are the same key.
    more = more.assign(**{ZONE: more[key].astype(str)}).drop(columns=key)
    if twice := more[ZONE][more[ZONE].duplicated()].head(1).tolist():
        raise BadInput(f"{twice[0]!r} stands twice in column {key!r} of {str(table)!r}. Give one row a zone.")
    matched = int(frame[ZONE].isin(more[ZONE]).sum())
    if not matched:
        raise BadInput(
            f"No row of {str(table)!r} is of a zone: its {key} are as {more[ZONE].iloc[0]!r}, those of the zones as "
            f"{frame[ZONE].iloc[0]!r}. Give the column that both have."
            if len(more)
            else f"{str(table)!r} has no rows."
        )
    told = []
    if matched < len(frame):
        told.append(f"{len(frame) - matched:,} zones have no row in {Path(table).name}.")
    if matched < len(more):
        told.append(f"{len(more) - matched:,} rows of {Path(table).name} are of no zone.")
    return frame.merge(more, on=ZONE, how="left", suffixes=("", "_joined"), validate="one_to_one"), told


def _few(index: pd.Index, found: geopandas.GeoDataFrame, key: str) -> str:
    """Some of the zones' names, by key or by number in the file."""
    named = [str(found[key].iloc[one]) if key in found else f"number {one + 1}" for one in index[:5]]
    return ", ".join(named) + (f" and {len(index) - 5} more" if len(index) > 5 else "")
