"""Pooling what was counted, and each of its groups, into the result of an evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.errors import BadInput
from services.evaluation.agreement import FEWEST_PLACES, RESAMPLES, Tally, measure
from services.evaluation.result import Agreement, ClassStyle, Evaluation, Reference


@dataclass(frozen=True)
class Part:
    """What was counted together: a chip, or all of a map."""

    tally: Tally
    groups: Mapping[str, str]
    """Group by kind, as `{"level": "L2A"}`."""


def summarize(
    subject: str,
    data: str,
    reference: Reference,
    classes: Sequence[ClassStyle],
    parts: Sequence[Part],
    left_out: Mapping[str, int],
    cloud: str | None = None,
    confidence: str = "",
) -> Evaluation:
    """Pool what was counted, and each of its groups.

    Args:
        subject: network or map, as it is named in titles.
        data: where the pixels come from.
        reference: what they were compared with.
        classes: in the order of the tallies.
        parts: what was counted.
        left_out: pixels not compared, by reason.
        cloud: name of the class that is cloud, if there is one.
        confidence: which is judged, in words, if it is not the subject's own.

    Raises:
        BadInput: nothing was counted.
    """
    if not any(part.tally.confusion.any() for part in parts):
        raise BadInput(f"Nothing of {data} can be compared with {reference.name}: no pixel has a class in both.")
    names = [one.name for one in classes]
    number = names.index(cloud) if cloud else None

    def measured(name: str, tallies: Sequence[Tally]) -> Agreement:
        return measure(name, Tally.together(tallies), names, number)

    grouped: dict[str, dict[str, list[Tally]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        if part.tally.confusion.any():
            for kind, group in part.groups.items():
                grouped[kind][group].append(part.tally)
    groups = {
        kind: [measured(name, tallies) for name, tallies in sorted(found.items())] for kind, found in grouped.items()
    }
    return Evaluation(
        subject=subject,
        data=data,
        reference=reference,
        classes=list(classes),
        pooled=measured("pooled", [part.tally for part in parts]),
        groups=groups,
        left_out={reason: count for reason, count in left_out.items() if count},
        intervals=f"95 %, {RESAMPLES} resamples; not estimable below {FEWEST_PLACES} that hold the class",
        confidence=confidence,
    )
