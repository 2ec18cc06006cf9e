"""Can a second stage learn a place from its own season? Each half of a place learned, the other half judged.

Run as `python -m benchmarks.season_halves DATASET PLACE [WITH…]`: a training set with the place, and others whose
places are learned besides. Halves of one place are alike: what comes out is more than a place that was not learned
would show.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from rich.console import Console

from services.inference import DEFAULT_MODEL, open_network
from services.inference.chips import read_chips
from services.inference.season_gain import as_table, gains
from services.inference.season_lessons import Lesson, lessons
from services.inference.season_network import train_second_stage


def main() -> None:
    """Train twice, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="training set with the place, in its split validation")
    parser.add_argument("place")
    parser.add_argument("others", nargs="*", metavar="WITH", help="training sets to learn besides")
    told = parser.parse_args()
    first = open_network(DEFAULT_MODEL)
    (whole,) = lessons(first, [chip for chip in read_chips([told.dataset], "validation") if chip.place == told.place])
    besides = lessons(first, read_chips(told.others, "train"), draws=2) if told.others else []
    middle = whole.wanted.size // 2
    halves = [_part(whole, "north", slice(0, middle)), _part(whole, "south", slice(middle, None))]
    with tempfile.TemporaryDirectory() as folder:
        for learned, judged in (halves, halves[::-1]):
            file = Path(folder) / f"{learned.place}.onnx"
            train_second_stage(first.spec, [learned, *besides], file, "half", "1")
            rows = gains([judged], open_network(str(file)), first.spec.classes)
            Console(width=140).print(as_table(rows, f"{told.place}: {learned.place} learned, {judged.place} judged"))


def _part(whole: Lesson, name: str, pixels: slice) -> Lesson:
    """Pixels lie row by row, from the north."""
    return dataclasses.replace(
        whole,
        place=name,
        shares=whole.shares[:, pixels],
        features=whole.features[:, pixels],
        wanted=whole.wanted[pixels],
    )


if __name__ == "__main__":
    main()
