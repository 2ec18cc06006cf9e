"""Each try of a block is noted in the output before it begins, and the note taken back when it ends.

Only the death of its worker leaves a note behind: nobody can catch that. Runners begin a job anew when a worker dies; a
run's notes tell when that is of no more use, and which blocks are under way: one that is done with its share of a run
takes up what others have not begun.
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
from typing import Literal

from catalog.errors import LandloomError, StoreError
from catalog.manifest import Manifest
from catalog.store import Store

TRIES = 3
"""Deaths of workers over one block, within a run, after which its tile-year is left: Dataflow ends a job after four."""
GivesWayTo = Literal["nobody", "helpers", "anybody"]
"""Other workers of the run to which one leaves a block that they are at."""
_HELPS = "helps-"
"""Marks the notes of those who help with a block of another's share."""
_under_way: dict[str, Store] = {}
"""Notes of the tries that this process is in."""


class WorkerDied(LandloomError):
    """A tile-year with a block whose worker died in every try."""


class UnderWay(LandloomError):
    """Another worker is at the block."""


@contextmanager
def noted_try(
    store: Store, manifest: Manifest, number: int, run: str, gives_way_to: GivesWayTo = "helpers"
) -> Iterator[None]:
    """Try a block, unless this run's workers died `TRIES` times over it, or over another of its tile-year.

    Args:
        store: the output.
        manifest: the block's.
        number: the block's.
        run: name of the run. Another run tries anew.
        gives_way_to: see `GivesWayTo`; who gives way to anybody helps with a block of another's share.

    Raises:
        WorkerDied: they did. The tile-year cannot be published by this run, and what kills workers in one block often
            does so in the next.
        UnderWay: one of these is at it.
    """
    folders = {_folder(manifest, one): one for one in manifest.blocks}
    notes = [key.rpartition("/") for key in store.list(manifest.staging)]
    others = {"nobody": (), "helpers": (f"{run}-{_HELPS}",), "anybody": (f"{run}-",)}[gives_way_to]
    if any(folder == _folder(manifest, number) and name.startswith(others) for folder, _, name in notes):
        raise UnderWay(f"Block {number} of {manifest.id} is under way.")
    died = Counter(folder for folder, _, name in notes if name.startswith(f"{run}-") and folder in folders)
    for folder, deaths in sorted(died.items()):
        if deaths >= TRIES:
            raise WorkerDied(
                f"the worker died in each of {TRIES} tries of block {folders[folder]}: most likely the machine had not "
                "enough memory and its system ended the process (its log tells). Give each worker more memory or let "
                "fewer share a machine, and run again. If workers still die, a scene's file may be what they die of"
            )
    folder = f"{_folder(manifest, number)}/"
    note = f"{folder}{run}-{_HELPS if gives_way_to == 'anybody' else ''}{uuid.uuid4().hex[:12]}"
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


def not_begun(store: Store, manifest: Manifest, run: str) -> list[int]:
    """The blocks of a tile-year that are neither staged nor under way in this run, in the manifest's order."""
    there = store.list(manifest.staging)
    noted = {folder for folder, _, name in (key.rpartition("/") for key in there) if name.startswith(f"{run}-")}
    return [
        one for one in manifest.blocks if manifest.block_key(one) not in there and _folder(manifest, one) not in noted
    ]


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


def _folder(manifest: Manifest, number: int) -> str:
    return f"{manifest.staging}block-{number:02d}.tries"


def _take_back(note: str) -> None:
    if store := _under_way.pop(note, None):
        store.delete([note])
