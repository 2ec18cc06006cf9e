"""What a second stage learns from, and is judged by: the votes and the seasons of places that were seen on many dates.

The target of a pixel is the label of the date nearest to the middle of September (of March in the south) that has one
there: late in the season fields, meadows and marshes are told apart best by whoever labels a single date. Labels of
simulated places are the same on all dates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from catalog.errors import BadInput
from catalog.legend import CLOUD, load_legend
from catalog.model import Network
from catalog.season import FEW_LOOKS, Season
from catalog.second_stage import SHARE_SCALE, SecondStage, decided
from catalog.vote import Vote
from services.inference.chips import Chip
from services.inference.evaluate import as_wanted, check
from services.inference.votes import look_at, stacks

_TARGET_DAY = {"north": 258, "south": 77}
"""Of the year: 15 September, 18 March."""
DRAWS = 3
"""How often a place is learned with some of its dates left out, besides once with all."""


@dataclass(frozen=True)
class Lesson:
    """The labelled pixels of one place, voted over some of its dates."""

    place: str
    shares: np.ndarray
    """float32 `[classes but cloud, n]`, of the vote."""
    features: np.ndarray
    """int16 `[SEASON_BANDS, n]`."""
    wanted: np.ndarray
    """uint8 `[n]`, number among the classes but cloud."""

    @property
    def voted(self) -> np.ndarray:
        """Which class the plain vote names, `[n]`."""
        return self.shares.argmax(axis=0)

    @property
    def planes(self) -> np.ndarray:
        """All planes there are, int16 `[planes, n]`, as `catalog.second_stage.planes_of` names them."""
        return np.concatenate([np.rint(self.shares * SHARE_SCALE).astype(np.int16), self.features])

    def decided(self, second: SecondStage, classes: tuple[str, ...]) -> np.ndarray:
        """Which class a second stage names, `[n]`, as in a map made with it."""
        shares, used = decided(second, classes, self.shares[:, np.newaxis], self.features[:, np.newaxis])
        return np.where(used[0], shares[:, 0].argmax(axis=0), self.voted)


def lessons(
    network: Network,
    chips: Sequence[Chip],
    draws: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Lesson]:
    """Vote over the dates of each place and tell its season.

    Args:
        network: the first stage.
        chips: those without a date, and places with fewer than `FEW_LOOKS` of them, show no season and are left out.
        draws: how often a place is given again with half to all of its dates, at least `FEW_LOOKS`.
        on_progress: called with the places done and in all.

    Raises:
        BadInput: a network of other bands or classes, or no place that shows a season.
    """
    check(network.spec)
    seasonal = [stack for stack in stacks([chip for chip in chips if chip.date]) if len(stack) >= FEW_LOOKS]
    if not seasonal:
        raise BadInput(
            f"No place of these training sets has {FEW_LOOKS} dated chips on one grid, so none shows a season. Give "
            "one that has: landloom dataset --year, or landloom simulate-chips."
        )
    random, found = np.random.default_rng(0), []
    for number, stack in enumerate(seasonal):
        on_progress(number, len(seasonal))
        looks = [look_at(network, chip) for chip in stack]
        every = list(range(len(stack)))
        some = [
            sorted(random.choice(every, random.integers(max(FEW_LOOKS, len(stack) // 2), len(stack) + 1), False))
            for _ in range(draws)
        ]
        found += [_lesson(network, [stack[k] for k in run], [looks[k] for k in run], stack) for run in (every, *some)]
    return [one for one in found if one.wanted.size]


def _lesson(
    network: Network, chips: Sequence[Chip], looks: Sequence[tuple[np.ndarray, np.ndarray]], stack: Sequence[Chip]
) -> Lesson:
    classes, shape = network.spec.classes, chips[0].classes.shape
    vote, caught = Vote(classes, load_legend("ten"), shape), []

    def catch(rows: slice, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        caught.append(np.concatenate([shares, season.features(rows)]))
        return shares, np.zeros(shares.shape[1:], bool)

    with (
        tempfile.TemporaryDirectory(prefix="landloom-") as folder,
        closing(Season(network.spec.bands, shape, Path(folder))) as season,
    ):
        for chip, (scores, clear) in zip(chips, looks, strict=True):
            vote.add(_month(chip), scores, clear, clear)
            season.add(_date(chip), as_wanted(chip, network.spec), clear)
        vote.result(decide=catch)
    told = np.concatenate(caught, axis=1)
    target = _target(stack)
    land = [name for name in classes if name != CLOUD]
    # Fewer looks than a second stage is asked for at: the vote stands there.
    known = (target < len(land)) & (told[-1] >= FEW_LOOKS)
    return Lesson(
        place=chips[0].place,
        shares=told[: len(land), known].astype(np.float32),
        features=np.rint(told[len(land) :, known]).astype(np.int16),
        wanted=target[known],
    )


def _target(stack: Sequence[Chip]) -> np.ndarray:
    """Labels, uint8 `[H, W]`: those of the date nearest to the target day come first."""
    epsg = stack[0].grid[0] if stack[0].grid else None
    day = _TARGET_DAY["south" if epsg and 32700 < epsg < 32761 else "north"]

    def apart(chip: Chip) -> int:
        days = abs(_date(chip).timetuple().tm_yday - day)
        return min(days, 365 - days)

    target = np.full(stack[0].classes.shape, 255, np.uint8)
    for chip in sorted(stack, key=apart):
        np.copyto(target, chip.classes, where=(target == 255) & chip.valid)
    return target


def _date(chip: Chip) -> datetime:
    assert chip.date
    return chip.date


def _month(chip: Chip) -> tuple[int, int]:
    return _date(chip).year, _date(chip).month
