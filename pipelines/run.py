"""One run from the launcher's side: check what is asked for, run the pipeline, watch it, settle the accounts."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from catalog.items import published_fingerprint
from catalog.models import add_model
from catalog.store import Store
from pipelines.annual_map import MapTileYears
from pipelines.beam_options import option
from pipelines.job import Job
from pipelines.records import Asked, PlannedTileYear, Records
from pipelines.request import Request
from pipelines.runner import meanwhile, run_pipeline
from pipelines.standing import Standing, Watch
from services.inference import model_file, model_provenance

_BREATH = timedelta(seconds=30)


@dataclass
class Accounts:
    """What became of every planned tile-year: planned = published + skipped + dead-lettered."""

    run: str
    planned: int = 0
    published: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Tile-year to reason: already published, or nothing to map it from."""
    dead_lettered: dict[str, str] = field(default_factory=dict)
    """Tile-year to reason; `--retry`, or the next run, takes them up again."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Blocks done, staged before, failed and not reached."""
    figures: dict[str, float] = field(default_factory=dict)
    """Sums over the blocks done: pixels, chips, seconds."""
    scenes_left_out: int = 0
    """Found and not used: the manifests say which and why."""
    seconds: float = 0.0

    def to_json(self) -> bytes:
        """The bytes that are written beside the output."""
        return json.dumps(self.__dict__, indent=1).encode()


def map_tile_years(
    job: Job,
    request: Request,
    beam_options: Sequence[str] = (),
    on_progress: Callable[[Standing], None] = lambda standing: None,
) -> Accounts:
    """Map what is asked for; `request.check` is to be called before.

    Args:
        job: what the workers need.
        request: what is to be mapped.
        beam_options: Beam's own command-line options.
        on_progress: called now and then with where the run stands.

    Returns:
        The accounts, also written to `runs/{run}.json` in the output, whatever happens.

    Raises:
        StoreError: the output cannot be written. What is staged stays, and the next run goes on from there.
    """
    store, started = job.store(), datetime.now(UTC)
    records = Records(store, job.run)
    asked = begin(job, request)
    if option(beam_options, "--runner") is None:
        _import_meanwhile("stac_geoparquet.arrow")
    watch, breath = Watch(store, asked), started

    def look() -> None:
        nonlocal breath
        if datetime.now(UTC) - breath > _BREATH:
            records.breathe()
            breath = datetime.now(UTC)
        on_progress(watch.look())

    try:
        with meanwhile(look):
            run_pipeline(MapTileYears(job, request), beam_options)
    finally:
        accounts = _settle(store, records, request)
        accounts.seconds = round((datetime.now(UTC) - started).total_seconds(), 3)
        store.write(f"runs/{job.run}.json", accounts.to_json())
    return accounts


def begin(job: Job, request: Request) -> Asked:
    """Write down what is asked for, and publish the network, before the pipeline runs.

    Raises:
        StoreError: the output cannot be written.
    """
    asked = Asked(
        run=job.run,
        started=datetime.now(UTC),
        request=request,
        model=job.model,
        inference=job.inference,
        retry_seconds=job.retry_seconds,
        second_stage=job.second_stage,
    )
    Records(job.store(), job.run).ask(asked)
    add_model(job.store(), request.settings.model, model_file(job.model), model_provenance(job.model))
    if second := request.settings.second_stage:
        add_model(job.store(), second, model_file(job.second_stage), model_provenance(job.second_stage))
    return asked


def _import_meanwhile(module: str) -> None:
    """What the end of a run in this process needs is imported while the workers work: nobody waits for it, then."""
    threading.Thread(target=importlib.import_module, args=(module,), name=f"import {module}", daemon=True).start()


def _settle(store: Store, records: Records, request: Request) -> Accounts:
    """Put each tile-year where it belongs, by what stands in the store rather than by what the runner says."""
    accounts = Accounts(records.run, blocks=dict.fromkeys(("done", "staged before", "failed", "not reached"), 0))
    planned, ended = records.planned(), records.ended()
    for tile, period in request.tile_years():
        name = f"{tile}-{period.label}"
        plan, end = planned.get(name), ended.get(name)
        accounts.planned += 1
        accounts.scenes_left_out += plan.scenes_left_out if plan else 0
        if end:
            if end.state == "published":
                accounts.published.append(name)
            else:
                (accounts.skipped if end.state == "skipped" else accounts.dead_lettered)[name] = end.reason
            for what, value in end.figures.items():
                accounts.figures[what] = round(accounts.figures.get(what, 0) + value, 3)
        elif plan and _is_published(store, plan):
            accounts.published.append(name)
        else:
            accounts.dead_lettered[name] = f"the run ended before it was {'finished' if plan else 'planned'}"
        counted = end.blocks if end else {}
        not_reached = (plan.blocks if plan else 0) - sum(counted.values())
        for state, count in {**counted, "not reached": not_reached}.items():
            accounts.blocks[state] += count
    return accounts


def _is_published(store: Store, plan: PlannedTileYear) -> bool:
    return published_fingerprint(store, plan.item) == plan.fingerprint
