"""Train the network by a recipe: from a teacher network's answers, or from labels.

A teacher (Dynamic World's forward network: nine bands, top-of-atmosphere) answers for every augmented patch that the
network is shown (Beyer et al. 2021, "Knowledge distillation: a good teacher is patient and consistent"). Runs on a GPU
if there is one. A run that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, Network
from catalog.radar import RADAR_CHANNELS
from catalog.scenes import BANDS
from services.inference import open_network
from services.inference.begin import begin_with
from services.inference.buffer import Buffer
from services.inference.chips import Chip, gsd_apart, read_chips
from services.inference.crops import Crops, class_pixels, class_weights
from services.inference.patches import Patches
from services.inference.recipe import Recipe, level_learned
from services.inference.release import range_samples
from services.inference.run import Run, Standing
from services.inference.unet import UNet

log = logging.getLogger(__name__)

_WATCHED = 8
"""Batches of the held-out places that are looked at."""


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
        LandloomError: the loss is no longer a number, the checkpoint cannot be written, or Ctrl-C or SIGTERM came:
            then it has been written.
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
    taught_by = [open_network(teacher, threads) for teacher in teachers]
    chips, watched = _held_out(read_chips(datasets, "train", leave_out), recipe)
    for one in taught_by:
        if apart := gsd_apart(datasets, one.spec):
            log.warning("Some chips are %s.", apart)
    if unseen := [name for name, count in zip(MODEL_CLASSES, class_pixels(chips), strict=True) if not count]:
        log.warning("No chip to learn from shows %s: the network will not find it.", ", ".join(unseen))
    _check_radar(chips, recipe)
    network = UNet(len(BANDS) + len(recipe.radar), len(MODEL_CLASSES), recipe.widths, recipe.dropout)
    if begin and not out.exists():
        begin_with(network, begin, range_samples(chips, (*BANDS, *recipe.radar), level_learned(recipe.learn_from)))
    run = Run(recipe, network, out, class_weights(chips), _told_apart(chips, taught_by))
    # A run that goes on draws other patches than it began with.
    random = np.random.default_rng([recipe.seed, run.step])
    lessons = _lessons(chips, recipe, random, taught_by)
    exam = []
    if watched:
        examiner = _lessons(watched, recipe, np.random.default_rng(recipe.seed), taught_by)
        exam = [examiner.batch() for _ in range(_WATCHED)]
    steps = math.inf
    if recipe.epochs and isinstance(lessons, Crops):
        steps = recipe.epochs * math.ceil(lessons.per_epoch / recipe.batch)
    run.follow(lessons, exam, steps, on_progress)


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


def _told_apart(chips: Sequence[Chip], teachers: Sequence[Network]) -> dict[str, str]:
    """What is learned, and from whom: a run that goes on with something else would be another."""
    names = "\n".join(sorted(chip.id for chip in chips))
    told = f"{len(chips)} chips ({hashlib.sha256(names.encode()).hexdigest()[:8]})"
    asked = ", ".join(f"{one.spec.id} {one.spec.version} ({one.spec.sha256[:8]})" for one in teachers)
    return {"--dataset and --leave-out": told, "--teacher": asked or "none"}


def _held_out(chips: list[Chip], recipe: Recipe) -> tuple[list[Chip], list[Chip]]:
    """Chips to learn and chips to watch, of different places."""
    places = sorted({chip.place for chip in chips if chip.taught or recipe.learn_from == "labels"})
    count = round(recipe.held_out * len(places))
    if recipe.patience and not count:
        raise BadInput(
            f"Of {len(places)} places the recipe holds out {recipe.held_out:.0%}, which is none, but its patience "
            "needs some: raise held_out, or leave patience out."
        )
    if places and count == len(places):
        raise BadInput(
            f"Of {len(places)} places the recipe holds out {recipe.held_out:.3%}, which is every one, so nothing is "
            "left to learn: lower held_out."
        )
    chosen = set(np.random.default_rng(recipe.seed).permutation(places)[:count].tolist())
    return [chip for chip in chips if chip.place not in chosen], [chip for chip in chips if chip.place in chosen]
