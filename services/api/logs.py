"""What a server and its jobs log, for people or for a log collector."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter


def log_to_stderr(*, json_lines: bool) -> None:
    """Log what happens; as lines of JSON also every request, else only what is unusual.

    Args:
        json_lines: one object a line: time, level, logger, message.
    """
    handler = logging.StreamHandler()
    if json_lines:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=names))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # What libraries have set up at import is replaced.
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO if json_lines else logging.WARNING)
