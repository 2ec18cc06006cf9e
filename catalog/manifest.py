"""The manifest: all that decides the pixels of one tile-year, written once before any pixel is read.

Its hash, the *fingerprint*, names everything staged and published from it, so that the results of two networks,
two lists of scenes or two settings never mix.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catalog.errors import BadInput
from catalog.grid import RESOLUTION, Block, Tile, block
from catalog.legend import Legend
from catalog.model import ModelSpec
from catalog.radar import RadarScene
from catalog.scenes import Datatake, Exclusion

FIRST_YEAR = 2015
"""Sentinel-2A was launched in June 2015; other sources begin in other years."""


class Period(BaseModel):
    """The span of time that one map shows; whole years are published as annual maps."""

    model_config = ConfigDict(frozen=True)

    start: datetime
    end: datetime = Field(description="inclusive, to the second")
    annual: bool

    @classmethod
    def of_year(cls, year: int, first: int = FIRST_YEAR) -> Period:
        """A calendar year, which ends at `-12-31T23:59:59Z` so that a search for one year never returns two.

        Args:
            year: of the map.
            first: year in which the source's scenes begin.

        Raises:
            BadInput: before the first scene, or in the future.
        """
        if not first <= year <= datetime.now(UTC).year:
            raise BadInput(
                f"Year {year} has no scenes of this source. Give a year from {first} to {datetime.now(UTC).year}."
            )
        return cls(
            start=datetime(year, 1, 1, tzinfo=UTC), end=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), annual=True
        )

    @classmethod
    def parse(cls, text: str, first_year: int = FIRST_YEAR) -> Period:
        """A season as `2020-03-01/2020-05-31`, both days included; or a single day, `2020-03-01`.

        Args:
            text: two days, or one.
            first_year: in which the source's scenes begin.

        Raises:
            BadInput: not two ISO dates in order.
        """
        first, _, last = text.partition("/")
        try:
            begin, finish = date.fromisoformat(first), date.fromisoformat(last or first)
        except ValueError as error:
            raise BadInput(
                f"Period {text!r} is not START/END. Give two days, as 2020-03-01/2020-05-31, or one."
            ) from error
        if finish < begin:
            raise BadInput(f"Period {text!r} ends before it starts. Give START/END in order.")
        if not begin.year >= first_year or begin > datetime.now(UTC).date():
            raise BadInput(f"Period {text!r} has no scenes of this source. Start between {first_year} and today.")
        return cls(
            start=datetime(begin.year, begin.month, begin.day, tzinfo=UTC),
            end=datetime(finish.year, finish.month, finish.day, 23, 59, 59, tzinfo=UTC),
            annual=False,
        )

    def collection(self, gsd: int = RESOLUTION) -> str:
        """The collection in which maps of this period are published: each resolution has its own."""
        name = "lulc-annual" if self.annual else "lulc-period"
        return name if gsd == RESOLUTION else f"{name}-{gsd}m"

    @property
    def label(self) -> str:
        """`2020`, or `20200301-20200531`."""
        return f"{self.start:%Y}" if self.annual else f"{self.start:%Y%m%d}-{self.end:%Y%m%d}"


class Manifest(BaseModel):
    """One tile-year to be mapped. Immutable: workers get its address, and a resumed run never searches again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: str = Field(description="hash of what was asked for, the area apart: how a resumed run knows its own")
    tile: str
    period: Period
    requested: tuple[int, ...] = Field(min_length=1, description="numbers of the blocks asked for, ascending")
    blocks: tuple[int, ...] = Field(min_length=1, description="those of them that any scene touches: to be mapped")
    datatakes: tuple[Datatake, ...] = Field(min_length=1, description="in order of time")
    model: ModelSpec
    legend: Legend
    min_observations: int = Field(ge=1, description="clear looks a pixel needs")
    scores: bool = Field(description="publish all class scores")
    # Left out where not asked for, so that maps made without them keep their fingerprint.
    seasons: bool = Field(default=False, exclude_if=lambda asked: not asked, description="publish the season")
    second_stage: ModelSpec | None = Field(
        default=None, exclude_if=lambda spec: spec is None, description="decides from the vote and the season"
    )
    software: str = Field(description="version of Landloom")
    excluded: tuple[Exclusion, ...] = Field(default=(), description="scenes found and not used")
    radar: tuple[RadarScene, ...] = Field(
        default=(), description="in order of time, beside the optical looks", exclude_if=lambda radar: not radar
    )

    @property
    def sees_season(self) -> bool:
        """Whether the season is to be told, for its asset or for the second stage."""
        return self.seasons or self.second_stage is not None

    @property
    def id(self) -> str:
        """The item's id, `48QUE-2020`."""
        return f"{self.tile}-{self.period.label}"

    @property
    def gsd(self) -> int:
        """Metres a pixel: those that the network is made for."""
        return self.model.gsd

    @property
    def collection(self) -> str:
        """The collection in which the map is published."""
        return self.period.collection(self.gsd)

    @property
    def ground(self) -> Tile:
        """The tile with its pixels."""
        return Tile.from_name(self.tile, self.gsd)

    def block(self, number: int) -> Block:
        """A block of the tile.

        Raises:
            BadInput: no such block.
        """
        return block(number, self.gsd)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 over everything that decides the result."""
        return digest(self.model_dump(mode="json", exclude={"request", "requested", "excluded"}))

    @cached_property
    def recipe(self) -> str:
        """As the fingerprint, but blind to the area: two manifests with one recipe differ only in their blocks."""
        return digest(self.model_dump(mode="json", exclude={"request", "excluded", "requested", "blocks"}))

    @property
    def folder(self) -> str:
        """Where the item's JSON lies, relative to the output."""
        return item_folder(self.tile, self.period, self.gsd)

    @property
    def item_key(self) -> str:
        """The item's JSON: written last, it is the commit."""
        return item_key(self.tile, self.period, self.gsd)

    @property
    def key(self) -> str:
        """This manifest's own address, beside the COGs made from it."""
        return f"{self.folder}/{self.fingerprint}/manifest.json"

    @property
    def staging(self) -> str:
        """Prefix of the finished blocks."""
        return f"staging/{self.id}/{self.fingerprint}/"

    def block_key(self, number: int) -> str:
        """Where a finished block is staged."""
        return f"{self.staging}block-{number:02d}.npz.gz"

    def season_key(self, number: int) -> str:
        """Where its season is staged, before the block itself."""
        return f"{self.staging}block-{number:02d}.season.tif"

    def to_json(self) -> bytes:
        """The bytes that are stored."""
        return self.model_dump_json(indent=1).encode()


def item_folder(tile: str, period: Period, gsd: int = RESOLUTION) -> str:
    """Where a tile-year lies, relative to the output."""
    return f"{period.collection(gsd)}/{tile}/{period.label}"


def item_key(tile: str, period: Period, gsd: int = RESOLUTION) -> str:
    """The item's JSON: written last, it is the commit."""
    return f"{item_folder(tile, period, gsd)}/{tile}-{period.label}.json"


def digest(content: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of a JSON object."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
