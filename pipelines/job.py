"""What the steps of the main job share: the job's own description, its store, and the manifests."""

from __future__ import annotations

import dataclasses
import functools

import apache_beam as beam

from catalog.items import published_fingerprint
from catalog.manifest import Manifest
from catalog.store import Store, open_store
from pipelines.records import Records


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker needs besides its elements."""

    run: str
    """Name of the run; its accounts lie under `runs/{run}/`."""
    out: str
    model: str
    """ID or file of the network; not used where servers run it."""
    s3_endpoint: str | None = None
    overwrite: bool = False
    """Maps made from other manifests may be replaced."""
    retry_seconds: float = 300.0
    """How long a source, or a server, that fails in ways that may pass is tried again."""
    inference: str = ""
    """Address of the servers that run the network; by default it is run in the worker's own process."""
    second_stage: str = ""
    """ID or file of the network that decides from vote and season, in the worker's own process; by default none."""

    def store(self) -> Store:
        """The output."""
        return open_store(self.out, s3_endpoint=self.s3_endpoint, patient=True)


class Step(beam.DoFn):  # type: ignore[misc]
    """Has the job's store and records at hand, and looks manifests up."""

    def __init__(self, job: Job):
        self._job = job

    def setup(self) -> None:
        """Once per worker."""
        self._store = self._job.store()
        self._records = Records(self._store, self._job.run)

    def _look_up(self, key: str) -> Manifest:
        return _manifest(self._job, key)

    def _is_published(self, manifest: Manifest) -> bool:
        return published_fingerprint(self._store, manifest.item_key) == manifest.fingerprint


@functools.lru_cache(maxsize=64)
def _manifest(job: Job, key: str) -> Manifest:
    return Manifest.model_validate_json(job.store().read(key))
