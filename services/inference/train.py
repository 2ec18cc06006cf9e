"""Train the network on chips, by matching a teacher network on the same pixels.

Run as `python -m services.inference.train --chips DIR --teacher FILE.onnx --out FILE.pt --minutes 80`.

The teacher (Dynamic World's forward network: nine bands, top-of-atmosphere) answers for every augmented patch that
the student sees (Beyer et al. 2021, "Knowledge distillation: a good teacher is patient and consistent"). It costs
more than the student, so its answers are kept in a buffer and used several times. Patches are drawn so that each
class comes equally often; clouds, which the teacher does not know, come from cloud masks and are pasted elsewhere.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import rasterio
import torch
from scipy.ndimage import gaussian_filter, zoom

from catalog.model import MODEL_CLASSES
from services.inference.atmosphere import Atmosphere
from services.inference.unet import UNet, normalise

NINE_TO_SIX = [0, 1, 2, 6, 7, 8]
"""The network's bands among the teacher's."""
CLOUD = MODEL_CLASSES.index("cloud")
PATCH = 128
_BORDER = 8
"""Pixels at a patch's edge that are not learned: the teacher pads them with zeros."""
_HELD_OUT = ("brandenburg", "rufiji")
"""Places kept for independent tests."""


@dataclass(frozen=True)
class Chip:
    """One training chip."""

    image: np.ndarray
    """uint16 `[9, H, W]`, reflectance x 10,000."""
    valid: np.ndarray
    """bool `[H, W]`: the teacher is to be learned here."""
    classes: np.ndarray
    """uint8 `[H, W]`: the teacher's class or cloud; 255 = neither."""
    level: str
    sun_zenith: float


@dataclass
class Patch:
    """One entry of the buffer."""

    surface: np.ndarray
    """uint16 `[6, PATCH, PATCH]`, surface reflectance x 10,000."""
    top: np.ndarray
    """The same at the top of the atmosphere."""
    target: np.ndarray
    """uint8 `[10, PATCH, PATCH]`, probabilities x 250; all 0 where nothing is learned."""


def read_chips(folder: Path, split: str) -> list[Chip]:
    """The chips of one split, places held out left aside."""
    index = pd.read_csv(folder / "chips.csv")
    chips = []
    for row in index[index["split"] == split].itertuples():
        if row.scene.startswith(_HELD_OUT):
            continue
        image, teacher, valid, cloud = (
            _read(folder / "chips" / f"{row.id}_{part}.tif") for part in ("image", "teacher", "valid", "cloud")
        )
        classes = np.where(valid[0] > 0, teacher.argmax(axis=0), 255).astype(np.uint8)
        classes[cloud[0] > 0] = CLOUD
        zenith = 40.0 if pd.isna(row.sun_zenith) else float(row.sun_zenith)
        chips.append(Chip(image, valid[0] > 0, classes, row.level, zenith))
    return chips


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


