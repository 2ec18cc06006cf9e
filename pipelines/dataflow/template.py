"""The start from a Flex Template: its parameters are made what `landloom map` takes.

A template's parameters all have a name of letters, digits and underscores, and a value; Dataflow's launcher hands them
over as `--name=value`, with options of Beam's own after them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from catalog.errors import BadInput
from pipelines.cli import app, run


def arguments_of(parameters: Sequence[str]) -> list[str]:
    """What `landloom map` takes, of what the launcher gives.

    Args:
        parameters: as `--max_scenes=12`, `--overwrite=true`, or an option of Beam's.

    Raises:
        BadInput: a switch is neither true nor false.
    """
    options = {opt: one for one in typer.main.get_command(app).commands["map"].params for opt in one.opts}  # type: ignore[attr-defined]
    arguments = []
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        ours = options.get(name.replace("_", "-"))
        if ours is None:
            arguments.append(parameter)
        elif not getattr(ours, "is_flag", False):
            arguments.append(f"{ours.opts[0]}={value}")
        elif value not in ("true", "false"):
            raise BadInput(f"{parameter}: a switch is true or false.")
        elif value == "true":
            arguments.append(ours.opts[0])
    return arguments


def main() -> None:
    """Run `landloom map` with the parameters of the template."""
    try:
        sys.argv[1:] = ["map", *arguments_of(sys.argv[1:])]
    except BadInput as error:
        sys.exit(f"Error: {error}")
    run()
