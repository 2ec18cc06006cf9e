"""Train a second stage: a few thousand weights, each pixel by itself. Needs the extra `train`.

It begins as the vote itself (the logarithms of its shares) and learns what the season adds. It sees nothing of the time
of the year, only how high, how low and how much greenness goes, so that it holds in both hemispheres.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from catalog.legend import CLOUD
from catalog.model import ModelSpec
from catalog.season import INDICES, SEASON_SCALE
from catalog.second_stage import SHARE, SHARE_SCALE, planes_of
from services.inference.export import traced, write
from services.inference.season_lessons import Lesson

GROWING = ("trees", "grass", "flooded_vegetation", "crops", "shrub")
"""Classes that a season tells from each other."""
_WIDTH = 32
_STATISTICS = ("p10", "p50", "p90", "amplitude", "residual", "cos1", "sin1", "cos2", "sin2")
_STEPS, _BATCH, _RATE, _DECAY = 1000, 2048, 5e-3, 1e-2
_LEAST_SHARE = 0.01


class SeasonNetwork(nn.Module):
    """Planes as float, `[N, planes, H, W]`, to logits `[N, classes, H, W]`."""

    grows: torch.Tensor

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.classes = classes = len(names)
        self.register_buffer("grows", torch.tensor([name in GROWING for name in names]).reshape(1, -1, 1, 1))
        last = nn.Conv2d(_WIDTH, classes, 1)
        nn.init.zeros_(last.weight)
        last.bias = nn.Parameter(torch.zeros(classes))
        self.layers = nn.Sequential(
            nn.Conv2d(2 * classes + 7 * len(INDICES), _WIDTH, 1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 1),
            nn.ReLU(),
            last,
        )

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """See the class."""
        shares = planes[:, : self.classes] / SHARE_SCALE
        evidence = torch.log(shares + _LEAST_SHARE)
        seen = [shares, evidence]
        for index in range(len(INDICES)):
            first = self.classes + index * len(_STATISTICS)
            values = planes[:, first : first + len(_STATISTICS)] * SEASON_SCALE
            waves = torch.sqrt(values[:, 5::2] ** 2 + values[:, 6::2] ** 2 + 1e-8)
            seen += [values[:, :5], waves]
        # Only among what grows, whose part in all stays what the vote says.
        changed = evidence + self.layers(torch.cat(seen, dim=1))
        odds, before = torch.exp(changed) * self.grows, torch.exp(evidence) * self.grows
        level = torch.log(before.sum(dim=1, keepdim=True)) - torch.log(odds.sum(dim=1, keepdim=True))
        return torch.where(self.grows, changed + level, evidence)


def train_second_stage(
    first: ModelSpec,
    found: Sequence[Lesson],
    out: Path,
    name: str,
    version: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ModelSpec:
    """Learn lessons, and write the network as ONNX with its description inside.

    Places count alike, and so do classes but for the square root of how often they occur: what is rare is not lost.

    Args:
        first: whose votes they are.
        found: lessons of places to learn.
        out: ONNX file to write.
        name: ID of the second stage.
        version: its version.
        on_progress: called with the steps done and in all.
    """
    land = tuple(one for one in first.classes if one != CLOUD)
    bands = (*(SHARE + one for one in land), *(f"{i}_{statistic}" for i in INDICES for statistic in _STATISTICS))
    rows = [planes_of(first.classes).index(band) for band in bands]
    planes = torch.from_numpy(np.concatenate([one.planes[rows] for one in found], axis=1).T.astype(np.float32))
    wanted = torch.from_numpy(np.concatenate([one.wanted for one in found]).astype(np.int64))
    chances = torch.from_numpy(np.concatenate([_chances(one, Counter(o.place for o in found)) for one in found]))
    # More threads would only wait for each other: a step is a few milliseconds of work.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = SeasonNetwork(land)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    slower = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, _STEPS)
    drawn = torch.multinomial(chances / chances.sum(), _STEPS * _BATCH, replacement=True).reshape(_STEPS, _BATCH)
    for step, some in enumerate(drawn):
        on_progress(step, _STEPS)
        # Side by side as one image of one row: convolutions of single pixels would be slow.
        logits = network(planes[some].T[None, :, None, :])[0, :, 0].T
        loss = nn.functional.cross_entropy(logits, wanted[some], label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
    spec = ModelSpec(
        id=name,
        version=version,
        bands=bands,
        classes=land,
        stride=1,
        halo=0,
        gsd=first.gsd,
        architecture=f"per-pixel perceptron, {_WIDTH}-{_WIDTH}, added to the vote's logarithms",
        first=f"{first.id} {first.version}",
    )
    write(traced(_Deployed(network), spec, "planes", TensorProto.INT16), spec, out)
    return spec


def _chances(lesson: Lesson, lessons_of: Counter[str]) -> np.ndarray:
    """With which chance each pixel is drawn, float64 `[n]`."""
    counts = np.bincount(lesson.wanted, minlength=256)
    weight = 1 / np.sqrt(np.maximum(counts, 100))[lesson.wanted]
    return weight / weight.sum() / lessons_of[lesson.place]


class _Deployed(nn.Module):
    """Planes as float to `255 x probability`, still as float."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        logits = self.network(planes)
        odds = torch.exp(logits - logits.amax(dim=1, keepdim=True))
        return odds * (255.0 / odds.sum(dim=1, keepdim=True)) + 0.5
