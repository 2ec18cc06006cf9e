"""Commands for networks that are made: models, evaluate."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from pydantic import ValidationError
from rich.table import Column, Table

from catalog.chips import Split
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec, Network
from catalog.radar import bands_apart
from catalog.second_stage import check_second_stage
from catalog.sensors import ALL_BANDS
from pipelines.cli.options import app, console, extra, number, plain, set_log_level, whole
from pipelines.cli.progress import progress_of
from services.inference import DEFAULT_MODEL, model_file, model_provenance, model_spec, open_network

if TYPE_CHECKING:
    from services.inference.chips import Chip
    from services.inference.temperature import Temperature

models = typer.Typer(help="The networks: those that Landloom ships and your own.", no_args_is_help=True)
app.add_typer(models, name="models")


@models.command("list")
def models_list_command() -> None:
    """List the networks that `--model` takes by name."""
    from services.inference.registry import registered_models, shipped_models

    set_log_level(False)
    table = Table("network", "version", "pixel", "level", "bands", "classes", Column("file", overflow="fold"))
    damaged = []
    for name, file in {**registered_models(), **shipped_models()}.items():
        try:
            spec = model_spec(str(file))
        except BadInput as error:
            damaged.append(
                f"Network {name} cannot be used: {error} Delete {str(file.parent)!r}, and register it again."
            )
            continue
        level = spec.level or "either"
        told = (name, spec.version, f"{spec.gsd} m", level, ", ".join(spec.bands), str(len(spec.classes)), str(file))
        table.add_row(*told)
    console.print(table)
    for one in damaged:
        console.print(one, style="red", highlight=False, markup=False, soft_wrap=True)


@models.command("add")
def models_add_command(
    file: Annotated[Path, typer.Argument(help="ONNX file.")],
    name: Annotated[str, typer.Option("--id", help="Its name for --model; the file's by default.")] = "",
    version: Annotated[str, typer.Option(help="Its version.")] = "1",
    bands: Annotated[str, typer.Option(help="Its bands in order, comma-separated: B02,B03,…")] = "",
    classes: Annotated[str, typer.Option(help="Its classes in order; Landloom's ten by default.")] = "",
    stride: Annotated[int, typer.Option(parser=whole, metavar="PX", help="H and W are multiples of it.")] = 8,
    halo: Annotated[int, typer.Option(parser=whole, metavar="PX", help="How far it sees round a pixel.")] = 48,
    gsd: Annotated[int, typer.Option(parser=whole, metavar="M", help="Metres a pixel it is made for: 10 or 30.")] = 10,
    level: Annotated[
        str, typer.Option(help="L1C or L2A: made for it, and scenes of the other are brought to it; else as they are.")
    ] = "",
    architecture: Annotated[str, typer.Option(help="As the literature calls it.")] = "unknown",
    logits: Annotated[bool, typer.Option("--logits", help="Its output is not yet probabilities.")] = False,
    temperature: Annotated[
        float,
        typer.Option(parser=number, metavar="T", help="Its logits are divided by it: below 1 its scores become surer."),
    ] = 1.0,
) -> None:
    """Register a network, Landloom's own or another maker's, so that `landloom map --model ID` finds it.

    Landloom's own describes itself; of another maker's --bands and the other options do.
    """
    from services.inference.registry import register, registry

    set_log_level(False)
    said = {"--id": (name, ""), "--version": (version, "1"), "--classes": (classes, ""), "--stride": (stride, 8)}
    said |= {"--halo": (halo, 48), "--gsd": (gsd, 10), "--level": (level, ""), "--logits": (logits, False)}
    said |= {"--architecture": (architecture, "unknown"), "--temperature": (temperature, 1.0)}
    if not bands and (useless := [f"{one} {value}" for one, (value, usual) in said.items() if value != usual]):
        raise BadInput(
            f"{useless[0]} is for networks of other makers, which --bands and --classes describe. Landloom's own "
            "describe themselves: landloom export --id, and landloom models calibrate, write what they say."
        )
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        if bands:
            with extra("train"):
                from services.inference.adopt import adopt
            told: dict[str, Any] = {
                "id": name or file.stem,
                "version": version,
                "level": level or None,
                "architecture": architecture,
                "bands": _listed(bands),
                "classes": _listed(classes) or MODEL_CLASSES,
                "stride": stride,
                "halo": halo,
                "gsd": gsd,
            }
            if unknown := [band for band in bands_apart(told["bands"])[0] if band not in ALL_BANDS]:
                raise BadInput(f"--bands {unknown[0]!r} is no band of Sentinel-2, which has {', '.join(ALL_BANDS)}.")
            try:
                spec = ModelSpec.model_validate(told)
            except ValidationError as error:
                first = error.errors()[0]
                reason = first["msg"].removeprefix("Value error, ")
                raise BadInput(f"--{first['loc'][0]} {_given(first['input'])!r} is not possible: {reason}.") from error
            adopted = Path(folder) / "network.onnx"
            adopt(file, spec, adopted, logits=logits, temperature=temperature)
            file = adopted
        key = register(model_spec(str(file)), file, model_provenance(str(file)))
    typer.echo(registry().href(key))


@models.command("calibrate")
def models_calibrate_command(
    model: Annotated[str, typer.Argument(help="Network: an ID that `landloom models list` shows, or a file.")],
    dataset: Annotated[list[str], typer.Option(help="Training set, by its validation places; may be given often.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
    version: Annotated[str, typer.Option(parser=plain, metavar="V", help="Of what is written: the weights stay.")],
    reference_name: Annotated[str, typer.Option(help="Whose labels they are.")] = "",
) -> None:
    """Make a network's scores, and the confidence of its maps, mean what they say. Needs the extra `train`."""
    with extra("train"):
        from services.inference.release import calibrate_network
    tell_calibration(calibrate_network(model_file(model), dataset, out, version, reference_name), out)
    typer.echo(out)


