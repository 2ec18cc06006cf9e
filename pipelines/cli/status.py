"""`landloom status`: where a run stands, while it runs and after."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from catalog.errors import BadInput
from catalog.store import Store, open_store
from pipelines.cli.options import S3Endpoint, app, console
from pipelines.estimate import load_prices
from pipelines.records import Records, runs_of
from pipelines.standing import Standing, Watch

_TOLD = 20
"""Reasons that are told on the terminal."""


@app.command("status")
def status_command(
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix that the run writes to.")],
    run: Annotated[str, typer.Argument(help="Name of the run; by default the last that was begun.")] = "",
    prices: Annotated[str, typer.Option(help="Your price table (JSON), see landloom estimate --write-prices.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    s3_endpoint: S3Endpoint = "",
) -> None:
    """Tell where a run of `landloom map` stands: done, left, failed with reasons, pace, end, cost so far."""
    store = open_store(out, s3_endpoint=s3_endpoint or None)
    asked = Records(store, run or _last(store, out)).asked()
    standing = Watch(store, asked, load_prices(prices)).look()
    if as_json:
        typer.echo(standing.model_dump_json(indent=1))
        return
    console.print(_table(standing))
    for title, reasons in (("Failed", standing.failed_blocks), ("Dead-lettered", standing.dead_lettered)):
        for name, reason in list(reasons.items())[:_TOLD]:
            console.print(f"{title} {name}: {reason}", highlight=False, markup=False)
        if len(reasons) > _TOLD:
            console.print(f"… and {len(reasons) - _TOLD} more, see --json")
    if standing.state == "stopped" or (standing.state == "ended" and standing.dead_lettered):
        again = f"Go on: landloom map --retry {standing.run} --out {out}"
        console.print(again, highlight=False, markup=False, soft_wrap=True)


def _last(store: Store, out: str) -> str:
    runs = runs_of(store)
    if not runs:
        raise BadInput(f"No run of `landloom map` has written to {out!r}. Give the --out that it was given.")
    return runs[-1]


def _table(standing: Standing) -> Table:
    shown = Table(title=f"Run {standing.run}: {standing.state}", title_justify="left", show_header=False)
    shown.add_row("begun", f"{standing.started:%Y-%m-%d %H:%M:%S} UTC")
    shown.add_row("lasted" if standing.state == "ended" else "since", str(timedelta(seconds=round(standing.seconds))))
    shown.add_row(
        "tile-years",
        f"{standing.tile_years:,}: {standing.published:,} published, {standing.skipped:,} skipped, "
        f"{len(standing.dead_lettered):,} dead-lettered, {standing.tile_years - standing.planned:,} not yet planned",
    )
    shown.add_row(
        "blocks",
        f"{standing.blocks:,}: {standing.blocks_done:,} done, {standing.blocks_staged_before:,} staged before, "
        f"{standing.blocks_failed:,} failed, {standing.blocks_left:,} left",
    )
    shown.add_row("pace", f"{standing.pixels_per_second:,.0f} pixels of the map a second")
    if standing.state == "running":
        left = standing.seconds_left
        end = "not known yet" if left is None else f"{datetime.now(UTC) + timedelta(seconds=left):%Y-%m-%d %H:%M} UTC"
        shown.add_row("end at this pace", end)
    shown.add_row("spent", f"{standing.core_hours:,.3f} core-hours, {standing.usd:,.2f} USD, on what is published")
    return shown
