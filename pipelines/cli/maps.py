"""Commands that make maps, and look after them: map, estimate, sample, show, supercells, index."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from catalog.area import Area
from catalog.collections import rebuild
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.sources import open_source
from catalog.store import Store, open_store
from pipelines import worker_log
from pipelines.cli.capacity import Gpus, Runner, Workers, as_table, fleets_of, forecasts_of
from pipelines.cli.capacity import as_json as forecasts_as_json
from pipelines.cli.options import (
    Aoi,
    Bbox,
    Centre,
    LegendOption,
    Mapping,
    MaxCloud,
    MaxScenes,
    MinObservations,
    Model,
    PeriodOption,
    S3Endpoint,
    SizeKm,
    Source,
    Tiles,
    Verbose,
    Year,
    app,
    area_of,
    beam_options_of,
    console,
    number,
    periods_of,
    progress_bar,
    set_log_level,
)
from pipelines.estimate import Running, default_prices, estimate, load_prices
from pipelines.plan import Planned, Settings, plan
from pipelines.supercells import make_supercells
from services.inference import DEFAULT_MODEL, model_spec, reach_network

if TYPE_CHECKING:
    from pipelines.run import Accounts

DEAD_LETTERS = 3
"""Exit code of a run that ended, but left tile-years unpublished."""


@app.command(
    "map",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
    "--direct_running_mode=multi_processing, or --runner=FlinkRunner --flink_master=HOST:PORT (docs/flink.md). "
    "Exit codes: 0 all published or skipped, 1 stopped by an error, 2 bad arguments, 3 some tile-years dead-lettered.",
)
def map_command(
    context: typer.Context,
    source: Source,
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix for the maps and their STAC catalog.")],
    year: Year = "",
    period: PeriodOption = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    tiles: Tiles = "",
    aoi: Aoi = "",
    model: Model = DEFAULT_MODEL,
    inference: Annotated[
        str,
        typer.Option(help="Triton servers that run the network: triton://HOST:8001,OTHER:8001; see docs/triton.md."),
    ] = "",
    legend: LegendOption = "nine",
    max_scenes: MaxScenes = 24,
    max_cloud: MaxCloud = 100.0,
    min_observations: MinObservations = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Publish all class scores, too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace maps made with other settings.")] = False,
    s3_endpoint: S3Endpoint = "",
    mapping: Mapping = "",
    retry_seconds: Annotated[
        float, typer.Option(parser=number, metavar="S", help="How long a failing source is tried again.")
    ] = 300.0,
    verbose: Verbose = False,
) -> None:
    """Map land cover: scenes to published tile-years. A run that was stopped goes on where it was."""
    from pipelines.annual_map import Job
    from pipelines.flink.submit import check_workers, complete, is_flink
    from pipelines.run import map_tile_years
    from pipelines.runner import name_run

    set_log_level(verbose)
    beam_options = beam_options_of(context.args)
    area, periods = area_of(bbox, centre, size_km, tiles, aoi), periods_of(year, period)
    settings = Settings(
        model=model_spec(model),
        legend=load_legend(legend),
        max_scenes=max_scenes,
        max_cloud=max_cloud,
        min_observations=min_observations,
        scores=scores,
        overwrite=overwrite,
    )
    settings.check()
    if inference:
        with console.status(f"Waiting for {inference}"):
            reach_network(inference, settings.model, retry_seconds)
    if on_flink := is_flink(beam_options):
        beam_options = complete(beam_options)
        # Workers stand in another folder.
        out = out if "://" in out else str(Path(out).absolute())
        model = str(Path(model).absolute()) if Path(model).is_file() else model
    job = Job(name_run(), out, model, s3_endpoint or None, overwrite, retry_seconds, inference)
    planned = _plan(area, periods, source, mapping, job.store(), settings)
    if on_flink and any(one.manifest for one in planned):
        with console.status("Asking the cluster's workers what they have"):
            check_workers(job, beam_options)
    with nullcontext() if verbose else worker_log.apart(job.run), progress_bar() as progress:
        bar = progress.add_task("Mapping blocks", total=None)
        accounts = map_tile_years(
            job,
            planned,
            beam_options,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
        progress.update(bar, visible=False)
    _tell(accounts, planned, out)
    if accounts.dead_lettered:
        raise typer.Exit(DEAD_LETTERS)


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
    model: Model = DEFAULT_MODEL,
    max_scenes: MaxScenes = 24,
    max_cloud: MaxCloud = 100.0,
    mapping: Mapping = "",
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
    fleets = fleets_of(runner, workers, gpus)
    if write_prices:
        write_prices.write_text(default_prices())
        console.print(f"Wrote {write_prices}: edit it and pass it with --prices.", markup=False)
    table = load_prices(prices)
    area, periods = area_of(bbox, centre, size_km, tiles, aoi), periods_of(year, period)
    settings = Settings(model=model_spec(model), legend=load_legend("nine"), max_scenes=max_scenes, max_cloud=max_cloud)
    with tempfile.TemporaryDirectory() as nowhere:
        planned = _plan(area, periods, source, mapping, open_store(nowhere), settings)
    found = estimate(planned, table)
    forecasts = forecasts_of(fleets, [one.manifest for one in planned if one.manifest], table)
    if as_json:
        told = found.model_dump() | ({"forecasts": forecasts_as_json(forecasts)} if fleets else {})
        typer.echo(json.dumps(told, indent=1))
        return
    shown = Table(title="Estimate", title_justify="left", show_header=False)
    shown.add_row("tile-years", f"{found.tile_years:,} (of {len(planned):,}; the others have no usable scene)")
    shown.add_row("scenes", f"{found.scenes:,} in {found.datatakes:,} datatakes")
    shown.add_row("published pixels", f"{found.pixels / 1e6:,.1f} million, {found.looks / 1e6:,.1f} million looks")
    shown.add_row("to read", f"{found.read_gigabytes:,.2f} GB, {found.read_usd:,.2f} USD")
    shown.add_row("to write", f"{found.written_gigabytes:,.2f} GB, {found.storage_usd_month:,.2f} USD a month")
    shown.add_row("on CPUs", f"{found.core_hours:,.2f} core-hours, {found.core_usd:,.2f} USD")
    shown.add_row("or on GPUs", f"{found.gpu_hours:,.3f} GPU-hours, {found.gpu_usd:,.2f} USD with the feeding cores")
    console.print(shown)
    if forecasts:
        console.print(as_table(forecasts))
    for rate, note in table.notes.items():
        if "ASSUMED" in note and (forecasts or rate not in Running.model_fields):
            console.print(f"{rate}: {note}", highlight=False, markup=False)


@app.command("sample")
def sample_command(
    out: Annotated[Path, typer.Option(help="Folder for the sample's STAC catalog.")] = Path("out/sample"),
) -> None:
    """Write the sample input: a real Sentinel-2 scene of Brandenburg an der Havel, and land-use polygons."""
    from pipelines.sample import write_sample

    catalog = write_sample(out)
    console.print(f"Sample scene (2017-02-16, tile 33UUU) and polygons: {catalog}", highlight=False, markup=False)


@app.command("show")
def show_command(
    item: Annotated[str, typer.Argument(help="Path or URL of a published item's JSON.")],
    png: Annotated[Path | None, typer.Option(help="File to write; without it the picture is opened.")] = None,
) -> None:
    """Draw a published map with its legend."""
    from pipelines.show import show

    if png:
        typer.echo(show(item, png))
    else:
        typer.launch(str(show(item, Path(tempfile.mkdtemp(prefix="landloom-")) / "map.png")))


@app.command("supercells")
def supercells_command(
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix that `landloom map` wrote to.")],
    year: Annotated[str, typer.Option(help="Year, or years as 2020,2021; by default all.")] = "",
    zone: Annotated[str, typer.Option(help="Grid zone, or zones as 21L,21M; by default all.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make those anew that are up to date, too.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Publish one COG and item per grid zone and year, cut as io-lulc-annual-v02, from the published maps."""
    with progress_bar() as progress:
        bar = progress.add_task("Zones", total=None)
        account = make_supercells(
            open_store(out, s3_endpoint=s3_endpoint or None),
            [period.start.year for period in periods_of(year, "")] if year else (),
            zone.split(",") if zone else (),
            overwrite=overwrite,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        progress.update(bar, visible=False)
    console.print(
        f"{account.planned:,} planned: {len(account.published):,} published, {len(account.skipped):,} skipped (up to "
        f"date), {len(account.failed):,} failed",
        highlight=False,
    )
    for name, reason in account.failed.items():
        console.print(f"Failed {name}: {reason}", highlight=False, markup=False)
    if account.failed:
        raise typer.Exit(DEAD_LETTERS)


@app.command("index")
def index_command(
    catalog: Annotated[str, typer.Argument(help="Folder or s3:// that a run wrote to.")],
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Rebuild all that is derived from the items: extents, summaries, links, and the STAC GeoParquet."""
    for name, count in rebuild(open_store(catalog, s3_endpoint=s3_endpoint or None)).items():
        console.print(f"{name}: {count:,} items", highlight=False)


def _plan(
    area: Area, periods: list[Period], source: str, mapping: str, store: Store, settings: Settings
) -> list[Planned]:
    opened = open_source(source, mapping=mapping or None)
    with progress_bar() as progress:
        total = len(area.tiles) * len(periods)
        return list(progress.track(plan(area, periods, opened, store, settings), total=total, description="Planning"))


def _tell(accounts: Accounts, planned: list[Planned], out: str) -> None:
    """Print the accounts: what was published, and by name what was not."""
    table = Table(title=f"Run {accounts.run}", title_justify="left")
    for column in ("planned", "published", "skipped", "dead-lettered", "blocks done", "seconds"):
        table.add_column(column, justify="right")
    counts = (accounts.planned, len(accounts.published), len(accounts.skipped), len(accounts.dead_lettered))
    table.add_row(*map(str, counts), str(accounts.blocks.get("done", 0)), f"{accounts.seconds:.1f}")
    console.print(table)
    left_out = [exclusion for one in planned if one.manifest for exclusion in one.manifest.excluded]
    if left_out:
        console.print(f"{len(left_out)} scenes found and not used: the manifests say which and why.")
    for title, reasons in (("Skipped", accounts.skipped), ("Dead-lettered", accounts.dead_lettered)):
        for name, reason in list(reasons.items())[:20]:
            console.print(f"{title} {name}: {reason}", highlight=False, markup=False)
        if len(reasons) > 20:
            console.print(f"… and {len(reasons) - 20} more, see runs/{accounts.run}.json")
    for name in accounts.published[:20]:
        manifest = next(one.manifest for one in planned if one.id == name and one.manifest)
        typer.echo(f"{out.rstrip('/')}/{manifest.item_key}")
