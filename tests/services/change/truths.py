"""Two maps with known errors and the truth behind them, and interpreters who see the truth."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np

from services.change.design import Design
from services.change.designing import Wishes, make_design
from services.change.interpretation import Interpreted, read_interpreted, reference_columns, write_sample
from services.change.strata import open_maps
from tests.services.change.maps import CROPS, TREES, WATER, write_years

SIZE = 400


def truth_and_maps(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes of two years, uint8 `[400, 400]` each: a tenth of the trees become crops; a twentieth of both maps errs."""
    random = np.random.default_rng(seed)
    before = np.full((SIZE, SIZE), TREES, np.uint8)
    before[:, 220:] = CROPS
    before[:60] = WATER
    after = before.copy()
    after[200:260, 100:220] = CROPS
    mapped = [one.copy() for one in (before, after)]
    for one in mapped:
        wrong = random.random(one.shape) < 0.05
        one[wrong] = random.choice(np.array([TREES, CROPS, WATER], np.uint8), int(wrong.sum()))
    return [before, after], mapped


def designed(folder: Path, maps: list[np.ndarray], wishes: Wishes, zones: geopandas.GeoDataFrame | None = None):
    """A design of the maps of 2017 and after, and its units."""
    folder.mkdir(parents=True, exist_ok=True)
    series = open_maps(write_years(folder, *maps), [2017 + k for k in range(len(maps))])
    return make_design(series, wishes, zones)


def interpreted(design: Design, drawn, truths: list[np.ndarray], folder: Path) -> tuple[Path, Interpreted]:
    """The sample, filled in with the truth as an interpreter would, and read back."""
    write_sample(design, drawn, folder)
    frame = geopandas.read_file(folder / "sample.gpkg")
    title = {one.value: one.name for one in design.classes}
    where = {one.unit: (one.row, one.col) for one in design.sample}
    for column, truth in zip(reference_columns(design), truths, strict=True):
        frame[column] = [title[int(truth[where[unit]])] for unit in frame["unit"]]
    frame.to_file(folder / "filled.gpkg", driver="GPKG")
    return folder / "filled.gpkg", read_interpreted(design, folder / "filled.gpkg")


def seen_by_all(design: Design, truths: list[np.ndarray]) -> Interpreted:
    """The same without files."""
    number = {one.value: k for k, one in enumerate(design.classes)}
    rows, cols = ([getattr(one, what) for one in design.sample] for what in ("row", "col"))
    return Interpreted(
        unit=np.arange(len(design.sample)),
        stratum=np.array([one.stratum for one in design.sample]),
        cell=np.array([one.cell for one in design.sample]),
        reference=np.array([[number[int(code)] for code in truth[rows, cols]] for truth in truths]),
        zone=np.array([one.zone for one in design.sample]),
        missing={},
    )
