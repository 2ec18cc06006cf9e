"""An interval of a true figure behind a mapped one, and the columns that tell it: the same in all tables of change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from services.change.domains import DomainSample
from services.change.estimation import Estimate
from services.change.reference import Reference
from services.change.scenarios import Range
from services.change.source_accuracy import SourceAccuracy
from services.change.told import figure_told

Kind = Literal["95 % interval", "synthetic", "scenario range", "scaled by overall accuracy", "no interval"]
_NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """What is known of one true figure, in the unit of the mapped one."""

    kind: Kind = "no interval"
    """`synthetic`: too few units lie there, so each stratum is taken to err there as it does in the whole sample."""
    estimate: float = _NAN
    """From a reference sample alone: scenarios have none that is better than the others."""
    low: float = _NAN
    high: float = _NAN
    source: str = ""
    reason: str = ""
    """Why there is none, or none that is better."""

    def told(self, mapped: float, unit: str) -> str:
        """The mapped figure and what is known of the true one, as `11.2 % +- 1.68 % (scaled by overall accuracy)`."""
        start = f"{figure_told(mapped)} {unit}"
        if self.kind == "no interval":
            return f"{start} ({self.kind}: {self.reason})"
        if self.kind == "scaled by overall accuracy":
            return f"{start} +- {figure_told((self.high - self.low) / 2, 2)} {unit} ({self.kind})"
        limits = f"{figure_told(self.low)} to {figure_told(self.high)} {unit}"
        if self.kind == "scenario range":
            return f"{start}, {limits} ({self.kind})"
        return f"{start} mapped, {figure_told(self.estimate)} {unit} estimated ({limits}, {self.kind})"

    def properties(self) -> dict[str, float | str | None]:
        """As items tell it, to four decimals; null where not known."""
        numbers = {"estimated": self.estimate, "low": self.low, "high": self.high}
        told = {name: None if np.isnan(one) else round(one, 4) for name, one in numbers.items()}
        return {**told, "kind": self.kind, "source": self.source, "reason": self.reason}

    def scaled(self, factor: float) -> Interval:
        """In another unit."""
        return replace(self, estimate=self.estimate * factor, low=self.low * factor, high=self.high * factor)


def interval_columns(figures: Mapping[str, Sequence[Interval]]) -> pd.DataFrame:
    """The columns of a table that tell the intervals of one or more of its figures.

    Args:
        figures: name of a column without `mapped_`, and an interval for each row. The first figure's kind is the row's.

    Returns:
        For each figure `estimated_{name}`, `low_{name}`, `high_{name}`; then `interval` (the kind), `interval_source`,
        `interval_reason`.
    """
    columns: dict[str, np.ndarray | list[str]] = {}
    for name, told in figures.items():
        for prefix, what in (("estimated", "estimate"), ("low", "low"), ("high", "high")):
            columns[f"{prefix}_{name}"] = np.array([getattr(one, what) for one in told], float)
    rows = list(zip(*figures.values(), strict=True))
    columns["interval"] = [row[0].kind for row in rows]
    columns["interval_source"] = [row[0].source for row in rows]
    columns["interval_reason"] = ["; ".join(dict.fromkeys(one.reason for one in row if one.reason)) for row in rows]
    return pd.DataFrame(columns)


def interval_of(row: pd.Series, name: str) -> Interval:
    """The interval of a figure, from a row of a table."""
    low, high, estimate = (float(row[f"{one}_{name}"]) for one in ("low", "high", "estimated"))
    return Interval(row["interval"], estimate, low, high, row["interval_source"], row["interval_reason"])


def from_sample(estimate: Estimate | None, reference: Reference, domain: DomainSample) -> Interval:
    """An estimate as an interval; the one that holds where errors are rare, too."""
    if estimate is None:
        return Interval(reason="no unit of the sample is of the class, so there is nothing to divide by")
    few = int(domain.inside.sum())
    direct = domain.method == "direct"
    reason = "" if direct else borrowing(few)
    kind: Kind = "95 % interval" if direct else "synthetic"
    return Interval(kind, estimate.value, estimate.low, estimate.high, reference.told, reason)


def borrowing(units: int) -> str:
    """What stands beside a synthetic estimate."""
    return f"{units} units lie here: the strata are taken to err here as in the whole sample"


def from_range(one: Range, accuracy: SourceAccuracy, reason: str) -> Interval:
    """A range of an area as an interval, and why there is none that is better."""
    if one.low is None or one.high is None:
        return Interval(reason=joined(reason, one.reason))
    return Interval(one.kind, low=one.low, high=one.high, source=accuracy.figure, reason=reason)


def joined(*reasons: str) -> str:
    """Reasons as one; empty ones are left out."""
    return "; ".join(one for one in reasons if one)
