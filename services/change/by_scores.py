"""Years corrected together from the scores that are published with the maps, pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.sources import read_json
from services.change.blocks import BLOCK, Block, MapUnreadable, OpenPlace
from services.change.correction import Settings, chain_of, check_classes, per_cent
from services.change.emissions import LEAST_SCORE, scores_log_emission, sharpened, usual_prior
from services.change.runs import packed, unpacked
from services.change.series import Series
from services.change.series_items import MapItem
from services.change.sharpness import fit_sharpness
from services.change.steady_errors import looks_alike, path_and_probability

_SAMPLE = 200_000
"""Pixels from whose scores the chain is learnt."""
_STRIPS, _STRIP_ROWS = 8, 8
"""Strips of a block that are looked at for it, and their rows."""
_PIXELS = 1 << 16
"""Pixels whose scores are in memory as numbers at a time."""
_MISSING = 255
"""Value of a score where there is no clear look."""


class ByScores:
    """From the scores that are published with the maps, pixel by pixel."""

    def __init__(self, series: Series, settings: Settings):
        """Args:
        series: to be corrected, of maps made by `landloom map --scores`.
        settings: without an error matrix.
        """
        self._settings, self._places = settings, len(series.places)
        self._years, self._names = len(series.years), series.legend.names
        self._sample: list[np.ndarray] = []
        item = series.places[0].maps[0]
        bands = [one["name"] for one in _scores_asset(item.source, item.id)["bands"]]
        number_of = [int(series.legend.numbers()[code]) for code in _codes(item, bands)]
        self.classes = np.unique(number_of)
        self._joins = (self.classes[:, None] == number_of).astype(np.float32)
        """Which band counts for which class, 0 or 1, `[classes, bands]`."""
        self._shown = np.zeros(len(series.legend.classes) + 1, bool)
        """Which class numbers any map shows: weak scores of others, in every year, are no ground."""

    def look(self, place: OpenPlace) -> bytes:
        """Take a sample: some rows of each block, spread over those with data."""
        room, sample = _SAMPLE // self._places, [np.zeros((self._years, len(self.classes), 0))]
        blocks = -(-place.shape[0] // BLOCK) * -(-place.shape[1] // BLOCK)
        shown = np.zeros_like(self._shown)
        for block in place.blocks():
            codes = block.codes if block.inside is None else block.codes[:, block.inside]
            shown |= np.bincount(codes.ravel(), minlength=shown.size) > 0
            seen = np.flatnonzero((block.codes > 0).any(axis=(0, 2)))
            for first in np.unique(seen[np.linspace(0, seen.size - 1, _STRIPS).astype(int)]) if seen.size else ():
                rows = slice(int(first), min(int(first) + _STRIP_ROWS, block.codes.shape[1]))
                scores = self._read(place, block, rows).reshape(len(block.codes), len(self.classes), -1)
                scores = scores[..., ~np.isnan(scores).all(axis=(0, 1))]
                step = max(1, scores.shape[-1] * blocks * _STRIPS // max(1, room))
                sample.append(scores[..., ::step])
        return packed(sample=np.concatenate(sample, axis=-1), shown=shown)

    def take(self, seen: bytes) -> None:
        """Add the sample of a place, and what its maps show."""
        place = unpacked(seen)
        self._sample.append(place["sample"])
        self._shown |= place["shown"]

    def learn(self) -> None:
        """Find sharpness, prior, chain and mean looks, of the classes that a map shows and that have any score."""
        sample = np.concatenate([np.zeros((self._years, len(self.classes), 0)), *self._sample], axis=-1)
        self._sample = []
        mean = np.nanmean(sample, axis=(0, 2)) if sample.size else np.zeros(len(self.classes))
        kept = (mean > 0) & self._shown[self.classes]
        self.classes, self._joins = self.classes[kept], self._joins[kept]
        check_classes(self.classes)
        sample = sharpened(sample[:, kept], 1.0)
        self.sharpness = fit_sharpness(sample)
        sample = sharpened(sample, self.sharpness)
        if self._settings.prior is None:
            self._prior = usual_prior(sample)
        else:
            self._prior = sharpened(self._given_prior(self._settings.prior)[:, None], self.sharpness)[:, 0]
        looks = scores_log_emission(sample, self._prior)
        self.chain = chain_of(looks, None, self._settings, self.classes)
        self._alike = looks_alike(looks, self.chain)

    def correct(self, place: OpenPlace, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Strip by strip."""
        numbers, confidence = np.zeros(block.codes.shape, np.uint8), np.zeros(block.codes.shape, np.uint8)
        height, width = block.codes.shape[1:]
        step = max(1, _PIXELS // width)
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            scores = self._read(place, block, rows)
            pixels = scores.reshape(len(scores), len(self.classes), -1)
            seen = np.flatnonzero(~np.isnan(pixels[:, 0]).all(axis=0))
            looks = scores_log_emission(sharpened(pixels[..., seen], self.sharpness), self._prior)
            path, probability = path_and_probability(
                looks, self.chain, self._alike, self._settings.repeated, self._settings.missed_weighs
            )
            for found, whole in ((self.classes[path], numbers), (per_cent(probability, path), confidence)):
                strip = np.zeros((len(scores), pixels.shape[-1]), np.uint8)
                strip[:, seen] = found
                whole[:, rows] = strip.reshape(len(scores), -1, width)
        return numbers, confidence

    def _read(self, place: OpenPlace, block: Block, rows: slice) -> np.ndarray:
        """Shares 0 to 1 of the published classes, NaN where unobserved, `[years, classes, H, W]`."""
        if place.several_resolutions:
            raise BadInput(
                f"The maps of {place.place.name} have several resolutions, and scores are not compared across them. "
                "Give --error-matrix FILE, or years of one resolution."
            )
        found = []
        for codes, item in zip(block.codes[:, rows], place.place.maps, strict=True):
            href = _scores_href(item.source, item.id)
            try:
                with rasterio.open(href) as source:
                    grid = place.transform
                    col, row = (round(one) for one in ~source.transform @ (grid.c, grid.f))
                    window = Window(col + block.cols.start, row + block.rows.start + rows.start, *codes.shape[::-1])
                    within = min(window.col_off, window.row_off) >= 0
                    within &= window.col_off + window.width <= source.width
                    within &= window.row_off + window.height <= source.height
                    raw = source.read(window=window, boundless=not within, fill_value=_MISSING)
            except RasterioError as error:
                raise MapUnreadable(f"the scores of {item.id} cannot be read: {error}") from error
            if len(raw) != self._joins.shape[1]:
                raise BadInput(f"The scores of {item.id} have {len(raw)} classes, those of other years differ.")
            shares = np.tensordot(self._joins, np.where(raw == _MISSING, 0, raw), axes=1)
            total = shares.sum(axis=0)
            seen = (codes > 0) & (raw[0] != _MISSING) & (total > 0)
            found.append(np.where(seen, shares / np.maximum(total, 1), np.nan))
        return np.stack(found)

    def _given_prior(self, prior: Mapping[str, float]) -> np.ndarray:
        names = [self._names[number - 1] for number in self.classes]
        if set(names) - set(prior):
            raise BadInput(
                f"The training prior lacks {', '.join(sorted(set(names) - set(prior)))}. Give a share of every class."
            )
        # Scores in whole per cent do not tell a rarer class from none.
        return np.maximum([prior[name] for name in names], 2 * LEAST_SCORE)


def _scores_asset(source: str, name: str) -> dict[str, Any]:
    asset = read_json(source)["assets"].get("scores")
    if asset is None:
        raise BadInput(
            f"{name} has no scores. Give --error-matrix FILE (rows mapped, columns reference), or map with --scores."
        )
    return asset


def _scores_href(source: str, name: str) -> str:
    href = _scores_asset(source, name)["href"]
    return href if "://" in href or href.startswith("/") else f"{source.rpartition('/')[0]}/{href.removeprefix('./')}"


def _codes(item: MapItem, bands: Sequence[str]) -> list[int]:
    """The published code that the scores of each band count for."""
    members = item.properties.get("landloom:model_classes")
    if members is None:
        legend = load_legend(str(item.properties.get("landloom:legend", "")).split(" ")[0])
        members = {one.name: one.model_classes for one in legend.classes}
    value_of = {one["name"]: one["value"] for one in item.asset["classification:classes"]}
    code_of = {part: value_of[name] for name, parts in members.items() if name in value_of for part in parts}
    return [code_of[band] for band in bands]
