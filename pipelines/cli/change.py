"""The command that tells what changed between years of maps: change."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

import typer
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from catalog.store import open_store
from pipelines.cli.maps import DEAD_LETTERS
from pipelines.cli.options import (
    Aoi,
    Bbox,
    Centre,
    S3Endpoint,
    SizeKm,
    app,
    area_of,
    console,
    extra,
    number,
    progress_bar,
)


@app.command(
    "change",
    epilog="Exit codes: 0 all published or skipped, 1 stopped by an error, 2 bad arguments, 3 some places left out.",
)
def change_command(
    maps: Annotated[
        str,
        typer.Option(
            help="Categorical maps: a folder or s3:// that `landloom map` wrote, a static STAC catalog, a GeoJSON of "
            "items, planetary-computer, or a STAC API's URL."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix for the products and their STAC catalog.")],
    years: Annotated[str, typer.Option(help="Years, comma-separated: 2019,2021; by default all there are.")] = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    aoi: Aoi = "",
    collection: Annotated[str, typer.Option(help="Collection of the maps, where there are several.")] = "",
    asset: Annotated[str, typer.Option(help="Key of the map among an item's assets.")] = "",
    name: Annotated[str, typer.Option(help="Of the area, for IDs and titles: small letters, digits, hyphens.")] = "",
    themes: Annotated[Path | None, typer.Option(help="Your themes (JSON) instead of the usual ones.")] = None,
    crosswalk: Annotated[
        str, typer.Option(help="Tell all of it in another legend: ipcc, unccd, worldcover, or a JSON file.")
    ] = "",
    degradation: Annotated[
        str,
        typer.Option(
            help="Tell degradation, too: sdg-15-3-1 (in UNCCD's classes), or your own matrix of meanings (JSON)."
        ),
    ] = "",
    minimum_mapping_unit: Annotated[
        float,
        typer.Option(parser=number, metavar="HA", help="Show smaller patches of the transition map as no change."),
    ] = 0.0,
    accuracy: Annotated[
        str, typer.Option(help="What is known of the maps' accuracy, and from where; stands in every product.")
    ] = "unknown",
    note: Annotated[str, typer.Option(help="What readers have to know, as a difference in method.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make those anew that are up to date, too.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Publish what changed: areas, transitions and whether they last, as STAC. Without an area: all that is mapped."""
    with extra("change"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    from services.change.crosswalks import crosswalked, load_crosswalk
    from services.change.degradation import load_degradation
    from services.change.publish import publish_change
    from services.change.series import open_series
    from services.change.settings import Settings
    from services.change.themes import load_themes

    if not 0 <= minimum_mapping_unit < 1e6:
        raise BadInput(f"--minimum-mapping-unit {minimum_mapping_unit:g} is no area. Give hectares, as 0.5.")
    geometry = area_of(bbox, centre, size_km, "", aoi).geometry if bbox or centre or size_km or aoi else None
    meanings = load_degradation(degradation) if degradation else None
    if meanings and crosswalk not in ("", meanings.legend):
        raise BadInput(
            f"--degradation {degradation} needs --crosswalk {meanings.legend}, not {crosswalk}. Leave it out."
        )
    other_legend = crosswalk or (meanings.legend if meanings else "")
    settings = Settings(
        name=_name(name, geometry, other_legend),
        themes=load_themes(themes),
        degradation=meanings,
        minimum_mapping_unit=minimum_mapping_unit,
        accuracy=accuracy,
        notes=(note,) if note else (),
        overwrite=overwrite,
    )
    with console.status(f"Looking for maps in {maps}"):
        series = open_series(maps, _years(years), geometry, collection=collection, asset=asset)
    if other_legend:
        series = crosswalked(series, load_crosswalk(other_legend))
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with progress_bar() as progress:
        bar = progress.add_task("Places", total=len(series.places))
        account = publish_change(
            store, series, settings, lambda done, total: progress.update(bar, completed=done, total=total)
        )
        progress.update(bar, visible=False)
    console.print(
        f"{account.planned:,} planned: {len(account.published):,} published, {len(account.skipped):,} skipped (up to "
        f"date), {len(account.failed):,} left out",
        highlight=False,
    )
    for told in series.notes:
        console.print(f"Note: {told}", highlight=False, markup=False)
    for place, reason in account.failed.items():
        console.print(f"Left out {place}: {reason}", highlight=False, markup=False)
    typer.echo(store.href(account.item))
    if account.failed:
        raise typer.Exit(DEAD_LETTERS)


def _years(text: str) -> list[int]:
    try:
        return sorted({int(one) for one in text.split(",")}) if text else []
    except ValueError as error:
        raise BadInput(f"--years {text!r} is not a list of years. Give two or more, as 2019,2021.") from error


def _name(given: str, geometry: BaseGeometry | None, crosswalk: str) -> str:
    """Of the area and the legend: two products never share one by accident."""
    if given and not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", given):
        raise BadInput(f"--name {given!r} is no name. Give small letters, digits and hyphens, as alta-floresta.")
    area = given or ("whole" if geometry is None else f"area-{hashlib.sha256(geometry.wkb).hexdigest()[:8]}")
    legend = re.sub(r"[^a-z0-9]+", "-", Path(crosswalk).stem.lower()).strip("-")
    return f"{area}-{legend}" if legend else area
