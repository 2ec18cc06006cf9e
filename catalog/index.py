"""The index: a collection's items as STAC GeoParquet, for geopandas, DuckDB and the API.

It lies in parts, `{collection}/items/{zone}-{digest}.parquet`: one for each zone of UTM, and one, `all`, where items
lie in no tile. A part is never changed. Who adds items makes another from it, and names that in the collection in its
stead. So the workers of a run index zone by zone, none of them reads all items, and who reads has whole files.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from catalog.errors import StoreError
from catalog.garbage import rare_collections
from catalog.items import item_keys, items_of
from catalog.links import dumped
from catalog.store import NotFound, Store

ROLE = "collection-mirror"
"""Of the assets of a collection that are its index."""
_ALL = "all"
_BATCH = 1000
"""Items held in memory at a time."""
_TRIES = 10
_LEFT_BEHIND = timedelta(hours=1)
"""Age from which a part that no collection names was left by a run that ended before it could."""


@dataclass(frozen=True)
class Part:
    """A file of the index, written and not named yet."""

    zone: str
    key: str
    made_from: str | None
    """The part whose place it takes."""
    items: tuple[str, ...]
    """Keys of those that it has besides."""


def zone_of_part(item_key: str) -> str:
    """The part in which an item stands: the zone of UTM, `48` of `48QUE`, or `all`."""
    found = re.fullmatch(r"(\d\d)[C-X]([A-Z]{2})?", item_key.split("/")[1])
    return found[1] if found else _ALL


def parts_of(collection: dict[str, Any]) -> dict[str, str]:
    """Keys of a collection's parts, by zone, from its JSON."""
    hrefs = [asset["href"] for asset in collection.get("assets", {}).values() if ROLE in asset.get("roles", ())]
    keys = [f"{collection['id']}/{href.removeprefix('./')}" for href in hrefs]
    return {key.rpartition("/")[2].partition("-")[0]: key for key in keys}


def build_index(store: Store, collection: str) -> int:
    """Write the index from the items' JSON; hrefs, relative in the items, are absolute in it.

    Few items are held at a time. By a conditional write: of two runs that end at once, the later index holds the items
    of both. Parts that nobody names are deleted.

    Args:
        store: the output.
        collection: its ID; `{collection}/collection.json` is there.

    Returns:
        Number of items; with none, nothing is written.
    """
    for _ in range(_TRIES):
        # Before the items are listed: whoever replaces the collection after this may know more than we do.
        content, version = store.read_versioned(_key(collection))
        known = _loaded(collection, content)
        zones: dict[str, list[str]] = defaultdict(list)
        for key in item_keys(store, collection):
            zones[zone_of_part(key)].append(key)
        if not zones:
            return 0
        named = {zone: _written(store, collection, zone, keys) for zone, keys in zones.items()}
        if store.write_if(_key(collection), dumped(_naming(known, named)), version):
            _tidy(store, collection, named, parts_of(known).values())
            return sum(map(len, zones.values()))
    raise _beaten(collection)


def write_part(store: Store, collection: str, keys: Sequence[str]) -> Part:
    """Write the part of a zone anew, with some items more or changed: for `name_parts`.

    Args:
        store: the output.
        collection: its ID.
        keys: of the items, all of one zone.
    """
    from pyarrow import ArrowTypeError  # Takes a while, and most commands do without.

    zone = zone_of_part(keys[0])
    for _ in range(_TRIES):
        content, _ = store.read_versioned(_key(collection))
        made_from = parts_of(json.loads(content)).get(zone) if content else None
        try:
            return Part(zone, _written(store, collection, zone, keys, made_from), made_from, tuple(keys))
        except NotFound:  # Another run has just named one in its stead.
            continue
        except ArrowTypeError:  # Items of an older kind, whose columns do not go with these.
            everyone = [key for key in item_keys(store, collection) if zone_of_part(key) == zone]
            return Part(zone, _written(store, collection, zone, everyone), made_from, tuple(keys))
    raise _beaten(collection)


def name_parts(store: Store, collection: str, parts: Sequence[Part]) -> None:
    """Name parts in the collection, which is there, and delete those whose places they take.

    Where another run named one of the same zone meanwhile, the part is made anew from that.

    Raises:
        StoreError: others always came before us.
    """
    for _ in range(_TRIES):
        late: list[Part] = []

        def change(content: bytes | None, parts: Sequence[Part] = parts, late: list[Part] = late) -> bytes:
            known = _loaded(collection, content)
            named = parts_of(known)
            late[:] = [part for part in parts if named.get(part.zone) not in (part.made_from, part.key)]
            return dumped(_naming(known, {**named, **{part.zone: part.key for part in parts if part not in late}}))

        named = parts_of(json.loads(store.update(_key(collection), change)))
        _tidy(store, collection, named, [part.key if part in late else part.made_from for part in parts])
        if not late:
            return
        parts = [write_part(store, collection, part.items) for part in late]
    raise _beaten(collection)


