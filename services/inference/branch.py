"""A branch on a trained network: from the features of each pixel, which part of a class it is. Needs `train`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from catalog.atmosphere import Atmosphere, Level, bring_to
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.tree import Tree
from services.inference.chips import NINE_TO_SIX, Chip, mirror
from services.inference.features import Features

STEPS = 300
_BATCH, _RATE, _DECAY, _DROPOUT, _SMOOTHING = 512, 3e-3, 1e-2, 0.2, 0.05
_LOOKS, _PIXELS = 12, 48
"""How often a chip is shown, and pixels of each part that are then learned; of many chips fewer looks."""
_ROWS = 100_000


class Branch(nn.Module):
    """Features of a network, `[N, channels, H / stride, W / stride]` each, to logits of all parts at the finest stride.

    Linear, so that it learns from few places: each level has its say, coarse ones spread over their pixels.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], parts: int):
        super().__init__()
        self.strides = tuple(strides)
        self.levels = nn.ModuleList(nn.Conv2d(channel, parts, 1) for channel in channels)

    @classmethod
    def of(cls, linear: nn.Linear, features: Features) -> Branch:
        """The branch that tells of every pixel what `fitted` tells of the features there."""
        branch = cls(features.channels, features.strides, linear.out_features)
        weights = linear.weight[:, :, None, None].split(list(features.channels), dim=1)
        for level, weight in zip(branch.levels, weights, strict=True):
            level.load_state_dict({"weight": weight, "bias": linear.bias / len(branch.levels)})
        return branch

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """See the class."""
        told: dict[int, torch.Tensor] = {}
        for stride, level, feature in zip(self.strides, self.levels, features, strict=True):
            told[stride] = told[stride] + level(feature) if stride in told else level(feature)
        # From the coarsest to the finest: so each sum is of few pixels.
        coarse, *finer = sorted(told, reverse=True)
        logits = told[coarse]
        for stride in finer:
            logits = nn.functional.interpolate(logits, scale_factor=coarse / stride, mode="bilinear")
            logits, coarse = logits + told[stride], stride
        return logits


@dataclass(frozen=True)
class Pixels:
    """Pixels whose part is known."""

    seen: torch.Tensor
    """float32 `[n, channels]`: their features."""
    wanted: torch.Tensor
    """int64 `[n]`: number of the part, among those of all classes."""
    chip: torch.Tensor
    """int64 `[n]`: number of the chip they are of."""
    top: torch.Tensor
    """Boolean `[n]`: seen from above the atmosphere."""


def split_classes(tree: Tree) -> list[tuple[str, ...]]:
    """The leaves of each class that is split, class by class."""
    return [tree.under(name) for name in MODEL_CLASSES if tree.children(name)]


def pixels_of(
    base: ModelSpec,
    features: Features,
    chips: Sequence[Chip],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pixels:
    """Look at chips several times, turned, in other light and through other air, and draw pixels whose part is known.

    Args:
        base: the network that the features are of.
        features: of the network.
        chips: to learn from.
        on_progress: called with the images seen and in all.

    Raises:
        BadInput: no chip tells a part of any class.
    """
    random, tree = np.random.default_rng(0), chips[0].tree
    parts = [tree.names.index(leaf) for leaves in split_classes(tree) for leaf in leaves]
    telling = [number for number, chip in enumerate(chips) if np.isin(chip.labels, parts).any()]
    if not telling:
        raise BadInput("No chip to learn from tells a finer class. Make the training set with --legend finer.")
    looks = max(2, min(_LOOKS, _ROWS // (_PIXELS * len(telling))))
    seen, drawn = [], []
    for done, (number, look) in enumerate((number, look) for number in telling for look in range(looks)):
        on_progress(done, len(telling) * looks)
        image, labels = _shown(chips[number], base.level, look % 2 == 0, random)
        mirrored, (rows, cols) = mirror(image, base.stride, base.halo)
        found = features.of(mirrored)
        for part, label in enumerate(parts):
            pixels = np.argwhere((labels == label) & image.any(axis=0))
            some = random.permutation(pixels)[:_PIXELS] + np.array([rows.start, cols.start])
            seen += [
                np.concatenate([one[:, row // s, col // s] for one, s in zip(found, features.strides, strict=True)])
                for row, col in some
            ]
            drawn += [(part, number, look % 2 == 0)] * len(some)
    wanted, chip, top = torch.tensor(drawn).T
    return Pixels(torch.from_numpy(np.stack(seen)), wanted, chip, top.bool())


def fitted(seen: torch.Tensor, wanted: torch.Tensor, sizes: Sequence[int]) -> nn.Linear:
    """Features, `[n, channels]`, to logits of all parts, by logistic regression among the parts of each class.

    Each part is drawn equally often: how common it is in the training sets says nothing of other places.

    Args:
        seen: float32 `[n, channels]`.
        wanted: int64 `[n]`, the part.
        sizes: how many parts each class has.
    """
    torch.manual_seed(0)
    # More threads would only wait for each other: a step is a few milliseconds of work.
    torch.set_num_threads(1)
    mean, spread = seen.mean(dim=0), seen.std(dim=0).clamp(min=1e-3)
    linear = nn.Linear(seen.shape[1], sum(sizes))
    optimiser = torch.optim.AdamW(linear.parameters(), _RATE, weight_decay=_DECAY)
    slower = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, STEPS)
    chances = 1 / wanted.bincount(minlength=sum(sizes)).clamp(min=1)[wanted]
    for some in torch.multinomial(chances, STEPS * _BATCH, replacement=True).reshape(STEPS, _BATCH):
        shown = nn.functional.dropout((seen[some] - mean) / spread, _DROPOUT)
        loss, first = torch.zeros(()), 0
        for logits in linear(shown).split(list(sizes), dim=1):
            # Only what is told of a class's own parts: which class it is, is the network's affair.
            here = (wanted[some] >= first) & (wanted[some] < first + logits.shape[1])
            loss = loss + nn.functional.cross_entropy(
                logits[here], wanted[some][here] - first, label_smoothing=_SMOOTHING, reduction="sum"
            )
            first += logits.shape[1]
        optimiser.zero_grad()
        (loss / _BATCH).backward()
        optimiser.step()
        slower.step()
    with torch.no_grad():
        weight = linear.weight / spread
        linear.load_state_dict({"weight": weight, "bias": linear.bias - weight @ mean})
    return linear.requires_grad_(False)


def _shown(chip: Chip, level: Level | None, as_top: bool, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A chip turned and in other light, as a network made for a level is shown it if it is L2A or L1C; and its labels.

    Returns:
        uint16 `[6, H, W]`, and numbers among the tree's classes, uint8 `[H, W]`.
    """
    image, seen = chip.surface(), chip.image.any(axis=0)
    image = np.maximum(image, 0.001) * random.normal(1, 0.08) * random.normal(1, 0.03, (len(image), 1, 1))
    sun_zenith = random.uniform(15, 75)
    if as_top:
        image = Atmosphere.of(random.uniform(0.02, 0.25), sun_zenith).raise_to_top(image)
    packed = np.clip(np.rint(image[NINE_TO_SIX] * 10_000), 1, 65535).astype(np.uint16) * seen
    bring_to(level, packed, BANDS, "L1C" if as_top else "L2A", sun_zenith)
    turns, mirrored = int(random.integers(4)), random.random() < 0.5
    packed, labels = np.rot90(packed, turns, (1, 2)), np.rot90(chip.labels, turns)
    return (packed[..., ::-1], labels[..., ::-1]) if mirrored else (packed, labels)
