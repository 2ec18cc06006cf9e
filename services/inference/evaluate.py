"""How far a network agrees with the labels of chips: those of places it was not trained on, above all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from catalog.chips import UNLABELLED
from catalog.errors import BadInput
from catalog.legend import CLOUD, load_legend
from catalog.model import MODEL_CLASSES, Network
from services.evaluation.agreement import Tally
from services.evaluation.pictures import Picture, in_colours, true_colour
from services.evaluation.result import ClassStyle, Evaluation, Reference
from services.evaluation.summary import Part, summarize
from services.inference.chips import NINE_TO_SIX, Chip

PICTURES = 24
"""Chips shown, at most."""
_LARGE = 128
"""Pixels a side below which a chip is too small to be shown."""
_RED_GREEN_BLUE = [2, 1, 0]


def predict(network: Network, image: np.ndarray) -> np.ndarray:
    """Scores of each pixel, the image mirrored at its borders.

    Args:
        network: the network.
        image: uint16 `[bands, H, W]`.

    Returns:
        uint8 `[classes, H, W]`, 255 x probability.
    """
    halo, stride, (height, width) = network.spec.halo, network.spec.stride, image.shape[1:]
    below, right = (-(side + 2 * halo) % stride for side in (height, width))
    mirrored = np.pad(image, ((0, 0), (halo, halo + below), (halo, halo + right)), mode="reflect")
    return network.scores(mirrored[np.newaxis])[0][:, halo : halo + height, halo : halo + width]


def evaluate_network(
    network: Network,
    chips: Sequence[Chip],
    data: str,
    reference: str = "",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Evaluation, list[Picture]]:
    """Compare a network with the labels of chips, pixel by pixel where there is a label.

    Args:
        network: of the chips' classes.
        chips: as `read_chips` gives them.
        data: what they are, for titles.
        reference: whose labels they are; by default as the chips tell.
        on_progress: called with the chips done and in all.

    Returns:
        The evaluation, and some large chips with their labels and the network's answer.

    Raises:
        BadInput: a network of other classes, labels that are no class, or none at all.
    """
    names = network.spec.classes
    if names != MODEL_CLASSES:
        raise BadInput(
            f"Network {network.spec.id} has the classes {', '.join(names)}; the chips' are {', '.join(MODEL_CLASSES)}. "
            "Give a network of these classes, in this order."
        )
    style = {model: one for one in load_legend("ten").classes for model in one.model_classes}
    classes = [ClassStyle(name=name, title=style[name].title, color=style[name].color) for name in names]
    colors = [one.color for one in classes]
    shown, pictures, parts, unlabelled = _spread(chips), {}, [], 0
    for number, chip in enumerate(chips):
        known = chip.classes != UNLABELLED
        strange = np.setdiff1d(chip.classes[known], range(len(names)))
        if strange.size:
            raise BadInput(
                f"Chip {chip.id} has the label {strange[0]} in labels.tif; classes are 0 to {len(names) - 1} "
                f"({', '.join(names)}), and {UNLABELLED} stands where nothing is known. Correct its labels."
            )
        scores = predict(network, chip.image[NINE_TO_SIX])
        found, confidence = scores.argmax(axis=0), scores.max(axis=0) / 255
        place = np.zeros(int(known.sum()), np.int64)
        tally = Tally.count((chip.place,), len(names), place, chip.classes[known], found[known], confidence[known])
        groups = {"level": chip.level, "source": chip.source, "scene": chip.scene, "place": chip.place}
        parts.append(Part(tally, groups))
        unlabelled += int((~known & chip.image.any(axis=0)).sum())
        if number in shown:
            pictures[number] = _picture(chip, found, tally, colors)
        on_progress(number + 1, len(chips))
    evaluation = summarize(
        subject=f"{network.spec.id} {network.spec.version}",
        data=data,
        reference=_reference(chips, reference),
        classes=classes,
        parts=parts,
        left_out={"px with data but without a label": unlabelled},
        cloud=CLOUD,
    )
    return evaluation, [pictures[number] for number in shown]


def _reference(chips: Iterable[Chip], name: str) -> Reference:
    """Whose labels the chips carry: a teacher's, or those of their source."""
    teachers = {chip.teacher for chip in chips if chip.teacher}
    sources = {chip.source for chip in chips if not chip.teacher}
    told = []
    if teachers:
        known = sorted(teachers - {"unnamed"})
        told.append(f"teacher {' and '.join(known)}" if known else "teacher")
    if sources:
        told.append(f"the labels of {' and '.join(sorted(sources)) if len(sources) < 4 else f'{len(sources)} sources'}")
    return Reference(name=name or " and ".join(told), kind="teacher" if teachers else "labels", unit="place")


def _spread(chips: Sequence[Chip]) -> list[int]:
    """Numbers of large chips to be shown: of each place the one with most labels, then the next of each."""
    of_place = defaultdict(list)
    for number, chip in enumerate(chips):
        if min(chip.classes.shape) >= _LARGE and (labelled := int((chip.classes != UNLABELLED).sum())):
            of_place[chip.place].append((-labelled, number))
    ranked = [(rank, place, n) for place, found in of_place.items() for rank, (_, n) in enumerate(sorted(found))]
    return [number for _, _, number in sorted(ranked)[:PICTURES]]


def _picture(chip: Chip, found: np.ndarray, tally: Tally, colors: Sequence[str]) -> Picture:
    shares = np.trace(tally.confusion[0]) / max(1, tally.confusion.sum())
    return Picture(
        title=chip.scene,
        caption=f"{chip.place}, {chip.level}: {100 * shares:.1f} % agree",
        panels=(
            ("image", true_colour(chip.image[_RED_GREEN_BLUE])),
            ("reference", in_colours(chip.classes, colors, UNLABELLED)),
            ("network", in_colours(np.where(chip.image.any(axis=0), found, UNLABELLED), colors, UNLABELLED)),
        ),
    )