def tell_calibration(fitted: Temperature | None, file: Path) -> None:
    """Print how a network's scores and the confidence of its maps were calibrated."""
    spec, provenance = model_spec(str(file)), model_provenance(str(file))
    if fitted and provenance:
        of_level = ", ".join(
            f"{100 * one['calibration_error']:.1f} % ({name})" for name, one in provenance.metrics.items()
        )
        console.print(
            f"Logits divided by {fitted.value:.3f}, fitted on {len(fitted.without)} places: calibration "
            f"error {100 * fitted.error_before:.1f} % before; after, each place judged by the others' temperature, "
            f"{of_level}.",
            highlight=False,
        )
    if spec.vote:
        console.print(
            f"Confidence of votes: errors of looks correlate by {spec.vote.correlation:.2f}, fitted on "
            f"{spec.vote.places} places; calibration error {100 * spec.vote.error:.1f} % (each place judged by the "
            "others' correlation).",
            highlight=False,
        )
    else:
        console.print(
            "Confidence of votes: not calibrated, since fewer than two validation places have several dates. Maps give "
            "the share of the vote.",
            highlight=False,
        )


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
    level: Annotated[
        int,
        typer.Option(parser=whole, metavar="N", help="Of the tree of classes: 1 the ten, 2 the finer ones."),
    ] = 1,
    clouds: Annotated[
        bool, typer.Option("--clouds", help="Lay clouds of the set's cloudy places over its clear ones first.")
    ] = False,
    votes: Annotated[
        str,
        typer.Option(
            metavar="CONFIDENCE",
            help="Vote over the dates of each place first, as in a map, and judge this confidence: published, "
            "cross-fitted (each place by the others), or share (uncalibrated).",
        ),
    ] = "",
    second_stage: Annotated[
        str, typer.Option(help="Tell what this network gains over the vote of --model on places of six dates or more.")
    ] = "",
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
    set_log_level(False)
    of_network = {"--model": model, "--dataset": dataset, "--votes": votes, "--clouds": clouds}
    of_network["--second-stage"] = second_stage
    of_map = {"--item": item, "--reference": reference, "--attribute": attribute, "--classes": classes}
    _one_subject(of_network, of_map)
    with extra("evaluate"):
        from services.evaluation.maps import evaluate_map
        from services.evaluation.page import write_evaluation
        from services.evaluation.pictures import Picture
        from services.inference.evaluate import evaluate_network
        from services.inference.votes import Confidence, evaluate_votes

    pictures: list[Picture] = []
    if dataset:
        if votes and votes not in get_args(Confidence):
            raise BadInput(f"--votes {votes!r} is none of {', '.join(get_args(Confidence))}.")
        from services.inference.chips import gsd_apart, read_chips

        network = open_network(model or DEFAULT_MODEL)
        made = model_provenance(model or DEFAULT_MODEL)
        chips = read_chips(dataset, _split(split))
        if second_stage:
            _tell_gain(network, second_stage, chips, out)
            return
        if clouds:
            from services.inference.clouds import under_clouds

            cloudy = [*chips, *(read_chips(dataset, "train") if _split(split) != "train" else [])]
            chips = under_clouds(chips, cloudy)
        told = f"{len(chips)} chips of {', '.join(Path(one).name for one in dataset)}, split {_split(split)}"
        told += ", clouds laid on" if clouds else ""
        if apart := gsd_apart(dataset, network.spec):
            told += f", some {apart}"
            console.print(f"Some chips are {apart}.", style="yellow", highlight=False)
        with progress_of("Evaluating chips") as tell:
            if votes:
                evaluation = evaluate_votes(network, chips, told, votes, reference_name, tell, made)  # type: ignore[arg-type]
            else:
                evaluation, pictures = evaluate_network(network, chips, told, reference_name, tell, level, made)
    else:
        assert reference
        evaluation, pictures = evaluate_map(item, reference, attribute, classes, reference_name)
    page = write_evaluation(evaluation, pictures, out)
    console.print(evaluation.table())
    if dataset:
        console.print(evaluation.calibrations(("level", "looks")))
    typer.echo(page)


def _listed(names: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in names.split(",")) if names else ()


def _given(value: Any) -> Any:
    """As it stood on the command line."""
    return ",".join(value) if isinstance(value, tuple) else value


def _tell_gain(network: Network, second_stage: str, chips: list[Chip], out: Path) -> None:
    """Print and write what a second stage gains over the vote."""
    from services.inference.season_gain import as_json, as_table, gains
    from services.inference.season_lessons import lessons

    second = open_network(second_stage)
    check_second_stage(second.spec, network.spec)
    with progress_of("Voting over places") as tell:
        found = gains(lessons(network, chips, 0, tell), second, network.spec.classes)
    console.print(as_table(found, f"{second.spec.id} {second.spec.version} over the vote of {network.spec.id}"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "gain.json").write_text(as_json(found))
    typer.echo(out / "gain.json")


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
