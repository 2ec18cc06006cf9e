"""Polygons or points with a class each: to compare a map with, or to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import geopandas

from catalog.errors import BadInput
from catalog.translation import Translation, load_translation

_KINDS = ({"Polygon", "MultiPolygon"}, {"Point", "MultiPoint"})


def read_features(
    file: Path | str, attribute: str, number: Mapping[str, int], classes: Path | str | None
) -> tuple[geopandas.GeoDataFrame, dict[str, int]]:
    """Read a reference.

    Args:
        file: polygons or points, any format and CRS that geopandas reads.
        attribute: column that tells the class.
        number: of each class, by the names it may have.
        classes: a translation (see `catalog.translation`) of the column's values to such names, or null to leave a
            value out; without it the values are names themselves.

    Returns:
        The features with a column `number`, in the order of the file, multipoints taken apart; and how many are left
        out, by reason.

    Raises:
        BadInput: a file cannot be read or lacks column or CRS; polygons and points mixed; a value that is no class.
    """
    try:
        found = geopandas.read_parquet(file) if str(file).endswith("parquet") else geopandas.read_file(file)
    except Exception as error:
        raise BadInput(f"Reference {str(file)!r} cannot be read: {error}") from error
    if not isinstance(found, geopandas.GeoDataFrame):
        raise BadInput(f"Reference {str(file)!r} has no geometries. Give polygons or points.")
    columns = [str(one) for one in found.columns if one != found.geometry.name]
    if attribute not in columns:
        raise BadInput(f"{str(file)!r} has no column {attribute!r}. It has {', '.join(columns) or 'none'}.")
    if found.crs is None:
        raise BadInput(f"{str(file)!r} does not say its coordinate system. Write it with its CRS.")
    shaped = found[found.geometry.notna() & ~found.geometry.is_empty]
    types = set(shaped.geom_type)
    if not types or not any(types <= kind for kind in _KINDS):
        raise BadInput(f"{str(file)!r} holds {', '.join(sorted(types)) or 'nothing'}. Give polygons alone, or points.")
    named = shaped[shaped[attribute].notna()]
    values = named[attribute].astype(str)
    names = values if classes is None else _translated(values, load_translation(str(classes)), file, attribute, classes)
    strange = sorted(set(names.dropna()) - set(number))
    if strange:
        raise BadInput(
            f"{strange[0]!r} (column {attribute!r} of {str(classes or file)!r}) is none of the classes "
            f"{', '.join(number)}. Translate the column's values with --classes."
        )
    kept = named[names.notna()].assign(number=names.map(number).dropna().astype(int))
    if kept.empty:
        raise BadInput(
            f"No feature of {str(file)!r} has a class: column {attribute!r} is empty, or --classes says null."
        )
    if types <= _KINDS[1]:
        kept = kept.explode(index_parts=False)
    left_out = {
        "features without geometry": len(found) - len(shaped),
        f"features without {attribute}": len(shaped) - len(named),
        "features whose value --classes leaves out": int(names.isna().sum()),
    }
    return kept.reset_index(drop=True), left_out


def _translated(
    values: geopandas.GeoSeries, names: Translation, file: Path | str, attribute: str, classes: Path | str
) -> geopandas.GeoSeries:
    missing = sorted(set(values) - set(names))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(
            f"{str(classes)!r} lacks {missing[0]!r}{more}, of column {attribute!r} of {str(file)!r}. "
            "Give its class, or null to leave it out."
        )
    return values.map(names)
