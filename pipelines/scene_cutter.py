"""One chip cut from a scene: its image, and its labels with the scene's own clouds."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.chips import UNLABELLED, Chip, Pixels
from catalog.clear import SCL_CLOUD, SCL_SHADOW
from catalog.errors import BadInput
from catalog.legend import CLOUD
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.radar import bands_apart
from catalog.store import Store
from pipelines.candidates import Sighting
from pipelines.label_sources import LabelSource
from pipelines.radar import RadarReader
from pipelines.read import SceneReader
from pipelines.sampling import split_of

log = logging.getLogger(__name__)

_LEAST_SEEN = 0.5
"""Share of a chip's pixels that must have data."""
_SCL_DEFECTIVE = 1
_QUICK = ("B12", "B11")
"""Bands of 20 m: one of them, a quarter of the bytes, tells where a scene has data."""


@dataclass(frozen=True)
class Choice:
    """Which candidates are taken, and how they are split."""

    count: int | None = None
    """Chips to draw; None: all."""
    seed: int = 0
    shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    """Of train, validation and test among places."""
    min_labelled: float = 50.0
    """Per cent of a chip's pixels."""
    max_cloud: float = 100.0
    """Per cent of a chip's pixels."""

    def check(self) -> None:
        """Refuse what is impossible.

        Raises:
            BadInput: naming the value.
        """
        if self.count is not None and self.count < 1:
            raise BadInput(f"--count {self.count} is not possible. Give how many chips to draw, at least 1.")
        for option, value in (("--min-labelled", self.min_labelled), ("--max-cloud", self.max_cloud)):
            if not 0 <= value <= 100:
                raise BadInput(f"{option} {value:g} is not a percentage. Give 0 to 100.")


@dataclass(frozen=True)
class SceneCutter:
    """Cuts chips from scenes; an element is a sighting's ID and the number of a square in it."""

    labels: LabelSource
    choice: Choice
    side: int
    bands: tuple[str, ...]
    source: str
    retry_seconds: float
    run: str
    """What tells one run in a process from the next: files may have been mended between them."""
    classes: tuple[str, ...] = MODEL_CLASSES
    """That labels may name, in order."""

    def chip(self, store: Store, element: str) -> Chip:
        """See `Cutter`."""
        sighting, number = self._find(store, element)
        square, grid, scene = sighting.squares[number], sighting.grid(number, self.side), sighting.datatake.scenes[0]
        return Chip(
            id=sighting.name(number),
            place=square.place,
            split=split_of(square.place, self.choice.shares, self.choice.seed),
            scene=scene.id,
            level=scene.level,
            source=f"{self.labels.name} on {self.source}",
            teacher=self.labels.teacher,
            date=sighting.datatake.datetime,
            sun_zenith=scene.sun_zenith,
            biome=square.biome,
            epsg=grid.epsg,
            transform=tuple(grid.transform)[:6],
            shape=grid.shape,
        )

    def pixels(self, store: Store, element: str) -> Pixels:
        """See `Cutter`."""
        return self._cut(*self._find(store, element), self.bands)

    def count(self, store: Store, element: str) -> dict[str, Any]:
        """What a square would be as a chip: the pixels of each class, or why it cannot be one."""
        sighting, number = self._find(store, element)
        told: dict[str, Any] = {"id": sighting.name(number), "biome": sighting.squares[number].biome}
        try:
            labels = self._cut(
                sighting, number, (next((b for b in _QUICK if b in self.bands), bands_apart(self.bands)[0][-1]),)
            ).labels
        except BadInput as error:
            return told | {"dropped": str(error)}
        counts = np.bincount(labels.ravel(), minlength=256)
        return told | {"pixels": {name: int(counts[k]) for k, name in enumerate(self.classes) if counts[k]}}

    def _cut(self, sighting: Sighting, number: int, bands: tuple[str, ...]) -> Pixels:
        """Image and labels of a square.

        Raises:
            BadInput: it is of no use; the reason.
        """
        grid, reader = sighting.grid(number, self.side), _reader(self.run, self.retry_seconds)
        labels, scores = self.labels.labels(sighting, grid, reader)
        if not self.labels.teacher:
            # Scenes are read only where there is something to learn.
            self._check_labelled(labels)
        optical, channels = bands_apart(bands)
        seen = ModelSpec(id="chips", version="1", bands=optical, classes=MODEL_CLASSES, stride=1, halo=0)
        look = reader.read(sighting.datatake, seen, *grid)
        if channels:
            radar = RadarReader(sighting.radar, channels, reader, *grid)
            look.bands, unread = radar.beside(look.bands, sighting.datatake.datetime)
            if unread:
                raise BadInput(f"radar unreadable: {unread[0].scene}, {unread[0].reason}")
        for warning in look.warnings:
            log.warning("%s: %s %s", sighting.name(number), warning.scene, warning.reason)
        valid = look.bands[0] > 0
        if valid.mean() < _LEAST_SEEN:
            if look.problems:
                raise BadInput(f"scene unreadable: {look.problems[0].scene}, {look.problems[0].reason}")
            raise BadInput(f"empty: {100 * valid.mean():.0f} % of it have data")
        cloud = MODEL_CLASSES.index(CLOUD)
        if look.scl is not None and not self.labels.tells_clouds:
            labels[np.isin(look.scl, (SCL_SHADOW, _SCL_DEFECTIVE))] = UNLABELLED
            labels[SCL_CLOUD[look.scl]] = cloud
        labels[~valid] = UNLABELLED
        if 100 * (labels == cloud).mean() > self.choice.max_cloud:
            raise BadInput(f"cloudy: {100 * (labels == cloud).mean():.0f} % of it, above --max-cloud")
        self._check_labelled(labels)
        return Pixels(look.bands, labels, scores)

    def _check_labelled(self, labels: np.ndarray) -> None:
        share = 100 * float((labels != UNLABELLED).mean())
        if share < self.choice.min_labelled or not share:
            least = f"--min-labelled {self.choice.min_labelled:g}"
            raise BadInput(f"unlabelled: {share:.0f} % of it are labelled, less than {least}")

    def _find(self, store: Store, element: str) -> tuple[Sighting, int]:
        name, _, number = element.partition("/")
        return find_sighting(store, name), int(number)


def sighting_key(name: str) -> str:
    """Where a sighting is written down."""
    return f"candidates/{name}.json"


@functools.lru_cache(maxsize=32)
def find_sighting(store: Store, name: str) -> Sighting:
    """A sighting that was planned."""
    return Sighting.model_validate_json(store.read(sighting_key(name)))


@functools.lru_cache(maxsize=1)
def _reader(run: str, retry_seconds: float) -> SceneReader:
    return SceneReader(retry_seconds)
