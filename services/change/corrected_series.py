"""A series of maps with its years corrected together, published as a collection of its own: `lulc-temporal`.

Memory does not grow with the size of the maps: they are read twice, block by block.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import DatasetWriter

from catalog.assets import AssetFile
from catalog.cog import label_classes, plain_profile, write_cog, write_thumbnail
from catalog.collections import TEMPORAL, add_items
from catalog.errors import StoreError
from catalog.index import build_index
from catalog.items import fingerprint_of, published_fingerprint
from catalog.manifest import digest
from catalog.store import Store
from services.change.blocks import MapUnreadable, OpenPlace, opened
from services.change.by_classes import ByClasses
from services.change.by_scores import ByScores
from services.change.corrected_change import change_table
from services.change.corrected_items import YearMade, build_year_item, catalog_legend, item_key
from services.change.correction import Correction, Settings
from services.change.ground_area import pixel_areas
from services.change.series import Place, Series

_FILES = ("data", "confidence")


@dataclass
class Tally:
    """What became of the change of a place, by pair of years that follow each other."""

    mapped: np.ndarray
    """Hectares from a class number (row) to another (column) in the maps, `[years - 1, classes + 1, classes + 1]`."""
    corrected: np.ndarray
    """The same in the corrected series, of the same pixels: those observed in both years."""
    filled: np.ndarray
    """Hectares that a map does not show and the corrected one does, `[years]`."""
    pixels: np.ndarray
    """Pixels of each class number in the corrected series, `[years, classes + 1]`."""

    @classmethod
    def empty(cls, years: int, classes: int) -> Tally:
        """Nothing counted yet."""
        pairs = (years - 1, classes + 1, classes + 1)
        return cls(np.zeros(pairs), np.zeros(pairs), np.zeros(years), np.zeros((years, classes + 1), np.int64))

    def add(self, mapped: np.ndarray, corrected: np.ndarray, areas: np.ndarray, inside: np.ndarray) -> None:
        """Count a block: class numbers `[years, H, W]`, hectares and the area of interest `[H, W]`."""
        side = self.mapped.shape[1]
        for year in range(1, len(mapped)):
            both = inside & (mapped[year - 1] > 0) & (mapped[year] > 0)
            for numbers, found in ((mapped, self.mapped), (corrected, self.corrected)):
                pair = numbers[year - 1][both].astype(np.int32) * side + numbers[year][both]
                found[year - 1] += np.bincount(pair, areas[both], side * side).reshape(side, side)
        for year, (shown, made) in enumerate(zip(mapped, corrected, strict=True)):
            self.filled[year] += areas[inside & (shown == 0) & (made > 0)].sum()
            self.pixels[year] += np.bincount(made[inside], minlength=side)

    @property
    def changed(self) -> tuple[float, float]:
        """Hectares that change, in the maps and in the corrected series, all pairs of years together."""
        mapped, corrected = (one.sum() - np.trace(one, axis1=1, axis2=2).sum() for one in (self.mapped, self.corrected))
        return float(mapped), float(corrected)


@dataclass
class Account:
    """What became of each place: planned = published + skipped + failed."""

    planned: int
    published: dict[str, Tally] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """Made before, from the same maps with the same settings."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name to reason."""


