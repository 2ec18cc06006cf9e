"""Train the network by a recipe: from a teacher network's answers, or from labels.

A teacher (Dynamic World's forward network: nine bands, top-of-atmosphere) answers for every augmented patch that the
network is shown (Beyer et al. 2021, "Knowledge distillation: a good teacher is patient and consistent"). Runs on a GPU
if there is one. A run that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from catalog.errors import BadInput, LandloomError
from catalog.model import MODEL_CLASSES, Network
from catalog.radar import RADAR_CHANNELS
from catalog.scenes import BANDS
from services.inference import checkpoint, open_network
from services.inference.begin import begin_with
from services.inference.buffer import Buffer
from services.inference.chips import Chip, read_chips
from services.inference.crops import Crops, class_pixels, class_weights
from services.inference.patches import Patches
from services.inference.recipe import Recipe, level_learned
from services.inference.release import range_samples
from services.inference.unet import UNet, normalise

log = logging.getLogger(__name__)

_WATCH = 250
"""Steps between looks at the held-out places."""
_WATCHED = 8
"""Batches of them."""
_SAVE = 180
"""Seconds between checkpoints."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands."""

    share: float
    """Of the recipe's length, 0 to 1."""
    step: int
    loss: float
    """Mean of the last 200 steps, nats a pixel."""
    held_out: float | None
    """The same on places that are not learned, when last looked at."""


