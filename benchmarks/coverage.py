"""In how many samples do intervals hold the truth? Truths: Table 8 of Olofsson et al. (2014), a map of eight classes.

2,000 samples are drawn from a known truth. For each class the share of samples is told whose interval holds its true
area, or its true producer's accuracy: of the usual interval, and of the one that Landloom tells beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from benchmarks.report import Figure
from services.change.domains import FEWEST_UNITS
from services.change.estimation import Count, Estimate, Strata

DRAWS = 2000
_SEED = 0
_FIELDS = ("value", "half_width", "low", "high")
TABLE_8 = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
TABLE_8_PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])


@dataclass(frozen=True)
class Coverage:
    """Shares of samples, 0 to 1, whose interval of one class holds the truth."""

    name: str
    omissions: float
    """Units that the map omits, expected in a sample."""
    usual: float
    """Of the area, the usual interval."""
    holds: float
    """Of the area, Landloom's."""
    wider: float
    """Mean width of Landloom's over that of the usual one."""
    usual_producers: float
    """Of the producer's accuracy, the usual interval."""
    holds_producers: float


def coverage() -> list[Figure]:
    """Per cent of the samples; the usual interval is held to its goal where ten or more omissions are expected."""
    figures, truths = [], {"Table 8": of_table_8(), "eight classes": of_eight_classes()}
    for title, found in truths.items():
        for one in found:
            area, producers = 100 * one.holds, 100 * one.holds_producers
            note = f"{one.omissions:.1f} omissions; usual {100 * one.usual:.1f} %, {one.wider:.2f} times as wide"
            figures.append(Figure(f"{title}, {one.name}: area held, %", area, ">= 93", note))
            note = f"usual {100 * one.usual_producers:.1f} %"
            figures.append(Figure(f"{title}, {one.name}: producer's accuracy held, %", producers, "", note))
    for title, share in of_changes().items():
        figures.append(Figure(f"Table 8, {title}: held, %", 100 * share, ">= 93", "areas of change in samples of 640"))
    often = [one.usual for found in truths.values() for one in found if one.omissions >= 10]
    figures.append(Figure("usual, ten omissions or more, lowest %", 100 * min(often), ">= 93"))
    figures.append(Figure("usual, ten omissions or more, highest %", 100 * max(often), "< 97"))
    return figures


def of_table_8(draws: int = DRAWS) -> list[Coverage]:
    """The sample of Table 8 drawn again and again from what it estimates."""
    names = ("deforestation", "forest gain", "stable forest", "stable non-forest")
    truth = TABLE_8 / TABLE_8.sum(axis=1, keepdims=True)
    return simulate(names, truth, TABLE_8_PIXELS, TABLE_8.sum(axis=1), draws)


def of_changes(draws: int = DRAWS, part: float = 0.1) -> dict[str, float]:
    """Share of samples whose interval holds the truth: of net and relative change, and of a zone with its own units.

    Args:
        draws: samples.
        part: of each stratum that lies in the zone, which errs there as elsewhere.
    """
    random, truth = np.random.default_rng(_SEED), TABLE_8 / TABLE_8.sum(axis=1, keepdims=True)
    units, weights = TABLE_8.sum(axis=1), TABLE_8_PIXELS / TABLE_8_PIXELS.sum()
    strata, every = Strata.of("abcd", weights, units), np.ones(4, bool)
    lost, gained, forest, _ = weights @ truth
    right = {
        "net change of forest": gained - lost,
        "relative change of forest": (gained + forest) / (lost + forest) - 1,
    }
    right |= {"stable forest in a tenth of the ground": forest, "net change in a tenth of the ground": gained - lost}
    held: dict[str, list[bool]] = {name: [] for name in right}
    for _ in range(draws):
        drawn = np.stack([random.multinomial(n, p) for n, p in zip(units, truth, strict=True)])
        inside = random.binomial(drawn, part)
        (loss, gain, stable, _), here = drawn.T, inside.T
        before, after = Count(loss + stable, every), Count(gain + stable, every)
        told = {
            "net change of forest": strata.difference(Count(gain, every), Count(loss, every)),
            "relative change of forest": strata.relative(after, before, stable),
        }
        if inside.sum() >= FEWEST_UNITS:
            rest = Count(inside.sum(axis=1) - here[2], every)
            told["stable forest in a tenth of the ground"] = strata.ratio(Count(here[2], every), rest)
            net = strata.difference(Count(here[1], every), Count(here[0], every))
            told["net change in a tenth of the ground"] = net.scaled(1 / part)
        for name, one in told.items():
            if one is not None:
                held[name].append(one.low <= right[name] <= one.high)
    return {name: float(np.mean(one)) for name, one in held.items()}


def of_eight_classes(draws: int = DRAWS, size: int = 600) -> list[Coverage]:
    """A map that errs as Impact Observatory's of 2020: 600 units in proportion to area, at least 50 a class."""
    file = resources.files("services.change") / "accuracies" / "published.json"
    published = json.loads(file.read_text())["sources"][0]
    matrix = np.array(published["matrix"], float)
    weights = matrix.sum(axis=1) / matrix.sum()
    units = np.maximum(50, np.round(size * weights)).astype(int)
    return simulate(published["classes"], matrix / matrix.sum(axis=1, keepdims=True), weights, units, draws)


def simulate(
    names: tuple[str, ...] | list[str], truth: np.ndarray, area: np.ndarray, units: np.ndarray, draws: int
) -> list[Coverage]:
    """Coverage by class.

    Args:
        names: of the classes.
        truth: shares of the reference's classes in each class of the map, `[K, K]`.
        area: of the map's classes, `[K]`.
        units: of the sample in each, `[K]`.
        draws: samples.
    """
    random, weights = np.random.default_rng(_SEED), area / area.sum()
    strata = Strata.of(names, weights, units)
    samples = np.stack([random.multinomial(n, p, draws) for n, p in zip(units, truth, strict=True)], axis=1)
    areas, every, found = weights @ truth, np.ones(len(units), bool), []
    for j, name in enumerate(names):
        own = np.arange(len(units)) == j
        of_area, of_producers = [], []
        for counted in samples[:, :, j]:
            of_area.append(strata.share(Count(counted, every)))
            hit, missed = Count(counted * own, own), Count(counted * ~own, ~own)
            # A sample without the class tells no producer's accuracy.
            of_producers += [one] if (one := strata.ratio(hit, missed)) else []
        usual, holds, wider = _held(of_area, areas[j])
        usual_producers, holds_producers, _ = _held(of_producers, weights[j] * truth[j, j] / areas[j])
        omissions = float(units @ truth[:, j] - units[j] * truth[j, j])
        found.append(Coverage(name, omissions, usual, holds, wider, usual_producers, holds_producers))
    return found


def _held(told: list[Estimate], right: float) -> tuple[float, float, float]:
    """Shares of samples whose usual interval and whose other one holds the truth, and the ratio of mean widths."""
    value, half, low, high = (np.array([getattr(one, what) for one in told]) for what in _FIELDS)
    usual, holds = np.abs(value - right) <= half, (low <= right) & (right <= high)
    return float(usual.mean()), float(holds.mean()), float((high - low).mean() / (2 * half).mean())
