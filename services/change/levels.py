"""Maps whose legend is a tree, told at one of its levels: a class counts for its ancestor there.

The tree stands in the maps' items (`landloom:legend_tree`), so that maps of the finest level can be compared at any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.errors import BadInput
from catalog.tree import Tree
from services.change.map_legend import MapClass, MapLegend
from services.change.series_items import MapItem

_TREE, _LEVEL = "landloom:legend_tree", "landloom:legend_level"


def legend_at(legend: MapLegend, items: Sequence[MapItem], level: int | None) -> MapLegend:
    """The legend of a series at a level of the maps' tree; maps are translated as they are read.

    Args:
        legend: of all maps together.
        items: the maps.
        level: 1 is the coarsest; None: as the maps were published.

    Raises:
        BadInput: maps of different levels or trees, or a level that they do not have.
    """
    published = {one.id: int(one.properties.get(_LEVEL, 1)) for one in items}
    coarsest = min(published, key=lambda name: published[name])
    finest = max(published, key=lambda name: published[name])
    if level is None:
        if published[coarsest] != published[finest]:
            raise BadInput(
                f"{coarsest} shows level {published[coarsest]} of its legend, {finest} level {published[finest]}: "
                f"their difference would not be change. Give --level {published[coarsest]}, or maps of one level."
            )
        return legend
    # A map of level 1 may have been made with the roots alone, as a legend of their own.
    trees = {one.id: one.properties[_TREE] for one in items if _TREE in one.properties}
    if not trees:
        raise BadInput(f"--level {level}: these maps tell no tree of classes ({_TREE}). Leave it out.")
    first, told = next(iter(trees.items()))
    tree = _tree(told, first)
    for name, other in trees.items():
        if _tree(other, name) != tree:
            raise BadInput(f"{first} and {name} have different trees of classes. Give maps of one legend.")
    if not 1 <= level <= tree.depth:
        raise BadInput(f"--level {level}: the classes of {first} have the levels 1 to {tree.depth}.")
    if published[coarsest] < min(level, tree.depth):
        raise BadInput(
            f"--level {level}: {coarsest} was published at level {published[coarsest]} and shows no finer class. "
            f"Give --level {published[coarsest]}, or map it anew."
        )
    if strange := [one.name for one in legend.classes if one.name not in tree.names]:
        raise BadInput(f"--level {level}: the maps show {strange[0]}, which is no class of the tree of {first}.")
    shown = {str(one["name"]): one for one in told}
    at = {one.value: tree.at(one.name, level) for one in legend.classes}
    classes = [shown[name] for name in tree.level(level) if int(shown[name]["value"]) not in legend.unobserved]
    return MapLegend(
        classes=tuple(
            MapClass(int(one["value"]), one["name"], one["title"], one["color_hint"])
            for one in sorted(classes, key=lambda one: int(one["value"]))
        ),
        unobserved=legend.unobserved,
        translated=tuple((value, int(shown[name]["value"])) for value, name in at.items()),
    )


def _tree(told: Sequence[dict[str, Any]], item: str) -> Tree:
    return Tree.of([(str(one["name"]), one.get("parent")) for one in told], f"the item {item}")
