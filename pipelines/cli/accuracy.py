"""Commands that tell how far areas can be trusted: accuracy design, accuracy report, accuracy range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from catalog.errors import BadInput
from catalog.store import open_store
from pipelines.cli.options import (
    Aoi,
    Bbox,
    Centre,
    MapAsset,
    MapCollection,
    Maps,
    Products,
    S3Endpoint,
    SizeKm,
    app,
    console,
    extra,
    ground_of,
    number,
    request_of,
    whole,
    years_of,
)
from pipelines.cli.progress import progress_of
from services.change.requests import DesignRequest, ReportRequest, described

accuracy = typer.Typer(
    help="Areas and accuracies with intervals: draw a reference sample, report it, or tell scenario ranges.",
    no_args_is_help=True,
)
app.add_typer(accuracy, name="accuracy")

OneOrTwoYears = Annotated[
    str, typer.Option("--years", help="One year, or two to assess change, comma-separated: 2020 or 2020,2021.")
]


@accuracy.command("design")
def design_command(
    maps: Maps,
    years: OneOrTwoYears,
    out: Annotated[Path, typer.Option(help="Folder for design.json and the sample as GeoPackage, GeoJSON and CSV.")],
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    aoi: Aoi = "",
    collection: MapCollection = "",
    asset: MapAsset = "",
    standard_error: Annotated[
        float, typer.Option(parser=number, metavar="S", help=described(DesignRequest, "standard_error"))
    ] = 0.01,
    size: Annotated[int | None, typer.Option(parser=whole, metavar="N", help=described(DesignRequest, "size"))] = None,
    interest: Annotated[
        str, typer.Option(help="Strata whose areas are to be known best, as crops,trees>crops; by default all alike.")
    ] = "",
    expected_accuracy: Annotated[
        float | None,
        typer.Option(parser=number, metavar="A", help=described(DesignRequest, "expected_accuracy")),
    ] = None,
    merge_below: Annotated[
        float, typer.Option(parser=number, metavar="PCT", help=described(DesignRequest, "merge_below"))
    ] = 0.1,
    zones: Annotated[Path | None, typer.Option(help="Polygons for which areas are to be reported, too.")] = None,
    key: Annotated[str, typer.Option(help=described(DesignRequest, "key"))] = "name",
    seed: Annotated[int, typer.Option(parser=whole, metavar="N", help=described(DesignRequest, "seed"))] = 0,
) -> None:
    """Draw a stratified random sample of pixels for interpreters: classes are strata, of two years transitions."""
    from services.change.interpretation import write_sample
    from services.change.products import draw_sample
    from services.change.zones import read_zones

    request = request_of(
        DesignRequest,
        collection=collection,
        asset=asset,
        years=tuple(years_of(years)),
        standard_error=standard_error,
        size=size,
        interest=tuple(one.strip() for one in interest.split(",") if one.strip()),
        expected_accuracy=expected_accuracy,
        merge_below=merge_below,
        key=key,
        seed=seed,
    )
    geometry = ground_of(bbox, centre, size_km, aoi).geometry
    read = read_zones(zones, key, dissolve=True) if zones else None
    with progress_of("Counting and drawing", maps) as on_progress:
        made, drawn = draw_sample(request, maps, geometry, read.frame if read else None, on_progress)
    files = write_sample(made, drawn, out)
    table = Table(title=f"{len(drawn):,} units in {len(made.strata)} strata", title_justify="left")
    for column in ("stratum", "ha", "expected accuracy", "units", "expected +- ha", "if proportional", "if equal"):
        table.add_column(column, justify="left" if column == "stratum" else "right")
    for one, expected, units in zip(made.strata, made.expected, made.units, strict=True):
        widths = [f"{made.predicted[how][one.name]:,.1f}" for how in ("chosen", "proportional", "equal")]
        table.add_row(one.name, f"{one.hectares:,.1f}", f"{expected:.2f}", f"{units:,}", *widths)
    console.print(table)
    _tell(*dict.fromkeys(one.told for one in made.accuracies), *made.notes, *(read.notes if read else ()))
    _tell(f"{made.unobserved:,.1f} ha without a class in all years are not sampled.")
    _tell(*(f"Left out {place}: {reason}" for place, reason in made.excluded.items()))
    _tell(f"Interpreters fill {', '.join(f'reference_{one}' for one in made.years)} with {', '.join(made.names)}.")
    for file in files:
        typer.echo(file)


@accuracy.command("report")
def report_command(
    design: Annotated[Path, typer.Option(help="design.json that `landloom accuracy design` wrote.")],
    sample: Annotated[Path, typer.Option(help="The sample, filled in: GeoPackage, GeoJSON or CSV.")],
    out: Products,
    name: Annotated[str, typer.Option(help=described(ReportRequest, "name"))] = "",
    maps: Annotated[
        str, typer.Option(help="Assess other maps of these years than the sample was drawn from, as a new version.")
    ] = "",
    collection: MapCollection = "",
    asset: MapAsset = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another report of that name.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Estimate areas, accuracies and change from an interpreted sample, and publish them as a STAC item."""
    from services.change.design import read_design

    with extra("change"):
        from services.change import accuracy_page  # noqa: F401
    from services.change.products import report_sample

    request = request_of(ReportRequest, collection=collection, asset=asset, name=name, overwrite=overwrite)
    drawn = read_design(design)
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    with progress_of("Reading", maps or str(sample)) as on_progress:
        report, key, written = report_sample(request, drawn, sample, store, maps, on_progress)
    for one in report.years:
        table = Table(title=str(one.year), title_justify="left", caption=one.source, caption_justify="left")
        for column in ("class", "mapped ha", "estimated ha", "95 % interval", "usual +-", "user's %", "producer's %"):
            table.add_column(column, justify="left" if column == "class" else "right")
        for row in one.accuracy.classes:
            usual = f"{row.area.half_width:,.1f}{' (short)' if row.rare else ''}"
            shares = ["–" if share is None else f"{100 * share.value:.1f}" for share in (row.users, row.producers)]
            limits = f"{row.area.low:,.1f} to {row.area.high:,.1f}"
            table.add_row(row.name, f"{row.mapped or 0:,.1f}", f"{row.area.value:,.1f}", limits, usual, *shares)
        console.print(table)
    if report.changed:
        told = f"{report.changed.value:,.1f} ha ({report.changed.low:,.1f} to {report.changed.high:,.1f})"
        _tell(f"Changed class: {told} estimated, {report.changed_mapped:,.1f} ha mapped.")
    _tell(*(f"{count} units of {stratum} are not interpreted." for stratum, count in report.missing.items()))
    _tell("Published." if written else "Published before, from the same sample: nothing is changed.")
    typer.echo(store.href(key))


