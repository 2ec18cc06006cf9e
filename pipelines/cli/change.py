"""The command that tells what changed between years of maps: change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    console,
    extra,
    ground_of,
    number,
    request_of,
    set_log_level,
    years_of,
)
from pipelines.cli.workers import by_workers
from services.change.requests import ChangeRequest, described


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
    name: Annotated[str, typer.Option(help=described(ChangeRequest, "name"))] = "",
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
        typer.Option(parser=number, metavar="HA", help=described(ChangeRequest, "minimum_mapping_unit")),
    ] = 0.0,
    accuracy: MapAccuracy = "",
    reference: ReferenceReport = "",
    note: Annotated[str, typer.Option(help=described(ChangeRequest, "note"))] = "",
    overwrite: Anew = False,
    s3_endpoint: S3Endpoint = "",
    verbose: Verbose = False,
) -> None:
    """Publish what changed: areas, transitions and whether they last, as STAC. Without an area: all that is mapped."""
    with extra("change"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    from services.change.products import make_change
    from services.change.themes import load_themes

    set_log_level(verbose)
    beam_options = beam_options_of(context.args, "change")
    request = request_of(
        ChangeRequest,
        collection=collection,
        asset=asset,
        years=tuple(years_of(years)),
        name=name,
        themes=load_themes(themes) if themes else None,
        crosswalk=crosswalk,
        degradation=degradation,
        minimum_mapping_unit=minimum_mapping_unit,
        accuracy=accuracy,
        reference=reference,
        note=note,
        overwrite=overwrite,
    )
    geometry = ground_of(bbox, centre, size_km, aoi)
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with by_workers(store, beam_options, "Places", verbose) as (run, on_progress):
        series, known, account = make_change(request, maps, geometry, store, on_progress, run=run)
    console.print(
        f"{account.planned:,} planned: {len(account.published):,} published, {len(account.skipped):,} skipped (up to "
        f"date), {len(account.failed):,} left out",
        highlight=False,
    )
    console.print(known.note, highlight=False, markup=False)
    for told in (*series.notes, *known.notes):
        console.print(f"Note: {told}", highlight=False, markup=False)
    for place, reason in account.failed.items():
        console.print(f"Left out {place}: {reason}", highlight=False, markup=False)
    typer.echo(store.href(account.item))
    if account.failed:
        raise typer.Exit(DEAD_LETTERS)
