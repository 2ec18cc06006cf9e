"""Train the network on chips, by matching a teacher network on the same pixels.

The teacher (Dynamic World's forward network: nine bands, top-of-atmosphere) answers for every augmented patch that
the network is shown (Beyer et al. 2021, "Knowledge distillation: a good teacher is patient and consistent"). It costs
more than the student, so its answers are kept in a buffer and used several times. Patches are drawn so that each
class comes equally often; clouds, which the teacher does not know, come from cloud masks and are pasted elsewhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from services.inference import checkpoint
from services.inference.chips import read_chips
from services.inference.patches import Patch, Patches
from services.inference.unet import UNet, normalise

_RATE = 2e-3
"""Learning rate at its highest."""
_BATCH = 16
_FRESH = 1
"""Patches drawn a step: each is seen about `_BATCH / _FRESH` times."""
_BUFFER = 4000
"""Patches kept, 0.55 MB each."""


def train(
    datasets: Sequence[str],
    teacher: Path,
    out: Path,
    minutes: float,
    threads: int,
    begin: Path | None = None,
    leave_out: Sequence[str] = (),
    seed: int = 0,
    on_progress: Callable[[float, int, float], None] = lambda minutes, step, loss: None,
) -> None:
    """Train for a time and write a checkpoint every few minutes; a run that was stopped goes on from it.

    Args:
        datasets: folders of training sets, of which the split `train` is learned.
        teacher: ONNX file of the teacher.
        out: checkpoint; its entry `network` holds the weights.
        minutes: time in all, those of the stopped run included; the learning rate falls to 0 over it.
        threads: processor threads, for network and teacher.
        begin: checkpoint of a network to begin with, of the same depth and no wider.
        leave_out: places of the split `train` that are not learned.
        seed: of weights and patches.
        on_progress: called after every step with the minutes so far, the steps, and the mean loss of the last ones.

    Raises:
        BadInput: no chips, or files that are no teacher or no checkpoint of such a network.
        RuntimeError: the loss is no longer a number.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    random = np.random.default_rng(seed)
    patches = Patches(read_chips(datasets, "train", leave_out), teacher, seed, threads)
    network = UNet(len(BANDS), len(MODEL_CLASSES))
    if begin is not None:
        try:
            network.begin_with(checkpoint.load(begin, {})["network"])
        except (KeyError, ValueError) as error:
            raise BadInput(f"Training cannot begin with {str(begin)!r}: {error}.") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-2)
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser}
    spent, step = 0.0, 0
    if out.exists():
        state = checkpoint.load(out, parts)
        spent, step = state["seconds"], state["step"]
    buffer: list[Patch] = [patches.draw() for _ in range(_BUFFER // 20)]
    started, saved, losses = time.monotonic() - spent, time.monotonic(), []
    while (seconds := time.monotonic() - started) < minutes * 60:
        for _ in range(_FRESH):
            if len(buffer) < _BUFFER:
                buffer.append(patches.draw())
            else:
                buffer[int(random.integers(_BUFFER))] = patches.draw()
        for group in optimiser.param_groups:
            fall = 0.5 * (1 + math.cos(math.pi * seconds / (minutes * 60)))
            group["lr"] = _RATE * min(1.0, (step + 1) / 100) * fall
        images, targets = _batch([buffer[int(k)] for k in random.integers(0, len(buffer), _BATCH)], random)
        network.train()
        # Half as long on a processor with bfloat16 instructions.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(normalise(images).contiguous(memory_format=torch.channels_last))
        learned = targets.sum().clamp(min=1)
        loss = -(targets * torch.log_softmax(logits.float(), dim=1)).sum() / learned
        if not torch.isfinite(loss):
            raise RuntimeError(f"The loss is {loss.item()} at step {step}: lower the learning rate.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        step += 1
        on_progress((time.monotonic() - started) / 60, step, float(np.mean(losses[-200:])))
        if time.monotonic() - saved > 180:
            checkpoint.save(out, parts, seconds=time.monotonic() - started, step=step)
            saved = time.monotonic()
    checkpoint.save(out, parts, seconds=time.monotonic() - started, step=step)


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
