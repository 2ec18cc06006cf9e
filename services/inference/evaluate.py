"""How far a network agrees with the labels of chips: those of places it was not trained on, above all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from catalog.chips import UNLABELLED
from catalog.errors import BadInput
from catalog.legend import CLOUD, load_legend
from catalog.model import ModelSpec, Network, Provenance
from catalog.tree import TEN, Tree, class_tree
from services.evaluation.agreement import Tally, measure
from services.evaluation.pictures import Picture, in_colours, true_colour
from services.evaluation.result import SIBLINGS, ClassStyle, Evaluation, Reference
from services.evaluation.summary import Part, summarize
from services.inference.chips import TEACHER_BANDS, Chip, mirror
from services.inference.temperature import as_the_others_say

PICTURES = 24
"""Chips shown, at most."""
_COARSER = 254
"""Of a label that does not say which part of a class that is split it is."""
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
    level: int = 1,
    provenance: Provenance | None = None,
) -> tuple[Evaluation, list[Picture]]:
    """Compare a network with the labels of chips, pixel by pixel where there is a label.

    Below level 1 the group `siblings` tells, for each class that is split, how often the right one of its parts has the
    highest score of these.

    Args:
        network: its bands and classes among the chips'; classes that it lacks are never found.
        chips: as `read_chips` gives them.
        data: what they are, for titles.
        reference: whose labels they are; by default as the chips tell.
        on_progress: called with the chips done and in all.
        level: of the tree of classes: 1 is the ten, which all networks know.
        provenance: of the network: the confidence in a place on which its temperature was fitted is that which the
            other places give; by default the network's own.

    Returns:
        The evaluation, and some large chips with their labels and the network's answer.

    Raises:
        BadInput: a network of other bands or classes, labels that are no class, or none at all, or no such level.
    """
    tree = chips[0].tree
    if not 1 <= level <= tree.depth:
        raise BadInput(f"There is no level {level} of {data}: its classes have the levels 1 to {tree.depth}.")
    number_of = check(network.spec, tree, level)
    names = tree.level(level)
    told_at = np.full(256, UNLABELLED, np.uint8)
    for number, name in enumerate(tree.names):
        told_at[number] = names.index(tree.at(name, level)) if tree.at(name, level) in names else _COARSER
    siblings = [[names.index(one) for one in tree.children(name) if one in names] for name in tree.names]
    together: dict[str, list[Tally]] = {" or ".join(names[k] for k in some): [] for some in siblings if some}
    classes = [_style(name) for name in names]
    colors = [one.color for one in classes]
    shown, pictures, parts, unlabelled, coarser = _spread(chips), {}, [], 0, 0
    for number, chip in enumerate(chips):
        seen, labels = chip.image.any(axis=0), chip.labels
        strange = np.setdiff1d(labels[seen & (labels != UNLABELLED)], range(len(tree.names)))
        if strange.size:
            raise BadInput(
                f"Chip {chip.id} has the label {strange[0]} in labels.tif; classes are 0 to {len(tree.names) - 1} "
                f"({', '.join(tree.names)}), and {UNLABELLED} stands where nothing is known. Correct its labels."
            )
        labels = told_at[labels]
        known = seen & (labels < len(names))
        scores = np.zeros((len(names), *labels.shape), np.float32)
        answer = as_the_others_say(predict(network, as_wanted(chip, network.spec)), chip.place, provenance)
        for of_class, one in zip(number_of, answer, strict=True):
            scores[of_class] += one
        found, confidence = scores.argmax(axis=0), np.minimum(scores.max(axis=0) / 255, 1)
        tally = _tally(chip, len(names), labels[known], found[known], confidence[known])
        for some in filter(None, siblings):
            here = known & np.isin(labels, some)
            best, sure = np.array(some)[scores[some].argmax(axis=0)], scores[some].max(axis=0)
            sure = sure / np.maximum(scores[some].sum(axis=0), 1)
            if here.any():
                told = " or ".join(names[k] for k in some)
                together[told].append(_tally(chip, len(names), labels[here], best[here], sure[here]))
        groups = {"level": chip.level, "source": chip.source, "scene": chip.scene, "place": chip.place}
        parts.append(Part(tally, groups))
        unlabelled += int((seen & (labels == UNLABELLED)).sum())
        coarser += int((seen & (labels == _COARSER)).sum())
        if number in shown:
            pictures[number] = _picture(chip, np.where(known, labels, UNLABELLED), found, tally, colors)
        on_progress(number + 1, len(chips))
    evaluation = summarize(
        subject=f"{network.spec.id} {network.spec.version}",
        data=data,
        reference=reference_of(chips, reference),
        classes=classes,
        parts=parts,
        left_out={
            "px with data but without a label": unlabelled,
            f"px with a label that is coarser than level {level}": coarser,
        },
        cloud=CLOUD,
        confidence="each place judged by the temperature that the others give"
        if provenance and provenance.temperature_without.keys() & {chip.place for chip in chips}
        else "",
    )
    measured = [measure(told, Tally.together(some), names, None) for told, some in together.items() if some]
    if measured:
        evaluation = evaluation.model_copy(update={"groups": {**evaluation.groups, SIBLINGS: measured}})
    return evaluation, [pictures[number] for number in shown]


def _tally(chip: Chip, classes: int, labels: np.ndarray, found: np.ndarray, confidence: np.ndarray) -> Tally:
    return Tally.count((chip.place,), classes, np.zeros(labels.size, np.int64), labels, found, confidence)


def _style(name: str) -> ClassStyle:
    styles = {model: one for one in load_legend("finer").tree for model in one.model_classes}
    title, color = (styles[name].title, styles[name].color) if name in styles else (name, "808080")
    return ClassStyle(name=name, title=title, color=color)


def check(spec: ModelSpec, tree: Tree = TEN, level: int = 1) -> np.ndarray:
    """Make sure that a network fits the chips' bands and classes.

    Args:
        spec: of the network.
        tree: of the chips' classes.
        level: at which both are compared.

    Returns:
        Of each class of the network its number among the tree's at that level, `[classes]`.
    """
    own, names = class_tree(spec.parents, f"network {spec.id}"), tree.level(level)
    shown = [own.at(name, level) for name in spec.classes]
    for what, there, known in (("band", spec.optical.bands, TEACHER_BANDS), ("class", shown, names)):
        if strange := [one for one in there if one not in known]:
            raise BadInput(f"Network {spec.id} has the {what} {strange[0]!r}; chips hold {', '.join(known)}.")
    return np.array([names.index(name) for name in shown])


def as_wanted(chip: Chip, spec: ModelSpec) -> np.ndarray:
    """A chip's image in a network's bands, uint16 `[bands, H, W]`, at the level it was made for."""
    seen, image = chip.image.any(axis=0), chip.shown(spec.bands, spec.level)
    # Radar, which follows, may be missing; light may not.
    for band, pixels in zip(spec.optical.bands, image, strict=False):
        if seen.any() and not pixels.any():
            raise BadInput(
                f"Chip {chip.id} lacks band {band}, which network {spec.id} wants. Give chips with all bands."
            )
    return image


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


def _picture(chip: Chip, labels: np.ndarray, found: np.ndarray, tally: Tally, colors: Sequence[str]) -> Picture:
    agree = np.trace(tally.confusion[0]) / max(1, tally.confusion.sum())
    seen = chip.image.any(axis=0)
    rows, cols = (slice(lines.min(), lines.max() + 1) for lines in np.nonzero(seen))
    panels = {
        "image": true_colour(chip.image[_RED_GREEN_BLUE]),
        "reference": in_colours(labels, colors, UNLABELLED),
        "network": in_colours(np.where(seen, found, UNLABELLED), colors, UNLABELLED),
    }
    return Picture(
        title=chip.scene,
        caption=f"{chip.place}, {chip.level}: {100 * agree:.1f} % agree",
        panels=tuple((name, panel[rows, cols]) for name, panel in panels.items()),
    )
