"""Intervals of many figures at once, as arrays: what tables of zones are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from services.change.interval_columns import Interval, joined


@dataclass
class Told:
    """Intervals of many figures, arrays of one shape."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kind: np.ndarray
    source: np.ndarray
    reason: np.ndarray

    @classmethod
    def nothing(cls, shaped: tuple[int, ...], reason: str) -> Told:
        """None at all."""
        numbers = (np.full(shaped, np.nan) for _ in range(3))
        return cls(*numbers, *(np.full(shaped, text, object) for text in ("no interval", "", reason)))

    def clear(self, at: Any, reason: str) -> None:
        """Tell none, and why."""
        self.estimate[at] = self.low[at] = self.high[at] = np.nan
        self.kind[at], self.source[at], self.reason[at] = "no interval", "", reason

    def explain(self, at: Any, reason: str) -> None:
        """Why there is nothing better than what is told there already; an empty reason changes nothing."""
        if reason:
            before = self.reason[at]
            texts = {one: joined(reason, one) for one in set(before.ravel().tolist())}
            self.reason[at] = np.array([texts[one] for one in before.ravel()], object).reshape(before.shape)

    def put(self, at: Any, one: Interval) -> None:
        """One figure."""
        self.estimate[at], self.low[at], self.high[at] = one.estimate, one.low, one.high
        self.kind[at], self.source[at], self.reason[at] = one.kind, one.source, one.reason

    def columns(self, factors: dict[str, np.ndarray | float]) -> pd.DataFrame:
        """As `interval_columns`: the figure in several units, by what it is multiplied with."""
        columns = {
            f"{prefix}_{name}": (value * factor).ravel()
            for name, factor in factors.items()
            for prefix, value in (("estimated", self.estimate), ("low", self.low), ("high", self.high))
        }
        texts = (("interval", self.kind), ("interval_source", self.source), ("interval_reason", self.reason))
        return pd.DataFrame(columns | {name: pd.Categorical(one.ravel()) for name, one in texts})


@dataclass
class ZoneIntervals:
    """Of all figures of zones; hectares, and relative changes as shares."""

    areas: Told
    """`[zones, years, classes]`"""
    net: Told
    """`[zones, classes]`, from the first year to the last."""
    relative: Told
    """`[zones, classes]`"""
    changed: Told
    """`[zones]`"""
    transitions: Told
    """Of each of `Zonal.pairs`."""
