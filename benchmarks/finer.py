"""How well are parts of classes told apart in places that were not learned? The branch, by cross-validation.

Run as `python -m benchmarks.finer DATASET`, where DATASET was made by `landloom dataset --legend finer`. The training
places are dealt into parts, each held out in turn; the branch is learned on the others and judged on the one held out,
seen as surface and as top-of-atmosphere reflectance. Chips count alike. The places of the split `validation` are not
looked at. With `--compare`, branches of some of the features stand beside it; with `--finer`, kept pixels per
core-second of the network without and with its branch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.network import kept_per_core_second
from services.evaluation.agreement import Tally, measure
from services.evaluation.result import Agreement
from services.inference import model_file, open_network
from services.inference.branch import Pixels, fitted, pixels_of, split_classes
from services.inference.chips import Chip, read_chips
from services.inference.features import Features

_ROUNDS = 3


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="+")
    parser.add_argument("--model", default="unet-small", help="whose features they are")
    parser.add_argument("--finer", default="", help="the same network with its branch, whose speed is told")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--compare", action="store_true", help="branches of some of the features, too")
    arguments = parser.parse_args()
    chips = read_chips(arguments.dataset, "train")
    features = Features(model_file(arguments.model))
    pixels = pixels_of(open_network(arguments.model).spec, features, chips)
    chosen = {"all features": range(len(features.channels))}
    if arguments.compare:
        lowest = int(np.argmax(features.strides))
        chosen |= {"the lowest level": [lowest], "from it upwards": range(lowest, len(features.channels))}
    for title, levels in chosen.items():
        ends = np.cumsum([0, *features.channels])
        columns = np.concatenate([np.arange(ends[level], ends[level + 1]) for level in levels])
        Console().print(_table(title, crossed(chips, pixels, torch.from_numpy(columns), arguments.folds)))
    if arguments.finer:
        opened = {name: open_network(name) for name in (arguments.model, arguments.finer)}
        best = {name: max(kept_per_core_second(one) for _ in range(_ROUNDS)) for name, one in opened.items()}
        for name, rate in best.items():
            print(f"{name}: {rate:,.0f} kept px per core-second")


def crossed(chips: Sequence[Chip], pixels: Pixels, columns: torch.Tensor, folds: int) -> dict[str, list[Agreement]]:
    """How often the right one of a class's parts is found in places that were held out.

    Args:
        chips: that the pixels are of.
        pixels: what is known of them.
        columns: which of their features are used.
        folds: parts into which the places are dealt.

    Returns:
        As `L1C` and `L2A`, for each class that is split.
    """
    groups, tallies = split_classes(chips[0].tree), {}
    places = np.array([chip.place for chip in chips])[pixels.chip.numpy()]
    dealt = np.random.default_rng(0).permutation(np.unique(places))
    seen = pixels.seen[:, columns]
    for fold in track(range(folds), description="Parts of the places"):
        out = torch.from_numpy(np.isin(places, dealt[fold::folds]))
        linear = fitted(seen[~out], pixels.wanted[~out], [len(group) for group in groups])
        logits, first = linear(seen), 0
        for group in groups:
            last = first + len(group)
            for level, as_level in (("L1C", pixels.top), ("L2A", ~pixels.top)):
                here = out & as_level & (pixels.wanted >= first) & (pixels.wanted < last)
                if here.any():
                    shares = torch.softmax(logits[here, first:last], dim=1)
                    names, numbers = np.unique(places[here.numpy()], return_inverse=True)
                    sure, found = shares.max(dim=1)
                    wanted = pixels.wanted[here] - first
                    tally = Tally.count(names, len(group), numbers, *(one.numpy() for one in (wanted, found, sure)))
                    tallies.setdefault((level, group), []).append(tally)
            first = last
    told: dict[str, list[Agreement]] = {}
    for (level, group), some in tallies.items():
        told.setdefault(level, []).append(measure(" or ".join(group), Tally.together(some), group))
    return told


def _table(title: str, told: dict[str, list[Agreement]]) -> Table:
    table = Table("level", "parts", "places", "right, 95 %", "recall of each", title=title)
    for level, some in told.items():
        for one in some:
            recalls = "\n".join(f"{each.name} {each.recall}" for each in one.classes)
            table.add_row(level, one.name, str(one.places), str(one.overall), recalls)
    return table


if __name__ == "__main__":
    main()
