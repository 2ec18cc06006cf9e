"""What a run is asked for: small enough for every worker, and kept beside the output so that it can be retried."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import shapely
from pydantic import BaseModel, ConfigDict, Field

from catalog.area import Area
from catalog.collections import check_legend
from catalog.errors import BadInput
from catalog.garbage import rare_collections
from catalog.grid import RESOLUTION, Tile
from catalog.manifest import Period
from catalog.radar import RADAR_CHANNELS
from catalog.radar_source import open_radar
from catalog.sources import Source, StacApi, open_source
from catalog.store import Store
from pipelines.plan import Planned, Settings, plan_tile

_TRIED = 16


class Request(BaseModel):
    """Tile-years to be mapped, from which source and how."""

    model_config = ConfigDict(frozen=True)

    source: str
    described: StacApi | None = Field(default=None, description="of a source that is not known")
    base: str = Field(default="", description="folder that a relative path of a source starts from")
    radar: str = Field(default="", description="source of terrain-corrected Sentinel-1; empty: none")
    tiles: tuple[str, ...]
    geometry: str = Field(default="", description="WKB (hexadecimal) of the area, degrees; empty: the whole tiles")
    periods: tuple[Period, ...]
    settings: Settings
    only: frozenset[str] | None = Field(default=None, description="IDs of tile-years that alone are wanted")

    @classmethod
    def of(
        cls,
        source: str,
        area: Area,
        periods: Sequence[Period],
        settings: Settings,
        described: StacApi | None = None,
        radar: str = "",
    ) -> Request:
        """All tile-years of an area."""
        return cls(
            source=source,
            described=described,
            base=str(Path.cwd()),
            radar=radar,
            tiles=tuple(tile.name for tile in area.tiles),
            geometry="" if area.geometry is None else shapely.to_wkb(area.geometry, hex=True),
            periods=tuple(periods),
            settings=settings,
        )

    def tile_years(self) -> Iterator[tuple[str, Period]]:
        """Tiles with their periods, period by period."""
        for period in self.periods:
            for tile in self.tiles:
                if self.only is None or f"{tile}-{period.label}" in self.only:
                    yield tile, period

    def open(self) -> Source:
        """The source, that of radar scenes with it.

        Raises:
            BadInput: there is none.
            SourceUnavailable: it does not answer.
        """
        radar = open_radar(self.radar, self.base) if self.radar else None
        return open_source(self.source, self.described, self.base, radar)

    def plan(self, tile: str, period: Period, source: Source, store: Store) -> Planned:
        """Plan one of the tile-years; nothing is written.

        Raises:
            BadInput: the source lacks what is needed.
            SourceUnavailable: it does not answer.
        """
        geometry = shapely.from_wkb(self.geometry) if self.geometry else None
        # A search's answer is a hundred thousand small objects and no rubbish.
        with rare_collections():
            square = Tile.from_name(tile, self.settings.model.gsd)
            return plan_tile(square, geometry, period, source, store, self.settings)

    def check(self, source: Source, store: Store) -> None:
        """Refuse what makes no map before anything is written or sent to a cluster.

        A few tile-years are planned for it, until one has scenes.

        Raises:
            BadInput: settings that make no map, a legend that contradicts what is published, a source without bands,
                radar for a network without radar channels.
            SourceUnavailable: the source does not answer.
        """
        self.settings.check()
        if self.radar and not self.settings.model.radar:
            raise BadInput(
                f"Network {self.settings.model.id} has no radar channels (its bands are "
                f"{', '.join(self.settings.model.bands)}), so that --radar {self.radar!r} would do nothing. Leave it "
                f"out, or give a network that was trained with {RADAR_CHANNELS[0]} or its like (docs/radar.md)."
            )
        if self.radar and self.settings.model.gsd != RESOLUTION:
            raise BadInput(
                f"Network {self.settings.model.id} makes maps of {self.settings.model.gsd} m, and radar is read for "
                f"maps of {RESOLUTION} m alone. Leave --radar {self.radar!r} out."
            )
        for collection in sorted({period.collection(self.settings.model.gsd) for period in self.periods}):
            check_legend(store, collection, self.settings.legend)
        for tile, period in islice(self.tile_years(), _TRIED):
            if self.plan(tile, period, source, store).manifest:
                return


@functools.lru_cache(maxsize=1)
def source_of(run: str, request: Request) -> Source:
    """The source of a run, opened once per process: a static catalog is read as a whole."""
    return request.open()
