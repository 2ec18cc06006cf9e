"""The end of a global run: what is derived from 20,460 items grows by them, zone by zone, in two processes.

Run as `python -m benchmarks.end_of_run FOLDER YEAR` it registers the items of a year that lie in a folder.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from benchmarks.many_items import COLLECTION, FIRST_YEAR, items
from benchmarks.measure import python, run
from benchmarks.plan_globe import ORIGINAL
from benchmarks.report import Figure
from catalog.index import parts_of
from catalog.items import item_key_of, item_keys
from catalog.store import open_store
from pipelines.job import Job
from pipelines.register import Register
from pipelines.runner import run_pipeline

_YEARS = 2
_WORKERS = 2


def end_of_run(tiles: int = ORIGINAL) -> list[Figure]:
    """Seconds and memory for a first year's items and for those of the next, which go beside them."""
    folder = Path(tempfile.mkdtemp(prefix="landloom-bench-"))
    try:
        for key, item in _stored(tiles):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(item))
        figures = []
        for number in range(_YEARS):
            done = run(python("benchmarks.end_of_run", str(folder), str(FIRST_YEAR + number)))
            parts = parts_of(json.loads((folder / COLLECTION / "collection.json").read_text()))
            sizes = [(folder / part).stat().st_size for part in parts.values()]
            note = f"{tiles:,} items, {_WORKERS} processes, {done.core_seconds:.0f} core-seconds"
            figures += [
                Figure(f"end of year {number + 1}, seconds", done.seconds, "", note),
                Figure(f"end of year {number + 1}, largest process, peak GB", done.peak_rss / 1e9, "<= 1", ""),
                Figure(f"index after year {number + 1}, parts", len(parts), "", f"{sum(sizes) / 1e6:.1f} MB"),
                Figure(f"index after year {number + 1}, largest part, MB", max(sizes) / 1e6, "", ""),
            ]
    finally:
        shutil.rmtree(folder)
    return figures


def _stored(tiles: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Items as they lie in an output: their hrefs are relative."""
    for item in items(tiles * _YEARS, Path("/"), _YEARS):
        assets = {name: {**asset, "href": f"./0123456789abcdef/{name}.tif"} for name, asset in item["assets"].items()}
        links = [link for link in item["links"] if link["rel"] != "self"]
        yield item_key_of(item), {**item, "assets": assets, "links": links}


def main(folder: str, year: str) -> None:
    """Register the items of a year, as a run does at its end."""
    keys = [key for key in item_keys(open_store(folder), COLLECTION) if key.split("/")[2] == year]
    options = [f"--direct_num_workers={_WORKERS}", "--direct_running_mode=multi_processing"]
    run_pipeline(_End(Job("end", folder, ""), keys), options)


class _End(beam.PTransform):  # type: ignore[misc]
    def __init__(self, job: Job, keys: list[str]):
        super().__init__()
        self._job, self._keys = job, keys

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[str]:
        return root | beam.Create(self._keys) | beam.Reshuffle() | Register(self._job)


if __name__ == "__main__":
    main(*sys.argv[1:])
