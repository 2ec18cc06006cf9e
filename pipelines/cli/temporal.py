"""The command that corrects the years of a series together: temporal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from catalog.errors import BadInput
from catalog.store import open_store
from pipelines.cli.maps import DEAD_LETTERS
from pipelines.cli.options import (
    Anew,
    Aoi,
    Bbox,
    Centre,
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
    ground_of,
    number,
    set_log_level,
    years_of,
)
from pipelines.cli.workers import by_workers
from services.change.emissions import REPEATED
from services.change.temporal import CHANGE_WEIGHT

if TYPE_CHECKING:
    from services.change.series import Series


@app.command(
    "temporal",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
    "--direct_running_mode=multi_processing, or --runner=FlinkRunner. "
    "Exit codes: 0 all published or skipped, 1 stopped by an error, 2 bad arguments, 3 some places left out.",
)
def temporal_command(
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
        float, typer.Option(parser=number, metavar="SHARE", help="Share of the errors that come back every year.")
    ] = REPEATED,
    change_weight: Annotated[
        float, typer.Option(parser=number, metavar="N", help="How many false changes a missed one weighs.")
    ] = CHANGE_WEIGHT,
    accuracy: MapAccuracy = "",
    reference: ReferenceReport = "",
    overwrite: Anew = False,
    s3_endpoint: S3Endpoint = "",
    verbose: Verbose = False,
) -> None:
    """Correct the years of a series together by a hidden Markov model, and publish them as `lulc-temporal`."""
    from services.change.corrected_series import correct_series
    from services.change.correction import Settings
    from services.change.error_matrix import read_error_matrix
    from services.change.series import open_series
    from services.change.uncertainty import find_uncertainty

    set_log_level(verbose)
    beam_options = beam_options_of(context.args, "temporal")
    geometry = ground_of(bbox, centre, size_km, aoi)
    with console.status(f"Looking for maps in {maps}"):
        series = open_series(maps, years_of(years), geometry, collection=collection, asset=asset)
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    catalogs = catalogs_of(maps, out, store)
    known = find_uncertainty(catalogs, series, series, accuracy, reference, {})
    settings = Settings(
        error_matrix=read_error_matrix(error_matrix, any_order=True) if error_matrix else None,
        prior=_read_prior(prior) if prior else None,
        transition=read_transitions(transitions, series) if transitions else None,
        repeated=repeated,
        change_weight=change_weight,
        accuracy=known.published,
        reference=known.reference,
    )
    with by_workers(store, beam_options, "Passes over places", verbose) as (run, on_progress):
        account = correct_series(series, store, settings, overwrite=overwrite, on_progress=on_progress, run=run)
    table = Table(title="Change, hectares, all pairs of years", title_justify="left")
    for column in ("place", "in the maps", "corrected", "removed"):
        table.add_column(column, justify="left" if column == "place" else "right")
    for name, tally in account.published.items():
        mapped, corrected = tally.changed
        removed = f"{mapped - corrected:,.1f}" + (f" ({1 - corrected / mapped:.0%})" if mapped else "")
        table.add_row(name, f"{mapped:,.1f}", f"{corrected:,.1f}", removed)
    if account.published:
        console.print(table)
    for note in (
        *series.notes,
        *known.notes,
        f"{series.years[-1]} is provisional: no later year confirms its changes.",
    ):
        console.print(note, highlight=False, markup=False)
    console.print(
        f"{account.planned:,} planned: {len(account.published):,} published, {len(account.skipped):,} skipped (up to "
        f"date), {len(account.failed):,} failed",
        highlight=False,
    )
    for name, reason in account.failed.items():
        console.print(f"Failed {name}: {reason}", highlight=False, markup=False)
    if account.failed:
        raise typer.Exit(DEAD_LETTERS)


def _read_prior(path: Path) -> dict[str, float]:
    try:
        return {str(name): float(share) for name, share in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f'--prior {str(path)!r} cannot be read: {error}. Give JSON, {{"trees": 0.4, …}}.') from error


def read_transitions(path: Path, series: Series) -> np.ndarray:
    """Yearly transitions from JSON, `[classes, classes]` in the legend's order; what is not named does not happen.

    Raises:
        BadInput: the file cannot be read, names other classes, or a row does not sum to 1.
    """
    names = series.legend.names
    try:
        told = {str(before): dict(after) for before, after in json.loads(path.read_text()).items()}
        if strange := ({*told} | {one for after in told.values() for one in after}) - set(names):
            raise BadInput(
                f"--transitions {str(path)!r} names {sorted(strange)[0]!r}, which the maps do not have. Their classes "
                f"are {', '.join(names)}."
            )
        found = np.array([[float(told.get(one, {}).get(other, one == other)) for other in names] for one in names])
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(
            f'--transitions {str(path)!r} cannot be read: {error}. Give JSON, {{"trees": {{"trees": 0.99, …}}, …}}.'
        ) from error
    if (found < 0).any() or not np.allclose(found.sum(axis=1), 1, atol=0.01):
        wrong = names[int(np.argmax(np.abs(found.sum(axis=1) - 1)))]
        raise BadInput(f"--transitions {str(path)!r}: the row of {wrong!r} does not sum to 1. Give probabilities.")
    return found
