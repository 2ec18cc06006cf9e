"""How well a network agrees with its teacher on chips of places it was not trained on.

Run as `python -m services.inference.evaluate --dataset DIR --model ID|FILE.onnx`.

Agreement with a teacher is no accuracy: the teacher itself is right in about three quarters of the cases (Dynamic
World against expert consensus: 73.8 %, Brown et al. 2022).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import numpy as np

from catalog.model import Network
from services.inference import DEFAULT_MODEL, open_network
from services.inference.chips import NINE_TO_SIX, Chip, read_chips


def classify(network: Network, image: np.ndarray) -> np.ndarray:
    """The most probable class of each pixel, the image mirrored at its borders.

    Args:
        network: the network.
        image: uint16 `[bands, H, W]`, H and W multiples of the network's stride and larger than its halo.

    Returns:
        uint8 `[H, W]`.
    """
    halo = network.spec.halo
    mirrored = np.pad(image, ((0, 0), (halo, halo), (halo, halo)), mode="reflect")
    scores = network.scores(mirrored[np.newaxis])[0]
    return scores[:, halo:-halo, halo:-halo].argmax(axis=0).astype(np.uint8)


def confusion(network: Network, chips: Iterable[Chip]) -> np.ndarray:
    """Pixels by teacher's class (or cloud mask) and network's class: int64 `[classes, classes]`."""
    count = len(network.spec.classes)
    matrix = np.zeros((count, count), np.int64)
    for chip in chips:
        known = chip.classes < count
        found = classify(network, chip.image[NINE_TO_SIX])
        pairs = chip.classes[known].astype(np.int64) * count + found[known]
        matrix += np.bincount(pairs, minlength=count * count).reshape(count, count)
    return matrix


def agreement(matrix: np.ndarray) -> float:
    """Per cent of the pixels on the diagonal; NaN without any."""
    return float(100 * np.trace(matrix) / matrix.sum()) if matrix.any() else float("nan")


def report(network: Network, chips: list[Chip]) -> str:
    """Agreement of each level, recall and precision of each class, as a Markdown table."""
    by_level = {level: confusion(network, [c for c in chips if c.level == level]) for level in ("L1C", "L2A")}
    pooled = by_level["L1C"] + by_level["L2A"]
    lines = ["| class | pixels | recall % | precision % |", "|---|---|---|---|"]
    for number, name in enumerate(network.spec.classes):
        asked, found, right = pooled[number].sum(), pooled[:, number].sum(), pooled[number, number]
        shares = (f"{100 * right / total:.1f}" if total else "-" for total in (asked, found))
        lines.append(f"| {name} | {asked} | {' | '.join(shares)} |")
    parts = ", ".join(f"{level} {agreement(matrix):.1f} %" for level, matrix in by_level.items())
    return f"agreement {agreement(pooled):.1f} % ({parts})\n\n" + "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", required=True, help="folder of a training set")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="ID of a shipped network, or an ONNX file")
    parser.add_argument("--split", choices=["validation", "train", "test"], default="validation")
    arguments = parser.parse_args()
    print(report(open_network(arguments.model), read_chips(arguments.dataset, arguments.split)))


if __name__ == "__main__":
    main()
