"""The `landloom` command."""

from __future__ import annotations

import argparse
import difflib
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from catalog.chips import Split
from catalog.collections import rebuild
from catalog.errors import BadInput, LandloomError
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.sources import open_source
from catalog.store import Store, open_store
from pipelines import worker_log
from pipelines.area import Area, area_of_bbox, area_of_centre, area_of_file, area_of_tiles
from pipelines.estimate import default_prices, estimate, load_prices
from pipelines.plan import Planned, Settings, plan
from services.inference import DEFAULT_MODEL, model_provenance, model_spec, open_network, reach_network
from services.inference.recipe import DEFAULT_RECIPE, load_recipe

if TYPE_CHECKING:
    from pipelines.dataset import Report
    from pipelines.run import Accounts

DEAD_LETTERS = 3
"""Exit code of a run that ended, but left tile-years unpublished."""

# What one command alone needs is imported in it, above all Beam, which takes three seconds.
app = typer.Typer(
    name="landloom",
    help="Annual 10 m land-cover maps from Sentinel-2, published as STAC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a whole number. Give one, as 12.") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number. Give one, as 50.") from error


Source = Annotated[
    str,
    typer.Option(help="planetary-computer, earth-search, a STAC API's URL, or a static catalog (path, URL, s3://)."),
]
Year = Annotated[str, typer.Option(help="Years, comma-separated: 2020 or 2020,2021.")]
PeriodOption = Annotated[str, typer.Option("--period", help="START/END instead of years: a season, or a day's scene.")]
Bbox = Annotated[str, typer.Option(help="W,S,E,N in degrees.")]
Centre = Annotated[str, typer.Option(help="LON,LAT in degrees, with --size-km.")]
SizeKm = Annotated[str, typer.Option(help="W,H in kilometres, round --centre.")]
Tiles = Annotated[
    str, typer.Option(help="Sentinel-2 tiles, comma-separated: 48QUE,48QUF; or land for every tile with land.")
]
Aoi = Annotated[str, typer.Option(help="Polygon file: GeoJSON, GeoPackage, GeoParquet; any CRS.")]
Model = Annotated[str, typer.Option(help="Network: an ID that Landloom ships, or an ONNX file.")]
LegendOption = Annotated[str, typer.Option("--legend", help="nine, ten, or a legend file (JSON).")]
MaxScenes = Annotated[int, typer.Option(parser=_whole, metavar="N", help="Datatakes used for a tile-year, at most.")]
MaxCloud = Annotated[
    float, typer.Option(parser=_number, metavar="PCT", help="Leave out scenes with more cloud, per cent.")
]
MinObservations = Annotated[
    int, typer.Option(parser=_whole, metavar="N", help="Clear looks a pixel needs; with fewer it is no data.")
]
S3Endpoint = Annotated[str, typer.Option(help="Endpoint of an S3 server other than Amazon's.")]
Mapping = Annotated[str, typer.Option(help="JSON file that names the bands of an unknown STAC API.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")]