def read_index(store: Store, collection: dict[str, Any], parquet: Path) -> bool:
    """Write all parts of a collection as one local file.

    Args:
        store: where they lie.
        collection: its JSON.
        parquet: the file.

    Returns:
        Whether there are any.

    Raises:
        NotFound: a part has gone since the collection was read, whose JSON names another now.
    """
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        files = []
        for zone, key in sorted(parts_of(collection).items()):
            files.append(Path(folder) / f"{zone}.parquet")
            store.download(key, files[-1])
        if len(files) == 1:
            files[0].replace(parquet)
        elif files:
            _join(files, parquet)
    return bool(files)


def with_index_of(before: bytes | None, content: bytes) -> bytes:
    """A collection's JSON that was made anew, with the index that it had before."""
    return dumped(_naming(json.loads(content), parts_of(json.loads(before)))) if before else content


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


def _written(store: Store, collection: str, zone: str, keys: Sequence[str], made_from: str | None = None) -> str:
    """Write a part of some items and those of another part; returns its key."""
    with tempfile.TemporaryDirectory(prefix="landloom-") as name:
        folder = Path(name)
        new = folder / "new.parquet"
        write_parquet((_absolute(store, key, item) for key, item in items_of(store, keys)), new)
        if made_from:
            store.download(made_from, folder / "old.parquet")
            _join([folder / "old.parquet", new], folder / "part.parquet", replace=True)
            new = folder / "part.parquet"
        key = f"{collection}/items/{zone}-{hashlib.sha256(new.read_bytes()).hexdigest()[:12]}.parquet"
        store.upload(key, new)
    return key


def _join(files: Sequence[Path], joined: Path, replace: bool = False) -> None:
    """Write the rows of several files as one. With `replace` the last file's take the place of others of their ID."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetFile
    from stac_geoparquet.arrow import to_parquet

    parquets = [ParquetFile(path) for path in files]
    # Not all items have the same assets.
    schema = pa.unify_schemas([one.schema_arrow.remove_metadata() for one in parquets], promote_options="permissive")
    replaced = parquets[-1].read(columns=["id"])["id"].cast(pa.string())

    def batches() -> Iterator[pa.RecordBatch]:
        for one in parquets:
            for batch in one.iter_batches(_BATCH):
                table = pa.Table.from_batches([batch.replace_schema_metadata(None)])
                if replace and one is not parquets[-1]:
                    table = table.filter(pc.invert(pc.is_in(table["id"].cast(pa.string()), replaced)))
                # Fills in what these items lack.
                table = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
                yield from table.select(schema.names).to_batches()

    to_parquet(pa.RecordBatchReader.from_batches(schema, batches()), joined)


def _naming(collection: dict[str, Any], parts: dict[str, str]) -> dict[str, Any]:
    """The collection's JSON, with these parts as its index."""
    assets = {name: asset for name, asset in collection.get("assets", {}).items() if ROLE not in asset.get("roles", ())}
    for zone, key in sorted(parts.items()):
        assets["items" if zone == _ALL else f"items-{zone}"] = {
            "href": f"./{key.partition('/')[2]}",
            "type": "application/vnd.apache.parquet",
            "roles": [ROLE],
            "title": f"{'All items' if zone == _ALL else f'Items of UTM zone {zone}'}, as STAC GeoParquet",
        }
    return {**collection, "assets": assets}


def _tidy(store: Store, collection: str, named: dict[str, str], useless: Collection[str | None]) -> None:
    """Delete parts that are of no more use, and those that a run which was killed left behind."""
    others = {*store.list(f"{collection}/items/")} - {*named.values()}
    store.delete(key for key in sorted(others) if key in useless or _is_left_behind(store, key))


def _is_left_behind(store: Store, key: str) -> bool:
    try:
        return datetime.now(UTC) - store.info(key).modified > _LEFT_BEHIND
    except NotFound:  # Another run was quicker.
        return False


def _loaded(collection: str, content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise StoreError(f"There is no {_key(collection)} to name its index in. Run `landloom index`.")
    known: dict[str, Any] = json.loads(content)
    return known


def _beaten(collection: str) -> StoreError:
    return StoreError(f"Collection {collection!r} was changed by others {_TRIES} times in a row. Run `landloom index`.")


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


def _key(collection: str) -> str:
    return f"{collection}/collection.json"
