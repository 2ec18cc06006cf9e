"""The part of `landloom estimate` that plays a run through: hours and dollars of so many workers and GPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any

import typer
from rich.table import Table

from catalog.errors import BadInput
from catalog.manifest import Manifest
from pipelines.capacity import Fleet, Forecast, Work, forecast
from pipelines.estimate import PriceTable

Runner = Annotated[
    str, typer.Option(help="Play the run through on dataflow, flink or direct (this machine); with --workers.")
]
Workers = Annotated[str, typer.Option(metavar="N[,M…]", help="Workers of one core each: 100, or 100,1000 to compare.")]
Gpus = Annotated[str, typer.Option(metavar="N[,M…]", help="GPUs that serve them; 0: the workers run the network.")]


def fleets_of(runner: str, workers: str, gpus: str) -> list[Fleet]:
    """What is to be compared; nothing without a runner.

    Raises:
        BadInput: what cannot be, or one option without the other.
    """
    if not runner:
        if workers or gpus:
            raise BadInput("--workers and --gpus tell how a run goes on a runner. Give --runner dataflow, too.")
        return []
    if not workers:
        raise BadInput(f"How many workers has --runner {runner}? Give --workers N, or several as 100,1000.")
    sizes = product(_counts("--gpus", gpus or "0"), _counts("--workers", workers))
    fleets = [Fleet(runner, some, served) for served, some in sizes]
    for fleet in fleets:
        fleet.check()
    return fleets


def forecasts_of(fleets: Sequence[Fleet], manifests: Sequence[Manifest], table: PriceTable) -> list[Forecast]:
    """How long each takes; nothing where nothing is to be done."""
    if not (fleets and manifests):
        return []
    work = Work.of(manifests)
    return [forecast(work, fleet, table) for fleet in fleets]


def as_table(forecasts: Sequence[Forecast]) -> Table:
    """For people; *scaling* is how much of what the first row's workers do each of a row's workers does."""
    runner, first = forecasts[0].fleet.runner, forecasts[0]
    shown = Table(title=f"On {runner}", title_justify="left")
    for column in ("workers", "GPUs", "hours", "USD", "scaling, %", "last blocks, h", "limited by"):
        shown.add_column(column, justify="left" if column == "limited by" else "right")
    for one in forecasts:
        scaling = 100 * first.hours * first.fleet.workers / (one.hours * one.fleet.workers)
        told = (f"{one.hours:,.2f}", f"{one.usd:,.2f}", f"{scaling:.0f}", f"{one.tail_hours:.2f}")
        never = ("never", "", "", "")
        sizes = (f"{one.fleet.workers:,}", f"{one.fleet.gpus:,}")
        shown.add_row(*sizes, *(told if math.isfinite(one.hours) else never), one.limit)
    return shown


def as_json(forecasts: Sequence[Forecast]) -> list[dict[str, Any]]:
    """For programs; a run that never ends has no hours."""
    return [
        {
            "runner": one.fleet.runner,
            "workers": one.fleet.workers,
            "gpus": one.fleet.gpus,
            "hours": one.hours if math.isfinite(one.hours) else None,
            "usd": one.usd if math.isfinite(one.usd) else None,
            "tail_hours": one.tail_hours,
            "lost_core_hours": one.lost_core_hours,
            "limit": one.limit,
        }
        for one in forecasts
    ]


def _counts(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput(
            f"{option} {text!r} is not a list of whole numbers. Give one, or several as 100,1000."
        ) from error