@app.command(
    "map",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2 "
    "--direct_running_mode=multi_processing, or --runner=FlinkRunner. "
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
        float, typer.Option(parser=_number, metavar="S", help="How long a failing source is tried again.")
    ] = 300.0,
    verbose: Verbose = False,
) -> None:
    """Map land cover: scenes to published tile-years. A run that was stopped goes on where it was."""
    from pipelines.annual_map import Job
    from pipelines.run import map_tile_years, name_run

    _log(verbose)
    beam_options = _beam_options(context.args)
    area, periods = _area(bbox, centre, size_km, tiles, aoi), _periods(year, period)
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
    job = Job(name_run(), out, model, s3_endpoint or None, overwrite, retry_seconds, inference)
    planned = _plan(area, periods, source, mapping, job.store(), settings)
    with nullcontext() if verbose else worker_log.apart(job.run), _progress() as progress:
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Tell what a run will take: scenes, GB, core-hours, GPU-hours, US dollars. Reads no pixel, writes no map."""
    _log(verbose)
    if write_prices:
        write_prices.write_text(default_prices())
        console.print(f"Wrote {write_prices}: edit it and pass it with --prices.", markup=False)
    table = load_prices(prices)
    area, periods = _area(bbox, centre, size_km, tiles, aoi), _periods(year, period)
    settings = Settings(model=model_spec(model), legend=load_legend("nine"), max_scenes=max_scenes, max_cloud=max_cloud)
    with tempfile.TemporaryDirectory() as nowhere:
        planned = _plan(area, periods, source, mapping, open_store(nowhere), settings)
    found = estimate(planned, table)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
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
    for rate, note in table.notes.items():
        if "ASSUMED" in note:
            console.print(f"{rate}: {note}", highlight=False, markup=False)


@app.command("sample")
def sample_command(
    out: Annotated[Path, typer.Option(help="Folder for the sample's STAC catalog.")] = Path("out/sample"),
) -> None:
    """Write the sample input: a real Sentinel-2 scene of Brandenburg an der Havel, and land-use polygons."""
    from pipelines.sample import write_sample

    catalog = write_sample(out)
    console.print(f"Sample scene (2017-02-16, tile 33UUU) and polygons: {catalog}", highlight=False, markup=False)


@app.command(
    "dataset",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2.",
)
def dataset_command(
    context: typer.Context,
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix of the training set.")],
    chips: Annotated[str, typer.Option(help="Ready chips: a folder with its index, chips.csv.")] = "",
    labels: Annotated[
        str,
        typer.Option(help="Or labels of scenes: a raster, a published map's item, polygons, or a folder of markups."),
    ] = "",
    attribute: Annotated[str, typer.Option(help="Column of the polygons that tells the class.")] = "",
    classes: Annotated[
        str,
        typer.Option(
            help="What values of --labels mean: worldcover, dynamic-world, esri, landloom, or a JSON file as "
            '{"10": "trees", "100": null}.'
        ),
    ] = "",
    teacher: Annotated[str, typer.Option(help="Or a network that labels scenes: its ID or ONNX file.")] = "",
    sure: Annotated[
        float, typer.Option(parser=_number, metavar="P", help="Least probability with which a teacher labels a pixel.")
    ] = 0.5,
    source: Annotated[str, typer.Option(help="Of the scenes, as for `landloom map`.")] = "",
    mapping: Mapping = "",
    year: Year = "",
    period: PeriodOption = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    tiles: Tiles = "",
    aoi: Aoi = "",
    biomes: Annotated[str, typer.Option(help="Polygons of biomes, within each of which classes are evened out.")] = "",
    biome_column: Annotated[str, typer.Option(help="Column of --biomes that names them.")] = "",
    chip: Annotated[int, typer.Option(parser=_whole, metavar="PX", help="Side of a chip, a multiple of 16.")] = 256,
    bands: Annotated[
        str,
        typer.Option(help="To write, comma-separated; by default the six of a map and others that all scenes have."),
    ] = "",
    count: Annotated[
        int | None, typer.Option(parser=_whole, metavar="N", help="Chips to draw, classes evened out; default: all.")
    ] = None,
    split: Annotated[str, typer.Option(help="Shares of places for train, validation, test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(parser=_whole, metavar="N", help="Of the draw and of the split.")] = 0,
    min_labelled: Annotated[
        float, typer.Option(parser=_number, metavar="PCT", help="Labelled pixels that a chip needs, per cent.")
    ] = 50.0,
    max_cloud: Annotated[
        float, typer.Option(parser=_number, metavar="PCT", help="Leave out scenes and chips with more cloud, per cent.")
    ] = 100.0,
    max_scenes: MaxScenes = 24,
    name: Annotated[str, typer.Option(help="ID of the training set; by default as its labels are called.")] = "",
    s3_endpoint: S3Endpoint = "",
    retry_seconds: Annotated[
        float, typer.Option(parser=_number, metavar="S", help="How long a failing source is tried again.")
    ] = 300.0,
    verbose: Verbose = False,
) -> None:
    """Make a training set: chips with labels as a STAC collection, split by place. One that was stopped is finished."""
    from pipelines.dataset import make_training_set
    from pipelines.dataset_request import DatasetRequest, check_options
    from pipelines.sampling import parse_shares
    from pipelines.scene_cutter import Choice

    _log(verbose)
    options = _beam_options(context.args, "dataset")
    check_options(_given(context))
    request = DatasetRequest(
        chips=chips,
        source=source,
        mapping=mapping,
        labels=labels,
        attribute=attribute,
        classes=classes,
        teacher=teacher,
        sure=sure,
        area=_area(bbox, centre, size_km, tiles, aoi) if any((bbox, centre, size_km, tiles, aoi)) else None,
        periods=tuple(_periods(year, period)) if year or period else (),
        biomes=biomes,
        biome_column=biome_column,
        side=chip,
        bands=bands,
        max_scenes=max_scenes,
        choice=Choice(count, seed, parse_shares(split), min_labelled, max_cloud),
        retry_seconds=retry_seconds,
    )
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with _progress() as progress:
        found = request.chip_source(store, lambda things: progress.track(things, description="Finding scenes"))
    with nullcontext() if verbose else worker_log.apart("dataset"), _progress() as progress:
        bar = progress.add_task("Writing chips", total=None)
        report = make_training_set(
            found,
            store,
            name or request.name,
            options,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
        progress.update(bar, visible=False)
    _tell_chips(report)
    typer.echo(f"{out.rstrip('/')}/collection.json")


@app.command("train")
def train_command(
    dataset: Annotated[list[str], typer.Option(help="Training set made by `landloom dataset`; may be given often.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, and to go on from.")],
    config: Annotated[
        str, typer.Option(help="Recipe: match-teacher, karra-2021, or a TOML file.", show_default=DEFAULT_RECIPE)
    ] = "",
    teacher: Annotated[
        str, typer.Option(help="Network that answers for the same pixels, if the recipe asks for one: ID or ONNX file.")
    ] = "",
    minutes: Annotated[
        float | None, typer.Option(parser=_number, metavar="M", help="How long in all, instead of the recipe's length.")
    ] = None,
    threads: Annotated[int, typer.Option(parser=_whole, metavar="N", help="Processor threads.")] = 2,
    begin: Annotated[Path | None, typer.Option(help="Checkpoint of a network to begin with, no wider.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="Place not to learn; may be given often.")] = None,
) -> None:
    """Train a network by a recipe; one that was stopped goes on. Needs the extra `train`."""
    _log(False)
    recipe = load_recipe(config or DEFAULT_RECIPE, minutes)
    with _extra("train"):
        from services.inference.train import Standing, train

    with _progress() as progress:
        bar = progress.add_task("Training", total=100)

        def tell(now: Standing) -> None:
            held_out = "" if now.held_out is None else f", held-out places {now.held_out:.3f}"
            told = f"Training, step {now.step:,}, loss {now.loss:.3f}{held_out}"
            progress.update(bar, completed=round(100 * now.share), description=told)

        train(dataset, recipe, out, teacher or None, threads, begin, leave_out or [], tell)
    typer.echo(out)


@app.command("export")
def export_command(
    checkpoint: Annotated[Path, typer.Option(help="Written by `landloom train`.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
    name: Annotated[str, typer.Option("--id", help="ID of the network.")],
    version: Annotated[str, typer.Option(help="Its version.")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="Training set: its chips to learn from set the ranges of 8-bit integers, its validation places the "
            "temperature. Without any: float32, uncalibrated."
        ),
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="Place that was not learned; may be given often.")] = None,
) -> None:
    """Write a trained network as ONNX, for `landloom map --model FILE`. Needs the extra `train`."""
    with _extra("train"):
        from services.inference.release import export_checkpoint

    fitted = export_checkpoint(checkpoint, dataset or [], out, name, version, leave_out or [])
    if fitted:
        console.print(
            f"Temperature {fitted.value:.3f}, fitted on {fitted.places} places: calibration error "
            f"{100 * fitted.error_before:.1f} % before, {100 * fitted.error_after:.1f} % after (each place judged by "
            "the others' temperature).",
            highlight=False,
        )
    typer.echo(out)


models = typer.Typer(help="The networks: those that Landloom ships and your own.", no_args_is_help=True)
app.add_typer(models, name="models")


@models.command("list")
def models_list_command() -> None:
    """List the networks that `--model` takes by name."""
    from services.inference.registry import registered_models, shipped_models

    table = Table("network", "version", "bands", "classes", "file")
    for name, file in {**registered_models(), **shipped_models()}.items():
        spec = model_spec(str(file))
        table.add_row(name, spec.version, ", ".join(spec.bands), str(len(spec.classes)), str(file))
    console.print(table)


@models.command("add")
def models_add_command(
    file: Annotated[Path, typer.Argument(help="ONNX file.")],
    name: Annotated[str, typer.Option("--id", help="Its name for --model; a network of Landloom's has one.")] = "",
    version: Annotated[str, typer.Option(help="Its version.")] = "1",
    bands: Annotated[str, typer.Option(help="Its bands in order, comma-separated: B02,B03,…")] = "",
    classes: Annotated[str, typer.Option(help="Its classes in order; Landloom's ten by default.")] = "",
    stride: Annotated[int, typer.Option(parser=_whole, metavar="PX", help="H and W are multiples of it.")] = 8,
    halo: Annotated[int, typer.Option(parser=_whole, metavar="PX", help="How far it sees round a pixel.")] = 48,
    level: Annotated[str, typer.Option(help="L1C: made for top-of-atmosphere reflectance only.")] = "",
    architecture: Annotated[str, typer.Option(help="As the literature calls it.")] = "unknown",
    logits: Annotated[bool, typer.Option("--logits", help="Its output is not yet probabilities.")] = False,
) -> None:
    """Register a network, Landloom's own or another maker's, so that `landloom map --model ID` finds it."""
    from services.inference.registry import register, registry

    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        if bands:
            with _extra("train"):
                from services.inference.adopt import adopt
            told: dict[str, Any] = {
                "id": name or file.stem,
                "version": version,
                "level": level or None,
                "architecture": architecture,
            }
            told |= {"bands": bands.split(","), "level": level or None}
            told["classes"] = classes.split(",") if classes else MODEL_CLASSES
            try:
                spec = ModelSpec.model_validate({**told, "stride": stride, "halo": halo})
            except ValidationError as error:
                first = error.errors()[0]
                raise BadInput(f"--{first['loc'][0]} {first['input']!r} is not possible: {first['msg']}.") from error
            adopted = Path(folder) / "network.onnx"
            adopt(file, spec, adopted, logits=logits)
            file = adopted
        key = register(model_spec(str(file)), file, model_provenance(str(file)))
    typer.echo(registry().href(key))


triton = typer.Typer(help="Networks behind a Triton inference server. Needs the extra `triton`.", no_args_is_help=True)
app.add_typer(triton, name="triton")
Instances = Annotated[
    int | None,
    typer.Option(
        parser=_whole,
        metavar="N",
        help="Copies of the network that answer at once; by default one per core, or 2 a GPU.",
    ),
]


@triton.command("repository")
def triton_repository_command(
    out: Annotated[Path, typer.Option(help="Folder of the model repository; what is in it already stays.")],
    model: Model = DEFAULT_MODEL,
    backend: Annotated[
        str, typer.Option(help="onnxruntime, or python for a server that lacks it, as the one of `serve`.")
    ] = "onnxruntime",
    gpu: Annotated[bool, typer.Option("--gpu", help="For GPUs, by TensorRT in FP16.")] = False,
    instances: Instances = None,
) -> None:
    """Write a network into the folder that a Triton server serves, beside other networks and versions."""
    with _extra("triton"):
        from services.inference.triton_repository import Backend, write_repository
    if backend not in get_args(Backend):
        raise BadInput(f"--backend {backend!r} is none of {', '.join(get_args(Backend))}.")
    for folder in write_repository(out, model, backend=backend, gpu=gpu, instances=instances):  # type: ignore[arg-type]
        typer.echo(folder)


@triton.command("serve")
def triton_serve_command(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Network: ID or ONNX file; may be given often.", show_default=DEFAULT_MODEL),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model repository; by default a temporary one.")
    ] = None,
    address: Annotated[str, typer.Option(help="To listen at; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port_grpc: Annotated[int, typer.Option(parser=_whole, metavar="N", help="0: any that is free.")] = 0,
    port_http: Annotated[int, typer.Option(parser=_whole, metavar="N", help="0: any that is free.")] = 0,
    port_metrics: Annotated[int, typer.Option(parser=_whole, metavar="N", help="0: any that is free.")] = 0,
    instances: Instances = None,
    wait: Annotated[
        float, typer.Option(parser=_number, metavar="S", help="How long it may take until it is ready.")
    ] = 120.0,
) -> None:
    """Run a Triton server on this machine's processor until Ctrl-C. It is installed at the first call (55 MB)."""
    with _extra("triton"):
        from services.inference.triton_repository import write_repository
    from services.inference.triton_server import running_server

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    networks = model or [DEFAULT_MODEL]
    signal.signal(signal.SIGTERM, stop)
    try:
        with tempfile.TemporaryDirectory(prefix="landloom-triton-") as folder:
            repository = out or Path(folder) / "models"
            for one in networks:
                write_repository(repository, one, backend="python", instances=instances)
            console.print("Starting Triton …")
            with running_server(
                repository,
                address=address,
                grpc_port=port_grpc,
                http_port=port_http,
                metrics_port=port_metrics,
                wait_seconds=wait,
            ) as server:
                for name in ("grpc", "http", "metrics"):
                    typer.echo(f"{name} {getattr(server, name)}")
                console.print(f"Serving {', '.join(networks)} from {repository}; Ctrl-C ends it.", highlight=False)
                server.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")


