"""Commands that make networks: dataset, train, export, train-finer, train-seasons."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from catalog.store import open_store
from pipelines import worker_log
from pipelines.cli.networks import tell_calibration
from pipelines.cli.options import (
    Aoi,
    Bbox,
    Centre,
    Mapping,
    MaxScenes,
    PeriodOption,
    S3Endpoint,
    SizeKm,
    Tiles,
    Verbose,
    Year,
    app,
    area_of,
    beam_options_of,
    console,
    extra,
    number,
    periods_of,
    plain,
    set_log_level,
    whole,
)
from pipelines.cli.progress import progress_bar, progress_of
from services.inference import DEFAULT_MODEL, model_file, open_network
from services.inference.recipe import DEFAULT_RECIPE, load_recipe

if TYPE_CHECKING:
    from pipelines.dataset import Report


@app.command(
    "dataset",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Any further option is passed to Apache Beam, as --direct_num_workers=2.",
)
def dataset_command(
    context: typer.Context,
    out: Annotated[str, typer.Option(help="Folder, s3://bucket/prefix or gs://bucket/prefix of the training set.")],
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
    legend: Annotated[
        str, typer.Option(help="Legend whose finer classes labels may name, too: finer, or a file (docs/legend.md).")
    ] = "",
    finer: Annotated[
        str,
        typer.Option(
            help='With --chips: JSON file of words in scenes\' names that tell a finer class: {"pasture": "pasture"}.'
        ),
    ] = "",
    teacher: Annotated[str, typer.Option(help="Or a network that labels scenes: its ID or ONNX file.")] = "",
    sure: Annotated[
        float, typer.Option(parser=number, metavar="P", help="Least probability with which a teacher labels a pixel.")
    ] = 0.5,
    source: Annotated[str, typer.Option(help="Of the scenes, as for `landloom map`.")] = "",
    mapping: Mapping = "",
    radar: Annotated[
        str, typer.Option(help="Terrain-corrected Sentinel-1, whose channels are written after the bands.")
    ] = "",
    year: Year = "",
    period: PeriodOption = "",
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    tiles: Tiles = "",
    aoi: Aoi = "",
    biomes: Annotated[str, typer.Option(help="Polygons of biomes, within each of which classes are evened out.")] = "",
    biome_column: Annotated[str, typer.Option(help="Column of --biomes that names them.")] = "",
    chip: Annotated[int, typer.Option(parser=whole, metavar="PX", help="Side of a chip, a multiple of 16.")] = 256,
    bands: Annotated[
        str,
        typer.Option(help="To write, comma-separated; by default the six of a map and others that all scenes have."),
    ] = "",
    count: Annotated[
        int | None, typer.Option(parser=whole, metavar="N", help="Chips to draw, classes evened out; default: all.")
    ] = None,
    split: Annotated[str, typer.Option(help="Shares of places for train, validation, test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(parser=whole, metavar="N", help="Of the draw and of the split.")] = 0,
    min_labelled: Annotated[
        float, typer.Option(parser=number, metavar="PCT", help="Labelled pixels that a chip needs, per cent.")
    ] = 50.0,
    max_cloud: Annotated[
        float, typer.Option(parser=number, metavar="PCT", help="Leave out scenes and chips with more cloud, per cent.")
    ] = 100.0,
    max_scenes: MaxScenes = 24,
    aggregate: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Make N x N pixels one: 3 turns chips of 10 m into 30 m.")
    ] = 1,
    name: Annotated[str, typer.Option(help="ID of the training set; by default as its labels are called.")] = "",
    s3_endpoint: S3Endpoint = "",
    retry_seconds: Annotated[
        float, typer.Option(parser=number, metavar="S", help="How long a failing source is tried again.")
    ] = 300.0,
    verbose: Verbose = False,
) -> None:
    """Make a training set: chips with labels as a STAC collection, split by place. One that was stopped is finished."""
    from pipelines.dataset import make_training_set
    from pipelines.dataset_request import DatasetRequest, check_options
    from pipelines.runner import name_run
    from pipelines.sampling import parse_shares
    from pipelines.scene_cutter import Choice

    set_log_level(verbose)
    options = beam_options_of(context.args, "dataset")
    check_options(_given(context))
    request = DatasetRequest(
        chips=chips,
        source=source,
        mapping=mapping,
        radar=radar,
        labels=labels,
        attribute=attribute,
        classes=classes,
        legend=legend,
        finer=finer,
        teacher=teacher,
        sure=sure,
        area=area_of(bbox, centre, size_km, tiles, aoi) if any((bbox, centre, size_km, tiles, aoi)) else None,
        periods=tuple(periods_of(year, period)) if year or period else (),
        biomes=biomes,
        biome_column=biome_column,
        side=chip,
        bands=bands,
        max_scenes=max_scenes,
        choice=Choice(count, seed, parse_shares(split), min_labelled, max_cloud),
        retry_seconds=retry_seconds,
        aggregate=aggregate,
    )
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with progress_bar() as progress:
        found = request.chip_source(store, lambda things: progress.track(things, description="Finding scenes"))
    with nullcontext() if verbose else worker_log.apart(name_run()), progress_of("Writing chips") as on_progress:
        report = make_training_set(found, store, name or request.name, options, on_progress)
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
        list[str] | None,
        typer.Option(
            help="Network that answers for the same pixels, if the recipe asks for one: ID or ONNX file. May be given "
            "often: the mean of their answers is learned."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(parser=number, metavar="M", help="How long in all, instead of the recipe's length.")
    ] = None,
    threads: Annotated[int, typer.Option(parser=whole, metavar="N", help="Processor threads.")] = 2,
    begin: Annotated[
        str,
        typer.Option(help="Network to begin with, which may be wider or narrower: ID, ONNX file or checkpoint (.pt)."),
    ] = "",
    leave_out: Annotated[list[str] | None, typer.Option(help="Place not to learn; may be given often.")] = None,
) -> None:
    """Train a network by a recipe; one that was stopped goes on. Needs the extra `train`."""
    set_log_level(False)
    recipe = load_recipe(config or DEFAULT_RECIPE, minutes)
    with extra("train"):
        from services.inference.run import Standing
        from services.inference.train import train

    with progress_bar() as progress:
        bar = progress.add_task("Reading chips, asking the teacher" if teacher else "Reading chips", total=100)

        def tell(now: Standing) -> None:
            held_out = "" if now.held_out is None else f", held-out places {now.held_out:.3f}"
            told = f"Training, step {now.step:,}, loss {now.loss:.3f}{held_out}"
            progress.update(bar, completed=round(100 * now.share), description=told)

        train(dataset, recipe, out, teacher or [], threads, begin, leave_out or [], tell)
    typer.echo(out)


@app.command("export")
def export_command(
    checkpoint: Annotated[Path, typer.Option(help="Written by `landloom train`.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
    name: Annotated[str, typer.Option("--id", parser=plain, metavar="ID", help="ID of the network.")],
    version: Annotated[str, typer.Option(parser=plain, metavar="V", help="Its version.")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="Training set: its chips to learn from set the ranges of 8-bit integers, its validation places the "
            "temperature and the confidence of votes. Without any: float32, uncalibrated."
        ),
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="Place that was not learned; may be given often.")] = None,
    mean_with: Annotated[
        list[str] | None,
        typer.Option(
            help="Network whose weights are averaged with the checkpoint's, of which that has learned on: ID, ONNX "
            "file or checkpoint (.pt); may be given often."
        ),
    ] = None,
) -> None:
    """Write a trained network as ONNX, for `landloom map --model FILE`. Needs the extra `train`.

    With a training set it is written twice: in 8-bit integers, and in floats for GPUs, as FILE.float32.onnx beside.
    """
    with extra("train"):
        from services.inference.release import export_checkpoint

    fitted = export_checkpoint(checkpoint, dataset or [], out, name, version, leave_out or [], mean_with or [])
    if fitted:
        tell_calibration(fitted, out)
    typer.echo(out)


@app.command("train-finer")
def train_finer_command(
    dataset: Annotated[
        list[str], typer.Option(help="Training set made with --legend finer, or the like; may be given often.")
    ],
    out: Annotated[Path, typer.Option(help="ONNX file to write, for `landloom map --model FILE --legend finer`.")],
    name: Annotated[
        str, typer.Option("--id", parser=plain, metavar="ID", help="ID of the network with finer classes.")
    ],
    version: Annotated[str, typer.Option(parser=plain, metavar="V", help="Its version.")],
    model: Annotated[
        str, typer.Option(help="Network whose classes are split, and which stays as it is: its ID or ONNX file.")
    ] = DEFAULT_MODEL,
    leave_out: Annotated[list[str] | None, typer.Option(help="Place not to learn; may be given often.")] = None,
) -> None:
    """Teach a trained network finer classes, and tell how well on validation places. Needs the extra `train`."""
    with extra("train"):
        from services.inference.finer import train_finer

    with progress_of("Looking at chips to learn") as tell:
        judged = train_finer(model_file(model), dataset, out, name, version, leave_out or [], tell)
    for remark in judged.remarks():
        console.print(remark, highlight=False)
    typer.echo(out)


@app.command("train-seasons")
def train_seasons_command(
    dataset: Annotated[
        list[str], typer.Option(help="Training set with six dates or more of a place; may be given often.")
    ],
    out: Annotated[Path, typer.Option(help="ONNX file to write, for `landloom map --second-stage FILE`.")],
    name: Annotated[str, typer.Option("--id", parser=plain, metavar="ID", help="ID of the second stage.")],
    version: Annotated[str, typer.Option(parser=plain, metavar="V", help="Its version.")],
    model: Annotated[str, typer.Option(help="Network whose votes it is for: its ID or ONNX file.")] = DEFAULT_MODEL,
    leave_out: Annotated[list[str] | None, typer.Option(help="Place not to learn; may be given often.")] = None,
) -> None:
    """Train a second stage on votes and seasons, and tell what it gains on validation places. Needs `train`."""
    with extra("train"):
        from services.inference.season_network import train_second_stage
    from services.inference.chips import read_chips
    from services.inference.season_gain import as_table, gains
    from services.inference.season_lessons import DRAWS, lessons

    network = open_network(model)
    with progress_of("Voting over places to learn") as tell:
        learned = lessons(network, read_chips(dataset, "train", leave_out or []), DRAWS, tell)
    with progress_of("Training") as tell:
        train_second_stage(network.spec, learned, out, name, version, tell)
    with progress_of("Voting over validation places") as tell:
        unseen = lessons(network, read_chips(dataset, "validation"), 0, tell)
    places = len({one.place for one in learned})
    told = f"{name} {version}, learned on {places} places, on {len(unseen)} validation places"
    console.print(as_table(gains(unseen, open_network(str(out)), network.spec.classes), told))
    typer.echo(out)


def _tell_chips(report: Report) -> None:
    """Print what became of the chips that could be."""
    table = Table("", title=f"{report.written:,} of {report.candidates:,} chips written", title_justify="left")
    parts = report.splits | report.biomes
    for name in parts:
        table.add_column(name, justify="right")
    table.add_row("chips", *(f"{told['chips']:,}" for told in parts.values()))
    table.add_row("places", *(f"{told['places']:,}" for told in parts.values()), end_section=True)
    pixels = [told["class_pixels"] for told in parts.values()]
    for name in report.classes:
        if any(name in one for one in pixels):
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
