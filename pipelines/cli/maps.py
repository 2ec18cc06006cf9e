"""Commands that make maps, and look after them: map, show, supercells, index."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from catalog.collections import rebuild
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.manifest import item_key
from catalog.sources import known_api, read_mapping
from catalog.store import open_store
from pipelines import worker_log
from pipelines.beam_options import is_dataflow, option
from pipelines.cli.options import (
    Aoi,
    Bbox,
    Centre,
    LegendOption,
    LevelOption,
    Mapping,
    MaxCloud,
    MaxScenes,
    MinObservations,
    Model,
    PeriodOption,
    Radar,
    S3Endpoint,
    Seasons,
    SecondStage,
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
    set_log_level,
)
from pipelines.cli.progress import progress_bar, progress_of
from pipelines.flink.submit import complete, is_flink, job_server, told_if_lost
from pipelines.plan import Settings
from pipelines.records import Records
from pipelines.request import Request, source_of
from pipelines.standing import Standing, dead_letters
from pipelines.supercells import make_supercells
from services.inference import DEFAULT_MODELS, model_spec, reach_network

if TYPE_CHECKING:
    from pipelines.run import Accounts

_TOLD = 20
"""Tile-years of a kind that are named on the terminal."""
DEAD_LETTERS = 3
"""Exit code of a run that ended, but left tile-years unpublished."""


@app.command(
    "map",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
    "--direct_running_mode=multi_processing, --runner=FlinkRunner --flink_master=HOST:PORT (docs/flink.md), "
    "or --runner=DataflowRunner (docs/dataflow.md). "
    "Exit codes: 0 all published or skipped, 1 stopped by an error, 2 bad arguments, 3 some tile-years dead-lettered.",
)
def map_command(
    context: typer.Context,
    out: Annotated[
        str, typer.Option(help="Folder, s3://bucket/prefix or gs://bucket/prefix for the maps and their STAC catalog.")
    ],
    source: Source = "",
    year: Year = "",
    period: PeriodOption = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    tiles: Tiles = "",
    aoi: Aoi = "",
    model: Model = "",
    inference: Annotated[
        str,
        typer.Option(help="Triton servers that run the network: triton://HOST:8001,OTHER:8001; see docs/triton.md."),
    ] = "",
    legend: LegendOption = "nine",
    level: LevelOption = None,
    max_scenes: MaxScenes = 24,
    max_cloud: MaxCloud = 100.0,
    min_observations: MinObservations = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Publish all class scores, too.")] = False,
    seasons: Seasons = False,
    second_stage: SecondStage = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace maps made with other settings.")] = False,
    s3_endpoint: S3Endpoint = "",
    mapping: Mapping = "",
    radar: Radar = "",
    retry_seconds: Annotated[
        float, typer.Option(parser=number, metavar="S", help="How long a failing source is tried again.")
    ] = 300.0,
    retry: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="Take up again the tile-years that a run left dead-lettered, as it was asked for: with --out, and "
            "no other option of what to map.",
        ),
    ] = "",
    verbose: Verbose = False,
) -> None:
    """Map land cover: scenes to published tile-years. A run that was stopped goes on where it was."""
    set_log_level(verbose)
    beam_options = context.args
    if on_flink := is_flink(beam_options):
        beam_options = context.with_resource(job_server(complete(beam_options)))
        # Workers stand in another folder.
        out = out if "://" in out else str(Path(out).absolute())
    beam_options = beam_options_of(beam_options)

    # Only now, since they import Beam: the job server starts meanwhile.
    from pipelines.dataflow import submit as dataflow
    from pipelines.flink.check import check_workers
    from pipelines.job import Job
    from pipelines.run import map_tile_years
    from pipelines.runner import name_run

    store = open_store(out, s3_endpoint=s3_endpoint or None)
    if retry:
        _refuse_besides_retry(context)
        asked = Records(store, retry).asked()
        request = asked.request.model_copy(update={"only": dead_letters(store, asked)})
        model, second_stage, inference = asked.model, asked.second_stage, inference or asked.inference
    else:
        if not source:
            raise BadInput("Missing option '--source': where the scenes come from, see landloom map --help.")
        described = read_mapping(mapping, source) if mapping else None
        known = known_api(source, described)
        model = model or DEFAULT_MODELS[known.gsd]
        spec = model_spec(model)
        settings = Settings(
            model=spec,
            legend=load_legend(legend, level).fitted(spec),
            max_scenes=max_scenes,
            max_cloud=max_cloud,
            min_observations=min_observations,
            scores=scores,
            seasons=seasons,
            second_stage=model_spec(second_stage) if second_stage else None,
            overwrite=overwrite,
        )
        area, periods = area_of(bbox, centre, size_km, tiles, aoi), periods_of(year, period, known.first_year)
        request = Request.of(source, area, periods, settings, described, radar)
    if inference:
        with console.status(f"Waiting for {inference}"):
            reach_network(inference, request.settings.model, retry_seconds)
    model = str(Path(model).absolute()) if Path(model).is_file() else model
    second_stage = str(Path(second_stage).absolute()) if Path(second_stage).is_file() else second_stage
    overwrite = request.settings.overwrite
    job = Job(name_run(), out, model, s3_endpoint or None, overwrite, retry_seconds, inference, second_stage)
    if on_dataflow := is_dataflow(beam_options):
        beam_options = dataflow.complete(beam_options, job.run)
        dataflow.check(job, request)
    with console.status("Looking at the source"):
        request.check(source_of(job.run, request), store)
    if on_flink:
        with console.status("Asking the cluster's workers what they have"):
            check_workers(job, beam_options)
    if on_dataflow and (template := option(beam_options, "--template_location")):
        dataflow.write_template(job, request, beam_options)
        console.print(f"Wrote the job of run {job.run} to {template}.", highlight=False)
        return
    apart = nullcontext() if verbose else worker_log.apart(job.run)
    with told_if_lost(beam_options), apart, progress_bar() as progress:
        bar = progress.add_task("Planning tile-years", total=None)
        accounts = map_tile_years(job, request, beam_options, lambda standing: progress.update(bar, **_bar(standing)))
        progress.update(bar, visible=False)
    _tell(accounts, request, out)
    if accounts.dead_lettered:
        raise typer.Exit(DEAD_LETTERS)


def _refuse_besides_retry(context: typer.Context) -> None:
    """What a run was asked for stands in its records: another word on it would be lost.

    Raises:
        BadInput: naming the option.
    """
    allowed = {"retry", "out", "s3_endpoint", "inference", "retry_seconds", "verbose"}
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in allowed:
            raise BadInput(
                f"--{name.replace('_', '-')} does not go with --retry: what that run was asked for is done again. "
                "Leave it out, or begin a run of its own without --retry."
            )


def _bar(standing: Standing) -> dict[str, Any]:
    """The progress bar's state."""
    if standing.planned < standing.tile_years:
        return {"completed": standing.planned, "total": standing.tile_years}
    done = standing.blocks - standing.blocks_left
    return {"description": "Mapping blocks", "completed": done, "total": standing.blocks}


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
    out: Annotated[
        str, typer.Option(help="Folder, s3://bucket/prefix or gs://bucket/prefix that `landloom map` wrote to.")
    ],
    year: Annotated[str, typer.Option(help="Year, or years as 2020,2021; by default all.")] = "",
    zone: Annotated[str, typer.Option(help="Grid zone, or zones as 21L,21M; by default all.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make those anew that are up to date, too.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Publish one COG and item per grid zone and year, cut as io-lulc-annual-v02, from the published maps."""
    with progress_of("Zones") as on_progress:
        account = make_supercells(
            open_store(out, s3_endpoint=s3_endpoint or None),
            [period.start.year for period in periods_of(year, "")] if year else (),
            zone.split(",") if zone else (),
            overwrite=overwrite,
            on_progress=on_progress,
        )
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
    catalog: Annotated[str, typer.Argument(help="Folder, s3:// or gs:// that a run wrote to.")],
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Rebuild all that is derived from the items: extents, summaries, links, and the STAC GeoParquet."""
    for name, count in rebuild(open_store(catalog, s3_endpoint=s3_endpoint or None)).items():
        console.print(f"{name}: {count:,} items", highlight=False)


def _tell(accounts: Accounts, request: Request, out: str) -> None:
    """Print the accounts: what was published, and by name what was not."""
    table = Table(title=f"Run {accounts.run}", title_justify="left")
    for column in ("planned", "published", "skipped", "dead-lettered", "blocks done", "seconds"):
        table.add_column(column, justify="right")
    counts = (accounts.planned, len(accounts.published), len(accounts.skipped), len(accounts.dead_lettered))
    table.add_row(*map(str, counts), str(accounts.blocks.get("done", 0)), f"{accounts.seconds:.1f}")
    console.print(table)
    if accounts.scenes_left_out:
        console.print(f"{accounts.scenes_left_out} scenes found and not used: the manifests say which and why.")
    for title, reasons in (("Skipped", accounts.skipped), ("Dead-lettered", accounts.dead_lettered)):
        for name, reason in list(reasons.items())[:_TOLD]:
            console.print(f"{title} {name}: {reason}", highlight=False, markup=False)
        if len(reasons) > _TOLD:
            console.print(f"… and {len(reasons) - _TOLD} more, see runs/{accounts.run}.json")
    if accounts.dead_lettered:
        again = f"Try them again: landloom map --retry {accounts.run} --out {out}"
        console.print(again, highlight=False, markup=False, soft_wrap=True)
    published = set(accounts.published)
    made = [one for one in request.tile_years() if f"{one[0]}-{one[1].label}" in published]
    keys = [item_key(*one, request.settings.model.gsd) for one in made]
    for key in keys[:_TOLD]:
        typer.echo(f"{out.rstrip('/')}/{key}")
