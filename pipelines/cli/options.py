"""What the commands share: the command line itself, options, and how they are read."""

from __future__ import annotations

import argparse
import difflib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from catalog.area import Area, area_of_bbox, area_of_centre, area_of_file, area_of_tiles
from catalog.errors import BadInput
from catalog.manifest import FIRST_YEAR, Period
from catalog.model import NAME
from pipelines.beam_import import import_beam
from pipelines.beam_options import is_dataflow
from services.change.requests import ChangeRequest, ProductRequest, Request, SeriesRequest, described

_Request = TypeVar("_Request", bound=Request)

# What one command alone needs is imported in it, above all Beam, which takes three seconds.
app = typer.Typer(
    name="landloom",
    help="Annual land-cover maps, published as STAC: of 10 m from Sentinel-2, of 30 m from Landsat and HLS.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a whole number. Give one, as 12.") from error


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number. Give one, as 50.") from error


def plain(text: str) -> str:
    """What becomes part of a network's file name: its ID, its version."""
    if not re.fullmatch(NAME, text):
        raise typer.BadParameter(f"{text!r} is not possible. Begin with a letter or digit; then also . + - and _.")
    return text


Source = Annotated[
    str,
    typer.Option(
        help="planetary-computer, earth-search, landsat, hls, a STAC API's URL, or a static catalog (path, URL, s3://, "
        "gs://)."
    ),
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
Model = Annotated[
    str,
    typer.Option(
        help="Network: an ID that Landloom ships, or an ONNX file.",
        show_default="unet-small, at 30 m unet-30m",
    ),
]
LegendOption = Annotated[str, typer.Option("--legend", help="nine, ten, finer, or a legend file (JSON).")]
LevelOption = Annotated[
    int | None,
    typer.Option(
        "--level", parser=whole, metavar="N", help="Of a legend that is a tree: 1 the coarsest; default: the finest."
    ),
]
MaxScenes = Annotated[int, typer.Option(parser=whole, metavar="N", help="Datatakes used for a tile-year, at most.")]
MaxCloud = Annotated[
    float, typer.Option(parser=number, metavar="PCT", help="Leave out scenes with more cloud, per cent.")
]
MinObservations = Annotated[
    int, typer.Option(parser=whole, metavar="N", help="Clear looks a pixel needs; with fewer it is no data.")
]
Seasons = Annotated[
    bool, typer.Option("--seasons", help="Publish NDVI and EVI through the year, too: asset seasons (docs/seasons.md).")
]
SecondStage = Annotated[
    str, typer.Option(help="Network that decides from the vote and the season: an ID or a file (docs/seasons.md).")
]
S3Endpoint = Annotated[str, typer.Option(help="Endpoint of an S3 server other than Amazon's.")]
Mapping = Annotated[str, typer.Option(help="JSON file that names the bands of an unknown STAC API.")]
Radar = Annotated[
    str,
    typer.Option(
        "--radar",
        metavar="SOURCE",
        help="Terrain-corrected Sentinel-1 for a network with radar channels: planetary-computer, a STAC API's URL, or "
        "a static catalog; see docs/radar.md.",
    ),
]
Maps = Annotated[
    str,
    typer.Option(
        help="Categorical maps: a folder, s3:// or gs:// that `landloom map` wrote, a static STAC catalog, a GeoJSON "
        "of items, planetary-computer, or a STAC API's URL."
    ),
]
Years = Annotated[str, typer.Option(help="Years, comma-separated: 2019,2021; by default all there are.")]
MapCollection = Annotated[str, typer.Option("--collection", help=described(Request, "collection"))]
MapAsset = Annotated[str, typer.Option("--asset", help=described(Request, "asset"))]
MapAccuracy = Annotated[str, typer.Option("--accuracy", help=f"{described(SeriesRequest, 'accuracy')} Or a JSON file.")]
ReferenceReport = Annotated[
    str, typer.Option("--reference", metavar="ITEM", help=described(SeriesRequest, "reference"))
]
MapLevel = Annotated[
    int | None,
    typer.Option("--level", parser=whole, metavar="N", help=described(ChangeRequest, "level")),
]
Crosswalk = Annotated[
    str, typer.Option(help="Tell all of it in another legend: ipcc, unccd, worldcover, or a JSON file.")
]
Products = Annotated[
    str,
    typer.Option(
        "--out", help="Folder, s3://bucket/prefix or gs://bucket/prefix for the products and their STAC catalog."
    ),
]
Anew = Annotated[bool, typer.Option("--overwrite", help=described(ProductRequest, "overwrite"))]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")]


def area_of(bbox: str, centre: str, size_km: str, tiles: str, aoi: str) -> Area:
    """The one area that is given.

    Raises:
        BadInput: none, several, or half of one.
    """
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


def ground_of(bbox: str, centre: str, size_km: str, aoi: str) -> Area:
    """The area of interest among maps; without geometry: all that is mapped. Its notes are told at once.

    Raises:
        BadInput: several, or half of one.
    """
    area = area_of(bbox, centre, size_km, "", aoi) if bbox or centre or size_km or aoi else Area(())
    for note in area.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    return area


def years_of(years: str) -> list[int]:
    """The years of maps that are asked for, in order; empty: all there are.

    Raises:
        BadInput: they are no years.
    """
    try:
        return sorted({int(one) for one in years.split(",")}) if years else []
    except ValueError as error:
        raise BadInput(f"--years {years!r} is not a list of years. Give them as 2019,2021.") from error


def request_of(kind: type[_Request], **given: Any) -> _Request:
    """What is asked for, checked as the API checks it.

    Raises:
        BadInput: a value that cannot be.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        wrong = f"--{field.replace('_', '-')} {first['input']!r}: {first['msg']}."
        raise BadInput(f"{wrong} What it is: {described(kind, field)}") from error


def periods_of(year: str, period: str, first: int = FIRST_YEAR) -> list[Period]:
    """The years or the period that are given.

    Args:
        year: years, comma-separated.
        period: START/END.
        first: year in which the source's scenes begin.

    Raises:
        BadInput: both, none, or no years.
    """
    if bool(year) == bool(period):
        raise BadInput("Give either --year Y[,Y2…] or --period START/END.")
    if period:
        return [Period.parse(period, first)]
    try:
        years = sorted({int(part) for part in year.split(",")})
    except ValueError as error:
        raise BadInput(f"--year {year!r} is not a list of years. Give 2020 or 2020,2021.") from error
    return [Period.of_year(one, first) for one in years]


def beam_options_of(args: list[str], command: str = "map") -> list[str]:
    """Options that are not Landloom's must be Beam's: a misspelt one is an error, not silently without effect."""
    if not is_dataflow(args):
        import_beam()
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
def extra(name: str) -> Iterator[None]:
    """Import what only an extra brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BadInput(f"This needs {error.name}, which is not installed: pip install 'landloom[{name}]'.") from error


def set_log_level(verbose: bool) -> None:
    """Of everything, or of warnings of ours alone."""
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    for ours in ("pipelines", "services"):
        logging.getLogger(ours).setLevel(logging.INFO if verbose else logging.WARNING)
    # Beam logs what a worker raised, with all its own frames, before it reaches us.
    logging.getLogger("apache_beam").setLevel(logging.INFO if verbose else logging.CRITICAL)
