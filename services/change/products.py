"""Products made as they are asked for: what the commands and the processes of the API do alike."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from catalog.store import BUCKETS, Store, open_store
from services.change.requests import (
    ChangeRequest,
    DesignRequest,
    ReportRequest,
    SeriesRequest,
    TemporalRequest,
    ZonalRequest,
    product_name,
)
from services.change.runs import Progress, Run, in_process
from services.change.series import Series, open_series
from services.change.strata import open_maps

if TYPE_CHECKING:
    import geopandas

    from services.change.accuracy_report import Report
    from services.change.corrected_series import CorrectedAccount
    from services.change.design import Design
    from services.change.publish import ChangeAccount
    from services.change.sampling import Drawn
    from services.change.uncertainty import Uncertainty
    from services.change.zonal_publish import ZonalAccount
    from services.change.zones import Zones

# What one product alone needs is imported in it: libraries of figures and pages come with an extra.
Found = Callable[[Series], None]
"""Called with the maps before any is read; may raise, and then nothing is made."""


def _unheard(done: int, total: int) -> None:
    pass


def _any(series: Series) -> None:
    pass


def make_change(
    request: ChangeRequest,
    maps: str,
    area: BaseGeometry | None,
    store: Store,
    on_progress: Progress = _unheard,
    on_found: Found = _any,
    run: Run = in_process,
) -> tuple[Series, Uncertainty, ChangeAccount]:
    """Publish what changed in the collection `lulc-change`.

    Args:
        request: what is asked for.
        maps: see `services.change.series_items.find_items`.
        area: area of interest, longitude and latitude; None: all that is mapped.
        store: the output.
        on_progress: see `Progress`.
        on_found: see `Found`.
        run: does the work place by place.

    Returns:
        The maps, in the legend of the product; what is known of the true figures; what was published.

    Raises:
        BadInput: what is asked for does not fit the maps.
    """
    from services.change.degradation import load_degradation
    from services.change.publish import publish_change
    from services.change.settings import Settings
    from services.change.themes import load_themes

    meanings = load_degradation(request.degradation) if request.degradation else None
    if meanings and request.crosswalk not in ("", meanings.legend):
        raise BadInput(
            f"--degradation {request.degradation} needs --crosswalk {meanings.legend}, not {request.crosswalk}. Leave "
            "it out."
        )
    other_legend = request.crosswalk or (meanings.legend if meanings else "")
    series, known = _found(request, maps, area, store, on_found, other_legend, request.level)
    settings = Settings(
        name=product_name(
            request.name,
            "whole" if area is None else f"area-{hashlib.sha256(area.wkb).hexdigest()[:8]}",
            other_legend,
            request.level,
            series.suffix,
        ),
        themes=load_themes() if request.themes is None else request.themes,
        degradation=meanings,
        crosswalk=Path(other_legend).stem,
        level=request.level,
        minimum_mapping_unit=request.minimum_mapping_unit,
        uncertainty=known,
        notes=(request.note,) if request.note else (),
        overwrite=request.overwrite,
    )
    return series, known, publish_change(store, series, settings, on_progress, run)


def make_temporal(
    request: TemporalRequest,
    maps: str,
    area: BaseGeometry | None,
    store: Store,
    on_progress: Progress = _unheard,
    on_found: Found = _any,
    run: Run = in_process,
) -> tuple[Series, Uncertainty, CorrectedAccount]:
    """Publish the years of a series corrected together in `lulc-temporal`, those of 30 m apart; see `make_change`."""
    from services.change.corrected_series import correct_series
    from services.change.correction import Settings, transition_matrix
    from services.change.error_matrix import error_matrix_of

    matrix = request.error_matrix
    given = error_matrix_of(matrix.classes, matrix.counts) if matrix else None
    series, known = _found(request, maps, area, store, on_found)
    settings = Settings(
        error_matrix=given,
        prior=request.prior,
        transition=None if request.transitions is None else transition_matrix(request.transitions, series.legend.names),
        repeated=request.repeated,
        change_weight=request.change_weight,
        accuracy=known.published,
        reference=known.reference,
    )
    made = correct_series(series, store, settings, overwrite=request.overwrite, on_progress=on_progress, run=run)
    return series, known, made


def make_zonal(
    request: ZonalRequest,
    maps: str,
    zones: Zones,
    known_as: str,
    store: Store,
    on_progress: Progress = _unheard,
    on_found: Found = _any,
    run: Run = in_process,
) -> tuple[Uncertainty, ZonalAccount]:
    """Publish cover and change by zone in the collection `lulc-zonal`; see `make_change`.

    Args:
        request: what is asked for.
        maps: see `make_change`.
        zones: to be told.
        known_as: what the zones are called where the request has no name for them.
        store: the output.
        on_progress: see `Progress`.
        on_found: see `Found`.
        run: does the work place by place.

    Returns:
        What is known of the true figures; what was published.
    """
    from services.change.zonal_publish import ZonalSettings, publish_zonal
    from services.change.zonal_tables import Ratio

    ground = box(*zones.frame.total_bounds).buffer(0.05, join_style="mitre")
    series, known = _found(request, maps, ground, store, on_found, request.crosswalk, request.level, least=1)
    # Of zones whose name has no letter that may stand in an ID.
    default = known_as if re.search("[a-z0-9]", known_as.lower()) else "zones"
    settings = ZonalSettings(
        name=product_name(request.name, default, request.crosswalk, request.level, series.suffix),
        shown=request.shown,
        crosswalk=Path(request.crosswalk).stem,
        level=request.level,
        ratio=Ratio.parse(request.ratio, series.legend.names) if request.ratio else None,
        uncertainty=known,
        overwrite=request.overwrite,
    )
    return known, publish_zonal(store, series, zones, settings, on_progress, run)


def draw_sample(
    request: DesignRequest,
    maps: str,
    area: BaseGeometry | None,
    zones: geopandas.GeoDataFrame | None = None,
    on_progress: Progress = _unheard,
    on_found: Found = _any,
) -> tuple[Design, list[Drawn]]:
    """Draw a reference sample; see `make_change`.

    Args:
        request: what is asked for.
        maps: see `make_change`.
        area: see `make_change`.
        zones: for which areas are to be told, see `services.change.zones.read_zones`; None: none.
        on_progress: see `Progress`.
        on_found: see `Found`.
    """
    from services.change.designing import Wishes, make_design

    series = open_maps(maps, request.years, area, collection=request.collection, asset=request.asset)
    on_found(series)
    wishes = Wishes(
        standard_error=request.standard_error,
        size=request.size,
        interest=request.interest,
        expected=request.expected_accuracy,
        merge_below=request.merge_below / 100,
        seed=request.seed,
    )
    return make_design(series, wishes, zones, on_progress)


def report_sample(
    request: ReportRequest,
    design: Design,
    sample: Path,
    store: Store,
    maps: str = "",
    on_progress: Progress = _unheard,
    on_found: Found = _any,
) -> tuple[Report, str, bool]:
    """Estimate from an interpreted sample and publish in the collection `lulc-accuracy`; see `make_change`.

    Args:
        request: what is asked for.
        design: from which the sample was drawn.
        sample: the sample, filled in: GeoPackage, GeoJSON or CSV.
        store: the output.
        maps: other maps to assess, see `make_change`; empty: those that it was drawn from.
        on_progress: see `Progress`; of other maps.
        on_found: see `Found`; of other maps.

    Returns:
        The report, the key of its item's JSON, and whether it was written; it is not if the same report stands there.
    """
    from services.change.accuracy_item import publish_report
    from services.change.accuracy_page import write_report
    from services.change.accuracy_report import make_report
    from services.change.interpretation import read_interpreted
    from services.change.other_maps import look_up

    read = read_interpreted(design, sample)
    other = None
    if maps:
        area = shape(design.geometry)
        series = open_maps(maps, design.years, area, collection=request.collection, asset=request.asset)
        on_found(series)
        other = look_up(series, design, on_progress)
    report = make_report(design, read, other)
    places = sorted({one.place for one in design.sample})
    subject = request.name or (places[0] if len(places) == 1 else f"{len(places)}-places")
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        files = write_report(report, design, Path(folder))
        (Path(folder) / "design.json").write_text(design.model_dump_json(indent=1))
        files.append(Path(folder) / "design.json")
        key, written = publish_report(store, report, design, files, sample, subject, overwrite=request.overwrite)
    return report, key, written


def _found(
    request: SeriesRequest,
    maps: str,
    area: BaseGeometry | None,
    store: Store,
    on_found: Found,
    legend: str = "",
    level: int | None = None,
    least: int = 2,
) -> tuple[Series, Uncertainty]:
    """The maps, at a level and in another legend where they are named, and what is known of their accuracy."""
    from services.change.crosswalks import crosswalked, load_crosswalk
    from services.change.uncertainty import find_uncertainty

    crosswalk = load_crosswalk(legend) if legend else None
    asked = {"collection": request.collection, "asset": request.asset}
    series = open_series(maps, request.years, area, **asked, level=level, least=least)
    on_found(series)
    product = crosswalked(series, crosswalk) if crosswalk else series
    targets = crosswalk.targets if crosswalk else {}
    known = find_uncertainty(_catalogs(maps, store), series, product, request.accuracy, request.reference, targets)
    return product, known


def _catalogs(maps: str, store: Store) -> list[Store]:
    """Where a published sample may lie: the output, and the maps' catalog if it is another and no API."""
    if maps.partition("://")[0] not in BUCKETS and not Path(maps).is_dir():
        return [store]
    own = open_store(maps)
    return [store] if own.href("x") == store.href("x") else [store, own]
