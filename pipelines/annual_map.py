"""The Beam pipeline of the main job: blocks of tile-years are classified, staged, assembled, registered, accounted.

Elements carry a manifest's address and a block's number; pixels never cross a shuffle. There is no barrier before
publishing: whichever worker stages the last block of a tile-year assembles it. Only the accounts are grouped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from catalog.errors import LandloomError, ServerUnavailable, SourceUnavailable
from catalog.grid import block
from catalog.items import published_fingerprint
from catalog.manifest import Manifest
from catalog.model import ModelSpec, Network
from catalog.store import Store, open_store
from pipelines.assemble import CannotPublish, publish
from pipelines.classify import BlockReport, classify_block
from pipelines.read import SceneReader
from pipelines.stage import is_complete, stage
from services.inference import open_network, reach_network

log = logging.getLogger(__name__)

Outcome = dict[str, Any]
"""What became of one block or one attempt to publish: `block` (None for the tile-year), `state`, `reason`, figures."""


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

    def store(self) -> Store:
        """The output."""
        return open_store(self.out, s3_endpoint=self.s3_endpoint)


# One network and one reader per worker process and run, whatever the number of bundles and DoFn instances.
_network_here = functools.lru_cache(maxsize=1)(open_network)
_network_served = functools.lru_cache(maxsize=1)(reach_network)


@functools.lru_cache(maxsize=1)
def _reader(run: str, retry_seconds: float) -> SceneReader:
    return SceneReader(retry_seconds)


@functools.lru_cache(maxsize=64)
def _manifest(out: str, s3_endpoint: str | None, key: str) -> Manifest:
    return Manifest.model_validate_json(open_store(out, s3_endpoint=s3_endpoint).read(key))


class _ManifestDoFn(beam.DoFn):
    """Has the job's store at hand and looks manifests up."""

    def __init__(self, job: Job):
        self._job = job

    def setup(self) -> None:
        self._store = self._job.store()

    def _look_up(self, key: str) -> Manifest:
        return _manifest(self._job.out, self._job.s3_endpoint, key)

    def _publish(self, manifest: Manifest) -> Iterator[tuple[str, Outcome]]:
        try:
            publish(self._store, manifest, overwrite=self._job.overwrite)
        except CannotPublish as error:
            log.warning("%s: %s", manifest.id, error)
            yield manifest.key, {"block": None, "state": "failed", "reason": str(error)}

    def _is_published(self, manifest: Manifest) -> bool:
        return published_fingerprint(self._store, manifest.item_key) == manifest.fingerprint


class ClassifyBlock(_ManifestDoFn):
    """`(manifest key, block)` to `(manifest key, Outcome)`; returns at once if the block is staged."""

    def process(self, element: tuple[str, int]) -> Iterator[tuple[str, Outcome]]:
        """See the class."""
        key, number = element
        manifest = self._look_up(key)
        if self._store.exists(manifest.block_key(number)) or self._is_published(manifest):
            yield key, {"block": number, "state": "staged before"}
            return
        try:
            network = self._network(manifest.model)
        except ServerUnavailable as error:
            log.warning("%s block %d: %s", manifest.id, number, error)
            yield key, {"block": number, "state": "failed", "reason": str(error)}
            return
        if network.spec != manifest.model:
            raise LandloomError(
                f"Network {network.spec.id} at hand (SHA-256 {network.spec.sha256[:12]}) is not the one of "
                f"{manifest.id} ({manifest.model.sha256[:12]}). Give every worker the network of the manifest."
            )
        try:
            voted, report = classify_block(manifest, number, _reader(self._job.run, self._job.retry_seconds), network)
        except (SourceUnavailable, ServerUnavailable) as error:
            log.warning("%s block %d: %s", manifest.id, number, error)
            yield key, {"block": number, "state": "failed", "reason": str(error)}
            return
        stage(self._store, manifest, number, voted, report)
        _count(report)
        yield key, {"block": number, "state": "done", "figures": _figures(report)}

    def _network(self, spec: ModelSpec) -> Network:
        if self._job.inference:
            return _network_served(self._job.inference, spec, self._job.retry_seconds)
        return _network_here(self._job.model)


