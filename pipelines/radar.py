"""Radar channels of a block: of each month and orbit direction one mean of backscatter, cleared of speckle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

import numpy as np
from affine import Affine

from catalog.errors import SceneUnreadable
from catalog.radar import POLARISATIONS, RadarScene, encode, gamma0_of
from catalog.radar_speckle import REACH, lee_filter
from catalog.scenes import Exclusion
from pipelines.read import SceneReader

_ROWS = 512
"""Of a window that are worked on at a time: memory stays small against that of the looks."""


class RadarReader:
    """Gives the radar channels beside each look over one window.

    The last month's are kept, since looks come in order of time: so memory does not grow with the months.
    """

    def __init__(
        self,
        scenes: Sequence[RadarScene],
        channels: Sequence[str],
        reader: SceneReader,
        epsg: int,
        transform: Affine,
        shape: tuple[int, int],
    ):
        """Read nothing yet.

        Args:
            scenes: in order of time.
            channels: that a network wants, as `VV_ascending`.
            reader: of their files.
            epsg: CRS of the window.
            transform: of the window, 10 m pixels.
            shape: rows and columns of the window.
        """
        self._scenes, self._channels, self._reader = scenes, channels, reader
        self._epsg, self._transform = epsg, transform
        self._month: tuple[int, int] | None = None
        self._kept = np.zeros((len(channels), *shape), np.uint16)

    def beside(self, bands: np.ndarray, when: datetime) -> tuple[np.ndarray, list[Exclusion]]:
        """A look's bands with the radar channels of its month after them.

        Args:
            bands: uint16 `[bands, rows, cols]`.
            when: the look's time.

        Returns:
            uint16 `[bands + channels, rows, cols]`, see `catalog.radar.encode`, 0 where the month has no radar; and the
            radar scenes that were left out, told with the first look of the month.

        Raises:
            SourceUnavailable: a file could not be read for minutes.
        """
        problems: dict[str, str] = {}
        if self._month != (month := (when.year, when.month)):
            self._kept[:] = 0
            for orbit in sorted({channel.partition("_")[2] for channel in self._channels}):
                some = [one for one in self._scenes if one.month == month and one.orbit == orbit]
                for top in range(0, self._kept.shape[1] if some else 0, _ROWS):
                    self._fill(orbit, some, self._kept[:, top : top + _ROWS], top, problems)
            self._month = month
        left_out = [Exclusion(scene=scene, reason=reason) for scene, reason in problems.items()]
        return np.concatenate([bands, self._kept]), left_out

    def _fill(
        self, orbit: str, scenes: Sequence[RadarScene], kept: np.ndarray, top: int, problems: dict[str, str]
    ) -> None:
        """The channels of one orbit direction in a strip of the window that begins at row `top`."""
        # The filter sees round each pixel, so that what it gives does not depend on where a strip ends.
        transform = self._transform @ Affine.translation(-REACH, top - REACH)
        shape = (kept.shape[1] + 2 * REACH, kept.shape[2] + 2 * REACH)
        total = np.zeros((len(POLARISATIONS), *shape), np.float32)
        passes, looks = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for _, members in groupby(sorted(scenes, key=lambda one: one.overpass), key=lambda one: one.overpass):
            seen = np.zeros(shape, bool)
            for scene in members:
                try:
                    found = self._read(scene, transform, shape)
                except SceneUnreadable as error:
                    problems[scene.id] = str(error)
                    continue
                if found is None:
                    continue
                fresh = (found[0] > 0) & (found[1] > 0) & ~seen
                for sums, power in zip(total, found, strict=True):
                    np.add(sums, power, out=sums, where=fresh)
                passes += fresh
                looks += fresh * np.float32(scene.looks)
                seen |= fresh
        if not passes.any():
            return
        inner = (slice(REACH, -REACH),) * 2
        for number, polarisation in enumerate(POLARISATIONS):
            if (name := f"{polarisation}_{orbit}") in self._channels:
                # The mean is one of powers: a mean of dB would lie below it, the more the fewer looks there are.
                mean = np.divide(total[number], passes, out=total[number], where=passes > 0)
                kept[self._channels.index(name)] = encode(lee_filter(mean, looks)[inner])

    def _read(self, scene: RadarScene, transform: Affine, shape: tuple[int, int]) -> list[np.ndarray] | None:
        rasters = [scene.bands[name] for name in POLARISATIONS]
        # The nearest pixel: interpolation would smooth the speckle here more and there less, and the filter would take
        # the rest for texture.
        numbers = self._reader.read_rasters(scene, rasters, self._epsg, transform, shape)
        return None if numbers is None else gamma0_of(scene, numbers)
