"""Which network? Designs trained alike on folds of the training places, by agreement and by pixels per core-second.

Run as `python -m benchmarks.designs DATASET TEACHER`, where DATASET was made by `landloom dataset` and TEACHER is a
registered network. The teacher is asked once a fold: its answers are kept in a file, and every design learns from the
same patches in the same order for as many steps. These are short runs: they rank designs, and do not tell how good one
becomes. The places of the split `validation` are never looked at. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from benchmarks.network import kept_per_core_second
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.inference import open_network
from services.inference.buffer import Buffer
from services.inference.chips import Chip, read_chips
from services.inference.evaluate import evaluate_network
from services.inference.export import export
from services.inference.onnx import OnnxNetwork
from services.inference.patches import Patch, Patches
from services.inference.recipe import Recipe, load_recipe
from services.inference.release import range_samples
from services.inference.train import Run
from services.inference.unet import UNet

_FOLDS = 3
"""Parts into which the training places are dealt, each with about as many labelled pixels."""
_BATCH = 8
_ROUNDS = 3
_LONG = 10_000.0
"""Minutes, more than any run lasts: steps end it."""


@dataclass(frozen=True)
class Design:
    """One network, and how it is taught."""

    widths: tuple[int, ...]
    separable: bool = False
    """Convolutions by channel and then by pixel (Howard et al. 2017, "MobileNets"), but for the first."""
    temperature: float = 1.0
    longer: float = 1.0
    """Times as many steps as the others."""

    @property
    def name(self) -> str:
        """As the table tells it."""
        told = ["-".join(map(str, self.widths))]
        told += ["separable"] if self.separable else []
        told += [f"temperature {self.temperature:g}"] if self.temperature != 1 else []
        told += [f"{self.longer:g} x steps"] if self.longer != 1 else []
        return ", ".join(told)


DESIGNS = (
    Design((16, 32, 160, 320)),
    Design((16, 32, 64, 128)),
    Design((8, 16, 32, 64)),
    Design((16, 32, 160)),
    Design((16, 160)),
    Design((16, 32, 160, 320), separable=True),
    Design((16, 32, 64, 128), temperature=0.5),
    Design((16, 32, 64, 128), temperature=2.0),
    Design((16, 32, 64, 128), longer=2.0),
    Design((32, 64, 128, 256)),
)


class Stored:
    """Patches in a file, dealt in their order, over and over."""

    def __init__(self, folder: Path):
        self._parts = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("surface", "top", "target")]
        self._next = 0

    def draw(self) -> Patch:
        """The next one."""
        number = self._next % len(self._parts[0])
        self._next += 1
        return Patch(*(np.array(part[number]) for part in self._parts))


def separated(network: UNet) -> UNet:
    """The network with separable convolutions in place of all 3x3 ones but the first, which has only six inputs."""
    for convolutions in (*network.down, *network.up):
        for number, one in enumerate(convolutions):
            if isinstance(one, nn.Conv2d) and one.in_channels != len(BANDS):
                by_channel = nn.Conv2d(one.in_channels, one.in_channels, 3, padding=1, groups=one.in_channels)
                convolutions[number] = nn.Sequential(by_channel, nn.Conv2d(one.in_channels, one.out_channels, 1))
    return network


def main() -> None:
    """Train what is not yet trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="training set made by `landloom dataset`")
    parser.add_argument("teacher", help="ID or ONNX file of the network that teaches")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1], help=f"held out in turn, of 0 to {_FOLDS - 1}")
    parser.add_argument("--steps", type=int, default=250, help=f"of {_BATCH} patches")
    parser.add_argument("--patches", type=int, default=400, help="that the teacher answers for, a fold")
    parser.add_argument("--leave-out", action="append", default=[], help="place that no run learns or is judged on")
    parser.add_argument("--out", type=Path, default=Path("out") / "bench" / "designs")
    told = parser.parse_args()
    torch.set_num_threads(1)
    chips = [chip for chip in read_chips([told.dataset], "train", told.leave_out) if chip.taught]
    parts = _folds(chips)
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fold in told.folds:
        learned = [chip for chip in chips if chip.place not in parts[fold]]
        unseen = [chip for chip in chips if chip.place in parts[fold]]
        folder = told.out / f"{told.steps}-steps-{told.patches}-patches-fold-{fold}"
        if not (folder / "target.npy").exists():
            _draw(learned, told.teacher, told.patches, folder)
        for design in DESIGNS:
            file = folder / f"{design.name}.json"
            if not file.exists():
                result = _judge(design, _train(design, learned, told.steps, folder), unseen, folder)
                file.write_text(json.dumps(result))
                print(f"fold {fold}, {design.name}: {result}", flush=True)
            results[design.name].append(json.loads(file.read_text()))
    _print(results, folder)


