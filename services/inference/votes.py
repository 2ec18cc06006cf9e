"""Votes over the dates of a place, judged by what the labels of the same dates vote: is a map's confidence right?

Every run of consecutive dates of a place is one vote: of ten months ten of one look, ten of two, … and one of all ten.
A pixel counts where at least half of the looks at it have a label. Looks of unknown date are months of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar

from catalog.clear import clear_pixels
from catalog.errors import BadInput
from catalog.legend import CLOUD, Legend, load_legend
from catalog.model import MODEL_CLASSES, Network, Provenance, VoteCalibration
from catalog.vote import Vote, confidence
from services.evaluation.agreement import Tally
from services.evaluation.result import ClassStyle, Evaluation
from services.evaluation.summary import Part, summarize
from services.inference.chips import Chip
from services.inference.evaluate import as_wanted, check, predict, reference_of
from services.inference.temperature import as_the_others_say

Confidence = Literal["published", "cross-fitted", "share"]
"""Of a vote: as the network's maps publish it; each place's by the temperature and correlation that the others give; or
the plain share of the vote."""
_PIXELS = 2000
"""Drawn from each vote."""
_PLAIN_SHARE = 1.0
"""Correlation of errors with which any number of looks is worth one."""


@dataclass(frozen=True)
class Outcome:
    """Pixels of one vote."""

    place: str
    level: str
    looks: int
    votes: np.ndarray
    """float32 `[codes, n]`, see `Vote.close`."""
    found: np.ndarray
    """Which code won, `[n]`."""
    wanted: np.ndarray
    """Which the labels' vote names, `[n]`."""

    def confidence(self, correlation: float) -> np.ndarray:
        """Of the code that won, 0 to 1, `[n]`."""
        return confidence(self.votes, correlation)


def outcomes(
    network: Network,
    chips: Sequence[Chip],
    legend: Legend,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    provenance: Provenance | None = None,
) -> list[Outcome]:
    """Vote over every run of dates of every place.

    Args:
        network: its bands and classes among the chips'.
        chips: with labels; those on one grid are looks at the same pixels.
        legend: whose classes are voted on.
        on_progress: called with the chips done and in all.
        provenance: of the network: scores are then of the temperature that the other places give.

    Raises:
        BadInput: a network of other bands or classes.
    """
    check(network.spec)
    random, found, done = np.random.default_rng(0), [], 0
    for stack in stacks(chips):
        looks = [look_at(network, chip, provenance) for chip in stack]
        for run in _runs(len(stack)):
            found.append(_outcome(network, [stack[k] for k in run], [looks[k] for k in run], legend, random))
        done += len(stack)
        on_progress(done, len(chips))
    return [one for one in found if one.wanted.size]


def stacks(chips: Sequence[Chip]) -> list[list[Chip]]:
    """Chips that show the same pixels at several dates, in order of time; others are alone.

    The same pixels are those of one place on one grid. Chips of one scene there are not: their grids are made up.
    """
    together = defaultdict(list)
    for chip in chips:
        together[chip.place, chip.grid, chip.classes.shape].append(chip)
    found = []
    for stack in together.values():
        one_each = len({chip.scene for chip in stack}) == len(stack)
        found += [sorted(stack, key=_when)] if one_each else [[chip] for chip in stack]
    return found


def fit(found: Sequence[Outcome]) -> float:
    """The correlation of errors that makes the confidence of several looks most likely; places count alike.

    Args:
        found: votes, some of them over several looks.
    """
    places = defaultdict(list)
    for one in found:
        if one.looks > 1:
            places[one.place].append(one)

    def surprise(correlation: float) -> float:
        of_place = []
        for votes in places.values():
            sure = np.concatenate([one.confidence(correlation) for one in votes]).astype(float).clip(0.01, 0.99)
            right = np.concatenate([one.found == one.wanted for one in votes])
            of_place.append(-np.log(np.where(right, sure, 1 - sure)).mean())
        return float(np.mean(of_place))

    return float(minimize_scalar(surprise, bounds=(0, 1), method="bounded", options={"xatol": 1e-3}).x)


def fit_by_the_others(found: Sequence[Outcome]) -> dict[str, float]:
    """For each place the correlation that the places with several dates give, itself left out; none with too few."""
    several = {one.place for one in found if one.looks > 1}
    if len(several) < 2:
        return {}
    every = fit(found)
    # A place of one date takes no part in the fit.
    return {
        place: fit([one for one in found if one.place != place]) if place in several else every
        for place in {one.place for one in found}
    }


def calibrate(
    network: Network, chips: Sequence[Chip], reference: str = "", provenance: Provenance | None = None
) -> VoteCalibration | None:
    """Fit what makes the confidence of the network's maps mean what it says.

    Args:
        network: its scores are calibrated for single looks.
        chips: of places that were not learned.
        reference: whose labels they are; by default as the chips tell.
        provenance: of the network: scores are then of the temperature that the other places give.

    Returns:
        None with fewer than two places of several dates.

    Raises:
        BadInput: a network of other bands or classes.
    """
    found = outcomes(network, chips, load_legend("nine"), provenance=provenance)
    without = fit_by_the_others(found)
    if not without:
        return None
    several = [one for one in found if one.looks > 1]
    pixels, agree, sure = Tally.together([_tally(one, without) for one in several]).reliability.sum(axis=0).T
    return VoteCalibration(
        correlation=round(fit(found), 3),
        reference=reference_of(chips, reference).name,
        places=len({one.place for one in several}),
        error=round(float(np.abs(agree - sure).sum() / pixels.sum()), 4),
    )


