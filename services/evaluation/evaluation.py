"""An evaluation: what was compared with what, and how far they agree, pooled and by group. Written as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field
from rich.table import Table

from catalog.errors import BadInput
from services.evaluation.agreement import FEWEST_PLACES, RESAMPLES, Agreement, Tally, measure

Kind = Literal["teacher", "labels", "polygons", "points"]


class Reference(BaseModel):
    """What was compared with; it may err itself, so all shares are of agreement with it."""

    name: str = Field(description="as it stands in titles: agreement with …")
    kind: Kind = Field(description="a teacher network's answers, labels of chips, polygons or points")
    unit: str = Field(description="what is resampled for the intervals: place, polygon or point")


class ClassStyle(BaseModel):
    """How a class is called and drawn."""

    name: str
    title: str
    color: str = Field(description="RGB, hexadecimal")


class Evaluation(BaseModel):
    """How far a network or a map agrees with a reference. All shares are 0 to 1."""

    subject: str = Field(description="the network with its version, or the published item")
    data: str = Field(description="the chips and their split, or the reference's file")
    reference: Reference
    classes: list[ClassStyle] = Field(description="in the order of the confusion matrices")
    pooled: Agreement = Field(description="all pixels together")
    groups: dict[str, list[Agreement]] = Field(description="the same by level, source, scene, place, polygon or point")
    left_out: dict[str, int] = Field(description="pixels (or points) that could not be compared, by reason")
    intervals: str = f"95 %, {RESAMPLES} resamples; not estimable below {FEWEST_PLACES} that hold the class"

    @property
    def title(self) -> str:
        """Names both sides."""
        return f"Agreement of {self.subject} with {self.reference.name}"

    def style(self, name: str) -> ClassStyle:
        """The style of a class."""
        return next(one for one in self.classes if one.name == name)

    def table(self) -> Table:
        """Pooled agreement by class, for the terminal."""
        table = Table(title=f"{self.title}: {self.pooled.overall}", title_justify="left", caption_justify="left")
        unit = self.reference.unit
        for column in ("class", "pixels", f"{unit}s", "precision (user's)", "recall (producer's)", "F1", "IoU"):
            table.add_column(column, justify="left" if column == "class" else "right")
        for one in self.pooled.classes:
            shares = (one.precision, one.recall, one.f1, one.iou)
            table.add_row(self.style(one.name).title, f"{one.pixels:,}", f"{one.places:,}", *map(str, shares))
        table.caption = "\n".join(self.remarks())
        return table

    def remarks(self) -> list[str]:
        """What stands beside the table of classes, a sentence each."""
        pooled, unit = self.pooled, self.reference.unit
        told = [
            f"{pooled.pixels:,} px of {pooled.places:,} {unit}s; mean over {unit}s {pooled.mean_over_places}. "
            f"In brackets: {self.intervals}; {unit}s are resampled.",
            f"Expected calibration error {pooled.calibration.error}; mean confidence "
            f"{100 * (pooled.calibration.confidence or 0):.1f} %.",
        ]
        if worst := pooled.false_cloud:
            told.append(
                f"Largest share of false cloud in a clear {unit}: {100 * worst.share:.2f} % of {worst.place} "
                f"({worst.pixels:,} px), among {worst.clear_places:,} without cloud."
            )
        told += [f"Left out: {count:,} {reason}." for reason, count in self.left_out.items() if count]
        return told


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
        left_out=dict(left_out),
    )
