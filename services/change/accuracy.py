"""Accuracy and areas of a map, or of a map of change, from reference classes at a probability sample.

Mapped areas are counts of pixels and biased: what the map omits and what it adds seldom cancel. Estimated areas come
from the sample. The strata may be the map's classes (Olofsson et al. 2014), transitions of a map of change, or those of
another map (Stehman 2014): the estimators are the same, see `services.change.estimation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from catalog.errors import BadInput
from services.change.estimation import Count, Estimate, Strata
from services.change.intervals import Z

FEWEST_OMISSIONS = 10
"""With fewer omissions in the sample, the usual interval of an area covers it less often than in 95 %."""


class ClassAccuracy(BaseModel):
    """One class, or one transition. Areas are in the unit of the strata's areas: hectares."""

    model_config = ConfigDict(frozen=True)

    name: str
    mapped: float | None = Field(description="mapped area; null where the map's areas are not known")
    area: Estimate = Field(description="estimated area")
    users: Estimate | None = Field(description="user's accuracy, 0 to 1; null without a unit that is mapped so")
    producers: Estimate | None = Field(description="producer's accuracy, 0 to 1; null without a unit that is so")
    mapped_units: int = Field(description="units of the sample that the map has in this class")
    reference_units: int = Field(description="units that the reference has in it")
    omissions: int = Field(description="units that the reference has in it and the map has not")

    @property
    def rare(self) -> bool:
        """Whether the usual interval of the area is too short to be relied on: few omissions were found."""
        return self.omissions < FEWEST_OMISSIONS


class Accuracy(BaseModel):
    """Accuracy of a map's classes, and their areas."""

    model_config = ConfigDict(frozen=True)

    overall: Estimate = Field(description="overall accuracy, 0 to 1")
    classes: list[ClassAccuracy]
    matrix: list[list[int]] = Field(description="units by the map's class (row) and the reference's (column)")
    shares: list[list[float]] = Field(description="the same as estimated shares of the area")


@dataclass(frozen=True)
class Labels:
    """What each unit is in the map and in the reference."""

    names: tuple[str, ...]
    mapped: np.ndarray
    """Number of the class in the map, int64 `[n]`."""
    reference: np.ndarray
    """Number of the class in the reference, int64 `[n]`."""
    areas: np.ndarray | None = None
    """Area of each class of the map in each stratum, float64 `[H, K]`, where known. A class that does not occur in a
    stratum cannot be mapped there; without these areas it is taken as possible everywhere."""
    total: np.ndarray | None = None
    """Area of each class of the map, float64 `[K]`, where the areas in each stratum are not known."""

    def mapped_area(self, number: int) -> float | None:
        """Of a class; None where it is not known."""
        whole = self.total if self.areas is None else self.areas.sum(axis=0)
        return None if whole is None else float(whole[number])


def assess(strata: Strata, stratum: np.ndarray, labels: Labels) -> Accuracy:
    """Estimate overall accuracy, user's and producer's accuracies, and areas.

    Args:
        strata: with the numbers of interpreted units.
        stratum: of each unit, `[n]`.
        labels: of each unit.
    """
    count, k = len(strata.names), len(labels.names)
    cells = np.zeros((count, k, k), np.int64)
    np.add.at(cells, (stratum, labels.mapped, labels.reference), 1)
    occurs = np.ones((count, k), bool) if labels.areas is None else labels.areas > 0
    # Units know better than rounded areas.
    occurs |= cells.sum(axis=2) > 0
    every = np.ones(count, bool)
    right = np.diagonal(cells, axis1=1, axis2=2)
    total = float(strata.area.sum())
    classes = []
    for j, name in enumerate(labels.names):
        hit = Count(right[:, j], occurs[:, j])
        wrong = Count(cells[:, j].sum(axis=1) - right[:, j], occurs[:, j])
        # A stratum that is wholly mapped as the class has no omission of it.
        elsewhere = np.delete(occurs, j, axis=1).any(axis=1)
        missed = Count(cells[:, :, j].sum(axis=1) - right[:, j], elsewhere)
        reference = Count(cells[:, :, j].sum(axis=1), every)
        classes.append(
            ClassAccuracy(
                name=name,
                mapped=labels.mapped_area(j),
                area=strata.share(reference).scaled(total),
                users=strata.ratio(hit, wrong),
                producers=strata.ratio(hit, missed),
                mapped_units=int(cells[:, j].sum()),
                reference_units=int(reference.units.sum()),
                omissions=int(missed.units.sum()),
            )
        )
    return Accuracy(
        overall=strata.share(Count(right.sum(axis=1), every)),
        classes=classes,
        matrix=cells.sum(axis=0).tolist(),
        shares=np.einsum("h,hij->ij", strata.weights / strata.units, cells).tolist(),
    )


