"""Where a run stands, told from what lies in the output: for the progress bar, `landloom status` and the accounts."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, Field

from catalog.errors import BadInput
from catalog.store import Store
from pipelines.estimate import PriceTable
from pipelines.records import Asked, EndedTileYear, Failure, PlannedTileYear, Records, accounts_of

_BREATH = timedelta(minutes=3)
"""A launcher that has not been heard of for so long is taken for dead."""
_WORKED = ("wait_seconds", "network_seconds", "vote_seconds")
"""What keeps a worker's core busy or waiting, one after the other; reading ahead runs beside it."""


class Standing(BaseModel):
    """Where a run stands."""

    run: str
    state: Literal["running", "ended", "stopped"] = Field(description="stopped: killed, to be run or retried again")
    started: datetime
    seconds: float = Field(description="since then, up to its end")
    tile_years: int = Field(description="asked for")
    planned: int = Field(description="of them, that have been planned so far")
    published: int = 0
    skipped: int = 0
    dead_lettered: dict[str, str] = Field(default={}, description="tile-year to reason")
    failed_blocks: dict[str, str] = Field(default={}, description="tile-year and block to reason, while it runs")
    blocks: int = Field(default=0, description="of the tile-years planned so far")
    blocks_done: int = Field(default=0, description="by this run")
    blocks_staged_before: int = 0
    blocks_failed: int = 0
    blocks_left: int = 0
    pixels_per_second: float = Field(default=0, description="of the map, finished by this run")
    seconds_left: float | None = Field(default=None, description="at the pace so far; None: not known")
    core_hours: float = Field(default=0, description="that workers spent on the tile-years published")
    usd: float | None = Field(default=None, description="the same at the price table's core_hour, if one is given")


class Watch:
    """Looks at a run again and again; what has been read is not read twice."""

    def __init__(self, store: Store, asked: Asked, prices: PriceTable | None = None):
        self._store, self._asked, self._prices = store, asked, prices
        self._records = Records(store, asked.run)
        self._tile_years = sum(1 for _ in asked.request.tile_years())
        self._planned: dict[str, PlannedTileYear] = {}
        self._ended: dict[str, EndedTileYear] = {}
        self._failed: dict[str, Failure] = {}

    def look(self) -> Standing:
        """Where it stands now."""
        self._planned |= self._records.planned(self._planned)
        self._ended |= self._records.ended(self._ended)
        self._failed |= self._records.failed(self._failed)
        accounts = accounts_of(self._store, self._asked.run)
        begun, now = self._asked.started, datetime.now(UTC)
        ended = list(self._ended.values())
        done = sum(one.blocks.get("done", 0) for one in ended)
        before = sum(one.blocks.get("staged before", 0) for one in ended)
        pixels = sum(self._pixels(one.id, one.blocks.get("done", 0)) for one in ended)
        waiting = [one for name, one in self._planned.items() if name not in self._ended]
        staged = self._staged() if waiting else Counter()
        for one in waiting:
            # What a run before had staged is not this one's work.
            new = max(0, staged[one.staging] - one.staged_before)
            done, before, pixels = done + new, before + one.staged_before, pixels + self._pixels(one.id, new)
        failed = {name: one for name, one in self._failed.items() if one.id not in self._ended}
        lost = sum(one.blocks.get("failed", 0) for one in ended) + len(failed)
        blocks = sum(one.blocks for one in self._planned.values())
        left = 0 if accounts else max(0, blocks - done - before - lost)
        seconds = float(accounts["seconds"]) if accounts else (now - begun).total_seconds()  # type: ignore[arg-type]
        hours = sum(one.figures.get(name, 0) for one in ended for name in _WORKED) / 3600
        unplanned = self._tile_years - len(self._planned | self._ended)
        return Standing(
            run=self._asked.run,
            state=self._state(bool(accounts), begun, nothing_left=not waiting and not unplanned),
            started=begun,
            seconds=round(seconds, 1),
            tile_years=self._tile_years,
            planned=self._tile_years - unplanned,
            published=sum(one.state == "published" for one in ended),
            skipped=sum(one.state == "skipped" for one in ended),
            dead_lettered={one.id: one.reason for one in ended if one.state == "dead-lettered"}
            | (dict(accounts["dead_lettered"]) if accounts else {}),  # type: ignore[call-overload]
            failed_blocks={name: one.reason for name, one in failed.items()},
            blocks=blocks,
            blocks_done=done,
            blocks_staged_before=before,
            blocks_failed=lost,
            blocks_left=left,
            pixels_per_second=round(pixels / seconds, 1) if seconds else 0,
            # While tile-years are still planned nobody knows how many blocks there will be.
            seconds_left=0 if accounts else round(left * seconds / done, 1) if done and not unplanned else None,
            core_hours=round(hours, 6),
            usd=round(hours * self._prices.prices_usd.core_hour, 6) if self._prices else None,
        )

    def _state(self, settled: bool, begun: datetime, nothing_left: bool) -> Literal["running", "ended", "stopped"]:
        if settled:
            return "ended"
        if datetime.now(UTC) - (self._breath() or begun) < _BREATH:
            return "running"
        # A run whose launcher did not wait, as of a template, has no accounts.
        return "ended" if nothing_left else "stopped"

    def _pixels(self, name: str, blocks: int) -> float:
        """Of some blocks of a tile-year, as if all were of one size."""
        one = self._planned.get(name)
        return one.pixels * blocks / one.blocks if one else 0

    def _staged(self) -> Counter[str]:
        """Blocks that are staged, by the place where."""
        keys = (key.rpartition("/") for key in self._store.list("staging/"))
        return Counter(f"{folder}/" for folder, _, name in keys if name.endswith(".npz.gz"))

    def _breath(self) -> datetime | None:
        return self._records.last_breath()


def dead_letters(store: Store, asked: Asked) -> frozenset[str]:
    """The tile-years that a run did not bring to an end: those of its accounts, or all that are left of one killed.

    Raises:
        BadInput: there are none.
    """
    if accounts := accounts_of(store, asked.run):
        left = set(accounts["dead_lettered"])  # type: ignore[call-overload]
    else:
        ended = Records(store, asked.run).ended()
        well = {name for name, one in ended.items() if one.state != "dead-lettered"}
        left = {f"{tile}-{period.label}" for tile, period in asked.request.tile_years()} - well
    if not left:
        raise BadInput(f"Run {asked.run} left nothing to be tried again: all is published or skipped.")
    return frozenset(left)
