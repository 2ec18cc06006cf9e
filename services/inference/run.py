"""A training run: one network on its way, step by step, from and to its checkpoint."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from catalog.errors import BadInput, LandloomError
from services.inference import checkpoint
from services.inference.recipe import Recipe
from services.inference.unet import normalise

_WATCH = 250
"""Steps between looks at the held-out places."""
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


class Run:
    """One network on its way."""

    def __init__(
        self, recipe: Recipe, network: nn.Module, out: Path, weights: np.ndarray, shown: dict[str, str] | None = None
    ):
        """Begin, or go on from a checkpoint.

        Args:
            recipe: how.
            network: normalised bands to logits; moved to a GPU if there is one.
            out: checkpoint.
            weights: of `MODEL_CLASSES`, if the recipe wants any.
            shown: option to what tells apart what it says, where a run that goes on must say the same.

        Raises:
            BadInput: the checkpoint is another recipe's or network's, or one that was shown something else.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._recipe, self._network, self._device, self._out = recipe, network, device, out
        self._shown = shown or {}
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
            before = checkpoint.load(out, {})
            _same_recipe(before.get("recipe", ""), recipe, out)
            _same_lessons(before.get("shown", {}), self._shown, out)
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
            LandloomError: the loss is no longer a number, the checkpoint cannot be written, or Ctrl-C or SIGTERM came:
                then it has been written.
        """
        limit = (self._recipe.minutes or math.inf) * 60
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        losses: list[float] = []
        # The next batch is drawn, and the teacher asked, while this one is learned.
        with (
            _signals() as came,
            _curves(self._out, self.step) as curves,
            ThreadPoolExecutor(1, thread_name_prefix="lessons") as drawer,
        ):
            drawn = drawer.submit(lessons.batch)
            while (share := max(self.seconds / limit, self.step / steps)) < 1 and not self._is_done() and not came:
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
        if came:
            raise LandloomError(
                f"{came[0].name} came after step {self.step:,}, and {str(self._out)!r} holds what was learned. Give "
                "the same command again: training goes on from there."
            )

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
            shown=self._shown,
            class_weights=self._weights.flatten().tolist(),
            best=self._best if self._recipe.patience else None,
            best_loss=self._best_loss,
            in_vain=self._in_vain,
        )


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """Ctrl-C and SIGTERM, by which clusters take a pod away, let the step that is learned end; a second one does not.

    Yields:
        Those that came.
    """
    came: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():  # Python takes signals there only.
        yield came
        return

    def note(number: int, _: object) -> None:
        sent = signal.Signals(number)
        came.append(sent)
        signal.signal(sent, before[sent])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _curves(out: Path, step: int) -> Iterator[SummaryWriter]:
    """Where TensorBoard's curves are written.

    Raises:
        LandloomError: they cannot be.
    """
    usual = threading.excepthook

    def tell(failed: threading.ExceptHookArgs) -> None:
        # The writer's thread hands an OSError on to whoever writes next: it need not be printed as well.
        if not isinstance(failed.exc_value, OSError):
            usual(failed)

    threading.excepthook = tell
    try:
        with SummaryWriter(str(out.with_name(f"{out.stem}-curves")), purge_step=step) as curves:
            yield curves
    except OSError as error:
        raise LandloomError(
            f"The curves beside {str(out)!r} cannot be written: {error}. Make room, and give the same command again: "
            "training goes on from its last checkpoint, if there is one."
        ) from error
    finally:
        threading.excepthook = usual


def softened(targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities `[N, classes, H, W]` whose logits are divided by a temperature; pixels that are all 0 stay so."""
    if temperature == 1:
        return targets
    powers = targets ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True).clamp(min=torch.finfo(powers.dtype).tiny)


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


def _same_lessons(before: dict[str, str], now: dict[str, str], out: Path) -> None:
    """Raise BadInput if a run goes on with other chips or teachers."""
    for option, told in now.items():
        if before.get(option, told) != told:
            raise BadInput(
                f"{str(out)!r} was begun with another {option}: {before[option]}, and now {told}. Give the same, or "
                "another --out; --begin takes what is learned along."
            )
