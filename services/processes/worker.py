"""One job, in a process of its own: `python -m services.processes.worker FOLDER`, started by `Jobs`.

It is told what to do by a line of JSON on its standard input, and ends when that closes: with the server. What it tells
are lines of JSON on its standard output: progress, then a result or an error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from catalog.errors import BadInput, LandloomError
from catalog.store import Store, open_store
from services.api.logs import log_to_stderr
from services.change.blocks import MapUnreadable, opened, watched
from services.change.series import Series
from services.processes.jobs import JobLimits
from services.processes.processes import PROCESSES, Result, Work

_log = logging.getLogger(__name__)


def main(folder: Path) -> None:
    """Do the job whose folder it is."""
    # Libraries print what they like; only we write to the server.
    tell_to = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def tell(**what: Any) -> None:
        try:
            tell_to.write(json.dumps(what) + "\n")
        except BrokenPipeError:
            os._exit(1)  # Nobody listens: the server has ended.

    order = json.loads(sys.stdin.readline())
    log_to_stderr(json_lines=order["json_logs"])
    # Of libraries what is unusual alone: they tell of every file.
    logging.getLogger().setLevel(logging.WARNING)
    threading.Thread(target=_end_with_the_server, daemon=True, name="server").start()
    try:
        tell(result=_done(folder, order, tell))
    except LandloomError as error:
        tell(error=str(error), refused=isinstance(error, BadInput))
    except MemoryError:
        tell(error="There was no memory left.", refused=False)
    except Exception:
        _log.exception("Job %s failed.", folder.name)
        tell(error="The job failed in a way that it should not. The server's log says how.", refused=False)


def _end_with_the_server() -> None:
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def _done(folder: Path, order: dict[str, Any], tell: Any) -> Result:
    process, limits = PROCESSES[order["process"]], JobLimits.model_validate(order["limits"])
    files = Path(order["files"]) if order["files"] else None
    seen, step, steps = 0, 0, 1

    def told(share: float, message: str) -> None:
        nonlocal seen
        seen = max(seen, min(95, int(5 + 90 * share)))
        tell(progress=seen, message=message)

    def progress(done: int, total: int) -> None:
        nonlocal step, steps
        step, steps = done, max(1, total)
        told(step / steps, f"Step {done + 1} of {total}." if done < total else "Writes what was found.")

    def block(done: int, total: int) -> None:
        told((step + done / total) / steps, f"Step {step + 1} of {steps}, part {done + 1} of {total}.")

    def found(series: Series) -> None:
        tell(progress=5, message=f"Found maps of {len(series.places)} places and {len(series.years)} years.")
        _check_pixels(series, limits.pixels)

    work = Work(
        store=open_store(order["catalog"], s3_endpoint=order["s3_endpoint"]),
        folder=folder,
        files=files,
        limits=limits,
        on_found=found,
        on_progress=progress,
    )
    tell(progress=1, message="Looks for maps.")
    inputs = process.read((folder / "inputs.json").read_text(), files, limits.zones)
    with watched(block):
        result = process.run(inputs, work)
    if order["database"] and result["items"]:
        tell(progress=97, message="Tells the database.")
        _register(order["database"], work.store, result)
    return result


def _register(database: str, store: Store, result: Result) -> None:
    """Let the database know the items that were published; where it cannot be, the result says so."""
    from services.api.load import load

    try:
        load(database, store, only={key.partition("/")[0] for key in result["items"]})
    except LandloomError:
        _log.exception("The database is not told of what was published.")
        result["notes"] = [*result["notes"], "The STAC API knows these items after the next landloom load."]


def _check_pixels(series: Series, most: int) -> None:
    pixels = 0
    for place in series.places:
        try:
            with opened(series, place) as maps:
                pixels += maps.shape[0] * maps.shape[1] * len(series.years)
        except MapUnreadable:
            continue  # Left out and told, when its turn comes.
        if pixels > most:
            raise BadInput(
                f"The maps have more than {most:,} pixels in this area and these years, the most that a job may read "
                "here. Give a smaller area or fewer years."
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
