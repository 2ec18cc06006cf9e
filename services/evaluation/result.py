"""The result of an evaluation: what was compared with what, and how far they agree. Written as JSON.

All shares are 0 to 1. They are shares of agreement with a reference that may err itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich import box
from rich.table import Table

SIBLINGS = "siblings"
"""Kind of the groups of pixels that are of one split class, each judged among its parts alone."""
Kind = Literal["teacher", "labels", "polygons", "points"]


class Estimate(BaseModel):
    """A share and where it lies in 95 % of the resamples of places."""

    model_config = ConfigDict(frozen=True)

    value: float | None = Field(description="0 to 1; null where there is nothing to share")
    low: float | None = Field(default=None, description="2.5th percentile; null: not estimable, fewer than five places")
    high: float | None = Field(default=None, description="97.5th percentile; null as `low`")

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        if self.low is None or self.high is None:
            return f"{100 * self.value:.1f} % (not estimable)"
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"

    def in_two_lines(self) -> str:
        """The share over its interval, for narrow columns."""
        return str(self).replace(" (", "\n").replace(" to ", "–").removesuffix(")")


class ClassAgreement(BaseModel):
    """One class; each share with its interval."""

    name: str
    pixels: int = Field(description="of this class in the reference")
    found: int = Field(description="pixels said to be of this class")
    places: int = Field(description="places whose reference holds this class")
    precision: Estimate = Field(description="of the pixels found, those that the reference has too (the user's)")
    recall: Estimate = Field(description="of the reference's pixels, those found (the producer's)")
    f1: Estimate = Field(description="harmonic mean of precision and recall")
    iou: Estimate = Field(description="pixels in both over pixels in either")


class Bin(BaseModel):
    """One bar of the reliability diagram."""

    low: float = Field(description="confidence above this, 0 to 1")
    high: float = Field(description="and up to this")
    pixels: int
    confidence: float | None = Field(description="mean confidence; null without pixels")
    agreement: float | None = Field(description="share of the pixels that agree; null without pixels")


class Calibration(BaseModel):
    """Whether pixels of 80 % confidence agree in 80 % of the cases."""

    error: Estimate = Field(description="expected calibration error, 15 bins of equal width (Guo et al. 2017)")
    confidence: float | None = Field(description="mean confidence, 0 to 1; above the agreement: too sure")
    bins: list[Bin]


class FalseCloud(BaseModel):
    """The clear place of which most was called cloud."""

    place: str
    share: float = Field(description="of its pixels, 0 to 1")
    pixels: int = Field(description="of the place, all clear in the reference")
    clear_places: int = Field(description="among how many places without cloud it is the worst")


class Agreement(BaseModel):
    """All that is told of a group of places, or of one."""

    name: str
    pixels: int
    places: int
    overall: Estimate = Field(description="share of the pixels on which both agree")
    mean_over_places: Estimate = Field(description="mean of the places' shares: each place counts once")
    classes: list[ClassAgreement] = Field(description="those in the reference or found")
    confusion: list[list[int]] = Field(description="pixels by the reference's class (row) and the one found (column)")
    calibration: Calibration
    false_cloud: FalseCloud | None = Field(description="null without the class cloud or without a clear place")


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
    intervals: str = Field(description="how they were made, in words")
    confidence: str = Field(default="", description="which is judged, in words; empty: the subject's own")

    @property
    def title(self) -> str:
        """Names both sides."""
        return f"Agreement of {self.subject} with {self.reference.name}"

    def style(self, name: str) -> ClassStyle:
        """The style of a class."""
        return next(one for one in self.classes if one.name == name)

    def table(self) -> Table:
        """Pooled agreement by class, for the terminal."""
        table = _table(f"{self.title}: {self.pooled.overall}")
        unit = self.reference.unit
        for column in ("class", "pixels", f"{unit}s", "precision (user's)", "recall (producer's)", "F1", "IoU"):
            widest = max(map(len, column.split()))
            table.add_column(column, justify="left" if column == "class" else "right", min_width=widest)
        for one in self.pooled.classes:
            shares = (one.precision, one.recall, one.f1, one.iou)
            told = [share.in_two_lines() for share in shares]
            table.add_row(self.style(one.name).title, f"{one.pixels:,}", f"{one.places:,}", *told)
        table.caption = "\n".join(self.remarks())
        return table

    def calibrations(self, kinds: Sequence[str]) -> Table:
        """How far confidence and agreement lie apart in the groups of some kinds, for the terminal."""
        table = _table("Calibration")
        for column in ("", "pixels", f"{self.reference.unit}s", "agreement", "mean confidence", "calibration error"):
            table.add_column(column, justify="left" if not column else "right")
        for kind in kinds:
            for one in self.groups.get(kind, []):
                mean = f"{100 * (one.calibration.confidence or 0):.1f} %"
                told = (one.overall.in_two_lines(), mean, one.calibration.error.in_two_lines())
                table.add_row(one.name, f"{one.pixels:,}", f"{one.places:,}", *told)
            table.add_section()
        return table

    def remarks(self) -> list[str]:
        """What stands beside the table of classes, a sentence each."""
        pooled, unit = self.pooled, self.reference.unit
        told = [
            f"{pooled.pixels:,} px of {pooled.places:,} {unit}s; mean over {unit}s {pooled.mean_over_places}. "
            f"In brackets: {self.intervals}; {unit}s are resampled.",
            f"Expected calibration error {pooled.calibration.error}; mean confidence "
            f"{100 * (pooled.calibration.confidence or 0):.1f} %{f', {self.confidence}' if self.confidence else ''}.",
        ]
        if worst := pooled.false_cloud:
            told.append(
                f"Largest share of false cloud in a clear {unit}: {100 * worst.share:.2f} % of {worst.place} "
                f"({worst.pixels:,} px), among {worst.clear_places:,} without cloud."
            )
        told += [
            f"Where the reference has {one.name}, the right one has the highest score of these in {one.overall}; mean "
            f"over {unit}s {one.mean_over_places} ({one.pixels:,} px of {one.places:,} {unit}s)."
            for one in self.groups.get(SIBLINGS, [])
        ]
        told += [f"Left out: {count:,} {reason}." for reason, count in self.left_out.items()]
        return told


def _table(title: str) -> Table:
    """So narrow that eight columns with intervals fit a terminal of 80 characters."""
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
