"""The legend: which published code, name and colour stands for which classes of the network.

A legend is data (`legends/*.json`, or any file of the same form), so that a finer one needs no change of code. Its
classes may form a tree; a map shows one level of it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.tree import Tree, class_tree

CLOUD = "cloud"
"""The model class that never counts as land cover."""
SNOW = "snow_ice"
"""The model class that comes and goes."""


class LegendClass(BaseModel):
    """One published class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: int = Field(ge=1, le=254, description="value in the published map")
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", description="machine name, as in classification:classes")
    title: str
    color: str = Field(pattern=r"^[0-9A-Fa-f]{6}$", description="RGB, hexadecimal")
    model_classes: tuple[str, ...] = Field(
        default=(), description="classes of the network that it stands for, besides those of its children"
    )
    # What a flat legend does not have stays out of the fingerprints of its maps.
    parent: str | None = Field(
        default=None, exclude_if=lambda parent: parent is None, description="name of the class that it is part of"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_parent(cls, told: Any) -> Any:
        if isinstance(told, dict) and isinstance(parents := told.get("parent"), list | tuple):
            raise ValueError(f"class {told.get('name')} has several parents, {', '.join(map(str, parents))}; give one")
        return told


class Legend(BaseModel):
    """A versioned set of published classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    version: str
    description: str
    nodata: int = Field(default=0, ge=0, le=0)
    classes: tuple[LegendClass, ...] = Field(min_length=2)
    level: int | None = Field(
        default=None, exclude_if=lambda level: level is None, description="of the tree that `classes` are"
    )
    tree: tuple[LegendClass, ...] = Field(
        default=(), exclude_if=lambda tree: not tree, description="all classes of the tree; none: the legend is flat"
    )

    @model_validator(mode="after")
    def _each_once(self) -> Legend:
        tree = self.as_tree()
        for one in self.classes:
            if not one.model_classes and not tree.children(one.name):
                raise ValueError(f"class {one.name} stands for no class of the network and has no children")
        owners: dict[str, dict[Any, list[str]]] = {"code": {}, "model class": {}}
        for one in self.tree or self.classes:
            owners["code"].setdefault(one.code, []).append(one.name)
            for model in one.model_classes:
                owners["model class"].setdefault(model, []).append(one.name)
        for what, names_of in owners.items():
            twice = [f"{value} ({', '.join(names)})" for value, names in names_of.items() if len(names) > 1]
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} stands twice in legend {self.id}")
        return self

    @property
    def told(self) -> str:
        """Its name, version and level, as items tell them."""
        return f"{self.id} {self.version}" + (f" level {self.level}" if self.level else "")

    def as_tree(self) -> Tree:
        """Its classes, all levels of them.

        Raises:
            BadInput: they form none.
        """
        return Tree.of([(one.name, one.parent) for one in self.tree or self.classes], f"legend {self.id}")

    def at_level(self, level: int) -> Legend:
        """The flat legend of one level: each class stands for its own model classes and all below it.

        Args:
            level: 1 is the roots; classes without children stand at every level below theirs, too.

        Raises:
            BadInput: there is no such level.
        """
        tree, of_name = self.as_tree(), {one.name: one for one in self.tree or self.classes}
        if not 1 <= level <= tree.depth:
            has = f"the levels 1 to {tree.depth}" if tree.depth > 1 else "one level, 1"
            raise BadInput(f"There is no level {level} of legend {self.id}: it has {has}.")
        if tree.depth == 1:
            return self
        at_level = tree.level(level)
        members: dict[str, list[str]] = {name: [] for name in at_level}
        for name, one in of_name.items():
            # What a network calls a class that is split here has no place at this level.
            if (shown := tree.at(name, level)) in members:
                members[shown] += one.model_classes
        classes = tuple(
            of_name[name].model_copy(update={"model_classes": tuple(members[name]), "parent": None})
            for name in at_level
        )
        return self.model_copy(update={"classes": classes, "level": level, "tree": tuple(of_name.values())})

    def fitted(self, model: ModelSpec) -> Legend:
        """The legend with exactly a network's classes: what the network splits and the legend does not is summed.

        Raises:
            BadInput: the legend splits what the network does not, or lacks one of its classes.
        """
        if not self.tree and not model.parents:
            return self
        learned = class_tree(model.parents, f"network {model.id}")
        told = f"Legend {self.id}" + (f" at level {self.level}" if self.level else "")
        name_of = {member: one.name for one in self.classes for member in one.model_classes}
        members: dict[str, list[str]] = {one.name: [] for one in self.classes}
        for name in model.classes:
            shown = next((one for one in reversed(learned.path(name)) if one in name_of), None)
            if shown is None:
                raise BadInput(
                    f"{told} has no class for {name} of network {model.id}. Give a network that knows "
                    f"{', '.join(name_of)}, or another --level or --legend."
                )
            members[name_of[shown]].append(name)
        for one in self.classes:
            if not members[one.name] and CLOUD not in one.model_classes:
                raise BadInput(
                    f"{told} shows {one.name}, of which network {model.id} knows nothing: its classes are "
                    f"{', '.join(model.classes)}. Give another network, --level or --legend."
                )
        classes = tuple(
            one.model_copy(update={"model_classes": tuple(members[one.name]) or one.model_classes})
            for one in self.classes
        )
        return self.model_copy(update={"classes": classes})

    def finer(self) -> tuple[tuple[str, str], ...]:
        """The model classes that are part of another, each with that other: what a network of this legend learns.

        Raises:
            BadInput: it is not known of which of the ten model classes one is part.
        """
        tree, of_name = self.as_tree(), {one.name: one for one in self.tree or self.classes}
        pairs = []
        for name, one in of_name.items():
            above = [of_name[other].model_classes for other in reversed(tree.path(name)[:-1])]
            parents = next((models for models in above if models), ())
            for model in one.model_classes:
                if len(parents) == 1:
                    pairs.append((model, parents[0]))
                elif model not in MODEL_CLASSES:
                    raise BadInput(
                        f"Legend {self.id}: {model} of class {name} is none of {', '.join(MODEL_CLASSES)}, and no "
                        "class above it stands for one of them. Give its parent that one as model_classes."
                    )
        class_tree(pairs, f"legend {self.id}")
        return tuple(pairs)

    def codes(self, model_classes: tuple[str, ...]) -> np.ndarray:
        """The published code of each class of a network, as uint8 `[len(model_classes)]`.

        Raises:
            BadInput: the legend lacks one of the network's classes, or names one that the network lacks.
        """
        code_of = {m: c.code for c in self.classes for m in c.model_classes}
        # Not every network knows clouds.
        if set(code_of) - {CLOUD} != set(model_classes) - {CLOUD} or CLOUD in set(model_classes) - set(code_of):
            wrong = ", ".join(sorted(set(code_of) ^ set(model_classes)))
            raise BadInput(
                f"Legend {self.id} does not fit the network: {wrong} stand in one of the two only. "
                "Give every class of the network exactly one published class in the legend file."
            )
        return np.array([code_of[m] for m in model_classes], dtype=np.uint8)

    def palette(self) -> dict[int, tuple[int, int, int, int]]:
        """Code to RGBA, no data transparent, as GDAL colour tables want it."""
        table = {c.code: (*bytes.fromhex(c.color), 255) for c in self.classes}
        return {self.nodata: (0, 0, 0, 0), **table}  # type: ignore[dict-item]


def load_legend(name: str, level: int | None = None) -> Legend:
    """The legend `nine`, `ten` or `finer`, or the one in a JSON file, at one level.

    Args:
        name: of the legend, or of the file.
        level: 1 is the coarsest; None: the finest.

    Raises:
        BadInput: no such legend, file or level, or its content is not a legend.
    """
    builtin = resources.files("catalog") / "legends" / f"{name}.json"
    if builtin.is_file():
        text = builtin.read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise BadInput(f"There is no legend {name!r}. Use nine, ten, finer, or the path of a legend file (JSON).")
    try:
        legend = Legend.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "legend"
        raise BadInput(f"Legend {name!r} is not valid at {where}: {first['msg']}.") from error
    except BadInput as error:
        raise BadInput(f"Legend {name!r} is not valid: {error}") from error
    return legend.at_level(legend.as_tree().depth if level is None else level)
