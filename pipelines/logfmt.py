"""Log lines that people read and machines parse: an event, then `name=value` pairs (logfmt).

The pairs are part of the message, so that they survive every way from a worker to a log: Flink's, Dataflow's, a file.
"""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[\w.:/+-]+")


def line(event: str, **fields: object) -> str:
    """`block failed tile_year=48QUE-2020 block=3 reason="no answer"`: values that are no word are quoted as JSON."""
    return " ".join([event, *(f"{name}={_value(value)}" for name, value in fields.items())])


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
