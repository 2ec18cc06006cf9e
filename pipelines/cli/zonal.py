"""The command that tells cover and change by zone: zonal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from shapely.geometry import box

from catalog.errors import BadInput
from catalog.store import open_store
from pipelines.cli.maps import DEAD_LETTERS
from pipelines.cli.options import S3Endpoint, app, console, extra, progress_bar


@app.command(
    "zonal",
    epilog="Exit codes: 0 published or skipped, 1 stopped by an error, 2 bad arguments, 3 some maps could not be read.",
)
def zonal_command(
    maps: Annotated[
        str,
        typer.Option(
            help="Categorical maps: a folder or s3:// that `landloom map` wrote, a static STAC catalog, a GeoJSON of "
            "items, planetary-computer, or a STAC API's URL."
        ),
    ],
    zones: Annotated[
        Path, typer.Option(help="Polygons with their attributes: GeoPackage, GeoJSON, GeoParquet; any CRS.")
    ],
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix for the products and their STAC catalog.")],
    years: Annotated[str, typer.Option(help="Years, comma-separated: 2019,2021; by default all there are.")] = "",
    key: Annotated[str, typer.Option(help="Column that tells zones apart; by default `id`, or the number.")] = "",
    join: Annotated[Path | None, typer.Option(help="CSV or Parquet with more columns, joined by --key.")] = None,
    shown: Annotated[str, typer.Option("--class", help="Class of the choropleths; by default what changes most.")] = "",
    ratio: Annotated[str, typer.Option(help="Two classes, told one over the other: crops/rangeland.")] = "",
    crosswalk: Annotated[
        str, typer.Option(help="Tell all of it in another legend: ipcc, unccd, worldcover, or a JSON file.")
    ] = "",
    collection: Annotated[str, typer.Option(help="Collection of the maps, where there are several.")] = "",
    asset: Annotated[str, typer.Option(help="Key of the map among an item's assets.")] = "",
    name: Annotated[str, typer.Option(help="Of the zones, for IDs and titles; by default the file's.")] = "",
    accuracy: Annotated[
        str,
        typer.Option(
            help="What is known of the maps' accuracy, and from where; by default what is published of their "
            "collection. Stands in every product."
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make it anew if it is up to date, too.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Tell area, share and change of each class in each zone, as tables, figures and a map, published as STAC."""
    with extra("change"):
        import exactextract  # noqa: F401
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    from services.change.crosswalks import crosswalked, load_crosswalk
    from services.change.series import open_series
    from services.change.source_accuracy import known_accuracies, told_together
    from services.change.zonal_publish import ZonalSettings, publish_zonal
    from services.change.zonal_tables import Ratio
    from services.change.zones import read_zones

    read = read_zones(zones, key, join)
    ground = box(*read.frame.total_bounds).buffer(0.05, join_style="mitre")
    with console.status(f"Looking for maps in {maps}"):
        series = open_series(maps, _years(years), ground, collection=collection, asset=asset)
    known = accuracy or told_together(series.years, known_accuracies(series))
    if crosswalk:
        series = crosswalked(series, load_crosswalk(crosswalk))
    settings = ZonalSettings(
        name=_name(name, zones, crosswalk),
        shown=shown,
        ratio=Ratio.parse(ratio, series.legend.names) if ratio else None,
        accuracy=known,
        overwrite=overwrite,
    )
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with progress_bar() as progress:
        bar = progress.add_task("Places", total=len(series.places))
        made = publish_zonal(
            store, series, read, settings, lambda done, total: progress.update(bar, completed=done, total=total)
        )
        progress.update(bar, visible=False)
    told = ", ".join(f"{count:,} {how}" for how, count in made.coverage.items())
    console.print(
        f"{len(read.frame):,} zones: {told}{' (skipped: up to date)' if made.skipped else ''}", highlight=False
    )
    for note in made.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    for place, reason in made.failed.items():
        console.print(f"Left out {place}: {reason}", highlight=False, markup=False)
    typer.echo(store.href(made.key))
    if made.failed:
        raise typer.Exit(DEAD_LETTERS)


def _years(text: str) -> list[int]:
    try:
        return sorted({int(one) for one in text.split(",")}) if text else []
    except ValueError as error:
        raise BadInput(f"--years {text!r} is not a list of years. Give two or more, as 2019,2021.") from error


def _name(given: str, file: Path, crosswalk: str) -> str:
    """Of the zones and the legend: two products never share one by accident."""
    if given and not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", given):
        raise BadInput(f"--name {given!r} is no name. Give small letters, digits and hyphens, as alta-floresta.")
    parts = [given or _small(file.stem) or "zones", _small(Path(crosswalk).stem)]
    return "-".join(part for part in parts if part)


def _small(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
