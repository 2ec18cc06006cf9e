"""Blocks that kill their worker: nobody can catch that, so each try is noted in the output before it begins.

A note lies beside the place of the staged block, and is taken back when the try ends in any other way than with the
death of its worker. Runners begin a job anew when a worker dies; a run's notes tell when that is of no more use.
"""

from __future__ import annotations

import os
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from catalog.errors import LandloomError, StoreError
from catalog.manifest import Manifest
from catalog.store import Store

TRIES = 3
"""Deaths of workers over one block, within a run, after which its tile-year is left."""
_under_way: dict[str, Store] = {}
"""Notes of the tries that this process is in."""


class WorkerDied(LandloomError):
    """A tile-year with a block whose worker died in every try."""


@contextmanager
def noted_try(store: Store, manifest: Manifest, number: int, run: str) -> Iterator[None]:
    """Try a block, unless this run's workers died `TRIES` times over it, or over another of its tile-year.

    Args:
        store: the output.
        manifest: the block's.
        number: the block's.
        run: name of the run. Another run tries anew.

    Raises:
        WorkerDied: they did. The tile-year cannot be published by this run, and what kills workers in one block often
            does so in the next.
    """
    folders = {f"{manifest.staging}block-{one:02d}.tries": one for one in manifest.blocks}
    notes = [key.rpartition("/") for key in store.list(manifest.staging)]
    died = Counter(folder for folder, _, name in notes if name.startswith(f"{run}-") and folder in folders)
    for folder, deaths in sorted(died.items()):
        if deaths >= TRIES:
            raise WorkerDied(
                f"the worker died in each of {TRIES} tries of block {folders[folder]}: most likely the machine had not "
                "enough memory and its system ended the process (its log tells). Give each worker more memory or let "
                "fewer share a machine, and run again. If workers still die, a scene's file may be what they die of"
            )
    folder = f"{manifest.staging}block-{number:02d}.tries/"
    note = f"{folder}{run}-{uuid.uuid4().hex[:12]}"
    store.write(note, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _under_way[note] = store
    try:
        yield
    except BaseException:
        with suppress(StoreError):  # The error that ended the try is the one to tell of.
            _take_back(note)
        raise
    _under_way.pop(note)
    store.delete(store.list(folder))


def take_back_when_terminated() -> None:
    """Let SIGTERM end this process, but not count as a death over its block: the runner ends workers of other blocks
    when it begins a job anew.
    """

    def end(number: int, frame: FrameType | None) -> None:
        try:
            for note in list(_under_way):
                _take_back(note)
        finally:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _take_back(note: str) -> None:
    if store := _under_way.pop(note, None):
        store.delete([note])