def _folds(chips: Sequence[Chip]) -> list[set[str]]:
    """Places dealt out, the largest first, each to the part that has least so far."""
    pixels: dict[str, int] = defaultdict(int)
    for chip in chips:
        pixels[chip.place] += int((chip.classes < len(MODEL_CLASSES)).sum())
    heap: list[tuple[int, int, set[str]]] = [(0, number, set()) for number in range(_FOLDS)]
    for place, size in sorted(pixels.items(), key=lambda one: (-one[1], one[0])):
        total, number, places = heapq.heappop(heap)
        heapq.heappush(heap, (total + size, number, places | {place}))
    return [places for _, _, places in sorted(heap, key=lambda one: one[1])]


def _recipe(**changes: Any) -> Recipe:
    return load_recipe("match-teacher", _LONG).model_copy(update={"batch": _BATCH, **changes})


def _draw(learned: list[Chip], teacher: str, count: int, folder: Path) -> None:
    """Ask the teacher, once for all designs."""
    patches = Patches(learned, open_network(teacher), _recipe(), np.random.default_rng(0))
    drawn = [patches.draw() for _ in track(range(count), "Asking the teacher")]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("surface", "top", "target"):  # Whoever finds the last finds all.
        np.save(folder / f"{name}.npy", np.stack([getattr(patch, name) for patch in drawn]))


def _train(design: Design, learned: list[Chip], steps: int, folder: Path) -> dict[str, Any]:
    """Train one design, and write it in floating point and in 8-bit integers."""
    torch.manual_seed(0)
    network = UNet(len(BANDS), len(MODEL_CLASSES), design.widths)
    spec = ModelSpec(
        id=design.name, version="0", bands=BANDS, classes=MODEL_CLASSES, stride=network.stride, halo=network.halo
    )
    if design.separable:
        separated(network)
    # All patches are in use after as few steps as it takes to deal each once.
    stored = Stored(folder)
    recipe = _recipe(
        widths=design.widths,
        temperature=design.temperature,
        buffer=len(np.load(folder / "target.npy", mmap_mode="r")),
        fresh=_BATCH,
    )
    lessons = Buffer(stored, recipe, np.random.default_rng(0))
    checkpoint = folder / f"{design.name}.pt"
    checkpoint.unlink(missing_ok=True)
    run = Run(recipe, network, checkpoint, np.ones(len(MODEL_CLASSES), np.float32))
    started = time.process_time()
    run.follow(lessons, [], round(steps * design.longer), lambda now: None)
    taken = time.process_time() - started
    network.to("cpu").eval()
    export(network, spec, folder / f"{design.name}.float.onnx")
    export(network, spec, folder / f"{design.name}.onnx", range_samples(learned))
    return {"weights": sum(one.numel() for one in network.parameters()), "core_seconds": taken}


def _judge(design: Design, told: dict[str, Any], unseen: list[Chip], folder: Path) -> dict[str, Any]:
    """Agreement of both files."""
    for kind, suffix in (("integers", ".onnx"), ("floats", ".float.onnx")):
        opened = OnnxNetwork(folder / f"{design.name}{suffix}")
        found, _ = evaluate_network(opened, unseen, "fold")
        assert found.pooled.overall.value is not None
        told[kind] = {
            "agreement": found.pooled.overall.value,
            "mean_over_places": found.pooled.mean_over_places.value,
        }
    return told


def _rates(names: Sequence[str], folder: Path) -> dict[str, tuple[float, float]]:
    """Kept px per core-second in integers and in floats, all in turn so that a slow minute hits all."""
    rates: dict[str, tuple[float, float]] = dict.fromkeys(names, (0.0, 0.0))
    for _ in range(_ROUNDS):
        for name in names:
            files = (folder / f"{name}.onnx", folder / f"{name}.float.onnx")
            now = [kept_per_core_second(OnnxNetwork(file)) for file in files]
            rates[name] = (max(rates[name][0], now[0]), max(rates[name][1], now[1]))
    return rates


def _print(results: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    table = Table("design", title="Designs, the fastest first", title_justify="left")
    for column in (
        "weights", "trained, s", "agreement, %", "of each fold", "mean over places, %", "in floats, %",
        "kept px per core-second", "in floats",
    ):  # fmt: skip
        table.add_column(column, justify="right")

    def mean(runs: list[dict[str, Any]], kind: str, what: str) -> str:
        return f"{100 * np.mean([run[kind][what] for run in runs]):.1f}"

    for name, (integers, floats) in sorted(_rates(list(results), folder).items(), key=lambda one: -one[1][0]):
        runs = results[name]
        table.add_row(
            name,
            f"{runs[0]['weights'] / 1e6:.2f} M",
            f"{np.mean([run['core_seconds'] for run in runs]):.0f}",
            mean(runs, "integers", "agreement"),
            ", ".join(f"{100 * run['integers']['agreement']:.1f}" for run in runs),
            mean(runs, "integers", "mean_over_places"),
            mean(runs, "floats", "agreement"),
            f"{integers:,.0f}",
            f"{floats:,.0f}",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
