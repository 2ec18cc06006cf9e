"""A tree of classes: built area is residential or industrial. Legends and networks tell each class's parent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES


@dataclass(frozen=True)
class Tree:
    """Classes with their parents. Level 1 is the roots; a class without children is a leaf, at whatever level."""

    pairs: tuple[tuple[str, str | None], ...]
    """Class and parent, in order; None: it is a root."""

    @cached_property
    def parents(self) -> dict[str, str | None]:
        """Of each class, in their order."""
        return dict(self.pairs)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str | None]], where: str) -> Tree:
        """Check what may be a tree.

        Args:
            pairs: class and parent.
            where: what tells them, for errors.

        Raises:
            BadInput: a class with two parents, an unknown parent, or a cycle; naming the class.
        """
        parents: dict[str, str | None] = {}
        for name, parent in pairs:
            if name in parents:
                told = " and ".join(str(one or "none") for one in (parents[name], parent))
                raise BadInput(f"Class {name} has two parents in {where}: {told}. Give each class once, with one.")
            parents[name] = parent
        for name, parent in parents.items():
            if parent is not None and parent not in parents:
                raise BadInput(
                    f"Class {name} has the parent {parent!r} in {where}, which is no class of it. "
                    f"Give one of {', '.join(one for one in parents if one != name)}."
                )
        for name in parents:
            above, seen = parents[name], [name]
            while above is not None:
                seen.append(above)
                if above in seen[:-1]:
                    raise BadInput(
                        f"Class {above} is its own ancestor in {where} ({' in '.join(seen[seen.index(above) :])}). "
                        "Leave the parent of one of them out."
                    )
                above = parents[above]
        return cls(tuple(parents.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """All classes, in their order."""
        return tuple(self.parents)

    @property
    def finer(self) -> tuple[tuple[str, str], ...]:
        """Class and parent of all but the roots, as networks, checkpoints and training sets tell them."""
        return tuple((name, parent) for name, parent in self.parents.items() if parent is not None)

    def path(self, name: str) -> tuple[str, ...]:
        """From the root down to a class; a class that the tree lacks stands alone."""
        path, above = [name], self.parents.get(name)
        while above is not None:
            path.append(above)
            above = self.parents[above]
        return tuple(reversed(path))

    def at(self, name: str, level: int) -> str:
        """What a class is at a level: its ancestor there, or itself if it does not lie so deep."""
        return self.path(name)[:level][-1]

    def children(self, name: str) -> tuple[str, ...]:
        """Of a class, in their order."""
        return tuple(one for one, parent in self.parents.items() if parent == name)

    def under(self, name: str) -> tuple[str, ...]:
        """The leaves below a class, or the leaf itself, in their order."""
        below = self.children(name)
        return tuple(leaf for one in below for leaf in self.under(one)) if below else (name,)

    @property
    def leaves(self) -> tuple[str, ...]:
        """Classes without children: root by root."""
        return tuple(leaf for name, parent in self.parents.items() if parent is None for leaf in self.under(name))

    def members(self, names: Iterable[str], of: Iterable[str]) -> np.ndarray:
        """Which classes are part of which: bool `[names, of]`."""
        paths = [self.path(one) for one in of]
        return np.array([[name in path for path in paths] for name in names])

    @property
    def depth(self) -> int:
        """Number of levels."""
        return max(len(self.path(name)) for name in self.parents)

    def level(self, number: int) -> tuple[str, ...]:
        """The classes that cover everything at a level: those there, and leaves above; root by root."""
        return tuple(dict.fromkeys(self.at(leaf, number) for leaf in self.leaves))


def class_tree(finer: Iterable[tuple[str, str]], where: str) -> Tree:
    """The tree of the classes that networks learn: `MODEL_CLASSES` and those that are finer.

    Args:
        finer: class and parent.
        where: what tells them, for errors.

    Raises:
        BadInput: see `Tree.of`.
    """
    return Tree.of([*((name, None) for name in MODEL_CLASSES), *finer], where)


TEN = class_tree((), "the ten model classes")
"""The tree of networks and training sets that know no finer classes."""
