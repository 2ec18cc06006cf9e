"""The network: a UNet (Ronneberger et al. 2015) on six bands, narrow enough for a CPU.

Two 3x3 convolutions at each level, batch normalisation (which folds into the convolutions), no statistics
over the whole image: so a pixel's scores depend on its surroundings up to `UNet.halo` and on nothing else, and a large
image can be cut into chips without a trace.
"""

from __future__ import annotations

import torch
from torch import nn


def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Normalised bands `[N, bands, H, W]` to logits `[N, classes, H, W]`; H and W multiples of `STRIDE`."""

    def __init__(self, bands: int, classes: int, widths: tuple[int, ...] = (16, 32, 160, 320), dropout: float = 0.1):
        """Widths are the channels at each level; ONNX Runtime is fastest with multiples of 16."""
        super().__init__()
        self.widths = widths
        inputs = (bands, *widths[:-1])
        self.down = nn.ModuleList(_convolutions(i, o) for i, o in zip(inputs, widths, strict=True))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(w, n, 2, stride=2) for w, n in zip(widths[1:], widths[:-1], strict=True)
        )
        self.up = nn.ModuleList(_convolutions(2 * w, w) for w in widths[:-1])
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0], classes, 1)

    @classmethod
    def of(cls, state: dict[str, torch.Tensor]) -> UNet:
        """The trained network whose `state_dict()` this is.

        Raises:
            KeyError: it is no UNet's.
            RuntimeError: it has other layers.
        """
        levels = sum(name.startswith("down.") and name.endswith(".0.weight") for name in state)
        first, head = state["down.0.0.weight"], state["head.weight"]
        widths = tuple(len(state[f"down.{level}.0.weight"]) for level in range(levels))
        network = cls(first.shape[1], len(head), widths)
        network.load_state_dict(state)
        return network

    @property
    def stride(self) -> int:
        """One halving a level: chips begin on multiples of it."""
        return 2 ** (len(self.widths) - 1)

    @property
    def told_widths(self) -> str:
        """As messages and tables tell them: 16-32-96-256."""
        return "-".join(map(str, self.widths))

    @property
    def halo(self) -> int:
        """Pixels round a square, itself on the stride, on which its scores depend, rounded up to the stride.

        Two convolutions reach 2 px of their level, on the way up, at the lowest level and on the way down. What is
        reached of a level lies in whole pixels of the one below it: so three levels reach 22 px, not 20.
        """
        halvings, reach = len(self.widths) - 1, 0
        for _ in range(halvings):
            reach = -(-(reach + 2) // 2)
        reach += 2
        for _ in range(halvings):
            reach = 2 * reach + 2
        return -(-reach // self.stride) * self.stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        levels = []
        for number, convolutions in enumerate(self.down):
            x = convolutions(nn.functional.max_pool2d(x, 2) if number else x)
            levels.append(x)
        x = self.dropout(levels.pop())
        for grow, convolutions in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = convolutions(torch.cat([grow(x), levels.pop()], dim=1))
        return self.head(x)

    @torch.no_grad()
    def begin_with(self, narrow: dict[str, torch.Tensor]) -> None:
        """Take over a trained network of the same depth that is no wider, and give the same answers as it.

        Channels that it has not are left as they were made, but lend nothing to those it has, until they have learned
        something (as in Chen et al. 2016, "Net2Net").

        Args:
            narrow: its `state_dict()`.

        Raises:
            ValueError: it has other layers, or is wider somewhere.
        """
        mine = self.state_dict()
        if mine.keys() != narrow.keys():
            raise ValueError(f"The network to begin with has other layers: {sorted(mine.keys() ^ narrow.keys())[:3]}")
        for name, old in narrow.items():
            new = mine[name]
            if any(there > here for there, here in zip(old.shape, new.shape, strict=True)):
                raise ValueError(f"{name} is {list(old.shape)}, wider than {list(new.shape)}")
            if old.ndim < 4:
                new[tuple(slice(size) for size in old.shape)] = old
                continue
            transposed = name.startswith("grow")
            into, outof = (new.transpose(0, 1), old.transpose(0, 1)) if transposed else (new, old)
            into[: len(outof)] = 0
            # On the way up the inputs are two halves: from below, and from the side.
            halves = 2 if name.startswith("up") and name.endswith(".0.weight") else 1
            for there, here in zip(outof.chunk(halves, 1), into.chunk(halves, 1), strict=True):
                here[: len(outof), : there.shape[1]] = there


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Reflectance x 10,000 as float, 0 = no data, to about -2..2; no data becomes 0, the middle.

    The square root spreads dark surfaces, where most classes lie, and is cheap.
    """
    return (torch.sqrt(x) - 40.0) / 20.0 * (x > 0).to(x.dtype)
