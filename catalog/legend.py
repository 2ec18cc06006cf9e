"""The legend: which published code, name and colour stands for which classes of the network.

A legend is data (`legends/*.json`, or any file of the same form), so that a finer one needs no change of code.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog.errors import BadInput

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
    model_classes: tuple[str, ...] = Field(min_length=1, description="classes of the network that it stands for")


class Legend(BaseModel):
    """A versioned set of published classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    version: str
    description: str
    nodata: int = Field(default=0, ge=0, le=0)
    classes: tuple[LegendClass, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _each_once(self) -> Legend:
        values_of: dict[str, list[Any]] = {
            "code": [c.code for c in self.classes],
            "name": [c.name for c in self.classes],
            "model class": [m for c in self.classes for m in c.model_classes],
        }
        for what, values in values_of.items():
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} stands twice in legend {self.id}")
        return self

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


def load_legend(name: str) -> Legend:
    """The legend `nine` or `ten`, or the one in a JSON file.

    Raises:
        BadInput: no such legend or file, or its content is not a legend.
    """
    builtin = resources.files("catalog") / "legends" / f"{name}.json"
    if builtin.is_file():
        text = builtin.read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise BadInput(f"There is no legend {name!r}. Use nine, ten, or the path of a legend file (JSON).")
    try:
        return Legend.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "legend"
        raise BadInput(f"Legend {name!r} is not valid at {where}: {first['msg']}.") from error