@triton.command("status")
def triton_status_command(
    servers: Annotated[str, typer.Argument(help="HOST:PORT of their metrics, comma-separated.", metavar="HOST:PORT,…")],
) -> None:
    """Tell what servers have done since their start, per model and version."""
    with _extra("triton"):
        from services.inference.triton_status import TritonUnreachable, server_status
    unreachable = []
    for address in servers.split(","):
        try:
            status = server_status(address.strip())
        except TritonUnreachable as error:
            unreachable.append(str(error))
            continue
        gpus = [f", GPU {number} {100 * share:.0f} % busy" for number, share in enumerate(status.gpu_utilisation)]
        title = "".join([status.address, *gpus])
        table = Table("model", title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("version", "done", "failed", "batch", "queue ms", "run ms", "pending"):
            table.add_column(column, justify="right")
        for one in status.models:
            numbers = (f"{one.done:,}", f"{one.failed:,}", f"{one.chips / max(one.runs, 1):.1f}")
            times = (f"{one.queue_ms:.1f}", f"{one.compute_ms:.1f}", f"{one.pending:,}")
            table.add_row(one.model, one.version, *numbers, *times)
        console.print(table)
    if unreachable:
        raise TritonUnreachable("\n".join(unreachable))


@app.command("evaluate")
def evaluate_command(
    out: Annotated[Path, typer.Option(help="Folder for evaluation.html, evaluation.json and the plots.")],
    model: Annotated[
        str, typer.Option(help="Network: an ID that `landloom models` lists, or a file.", show_default=DEFAULT_MODEL)
    ] = "",
    dataset: Annotated[
        list[str] | None, typer.Option(help="Training set made by `landloom dataset`; may be given often.")
    ] = None,
    split: Annotated[str, typer.Option(help="Its part: train, validation or test.")] = "validation",
    clouds: Annotated[
        bool, typer.Option("--clouds", help="Lay clouds of the set's cloudy places over its clear ones first.")
    ] = False,
    item: Annotated[str, typer.Option(help="Instead of a network: path or URL of a published item's JSON.")] = "",
    reference: Annotated[Path | None, typer.Option(help="Polygons or points to compare the item with.")] = None,
    attribute: Annotated[str, typer.Option(help="Column of --reference that tells the class.")] = "",
    classes: Annotated[
        Path | None,
        typer.Option(
            help='JSON of the column\'s values to classes: {"forest": "trees", "quarry": null}; or worldcover, '
            "dynamic-world, esri, landloom."
        ),
    ] = None,
    reference_name: Annotated[str, typer.Option(help="Whose labels or polygons they are, for titles.")] = "",
) -> None:
    """Tell how far a network agrees with labelled chips, or a map with polygons or points. Needs `evaluate`."""
    of_network = {"--model": model, "--dataset": dataset}
    of_map = {"--item": item, "--reference": reference, "--attribute": attribute, "--classes": classes}
    _one_subject(of_network, of_map)
    with _extra("evaluate"):
        from services.evaluation.maps import evaluate_map
        from services.evaluation.page import write_evaluation
        from services.inference.evaluate import evaluate_network

    if dataset:
        from services.inference.chips import read_chips

        network = open_network(model or DEFAULT_MODEL)
        chips = read_chips(dataset, _split(split))
        if clouds:
            from services.inference.clouds import under_clouds

            cloudy = [*chips, *(read_chips(dataset, "train") if _split(split) != "train" else [])]
            chips = under_clouds(chips, cloudy)
        told = f"{len(chips)} chips of {', '.join(Path(one).name for one in dataset)}, split {_split(split)}"
        told += ", clouds laid on" if clouds else ""
        with _progress() as progress:
            bar = progress.add_task("Evaluating chips", total=len(chips))
            evaluation, pictures = evaluate_network(
                network, chips, told, reference_name, lambda done, _: progress.update(bar, completed=done)
            )
    else:
        assert reference
        evaluation, pictures = evaluate_map(item, reference, attribute, classes, reference_name)
    page = write_evaluation(evaluation, pictures, out)
    console.print(evaluation.table())
    typer.echo(page)


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
    with _progress() as progress:
        total = len(area.tiles) * len(periods)
        return list(progress.track(plan(area, periods, opened, store, settings), total=total, description="Planning"))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


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


def _tell_chips(report: Report) -> None:
    """Print what became of the chips that could be."""
    table = Table("", title=f"{report.written:,} of {report.candidates:,} chips written", title_justify="left")
    parts = report.splits | report.biomes
    for name in parts:
        table.add_column(name, justify="right")
    table.add_row("chips", *(f"{told['chips']:,}" for told in parts.values()))
    table.add_row("places", *(f"{told['places']:,}" for told in parts.values()), end_section=True)
    pixels = [told["class_pixels"] for told in parts.values()]
    for name in (name for name in MODEL_CLASSES if any(name in one for one in pixels)):
        table.add_row(f"{name}, px", *(f"{one.get(name, 0):,}" for one in pixels))
    console.print(table)
    if report.not_drawn:
        console.print(f"{report.not_drawn:,} not drawn.")
    for reason, count in report.reasons.items():
        if count > 1:
            console.print(f"{count:,} dropped: {reason}", highlight=False, markup=False)
    for chip, reason in list(report.dropped.items())[:10]:
        console.print(f"Dropped {chip}: {reason}", highlight=False, markup=False)
    if len(report.dropped) > 10:
        console.print(f"… and {len(report.dropped) - 10} more, see report.json")
    if report.unused:
        console.print(f"{len(report.unused)} scenes found and not used: report.json says which and why.")


def _given(context: typer.Context) -> set[str]:
    """The options that stand on the command line."""
    sources = {one.opts[0]: context.get_parameter_source(str(one.name)) for one in context.command.params}
    return {option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _one_subject(of_network: dict[str, Any], of_map: dict[str, Any]) -> None:
    """Make sure that either a network or a map is to be evaluated, and that what it needs is there."""
    network, mapped = ([name for name, value in one.items() if value] for one in (of_network, of_map))
    if network and mapped:
        raise BadInput(
            f"{' and '.join([network[0], mapped[0]])} do not go together: evaluate a network (--model, --dataset) "
            "or a map (--item, --reference, --attribute)."
        )
    needed = ["--item", "--reference", "--attribute"] if mapped else ["--dataset"]
    missing = [name for name in needed if name not in network + mapped]
    if missing:
        raise BadInput(
            f"{', '.join(missing)} is missing. A network needs --dataset DIR; "
            "a map needs --item ITEM.json --reference FILE --attribute COLUMN."
        )


def _split(name: str) -> Split:
    """A split by its name, or as an index of chips has it."""
    split = "validation" if name == "val" else name
    if split not in get_args(Split):
        raise BadInput(f"--split {name!r} is none of {', '.join(get_args(Split))}.")
    return split  # type: ignore[return-value]


def _area(bbox: str, centre: str, size_km: str, tiles: str, aoi: str) -> Area:
    given = {"--bbox": bbox, "--centre": centre, "--tiles": tiles, "--aoi": aoi}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise BadInput(f"Give one area: --bbox, --centre with --size-km, --tiles or --aoi (given: {named or 'none'}).")
    if bool(centre) != bool(size_km):
        raise BadInput("--centre LON,LAT and --size-km W,H go together; one of them is missing.")
    if bbox:
        return area_of_bbox(bbox)
    if centre:
        return area_of_centre(centre, size_km)
    return area_of_tiles(tiles) if tiles else area_of_file(aoi)


def _periods(year: str, period: str) -> list[Period]:
    if bool(year) == bool(period):
        raise BadInput("Give either --year Y[,Y2…] or --period START/END.")
    if period:
        return [Period.parse(period)]
    try:
        years = sorted({int(part) for part in year.split(",")})
    except ValueError as error:
        raise BadInput(f"--year {year!r} is not a list of years. Give 2020 or 2020,2021.") from error
    return [Period.of_year(one) for one in years]


def _beam_options(args: list[str], command: str = "map") -> list[str]:
    """Options that are not Landloom's must be Beam's: a misspelt one is an error, not silently without effect."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for options in [PipelineOptions, *PipelineOptions.__subclasses__()]:
        if "_add_argparse_args" in vars(options):
            try:
                options._add_argparse_args(parser)  # type: ignore[attr-defined]
            except argparse.ArgumentError:
                continue  # Two option classes share this flag.
    try:
        _, unknown = parser.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise BadInput(f"Apache Beam refuses its option: {error}.") from error
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        known += [parameter.opts[0] for parameter in _click_parameters(command)]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
        raise BadInput(
            f"Unknown option {unknown[0]!r}: neither Landloom nor Apache Beam has it."
            + (f" Did you mean {near[0]}?" if near else f" See landloom {command} --help.")
        )
    return args


def _click_parameters(command: str) -> list[Any]:
    return [p for p in typer.main.get_command(app).commands[command].params if p.opts]  # type: ignore[attr-defined]


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Import what only an extra brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BadInput(f"This needs {error.name}, which is not installed: pip install 'landloom[{name}]'.") from error


def _log(verbose: bool) -> None:
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    for ours in ("pipelines", "services"):
        logging.getLogger(ours).setLevel(logging.INFO if verbose else logging.WARNING)
    # Beam logs what a worker raised, with all its own frames, before it reaches us.
    logging.getLogger("apache_beam").setLevel(logging.INFO if verbose else logging.CRITICAL)


def run() -> None:
    """Run the command; errors of ours become one paragraph and an exit code."""
    try:
        app()
    except BadInput as error:
        console.print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except LandloomError as error:
        console.print(f"[red]Stopped:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
