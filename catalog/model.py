"""What a network tells of itself, and the one interface through which maps are made with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from catalog.atmosphere import Level
from catalog.radar import bands_apart

MODEL_CLASSES = (
    "water",
    "trees",
    "grass",
    "flooded_vegetation",
    "crops",
    "shrub",
    "built",
    "bare",
    "snow_ice",
    "cloud",
)


METADATA_KEY = "landloom"
"""Of a network's description among an ONNX file's metadata."""
PROVENANCE_KEY = "landloom:provenance"
"""Of what is told of its making there."""


class VoteCalibration(BaseModel):
    """How the confidence of a vote over several looks is brought to mean what it says, and on what that was fitted."""

    model_config = ConfigDict(frozen=True)

    correlation: float = Field(ge=0, le=1, description="of the errors of two looks at a place, see `catalog.vote`")
    reference: str = Field(description="what the confidence is the probability of agreeing with")
    places: int = Field(ge=2, description="with several dates, none of them learned, on which it was fitted")
    error: float = Field(
        ge=0, le=1, description="expected calibration error there, each place judged by the others' correlation"
    )


NAME = r"^\w[\w.+-]*$"
"""Of what becomes part of a file's name."""


class ModelSpec(BaseModel):
    """The description inside a network's ONNX file (metadata key `landloom`), plus the file's checksum."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=NAME, description="as in `--model ID`")
    version: str = Field(pattern=NAME)
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    # Of a network without, it stays out of the fingerprints of its maps.
    parents: tuple[tuple[str, str], ...] = Field(
        default=(),
        exclude_if=lambda parents: not parents,
        description="class and what it is part of, as (residential, built): above its classes stand MODEL_CLASSES",
    )
    stride: int = Field(ge=1, description="chips begin at multiples of it, in pixels of the tile")
    halo: int = Field(
        ge=0, description="pixels at a chip's border whose scores are cropped; at least the receptive radius"
    )
    level: Level | None = Field(
        default=None,
        description="made for top-of-atmosphere (L1C) or surface reflectance (L2A): scenes of the other level are "
        "brought to it; None: takes either as it is",
    )
    architecture: str = Field(default="unknown", description="as the literature calls it")
    first: str | None = Field(
        default=None,
        exclude_if=lambda first: first is None,
        description="of a second stage: ID and version of the network whose votes it was made for, see "
        "`catalog.second_stage`",
    )
    vote: VoteCalibration | None = Field(
        default=None, description="None: the confidence of maps is the plain share of the vote, uncalibrated"
    )
    gsd: Literal[10, 30] = Field(
        default=10,
        description="metres a pixel of the scenes that it was made for, and of its maps",
        exclude_if=lambda gsd: gsd == 10,
    )
    sha256: str = Field(default="", description="of the ONNX file; filled in when it is opened")

    @field_validator("bands", "classes")
    @classmethod
    def _different(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} stands there twice")
        return names

    @property
    def optical(self) -> ModelSpec:
        """The same without the radar channels: what scenes of Sentinel-2 are read for."""
        return self.model_copy(update={"bands": bands_apart(self.bands)[0]})

    @property
    def radar(self) -> tuple[str, ...]:
        """Its radar channels, after the bands of Sentinel-2."""
        return bands_apart(self.bands)[1]

    @property
    def confidence(self) -> dict[str, Any]:
        """How the confidence of its maps is calibrated, as items tell it."""
        return {"calibrated": self.vote is not None, **(self.vote.model_dump() if self.vote else {})}


class Provenance(BaseModel):
    """How a network was made and how good it is, as its ONNX file tells (metadata key `landloom:provenance`)."""

    model_config = ConfigDict(frozen=True)

    training_sets: tuple[str, ...] = Field(description="IDs of those it was calibrated and judged on, and learned")
    left_out: tuple[str, ...] = Field(default=(), description="places that were not learned")
    recipe: dict[str, Any] = Field(default_factory=dict, description="of its training")
    steps: int = Field(default=0, description="of its training")
    mean_with: tuple[str, ...] = Field(default=(), description="networks whose weights were averaged with its own")
    temperature: float = Field(description="by which its logits are divided")
    temperature_without: dict[str, float] = Field(
        default_factory=dict, description="by place it was fitted on: what the other places give"
    )
    reference: str = Field(description="what the metrics are agreement with")
    metrics: dict[str, Any] = Field(
        description="shares, 0 to 1, on the validation places: pooled, and by level. The calibration error judges each "
        "place by the temperature that the others give"
    )


class Network(Protocol):
    """Gives class scores for chips. In-process ONNX Runtime and Triton implement it."""

    spec: ModelSpec

    def scores(self, chips: np.ndarray) -> np.ndarray:
        """Scores of a batch of chips.

        Args:
            chips: uint16 `[N, bands, H, W]`, reflectance x 10,000 with the offset removed, valid values
                at least 1, 0 = no data, and radar channels as `catalog.radar.encode` gives them; H and W multiples of
                the network's stride.

        Returns:
            uint8 `[N, classes, H, W]`, 255 x probability.
        """
        ...

    def each(self, chips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Scores of chips one by one, in their order; several are under way at a time where that is faster.

        Args:
            chips: uint16 `[bands, H, W]` each, of any sizes.

        Yields:
            uint8 `[classes, H, W]`.
        """
        ...

    def check(self) -> dict[str, float]:
        """Make sure that whoever answered since the last time still runs this very network.

        Returns:
            Figures of whoever answers, by name; none in this process.

        Raises:
            BadInput: it runs another one by now: what it answered is not to be used.
        """
        ...
