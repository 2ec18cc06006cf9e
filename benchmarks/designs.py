"""Which network? Designs trained alike on folds of the training places, by agreement and by pixels per core-second.

Run as `python -m benchmarks.designs DATASET TEACHER`, where DATASET was made by `landloom dataset` and TEACHER is a
registered network. The teacher is asked once a fold: its answers are kept in a file, and every design learns from the
same patches in the same order for as many steps. With several `--steps` a run is judged at each and goes on: every leg
ends with its learning rate at 0 (it rises again for the next, as in Loshchilov & Hutter 2017, "SGDR"), so that every
point of the curve is that of a finished run. Short runs rank designs, and do not tell how good one becomes. The places
of the split `validation` are never looked at. A run that was stopped goes on. Two processes may train two designs
(`--design`) at the same time, once the teacher was asked.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
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
from services.inference.run import Run
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
    metres: int = 10
    """A pixel that the network computes with; its scores are interpolated."""

    @property
    def name(self) -> str:
        """As the table tells it."""
        told = ["-".join(map(str, self.widths))]
        told += ["separable"] if self.separable else []
        told += [f"at {self.metres} m"] if self.metres != 10 else []
        told += [f"temperature {self.temperature:g}"] if self.temperature != 1 else []
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
    Design((16, 32, 160, 320), temperature=0.5),
    Design((16, 32, 160), temperature=0.5),
    Design((32, 64, 128, 256)),
    Design((16, 32, 96, 256)),
    Design((16, 32, 160, 320), metres=20),
    Design((32, 64, 160, 320), metres=20),
)
_STORED = [field.name for field in fields(Patch)]


class Stored:
    """Patches in a file, dealt in their order, over and over."""

    def __init__(self, folder: Path):
        self._parts = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _STORED]
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


def coarsened(network: UNet, times: int) -> UNet:
    """The network on the means of `times` by `times` pixels, its logits interpolated to the pixels that came."""
    network.register_forward_pre_hook(lambda _, images: nn.functional.avg_pool2d(images[0], times))
    network.register_forward_hook(
        lambda _, images, logits: nn.functional.interpolate(logits, scale_factor=times, mode="bilinear")
    )
    return network


def main() -> None:
    """Train what is not yet trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="training set made by `landloom dataset`")
    parser.add_argument("teacher", help="ID or ONNX file of the network that teaches")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1], help=f"held out in turn, of 0 to {_FOLDS - 1}")
    parser.add_argument(
        "--design", action="append", choices=[design.name for design in DESIGNS], help="only this one; may be repeated"
    )
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[250], help=f"of {_BATCH} patches, after which a run is judged"
    )
    parser.add_argument("--patches", type=int, default=400, help="that the teacher answers for, a fold")
    parser.add_argument("--leave-out", action="append", default=[], help="place that no run learns or is judged on")
    parser.add_argument("--out", type=Path, default=Path("out") / "bench" / "designs")
    told = parser.parse_args()
    torch.set_num_threads(1)
    chips = [chip for chip in read_chips([told.dataset], "train", told.leave_out) if chip.taught]
    parts = _folds(chips)
    asked = [design for design in DESIGNS if not told.design or design.name in told.design]
    results: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for fold in told.folds:
        learned = [chip for chip in chips if chip.place not in parts[fold]]
        unseen = [chip for chip in chips if chip.place in parts[fold]]
        folder = told.out / f"{told.patches}-patches-fold-{fold}"
        if not (folder / "target.npy").exists():
            _draw(learned, told.teacher, told.patches, folder)
        for design in asked:
            for steps, result in _results(design, sorted(told.steps), learned, unseen, folder):
                print(f"fold {fold}, {design.name}, {steps} steps: {result}", flush=True)
                results[design.name, steps].append(result)
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


def _recipe(design: Design, folder: Path) -> Recipe:
    told = {
        "batch": _BATCH,
        "widths": design.widths,
        "temperature": design.temperature,
        # All patches are in use after as few steps as it takes to deal each once.
        "buffer": len(np.load(folder / "target.npy", mmap_mode="r")),
        "fresh": _BATCH,
    }
    return load_recipe("match-teacher", _LONG).model_copy(update=told)


