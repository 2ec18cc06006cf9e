"""A tile-year planned for tests of single steps of the main job."""

from __future__ import annotations

from pathlib import Path

from catalog.area import area_of_tiles
from catalog.legend import load_legend
from catalog.manifest import Manifest, Period
from catalog.store import open_store
from pipelines.plan import Settings
from pipelines.request import Request, source_of
from services.inference import model_spec


def planned_manifest(source: Path, out: Path, network: Path, tile: str = "33UUU", year: int = 2021) -> Manifest:
    """The manifest of a whole tile-year, also written to the output."""
    settings = Settings(model=model_spec(str(network)), legend=load_legend("nine"))
    period, store = Period.of_year(year), open_store(str(out))
    request = Request.of(str(source), area_of_tiles(tile), [period], settings)
    planned = request.plan(tile, period, source_of("run", request), store)
    assert planned.manifest is not None
    store.write(planned.manifest.key, planned.manifest.to_json())
    return planned.manifest
