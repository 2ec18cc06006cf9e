"""The command that tells what a run will take, and plays it through: hours and dollars of so many workers and GPUs."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.manifest import Manifest
from catalog.sources import known_api, read_mapping
from catalog.store import Store, open_store
from pipelines.capacity import Fleet, Forecast, Work, forecast
from pipelines.cli.options import (
    Aoi,
    Bbox,
    Centre,
    Mapping,
    MaxCloud,
    MaxScenes,
    Model,
    PeriodOption,
    Radar,
    Seasons,
    SecondStage,
    SizeKm,
    Source,
    Tiles,
    Verbose,
    Year,
    app,
    area_of,
    console,
    periods_of,
    set_log_level,
)
from pipelines.cli.progress import progress_bar
from pipelines.estimate import PriceTable, Running, default_prices, estimate, load_prices
from pipelines.plan import Planned, Settings
from pipelines.request import Request
from services.inference import DEFAULT_MODELS, model_spec

Runner = Annotated[
    str, typer.Option(help="Play the run through on dataflow, flink or direct (this machine); with --workers.")
]
Workers = Annotated[str, typer.Option(metavar="N[,M…]", help="Workers of one core each: 100, or 100,1000 to compare.")]
Gpus = Annotated[str, typer.Option(metavar="N[,M…]", help="GPUs that serve them; 0: the workers run the network.")]


@app.command("estimate")
def estimate_command(
    source: Source,
    year: Year = "",
    period: PeriodOption = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    tiles: Tiles = "",
    aoi: Aoi = "",
    model: Model = "",
    max_scenes: MaxScenes = 24,
    max_cloud: MaxCloud = 100.0,
    seasons: Seasons = False,
    second_stage: SecondStage = "",
    mapping: Mapping = "",
    radar: Radar = "",
    prices: Annotated[str, typer.Option(help="Your price table (JSON), see --write-prices.")] = "",
    write_prices: Annotated[Path | None, typer.Option(help="Write Landloom's price table here, to edit.")] = None,
    runner: Runner = "",
    workers: Workers = "",
    gpus: Gpus = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Tell what a run will take: scenes, GB, core-hours, GPU-hours, US dollars. Reads no pixel, writes no map.

    With --runner and --workers also how many hours, and what limits them (docs/capacity.md).
    """
    set_log_level(verbose)
    fleets = _fleets_of(runner, workers, gpus)
    if write_prices:
        write_prices.write_text(default_prices())
        console.print(f"Wrote {write_prices}: edit it and pass it with --prices.", markup=False)
    table = load_prices(prices)
    described = read_mapping(mapping, source) if mapping else None
    known = known_api(source, described)
    area, periods = area_of(bbox, centre, size_km, tiles, aoi), periods_of(year, period, known.first_year)
    spec = model_spec(model or DEFAULT_MODELS[known.gsd])
    settings = Settings(
        model=spec,
        legend=load_legend("nine").fitted(spec),
        max_scenes=max_scenes,
        max_cloud=max_cloud,
        seasons=seasons,
        second_stage=model_spec(second_stage) if second_stage else None,
    )
    with tempfile.TemporaryDirectory() as nowhere:
        request = Request.of(source, area, periods, settings, described, radar)
        planned = _plan(request, open_store(nowhere))
    manifests = [one.manifest for one in planned if one.manifest]
    table = table.suited(settings, manifests)
    found = estimate(planned, table)
    forecasts = _forecasts_of(fleets, manifests, table)
    if as_json:
        told = found.model_dump() | ({"forecasts": _forecasts_as_json(forecasts)} if fleets else {})
        typer.echo(json.dumps(told, indent=1))
        return
    shown = Table(title="Estimate", title_justify="left", show_header=False)
    shown.add_row("tile-years", f"{found.tile_years:,} (of {len(planned):,}; the others have no usable scene)")
    shown.add_row("scenes", f"{found.scenes:,} in {found.datatakes:,} datatakes")
    shown.add_row("published pixels", f"{found.pixels / 1e6:,.1f} million, {found.looks / 1e6:,.1f} million looks")
    if found.radar_scenes:
        added = f"{found.radar_gigabytes:,.2f} GB and {found.radar_core_hours:,.2f} core-hours among those below"
        shown.add_row("radar scenes", f"{found.radar_scenes:,}: {added}")
    shown.add_row("to read", f"{found.read_gigabytes:,.2f} GB, {found.read_usd:,.2f} USD")
    shown.add_row("to write", f"{found.written_gigabytes:,.2f} GB, {found.storage_usd_month:,.2f} USD a month")
    shown.add_row("memory of a worker", f"{found.worker_gigabytes:.1f} GB")
    shown.add_row("on CPUs", f"{found.core_hours:,.2f} core-hours, {found.core_usd:,.2f} USD")
    shown.add_row("or on GPUs", f"{found.gpu_hours:,.3f} GPU-hours, {found.gpu_usd:,.2f} USD with the feeding cores")
    console.print(shown)
    if forecasts:
        console.print(_as_table(forecasts))
    for rate, note in table.notes.items():
        if "ASSUMED" in note and (forecasts or rate not in Running.model_fields):
            console.print(f"{rate}: {note}", highlight=False, markup=False)


def _plan(request: Request, store: Store) -> list[Planned]:
    with console.status("Looking at the source"):
        source = request.open()
        request.check(source, store)
    tile_years = list(request.tile_years())
    with progress_bar() as progress:
        return [
            request.plan(tile, period, source, store)
            for tile, period in progress.track(tile_years, description="Planning")
        ]


def _fleets_of(runner: str, workers: str, gpus: str) -> list[Fleet]:
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


def _forecasts_of(fleets: Sequence[Fleet], manifests: Sequence[Manifest], table: PriceTable) -> list[Forecast]:
    """How long each takes; nothing where nothing is to be done."""
    if not (fleets and manifests):
        return []
    work = Work.of(manifests)
    return [forecast(work, fleet, table) for fleet in fleets]


def _as_table(forecasts: Sequence[Forecast]) -> Table:
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


def _forecasts_as_json(forecasts: Sequence[Forecast]) -> list[dict[str, Any]]:
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
