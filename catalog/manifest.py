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
from catalog.legend import Legend
from catalog.model import ModelSpec
from catalog.radar import RadarScene
from catalog.scenes import Datatake, Exclusion

FIRST_YEAR = 2015
"""Sentinel-2A was launched in June 2015."""


class Period(BaseModel):
    """The span of time that one map shows; whole years are published as annual maps."""

    model_config = ConfigDict(frozen=True)

    start: datetime
    end: datetime = Field(description="inclusive, to the second")
    annual: bool

    @classmethod
    def of_year(cls, year: int) -> Period:
        """A calendar year, which ends at `-12-31T23:59:59Z` so that a search for one year never returns two.

        Raises:
            BadInput: before Sentinel-2, or in the future.
        """
        if not FIRST_YEAR <= year <= datetime.now(UTC).year:
            raise BadInput(
                f"Year {year} has no Sentinel-2 scenes. Give a year from {FIRST_YEAR} to {datetime.now(UTC).year}."
            )
        return cls(
            start=datetime(year, 1, 1, tzinfo=UTC), end=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), annual=True
        )

    @classmethod
    def parse(cls, text: str) -> Period:
        """A season as `2020-03-01/2020-05-31`, both days included; or a single day, `2020-03-01`.

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
        if not begin.year >= FIRST_YEAR or begin > datetime.now(UTC).date():
            raise BadInput(f"Period {text!r} has no Sentinel-2 scenes. Start between {FIRST_YEAR} and today.")
        return cls(
            start=datetime(begin.year, begin.month, begin.day, tzinfo=UTC),
            end=datetime(finish.year, finish.month, finish.day, 23, 59, 59, tzinfo=UTC),
            annual=False,
        )

    @property
    def collection(self) -> str:
        """The collection in which maps of this period are published."""
        return "lulc-annual" if self.annual else "lulc-period"

    @property
    def label(self) -> str:
        """`2020`, or `20200301-20200531`."""
        return f"{self.start:%Y}" if self.annual else f"{self.start:%Y%m%d}-{self.end:%Y%m%d}"


_OPTIONS = ("radar",)
"""Fields that are empty where their option is not used."""


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
    software: str = Field(description="version of Landloom")
    excluded: tuple[Exclusion, ...] = Field(default=(), description="scenes found and not used")
    radar: tuple[RadarScene, ...] = Field(default=(), description="in order of time, beside the optical looks")

    @property
    def id(self) -> str:
        """The item's id, `48QUE-2020`."""
        return f"{self.tile}-{self.period.label}"

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 over everything that decides the result."""
        return digest(self._decisive("request", "requested", "excluded"))

    @cached_property
    def recipe(self) -> str:
        """As the fingerprint, but blind to the area: two manifests with one recipe differ only in their blocks."""
        return digest(self._decisive("request", "excluded", "requested", "blocks"))

    def _decisive(self, *apart: str) -> dict[str, Any]:
        """Its content apart from some fields, and from options that are not used: those leave a hash as it was before
        there was the option.
        """
        content = self.model_dump(mode="json", exclude=set(apart))
        return {name: value for name, value in content.items() if name not in _OPTIONS or value}

    @property
    def folder(self) -> str:
        """Where the item's JSON lies, relative to the output."""
        return item_folder(self.tile, self.period)

    @property
    def item_key(self) -> str:
        """The item's JSON: written last, it is the commit."""
        return item_key(self.tile, self.period)

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

    def to_json(self) -> bytes:
        """The bytes that are stored."""
        return self.model_dump_json(indent=1).encode()


def item_folder(tile: str, period: Period) -> str:
    """Where a tile-year lies, relative to the output."""
    return f"{period.collection}/{tile}/{period.label}"


def item_key(tile: str, period: Period) -> str:
    """The item's JSON: written last, it is the commit."""
    return f"{item_folder(tile, period)}/{tile}-{period.label}.json"


def digest(content: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of a JSON object."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
