"""What is written of an area of interest: tables, figures, and one page that tells all of it and stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from catalog.assets import AssetFile
from services.change import figures
from services.change.items import ItemAsset
from services.change.persistence import KINDS
from services.change.series import Series
from services.change.settings import Settings
from services.change.tables import TITLES, change_tables, end_matrix, intervals_of_ends, summary
from services.change.tally import UNOBSERVED, Tally
from services.change.told import figure_told

ROWS = 25
"""Transitions shown on the page, at most; the tables have all."""
_PARQUET, _CSV = "application/vnd.apache.parquet", "text/csv"
_PICTURES = {
    "areas_png": "Area by class and year",
    "net_change_png": "Gain, loss and net change by class",
    "sankey_png": "Transitions from the first year to the last",
}


def area_files(
    folder: Path,
    settings: Settings,
    series: Series,
    tally: Tally,
    excluded: Sequence[tuple[str, dict[str, Any]]],
    not_mapped: float,
) -> list[ItemAsset]:
    """Write tables (Parquet and CSV), figures (PNG) and the page (HTML).

    Args:
        folder: for the files.
        settings: how the change is published.
        series: of maps.
        tally: what was counted of all places.
        excluded: places that are not in it, with `reason` and `hectares`.
        not_mapped: hectares of the area of interest where there is no map.
    """
    legend, years = series.legend, series.years
    tables = change_tables(tally, legend, years, settings.themes, settings.uncertainty, settings.degradation)
    matrix = end_matrix(tally, legend, years)
    assets = []
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6f")
        for key, kind in ((name, _PARQUET), (f"{name}_csv", _CSV)):
            file = folder / f"{name}.{'csv' if kind == _CSV else 'parquet'}"
            assets.append(ItemAsset(AssetFile.of(key, file), kind, TITLES[name]))
    net, note = _between(tables["net_change"], years), _note(settings)
    drawn = {
        "areas_png": figures.areas_png(tables["areas"], legend, note),
        "net_change_png": figures.net_png(net, legend, note),
        "sankey_png": figures.sankey_png(matrix, legend, note),
    }
    for key, content in drawn.items():
        file = folder / f"{key.removesuffix('_png')}.png"
        file.write_bytes(content)
        # No overview: browsers lay these on the ground.
        roles = ("thumbnail",) if key == "sankey_png" else ("data",)
        assets.append(ItemAsset(AssetFile.of(key, file), "image/png", _PICTURES[key], roles))
    environment = Environment(
        loader=PackageLoader("services.change", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    transitions = _between(tables["transitions"], years)
    page = environment.get_template("page.html").render(
        title=f"Land-cover change of {settings.name}, {years[0]} to {years[-1]}",
        years=years,
        settings=settings,
        notes=[*series.notes, *settings.notes, *settings.uncertainty.notes],
        note=note,
        excluded=excluded,
        not_mapped=not_mapped,
        matrix=matrix,
        summary=summary(tally, matrix),
        kinds={name: (meaning, color) for name, meaning, color in KINDS.values()},
        titles={one.name: one.title for one in legend.classes},
        areas=_by_year(tables["areas"]),
        area_kinds=_kinds(tables["areas"]),
        area_reasons=_reasons(tables["areas"]),
        net=_records(net),
        net_reasons=_reasons(net),
        told=figure_told,
        components=_records(_between(tables["components"], years)),
        intensity=_intensities(tables["intensity"]),
        changed=intervals_of_ends(matrix, settings.uncertainty, None)["landloom:changed_hectares_interval"],
        transitions=_records(transitions.head(ROWS)),
        more=max(0, len(transitions) - ROWS),
        themes=_records(_between(tables["themes"], years)),
        degradation=[] if settings.degradation is None else _records(_between(tables["degradation"], years)),
        figures=figures.interactive(tables["areas"], net, matrix, legend),
    )
    (folder / "change.html").write_text(page)
    told = AssetFile.of("page", folder / "change.html")
    return [*assets, ItemAsset(told, "text/html", "All of it on one page", ("overview",))]


def _note(settings: Settings) -> str:
    return f"Mapped areas, counted pixel by pixel. {settings.uncertainty.note}"


def _between(table: pd.DataFrame, years: Sequence[int]) -> pd.DataFrame:
    return table[(table.from_year == years[0]) & (table.to_year == years[-1])].reset_index(drop=True)


def _by_year(areas: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Of each class, and last of what was not observed, a row of the table a year."""
    return {str(name): _records(rows) for name, rows in areas.groupby("class", sort=False)}


def _kinds(areas: pd.DataFrame) -> dict[int, list[str]]:
    """Of each year, what its intervals are."""
    seen = areas[areas["class"] != UNOBSERVED]
    return {int(str(year)): list(kinds.unique()) for year, kinds in seen.groupby("year").interval}


def _reasons(table: pd.DataFrame) -> list[str]:
    """Why figures have no interval, or none that is better; each once."""
    told = table[table["class"] != UNOBSERVED].interval_reason
    return [one for one in told.dropna().unique() if one]


def _intensities(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Of the whole and of each class's gain and loss, a row of the table by the years of a step."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in _records(table[table.measure.isin(["S", "G", "L"])]):
        what = row["to_class"] if row["measure"] == "G" else row["from_class"]
        found.setdefault((row["measure"], what), {})[f"{row['from_year']} to {row['to_year']}"] = row
    return found


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()}
        for row in table.to_dict(orient="records")
    ]
