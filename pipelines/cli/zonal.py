"""The command that tells cover and change by zone: zonal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Crosswalk, MapLevel, console, extra
from pipelines.cli.workers import Job, by_places
from services.change.requests import ZonalRequest, described


@by_places("zonal")
def zonal_command(
    job: Job,
    zones: Annotated[
        Path, typer.Option(help="Polygons with their attributes: GeoPackage, GeoJSON, GeoParquet; any CRS.")
    ],
    key: Annotated[str, typer.Option(help=described(ZonalRequest, "key"))] = "",
    join: Annotated[Path | None, typer.Option(help="CSV or Parquet with more columns, joined by --key.")] = None,
    shown: Annotated[str, typer.Option("--class", help=described(ZonalRequest, "shown"))] = "",
    ratio: Annotated[str, typer.Option(help=described(ZonalRequest, "ratio"))] = "",
    crosswalk: Crosswalk = "",
    level: MapLevel = None,
    name: Annotated[str, typer.Option(help="Of the zones, for IDs and titles; by default the file's.")] = "",
) -> None:
    """Tell area, share and change of each class in each zone, as tables, figures and a map, published as STAC."""
    with extra("change"):
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    from services.change.products import make_zonal
    from services.change.zones import read_zones

    request = job.request(ZonalRequest, name=name, key=key, shown=shown, ratio=ratio, crosswalk=crosswalk, level=level)
    read = read_zones(zones, key, join)
    with job.by_workers("Places") as (run, on_progress):
        known, account = make_zonal(request, job.maps, read, zones.stem, job.store, on_progress, run=run)
    told = ", ".join(f"{count:,} {how}" for how, count in account.coverage.items())
    console.print(f"{len(read.frame):,} zones: {told}", highlight=False)
    job.end(account, [known.note, *(f"Note: {note}" for note in account.notes)], account.key)
