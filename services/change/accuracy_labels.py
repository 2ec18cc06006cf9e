"""What each unit of a sample is in the map and in the reference, as a class of a year or as a transition."""

from __future__ import annotations

import numpy as np

from services.change.accuracy import Labels
from services.change.design import Design
from services.change.interpretation import Interpreted
from services.change.other_maps import NO_CLASS, OtherMaps
from services.change.strata import RARE, cell_name


def class_labels(design: Design, sample: Interpreted, other: OtherMaps | None) -> list[Labels]:
    """What map and reference have at each date."""
    names, k, dates = design.names, len(design.classes), len(design.years)
    first = dates == 2
    labels = []
    for date in range(dates):
        before = first and date == 0
        if other is not None:
            cell = other.cell[sample.unit]
            mapped = np.where(cell < 0, k, cell // k if before else cell % k)
            own = np.arange(k**dates)
            total = np.bincount(own // k if before else own % k, other.hectares, k)
            if (cell < 0).any():
                labels.append(Labels((*names, NO_CLASS), mapped, sample.reference[date], total=np.append(total, 0.0)))
            else:
                labels.append(Labels(names, mapped, sample.reference[date], total=total))
            continue
        areas = np.zeros((len(design.strata), k))
        for h, stratum in enumerate(design.strata):
            own = np.array(stratum.cells)
            np.add.at(areas[h], own // k if before else own % k, np.array(design.cells)[own])
        labels.append(Labels(names, sample.cell // k if before else sample.cell % k, sample.reference[date], areas))
    return labels


def transition_labels(design: Design, sample: Interpreted, other: OtherMaps | None) -> Labels:
    """Each stratum's transition as a class of the map of change; all that have no stratum of their own together."""
    names, k = design.names, len(design.classes)
    label_of = np.full(k * k, -1)
    labels: list[str] = []
    for stratum in design.strata:
        for cell in stratum.cells:
            # Cells that are too rare even to be merged with each other lie in the largest stratum.
            if cell_name(names, cell, True) == stratum.name:
                label_of[cell] = len(labels)
                labels.append(stratum.name)
    label_of[label_of < 0] = len(labels)
    labels.append(RARE)
    reference = label_of[sample.reference[0] * k + sample.reference[1]]
    if other is not None:
        cell = other.cell[sample.unit]
        mapped = np.where(cell < 0, len(labels), label_of[np.maximum(cell, 0)])
        total = np.bincount(label_of, other.hectares, len(labels) + 1)
        return Labels((*labels, NO_CLASS), mapped, reference, total=total)
    areas = np.zeros((len(design.strata), len(labels)))
    for h, stratum in enumerate(design.strata):
        own = list(stratum.cells)
        np.add.at(areas[h], label_of[own], np.array(design.cells)[own])
    last = len(labels) - 1
    if areas[:, last].any() or (reference == last).any():
        return Labels(tuple(labels), label_of[sample.cell], reference, areas)
    return Labels(tuple(labels[:-1]), label_of[sample.cell], reference, areas[:, :-1])
