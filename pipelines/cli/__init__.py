"""The `landloom` command."""

from __future__ import annotations

import sys

from rich.markup import escape

from catalog.errors import BadInput, LandloomError
from pipelines.cli import (
    accuracy,
    change,
    cluster,
    estimates,
    maps,
    networks,
    samples,
    serve,
    status,
    temporal,
    training,
    triton,
    zonal,
)
from pipelines.cli.options import app, console

__all__ = [
    "accuracy",
    "app",
    "change",
    "cluster",
    "estimates",
    "maps",
    "networks",
    "run",
    "samples",
    "serve",
    "status",
    "temporal",
    "training",
    "triton",
    "zonal",
]


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
