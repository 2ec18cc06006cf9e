"""The end of a run: what is derived from the items grows by those that were published, zone by zone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import apache_beam as beam

from catalog.collections import Gain, grow, link_items
from catalog.index import grow_index, write_part
from catalog.items import zone_of
from pipelines.job import Job, Step


class Register(beam.PTransform):  # type: ignore[misc]
    """Keys of published items to the collections that grew by them."""

    def __init__(self, job: Job):
        super().__init__()
        self._job = job

    def expand(self, items: beam.PCollection[str]) -> beam.PCollection[str]:
        """See the class."""
        return (
            items
            | "Zone" >> beam.Map(_zone_of)
            | "By zone" >> beam.GroupByKey()
            | "Index part" >> beam.ParDo(WriteIndexPart(self._job))
            | "By collection" >> beam.GroupByKey()
            | "Collection" >> beam.ParDo(GrowCollection(self._job))
        )


class WriteIndexPart(Step):
    """`((collection, zone), item keys)` to `(collection, (part's key, what its items add))`."""

    def process(self, element: tuple[tuple[str, str], Iterable[str]]) -> Iterator[tuple[str, tuple[str, Gain]]]:
        """See the class."""
        (collection, zone), keys = element
        items = [(key, json.loads(self._store.read(key))) for key in sorted(set(keys))]
        gain = Gain.of(item for _, item in items)
        link_items(self._store, collection, gain)
        part = f"{self._records.folder}/items/{collection}-{zone}.parquet"
        write_part(self._store, part, items)
        yield collection, (part, gain)


class GrowCollection(Step):
    """A collection grows by all that was published: extent, summaries, index."""

    def process(self, element: tuple[str, Iterable[tuple[str, Gain]]]) -> Iterator[str]:
        """See the class."""
        collection, found = element
        parts, whole = [], Gain()
        for part, gain in found:
            parts.append(part)
            whole = whole.join(gain, collection)
        grow(self._store, collection, whole)
        grow_index(self._store, collection, sorted(parts))
        self._store.delete(parts)
        yield collection


def _zone_of(key: str) -> tuple[tuple[str, str], str]:
    """An item's key under its collection and grid zone."""
    collection, tile, *_ = key.split("/")
    return (collection, zone_of(tile)), key
