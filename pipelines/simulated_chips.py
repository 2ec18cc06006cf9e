"""A training set of simulated places through a year (`pipelines.landscape`, `pipelines.phenology`), for a second stage.

Each place is one landscape of its own, seen on several dates, cloudy ones among them; labels are its true land cover,
the same on all dates, and cloud where a date is cloudy. Places are dealt to `train` and `validation` in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np

from catalog.chips import UNLABELLED, Chip, Pixels, Split
from catalog.errors import BadInput
from catalog.grid import RESOLUTION, Tile
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from catalog.store import Store
from catalog.training_set import TrainingSet
from pipelines.landscape import CLOUD, Overpass, land_cover

_TILE = "33UUU"
_HAZE = 0.2
"""Opacity above which a pixel is labelled cloud; thinner veils are not labelled."""
SIMULATED = TrainingSet(
    id="simulated-seasons",
    title="Simulated places through a year",
    description="Landscapes whose land cover is known, their vegetation changing through the year",
    license="CC0-1.0",
    bands=BANDS,
    classes=MODEL_CLASSES,
)


def write_simulated_chips(
    store: Store,
    *,
    places: int = 24,
    dates: int = 12,
    side: int = 128,
    cloud: float = 0.3,
    seed: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Chip]:
    """Write such a set.

    Args:
        store: its own, empty.
        places: how many; the first of three is for validation.
        dates: looks at each, spread over the year.
        side: of a chip, pixels.
        cloud: mean share of cloud.
        seed: of the first place; each has the next one.
        on_progress: called with the places written and in all.

    Raises:
        BadInput: numbers that make no set.
    """
    if places < 3 or dates < 1 or side < 128 or side % 8 or not 0 <= cloud < 1:
        raise BadInput(
            f"{places} places of {side} px with {dates} dates and a share of cloud of {cloud} make no training set. "
            "Give three places or more, a side of 128 px or more that is a multiple of 8, a date or more, and a share "
            "from 0 to 1."
        )
    tile = Tile.from_name(_TILE)
    for number in range(places):
        on_progress(number, places)
        # Far apart, so that each shows another part of an endless plane.
        col, row = (number % 6) * 1600, (number // 6) * 1600
        left, top = tile.left + col * RESOLUTION, tile.top - row * RESOLUTION
        x, y = left + (np.arange(side) + 0.5) * RESOLUTION, top - (np.arange(side) + 0.5) * RESOLUTION
        truth = land_cover(x, y, 0, 0.0, seed + number)
        for k in range(dates):
            day = datetime(2021, 1, 8, 10, 30, tzinfo=UTC) + timedelta(days=int(k * 365 / dates))
            overpass = Overpass(day, 0, k, cloud, False, seed + number, phenology=True)
            split: Split = "train" if number % 3 else "validation"
            chip = Chip(
                id=f"simulated-{seed + number}-{day:%Y%m%d}",
                place=f"simulated-{seed + number}",
                split=split,
                scene=f"simulated-{seed + number}-{day:%Y%m%d}",
                level="L2A",
                source="simulated",
                date=day,
                epsg=tile.epsg,
                transform=(RESOLUTION, 0, left, 0, -RESOLUTION, top),
                shape=(side, side),
            )
            SIMULATED.write_chip(store, chip, _pixels(overpass, truth, x, y))
    return SIMULATED.publish(store)


def _pixels(overpass: Overpass, truth: np.ndarray, x: np.ndarray, y: np.ndarray) -> Pixels:
    reflectance, _ = overpass.look(truth, x, y)
    random = np.random.default_rng([overpass.seed, overpass.number])
    image = np.clip(reflectance + random.integers(-25, 26, reflectance.shape), 1, 20_000).astype(np.uint16)
    opacity = overpass.clouds(x, y)
    labels = np.where(opacity > _HAZE, CLOUD, np.where(opacity > 0, UNLABELLED, truth)).astype(np.uint8)
    return Pixels(image, labels)
