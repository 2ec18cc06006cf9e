"""What a run will cost, before it is started: no pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import shapely
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from shapely.geometry.base import BaseGeometry

from catalog.datatakes import footprint_of
from catalog.errors import BadInput, first_fault
from catalog.grid import RESOLUTION, owned_geometry
from catalog.manifest import Manifest
from pipelines.plan import Planned, Settings


class Rates(BaseModel):
    """How fast the work is done; measured, unless the table's notes say otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixels_per_core_second: float = Field(gt=0)
    reader_pixels_per_core_second: float = Field(gt=0, description="of a core that reads and votes for GPUs")
    pixels_per_gpu_second: float = Field(gt=0)
    bytes_per_pixel: float = Field(gt=0, description="read, all bands, per published pixel and look")
    output_bytes_per_pixel: float = Field(gt=0)
    # With defaults, so that tables of before are still read.
    season_pixels_per_core_second: float = Field(default=1_900_000, gt=0, description="of what --seasons adds")
    told_season_pixels_per_core_second: float = Field(
        default=9_000_000, gt=0, description="of the season that --second-stage sees, where it is not published"
    )
    second_stage_pixels_per_core_second: float = Field(
        default=60_000_000, gt=0, description="of the second stage itself"
    )
    season_bytes_per_pixel: float = Field(default=40.0, gt=0, description="of what --seasons adds to the output")
    radar_pixels_per_core_second: float = Field(
        default=10_000_000, gt=0, description="published pixels x overpasses of radar: read, averaged and filtered"
    )
    radar_bytes_per_pixel: float = Field(default=9.3, gt=0, description="VV and VH, per published pixel and overpass")
    worker_gigabytes: float = Field(default=1.4, gt=0, description="memory that a worker needs")
    radar_worker_gigabytes: float = Field(default=0.3, ge=0, description="that one needs more where it reads radar")

    def with_season(self, published: bool, second_stage: bool) -> Rates:
        """The same where the season is told: to be published, for a second stage, or for both."""
        if not (published or second_stage):
            return self
        own = 1 / (self.season_pixels_per_core_second if published else self.told_season_pixels_per_core_second)
        own += 1 / self.second_stage_pixels_per_core_second if second_stage else 0
        alone, feeding = 1 / self.pixels_per_core_second, 1 / self.reader_pixels_per_core_second
        slower = {"pixels_per_core_second": 1 / (alone + own), "reader_pixels_per_core_second": 1 / (feeding + own)}
        written = self.output_bytes_per_pixel + (self.season_bytes_per_pixel if published else 0)
        return self.model_copy(update={**slower, "output_bytes_per_pixel": written})


class Prices(BaseModel):
    """US dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    core_hour: float = Field(ge=0)
    gpu_hour: float = Field(ge=0)
    read_gigabyte: float = Field(ge=0)
    million_requests: float = Field(ge=0)
    stored_gigabyte_month: float = Field(ge=0)


class Running(BaseModel):
    """What happens round the work on a cluster, and what limits it there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_seconds: float = Field(ge=0, description="from submitting to workers that work")
    plan_core_seconds: float = Field(ge=0, description="a tile-year, on a worker")
    searches_per_second: float = Field(gt=0, description="that the source's API answers, to all together")
    assemble_core_seconds: float = Field(ge=0, description="a whole tile-year, from staged blocks to its item")
    launcher_seconds: float = Field(ge=0, description="a tile-year, one after the other: accounts, collection, index")
    worker_bytes_per_second: float = Field(gt=0, description="that one worker can read")
    store_bytes_per_second: float = Field(gt=0, description="that the source's store gives to all together")
    store_requests_per_second: float = Field(gt=0)
    bytes_per_request: float = Field(gt=0)
    slow_workers: float = Field(ge=0, le=1, description="share of workers that are slow throughout")
    slow_factor: float = Field(ge=1, description="how many times as long those take")
    failed_blocks: float = Field(ge=0, lt=1, description="share of blocks that only a second run finishes")
    retry_seconds: float = Field(ge=0, description="how long a block that fails has been tried again")
    losses_per_hour: float = Field(ge=0, description="of one worker or GPU, taken away by the cloud")
    restart_seconds: float = Field(ge=0, description="until another stands in for it")
    staged_check_seconds: float = Field(ge=0, description="to find a block staged, when a job begins anew")