def _draw(learned: list[Chip], teacher: str, count: int, folder: Path) -> None:
    """Ask the teacher, once for all designs."""
    patches = Patches(learned, [open_network(teacher)], load_recipe("match-teacher", _LONG), np.random.default_rng(0))
    drawn = [patches.draw() for _ in track(range(count), "Asking the teacher")]
    folder.mkdir(parents=True, exist_ok=True)
    for name in _STORED:  # Whoever finds the last finds all.
        np.save(folder / f"{name}.npy", np.stack([getattr(patch, name) for patch in drawn]))


def _results(
    design: Design, legs: Sequence[int], learned: list[Chip], unseen: list[Chip], folder: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What one design has come to after each leg: read where it was judged, else trained and judged."""
    files = {steps: folder / f"{design.name}-{steps}.json" for steps in legs}
    run: Run | None = None
    for steps, file in files.items():
        if not file.exists():
            if run is None:
                recipe = _recipe(design, folder)
                run, network = _begin(design, recipe, folder)
            if run.step > steps:
                raise SystemExit(
                    f"{design.name} is at step {run.step} already and cannot be judged at {steps}: give the --steps of "
                    "before and larger ones, or another --out."
                )
            taken = _go_on(run, steps, recipe, folder)
            file.write_text(json.dumps(_judge(design, network, taken, learned, unseen, folder)))
        yield steps, json.loads(file.read_text())


def _begin(design: Design, recipe: Recipe, folder: Path) -> tuple[Run, UNet]:
    """A run of one design, or the one that was stopped."""
    torch.manual_seed(0)
    network = UNet(len(BANDS), len(MODEL_CLASSES), design.widths)
    if design.separable:
        separated(network)
    if design.metres != 10:
        coarsened(network, design.metres // 10)
    return Run(recipe, network, folder / f"{design.name}.pt", np.ones(len(MODEL_CLASSES), np.float32)), network


def _go_on(run: Run, steps: int, recipe: Recipe, folder: Path) -> float:
    """Train up to so many steps; core-seconds a step, not a number if there was none left to do."""
    before, started = run.step, time.process_time()
    lessons = Buffer(Stored(folder), recipe, np.random.default_rng(before))
    run.follow(lessons, [], steps, lambda now: None)
    done = run.step - before
    return (time.process_time() - started) / done if done else math.nan


def _judge(
    design: Design, network: UNet, core_seconds: float, learned: list[Chip], unseen: list[Chip], folder: Path
) -> dict[str, Any]:
    """Write the network in floating point and in 8-bit integers, and tell the agreement of both."""
    spec = ModelSpec(
        id="design",
        version="0",
        bands=BANDS,
        classes=MODEL_CLASSES,
        stride=network.stride * design.metres // 10,
        halo=network.halo * design.metres // 10,
        level="L2A",
    )
    trained = deepcopy(network).to("cpu").eval()
    weights = sum(one.numel() for one in trained.parameters())
    told: dict[str, Any] = {"weights": weights, "core_seconds_a_step": core_seconds}
    for kind, suffix, samples in (
        ("integers", ".onnx", range_samples(learned, BANDS, spec.level)),
        ("floats", ".float.onnx", []),
    ):
        file = folder / f"{design.name}{suffix}"
        export(trained, spec, file, samples)
        found, _ = evaluate_network(OnnxNetwork(file), unseen, "fold")
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


def _print(results: dict[tuple[str, int], list[dict[str, Any]]], folder: Path) -> None:
    table = Table("design", title="Designs, the fastest first", title_justify="left")
    for column in (
        "steps", "weights", "core-seconds a step", "agreement, %", "of each fold", "mean over places, %",
        "in floats, %", "kept px per core-second", "in floats",
    ):  # fmt: skip
        table.add_column(column, justify="right")

    def mean(runs: list[dict[str, Any]], kind: str, what: str) -> str:
        return f"{100 * np.mean([run[kind][what] for run in runs]):.1f}"

    rates = _rates(list(dict.fromkeys(name for name, _ in results)), folder)
    for (name, steps), runs in sorted(results.items(), key=lambda one: (-rates[one[0][0]][0], one[0])):
        integers, floats = rates[name]
        table.add_row(
            name,
            f"{steps:,}",
            f"{runs[0]['weights'] / 1e6:.2f} M",
            f"{np.mean([run['core_seconds_a_step'] for run in runs]):.2f}",
            mean(runs, "integers", "agreement"),
            ", ".join(f"{100 * run['integers']['agreement']:.1f}" for run in runs),
            mean(runs, "integers", "mean_over_places"),
            mean(runs, "floats", "agreement"),
            f"{integers:,.0f}",
            f"{floats:,.0f}",
        )
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
