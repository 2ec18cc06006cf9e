"""The command that tells cover and change by zone: zonal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.store import open_store
from pipelines.cli.maps import DEAD_LETTERS
from pipelines.cli.options import (
    Anew,
    Crosswalk,
    MapAccuracy,
    MapAsset,
    MapCollection,
    Maps,
    Products,
    ReferenceReport,
    S3Endpoint,
    Verbose,
    Years,
    app,
    beam_options_of,
    console,
    extra,
    request_of,
    set_log_level,
    years_of,
)
from pipelines.cli.workers import by_workers
from services.change.requests import ZonalRequest, described


@app.command(
    "zonal",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
    "--direct_running_mode=multi_processing, or --runner=FlinkRunner. "
    "Exit codes: 0 published or skipped, 1 stopped by an error, 2 bad arguments, 3 some maps could not be read.",
)
def zonal_command(
    context: typer.Context,
    maps: Maps,
    zones: Annotated[
        Path, typer.Option(help="Polygons with their attributes: GeoPackage, GeoJSON, GeoParquet; any CRS.")
    ],
    out: Products,
    years: Years = "",
    key: Annotated[str, typer.Option(help=described(ZonalRequest, "key"))] = "",
    join: Annotated[Path | None, typer.Option(help="CSV or Parquet with more columns, joined by --key.")] = None,
    shown: Annotated[str, typer.Option("--class", help=described(ZonalRequest, "shown"))] = "",
    ratio: Annotated[str, typer.Option(help=described(ZonalRequest, "ratio"))] = "",
    crosswalk: Crosswalk = "",
    collection: MapCollection = "",
    asset: MapAsset = "",
    name: Annotated[str, typer.Option(help="Of the zones, for IDs and titles; by default the file's.")] = "",
    accuracy: MapAccuracy = "",
    reference: ReferenceReport = "",
    overwrite: Anew = False,
    s3_endpoint: S3Endpoint = "",
    verbose: Verbose = False,
) -> None:
    """Tell area, share and change of each class in each zone, as tables, figures and a map, published as STAC."""
    with extra("change"):
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    from services.change.products import make_zonal
    from services.change.zones import read_zones

    set_log_level(verbose)
    beam_options = beam_options_of(context.args, "zonal")
    request = request_of(
        ZonalRequest,
        collection=collection,
        asset=asset,
        years=tuple(years_of(years)),
        name=name,
        key=key,
        shown=shown,
        ratio=ratio,
        crosswalk=crosswalk,
        accuracy=accuracy,
        reference=reference,
        overwrite=overwrite,
    )
    read = read_zones(zones, key, join)
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with by_workers(store, beam_options, "Places", verbose) as (run, on_progress):
        known, made = make_zonal(request, maps, read, zones.stem, store, on_progress, run=run)
    told = ", ".join(f"{count:,} {how}" for how, count in made.coverage.items())
    console.print(
        f"{len(read.frame):,} zones: {told}{' (skipped: up to date)' if made.skipped else ''}", highlight=False
    )
    console.print(known.note, highlight=False, markup=False)
    for note in made.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    for place, reason in made.failed.items():
        console.print(f"Left out {place}: {reason}", highlight=False, markup=False)
    typer.echo(store.href(made.key))
    if made.failed:
        raise typer.Exit(DEAD_LETTERS)