def assess_matrix(
    names: Sequence[str], counts: Sequence[Sequence[int]] | np.ndarray, area: Sequence[float], z: float = Z
) -> Accuracy:
    """The same from an error matrix of sample counts whose strata are the map's classes (Olofsson et al. 2013, 2014).

    Args:
        names: of the classes.
        counts: units by the map's class (row) and the reference's (column), `[K, K]`.
        area: of each class of the map, `[K]`; pixels or hectares.
        z: standard errors to either side, 1.959964 or, as Olofsson et al. (2014) round it, 1.96.

    Raises:
        BadInput: the matrix is not square or holds no counts, or a class has no units.
    """
    matrix = square(names, counts)
    if not np.array_equal(matrix, matrix.astype(np.int64)):
        raise BadInput("An error matrix of a sample holds counts of units: whole numbers. Give counts, not shares.")
    if len(area) != len(names):
        raise BadInput(f"{len(area)} areas are given for {len(names)} classes. Give one for each class of the map.")
    counted = matrix.astype(np.int64)
    strata = Strata.of(names, area, counted.sum(axis=1), z)
    mapped, reference = (np.repeat(one, counted.ravel()) for one in np.indices(counted.shape).reshape(2, -1))
    return assess(strata, mapped, Labels(tuple(names), mapped, reference, np.diag(strata.area)))


def square(names: Sequence[str], matrix: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """An error matrix as float64 `[K, K]`.

    Raises:
        BadInput: it is not square, does not fit the names, or holds what is no count.
    """
    rows = [list(row) for row in matrix]
    widths = sorted({len(row) for row in rows})
    if widths != [len(rows)] or len(rows) != len(names):
        raise BadInput(
            f"The error matrix is not square over its {len(names)} classes: {len(rows)} rows of "
            f"{' or '.join(map(str, widths)) or 'no'} columns. Give one row (map) and one column (reference) a class, "
            "in the same order."
        )
    try:
        found = np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"The error matrix holds what is no number: {error}. Give counts.") from error
    if not np.isfinite(found).all() or (found < 0).any():
        raise BadInput("The error matrix holds a negative or missing count. Give counts of 0 and above.")
    return found


class ClassChange(BaseModel):
    """How much of a class changed between two dates, in the unit of the strata's areas: hectares."""

    model_config = ConfigDict(frozen=True)

    name: str
    mapped_before: float | None = Field(description="null where the map's areas are not known")
    mapped_after: float | None
    before: Estimate
    after: Estimate
    gain: Estimate
    loss: Estimate
    net: Estimate = Field(description="gain less loss")
    relative: Estimate | None = Field(description="net over before; null where no unit was of the class before")

    @property
    def mapped(self) -> float | None:
        """Net change as mapped."""
        if self.mapped_before is None or self.mapped_after is None:
            return None
        return self.mapped_after - self.mapped_before


def assess_change(strata: Strata, stratum: np.ndarray, before: Labels, after: Labels) -> list[ClassChange]:
    """Estimate areas at two dates and their change, from one sample interpreted at both.

    Differences of two estimates of one sample have much smaller errors than of two samples: most units are the same at
    both dates.

    Args:
        strata: with the numbers of interpreted units, for example the transitions of a map of change.
        stratum: of each unit, `[n]`.
        before: of each unit at the first date.
        after: at the second.
    """
    every, total = np.ones(len(strata.names), bool), float(strata.area.sum())

    def counted(what: np.ndarray) -> Count:
        return Count(np.bincount(stratum[what], minlength=len(strata.names)), every)

    def area(what: np.ndarray) -> Estimate:
        return strata.share(counted(what)).scaled(total)

    changes = []
    for j, name in enumerate(before.names):
        was, becomes = before.reference == j, after.reference == j
        gain, loss = becomes & ~was, was & ~becomes
        changes.append(
            ClassChange(
                name=name,
                mapped_before=before.mapped_area(j),
                mapped_after=after.mapped_area(j),
                before=area(was),
                after=area(becomes),
                gain=area(gain),
                loss=area(loss),
                net=strata.difference(counted(gain), counted(loss)).scaled(total),
                relative=strata.relative(counted(becomes), counted(was), counted(was & becomes).units),
            )
        )
    return changes
