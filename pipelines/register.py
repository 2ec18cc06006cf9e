"""The end of a run: what is derived from the items grows by those that were published, zone by zone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam

from catalog.collections import Gain, grow, link_items
from catalog.index import Part, name_parts, write_part, zone_of_part
from catalog.items import items_of
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
    """`((collection, zone), item keys)` to `(collection, (part of its index, what the items add))`."""

    def process(self, element: tuple[tuple[str, str], Iterable[str]]) -> Iterator[tuple[str, tuple[Part, Gain]]]:
        """See the class."""
        (collection, _), found = element
        keys = sorted(set(found))
        gain = Gain.of(item for _, item in items_of(self._store, keys))
        link_items(self._store, collection, gain)
        yield collection, (write_part(self._store, collection, keys), gain)


class GrowCollection(Step):
    """A collection grows by all that was published: extent, summaries, index."""

    def process(self, element: tuple[str, Iterable[tuple[Part, Gain]]]) -> Iterator[str]:
        """See the class."""
        collection, found = element
        parts, whole = [], Gain()
        for part, gain in found:
            parts.append(part)
            whole = whole.join(gain, collection)
        grow(self._store, collection, whole)
        name_parts(self._store, collection, parts)
        yield collection


def _zone_of(key: str) -> tuple[tuple[str, str], str]:
    """An item's key under its collection and the part of its index."""
    return (key.split("/")[0], zone_of_part(key)), key