class Lessons(Protocol):
    """What a network is shown, batch by batch."""

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 `[batch, bands, side, side]`, as it is shown, and `[batch, classes, side, side]`, probabilities."""


def train(
    datasets: Sequence[str],
    recipe: Recipe,
    out: Path,
    teachers: Sequence[str] = (),
    threads: int = 2,
    begin: str = "",
    leave_out: Sequence[str] = (),
    on_progress: Callable[[Standing], None] = lambda progress: None,
) -> None:
    """Train until the recipe's end, writing a checkpoint every few minutes; a run that was stopped goes on from it.

    Curves for TensorBoard are written to a folder `{out's name}-curves` beside the checkpoint.

    Args:
        datasets: folders of training sets, of which the split `train` is learned; finer classes as what they are
            part of.
        recipe: how.
        out: checkpoint; its entry `network` holds the weights.
        teachers: IDs or ONNX files of the networks that teach, if the recipe asks for any: the mean of their answers.
        threads: processor threads, for network and teacher.
        begin: network to begin with, of the same depth: ID, ONNX file or checkpoint.
        leave_out: places of the split `train` that are not learned.
        on_progress: called after every step.

    Raises:
        BadInput: no chips, or a teacher or a checkpoint that does not fit.
        LandloomError: the loss is no longer a number, or the checkpoint cannot be written.
    """
    if bool(teachers) != (recipe.learn_from == "teacher"):
        raise BadInput(
            "The recipe learns from a teacher: give --teacher, a network that `landloom models list` names."
            if not teachers
            else f"The recipe learns from labels and asks no teacher: leave --teacher {teachers[0]!r} out."
        )
    if threads < 1:
        raise BadInput(f"--threads {threads} is not possible. Give at least 1.")
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(threads)
    chips, watched = _held_out(read_chips(datasets, "train", leave_out), recipe)
    if unseen := [name for name, count in zip(MODEL_CLASSES, class_pixels(chips), strict=True) if not count]:
        log.warning("No chip to learn from shows %s: the network will not find it.", ", ".join(unseen))
    _check_radar(chips, recipe)
    network = UNet(len(BANDS) + len(recipe.radar), len(MODEL_CLASSES), recipe.widths, recipe.dropout)
    if begin and not out.exists():
        begin_with(network, begin, range_samples(chips, (*BANDS, *recipe.radar), level_learned(recipe.learn_from)))
    run = Run(recipe, network, out, class_weights(chips))
    # A run that goes on draws other patches than it began with.
    random = np.random.default_rng([recipe.seed, run.step])
    taught_by = [open_network(teacher, threads) for teacher in teachers]
    lessons = _lessons(chips, recipe, random, taught_by)
    exam = []
    if watched:
        examiner = _lessons(watched, recipe, np.random.default_rng(recipe.seed), taught_by)
        exam = [examiner.batch() for _ in range(_WATCHED)]
    steps = math.inf
    if recipe.epochs and isinstance(lessons, Crops):
        steps = recipe.epochs * math.ceil(lessons.per_epoch / recipe.batch)
    try:
        run.follow(lessons, exam, steps, on_progress)
    except OSError as error:
        raise LandloomError(
            f"The curves beside {str(out)!r} cannot be written: {error}. Make room, and give the same command again: "
            "training goes on from its last checkpoint."
        ) from error


class Run:
    """One network on its way."""

    def __init__(self, recipe: Recipe, network: nn.Module, out: Path, weights: np.ndarray):
        """Begin, or go on from a checkpoint.

        Args:
            recipe: how.
            network: normalised bands to logits; moved to a GPU if there is one.
            out: checkpoint.
            weights: of `MODEL_CLASSES`, if the recipe wants any.

        Raises:
            BadInput: the checkpoint is another recipe's or network's.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._recipe, self._network, self._device, self._out = recipe, network, device, out
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        weighted = recipe.class_weights == "inverse-log"
        told = weights if weighted else np.ones_like(weights)
        self._weights = torch.from_numpy(told).to(device)[:, None, None]
        self._parts: dict[str, Any] = {"network": network, "optimiser": self._optimiser}
        self.seconds, self.step = 0.0, 0
        self._best: dict[str, torch.Tensor] | None = None
        self._best_loss, self._in_vain = math.inf, 0
        self._held_out: float | None = None
        if out.exists():
            # The recipe first: that the widths differ says more than the names of layers.
            _same_recipe(checkpoint.load(out, {}).get("recipe", ""), recipe, out)
            state = checkpoint.load(out, self._parts, ("seconds", "step", "best", "best_loss", "in_vain"))
            self.seconds, self.step = state["seconds"], state["step"]
            self._best, self._best_loss, self._in_vain = state["best"], state["best_loss"], state["in_vain"]

    def follow(
        self,
        lessons: Lessons,
        exam: list[tuple[np.ndarray, np.ndarray]],
        steps: float,
        on_progress: Callable[[Standing], None],
    ) -> None:
        """Step by step to the recipe's end, or until nothing has become better for long.

        Args:
            lessons: what is learned.
            exam: batches of places that are not.
            steps: how many there are, if the recipe's minutes are not over before.
            on_progress: called after every step.

        Raises:
            LandloomError: the loss is no longer a number, or the checkpoint cannot be written.
        """
        limit = (self._recipe.minutes or math.inf) * 60
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        losses: list[float] = []
        curves = SummaryWriter(str(self._out.with_name(f"{self._out.stem}-curves")), purge_step=self.step)
        # The next batch is drawn, and the teacher asked, while this one is learned.
        with curves, ThreadPoolExecutor(1, thread_name_prefix="lessons") as drawer:
            drawn = drawer.submit(lessons.batch)
            while (share := max(self.seconds / limit, self.step / steps)) < 1 and not self._is_done():
                rate = self._set_rate(share)
                batch, drawn = drawn.result(), drawer.submit(lessons.batch)
                losses = [*losses[-199:], self._learn(*batch)]
                self.step += 1
                self.seconds = time.monotonic() - began
                if exam and self.step % _WATCH == 0:
                    self._look(exam)
                    curves.add_scalar("loss/held-out places", self._held_out, self.step)
                if self.step % 10 == 0:
                    curves.add_scalar("loss/training", losses[-1], self.step)
                    curves.add_scalar("learning rate", rate, self.step)
                on_progress(Standing(share, self.step, float(np.mean(losses)), self._held_out))
                if time.monotonic() - saved > _SAVE:
                    self._save()
                    saved = time.monotonic()
        self._save()

    def _learn(self, images: np.ndarray, targets: np.ndarray) -> float:
        self._network.train()
        loss = self._loss(images, targets)
        if not torch.isfinite(loss):
            kept = (
                f"The last checkpoint, {str(self._out)!r}, is sound" if self._out.exists() else "Nothing was saved yet"
            )
            raise LandloomError(
                f"The loss is {loss.item()} at step {self.step}: lower the recipe's learning_rate "
                f"({self._recipe.learning_rate}). {kept}."
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        return loss.item()

    def _loss(self, images: np.ndarray, targets: np.ndarray) -> torch.Tensor:
        """Cross-entropy with probabilities at the recipe's temperature, nats a pixel, classes weighted."""
        temperature = self._recipe.temperature
        shown = normalise(torch.from_numpy(np.ascontiguousarray(images)).to(self._device))
        wanted = softened(torch.from_numpy(np.ascontiguousarray(targets)).to(self._device), temperature) * self._weights
        # Half as long on a processor with bfloat16 instructions, and on GPUs.
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            logits = self._network(shown.contiguous(memory_format=torch.channels_last))
        found = torch.log_softmax(logits.float() / temperature, dim=1)
        return -(wanted * found).sum() / wanted.sum().clamp(min=1)

    @torch.no_grad()
    def _look(self, exam: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self._network.eval()
        self._held_out = loss = float(np.mean([self._loss(images, targets).item() for images, targets in exam]))
        self._in_vain += 1
        if loss < self._best_loss:
            self._best_loss, self._in_vain = loss, 0
            self._best = {name: one.detach().cpu().clone() for name, one in self._network.state_dict().items()}

    def _is_done(self) -> bool:
        return self._recipe.patience is not None and self._in_vain >= self._recipe.patience

    def _set_rate(self, share: float) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * share)) if self._recipe.decay == "cosine" else 1.0
        rate = self._recipe.learning_rate * min(1.0, (self.step + 1) / 100) * fall
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        return rate

    def _save(self) -> None:
        checkpoint.save(
            self._out,
            self._parts,
            seconds=self.seconds,
            step=self.step,
            recipe=self._recipe.model_dump_json(),
            class_weights=self._weights.flatten().tolist(),
            best=self._best if self._recipe.patience else None,
            best_loss=self._best_loss,
            in_vain=self._in_vain,
        )


