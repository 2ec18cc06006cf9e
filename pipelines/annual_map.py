"""The Beam pipeline of the main job: tile-years are planned, their blocks classified, staged, assembled, registered.

Elements carry names and addresses; pixels never cross a shuffle. There is no barrier before publishing: whichever
worker stages the last block of a tile-year assembles it. Only the accounts and what is derived from the items are
grouped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import apache_beam as beam

from catalog.errors import BadInput, SourceUnavailable
from catalog.manifest import Manifest, Period, item_key
from pipelines.assemble import CannotPublish, publish
from pipelines.block_step import ClassifyBlock, Outcome
from pipelines.job import Job, Step
from pipelines.logfmt import line
from pipelines.plan import ALREADY_PUBLISHED, Planned
from pipelines.records import EndedTileYear, PlannedTileYear
from pipelines.register import Register
from pipelines.request import Request, source_of
from pipelines.stage import is_complete, staged_blocks

log = logging.getLogger(__name__)


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
        # Of one that a worker did for another both tell: the one who did it comes last, and counts.
        told = sorted((one for one in outcomes if one["block"] is not None), key=lambda one: "figures" in one)
        blocks = list({one["block"]: one for one in told}.values())
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


def _sum(figures: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in figures:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return {name: round(value, 3) for name, value in total.items()}
