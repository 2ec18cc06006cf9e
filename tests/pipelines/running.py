"""Running `landloom map` in a test, in this process or in another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from catalog.area import area_of_tiles
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.sources import read_mapping
from pipelines.job import Job
from pipelines.plan import Settings
from pipelines.request import Request, source_of
from pipelines.run import Accounts, map_tile_years
from pipelines.runner import name_run
from services.inference import model_spec

ROOT = Path(__file__).parents[2]


def map_tiles(
    source: Path | str,
    out: Path | str,
    network: Path | str,
    *,
    tiles: str = "33UUU",
    years: Sequence[int] = (2021,),
    beam: Sequence[str] = (),
    retry_seconds: float = 2.0,
    s3_endpoint: str | None = None,
    mapping: Path | None = None,
    inference: str = "",
    radar: Path | str = "",
    second_stage: Path | None = None,
    legend: str = "nine",
    level: int | None = None,
    **settings,
) -> Accounts:
    """Plan and map whole tiles in this process."""
    second = str(second_stage or "")
    overwrite = settings.get("overwrite", False)
    job = Job(name_run(), str(out), str(network), s3_endpoint, overwrite, retry_seconds, inference, second)
    if second_stage:
        settings["second_stage"] = model_spec(second)
    spec = model_spec(str(network))
    chosen = Settings(model=spec, legend=load_legend(legend, level).fitted(spec), **settings)
    described = read_mapping(str(mapping), str(source)) if mapping else None
    periods = [Period.of_year(year) for year in years]
    request = Request.of(str(source), area_of_tiles(tiles), periods, chosen, described, str(radar))
    request.check(source_of(job.run, request), job.store())
    return map_tile_years(job, request, beam)


def landloom(*arguments: str | Path, check: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does; `check` is the exit code expected."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
    )
    assert check is None or done.returncode == check, done.stderr
    return done


def contents(out: Path) -> dict[str, object]:
    """All that was published, by path: file contents, JSON without its time stamps, the run's accounts left out.

    Parts of the index hold those times, and are named by their content.
    """
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if not path.is_file() or name.startswith(("runs/", ".")) or name.endswith(".parquet"):
            continue
        content = path.read_bytes()
        found[name] = _without_times(json.loads(content)) if name.endswith(".json") else content
    return found


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        times = ("created", "updated", "processing:datetime")
        return {key: _without_times(one) for key, one in value.items() if key not in times}
    if isinstance(value, str):
        return re.sub(r"-[0-9a-f]{12}\.parquet$", ".parquet", value)
    return [_without_times(one) for one in value] if isinstance(value, list) else value
