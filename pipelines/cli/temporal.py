"""The command that corrects the years of a series together: temporal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from catalog.errors import BadInput
from pipelines.cli.options import Aoi, Bbox, Centre, SizeKm, console, ground_of, number
from pipelines.cli.workers import Job, by_places
from services.change.emissions import REPEATED
from services.change.requests import GivenMatrix, TemporalRequest, described


@by_places("temporal")
def temporal_command(
    job: Job,
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    aoi: Aoi = "",
    error_matrix: Annotated[
        Path | None,
        typer.Option(
            help="Error matrix (CSV of counts, rows mapped, columns reference); without it the published scores are "
            "used."
        ),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(help='JSON of the training prior: {"trees": 0.4, …}; by default their mean score, at least 5 %.'),
    ] = None,
    transitions: Annotated[
        Path | None, typer.Option(help='JSON of yearly transitions: {"trees": {"trees": 0.99, "crops": 0.01}, …}.')
    ] = None,
    repeated: Annotated[
        float, typer.Option(parser=number, metavar="SHARE", help=described(TemporalRequest, "repeated"))
    ] = REPEATED,
    change_weight: Annotated[
        float | None, typer.Option(parser=number, metavar="N", help=described(TemporalRequest, "change_weight"))
    ] = None,
) -> None:
    """Correct the years of a series together by a hidden Markov model, and publish them as `lulc-temporal`, at
    30 m as `lulc-temporal-30m`.
    """
    from services.change.error_matrix import read_error_matrix
    from services.change.products import make_temporal

    matrix = read_error_matrix(error_matrix, any_order=True) if error_matrix else None
    request = job.request(
        TemporalRequest,
        error_matrix=None
        if matrix is None
        else GivenMatrix(classes=matrix.names, counts=tuple(map(tuple, matrix.counts.tolist()))),
        prior=_read(prior, "--prior", '{"trees": 0.4, …}', _shares) if prior else None,
        transitions=_read(transitions, "--transitions", '{"trees": {"trees": 0.99, …}, …}', _rows)
        if transitions
        else None,
        repeated=repeated,
        change_weight=change_weight,
    )
    geometry = ground_of(bbox, centre, size_km, aoi).geometry
    with job.by_workers("Passes over places") as (run, on_progress):
        series, known, account = make_temporal(request, job.maps, geometry, job.store, on_progress, run=run)
    table = Table(title="Change, hectares, all pairs of years", title_justify="left")
    for column in ("place", "in the maps", "corrected", "removed"):
        table.add_column(column, justify="left" if column == "place" else "right")
    for name, tally in account.tallies.items():
        mapped, corrected = tally.changed
        removed = f"{mapped - corrected:,.1f}" + (f" ({1 - corrected / mapped:.0%})" if mapped else "")
        table.add_row(name, f"{mapped:,.1f}", f"{corrected:,.1f}", removed)
    if account.tallies:
        console.print(table)
    last = f"{series.years[-1]} is provisional: no later year confirms its changes."
    job.end(account, [*series.notes, *known.notes, last])


def _read(path: Path, option: str, form: str, shaped: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    try:
        return shaped(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{option} {str(path)!r} cannot be read: {error}. Give JSON, {form}.") from error


def _shares(told: Any) -> dict[str, float]:
    return {str(name): float(share) for name, share in told.items()}


def _rows(told: Any) -> dict[str, dict[str, float]]:
    return {str(before): _shares(after) for before, after in told.items()}
