"""A worker that is done with its share of a run does what others have not begun, and leaves alone what they are at."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from catalog.errors import SourceUnavailable
from catalog.manifest import Manifest
from catalog.store import open_store
from pipelines.block_step import ClassifyBlock
from pipelines.job import Job
from pipelines.runner import name_run
from pipelines.stage import staged_blocks
from pipelines.tries import noted_try
from tests.pipelines.planned import planned_manifest


@pytest.fixture
def manifest(simulated, network, tmp_path: Path) -> Manifest:
    """Of two blocks, written down."""
    manifest = planned_manifest(simulated.catalog, tmp_path, network)
    assert len(manifest.blocks) == 2
    return manifest


@pytest.fixture
def worker(network, tmp_path) -> ClassifyBlock:
    step = ClassifyBlock(Job(name_run(), str(tmp_path), str(network), retry_seconds=0))
    step.setup()
    step.start_bundle()
    return step


def done(outcomes) -> list[tuple[int, str]]:
    """Block and state of what a step gave, windows apart."""
    found = [getattr(outcome, "value", outcome)[1] for outcome in outcomes]
    return [(one["block"], one["state"]) for one in found]


def test_what_others_have_not_begun_is_done_at_the_end(manifest, worker, tmp_path):
    mine, others = manifest.blocks
    assert done(worker.process((manifest.key, mine))) == [(mine, "done")]
    assert done(worker.finish_bundle()) == [(others, "done")]
    assert staged_blocks(open_store(str(tmp_path)), manifest) == {mine, others}
    # The one whose share it is finds it there.
    worker.start_bundle()
    assert done(worker.process((manifest.key, others))) == [(others, "staged before")]
    assert done(worker.finish_bundle()) == []


def test_what_another_is_at_is_left_to_it(manifest, worker, tmp_path):
    mine, others = manifest.blocks
    with noted_try(open_store(str(tmp_path)), manifest, others, worker._job.run):
        assert done(worker.process((manifest.key, mine))) == [(mine, "done")]
        assert done(worker.finish_bundle()) == []


@pytest.mark.slow
def test_a_block_at_which_another_helps_is_passed_over_and_done_if_it_does_not_come(manifest, worker, tmp_path):
    first, second = manifest.blocks
    with noted_try(open_store(str(tmp_path)), manifest, first, worker._job.run, gives_way_to="anybody"):
        assert done(worker.process((manifest.key, first))) == []
        assert done(worker.process((manifest.key, second))) == [(second, "done")]
        taken, started = worker._longest, time.monotonic()
        assert done(worker.finish_bundle()) == [(first, "done")]
        assert time.monotonic() - started > taken, "it was waited for as long as a block takes"


def test_a_tile_year_that_cannot_be_published_is_not_helped_with(manifest, worker, monkeypatch):
    mine, _ = manifest.blocks
    monkeypatch.setattr("pipelines.block_step.classify_block", _fail)
    assert done(worker.process((manifest.key, mine))) == [(mine, "failed")]
    assert done(worker.finish_bundle()) == []


def _fail(*_):
    raise SourceUnavailable("The source is away.")
