"""One run from the launcher's side: plan, write the manifests, run the pipeline, watch it, settle the accounts."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from catalog.collections import add_items
from catalog.index import build_index
from catalog.items import published_fingerprint
from catalog.manifest import Manifest, item_key
from catalog.models import add_model
from catalog.store import Store
from pipelines.annual_map import Job, MapTileYears
from pipelines.plan import ALREADY_PUBLISHED, Planned
from pipelines.runner import run_pipeline, watched
from services.inference import model_file, model_provenance

_WATCHED = 16


@dataclass
class Accounts:
    """What became of every planned tile-year: planned = published + skipped + dead-lettered."""

    run: str
    planned: int = 0
    published: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Tile-year to reason: already published, or nothing to map it from."""
    dead_lettered: dict[str, str] = field(default_factory=dict)
    """Tile-year to reason; the next run takes them up again."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Blocks done, staged before, failed and not reached."""
    figures: dict[str, float] = field(default_factory=dict)
    """Sums over all blocks: pixels, chips, seconds."""
    seconds: float = 0.0

    def to_json(self) -> bytes:
        """The bytes that are written beside the output."""
        return json.dumps(self.__dict__, indent=1).encode()


def map_tile_years(
    job: Job,
    planned: Sequence[Planned],
    beam_options: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Accounts:
    """Map what was planned.

    Args:
        job: what the workers need.
        planned: from `plan`.
        beam_options: Beam's own command-line options.
        on_progress: called now and then with the blocks finished and planned.

    Returns:
        The accounts, also written to `runs/{run}.json` in the output, whatever happens.

    Raises:
        StoreError: the output cannot be written. What is staged stays, and the next run goes on from there.
    """
    store, started = job.store(), datetime.now(UTC)
    accounts = Accounts(job.run, planned=len(planned))
    accounts.skipped = {one.id: one.skipped for one in planned if one.skipped}
    accounts.dead_lettered = {one.id: one.refused for one in planned if one.refused}
    manifests = [one.manifest for one in planned if one.manifest]
    try:
        for manifest in manifests:
            store.write(manifest.key, manifest.to_json())
        if manifests:
            add_model(store, manifests[0].model, model_file(job.model), model_provenance(job.model))
            total = sum(len(manifest.blocks) for manifest in manifests)
            _import_meanwhile("stac_geoparquet.arrow")
            with watched(_counter(store, manifests), total, on_progress):
                run_pipeline(MapTileYears(job, manifests), beam_options)
    finally:
        for manifest in manifests:
            _settle(job, manifest, accounts)
        accounts.seconds = round((datetime.now(UTC) - started).total_seconds(), 3)
    _update_collections(store, planned, accounts)
    store.write(f"runs/{job.run}.json", accounts.to_json())
    return accounts


def _import_meanwhile(module: str) -> None:
    """What only the end of a run needs is imported while the workers work: nobody waits for it, then."""
    threading.Thread(target=importlib.import_module, args=(module,), name=f"import {module}", daemon=True).start()


def _settle(job: Job, manifest: Manifest, accounts: Accounts) -> None:
    """Put one tile-year where it belongs, by what stands in the store rather than by what the runner says."""
    store = job.store()
    record: dict[str, Any] = {"published": False, "blocks": {}, "reasons": [], "figures": {}}
    key = f"runs/{job.run}/{manifest.id}.json"
    if store.exists(key):
        record = json.loads(store.read(key))
    if record["published"] or published_fingerprint(store, manifest.item_key) == manifest.fingerprint:
        accounts.published.append(manifest.id)
    else:
        accounts.dead_lettered[manifest.id] = "; ".join(record["reasons"]) or "the run ended before it was finished"
    reached = sum(record["blocks"].values())
    for state, count in {**record["blocks"], "not reached": len(manifest.blocks) - reached}.items():
        accounts.blocks[state] = accounts.blocks.get(state, 0) + count
    for name, value in record["figures"].items():
        accounts.figures[name] = round(accounts.figures.get(name, 0) + value, 3)


def _update_collections(store: Store, planned: Sequence[Planned], accounts: Accounts) -> None:
    """Extent, summaries, links and index are derived: a run that was killed before this is caught up by the next."""
    done = [one for one in planned if one.id in set(accounts.published) or one.skipped == ALREADY_PUBLISHED]
    for collection in sorted({one.period.collection for one in done}):
        keys = [item_key(one.tile, one.period) for one in done if one.period.collection == collection]
        add_items(store, collection, (json.loads(store.read(key)) for key in keys))
        build_index(store, collection)


def _counter(store: Store, manifests: Sequence[Manifest]) -> Callable[[], int]:
    """Counts the finished blocks."""
    waiting, finished = list(manifests), 0

    def count() -> int:
        nonlocal finished
        staged = 0
        # Tile-years are worked on in order: looking at the first few keeps this cheap for thousands.
        for manifest in waiting[:_WATCHED]:
            if published_fingerprint(store, manifest.item_key) == manifest.fingerprint:
                waiting.remove(manifest)
                finished += len(manifest.blocks)
            else:
                staged += len(store.list(manifest.staging))
        return finished + staged

    return count
