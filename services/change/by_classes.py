"""Years corrected together from what the maps show and how often that is wrong: from classes and an error matrix."""

from __future__ import annotations

import numpy as np
import pandas

from catalog.errors import BadInput
from services.change.blocks import Block, OpenPlace
from services.change.correction import Settings, chain_of, check_classes, per_cent
from services.change.emissions import codes_log_emission, matrix_emission, steady_truth
from services.change.ground_area import pixel_areas
from services.change.runs import packed, unpacked
from services.change.series import Series
from services.change.temporal import most_likely, posterior


class ByClasses:
    """From mapped classes: pixels with the same classes in all years are alike, so each such history counts once."""

    sharpness = None

    def __init__(self, series: Series, settings: Settings):
        """Args:
        series: to be corrected.
        settings: with an error matrix.
        """
        self._legend, self._settings, self._years = series.legend, settings, len(series.years)
        self._radix = len(series.legend.classes) + 1
        if self._radix**self._years >= 2**63:
            raise BadInput(
                f"{self._years} years of {self._radix - 1} classes have too many histories. Give fewer years at once."
            )
        self._histories, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._hectares = np.zeros(self._radix)

    def look(self, place: OpenPlace) -> bytes:
        """Count the histories of a place."""
        hectares, histories, counts = np.zeros(self._radix), np.zeros(0, np.int64), np.zeros(0, np.int64)
        for block in place.blocks():
            areas = np.broadcast_to(
                pixel_areas(place.crs, place.transform, block.rows, block.cols), block.codes.shape[1:]
            )
            inside = np.ones(block.codes.shape[1:], bool) if block.inside is None else block.inside
            for codes in block.codes:
                hectares += np.bincount(codes[inside], areas[inside], minlength=self._radix)
            found = pandas.Series(self._history(block)[inside]).value_counts()
            histories, counts = _joined(histories, counts, found.index.to_numpy(np.int64), found.to_numpy(np.int64))
        return packed(hectares=hectares, histories=histories, counts=counts)

    def take(self, seen: bytes) -> None:
        """Add the histories of a place."""
        place = unpacked(seen)
        self._hectares += place["hectares"]
        self._histories, self._counts = _joined(self._histories, self._counts, place["histories"], place["counts"])

    def learn(self) -> None:
        """Find the chain; then correct each history once."""
        self._hectares[0] = 0
        self.classes = np.flatnonzero(self._hectares)
        check_classes(self.classes)
        names = [self._legend.names[number - 1] for number in self.classes]
        assert self._settings.error_matrix is not None
        counts = self._settings.error_matrix.of(names, self._legend.names)
        shares = self._hectares[self.classes] / self._hectares.sum()
        emission = matrix_emission(counts, shares, self._settings.repeated)
        seen = self._histories > 0
        log_emission = codes_log_emission(self._positions(self._histories[seen]), emission)
        self.chain = chain_of(log_emission, self._counts[seen], self._settings, self.classes)
        path = most_likely(log_emission, self.chain, self._settings.missed_weighs)
        true = np.einsum(
            "tcn,cd->tdn", posterior(log_emission, self.chain), steady_truth(counts, self._settings.repeated)
        )
        self._path = np.zeros((self._years, seen.size), np.uint8)
        self._path[:, seen] = self.classes[path]
        self._confidence = np.zeros((self._years, seen.size), np.uint8)
        self._confidence[:, seen] = per_cent(true, path)

    def correct(self, place: OpenPlace, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Look the block's histories up."""
        histories = self._history(block)
        at = np.minimum(np.searchsorted(self._histories, histories), self._histories.size - 1)
        if block.inside is not None:
            at = np.where(block.inside, at, 0)  # Others were not counted; they are left out by the caller.
        return self._path[:, at], self._confidence[:, at]

    def _history(self, block: Block) -> np.ndarray:
        """One number for the classes of all years, int64 `[H, W]`."""
        history = np.zeros(block.codes.shape[1:], np.int64)
        for codes in block.codes[::-1]:
            history *= self._radix
            history += codes
        return history

    def _positions(self, histories: np.ndarray) -> np.ndarray:
        """Positions among the chain's classes, -1 where unobserved, `[years, histories]`."""
        position = np.full(self._radix, -1)
        position[self.classes] = np.arange(self.classes.size)
        return np.stack([position[histories // self._radix**year % self._radix] for year in range(self._years)])


def _joined(
    histories: np.ndarray, counts: np.ndarray, others: np.ndarray, other_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Histories, each once and sorted, and how many pixels have them."""
    joined, number = np.unique(np.concatenate([histories, others]), return_inverse=True)
    added = np.bincount(number, np.concatenate([counts, other_counts]), minlength=joined.size)
    return joined, added.astype(np.int64)
