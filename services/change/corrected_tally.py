"""What became of the change of a place whose years were corrected together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        other = ~np.eye(self.mapped.shape[1], dtype=bool)
        return float(self.mapped[:, other].sum()), float(self.corrected[:, other].sum())