def softened(targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities `[N, classes, H, W]` whose logits are divided by a temperature; pixels that are all 0 stay so."""
    if temperature == 1:
        return targets
    powers = targets ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True).clamp(min=torch.finfo(powers.dtype).tiny)


def _lessons(
    chips: list[Chip], recipe: Recipe, random: np.random.Generator, teachers: Sequence[Network]
) -> Buffer | Crops:
    if not teachers:
        return Crops(chips, recipe, random)
    return Buffer(Patches(chips, teachers, recipe, random), recipe, random)


def _check_radar(chips: Sequence[Chip], recipe: Recipe) -> None:
    """Channels that no chip has would be learned as missing, and then map as noise where they are there.

    Raises:
        BadInput: naming one.
    """
    for channel in recipe.radar:
        if not any(chip.radar is not None and chip.radar[RADAR_CHANNELS.index(channel)].any() for chip in chips):
            raise BadInput(
                f"The recipe wants the radar channel {channel}, which no chip to learn from has. Give a training set "
                "with it among its bands (docs/radar.md), or leave it out of the recipe's radar."
            )


def _held_out(chips: list[Chip], recipe: Recipe) -> tuple[list[Chip], list[Chip]]:
    """Chips to learn and chips to watch, of different places."""
    places = sorted({chip.place for chip in chips if chip.taught or recipe.learn_from == "labels"})
    count = round(recipe.held_out * len(places))
    if recipe.patience and not count:
        raise BadInput(
            f"Of {len(places)} places the recipe holds out {recipe.held_out:.0%}, which is none, but its patience "
            "needs some: raise held_out, or leave patience out."
        )
    chosen = set(np.random.default_rng(recipe.seed).permutation(places)[:count].tolist())
    return [chip for chip in chips if chip.place not in chosen], [chip for chip in chips if chip.place in chosen]


def _same_recipe(told: str, recipe: Recipe, out: Path) -> None:
    """A run may be made longer, and more or less patient; all else would make it another.

    Raises:
        BadInput: another recipe.
    """
    try:
        before = Recipe.model_validate_json(told)
    except ValueError as error:
        raise BadInput(f"{str(out)!r} is no checkpoint that this version can go on from. Use another --out.") from error
    for name in Recipe.model_fields:
        was, now = getattr(before, name), getattr(recipe, name)
        if was != now and name not in ("minutes", "epochs", "patience"):
            raise BadInput(
                f"{str(out)!r} was begun with {name} = {was}; the recipe now says {now}. Use another --out, or the "
                "recipe it was begun with."
            )
