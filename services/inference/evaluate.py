"""How far a network agrees with the labels of chips: those of places it was not trained on, above all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from catalog.atmosphere import USUAL_AEROSOL, Atmosphere
from catalog.chips import UNLABELLED
from catalog.errors import BadInput
from catalog.legend import CLOUD, load_legend
from catalog.model import MODEL_CLASSES, ModelSpec, Network
from services.evaluation.agreement import Tally
from services.evaluation.pictures import Picture, in_colours, true_colour
from services.evaluation.result import ClassStyle, Evaluation, Reference
from services.evaluation.summary import Part, summarize
from services.inference.chips import TEACHER_BANDS, Chip, mirror

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
    mirrored, here = mirror(image, network.spec.stride, network.spec.halo)
    return network.scores(mirrored[np.newaxis])[0][(slice(None), *here)]


def evaluate_network(
    network: Network,
    chips: Sequence[Chip],
    data: str,
    reference: str = "",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Evaluation, list[Picture]]:
    """Compare a network with the labels of chips, pixel by pixel where there is a label.

    Args:
        network: its bands and classes among the chips'; classes that it lacks are never found.
        chips: as `read_chips` gives them.
        data: what they are, for titles.
        reference: whose labels they are; by default as the chips tell.
        on_progress: called with the chips done and in all.

    Returns:
        The evaluation, and some large chips with their labels and the network's answer.

    Raises:
        BadInput: a network of other bands or classes, labels that are no class, or none at all.
    """
    number_of = check(network.spec)
    names = MODEL_CLASSES
    style = {model: one for one in load_legend("ten").classes for model in one.model_classes}
    classes = [ClassStyle(name=name, title=style[name].title, color=style[name].color) for name in names]
    colors = [one.color for one in classes]
    shown, pictures, parts, unlabelled = _spread(chips), {}, [], 0
    for number, chip in enumerate(chips):
        seen = chip.image.any(axis=0)
        known = seen & (chip.classes != UNLABELLED)
        strange = np.setdiff1d(chip.classes[known], range(len(names)))
        if strange.size:
            raise BadInput(
                f"Chip {chip.id} has the label {strange[0]} in labels.tif; classes are 0 to {len(names) - 1} "
                f"({', '.join(names)}), and {UNLABELLED} stands where nothing is known. Correct its labels."
            )
        scores = predict(network, as_wanted(chip, network.spec))
        found, confidence = number_of[scores.argmax(axis=0)], scores.max(axis=0) / 255
        place = np.zeros(int(known.sum()), np.int64)
        tally = Tally.count((chip.place,), len(names), place, chip.classes[known], found[known], confidence[known])
        groups = {"level": chip.level, "source": chip.source, "scene": chip.scene, "place": chip.place}
        parts.append(Part(tally, groups))
        unlabelled += int((seen & ~known).sum())
        if number in shown:
            pictures[number] = _picture(chip, found, tally, colors)
        on_progress(number + 1, len(chips))
    evaluation = summarize(
        subject=f"{network.spec.id} {network.spec.version}",
        data=data,
        reference=reference_of(chips, reference),
        classes=classes,
        parts=parts,
        left_out={"px with data but without a label": unlabelled},
        cloud=CLOUD,
    )
    return evaluation, [pictures[number] for number in shown]


def check(spec: ModelSpec) -> np.ndarray:
    """Make sure that a network fits the chips' bands and classes; where its classes stand among theirs, `[classes]`."""
    for what, own, known in (("band", spec.optical.bands, TEACHER_BANDS), ("class", spec.classes, MODEL_CLASSES)):
        if strange := [one for one in own if one not in known]:
            raise BadInput(f"Network {spec.id} has the {what} {strange[0]!r}; chips hold {', '.join(known)}.")
    return np.array([MODEL_CLASSES.index(name) for name in spec.classes])


def as_wanted(chip: Chip, spec: ModelSpec) -> np.ndarray:
    """A chip's image in a network's bands, uint16 `[bands, H, W]`, at the level it was made for."""
    bands, seen = spec.optical.bands, chip.image.any(axis=0)
    image = chip.shown(bands)
    for band, pixels in zip(bands, image, strict=True):
        if seen.any() and not pixels.any():
            raise BadInput(
                f"Chip {chip.id} lacks band {band}, which network {spec.id} wants. Give chips with all bands."
            )
    if spec.level == "L1C" and chip.level == "L2A":
        air = Atmosphere.of(USUAL_AEROSOL, chip.sun_zenith, bands)
        top = np.clip(np.rint(10_000 * air.raise_to_top(image / 10_000)), 1, 65535)
        image = np.where(image > 0, top, 0).astype(np.uint16)
    # Radar may be missing; light may not.
    return np.concatenate([image, chip.shown(spec.bands)[len(bands) :]]) if spec.radar else image


def reference_of(chips: Sequence[Chip], name: str = "") -> Reference:
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
        labelled = int((chip.image.any(axis=0) & (chip.classes != UNLABELLED)).sum())
        if min(chip.classes.shape) >= _LARGE and labelled:
            of_place[chip.place].append((-labelled, number))
    ranked = [(rank, place, n) for place, found in of_place.items() for rank, (_, n) in enumerate(sorted(found))]
    return [number for _, _, number in sorted(ranked)[:PICTURES]]


def _picture(chip: Chip, found: np.ndarray, tally: Tally, colors: Sequence[str]) -> Picture:
    agree = np.trace(tally.confusion[0]) / max(1, tally.confusion.sum())
    seen = chip.image.any(axis=0)
    rows, cols = (slice(lines.min(), lines.max() + 1) for lines in np.nonzero(seen))
    panels = {
        "image": true_colour(chip.image[_RED_GREEN_BLUE]),
        "reference": in_colours(chip.classes, colors, UNLABELLED),
        "network": in_colours(np.where(seen, found, UNLABELLED), colors, UNLABELLED),
    }
    return Picture(
        title=chip.scene,
        caption=f"{chip.place}, {chip.level}: {100 * agree:.1f} % agree",
        panels=tuple((name, panel[rows, cols]) for name, panel in panels.items()),
    )
