"""Commands for a Flink cluster on this machine: up, down, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.options import app, console
from pipelines.flink import cluster as flink

_cluster = typer.Typer(help="A Flink cluster on this machine, for tests and for one machine's cores.")
app.add_typer(_cluster, name="cluster")
Folder = Annotated[Path, typer.Option(help="Of its configuration, logs and temporary files.")]
_FOLDER = Path("out/flink")


@_cluster.command("up")
def up_command(
    workers: Annotated[int, typer.Option(min=1, help="TaskManagers, of one slot each.")] = 2,
    folder: Folder = _FOLDER,
    jar: Annotated[Path, typer.Option(help="The runner; `make flink` builds it.")] = flink.JAR,
) -> None:
    """Start one on free ports of the loopback interface."""
    with console.status("Starting Flink"):
        started = flink.start(folder, workers, jar)
    console.print(f"Flink runs, with {workers} slots; its logs lie in {folder}. Map on it by", highlight=False)
    console.print(
        f"  landloom map … --runner=FlinkRunner --flink_master={started.master}", highlight=False, markup=False
    )


@_cluster.command("down")
def down_command(folder: Folder = _FOLDER) -> None:
    """Stop it and all that it started."""
    stopped = flink.stop(folder)
    console.print(f"Stopped: {', '.join(stopped)}." if stopped else f"No cluster runs from {folder}.", highlight=False)


@_cluster.command("status")
def status_command(folder: Folder = _FOLDER) -> None:
    """Tell what runs."""
    found = flink.load(folder)
    if found is None:
        console.print(f"No cluster runs from {folder}. Start one by `landloom cluster up`.", highlight=False)
        raise typer.Exit(1)
    table = Table(title=f"Flink at {found.master}", title_justify="left", show_header=False)
    for name, runs in found.alive().items():
        table.add_row(name, f"process {found.processes[name]}" if runs else "[red]has ended[/red]")
    told = flink.overview(found.master)
    if told is None:
        table.add_row("answers", "[red]no[/red]")
    else:
        table.add_row("slots", f"{told['slots-available']} of {told['slots-total']} free")
        table.add_row(
            "jobs", f"{told['jobs-running']} running, {told['jobs-finished']} finished, {told['jobs-failed']} failed"
        )
    console.print(table)
    if told is None or not all(found.alive().values()):
        raise typer.Exit(1)
