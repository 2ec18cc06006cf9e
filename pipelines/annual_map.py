"""The Beam pipeline of the main job: tile-years are planned, their blocks classified, staged, assembled, registered.

Elements carry names and addresses; pixels never cross a shuffle. There is no barrier before publishing: whichever
worker stages the last block of a tile-year assembles it. Only the accounts and what is derived from the items are
grouped.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
from apache_beam.metrics import Metrics

from catalog.errors import BadInput, LandloomError, ServerUnavailable, SourceUnavailable
from catalog.manifest import Manifest, Period, item_key
from catalog.model import ModelSpec, Network
from pipelines.assemble import CannotPublish, publish
from pipelines.classify import BlockReport, classify_block
from pipelines.job import Job, Step
from pipelines.logfmt import line
from pipelines.plan import ALREADY_PUBLISHED, Planned
from pipelines.read import SceneReader
from pipelines.records import EndedTileYear, Failure, PlannedTileYear
from pipelines.register import Register
from pipelines.request import Request, source_of
from pipelines.stage import is_complete, stage, staged_blocks
from pipelines.tries import WorkerDied, noted_try
from services.inference import open_network, reach_network

log = logging.getLogger(__name__)

Outcome = dict[str, Any]
"""What became of one block or one attempt to publish: `block` (None for the tile-year), `state`, `reason`, figures."""


# One network and one reader per worker process and run, whatever the number of bundles and DoFn instances.
_network_here = functools.lru_cache(maxsize=1)(open_network)
_second_stage_here = functools.lru_cache(maxsize=1)(open_network)
_network_served = functools.lru_cache(maxsize=1)(reach_network)


@functools.lru_cache(maxsize=1)
def _reader(run: str, retry_seconds: float) -> SceneReader:
    return SceneReader(retry_seconds)


class _Publisher(Step):
    """Publishes a tile-year, and writes down that it did."""

    def _publish(self, manifest: Manifest) -> Iterator[tuple[str, Outcome]]:
        try:
            made = publish(self._store, manifest, overwrite=self._job.overwrite)
        except CannotPublish as error:
            log.warning(line("not published", tile_year=manifest.id, reason=error))
            yield manifest.key, {"block": None, "state": "failed", "reason": str(error)}
            return
        if made:
            mine = [figures for run, figures in made if run == self._job.run]
            blocks = {"done": len(mine), "staged before": len(made) - len(mine)}
            self._records.end(
                EndedTileYear(
                    id=manifest.id, state="published", item=manifest.item_key, blocks=blocks, figures=_sum(mine)
                )
            )


class PlanTileYear(Step):
    """A tile-year to its blocks, each as `(manifest key, block)`.

    What is not to be mapped ends here; of what is published already the item's key goes to the output `PUBLISHED`.
    """

    PUBLISHED = "published"

    def __init__(self, job: Job, request: Request):
        super().__init__(job)
        self._request = request

    def process(self, element: tuple[str, Period]) -> Iterator[Any]:
        """See the class."""
        tile, period = element
        try:
            source = source_of(self._job.run, self._request)
            planned = self._request.plan(tile, period, source, self._store)
        except (SourceUnavailable, BadInput) as error:
            # A week's run does not stop for one place of which the source lacks something.
            log.warning(line("not planned", tile_year=f"{tile}-{period.label}", reason=error))
            planned = Planned(tile, period, None, refused=str(error))
        if planned.manifest is None:
            state: Literal["skipped", "dead-lettered"] = "skipped" if planned.skipped else "dead-lettered"
            reason = planned.skipped or planned.refused
            self._records.end(EndedTileYear(id=planned.id, state=state, reason=reason))
            if planned.skipped == ALREADY_PUBLISHED:
                yield beam.pvalue.TaggedOutput(self.PUBLISHED, item_key(tile, period, self._request.settings.model.gsd))
            return
        manifest = planned.manifest
        self._store.write(manifest.key, manifest.to_json())
        self._records.plan(
            PlannedTileYear(
                id=manifest.id,
                manifest=manifest.key,
                fingerprint=manifest.fingerprint,
                item=manifest.item_key,
                staging=manifest.staging,
                blocks=len(manifest.blocks),
                staged_before=len(staged_blocks(self._store, manifest)),
                pixels=sum(manifest.block(one).pixels for one in manifest.blocks),
                scenes_left_out=len(manifest.excluded),
            )
        )
        # Large blocks first within a tile-year, so that workers that take turns end together.
        for one in sorted(manifest.blocks, key=lambda one: -manifest.block(one).pixels):
            yield manifest.key, one


class ClassifyBlock(Step):
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
            yield key, self._failed(manifest, number, error)
            return
        if network.spec != manifest.model:
            raise LandloomError(
                f"Network {network.spec.id} at hand (SHA-256 {network.spec.sha256[:12]}) is not the one of "
                f"{manifest.id} ({manifest.model.sha256[:12]}). Give every worker the network of the manifest."
            )
        second = _second_stage_here(self._job.second_stage) if manifest.second_stage else None
        if second and second.spec != manifest.second_stage:
            raise LandloomError(
                f"Second stage {second.spec.id} at hand (SHA-256 {second.spec.sha256[:12]}) is not the one of "
                f"{manifest.id}. Give every worker the second stage of the manifest."
            )
        try:
            with (
                noted_try(self._store, manifest, number, self._job.run),
                tempfile.TemporaryDirectory(prefix="landloom-") as name,
            ):
                reader, folder = _reader(self._job.run, self._job.retry_seconds), Path(name)
                voted, report = classify_block(manifest, number, reader, network, folder, second)
                stage(self._store, manifest, number, voted, report, self._job.run, folder)
        except (SourceUnavailable, ServerUnavailable, WorkerDied) as error:
            yield key, self._failed(manifest, number, error)
            return
        _count(report)
        _log(manifest, number, report)
        yield key, {"block": number, "state": "done", "figures": report.figures}

    def _failed(self, manifest: Manifest, number: int, error: LandloomError) -> Outcome:
        log.warning(line("block failed", tile_year=manifest.id, block=number, reason=error))
        self._records.fail(Failure(id=manifest.id, block=number, reason=str(error)))
        return {"block": number, "state": "failed", "reason": str(error)}

    def _network(self, spec: ModelSpec) -> Network:
        if self._job.inference:
            return _network_served(self._job.inference, spec, self._job.retry_seconds)
        return _network_here(self._job.model)


class PublishWhenComplete(_Publisher):
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


class Account(_Publisher):
    """All outcomes of a tile-year to the key of its item, if it is published; what became of it is written down."""

    def process(self, element: tuple[str, Iterable[Outcome]]) -> Iterator[str]:
        """See the class."""
        key, found = element
        outcomes, manifest = list(found), self._look_up(key)
        failed = [outcome for outcome in outcomes if outcome["state"] == "failed"]
        if not self._is_published(manifest) and not failed:
            # Another run may have taken the staged blocks just as this one was about to assemble them.
            outcomes += [outcome for _, outcome in self._publish(manifest)]
            failed = [outcome for outcome in outcomes if outcome["state"] == "failed"]
        if published := self._is_published(manifest):
            self._store.delete(self._store.list(manifest.staging))
            yield manifest.item_key
        if self._records.has_ended(manifest.id):
            return
        blocks = [outcome for outcome in outcomes if outcome["block"] is not None]
        counts = {
            state: sum(outcome["state"] == state for outcome in blocks) for state in ("done", "staged before", "failed")
        }
        self._records.end(
            EndedTileYear(
                id=manifest.id,
                state="published" if published else "dead-lettered",
                reason="" if published else "; ".join(sorted({outcome["reason"] for outcome in failed})),
                item=manifest.item_key if published else "",
                blocks=counts,
                figures=_sum(outcome["figures"] for outcome in blocks if "figures" in outcome),
            )
        )


class PlanTileYears(beam.PTransform):
    """From root: tile-years are planned; gives their `blocks`, and the items that are `published` already."""

    def __init__(self, job: Job, request: Request):
        super().__init__()
        self._job, self._request = job, request

    def expand(self, root: beam.pvalue.PBegin) -> beam.pvalue.DoOutputsTuple:
        """See the class."""
        return (
            root
            # Listed by a worker: tens of thousands would be too large for a job's own description.
            | "Begin" >> beam.Impulse()
            | "List" >> beam.FlatMap(_tile_years, self._request)
            # By name, not by Reshuffle: of two in a row Flink leaves out the second, which deals out the blocks.
            | "Spread" >> beam.GroupByKey()
            | "Tile-year" >> beam.FlatMap(_each)
            | "Plan"
            >> beam.ParDo(PlanTileYear(self._job, self._request)).with_outputs(PlanTileYear.PUBLISHED, main="blocks")
        )


class MapTileYears(beam.PTransform):
    """From root: tile-years are planned and mapped; gives the collections that grew."""

    def __init__(self, job: Job, request: Request):
        super().__init__()
        self._job, self._request = job, request

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[str]:
        """See the class."""
        planned = root | "Tile-years" >> PlanTileYears(self._job, self._request)
        mapped = (
            planned.blocks
            # So planning and classifying are kept apart, too, and a tile's blocks go to many workers: in turn,
            # since grouping by a number would leave the parts' sizes to hashes.
            | "Spread blocks" >> beam.Reshuffle()
            | "Classify" >> beam.ParDo(ClassifyBlock(self._job))
            | "Publish" >> beam.ParDo(PublishWhenComplete(self._job))
            | "By tile-year" >> beam.GroupByKey()
            | "Account" >> beam.ParDo(Account(self._job))
        )
        return (mapped, planned[PlanTileYear.PUBLISHED]) | "Items" >> beam.Flatten() | "Register" >> Register(self._job)


def _tile_years(_: bytes, request: Request) -> Iterator[tuple[str, tuple[str, Period]]]:
    for tile, period in request.tile_years():
        yield f"{tile}-{period.label}", (tile, period)


def _each(named: tuple[str, Iterable[tuple[str, Period]]]) -> Iterable[tuple[str, Period]]:
    return named[1]


def _log(manifest: Manifest, number: int, report: BlockReport) -> None:
    where = {"tile_year": manifest.id, "block": number}
    log.info(line("block done", **where, **report.figures))
    for event, found in (("scene left out", report.problems), ("scene implausible", report.warnings)):
        for one in found:
            log.info(line(event, **where, scene=one.scene, reason=one.reason))


def _count(report: BlockReport) -> None:
    for name, value in report.figures.items():
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