@accuracy.command("range")
def range_command(
    maps: Maps,
    years: OneOrTwoYears,
    bbox: Bbox = "",
    centre: Centre = "",
    size_km: SizeKm = "",
    aoi: Aoi = "",
    collection: MapCollection = "",
    asset: MapAsset = "",
    error_matrix: Annotated[
        Path | None,
        typer.Option(help="Error matrix (CSV of counts, rows mapped, columns reference), with --tiles and --origin."),
    ] = None,
    tiles: Annotated[
        int | None, typer.Option(parser=whole, metavar="N", help="Independent validation tiles behind --error-matrix.")
    ] = None,
    overall_accuracy: Annotated[
        float | None, typer.Option(parser=number, metavar="A", help="Published overall accuracy, 0 to 1; --origin.")
    ] = None,
    origin: Annotated[str, typer.Option(help="Who published it, of which map.")] = "",
    correlation: Annotated[
        str, typer.Option(help="Of the errors of two years, comma-separated: 0 each errs anew, 1 they repeat.")
    ] = "0,0.5,1",
    csv: Annotated[Path | None, typer.Option(help="Write the table here, too.")] = None,
) -> None:
    """Tell ranges of areas where no reference sample exists: scenarios from published accuracies, no intervals."""
    from services.change.ranges import range_table
    from services.change.source_accuracy import given_accuracy
    from services.change.strata import open_maps

    geometry = ground_of(bbox, centre, size_km, aoi).geometry
    correlations = _correlations(correlation)
    with progress_of("Counting", maps) as on_progress:
        series = open_maps(maps, years_of(years), geometry, collection=collection, asset=asset)
        given = given_accuracy(error_matrix, tiles, overall_accuracy, origin, series.legend.names)
        rows, notes = range_table(series, given, correlations, on_progress)
    table = Table(title="Mapped areas and what is known of the true ones", title_justify="left")
    shown = ["statement", "mapped_ha", "low_ha", "high_ha", "correlation"]
    for column in shown:
        table.add_column(column.replace("_", " "), justify="right" if rows[column].dtype.kind == "f" else "left")
    # A reason that is the same for many rows stands below them once.
    told = rows.assign(
        statement=[
            text.replace(f": {why})", ")") if why else text
            for text, why in zip(rows["statement"], rows["reason"], strict=True)
        ]
    )
    for row in told[shown].itertuples(index=False):
        table.add_row(*("" if cell != cell else f"{cell:,.1f}" if isinstance(cell, float) else cell for cell in row))
    console.print(table)
    for kind, reasons in rows[rows["reason"] != ""].groupby("kind")["reason"]:
        _tell(f"{str(kind).capitalize()}: {'; '.join(reasons.unique())}.")
    _tell(*dict.fromkeys(rows["source_accuracy"]), *notes)
    if csv:
        rows.to_csv(csv, index=False)
        typer.echo(csv)


def _correlations(text: str) -> list[float]:
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= one <= 1 for one in found):
        raise BadInput(f"--correlation {text!r} is not a list of numbers from 0 to 1. Give one or more, as 0,0.5,1.")
    return found


def _tell(*lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False)
