"""What a run writes down about itself, under `runs/{run}/`: what was asked for, planned, and became of it.

Each record is written once, by whichever worker knows it: `request.json`, `planned/{tile-year}.json`,
`failed/{block}.json`, `ended/{tile-year}.json`. Launcher, progress bar and `landloom status` read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog.errors import BadInput
from catalog.store import NotFound, Store
from pipelines.request import Request

_READERS = 16
_Record = TypeVar("_Record", bound=BaseModel)


class Asked(BaseModel):
    """What a run was begun with."""

    model_config = ConfigDict(frozen=True)

    run: str
    started: datetime
    request: Request
    model: str
    inference: str
    retry_seconds: float
    second_stage: str = ""


class PlannedTileYear(BaseModel):
    """A tile-year that is to be mapped."""

    model_config = ConfigDict(frozen=True)

    id: str
    manifest: str
    """Its manifest's address."""
    fingerprint: str
    item: str
    """Address of the item, once published."""
    staging: str
    blocks: int
    staged_before: int
    """Blocks of them that a run before had staged."""
    pixels: int
    scenes_left_out: int
    """Found and not used: the manifest says which and why."""


class EndedTileYear(BaseModel):
    """What became of a tile-year."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: Literal["published", "skipped", "dead-lettered"]
    reason: str = ""
    item: str = ""
    """Address of the item that is published."""
    blocks: dict[str, int] = {}
    """Blocks `done`, `staged before` and `failed`."""
    figures: dict[str, float] = {}
    """Sums over the blocks that this run did: pixels, chips, seconds."""


class Failure(BaseModel):
    """A block that could not be made."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Of its tile-year."""
    block: int
    reason: str


class Records:
    """The records of one run."""

    def __init__(self, store: Store, run: str):
        self._store, self.run, self.folder = store, run, f"runs/{run}"

    def ask(self, asked: Asked) -> None:
        """Write down what is asked for."""
        self._store.write(self._key("request"), _bytes(asked))

    def asked(self) -> Asked:
        """What was asked for.

        Raises:
            BadInput: there is no such run.
        """
        try:
            return Asked.model_validate_json(self._store.read(self._key("request")))
        except NotFound as error:
            raise BadInput(
                f"There is no run {self.run!r} in {self._store.href('runs')}. "
                f"Give one of {', '.join(runs_of(self._store)[-5:]) or 'its own: there is none yet'}."
            ) from error
        except ValidationError as error:
            raise BadInput(f"Run {self.run!r} was begun by another version of Landloom: {error}.") from error

    def plan(self, record: PlannedTileYear) -> None:
        """Write down what is to be done."""
        self._write_once(f"planned/{record.id}", record)

    def end(self, record: EndedTileYear) -> None:
        """Write down what became of it; the last word is that it is published."""
        if record.state == "published":
            self._store.write(self._key(f"ended/{record.id}"), _bytes(record))
        else:
            self._write_once(f"ended/{record.id}", record)

    def fail(self, record: Failure) -> None:
        """Write down a block that could not be made; what becomes of its tile-year is known at the end only."""
        self._write_once(f"failed/{record.id}-block-{record.block:02d}", record)

    def has_failures(self, name: str) -> bool:
        """Whether a block of a tile-year could not be made."""
        return bool(self._store.list(f"{self.folder}/failed/{name}-block-"))

    def has_ended(self, name: str) -> bool:
        """Whether it is known what became of a tile-year."""
        return self._store.exists(self._key(f"ended/{name}"))

    def planned(self, known: Iterable[str] = ()) -> dict[str, PlannedTileYear]:
        """Tile-years with what is to be done, but those that are known."""
        return self._read("planned", PlannedTileYear, known)

    def ended(self, known: Iterable[str] = ()) -> dict[str, EndedTileYear]:
        """Tile-years with what became of them, but those that are known."""
        return self._read("ended", EndedTileYear, known)

    def failed(self, known: Iterable[str] = ()) -> dict[str, Failure]:
        """Blocks that could not be made, but those that are known."""
        return self._read("failed", Failure, known)

    def breathe(self) -> None:
        """The launcher is alive."""
        self._store.write(f"{self.folder}/alive", datetime.now(UTC).isoformat().encode())

    def last_breath(self) -> datetime | None:
        """When the launcher was last known to be alive."""
        try:
            return datetime.fromisoformat(self._store.read(f"{self.folder}/alive").decode())
        except NotFound:
            return None

    def _key(self, name: str) -> str:
        return f"{self.folder}/{name}.json"

    def _write_once(self, name: str, record: BaseModel) -> None:
        # A runner that begins anew, as Flink does, finds what it did itself: the first word counts.
        self._store.write_if(self._key(name), _bytes(record), None)

    def _read(self, kind: str, model: type[_Record], known: Iterable[str]) -> dict[str, _Record]:
        there, prefix = set(known), f"{self.folder}/{kind}/"
        names = [key.removeprefix(prefix).removesuffix(".json") for key in self._store.list(prefix)]
        new = [name for name in names if name not in there]
        with ThreadPoolExecutor(_READERS) as readers:
            contents = readers.map(lambda name: self._store.read(f"{prefix}{name}.json"), new)
            return {name: model.model_validate_json(content) for name, content in zip(new, contents, strict=True)}


def _bytes(record: BaseModel) -> bytes:
    return record.model_dump_json(indent=1).encode()


def runs_of(store: Store) -> list[str]:
    """The names of all runs, in order of time."""
    keys = (key.removeprefix("runs/").partition("/") for key in store.list("runs/"))
    return sorted({run for run, separator, rest in keys if rest == "request.json"})


def accounts_of(store: Store, run: str) -> dict[str, object] | None:
    """The accounts of a run, if it has come to its end."""
    try:
        return dict(json.loads(store.read(f"runs/{run}.json")))
    except NotFound:
        return None
