"""The sample of pixels that interpreters look at: how many, how many in each stratum, and which.

Size and allocation follow Olofsson et al. (2014, Remote Sensing of Environment 148, 42-57). Pixels are drawn with
probabilities in proportion to their ground area, so that units stand for equal areas whatever the maps' projection.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.errors import BadInput
from services.change.blocks import MapUnreadable, opened
from services.change.series import Series
from services.change.strata import FEWEST_UNITS, Progress, Stratum, cell_blocks

_MOST = 1_000_000
"""Units of a sample: nobody interprets more."""


def sample_size(weights: np.ndarray, accuracy: np.ndarray, standard_error: float, units: int) -> int:
    """Units needed for a standard error of overall accuracy (Olofsson et al. 2014, Eq. 13; Cochran 1977, Eq. 5.25).

    Args:
        weights: shares of the strata in the area, `[H]`.
        accuracy: user's accuracy expected in each, 0 to 1, `[H]`.
        standard_error: wanted, 0 to 1.
        units: pixels that there are.

    Raises:
        BadInput: a standard error that is not possible.
    """
    if not 0 < standard_error < 0.5:
        raise BadInput(f"A standard error of {standard_error:g} is not possible. Give a share, as 0.01.")
    variance = accuracy * (1 - accuracy)
    size = (weights @ np.sqrt(variance)) ** 2 / (standard_error**2 + weights @ variance / units)
    if size > _MOST:
        raise BadInput(f"A standard error of {standard_error:g} needs {size:,.0f} units. Give a larger one, as 0.01.")
    return max(1, math.ceil(size))


def predicted_shares(weights: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Shares of truths expected in each stratum, `[H, H]`: its own with the accuracy, others as far as they are large.

    Args:
        weights: shares of the strata in the area, `[H]`.
        accuracy: user's accuracy expected in each, 0 to 1, `[H]`.
    """
    others = np.tile(weights, (len(weights), 1))
    np.fill_diagonal(others, 0.0)
    total = others.sum(axis=1, keepdims=True)
    return np.diag(accuracy) + others / np.where(total > 0, total, 1) * (1 - accuracy)[:, None]


def allocate(
    size: int, weights: np.ndarray, pixels: np.ndarray, shares: np.ndarray, interest: np.ndarray
) -> np.ndarray:
    """Units of each stratum that make the relative errors of some areas smallest, with at least 50 in each.

    The sum of the areas' squared relative errors, `sum_j sum_h W_h^2 p_hj (1 - p_hj) / n_h / A_j^2`, is least where
    `n_h` goes with `W_h sqrt(sum_j p_hj (1 - p_hj) / A_j^2)` (Neyman's allocation for several aims, Cochran 1977,
    section 5A.3). Where that is fewer than 50 units, a stratum gets 50, or all its pixels.

    Args:
        size: units in all; more where the least numbers ask for more.
        weights: shares of the strata in the area, `[H]`.
        pixels: of the strata, `[H]`.
        shares: expected of truth j in stratum h, `[H, L]`.
        interest: numbers of the truths whose areas are of interest.

    Returns:
        int64 `[H]`.
    """
    chosen = shares[:, interest]
    areas = weights @ chosen
    pull = weights * np.sqrt((chosen * (1 - chosen) / areas**2).sum(axis=1))
    least = np.minimum(FEWEST_UNITS, pixels)
    # Strata that are held at their least or at all of their pixels leave the rest to the others.
    held: dict[int, int] = {}
    while True:
        free = [h for h in range(len(pull)) if h not in held]
        left, drawn = size - sum(held.values()), pull[free].sum()
        ideal = {h: max(0, left) * (pull[h] / drawn if drawn else 1 / len(free)) for h in free}
        fixed = {h: int(least[h]) for h in free if ideal[h] <= least[h]} or {
            h: int(pixels[h]) for h in free if ideal[h] >= pixels[h]
        }
        if not fixed:
            break
        held |= fixed
    return np.array([held[h] if h in held else math.ceil(ideal[h]) for h in range(len(pull))], np.int64)


