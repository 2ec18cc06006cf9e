"""Jobs as they are kept: a folder each, with what was asked for and how far it is, so that they outlive the server."""

from __future__ import annotations

import os
import shutil
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.errors import BadInput, StoreError

Status = Literal["accepted", "running", "successful", "failed", "dismissed"]
ENDED: tuple[Status, ...] = ("successful", "failed", "dismissed")
_STATE, _INPUTS = "job.json", "inputs.json"


class JobLimits(BaseModel):
    """What one job may take, and how many there may be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seconds: int = Field(default=3600, ge=1, description="a job may run")
    memory_mb: int = Field(default=4096, ge=256, description="resident memory of a job")
    pixels: int = Field(default=2_000_000_000, ge=1, description="of all years together, that a job may read")
    zones: int = Field(default=10_000, ge=1, description="of a job")
    at_once: int = Field(default=1, ge=1, le=64, description="jobs that run at the same time")
    queued: int = Field(default=20, ge=0, description="jobs that wait; more are refused")
    kept_days: int = Field(default=30, ge=1, description="an ended job is kept; its products stay in the catalog")
    tries: int = Field(default=3, ge=1, description="times that a job is begun, where the server ended while it ran")


def read_limits(file: Path | None) -> JobLimits:
    """Limits from a TOML file; what it does not name, and all without a file, is as usual.

    Raises:
        BadInput: it cannot be read, or names what is no limit.
    """
    if file is None:
        return JobLimits()
    try:
        return JobLimits.model_validate(tomllib.loads(file.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"The limits {str(file)!r} cannot be read: {error}. Give TOML, as seconds = 600.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise BadInput(
            f"The limits {str(file)!r}: {name} = {first['input']!r}: {first['msg']}. There are "
            f"{', '.join(JobLimits.model_fields)}."
        ) from error


class Job(BaseModel):
    """One job, as its file tells it."""

    id: str
    process: str
    status: Status = "accepted"
    message: str = "Waits for its turn."
    progress: int = 0
    """Per cent."""
    created: str
    started: str | None = None
    finished: str | None = None
    updated: str
    tries: int = 0
    """How often it was begun."""
    response: Literal["raw", "document"] = "raw"
    refused: bool = False
    """Of one that failed: whether what was asked for was at fault."""
    result: dict[str, Any] | None = None

    @classmethod
    def new(cls, process: str, response: Literal["raw", "document"]) -> Job:
        """One that nobody has seen yet."""
        return cls(id=str(uuid.uuid4()), process=process, created=now(), updated=now(), response=response)


class JobFolder:
    """Where jobs lie: `{id}/job.json`, `{id}/inputs.json`, files that a job made, and its scratch folder."""

    def __init__(self, root: Path):
        """Args:
        root: the folder; made where there is none.

        Raises:
            StoreError: it cannot be written.
        """
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The folder of jobs {root} cannot be made: {error.strerror}. Give another.") from error

    def of(self, job: Job) -> Path:
        """A job's own folder."""
        return self.root / job.id

    def add(self, job: Job, inputs: str) -> None:
        """Keep a new job; once this returns, it is not lost."""
        try:
            self.of(job).mkdir()
            _write(self.of(job) / _INPUTS, inputs)
            self.save(job)
        except OSError as error:
            raise StoreError(f"The job cannot be kept in {self.root}: {error.strerror}.") from error

    def save(self, job: Job) -> None:
        """Keep how far a job is."""
        _write(self.of(job) / _STATE, job.model_dump_json(indent=1))

    def inputs(self, job: Job) -> str:
        """JSON of what was asked for."""
        return (self.of(job) / _INPUTS).read_text()

    def load(self) -> list[Job]:
        """All jobs, the oldest first. One whose file is not there was never told to its client."""
        found = []
        for path in self.root.glob(f"*/{_STATE}"):
            try:
                found.append(Job.model_validate_json(path.read_text()))
            except ValidationError as error:
                raise BadInput(f"{path} is no job: {error.errors()[0]['msg']}. Remove its folder.") from error
        return sorted(found, key=lambda one: one.created)

    def remove(self, job: Job) -> None:
        """Forget a job; what it published stays."""
        shutil.rmtree(self.of(job), ignore_errors=True)


def now() -> str:
    """As jobs tell the time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
