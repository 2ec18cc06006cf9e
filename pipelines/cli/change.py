"""The command that tells what changed between years of maps: change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadInput
from catalog.store import open_store
from pipelines.cli.maps import DEAD_LETTERS
from pipelines.cli.options import (
    Anew,
    Aoi,
    Bbox,
    Centre,
    Crosswalk,
    MapAccuracy,
    MapAsset,
    MapCollection,
    Maps,
    Products,
    ReferenceReport,
    S3Endpoint,
    SizeKm,
    Verbose,
    Years,
    app,
    beam_options_of,
    catalogs_of,
    console,
    extra,
    ground_of,
    number,
    product_name,
    set_log_level,
    years_of,
)
from pipelines.cli.workers import by_workers


@app.command(
    "change",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
    "--direct_running_mode=multi_processing, or --runner=FlinkRunner. "
    "Exit codes: 0 all published or skipped, 1 stopped by an error, 2 bad arguments, 3 some places left out.",
)
def change_command(
    context: typer.Context,
    maps: Maps,
    out: Products,
    years: Years = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    aoi: Aoi = "",
    collection: MapCollection = "",
    asset: MapAsset = "",
    name: Annotated[str, typer.Option(help="Of the area, for IDs and titles: small letters, digits, hyphens.")] = "",
    themes: Annotated[Path | None, typer.Option(help="Your themes (JSON) instead of the usual ones.")] = None,
    crosswalk: Crosswalk = "",
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
    accuracy: MapAccuracy = "",
    reference: ReferenceReport = "",
    note: Annotated[str, typer.Option(help="What readers have to know, as a difference in method.")] = "",
    overwrite: Anew = False,
    s3_endpoint: S3Endpoint = "",
    verbose: Verbose = False,
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
    from services.change.uncertainty import find_uncertainty

    set_log_level(verbose)
    beam_options = beam_options_of(context.args, "change")
    if not 0 <= minimum_mapping_unit < 1e6:
        raise BadInput(f"--minimum-mapping-unit {minimum_mapping_unit:g} is no area. Give hectares, as 0.5.")
    geometry = ground_of(bbox, centre, size_km, aoi)
    meanings = load_degradation(degradation) if degradation else None
    if meanings and crosswalk not in ("", meanings.legend):
        raise BadInput(
            f"--degradation {degradation} needs --crosswalk {meanings.legend}, not {crosswalk}. Leave it out."
        )
    other_legend = crosswalk or (meanings.legend if meanings else "")
    area = "whole" if geometry is None else f"area-{hashlib.sha256(geometry.wkb).hexdigest()[:8]}"
    product, groups = product_name(name, area, other_legend), load_themes(themes)
    with console.status(f"Looking for maps in {maps}"):
        series = open_series(maps, years_of(years), geometry, collection=collection, asset=asset)
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    catalogs = catalogs_of(maps, out, store)
    walk = load_crosswalk(other_legend) if other_legend else None
    translated = crosswalked(series, walk) if walk else series
    settings = Settings(
        name=product,
        themes=groups,
        degradation=meanings,
        minimum_mapping_unit=minimum_mapping_unit,
        uncertainty=find_uncertainty(catalogs, series, translated, accuracy, reference, walk.targets if walk else {}),
        notes=(note,) if note else (),
        overwrite=overwrite,
    )
    with by_workers(store, beam_options, "Places", verbose) as (run, on_progress):
        account = publish_change(store, translated, settings, on_progress, run)
    console.print(
        f"{account.planned:,} planned: {len(account.published):,} published, {len(account.skipped):,} skipped (up to "
        f"date), {len(account.failed):,} left out",
        highlight=False,
    )
    console.print(settings.uncertainty.note, highlight=False, markup=False)
    for told in (*translated.notes, *settings.uncertainty.notes):
        console.print(f"Note: {told}", highlight=False, markup=False)
    for place, reason in account.failed.items():
        console.print(f"Left out {place}: {reason}", highlight=False, markup=False)
    typer.echo(store.href(account.item))
    if account.failed:
        raise typer.Exit(DEAD_LETTERS)
