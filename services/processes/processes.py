"""The processes: what each is called, takes, and does."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catalog.errors import BadInput
from catalog.store import Store
from services.change.corrected_items import item_key
from services.change.products import draw_sample, make_change, make_temporal, make_zonal, report_sample
from services.change.requests import ChangeRequest, DesignRequest, ReportRequest, TemporalRequest, ZonalRequest
from services.change.runs import Account
from services.change.series import Series
from services.change.zones import read_zones
from services.processes.inputs import (
    ChangeInputs,
    DesignInputs,
    Inputs,
    ReportInputs,
    TemporalInputs,
    ZonalInputs,
    ZoneInputs,
    laid_file,
    request_part,
)
from services.processes.jobs import JobLimits


@dataclass(frozen=True)
class Work:
    """What a job is done with."""

    store: Store
    """The catalog: maps are read from it, products written to it."""
    folder: Path
    """The job's own."""
    files: Path | None
    """What the operator has laid ready; None: nothing."""
    limits: JobLimits
    on_found: Callable[[Series], None]
    on_progress: Callable[[int, int], None]

    @property
    def maps(self) -> str:
        """Where the catalog lies."""
        return self.store.href("x").removesuffix("/x")


Result = dict[str, Any]
"""`items`: keys of published items; `files`: names in the job's folder; counts, and what was left out and why."""


@dataclass(frozen=True)
class Process:
    """A process."""

    id: str
    title: str
    description: str
    inputs: type[Inputs]
    run: Callable[[Any, Work], Result]

    def read(self, given: str, files: Path | None, zones: int) -> Inputs:
        """What a client asks for, checked as far as can be without reading maps.

        Args:
            given: JSON.
            files: see `Work`.
            zones: how many there may be.

        Raises:
            BadInput: it cannot be.
        """
        try:
            # Parts of others, such as a design, are no less strict here.
            inputs = self.inputs.model_validate_json(given, strict=True)
        except ValidationError as error:
            raise BadInput("; ".join(_wrong(error))) from error
        if not isinstance(inputs, ReportInputs | ZonalInputs):
            inputs.ground()
        if isinstance(inputs, ZoneInputs):
            _check_zones(inputs, files, zones, required=isinstance(inputs, ZonalInputs))
        if isinstance(inputs, ReportInputs):
            if bool(inputs.sample) == bool(inputs.sample_file):
                raise BadInput("Give sample (the text of sample.csv) or sample_file, one of the two.")
            if inputs.sample_file:
                laid_file(files, inputs.sample_file, "sample_file")
        return inputs


def _wrong(error: ValidationError) -> Iterator[str]:
    for one in error.errors()[:3]:
        where = ".".join(str(part) for part in one["loc"]) or "inputs"
        yield f"{where}: {one['msg']}, not {str(one['input'])[:100]!r}"


def _check_zones(inputs: ZoneInputs, files: Path | None, most: int, *, required: bool) -> None:
    if inputs.zones and inputs.zones_file:
        raise BadInput("zones and zones_file are both given. Give one of the two.")
    if inputs.zones_file:
        laid_file(files, inputs.zones_file, "zones_file")
    elif inputs.zones:
        if len(inputs.zones.features) > most:
            raise BadInput(f"{len(inputs.zones.features):,} zones are given; this server takes {most:,} at most.")
        for number, one in enumerate(inputs.zones.features):
            if one.geometry:
                _ring_of_numbers(one.geometry.coordinates, f"zones.features.{number}.geometry.coordinates")
    elif required:
        raise BadInput("Give zones (GeoJSON), or zones_file, the name of a file that the operator has laid ready.")


def _ring_of_numbers(coordinates: Any, where: str, depth: int = 0) -> None:
    # Invalid polygons are mended and told, as on the command line; what is no polygon at all is refused here.
    if isinstance(coordinates, list) and depth < 5:
        for one in coordinates:
            _ring_of_numbers(one, where, depth + 1)
    elif type(coordinates) not in (int, float) or not math.isfinite(coordinates) or depth < 2:
        raise BadInput(f"{where}: {str(coordinates)[:50]!r} is no coordinate. Give longitude and latitude.")


def _zones_path(inputs: ZoneInputs, work: Work) -> Path | None:
    if inputs.zones_file:
        return laid_file(work.files, inputs.zones_file, "zones_file")
    if inputs.zones is None:
        return None
    path = work.folder / "zones.geojson"
    inputs.zones.write(path)
    return path


def _counts(account: Account) -> Result:
    return {"published": len(account.published), "skipped": len(account.skipped), "left_out": account.failed}


