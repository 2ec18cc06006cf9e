"""One COG per grid zone and year, laid together from the published tile-years, tile by tile in bounded memory."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window

from catalog.assets import AssetFile
from catalog.cog import plain_profile, write_cog
from catalog.collections import ZONES, add_items
from catalog.errors import BadInput, LandloomError, StoreError
from catalog.grid import RESOLUTION
from catalog.index import build_index
from catalog.items import fingerprint_of, item_key_of, item_keys, published_fingerprint, zone_of
from catalog.store import Store
from catalog.supercells import build_zone_item, check_classes, zone_fingerprint

_TILES = "lulc-annual"
_STRIP = 2048
"""Rows of a tile in memory at a time."""
_CACHE_MB = 256

Items = Sequence[dict[str, Any]]


@dataclass
class Account:
    """What became of each zone-year: planned = published + skipped + failed."""

    planned: int
    published: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Made before, from the same tile-years."""
    failed: dict[str, str] = field(default_factory=dict)
    """ID to reason."""


def make_supercells(
    store: Store,
    years: Iterable[int] = (),
    zones: Iterable[str] = (),
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Account:
    """Publish the zone-years of an output's tile-years in the collection `lulc-annual-zones`.

    One that fails is reported, and the others are made. One that was made from the same tile-years is skipped.

    Args:
        store: the output.
        years: none: all that are published.
        zones: such as `21L`; none: all that are published.
        overwrite: make those anew, too, that would be skipped.
        on_progress: called with the zone-years done and planned.

    Raises:
        BadInput: no tile-year is published there.
    """
    planned = _tile_years(store, {str(year) for year in years}, {_checked(zone) for zone in zones})
    account = Account(len(planned))
    for done, ((zone, year), keys) in enumerate(planned.items()):
        on_progress(done, len(planned))
        name = f"{zone}-{year}"
        try:
            made = _make(store, zone, [json.loads(store.read(key)) for key in keys], overwrite)
            (account.published if made else account.skipped).append(name)
        except LandloomError as error:
            account.failed[name] = str(error)
    on_progress(len(planned), len(planned))
    if ready := sorted([*account.published, *account.skipped]):
        # Skipped ones as well: a run that was killed before this is caught up by the next.
        add_items(store, ZONES, (json.loads(store.read(_key(*name.split("-")))) for name in ready))
        build_index(store, ZONES)
    return account


def _checked(zone: str) -> str:
    found = re.fullmatch(r"(\d{1,2})([C-HJ-NP-X])", zone.strip().upper())
    if not found or not 1 <= int(found[1]) <= 60:
        raise BadInput(f"--zone {zone!r} is no grid zone. Give a number from 1 to 60 and a letter from C to X, as 21L.")
    return f"{int(found[1]):02d}{found[2]}"


def _tile_years(store: Store, years: set[str], zones: set[str]) -> dict[tuple[str, str], list[str]]:
    """Keys of the tile-years' items by zone and year, from names alone: no more is held of a whole globe."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in item_keys(store, _TILES):
        _, tile, year, _ = key.split("/")
        if (not years or year in years) and (not zones or zone_of(tile) in zones):
            found[zone_of(tile), year].append(key)
    for what, wanted, there in (("year", years, {y for _, y in found}), ("zone", zones, {z for z, _ in found})):
        if missing := sorted(wanted - there):
            raise BadInput(
                f"No tile-year of {what} {', '.join(missing)} is published in {store.href(_TILES)}. "
                f"Map it first, or give another --{what}."
            )
    if not found:
        raise BadInput(f"No tile-year is published in {store.href(_TILES)}. Run `landloom map` with this --out first.")
    return dict(sorted(found.items()))


def _key(zone: str, year: str) -> str:
    return f"{ZONES}/{zone}/{year}/{zone}-{year}.json"


def _make(store: Store, zone: str, sources: Items, overwrite: bool) -> bool:
    """Publish one zone-year; False if it stands already."""
    key, fingerprint = _key(zone, sources[0]["properties"]["start_datetime"][:4]), zone_fingerprint(sources)
    if published_fingerprint(store, key) == fingerprint and not overwrite:
        return False
    check_classes(sources)
    epsg, transform, shape = _grid(sources)
    folder = key.rpartition("/")[0]
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        plain, cog = Path(temporary) / "data.plain.tif", Path(temporary) / "data.tif"
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
            _lay_out(store, sources, plain, epsg, transform, shape)
        write_cog(plain, cog, classes=True)
        plain.unlink()
        file = AssetFile.of("data", cog)
        store.upload(f"{folder}/{fingerprint}/{cog.name}", cog)
    there, version = store.read_versioned(key)
    item = build_zone_item(zone, sources, epsg=epsg, transform=transform, shape=shape, cog=file)
    if not store.write_if(key, item, version):
        raise StoreError("another run published this zone-year at the same moment; run again")
    if (before := fingerprint_of(there)) not in (None, fingerprint):
        store.delete(store.list(f"{folder}/{before}/"))
    return True


def _grid(sources: Items) -> tuple[int, Affine, tuple[int, int]]:
    """EPSG, transform and shape around the tile-years, which must lie on one grid."""
    first = sources[0]["properties"]
    for one in sources:
        own = one["properties"]
        left, top = _corner(one)
        if own["proj:code"] != first["proj:code"] or left % RESOLUTION or top % RESOLUTION:
            raise BadInput(
                f"{one['id']} lies on the grid of {own['proj:code']} at {left}, {top}, {sources[0]['id']} on that of "
                f"{first['proj:code']}: they cannot be laid side by side. Map it anew."
            )
    boxes = [one["properties"]["proj:bbox"] for one in sources]
    left, top = min(box[0] for box in boxes), max(box[3] for box in boxes)
    rows = round((top - min(box[1] for box in boxes)) / RESOLUTION)
    cols = round((max(box[2] for box in boxes) - left) / RESOLUTION)
    return int(first["proj:code"].removeprefix("EPSG:")), Affine(RESOLUTION, 0, left, 0, -RESOLUTION, top), (rows, cols)


def _lay_out(store: Store, sources: Items, plain: Path, epsg: int, transform: Affine, shape: tuple[int, int]) -> None:
    """Write the tile-years side by side; what no tile covers, and what holds no data, takes no room."""
    profile = {**plain_profile(None), "photometric": "PALETTE", "height": shape[0], "width": shape[1]}
    try:
        with rasterio.open(
            plain, "w", count=1, dtype="uint8", nodata=0, crs=f"EPSG:{epsg}", transform=transform, **profile
        ) as target:
            for number, one in enumerate(sources):
                with _opened(store, one) as source:
                    if number == 0:
                        target.write_colormap(1, source.colormap(1))
                        target.update_tags(1, **_class_names(source))
                    left, top = _corner(one)
                    col0, row0 = round((left - transform.c) / RESOLUTION), round((transform.f - top) / RESOLUTION)
                    for row, codes in _strips(source):
                        target.write(codes, 1, window=Window(col0, row0 + row, codes.shape[1], codes.shape[0]))
    except (RasterioError, OSError) as error:
        raise StoreError(f"Cannot write {plain}: {error}. Is the temporary folder full?") from error


@contextmanager
def _opened(store: Store, item: dict[str, Any]) -> Iterator[rasterio.io.DatasetReader]:
    """The class map of a tile-year, by the store's own means and checked: some tens of MB in memory."""
    asset = item["assets"]["data"]
    key = f"{item_key_of(item).rpartition('/')[0]}/{asset['href'].removeprefix('./')}"
    content = store.read(key)
    if "1220" + hashlib.sha256(content).hexdigest() != asset["file:checksum"]:
        raise StoreError(
            f"{store.href(key)} is not the file that {item['id']} names: its checksum differs. Map it anew."
        )
    with rasterio.MemoryFile(content) as file, file.open() as source:
        corner = (source.transform.c, source.transform.f)
        if list(source.shape) != item["properties"]["proj:shape"] or corner != _corner(item):
            raise StoreError(f"{store.href(key)} has another size or place than {item['id']} says. Map it anew.")
        yield source


def _strips(source: rasterio.io.DatasetReader) -> Iterator[tuple[int, Any]]:
    """First row and codes `[rows, W]` of each strip that holds any data."""
    for row in range(0, source.height, _STRIP):
        codes = source.read(1, window=Window(0, row, source.width, min(_STRIP, source.height - row)))
        if codes.any():
            yield row, codes


def _class_names(source: rasterio.io.DatasetReader) -> dict[str, str]:
    return {name: value for name, value in source.tags(1).items() if name.startswith("CLASS_")}


def _corner(item: dict[str, Any]) -> tuple[float, float]:
    """Left and top, metres."""
    box = item["properties"]["proj:bbox"]
    return box[0], box[3]