class Patches:
    """Draws augmented patches and asks the teacher about them."""

    def __init__(self, chips: list[Chip], teacher: Path, seed: int, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._teacher = onnxruntime.InferenceSession(str(teacher), options, providers=["CPUExecutionProvider"])
        self._random = np.random.default_rng(seed)
        self._chips = chips
        counts = np.array([np.bincount(chip.classes.ravel(), minlength=256)[: CLOUD + 1] for chip in chips])
        # The square root lets small chips and rare places come more often than their pixels alone would.
        self._chances = np.sqrt(counts / np.maximum(counts.sum(axis=0), 1))
        self._chances /= self._chances.sum(axis=0)
        self._clouds = [k for k, chip in enumerate(chips) if (chip.classes == CLOUD).mean() > 0.9]

    def draw(self) -> Patch:
        """One patch: a whole crop, or four quarters from four places."""
        random = self._random
        quarters = 1 if random.random() < 0.4 else 2
        side = PATCH // quarters
        surface = np.zeros((9, PATCH, PATCH), np.float32)
        learn, cloud = np.zeros((2, PATCH, PATCH), bool)
        air = Atmosphere.of(float(random.choice([0.02, 0.05, 0.08, 0.15])), float(random.uniform(20, 65)))
        for row in range(0, PATCH, side):
            for col in range(0, PATCH, side):
                here = (slice(row, row + side), slice(col, col + side))
                surface[(slice(None), *here)], learn[here], cloud[here] = self._crop(side)
        top = air.raise_to_top(surface)
        empty = ~surface.any(axis=0)
        top[:, empty] = 0
        target = np.zeros((10, PATCH, PATCH), np.float32)
        asked = np.clip(top * 10000, 0, 65535).astype(np.uint16)
        target[:9] = self._teacher.run(None, {"image": asked[np.newaxis]})[0][0]
        known = learn & ~empty & ~cloud
        if random.random() < 0.3 and self._clouds:
            surface, top, known, cloud = self._paste_cloud(surface, top, known, cloud, air)
        # Labels across the seams of the quarters are the teacher's own: it saw the same seam.
        target[:, ~known] = 0
        target[:, cloud] = 0
        target[CLOUD, cloud] = 1
        target[:, :_BORDER] = target[:, -_BORDER:] = 0
        target[:, :, :_BORDER] = target[:, :, -_BORDER:] = 0
        return Patch(_pack(surface, empty), _pack(top, empty), np.rint(target * 250).astype(np.uint8))

    def _crop(self, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A square of surface reflectance round a pixel of an evenly drawn class, turned, zoomed and re-lit."""
        random = self._random
        wanted = random.integers(CLOUD + 1)
        chip = self._chips[random.choice(len(self._chips), p=self._chances[:, wanted])]
        height, width = chip.classes.shape
        factor = float(random.uniform(0.75, 1.4)) if random.random() < 0.3 and min(height, width) > side * 1.4 else 1.0
        size = min(round(side / factor), height, width)
        places = np.argwhere(chip.classes == wanted)
        row, col = places[random.integers(len(places))] - random.integers(0, size, 2)
        row, col = int(np.clip(row, 0, height - size)), int(np.clip(col, 0, width - size))
        window = (slice(row, row + size), slice(col, col + size))
        image = chip.image[(slice(None), *window)].astype(np.float32) / 10000
        learn, cloud = chip.valid[window], chip.classes[window] == CLOUD
        if size != side:
            image = zoom(image, (1, side / size, side / size), order=1)
            learn, cloud = (zoom(mask, side / size, order=0) for mask in (learn, cloud))
        if chip.level == "L1C":
            empty = ~image.any(axis=0)
            image = Atmosphere.of(0.08, chip.sun_zenith).lower_to_surface(image)
            image[:, empty] = 0
        image = image * random.normal(1, 0.08) * random.normal(1, 0.025, (9, 1, 1))
        turns, mirror = int(random.integers(4)), random.random() < 0.5
        image, learn, cloud = (np.rot90(a, turns, (-2, -1)) for a in (image, learn, cloud))
        if mirror:
            image, learn, cloud = image[..., ::-1], learn[..., ::-1], cloud[..., ::-1]
        return np.clip(image, 0, 2).astype(np.float32), learn, cloud

    def _paste_cloud(
        self, surface: np.ndarray, top: np.ndarray, known: np.ndarray, cloud: np.ndarray, air: Atmosphere
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lay a soft-edged cloud over part of a patch; what shows through its rim is not learned."""
        random = self._random
        source = self._chips[self._clouds[random.integers(len(self._clouds))]]
        row, col = random.integers(0, np.array(source.classes.shape) - PATCH + 1)
        there = source.image[:, row : row + PATCH, col : col + PATCH].astype(np.float32) / 10000
        bright = there if source.level == "L2A" else Atmosphere.of(0.08, source.sun_zenith).lower_to_surface(there)
        bright = np.clip(bright * random.uniform(0.6, 1.3), 0, 2)
        field = gaussian_filter(random.normal(size=(PATCH, PATCH)), random.uniform(4, 16))
        field = (field - np.quantile(field, random.uniform(0.3, 0.9))) / field.std()
        opacity = np.clip(field * random.uniform(1, 6), 0, 1).astype(np.float32)
        surface = surface * (1 - opacity) + bright * opacity
        top = top * (1 - opacity) + air.raise_to_top(bright) * opacity
        return surface, top, known & (opacity < 0.1), (cloud & (opacity < 0.1)) | (opacity > 0.5)


def _pack(reflectance: np.ndarray, empty: np.ndarray) -> np.ndarray:
    packed = np.clip(np.rint(reflectance[NINE_TO_SIX] * 10000), 1, 65535).astype(np.uint16)
    packed[:, empty] = 0
    return packed


def train(chips: Path, teacher: Path, out: Path, minutes: float, threads: int, seed: int = 0) -> None:
    """Train for a time and write a checkpoint every few minutes; a run that was stopped goes on from it."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    random = np.random.default_rng(seed)
    patches = Patches(read_chips(chips, "train"), teacher, seed, threads)
    network = UNet(6, len(MODEL_CLASSES))
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    spent, step = 0.0, 0
    if out.exists():
        state = torch.load(out, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["seconds"], state["step"]
    buffer: list[Patch] = [patches.draw() for _ in range(200)]
    started, saved, losses = time.monotonic() - spent, time.monotonic(), []
    while (seconds := time.monotonic() - started) < minutes * 60:
        for _ in range(2):
            fresh = patches.draw()
            if len(buffer) < 4000:
                buffer.append(fresh)
            else:
                buffer[int(random.integers(4000))] = fresh
        for group in optimiser.param_groups:
            progress = seconds / (minutes * 60)
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * progress))
        images, targets = _batch([buffer[int(k)] for k in random.integers(0, len(buffer), 16)], random)
        network.train()
        logits = network(normalise(images))
        weight = targets.sum(dim=1)
        loss = -(targets * torch.log_softmax(logits, dim=1)).sum() / weight.sum().clamp(min=1)
        if not torch.isfinite(loss):
            raise RuntimeError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        losses.append(loss.item())
        step += 1
        if time.monotonic() - saved > 180:
            print(f"{seconds / 60:.1f} min, step {step}, loss {np.mean(losses[-200:]):.4f}", flush=True)
            _save(out, network, average, optimiser, time.monotonic() - started, step)
            saved = time.monotonic()
    _save(out, network, average, optimiser, time.monotonic() - started, step)


def _batch(chosen: list[Patch], random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the patches as L2A, half as L1C, each turned once more."""
    images, targets = [], []
    for patch in chosen:
        image, target = (patch.surface if random.random() < 0.5 else patch.top), patch.target
        turns = int(random.integers(4))
        image, target = np.rot90(image, turns, (1, 2)), np.rot90(target, turns, (1, 2))
        if random.random() < 0.5:
            image, target = image[..., ::-1], target[..., ::-1]
        images.append(image.astype(np.float32))
        targets.append(target.astype(np.float32) / 250)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))


def _save(out: Path, network: torch.nn.Module, average: torch.nn.Module, optimiser: torch.optim.Optimizer, seconds: float, step: int) -> None:  # fmt: skip
    partial = out.with_suffix(".partial")
    torch.save(
        {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "seconds": seconds,
            "step": step,
        },
        partial,
    )
    partial.replace(out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=Path, required=True, help="folder with chips.csv and chips/")
    parser.add_argument("--teacher", type=Path, required=True, help="the teacher network (ONNX)")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, and to go on from")
    parser.add_argument("--minutes", type=float, default=80, help="how long to train in all")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    train(arguments.chips, arguments.teacher, arguments.out, arguments.minutes, arguments.threads)


if __name__ == "__main__":
    main()