def _change(inputs: ChangeInputs, work: Work) -> Result:
    request = ChangeRequest(**request_part(inputs, ChangeRequest))
    series, known, account = make_change(
        request, work.maps, inputs.ground(), work.store, work.on_progress, work.on_found
    )
    return {
        "items": account.items,
        **_counts(account),
        "notes": [known.note, *series.notes, *known.notes],
    }


def _temporal(inputs: TemporalInputs, work: Work) -> Result:
    request = TemporalRequest(**request_part(inputs, TemporalRequest))
    series, known, account = make_temporal(
        request, work.maps, inputs.ground(), work.store, work.on_progress, work.on_found
    )
    last = f"{series.years[-1]} is provisional: no later year confirms its changes."
    return {
        "items": [
            item_key(series, place, year) for place in (*account.published, *account.skipped) for year in series.years
        ],
        **_counts(account),
        "notes": [*series.notes, *known.notes, last],
    }


def _zonal(inputs: ZonalInputs, work: Work) -> Result:
    request = ZonalRequest(**request_part(inputs, ZonalRequest))
    path = _zones_path(inputs, work)
    assert path is not None
    zones = read_zones(path, request.key)
    if len(zones.frame) > work.limits.zones:
        raise BadInput(f"zones_file holds {len(zones.frame):,} zones; this server takes {work.limits.zones:,} at most.")
    # Zones without a name of their own do not take the place of another client's.
    known_as = f"zones-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}" if inputs.zones else path.stem
    known, account = make_zonal(request, work.maps, zones, known_as, work.store, work.on_progress, work.on_found)
    return {
        "items": [account.key],
        **_counts(account),
        "zones": account.coverage,
        "notes": [known.note, *account.notes],
    }


def _design(inputs: DesignInputs, work: Work) -> Result:
    from services.change.interpretation import write_sample

    request = DesignRequest(**request_part(inputs, DesignRequest))
    path = _zones_path(inputs, work)
    zones = read_zones(path, request.key, dissolve=True).frame if path else None
    if zones is not None and len(zones) > work.limits.zones:
        raise BadInput(f"zones_file holds {len(zones):,} zones; this server takes {work.limits.zones:,} at most.")
    design, drawn = draw_sample(request, work.maps, inputs.ground(), zones, work.on_progress, work.on_found)
    files = write_sample(design, drawn, work.folder / "files")
    return {
        "items": [],
        "files": [one.name for one in files],
        "units": len(drawn),
        "left_out": design.excluded,
        "notes": [*design.notes, f"{design.unobserved:,.1f} ha without a class in all years are not sampled."],
    }


def _report(inputs: ReportInputs, work: Work) -> Result:
    request = ReportRequest(**request_part(inputs, ReportRequest))
    if inputs.sample_file:
        sample = laid_file(work.files, inputs.sample_file, "sample_file")
    else:
        sample = work.folder / "sample.csv"
        sample.write_text(inputs.sample)
    maps = work.maps if request.collection else ""
    report, key, written = report_sample(
        request, inputs.design, sample, work.store, maps, work.on_progress, work.on_found
    )
    return {
        "items": [key],
        "published": int(written),
        "skipped": int(not written),
        "left_out": {name: f"{count} units are not interpreted" for name, count in report.missing.items()},
        "notes": report.notes,
    }


PROCESSES = {
    one.id: one
    for one in (
        Process(
            "change",
            "What changed",
            "Areas, transitions and whether they last, between two or more years of maps; published in lulc-change.",
            ChangeInputs,
            _change,
        ),
        Process(
            "temporal",
            "Years corrected together",
            "The most likely class of each pixel in each year, given the maps of all years; published in "
            "lulc-temporal, those of 30 m in lulc-temporal-30m.",
            TemporalInputs,
            _temporal,
        ),
        Process(
            "zonal",
            "Cover and change by zone",
            "Area, share and change of each class in each zone; published in lulc-zonal.",
            ZonalInputs,
            _zonal,
        ),
        Process(
            "accuracy-design",
            "Draw a reference sample",
            "A stratified random sample of pixels for interpreters, as files of the job.",
            DesignInputs,
            _design,
        ),
        Process(
            "accuracy-report",
            "Areas and accuracies from a sample",
            "Areas, accuracies and change with intervals, from an interpreted sample; published in lulc-accuracy.",
            ReportInputs,
            _report,
        ),
    )
}


def as_inputs(text: str) -> str:
    """A message that names options of the command line, naming inputs: `--size-km` is `size_km` here."""
    return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), text)
