"""What a second stage gains over the plain vote, class by class, with intervals over places."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from catalog.second_stage import SecondStage
from services.evaluation.agreement import FEWEST_PLACES, RESAMPLES
from services.inference.season_lessons import Lesson


@dataclass(frozen=True)
class Gain:
    """Of one class, or of all; shares from 0 to 1."""

    name: str
    pixels: int
    places: int
    """That hold it."""
    vote: float
    """F1 of the vote; of all classes the share of pixels that agree."""
    second: float
    """The same of the second stage."""
    interval: tuple[float, float] | None
    """95 % of the difference when places are drawn anew, both judged on the same ones; None with too few places."""


def gains(found: Sequence[Lesson], second: SecondStage, classes: tuple[str, ...]) -> list[Gain]:
    """Judge a second stage and the vote by the same pixels.

    Args:
        found: lessons of places that were not learned, one a place.
        second: the network.
        classes: of the first one.

    Returns:
        All classes together, then each that occurs.
    """
    land = second.spec.classes
    size = len(land)
    confusions = np.array(
        [
            [_confusion(one.wanted, answer, size) for answer in (one.voted, one.decided(second, classes))]
            for one in found
        ]
    )
    times = np.random.default_rng(0).multinomial(len(found), np.full(len(found), 1 / len(found)), RESAMPLES)
    resampled = _scores(np.tensordot(times, confusions, 1))
    told = _scores(confusions.sum(axis=0)[np.newaxis])[0]
    of_class = confusions[:, 0].sum(axis=2)
    rows = []
    for k, name in enumerate(("all", *land)):
        pixels = of_class.sum(axis=1) if k == 0 else of_class[:, k - 1]
        places = int((pixels > 0).sum())
        if not places:
            continue
        interval = None
        if places >= FEWEST_PLACES:
            low, high = np.nanpercentile(resampled[:, 1, k] - resampled[:, 0, k], [2.5, 97.5])
            interval = (float(low), float(high))
        rows.append(Gain(name, int(pixels.sum()), places, float(told[0, k]), float(told[1, k]), interval))
    return rows


def as_table(rows: Sequence[Gain], title: str) -> Table:
    """For the terminal."""
    table = Table(title=title, title_justify="left")
    for column in ("class", "pixels", "places", "vote, F1 %", "second stage, F1 %", "gain, points", "95 % over places"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for one in rows:
        low_high = "not estimable" if one.interval is None else " to ".join(f"{100 * v:+.1f}" for v in one.interval)
        table.add_row(
            "all (agreement)" if one.name == "all" else one.name,
            f"{one.pixels:,}",
            str(one.places),
            f"{100 * one.vote:.1f}",
            f"{100 * one.second:.1f}",
            f"{100 * (one.second - one.vote):+.1f}",
            low_high,
        )
    return table


def as_json(rows: Sequence[Gain]) -> str:
    """The same as a file."""
    return json.dumps([dataclasses.asdict(one) for one in rows], indent=1)


def _confusion(wanted: np.ndarray, answer: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(wanted.astype(np.int64) * size + answer, minlength=size**2).reshape(size, size)


def _scores(confusion: np.ndarray) -> np.ndarray:
    """Agreement, then F1 of each class, `[…, 1 + classes]`, of confusions `[…, classes, classes]`; NaN if it never
    occurs.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    reference, answer = confusion.sum(axis=-1), confusion.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * right / (reference + answer)
        return np.concatenate([right.sum(axis=-1, keepdims=True) / reference.sum(axis=-1, keepdims=True), f1], axis=-1)
