"""The Beam pipeline that makes a training set, whatever its chips are made from.

Elements tell one chip from another; pixels never cross a shuffle. Every candidate is accounted for: written (or
written before), not drawn, or dropped with the reason.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from catalog.errors import BadInput
from catalog.store import Store
from catalog.training_set import TrainingSet, by_split, counts_of, is_item, open_training_set
from catalog.tree import class_tree
from pipelines.chip_source import ChipSource, Cutter
from pipelines.runner import run_pipeline, watched


@dataclass(frozen=True)
class Report:
    """What became of the chips that could be: candidates = written + not drawn + dropped."""

    candidates: int
    written: int
    not_drawn: int
    dropped: dict[str, str]
    """Candidate to reason."""
    reasons: dict[str, int]
    """How many were dropped, by the kind of reason: what stands before its colon."""
    unused: dict[str, str]
    """Scene that was found to the reason why it was not used."""
    splits: dict[str, dict[str, Any]]
    """Chips, places and labelled pixels of each class, by split."""
    biomes: dict[str, dict[str, Any]]
    """The same by biome, where known."""
    classes: tuple[str, ...]
    """In their order."""


def make_training_set(
    source: ChipSource,
    store: Store,
    name: str,
    beam_options: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Make a training set, or finish one that was stopped.

    Args:
        source: of the chips.
        store: the training set's.
        name: its ID.
        beam_options: Beam's own command-line options.
        on_progress: called now and then with the steps done, and in all.

    Returns:
        What became of the candidates, also written to `report.json` in the training set.

    Raises:
        BadInput: the store holds another set, or no candidate could be used.
        SourceUnavailable: a scene could not be read for minutes; what is written stays.
        StoreError: the output cannot be written.
    """
    made = TrainingSet(
        id=name,
        title=f"Training set {name}",
        description="Chips with labels, for networks that map land cover",
        bands=source.bands,
        classes=class_tree(source.finer, "the legend").names,
        parents=source.finer,
    )
    _refuse_another(store, made)
    store.delete(store.list("dropped/"))

    def done() -> int:
        return sum(map(is_item, store.list())) + len(store.list("dropped/")) + source.steps_done(store)

    with watched(done, source.steps, on_progress):
        run_pipeline(_WriteChips(source, store, made), beam_options)
    settled = source.settle(store)
    dropped = source.dropped | settled.dropped
    for key in store.list("dropped/"):
        dropped[Path(key).stem] = store.read(key).decode()
    reasons = Counter(reason.split(":")[0] for reason in dropped.values())
    written = made.publish(store) if any(map(is_item, store.list())) else []
    biomes = sorted({chip.biome for chip in written if chip.biome})
    report = Report(
        candidates=source.candidates,
        written=len(written),
        not_drawn=settled.not_drawn,
        dropped=dict(sorted(dropped.items())),
        reasons=dict(reasons.most_common()),
        unused=dict(sorted(source.unused.items())),
        splits=by_split(written),
        biomes={biome: counts_of(chip for chip in written if chip.biome == biome) for biome in biomes},
        classes=made.classes,
    )
    store.write("report.json", json.dumps(dataclasses.asdict(report), indent=1).encode())
    if not written:
        one_of_each = {reason.split(":")[0]: f"{chip}: {reason}" for chip, reason in report.dropped.items()}
        told = "; ".join(f"{count} as {one_of_each[kind]}" for kind, count in reasons.most_common(4))
        raise BadInput(f"None of {report.candidates} chips can be used ({told}). See report.json.")
    return report


class _WriteChips(beam.PTransform):
    def __init__(self, source: ChipSource, store: Store, made: TrainingSet):
        super().__init__()
        self._chips, self._write = source.chips(store), _WriteChip(source.cutter, store, made)

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[None]:
        # Grouping by themselves spreads the chips over the workers.
        return (
            root
            | "Chips" >> self._chips
            | "Each" >> beam.Map(lambda element: (element, None))
            | "Spread" >> beam.GroupByKey()
            | "Chip" >> beam.Map(lambda grouped: grouped[0])
            | "Write" >> beam.ParDo(self._write)
        )


class _WriteChip(beam.DoFn):
    """Writes a chip, or why it cannot be used; returns at once if it is there."""

    def __init__(self, cutter: Cutter, store: Store, made: TrainingSet):
        self._cutter, self._store, self._made = cutter, store, made

    def process(self, element: str) -> Iterator[None]:
        chip = self._cutter.chip(self._store, element)
        if not self._store.exists(f"{chip.folder}/{chip.id}.json"):
            try:
                self._made.write_chip(self._store, chip, self._cutter.pixels(self._store, element))
            except BadInput as error:
                self._store.write(f"dropped/{chip.id}.txt", str(error).encode())
        yield from ()


def _refuse_another(store: Store, made: TrainingSet) -> None:
    if not store.exists("collection.json"):
        return
    there, _ = open_training_set(store)
    if any(getattr(there, one) != getattr(made, one) for one in ("id", "bands", "classes", "parents")):
        out, told = store.href("collection.json").rpartition("/")[0], f"{', '.join(there.bands)}"
        told += "".join(f"; {name} of {parent}" for name, parent in there.parents)
        raise BadInput(f"{out!r} holds the training set {there.id} ({told}). Give another folder.")