class PublishWhenComplete(_ManifestDoFn):
    """Passes outcomes on, and publishes a tile-year as soon as all its blocks are staged."""

    def process(self, element: tuple[str, Outcome]) -> Iterator[tuple[str, Outcome]]:
        """See the class."""
        yield element
        key, outcome = element
        if outcome["state"] == "failed":
            return
        manifest = self._look_up(key)
        if not self._is_published(manifest) and is_complete(self._store, manifest):
            yield from self._publish(manifest)


class Account(_ManifestDoFn):
    """All outcomes of a tile-year to one record, written under `runs/{run}/`."""

    def process(self, element: tuple[str, Iterable[Outcome]]) -> Iterator[dict[str, Any]]:
        """See the class."""
        key, found = element
        outcomes, manifest = list(found), self._look_up(key)
        failed = [outcome for outcome in outcomes if outcome["state"] == "failed"]
        if not self._is_published(manifest) and not failed:
            # Another run may have taken the staged blocks just as this one was about to assemble them.
            outcomes += [outcome for _, outcome in self._publish(manifest)]
            failed = [outcome for outcome in outcomes if outcome["state"] == "failed"]
        blocks = [outcome for outcome in outcomes if outcome["block"] is not None]
        record = {
            "id": manifest.id,
            "manifest": key,
            "published": self._is_published(manifest),
            "blocks": {
                state: sum(outcome["state"] == state for outcome in blocks)
                for state in ("done", "staged before", "failed")
            },
            "reasons": sorted({outcome["reason"] for outcome in failed}),
            "figures": _sum(outcome["figures"] for outcome in blocks if "figures" in outcome),
        }
        if record["published"]:
            self._store.delete(self._store.list(manifest.staging))
        self._store.write(f"runs/{self._job.run}/{manifest.id}.json", json.dumps(record, indent=1).encode())
        yield record


class MapTileYears(beam.PTransform):
    """Manifests' addresses with their blocks to one record per tile-year."""

    def __init__(self, job: Job, manifests: Sequence[Manifest]):
        super().__init__()
        self._job = job
        # Large blocks first within a tile-year, so that workers that take turns end together.
        self._elements = [
            (manifest.key, number)
            for manifest in manifests
            for number in sorted(manifest.blocks, key=lambda number: -block(number).pixels)
        ]

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[dict[str, Any]]:
        """See the class."""
        return (
            root
            | "Blocks" >> beam.Create(list(enumerate(self._elements)), reshuffle=False)
            # Grouping by a number of its own keeps planning and classifying apart, and the order of the blocks.
            | "Spread" >> beam.GroupByKey()
            | "Block" >> beam.FlatMap(lambda numbered: numbered[1])
            | "Classify" >> beam.ParDo(ClassifyBlock(self._job))
            | "Publish" >> beam.ParDo(PublishWhenComplete(self._job))
            | "By tile-year" >> beam.GroupByKey()
            | "Account" >> beam.ParDo(Account(self._job))
        )


def _figures(report: BlockReport) -> dict[str, float]:
    return {
        field.name: value
        for field in dataclasses.fields(report)
        if isinstance(value := getattr(report, field.name), int | float)
    }


def _count(report: BlockReport) -> None:
    for name, value in _figures(report).items():
        if name.endswith("_seconds"):
            Metrics.distribution("landloom", name.replace("_seconds", "_ms")).update(round(1000 * value))
        else:
            Metrics.counter("landloom", name).inc(int(value))
    for name, milliseconds in report.server.items():
        Metrics.distribution("landloom", name).update(round(milliseconds))


def _sum(figures: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in figures:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return {name: round(value, 3) for name, value in total.items()}
