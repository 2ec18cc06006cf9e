"""The command that tells cover and change by zone: zonal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from shapely.geometry import box

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
    catalogs_of,
    console,
    extra,
    product_name,
    set_log_level,
    years_of,
)
from pipelines.cli.workers import by_workers


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
    key: Annotated[str, typer.Option(help="Column that tells zones apart; by default `id`, or the number.")] = "",
    join: Annotated[Path | None, typer.Option(help="CSV or Parquet with more columns, joined by --key.")] = None,
    shown: Annotated[str, typer.Option("--class", help="Class of the choropleths; by default what changes most.")] = "",
    ratio: Annotated[str, typer.Option(help="Two classes, told one over the other: crops/rangeland.")] = "",
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
    from services.change.crosswalks import crosswalked, load_crosswalk
    from services.change.series import open_series
    from services.change.uncertainty import find_uncertainty
    from services.change.zonal_publish import ZonalSettings, publish_zonal
    from services.change.zonal_tables import Ratio
    from services.change.zones import read_zones

    set_log_level(verbose)
    beam_options = beam_options_of(context.args, "zonal")
    read = read_zones(zones, key, join)
    ground = box(*read.frame.total_bounds).buffer(0.05, join_style="mitre")
    with console.status(f"Looking for maps in {maps}"):
        series = open_series(maps, years_of(years), ground, collection=collection, asset=asset)
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    catalogs = catalogs_of(maps, out, store)
    walk = load_crosswalk(crosswalk) if crosswalk else None
    translated = crosswalked(series, walk) if walk else series
    settings = ZonalSettings(
        # Of a file whose name has no letter that may stand in an ID.
        name=product_name(name, zones.stem if re.search("[a-z0-9]", zones.stem.lower()) else "zones", crosswalk),
        shown=shown,
        ratio=Ratio.parse(ratio, translated.legend.names) if ratio else None,
        uncertainty=find_uncertainty(catalogs, series, translated, accuracy, reference, walk.targets if walk else {}),
        overwrite=overwrite,
    )
    with by_workers(store, beam_options, "Places", verbose) as (run, on_progress):
        made = publish_zonal(store, translated, read, settings, on_progress, run)
    told = ", ".join(f"{count:,} {how}" for how, count in made.coverage.items())
    console.print(
        f"{len(read.frame):,} zones: {told}{' (skipped: up to date)' if made.skipped else ''}", highlight=False
    )
    console.print(settings.uncertainty.note, highlight=False, markup=False)
    for note in made.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    for place, reason in made.failed.items():
        console.print(f"Left out {place}: {reason}", highlight=False, markup=False)
    typer.echo(store.href(made.key))
    if made.failed:
        raise typer.Exit(DEAD_LETTERS)
