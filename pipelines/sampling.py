"""Which candidates become chips, and which places are learned from."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from catalog.chips import Split
from catalog.errors import BadInput


@dataclass(frozen=True)
class Candidate:
    """A chip that could be."""

    id: str
    biome: str | None
    class_pixels: Mapping[str, int]
    """Labelled pixels of each class that it has."""


def draw(candidates: Sequence[Candidate], count: int | None, seed: int) -> list[Candidate]:
    """Draw candidates so that the labelled pixels of classes within biomes come as evenly as there are any.

    Greedy: always one that has the class of which the fewest pixels are drawn so far, in its biome. Which one is left
    to chance, weighted by its pixels of that class (Efraimidis and Spirakis 2006, "Weighted random sampling with a
    reservoir"). The outcome does not depend on the order of the candidates.

    Args:
        candidates: to draw from.
        count: how many at most; None: all.
        seed: another one, another draw.

    Returns:
        Those drawn, by name.
    """
    if count is None or count >= len(candidates):
        return sorted(candidates, key=lambda one: one.id)
    waiting: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    by_id = {one.id: one for one in candidates}
    for one in candidates:
        for name, pixels in one.class_pixels.items():
            # The logarithm of the weighted key u ** (1 / weight): the largest is drawn first, from the list's end.
            key = math.log(_chance(seed, one.id, name)) / pixels
            waiting[one.biome or "", name].append((key, one.id))
    for queue in waiting.values():
        queue.sort()
    pixels_of: Counter[tuple[str, str]] = Counter()
    drawn: dict[str, Candidate] = {}
    while len(drawn) < count and waiting:
        rarest = min(waiting, key=lambda stratum: (pixels_of[stratum], stratum))
        queue = waiting[rarest]
        while queue and queue[-1][1] in drawn:
            queue.pop()
        if not queue:
            del waiting[rarest]
            continue
        one = by_id[queue.pop()[1]]
        drawn[one.id] = one
        for name, pixels in one.class_pixels.items():
            pixels_of[one.biome or "", name] += pixels
    return sorted(drawn.values(), key=lambda one: one.id)


def split_of(place: str, shares: Sequence[float], seed: int) -> Split:
    """The split of a place, by chance that depends on nothing but its name and the seed.

    Args:
        place: its name.
        shares: of train, validation and test among places; together 1.
        seed: another one, another split.
    """
    chance, reached = _chance(seed, place), 0.0
    splits: tuple[Split, ...] = get_args(Split)
    for split, share in zip(splits, shares, strict=True):
        reached += share
        if share and chance <= reached + 1e-9:
            return split
    return splits[max(k for k, share in enumerate(shares) if share)]


def parse_shares(text: str) -> tuple[float, ...]:
    """`0.8,0.1,0.1` as numbers.

    Raises:
        BadInput: not three shares that make 1.
    """
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise BadInput(f"--split {text!r} is not possible. Give the shares of train, validation and test: 0.8,0.1,0.1.")
    return shares


def _chance(seed: int, *what: str) -> float:
    """A number above 0 and at most 1 that depends on its arguments alone."""
    digest = hashlib.sha256("/".join([str(seed), *what]).encode()).digest()
    return (int.from_bytes(digest[:8], "big") + 1) / 2**64