def evaluate_votes(
    network: Network,
    chips: Sequence[Chip],
    data: str,
    told: Confidence,
    reference: str = "",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    provenance: Provenance | None = None,
) -> Evaluation:
    """Compare votes over the dates of places with what their labels vote.

    Args:
        network: its bands and classes among the chips'.
        chips: as `read_chips` gives them.
        data: what they are, for titles.
        told: which confidence is judged.
        reference: whose labels they are; by default as the chips tell.
        on_progress: called with the chips done and in all.
        provenance: of the network, for the confidence `cross-fitted`.

    Raises:
        BadInput: a network of other bands or classes, no label at all, or nothing to fit on.
    """
    legend = load_legend("nine")
    found = outcomes(network, chips, legend, on_progress, provenance if told == "cross-fitted" else None)
    correlations = _correlations(network, found, told)
    land = [one for one in sorted(legend.classes, key=lambda one: one.code) if CLOUD not in one.model_classes]
    return summarize(
        subject=f"votes of {network.spec.id} {network.spec.version}",
        data=f"{data}; votes over the dates of each place, confidence {told}",
        reference=reference_of(chips, reference),
        classes=[ClassStyle(name=one.name, title=one.title, color=one.color) for one in land],
        parts=[Part(_tally(one, correlations), _groups(one)) for one in found],
        left_out={},
    )


def _correlations(network: Network, found: Sequence[Outcome], told: Confidence) -> Mapping[str, float]:
    """By place."""
    if told == "cross-fitted":
        if without := fit_by_the_others(found):
            return without
        several = len({one.place for one in found if one.looks > 1})
        raise BadInput(
            f"A vote's confidence is fitted across places, and {several} have several dates on one grid. "
            "Give more, or judge the confidence 'published' or 'share'."
        )
    calibration = network.spec.vote
    own = calibration.correlation if calibration and told == "published" else _PLAIN_SHARE
    return dict.fromkeys((one.place for one in found), own)


def _groups(one: Outcome) -> dict[str, str]:
    several = "one look" if one.looks == 1 else "several looks"
    looks = next(name for least, name in _LOOKS if one.looks >= least)
    return {"level": f"{one.level}, {several}", "looks": looks, "place": f"{one.place}, {several}"}


_LOOKS = ((10, "from 10 looks"), (5, "5 to 9 looks"), (3, "3 and 4 looks"), (2, "2 looks"), (1, "1 look"))


def _tally(one: Outcome, correlations: Mapping[str, float]) -> Tally:
    sure = one.confidence(correlations[one.place])
    return Tally.count((one.place,), len(one.votes), np.zeros(one.found.size, int), one.wanted, one.found, sure)


def _when(chip: Chip) -> tuple[str, str]:
    return (chip.date.isoformat() if chip.date else "", chip.scene)


def _runs(dates: int) -> Iterator[list[int]]:
    """Runs of consecutive dates, round the end of the list, each in order of time."""
    for length in range(1, dates + 1):
        for first in range(dates if length < dates else 1):
            yield sorted((first + k) % dates for k in range(length))


def look_at(network: Network, chip: Chip, provenance: Provenance | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores `[classes, H, W]`, and which pixels are clear, as in a map; see `as_the_others_say` for `provenance`."""
    scores = predict(network, as_wanted(chip, network.spec))
    scores = np.rint(as_the_others_say(scores, chip.place, provenance)).astype(np.uint8)
    spec, seen = network.spec, chip.image.max(axis=0) > 0
    clear, _ = clear_pixels(scores, seen, None, spec.classes, parents=spec.parents)
    return scores, clear


def _outcome(
    network: Network,
    chips: Sequence[Chip],
    looks: Sequence[tuple[np.ndarray, np.ndarray]],
    legend: Legend,
    random: np.random.Generator,
) -> Outcome:
    shape = chips[0].classes.shape
    network_vote, labels_vote = (
        Vote(classes, shown, shape)
        for classes, shown in ((network.spec.classes, legend.fitted(network.spec)), (MODEL_CLASSES, legend))
    )
    seen, labelled = np.zeros(shape, int), np.zeros(shape, int)
    dated = all(chip.date for chip in chips)
    for number, (chip, (scores, clear)) in enumerate(zip(chips, looks, strict=True)):
        month = (chip.date.year, chip.date.month) if dated and chip.date else (1, number)
        known = clear & chip.valid
        network_vote.add(month, scores, clear, clear)
        sure = np.where(chip.classes == np.arange(len(MODEL_CLASSES))[:, None, None], 255, 0).astype(np.uint8)
        labels_vote.add(month, sure, known, known)
        seen, labelled = seen + clear, labelled + known
    found, votes = _closed(network_vote)
    wanted, _ = _closed(labels_vote)
    counted = np.flatnonzero((labelled > 0) & (2 * labelled >= seen))
    drawn = random.permutation(counted)[:_PIXELS]
    return Outcome(
        place=chips[0].place,
        level=" and ".join(sorted({chip.level for chip in chips})),
        looks=len(chips),
        votes=votes.reshape(len(votes), -1)[:, drawn],
        found=found.ravel()[drawn],
        wanted=wanted.ravel()[drawn],
    )


def _closed(vote: Vote) -> tuple[np.ndarray, np.ndarray]:
    """Which code won, `[H, W]`, and the votes, `[codes, H, W]`."""
    strips = [(winner, votes) for _, winner, votes in vote.close()]
    return np.concatenate([one for one, _ in strips]), np.concatenate([one for _, one in strips], axis=1)
