"""Networks of a tree of classes: they score the leaves, and learn from labels of any depth.

What is labelled built alone teaches that residential and industrial together are probable, not which of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from catalog.model import MODEL_CLASSES
from catalog.tree import Tree, class_tree


class Sums:
    """From the leaves' probabilities to those of all classes of a tree."""

    def __init__(self, tree: Tree):
        """Args:
        tree: its leaves are the network's classes, in their order.
        """
        self._roots = [MODEL_CLASSES.index(tree.path(name)[0]) for name in tree.names]
        self._under = [np.flatnonzero(row).tolist() for row in tree.members(tree.names, tree.leaves)]
        self._flat = tree.names == tree.leaves
        self.leaves = [tree.names.index(name) for name in tree.leaves]
        """Number of each leaf among the tree's classes."""

    def __call__(self, logarithms: torch.Tensor) -> torch.Tensor:
        """Logarithms of probabilities: of the leaves, `[N, leaves, H, W]`, to all classes, `[N, classes, H, W]`."""
        if self._flat:
            return logarithms
        sums = [
            logarithms[:, under[0]] if len(under) == 1 else torch.logsumexp(logarithms[:, under], dim=1)
            for under in self._under
        ]
        return torch.stack(sums, dim=1)

    def by_root(self, values: np.ndarray) -> np.ndarray:
        """A value for each of `MODEL_CLASSES` as one for each class of the tree."""
        return values[self._roots]


def tree_in(state: dict[str, Any], where: str) -> Tree:
    """The tree of a checkpoint's network; those of the ten classes tell none."""
    return class_tree([(name, parent) for name, parent in state.get("parents", ())], where)


def inherited(state: dict[str, Any], tree: Tree) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint for the leaves of another tree, which begin as equal parts of what they are part of.

    So every class of the old network is as probable as before.

    Args:
        state: the checkpoint.
        tree: of the new network.

    Raises:
        KeyError: it holds no network.
        ValueError: a leaf is part of no class of the old network.
    """
    weights, old = dict(state["network"]), tree_in(state, "the checkpoint").leaves
    if old == tree.leaves:
        return weights
    rows = []
    for leaf in tree.leaves:
        known = [name for name in tree.path(leaf) if name in old]
        if not known:
            raise ValueError(f"{leaf} is part of none of its classes, {', '.join(old)}")
        rows.append(old.index(known[-1]))
    parts = torch.tensor([rows.count(row) for row in rows])
    weights["head.weight"] = weights["head.weight"][rows]
    weights["head.bias"] = weights["head.bias"][rows] - parts.log()
    return weights
