"""The step of the main job that takes nearly all of its time: blocks are classified and staged."""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from catalog.errors import LandloomError, ServerUnavailable, SourceUnavailable
from catalog.manifest import Manifest
from catalog.model import Network
from pipelines.classify import BlockReport, classify_block
from pipelines.job import Step
from pipelines.logfmt import line
from pipelines.read import SceneReader
from pipelines.records import Failure
from pipelines.stage import stage
from pipelines.tries import GivesWayTo, UnderWay, WorkerDied, not_begun, noted_try
from services.inference import open_network, reach_network

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.5
Outcome = dict[str, Any]
"""What became of one block or one attempt to publish: `block` (None for the tile-year), `state`, `reason`, figures."""


# One network and one reader per worker process and run, whatever the number of bundles and DoFn instances.
_network_here = functools.lru_cache(maxsize=1)(open_network)
_second_stage_here = functools.lru_cache(maxsize=1)(open_network)
_network_served = functools.lru_cache(maxsize=1)(reach_network)


@functools.lru_cache(maxsize=1)
def _reader(run: str, retry_seconds: float) -> SceneReader:
    return SceneReader(retry_seconds)


class ClassifyBlock(Step):
    """`(manifest key, block)` to `(manifest key, Outcome)`; returns at once if the block is staged.

    Runners that deal out the blocks once, as Flink does, would wait for their slowest worker. So a worker at the end of
    its share takes up what others have not begun of the same tile-years, and they pass over it.
    """

    def start_bundle(self) -> None:
        """A share begins: on Flink all that this worker gets, elsewhere a part of it."""
        self._tile_years: dict[str, None] = {}
        self._helped: list[tuple[str, int]] = []
        self._longest = 0.0

    def process(self, element: tuple[str, int]) -> Iterator[tuple[str, Outcome]]:
        """See the class."""
        key, number = element
        self._tile_years[key] = None
        try:
            yield from self._outcomes(key, number)
        except UnderWay:
            self._helped.append(element)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """See the class."""
        for key, number in self._helped:
            # Not longer than it would take to do it oneself: who helps may have died.
            until = time.monotonic() + self._longest
            while time.monotonic() < until and not self._is_done(self._look_up(key), number):
                time.sleep(_PAUSE_SECONDS)
            yield from map(_in_no_window, self._outcomes(key, number, "nobody"))
        for key in reversed(self._tile_years):
            yield from map(_in_no_window, self._help(key))

    def _help(self, key: str) -> Iterator[tuple[str, Outcome]]:
        """Blocks in others' shares, those first that they come to last."""
        manifest = self._look_up(key)
        while not (self._is_published(manifest) or self._records.has_failures(manifest.id)):
            left = not_begun(self._store, manifest, self._job.run)
            if not left:
                return
            try:
                last = min(reversed(left), key=lambda one: manifest.block(one).pixels)
                yield from self._outcomes(key, last, "anybody")
            except UnderWay:
                continue

    def _is_done(self, manifest: Manifest, number: int) -> bool:
        return self._store.exists(manifest.block_key(number)) or self._is_published(manifest)

    def _outcomes(self, key: str, number: int, gives_way_to: GivesWayTo = "helpers") -> Iterator[tuple[str, Outcome]]:
        """Make a block.

        Raises:
            UnderWay: a worker to which this one gives way is at it.
        """
        manifest = self._look_up(key)
        if self._is_done(manifest, number):
            yield key, {"block": number, "state": "staged before"}
            return
        try:
            network, second = self._network(manifest), self._second_stage(manifest)
        except ServerUnavailable as error:
            yield key, self._failed(manifest, number, error)
            return
        begun = time.monotonic()
        try:
            with (
                noted_try(self._store, manifest, number, self._job.run, gives_way_to),
                tempfile.TemporaryDirectory(prefix="landloom-") as name,
            ):
                reader, folder = _reader(self._job.run, self._job.retry_seconds), Path(name)
                voted, report = classify_block(manifest, number, reader, network, folder, second)
                stage(self._store, manifest, number, voted, report, self._job.run, folder)
        except (SourceUnavailable, ServerUnavailable, WorkerDied) as error:
            yield key, self._failed(manifest, number, error)
            return
        self._longest = max(self._longest, time.monotonic() - begun)
        _count(report)
        _log(manifest, number, report)
        yield key, {"block": number, "state": "done", "figures": report.figures}

    def _failed(self, manifest: Manifest, number: int, error: LandloomError) -> Outcome:
        log.warning(line("block failed", tile_year=manifest.id, block=number, reason=error))
        self._records.fail(Failure(id=manifest.id, block=number, reason=str(error)))
        return {"block": number, "state": "failed", "reason": str(error)}

    def _network(self, manifest: Manifest) -> Network:
        network = (
            _network_served(self._job.inference, manifest.model, self._job.retry_seconds)
            if self._job.inference
            else _network_here(self._job.model)
        )
        if network.spec != manifest.model:
            raise LandloomError(
                f"Network {network.spec.id} at hand (SHA-256 {network.spec.sha256[:12]}) is not the one of "
                f"{manifest.id} ({manifest.model.sha256[:12]}). Give every worker the network of the manifest."
            )
        return network

    def _second_stage(self, manifest: Manifest) -> Network | None:
        second = _second_stage_here(self._job.second_stage) if manifest.second_stage else None
        if second and second.spec != manifest.second_stage:
            raise LandloomError(
                f"Second stage {second.spec.id} at hand (SHA-256 {second.spec.sha256[:12]}) is not the one of "
                f"{manifest.id}. Give every worker the second stage of the manifest."
            )
        return second


def _in_no_window(outcome: tuple[str, Outcome]) -> WindowedValue:
    window = GlobalWindow()
    return WindowedValue(outcome, window.max_timestamp(), (window,))


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