def correct_series(
    series: Series,
    store: Store,
    settings: Settings,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Account:
    """Publish a corrected series: for each place and year the most likely class, and how likely it is.

    All places are corrected by one chain, so that nothing changes at their edges. A place whose maps cannot be read is
    reported, and the others are made.

    Args:
        series: the maps, of three years or more to be of use.
        store: where to publish.
        settings: how to correct.
        overwrite: make those anew, too, that would be skipped.
        on_progress: called with the passes over places done and planned.

    Raises:
        BadInput: the settings do not fit the maps.
    """
    settings.check()
    account = Account(len(series.places) + len(series.excluded), failed=dict(series.excluded))
    fingerprint = _fingerprint(series, settings)
    if not overwrite and all(_published(store, series, place, fingerprint) for place in series.places):
        account.skipped = [place.name for place in series.places]
    else:
        kind = ByScores if settings.error_matrix is None else ByClasses
        correction: Correction = kind(series, settings)
        done, total = 0, 2 * len(series.places)
        readable = []
        for place in series.places:
            on_progress(done, total)
            try:
                with opened(series, place) as maps:
                    correction.look(maps)
                readable.append(place)
            except MapUnreadable as error:
                account.failed[place.name] = str(error)
            done += 1
        if readable:
            correction.learn()
        for place in readable:
            on_progress(done, total)
            with opened(series, place) as maps:
                account.published[place.name] = _publish(store, maps, correction, settings, fingerprint)
            done += 1
        on_progress(total, total)
    if ready := [*account.published, *account.skipped]:
        # Skipped ones as well: a run that was killed before this is caught up by the next.
        add_items(store, TEMPORAL, _items(store, series, ready))
        build_index(store, TEMPORAL)
    return account


def _fingerprint(series: Series, settings: Settings) -> str:
    """Changes with the maps, the area and the settings: all that decides the result."""
    maps = [
        [one.source, one.asset.get("file:checksum"), one.properties.get("updated"), one.properties.get("created")]
        for place in series.places
        for one in place.maps
    ]
    area = None if series.area is None else series.area.wkt
    sample = settings.reference and [settings.reference.design.fingerprint, settings.reference.label.tolist()]
    told = {"settings": settings.told(), "accuracy": settings.accuracy, "reference": sample}
    return digest({"maps": maps, "area": area, **told, "software": version("landloom")})


def _published(store: Store, series: Series, place: Place, fingerprint: str) -> bool:
    keys = [item_key(place.name, year) for year in series.years]
    return all(published_fingerprint(store, key) == fingerprint for key in keys)


def _items(store: Store, series: Series, places: list[str]) -> Iterator[dict[str, object]]:
    for place in places:
        for year in series.years:
            yield json.loads(store.read(item_key(place, year)))


def _publish(store: Store, maps: OpenPlace, correction: Correction, settings: Settings, fingerprint: str) -> Tally:
    """Write the years of a place, files first, then items: they are the commit."""
    series, place, legend = maps.series, maps.place, catalog_legend(maps.series.legend)
    tally = Tally.empty(len(series.years), len(series.legend.classes))
    with tempfile.TemporaryDirectory(prefix="landloom-") as temporary:
        folder = Path(temporary)
        with ExitStack() as files:
            plain = {
                (name, year): files.enter_context(_writer(folder / f"{name}-{year}.plain.tif", maps, name))
                for name in _FILES
                for year in series.years
            }
            for year in series.years:
                label_classes(plain["data", year], legend)
            _correct_blocks(maps, correction, plain, tally)
        for number, year in enumerate(series.years):
            made = []
            for name in _FILES:
                source, cog = folder / f"{name}-{year}.plain.tif", folder / f"{name}.tif"
                write_cog(source, cog, classes=name == "data")
                source.unlink()
                made.append(AssetFile.of(name, cog))
            write_thumbnail(folder / "data.tif", folder / "thumbnail.png", legend)
            made.append(AssetFile.of("thumbnail", folder / "thumbnail.png"))
            if number:
                table = change_table(maps, settings, tally, number)
                table.to_csv(folder / "change.csv", index=False, float_format="%.6f")
                made.append(AssetFile.of("change", folder / "change.csv"))
            key = item_key(place.name, year)
            for file in made:
                store.upload(f"{key.rpartition('/')[0]}/{fingerprint}/{file.file}", folder / file.file)
            there, known = store.read_versioned(key)
            item = build_year_item(store, maps, correction, settings, YearMade(number, tally, tuple(made), fingerprint))
            if not store.write_if(key, item, known):
                raise StoreError(f"Another run published {place.name}-{year} at the same moment. Run it again.")
            _delete_former(store, key, there, fingerprint)
    return tally


def _correct_blocks(
    maps: OpenPlace, correction: Correction, plain: dict[tuple[str, int], DatasetWriter], tally: Tally
) -> None:
    value = np.zeros(256, np.uint8)
    value[1 : len(maps.series.legend.classes) + 1] = [one.value for one in maps.series.legend.classes]
    for block in maps.blocks():
        numbers, confidence = correction.correct(maps, block)
        inside = np.ones(numbers.shape[1:], bool) if block.inside is None else block.inside
        numbers, confidence = numbers * inside, confidence * inside
        areas = pixel_areas(maps.crs, maps.transform, block.rows, block.cols)
        tally.add(block.codes, numbers, np.broadcast_to(areas, inside.shape), inside)
        window = ((block.rows.start, block.rows.stop), (block.cols.start, block.cols.stop))
        for number, year in enumerate(maps.series.years):
            plain["data", year].write(value[numbers[number]], 1, window=window)
            plain["confidence", year].write(confidence[number], 1, window=window)


def _writer(path: Path, maps: OpenPlace, name: str) -> DatasetWriter:
    profile = {**plain_profile(None), **({"photometric": "PALETTE"} if name == "data" else {})}
    shape = {"height": maps.shape[0], "width": maps.shape[1]}
    return rasterio.open(
        path, "w", count=1, dtype="uint8", nodata=0, crs=maps.crs, transform=maps.transform, **shape, **profile
    )


def _delete_former(store: Store, key: str, item: bytes | None, fingerprint: str) -> None:
    if (before := fingerprint_of(item)) not in (None, fingerprint):
        store.delete(store.list(f"{key.rpartition('/')[0]}/{before}/"))
