"""Chips cut from scenes: counted first, drawn by their classes, then written.

Under `candidates/` of the training set: what was planned (`plan.json`, and a file a sighting), so that a resumed run
never searches again, and what was counted, so that a teacher is asked only once about what is not drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import apache_beam as beam

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES
from catalog.radar import RADAR_CHANNELS
from catalog.sensors import ALL_BANDS
from catalog.store import Store
from pipelines.candidates import Candidates
from pipelines.chip_source import ChipSource, Settled
from pipelines.label_sources import LabelSource
from pipelines.sampling import Candidate, draw
from pipelines.scene_cutter import Choice, SceneCutter, find_sighting, sighting_key

_PLAN, _DRAWN = "candidates/plan.json", "candidates/drawn.json"
_TOGETHER = 32
"""Squares counted as one element."""


def scene_chips(
    store: Store,
    find: Callable[[], Candidates],
    request: dict[str, Any],
    labels: LabelSource,
    choice: Choice,
    side: int,
    bands: tuple[str, ...] = (),
    retry_seconds: float = 300.0,
    classes: tuple[str, ...] = MODEL_CLASSES,
) -> ChipSource:
    """Plan chips from scenes, or take up what was planned.

    Args:
        store: the output; the plan is written there.
        find: finds the candidates, if they are not planned yet.
        request: all that decides the outcome, as JSON; a set is only ever made from one.
        labels: gives the labels.
        choice: of the candidates.
        side: of a chip, pixels.
        bands: to write; by default those that all scenes have of the bands that were asked for.
        retry_seconds: how long a source that fails in ways that may pass is tried again.
        classes: that labels may name, in order.

    Raises:
        BadInput: no candidate, or the output holds a set made from another request.
    """
    choice.check()
    if store.exists(_PLAN):
        plan = json.loads(store.read(_PLAN))
        _refuse_another(store, plan["request"], request)
    elif store.exists("collection.json"):
        raise BadInput(f"{store.href('collection.json')!r} is of a training set from ready chips. Give another folder.")
    else:
        plan = _plan(store, find(), request, bands)
    elements = [
        f"{name}/{start}" for name, squares in plan["sightings"].items() for start in range(0, squares, _TOGETHER)
    ]
    bands = tuple(plan["bands"])
    cutter = SceneCutter(labels, choice, side, bands, request["source"], retry_seconds, uuid4().hex, classes)
    squares = sum(plan["sightings"].values())
    return ChipSource(
        bands=cutter.bands,
        candidates=squares + len(plan["dropped"]),
        steps=len(elements) + min(squares, choice.count or squares),
        chips=lambda store: CountAndDraw(store, cutter, elements),
        cutter=cutter,
        dropped=plan["dropped"],
        unused=plan["unused"],
        settle=lambda store: _settle(store, elements),
        steps_done=lambda store: sum(key.endswith(".counted.json") for key in store.list("candidates/")),
    )


class CountAndDraw(beam.PTransform):
    """From root to the elements of the chips to write."""

    def __init__(self, store: Store, cutter: SceneCutter, elements: Sequence[str]):
        super().__init__()
        self._store, self._cutter, self._elements = store, cutter, elements

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[str]:
        """See the class."""
        return (
            root
            | "Squares" >> beam.Create(list(enumerate(self._elements)), reshuffle=False)
            # Grouping by a number of its own spreads the elements over the workers.
            | "Spread squares" >> beam.GroupByKey()
            | "Some squares" >> beam.FlatMap(lambda numbered: numbered[1])
            | "Count" >> beam.ParDo(_Count(self._store, self._cutter))
            | "All counts" >> beam.GroupByKey()
            | "Draw" >> beam.ParDo(_Draw(self._store, self._cutter.choice))
        )


class _Count(beam.DoFn):
    """Counts the classes of some squares of a sighting; returns at once what was counted before."""

    def __init__(self, store: Store, cutter: SceneCutter):
        self._store, self._cutter = store, cutter

    def process(self, element: str) -> Iterator[tuple[int, tuple[str, Candidate]]]:
        key = _counted_key(element)
        if self._store.exists(key):
            counted = json.loads(self._store.read(key))
        else:
            name, _, start = element.partition("/")
            squares = len(find_sighting(self._store, name).squares)
            some = [f"{name}/{number}" for number in range(int(start), min(int(start) + _TOGETHER, squares))]
            counted = {one: self._cutter.count(self._store, one) for one in some}
            self._store.write(key, json.dumps(counted).encode())
        for one, told in counted.items():
            if "pixels" in told:
                yield 0, (one, Candidate(told["id"], told["biome"], told["pixels"]))


class _Draw(beam.DoFn):
    """All candidates to the elements that are drawn."""

    def __init__(self, store: Store, choice: Choice):
        self._store, self._choice = store, choice

    def process(self, grouped: tuple[int, Iterable[tuple[str, Candidate]]]) -> Iterator[str]:
        candidates = list(grouped[1])
        element_of = {candidate.id: element for element, candidate in candidates}
        drawn = draw([candidate for _, candidate in candidates], self._choice.count, self._choice.seed)
        self._store.write(_DRAWN, json.dumps({"not_drawn": len(candidates) - len(drawn)}).encode())
        yield from (element_of[one.id] for one in drawn)


def _plan(store: Store, found: Candidates, request: dict[str, Any], bands: tuple[str, ...]) -> dict[str, Any]:
    """Write down what there is, the plan last."""
    if not found.sightings:
        reasons = sorted({*found.dropped.values(), *found.unused.values()})[:3]
        raise BadInput(
            f"There is nothing to make chips from ({'; '.join(reasons) or 'no square lies in the area'}). "
            "Check --source, --year and the area."
        )
    scenes = [scene for one in found.sightings for scene in one.datatake.scenes]
    used = {scene.id for scene in scenes}
    shared = set(ALL_BANDS).intersection(*(scene.bands for scene in scenes))
    radar = any(one.radar for one in found.sightings)
    plan = {
        "request": request,
        "bands": [*(bands or [band for band in ALL_BANDS if band in shared]), *(RADAR_CHANNELS if radar else ())],
        "sightings": {one.id: len(one.squares) for one in found.sightings},
        "dropped": found.dropped,
        "unused": {scene: reason for scene, reason in found.unused.items() if scene not in used},
    }
    with ThreadPoolExecutor(16) as writers:
        list(
            writers.map(lambda one: store.write(sighting_key(one.id), one.model_dump_json().encode()), found.sightings)
        )
    store.write(_PLAN, json.dumps(plan, indent=1).encode())
    return plan


def _settle(store: Store, elements: Sequence[str]) -> Settled:
    with ThreadPoolExecutor(16) as readers:
        counted = [json.loads(content) for content in readers.map(store.read, map(_counted_key, elements))]
    told = [one for group in counted for one in group.values()]
    not_drawn = json.loads(store.read(_DRAWN))["not_drawn"] if any("pixels" in one for one in told) else 0
    return Settled(not_drawn, {one["id"]: one["dropped"] for one in told if "dropped" in one})


def _refuse_another(store: Store, before: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    differs = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differs:
        raise BadInput(
            f"{store.href('collection.json').rpartition('/')[0]!r} was begun with {differs[0]} = "
            f"{before.get(differs[0])!r}, now it is {now.get(differs[0])!r}. Give what it was, or another --out."
        )


def _counted_key(element: str) -> str:
    return f"candidates/{element.replace('/', '.')}.counted.json"