class PriceTable(BaseModel):
    """The file that a user edits: rates, prices and notes on where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rates: Rates
    rates_30m: dict[str, float] = Field(default={}, description="those that are others for maps of 30 m")
    running: Running
    prices_usd: Prices
    notes: dict[str, str] = {}
    notes_30m: dict[str, str] = Field(default={}, description="where `rates_30m` come from")

    @field_validator("rates_30m")
    @classmethod
    def _are_rates(cls, some: dict[str, float]) -> dict[str, float]:
        for name, value in some.items():
            if name not in Rates.model_fields or not value > 0:
                raise ValueError(f"{name} = {value} is no rate; there are {', '.join(Rates.model_fields)}, above 0")
        return some

    def suited(self, settings: Settings, manifests: Sequence[Manifest]) -> PriceTable:
        """The table for what is asked for: the size of its pixels, its season, its second stage.

        Args:
            settings: of the run.
            manifests: whose scenes are to be read.
        """
        rates, running, notes, gsd = self.rates, self.running, self.notes, settings.model.gsd
        if gsd != RESOLUTION:
            seen = min((scene.gsd for one in manifests for take in one.datatakes for scene in take.scenes), default=gsd)
            rates, notes = rates.model_copy(update=self.rates_30m), {**notes, **self.notes_30m}
            if seen != gsd:
                rates = _read_finer(rates, self.rates.bytes_per_pixel)
            # It goes by pixels, of which such a tile has fewer.
            assemble = running.assemble_core_seconds * (RESOLUTION / gsd) ** 2
            running = running.model_copy(update={"assemble_core_seconds": assemble})
        rates = rates.with_season(settings.seasons, settings.second_stage is not None)
        return self.model_copy(update={"rates": rates, "running": running, "notes": notes})


class Estimate(BaseModel):
    """The expected size and cost of a run."""

    tile_years: int
    blocks: int
    datatakes: int = Field(description="looks, summed over tile-years")
    scenes: int
    pixels: float = Field(description="to be published, those of blocks only partly in the zone counted in full")
    looks: float = Field(description="published pixels x looks")
    radar_scenes: int = Field(description="of Sentinel-1, beside the others")
    radar_looks: float = Field(description="published pixels x overpasses of radar")
    radar_gigabytes: float = Field(description="of radar, among those to be read")
    radar_core_hours: float = Field(description="for radar, among the core-hours")
    read_gigabytes: float
    written_gigabytes: float
    worker_gigabytes: float = Field(description="memory of a worker")
    core_hours: float = Field(description="on CPUs alone")
    core_usd: float
    gpu_hours: float = Field(description="with the network on GPUs")
    gpu_usd: float = Field(description="GPUs and the cores that feed them")
    read_usd: float
    storage_usd_month: float


def _read_finer(rates: Rates, bytes_per_pixel: float) -> Rates:
    """Sentinel-2 read for maps of 30 m: of each band the pixels of 20 m, those of 10 m by their overviews.

    A pixel of the map has 2.25 of them in each of six bands; one of 10 m has one in four bands and a quarter in two.
    """
    changes = {
        "pixels_per_core_second": 0.62 * rates.pixels_per_core_second,  # Measured by `python -m benchmarks coarse`.
        "reader_pixels_per_core_second": 0.44 * rates.reader_pixels_per_core_second,
        "bytes_per_pixel": bytes_per_pixel * (6 * 2.25) / (4 + 2 / 4),
    }
    return rates.model_copy(update=changes)


def load_prices(path: str) -> PriceTable:
    """The table in a JSON file, or Landloom's own for an empty path.

    Raises:
        BadInput: no such file, or not such a table.
    """
    if path and not Path(path).is_file():
        raise BadInput(f"There is no price table {path!r}. Copy Landloom's with --write-prices FILE and edit it.")
    text = Path(path).read_text() if path else default_prices()
    try:
        return PriceTable.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"Price table {path!r} is not valid at {first_fault(error)}.") from error


def default_prices() -> str:
    """The text of the table that Landloom carries."""
    return (resources.files("pipelines") / "rates.json").read_text()


def estimate(planned: Sequence[Planned], table: PriceTable) -> Estimate:
    """Add up what the planned tile-years will take."""
    manifests = [one.manifest for one in planned if one.manifest]
    pixels = float(sum(manifest.block(number).pixels for manifest in manifests for number in manifest.blocks))
    looks = sum(sum(looks_of_blocks(manifest)) for manifest in manifests)
    radar = sum(sum(radar_of_blocks(manifest)) for manifest in manifests)
    rates, prices = table.rates, table.prices_usd
    radar_hours = radar / rates.radar_pixels_per_core_second / 3600
    core_hours = looks / rates.pixels_per_core_second / 3600 + radar_hours
    gpu_hours = looks / rates.pixels_per_gpu_second / 3600
    radar_read = radar * rates.radar_bytes_per_pixel / 1e9
    read, written = looks * rates.bytes_per_pixel / 1e9 + radar_read, pixels * rates.output_bytes_per_pixel / 1e9
    memory = rates.worker_gigabytes + (rates.radar_worker_gigabytes if radar else 0)
    feeding_hours = looks / rates.reader_pixels_per_core_second / 3600 + radar_hours
    return Estimate(
        tile_years=len(manifests),
        blocks=sum(len(manifest.blocks) for manifest in manifests),
        datatakes=sum(len(manifest.datatakes) for manifest in manifests),
        scenes=sum(len(datatake.scenes) for manifest in manifests for datatake in manifest.datatakes),
        pixels=pixels,
        looks=looks,
        radar_scenes=sum(len(manifest.radar) for manifest in manifests),
        radar_looks=radar,
        radar_gigabytes=radar_read,
        radar_core_hours=radar_hours,
        read_gigabytes=read,
        written_gigabytes=written,
        worker_gigabytes=memory if manifests else 0.0,
        core_hours=core_hours,
        core_usd=core_hours * prices.core_hour,
        gpu_hours=gpu_hours,
        gpu_usd=gpu_hours * prices.gpu_hour + feeding_hours * prices.core_hour,
        read_usd=read * prices.read_gigabyte,
        storage_usd_month=written * prices.stored_gigabyte_month,
    )


def looks_of_blocks(manifest: Manifest) -> list[float]:
    """Pixels x looks of each block of a tile-year: counted by the share of it that each datatake's footprint covers."""
    return _covered(manifest, [footprint_of(datatake) for datatake in manifest.datatakes])


def radar_of_blocks(manifest: Manifest) -> list[float]:
    """Pixels x overpasses of radar of each block of a tile-year, counted likewise."""
    overpasses: dict[str, list[BaseGeometry]] = {}
    for scene in manifest.radar:
        overpasses.setdefault(scene.overpass, []).append(scene.outline)
    return _covered(manifest, [shapely.union_all(parts) for parts in overpasses.values()])


def _covered(manifest: Manifest, footprints: Sequence[BaseGeometry]) -> list[float]:
    """Pixels of each block, summed over footprints by the share of it that each covers."""
    tile = manifest.ground
    found = []
    for number in manifest.blocks:
        here = manifest.block(number)
        part = owned_geometry(tile, here.window)
        covered = shapely.area(shapely.intersection(footprints, part)).sum() / part.area if part.area else 0.0
        found.append(covered * here.pixels)
    return found
