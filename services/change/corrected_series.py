"""A series of maps with its years corrected together, published as a collection of its own: `lulc-temporal`, or
`lulc-temporal-30m` where pixels are of 30 m.

Memory does not grow with the size of the maps: they are read twice, block by block.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import DatasetWriter

from catalog.assets import AssetFile
from catalog.cog import label_classes, plain_profile, write_cog, write_thumbnail
from catalog.collections import add_items
from catalog.errors import StoreError
from catalog.index import build_index
from catalog.items import fingerprint_of, published_fingerprint
from catalog.manifest import digest
from catalog.store import Store
from services.change.blocks import OpenPlace, opened
from services.change.by_classes import ByClasses
from services.change.by_scores import ByScores
from services.change.corrected_change import change_table
from services.change.corrected_items import YearMade, build_year_item, catalog_legend, collection_of, item_key
from services.change.corrected_tally import Tally
from services.change.correction import Correction, Settings
from services.change.ground_area import pixel_areas
from services.change.runs import Account, Progress, Run, in_process, packed, unpacked
from services.change.series import Place, Series

_FILES = ("data", "confidence")


@dataclass
class CorrectedAccount(Account):
    """What became of each place."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    """Of those published: what became of their change."""


def correct_series(
    series: Series,
    store: Store,
    settings: Settings,
    *,
    overwrite: bool = False,
    on_progress: Progress = lambda done, total: None,
    run: Run = in_process,
) -> CorrectedAccount:
    """Publish a corrected series: for each place and year the most likely class, and how likely it is.

    All places are corrected by one chain, so that nothing changes at their edges. A place whose maps cannot be read is
    reported, and the others are made.

    Args:
        series: the maps, of three years or more to be of use.
        store: where to publish.
        settings: how to correct.
        overwrite: make those anew, too, that would be skipped.
        on_progress: called with the passes over places done and planned.
        run: does the work of each of the two passes, place by place.

    Raises:
        BadInput: the settings do not fit the maps.
    """
    settings.check()
    account = CorrectedAccount(len(series.places) + len(series.excluded), failed=dict(series.excluded))
    fingerprint = _fingerprint(series, settings, ())
    if not overwrite and all(_published(store, series, place, fingerprint) for place in series.places):
        account.skipped = [place.name for place in series.places]
    else:
        _correct(account, series, store, settings, overwrite, on_progress, run)
    if ready := [*account.published, *account.skipped]:
        # Skipped ones as well: a run that was killed before this is caught up by the next.
        add_items(store, collection_of(series), _items(store, series, ready))
        build_index(store, collection_of(series))
    return account


def _correct(
    account: CorrectedAccount,
    series: Series,
    store: Store,
    settings: Settings,
    overwrite: bool,
    on_progress: Progress,
    run: Run,
) -> None:
    """Look at all places, learn, then publish those that could be read."""
    kind = ByScores if settings.error_matrix is None else ByClasses
    correction: Correction = kind(series, settings)
    without, count = replace(series, places=()), len(series.places)
    readable = []
    look = Look(without, correction, f"{collection_of(series)}-look-{_fingerprint(series, settings, ())}")
    for outcome in run(look, series.places, lambda done, total: on_progress(done, 2 * count)):
        if outcome.failed:
            account.failed[outcome.place.name] = outcome.failed
        else:
            correction.take(outcome.content)
            readable.append(outcome.place)
    if not readable:
        return
    correction.learn()
    # What could not be read is missing in the chain.
    fingerprint = _fingerprint(series, settings, sorted(account.failed))
    account.skipped = [
        place.name for place in readable if not overwrite and _published(store, series, place, fingerprint)
    ]
    to_make = [place for place in readable if place.name not in set(account.skipped)]
    publish = PublishYears(store, without, settings, correction, fingerprint)
    for outcome in run(publish, to_make, lambda done, total: on_progress(done + 2 * count - total, 2 * count)):
        if outcome.failed:
            account.failed[outcome.place.name] = outcome.failed
        else:
            account.published.append(outcome.place.name)
            account.tallies[outcome.place.name] = Tally(**unpacked(outcome.content))


@dataclass(frozen=True)
class Look:
    """The work of looking at a place, from which the chain is learnt."""

    series: Series
    """Without its places."""
    correction: Correction
    key: str

    def __call__(self, place: Place) -> bytes:
        """What was seen."""
        with opened(self.series, place) as maps:
            return self.correction.look(maps)


@dataclass(frozen=True)
class PublishYears:
    """The work of publishing the years of a place."""

    store: Store
    series: Series
    """Without its places."""
    settings: Settings
    correction: Correction
    fingerprint: str

    @property
    def key(self) -> str:
        """See `Work`."""
        return f"{collection_of(self.series)}-{self.fingerprint}"

    def __call__(self, place: Place) -> bytes:
        """What became of its change."""
        with opened(self.series, place) as maps:
            tally = _publish(self.store, maps, self.correction, self.settings, self.fingerprint)
        return packed(**vars(tally))


def _fingerprint(series: Series, settings: Settings, left_out: Sequence[str]) -> str:
    """Changes with the maps, those that could not be read, the area and the settings: all that decides the result."""
    maps = [
        [one.source, one.asset.get("file:checksum"), one.properties.get("updated"), one.properties.get("created")]
        for place in series.places
        for one in place.maps
    ]
    area = None if series.area is None else series.area.wkt
    sample = settings.reference and [settings.reference.design.fingerprint, settings.reference.label.tolist()]
    told = {"settings": settings.told(), "accuracy": settings.accuracy, "reference": sample}
    missing = {"left_out": list(left_out)} if left_out else {}
    return digest({"maps": maps, "area": area, **told, **missing, "software": version("landloom")})


def _published(store: Store, series: Series, place: Place, fingerprint: str) -> bool:
    keys = [item_key(series, place.name, year) for year in series.years]
    return all(published_fingerprint(store, key) == fingerprint for key in keys)


def _items(store: Store, series: Series, places: list[str]) -> Iterator[dict[str, object]]:
    for place in places:
        for year in series.years:
            yield json.loads(store.read(item_key(series, place, year)))


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
            key = item_key(series, place.name, year)
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