def predicted_errors(weights: np.ndarray, shares: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Standard errors expected of the truths' areas, as shares of the whole area, `[L]`.

    Args:
        weights: shares of the strata in the area, `[H]`.
        shares: expected of truth j in stratum h, `[H, L]`.
        units: of each stratum, `[H]`.
    """
    return np.sqrt((weights**2 / np.maximum(1, units - 1)) @ (shares * (1 - shares)))


@dataclass(frozen=True)
class Drawn:
    """One pixel of the sample."""

    stratum: int
    cell: int
    place: str
    row: int
    """Of the place's grid, cropped to the area of interest."""
    col: int
    geometry: BaseGeometry
    """The pixel, longitude and latitude."""
    lon: float
    lat: float


def draw(
    series: Series,
    strata: Sequence[Stratum],
    units: np.ndarray,
    seed: int,
    left_out: Container[str] = (),
    on_progress: Progress = lambda done, total: None,
) -> list[Drawn]:
    """Draw pixels at random from each stratum, without replacement, block by block.

    Every pixel gets a key, an exponential random number over its ground area; the smallest keys of a stratum are its
    sample (Efraimidis and Spirakis 2006). So one pass suffices, few candidates are held at a time, and the same seed
    draws the same pixels.

    Args:
        series: of one or two years.
        strata: of its cells.
        units: to draw from each, at most its pixels, `[H]`.
        seed: of the random numbers.
        left_out: places that could not be read when the cells were counted.
        on_progress: called with the places done and all.

    Returns:
        The units in random order, so that interpreters do not see the strata.

    Raises:
        BadInput: a place that was counted can no longer be read.
    """
    stratum_of = np.full(len(series.legend.classes) ** len(series.years), -1)
    for number, one in enumerate(strata):
        stratum_of[list(one.cells)] = number
    # Rows: key, place, row, column, cell.
    held = [np.zeros((0, 5)) for _ in strata]
    for number, place in enumerate(series.places):
        on_progress(number, len(series.places))
        if place.name in left_out:
            continue
        try:
            for part in cell_blocks(series, place):
                rows, cols = part.block.rows.start, part.block.cols.start
                keys = np.random.default_rng([seed, number, rows, cols]).standard_exponential(part.cell.size)
                keys /= part.hectares
                limits = np.array([own[-1, 0] if len(own) >= n else np.inf for own, n in zip(held, units, strict=True)])
                near = np.flatnonzero(keys < limits[stratum_of[part.cell]])
                row, col = (where[near] for where in np.nonzero(part.seen))
                found = np.stack(
                    [keys[near], np.full(near.size, number), row + rows, col + cols, part.cell[near]], axis=1
                )
                of = stratum_of[part.cell[near]]
                for h in np.unique(of):
                    both = np.concatenate([held[h], found[of == h]])
                    held[h] = both[np.argsort(both[:, 0], kind="stable")[: units[h]]]
        except MapUnreadable as error:
            raise BadInput(f"{place.name} was counted, and can no longer be read: {error}. Start again.") from error
    on_progress(len(series.places), len(series.places))
    drawn = [one for h, own in enumerate(held) for one in _placed(series, h, own)]
    order = np.random.default_rng([seed, 1]).permutation(len(drawn))
    return [drawn[k] for k in order]


def _placed(series: Series, stratum: int, held: np.ndarray) -> list[Drawn]:
    """Units of one stratum where they lie on the ground."""
    placed = []
    for number in np.unique(held[:, 1]).astype(int):
        place = series.places[number]
        with opened(series, place) as maps:
            to_lonlat = pyproj.Transformer.from_crs(maps.crs, 4326, always_xy=True)
            for _, _, row, col, cell in held[held[:, 1] == number].astype(int):
                # Lower left, lower right, upper right, upper left: anticlockwise on the ground.
                x, y = maps.transform @ (col + np.array([0, 1, 1, 0, 0.5]), row + np.array([1, 1, 0, 0, 0.5]))
                east, north = to_lonlat.transform(x, y)
                square = shapely.orient_polygons(shapely.Polygon(zip(east[:4], north[:4], strict=True)))
                lon, lat = float(east[4]), float(north[4])
                placed.append(Drawn(stratum, int(cell), place.name, int(row), int(col), square, lon, lat))
    return placed
