"""The command that tells what changed between years of maps: change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Aoi, Bbox, Centre, Crosswalk, MapLevel, SizeKm, extra, ground_of, number
from pipelines.cli.workers import Job, by_places
from services.change.requests import ChangeRequest, described


@by_places("change")
def change_command(
    job: Job,
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    aoi: Aoi = "",
    name: Annotated[str, typer.Option(help=described(ChangeRequest, "name"))] = "",
    themes: Annotated[Path | None, typer.Option(help="Your themes (JSON) instead of the usual ones.")] = None,
    crosswalk: Crosswalk = "",
    level: MapLevel = None,
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
    note: Annotated[str, typer.Option(help=described(ChangeRequest, "note"))] = "",
) -> None:
    """Publish what changed: areas, transitions and whether they last, as STAC. Without an area: all that is mapped."""
    with extra("change"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    from services.change.products import make_change
    from services.change.themes import load_themes

    area = ground_of(bbox, centre, size_km, aoi)
    request = job.request(
        ChangeRequest,
        name=name,
        themes=load_themes(themes) if themes else None,
        crosswalk=crosswalk,
        level=level,
        degradation=degradation,
        minimum_mapping_unit=minimum_mapping_unit,
        note=" ".join(one for one in (note, *area.notes) if one),
    )
    with job.by_workers("Places") as (run, on_progress):
        series, known, account = make_change(request, job.maps, area.geometry, job.store, on_progress, run=run)
    notes = [known.note, *(f"Note: {told}" for told in (*series.notes, *known.notes))]
    job.end(account, notes, account.item)
