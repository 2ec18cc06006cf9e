"""Work for many places as a Beam pipeline: one element a place, no pixels and no results between workers.

What comes of a place is staged in the output, under the key of the work, and taken from there by the launcher: of a run
that was killed, what is staged is not done again. A place that fails is reported with its reason; the others are done.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator, Sequence

import apache_beam as beam

from catalog.store import NotFound, Store
from pipelines.runner import run_pipeline, watched
from services.change.runs import Outcome, Progress, Run, Work, attempt
from services.change.series import Place

_LOST = "the run ended before it was finished"


def by_beam(store: Store, beam_options: Sequence[str] = ()) -> Run:
    """Work is done by a pipeline.

    Args:
        store: the output, where results are staged.
        beam_options: Beam's own command-line options.
    """

    def run(work: Work, places: Sequence[Place], on_progress: Progress) -> Iterator[Outcome]:
        folder = f"staging/{work.key}"
        # Of a run before: they are tried again.
        store.delete(key for key in store.list(f"{folder}/") if key.endswith(".failed"))
        if places:
            # By way of the output, since it may be too large for a pipeline's own description.
            store.write(f"{folder}/work", pickle.dumps(work))
            with watched(lambda: _finished(store, folder), len(places), on_progress):
                run_pipeline(_Places(store, folder, places), beam_options)
        for place in places:
            yield _outcome(store, folder, place)
        on_progress(len(places), len(places))
        store.delete(store.list(f"{folder}/"))

    return run


class _Places(beam.PTransform):
    """From root: places, each in a bundle of its own."""

    def __init__(self, store: Store, folder: str, places: Sequence[Place]):
        super().__init__()
        self._store, self._folder, self._places = store, folder, places

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[str]:
        """See the class."""
        return (
            root
            | "Places" >> beam.Create(list(enumerate(self._places)), reshuffle=False)
            # Grouping by a number of its own lets every worker have its part.
            | "Spread" >> beam.GroupByKey()
            | "Place" >> beam.FlatMap(lambda numbered: numbered[1])
            | "Work" >> beam.ParDo(_WorkFn(self._store, self._folder))
        )


class _WorkFn(beam.DoFn):
    """A place to its name, once what comes of it is staged."""

    def __init__(self, store: Store, folder: str):
        self._store, self._folder = store, folder

    def process(self, place: Place) -> Iterator[str]:
        """See the class; returns at once if it was done before, since runners try again from the start."""
        key = f"{self._folder}/{place.name}"
        if not self._store.exists(f"{key}.done"):
            outcome = attempt(_work(self._store, self._folder), place)
            if outcome.failed:
                self._store.write(f"{key}.failed", outcome.failed.encode())
            else:
                self._store.write(f"{key}.done", outcome.content)
        yield place.name


@functools.lru_cache(maxsize=1)
def _work(store: Store, folder: str) -> Work:
    """Once per worker process, whatever the number of bundles."""
    return pickle.loads(store.read(f"{folder}/work"))


def _finished(store: Store, folder: str) -> int:
    return sum(key.endswith((".done", ".failed")) for key in store.list(f"{folder}/"))


def _outcome(store: Store, folder: str, place: Place) -> Outcome:
    for suffix in ("done", "failed"):
        try:
            content = store.read(f"{folder}/{place.name}.{suffix}")
        except NotFound:
            continue
        return Outcome(place, content) if suffix == "done" else Outcome(place, failed=content.decode())
    return Outcome(place, failed=_LOST)
