"""Hectares of runs of pixels, counted 64 pixels at a time: a bit a pixel, and the bits of a word counted at once.

A run's whole words are the difference of two sums along the strip; of the words at its ends only its own bits count. So
the work grows with the pixels divided by 64 and with the number of runs, and runs may overlap. Coarse pixels, whose
areas differ along a row, are counted 8 at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.change.zone_cells import ZoneCells

_WORDS = (64, 8)
"""Pixels of a word: as many as are alike in area, since the middle one's stands for each."""
_ALL = np.uint64(2**64 - 1)
_ALIKE = 2e-5
"""Relative difference in area along a word of the larger kind, at most: of pixels of 10 m it is less in UTM."""


@dataclass(frozen=True)
class Runs:
    """Runs of a strip of rows, `[m]`, and where they lie in its words."""

    zone: np.ndarray
    """Number of the polygon."""
    start: np.ndarray
    """First pixel, `row * columns + column` of the strip."""
    stop: np.ndarray
    """The pixel after the last one."""
    ends: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    """Of the words at the two ends: which they are, the run's bits in them, hectares of a bit."""
    inner: tuple[np.ndarray, np.ndarray]
    """The first word between the ends, and the one after the last."""
    word_hectares: np.ndarray
    """Of a pixel of each word, `[rows, words]`."""
    bits: int
    """Pixels of a word."""

    @classmethod
    def of(cls, cells: ZoneCells, rows: slice, along_rows: np.ndarray, along_cols: np.ndarray) -> Runs:
        """Those of some rows.

        Args:
            cells: of a block.
            rows: of the block, that make the strip.
            along_rows: factors of the pixels' hectares, of the whole block `[rows, n]`.
            along_cols: the other factors, `[n, columns]`.
        """
        cols = along_cols.shape[1]
        first, last = np.searchsorted(cells.start, (rows.start * cols, rows.stop * cols))
        start, stop = (one[first:last] - rows.start * cols for one in (cells.start, cells.stop))
        row = start // cols
        left, right = start - row * cols, stop - row * cols
        of_rows = along_rows[rows]
        of_first = of_rows[0] @ along_cols
        steep = np.abs(np.diff(of_first)).max(initial=0) / of_first.mean()
        bits = _WORDS[0] if steep * _WORDS[0] <= _ALIKE else _WORDS[1]
        words = -(-cols // bits)
        head, tail = left // bits, (right - 1) // bits

        def end(word: np.ndarray, begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            # The mean of its outer pixels: areas are linear along rows.
            pair = along_cols[:, begin] + along_cols[:, np.maximum(begin + count - 1, begin)]
            ones = np.where(count > 0, _ALL >> (64 - np.maximum(count, 1)).astype(np.uint64), np.uint64(0))
            own = (ones << (begin - word * bits).astype(np.uint64)).astype(_kind(bits))
            return row * words + word, own, np.einsum("nk,kn->n", of_rows[row], pair) / 2

        in_head = np.minimum(right, (head + 1) * bits) - left
        in_tail = np.where(tail > head, right - tail * bits, 0)
        middle = np.minimum(np.arange(words) * bits + (bits - 1) // 2, cols - 1)
        return cls(
            cells.run[first:last],
            start,
            stop,
            (end(head, left, in_head), end(tail, tail * bits, in_tail)),
            (row * words + np.minimum(head + 1, tail), row * words + tail),
            of_rows @ along_cols[:, middle],
            bits,
        )

    def hectares(self, words: np.ndarray) -> np.ndarray:
        """Hectares of each run whose bits are set, `[m]`.

        Args:
            words: see `words_of`, of the strip and of so many bits.
        """
        before = np.zeros(words.size + 1)
        np.cumsum(np.bitwise_count(words) * self.word_hectares, out=before[1:])
        first, last = self.inner
        found = before[last] - before[first]
        for word, own, each in self.ends:
            found += np.bitwise_count(words.ravel()[word] & own) * each
        return found

    def pixels(self, at: np.ndarray, cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Some pixels by the run that they lie in; a pixel of several runs has a row for each.

        Args:
            at: `row * columns + column` of the strip, in ascending order `[n]`.
            cols: of the strip.

        Returns:
            Positions in `at`, the numbers of the polygons, and hectares.
        """
        first, last = np.searchsorted(at, self.start), np.searchsorted(at, self.stop)
        lengths = last - first
        found = np.repeat(first - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        row = at // cols
        hectares = self.word_hectares.ravel()[row * self.word_hectares.shape[1] + (at - row * cols) // self.bits]
        return found, np.repeat(self.zone, lengths), hectares[found]


def words_of(mask: np.ndarray, bits: int) -> np.ndarray:
    """A bit for each pixel, `[rows, words]`; beyond the last column they tell nothing.

    Args:
        mask: `[rows, columns]`; what is not 0 sets a bit.
        bits: of a word.
    """
    packed = np.packbits(mask, axis=1, bitorder="little")
    words = np.zeros((len(mask), -(-mask.shape[1] // bits)), _kind(bits))
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


def class_words(layer: np.ndarray, side: int, bits: int) -> Iterator[tuple[int, np.ndarray]]:
    """Where each class lies, of those that occur: its number, and words.

    Args:
        layer: class numbers below `side`, uint8 `[rows, columns]`.
        side: how many there may be.
        bits: of a word.
    """
    # From the numbers' own bits: comparing is then done many pixels at a time.
    planes = [words_of(layer & (1 << bit), bits) for bit in range((side - 1).bit_length())]
    planes_of = [(~plane, plane) for plane in planes]
    for k in range(side):
        words = planes_of[0][k & 1]
        for bit, either in enumerate(planes_of[1:], start=1):
            words = words & either[k >> bit & 1]
        if words.any():
            yield k, words


def _kind(bits: int) -> str:
    return f"<u{bits // 8}"
