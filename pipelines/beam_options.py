"""Beam's own command-line options, as the user gave them; read without Beam, whose import takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def option(beam_options: Sequence[str], name: str) -> str | None:
    """The value of one of Beam's options, given as `--name=value` or `--name value`; None: it is not given."""
    for at, given in enumerate(beam_options):
        if given == name and at + 1 < len(beam_options):
            return beam_options[at + 1]
        if given.startswith(f"{name}="):
            return given.partition("=")[2]
    return None


def with_defaults(beam_options: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """Beam's options, and those of `defaults` (by `--name`) that are not among them."""
    given = {one.split("=")[0] for one in beam_options}
    return [*beam_options, *(f"{name}={value}" for name, value in defaults.items() if name not in given)]


def is_dataflow(beam_options: Sequence[str]) -> bool:
    """Whether Beam's options name Dataflow's runner."""
    return option(beam_options, "--runner") in ("DataflowRunner", "dataflow")
