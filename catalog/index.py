"""The index: a collection's items as one STAC GeoParquet, for geopandas, DuckDB and the embedded API.

It is built from the items' JSON, or grows by parts: each is written once, by whichever worker has the items at hand,
and the index is then joined from the old one and the parts as Arrow batches, without reading an item's JSON again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from catalog.errors import StoreError
from catalog.garbage import rare_collections
from catalog.items import items_by_key
from catalog.store import Store

INDEX = "items.parquet"
_BATCH = 1000
"""Items held in memory at a time."""
_TRIES = 10


def build_index(store: Store, collection: str) -> int:
    """Write `{collection}/items.parquet` from the items' JSON; hrefs, relative in the items, are absolute in it.

    Items are streamed, so memory does not grow with their number. By a conditional write: of two runs that end at
    once, the later index holds the items of both.

    Args:
        store: the output.
        collection: its ID.

    Returns:
        Number of items; with none, nothing is written.
    """
    key = f"{collection}/{INDEX}"
    for _ in range(_TRIES):
        # Before the items are listed: whoever replaces the index after this may know more than we do.
        version = store.version(key)
        with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
            parquet = Path(folder) / INDEX
            items = (_absolute(store, name, item) for name, item in items_by_key(store, collection))
            count = write_parquet(items, parquet)
            if not count or store.write_if(key, parquet, version):
                return count
    raise _beaten(store, key)


def write_part(store: Store, key: str, items: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Write some items, with their names, as a part for `grow_index`."""
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        parquet = Path(folder) / INDEX
        if write_parquet((_absolute(store, name, item) for name, item in items), parquet):
            store.upload(key, parquet)


def grow_index(store: Store, collection: str, parts: Sequence[str]) -> None:
    """Let `{collection}/items.parquet` grow by parts from `write_part`; their items replace those of the same ID.

    By a conditional write, as `build_index`. Few items are held at a time, but all IDs of the parts. Where there are
    items of an older kind, whose columns do not go with the parts', the index is built anew.

    Args:
        store: the output.
        collection: its ID.
        parts: names of the parts, no item in two of them.
    """
    from pyarrow import ArrowTypeError  # Takes a while, and most commands do without.

    key = f"{collection}/{INDEX}"
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        files = [Path(folder) / f"part-{number}.parquet" for number in range(len(parts))]
        for part, file in zip(parts, files, strict=True):
            store.download(part, file)
        for _ in range(_TRIES):
            version, old, new = store.version(key), Path(folder) / "old.parquet", Path(folder) / INDEX
            if version is not None:
                store.download(key, old)
            try:
                _join(old if version is not None else None, files, new)
            except ArrowTypeError:
                build_index(store, collection)
                return
            if store.write_if(key, new, version):
                return
    raise _beaten(store, key)


def _join(old: Path | None, parts: Sequence[Path], new: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetFile
    from stac_geoparquet.arrow import to_parquet

    files = [ParquetFile(path) for path in ([old] if old else []) + list(parts)]
    # Not all items have the same assets.
    schema = pa.unify_schemas([file.schema_arrow.remove_metadata() for file in files], promote_options="permissive")
    ids = [file.read(columns=["id"])["id"].cast(pa.string()) for file in files[len(files) - len(parts) :]]
    replaced = pa.chunked_array([chunk for one in ids for chunk in one.chunks], pa.string())

    def batches() -> Iterator[pa.RecordBatch]:
        for number, file in enumerate(files):
            for batch in file.iter_batches(_BATCH):
                table = pa.Table.from_batches([batch.replace_schema_metadata(None)])
                if old and number == 0:
                    table = table.filter(pc.invert(pc.is_in(table["id"].cast(pa.string()), replaced)))
                # Fills in what these items lack.
                table = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
                yield from table.select(schema.names).to_batches()

    to_parquet(pa.RecordBatchReader.from_batches(schema, batches()), new)


def write_parquet(items: Iterable[dict[str, Any]], parquet: Path) -> int:
    """Items as STAC GeoParquet; they are read once, and few are held at a time.

    Returns:
        Number of items; with none, nothing is written.
    """
    with rare_collections():
        return _write(items, parquet)


def _write(items: Iterable[dict[str, Any]], parquet: Path) -> int:
    lines, count = parquet.with_suffix(".ndjson"), 0
    # By way of a file: the columns are known only when all items are, and not all have the same assets.
    with lines.open("w") as file:
        for count, item in enumerate(items, start=1):  # noqa: B007  (the number is what is wanted)
            file.write(json.dumps(item) + "\n")
    if count:
        import stac_geoparquet.arrow  # Takes a second, and most commands do without.

        stac_geoparquet.arrow.parse_stac_ndjson_to_parquet(lines, parquet, chunk_size=_BATCH)
    return count


def _absolute(store: Store, key: str, item: dict[str, Any]) -> dict[str, Any]:
    folder = key.rpartition("/")[0]
    assets = {
        name: {**asset, "href": store.href(f"{folder}/{asset['href'].removeprefix('./')}")}
        for name, asset in item["assets"].items()
    }
    links = [{"rel": "self", "href": store.href(key), "type": "application/geo+json"}]
    for link in item["links"]:
        if link["rel"] == "derived_from":
            # The network lies in this catalog, scenes lie elsewhere.
            here = link["href"].startswith("../../../")
            links.append({**link, "href": store.href(link["href"][9:])} if here else link)
    return {**item, "assets": assets, "links": links}


def _beaten(store: Store, key: str) -> StoreError:
    return StoreError(f"{store.href(key)} was replaced by others {_TRIES} times in a row. Run `landloom index` later.")
