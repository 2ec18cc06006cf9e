"""A simulated landscape whose land cover is known, and how Sentinel-2 sees it on one date.

Land cover and clouds are functions of UTM coordinates, so that neighbouring products show the same ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from pipelines.phenology import spectra_of

SPECTRA = np.array(
    [
        [580, 673, 437, 250, 141, 104],
        [276, 491, 314, 2939, 1577, 760],
        [456, 865, 510, 5110, 2680, 1390],
        [624, 692, 702, 1365, 1213, 772],
        [820, 1137, 1300, 2858, 2754, 2178],
        [534, 808, 1044, 2500, 2982, 1921],
        [1500, 1600, 1700, 2000, 2100, 1900],
        [1930, 2906, 3942, 4824, 6105, 5591],
        [7328, 6864, 7260, 7464, 498, 508],
        [5600, 5500, 5400, 5700, 4300, 3300],
    ],
    np.float32,
)
"""Surface reflectance x 10,000 of each model class, `[classes, bands]`: medians of confident L2A pixels of real scenes,
but for built (whose median there is that of gardens) and cloud, which stand for roofs and for a thick cloud."""
WATER, TREES, GRASS, FLOODED, CROPS, SHRUB, BUILT, BARE, SNOW, CLOUD = range(len(MODEL_CLASSES))
BACKSCATTER = np.array(
    [
        [-19.0, -26.0],
        [-9.0, -14.5],
        [-13.0, -20.0],
        [-6.5, -15.0],
        [-11.0, -17.5],
        [-11.5, -17.5],
        [-4.0, -11.0],
        [-15.0, -23.0],
        [-16.0, -23.5],
    ],
    np.float32,
)
"""gamma0 of each class but cloud in dB, `[classes, VV and VH]`: round numbers of the order that textbooks give for C
band at 30 to 40 degrees (Ulaby and Dobson 1989, "Handbook of radar scattering statistics for terrain"), not measured.
Trunks in water and walls on streets turn the beam back, so that flooded vegetation and built are bright."""
CHANGE_CELL = 400
"""Metres: land cover changes in squares of this size."""


def land_cover(x: np.ndarray, y: np.ndarray, year: int, change: float, seed: int) -> np.ndarray:
    """True land cover.

    Args:
        x: eastings of columns, metres, `[W]`.
        y: northings of rows, metres, `[H]`.
        year: counted from 0.
        change: share of cells that change from year to year.
        seed: of the landscape.

    Returns:
        Model classes, uint8 `[H, W]`.
    """
    height = _noise(x, y, 6000, seed) + 0.4 * _noise(x, y, 1500, seed + 1) + 0.15 * _noise(x, y, 400, seed + 2)
    moisture = _noise(x, y, 4000, seed + 3) + 0.5 * _noise(x, y, 900, seed + 4)
    river = np.abs(_noise(x, y, 9000, seed + 5) + 0.05 * _noise(x, y, 600, seed + 6))
    town = _noise(x, y, 3000, seed + 7) + 0.3 * _noise(x, y, 500, seed + 8)
    classes = np.full(height.shape, GRASS, np.uint8)
    classes[moisture < -0.25] = SHRUB
    classes[moisture > 0.2] = TREES
    parcels = _cells(x, y, (240, 160), seed + 9)
    classes[(np.abs(height) < 0.45) & (parcels < 0.75) & (moisture < 0.35)] = CROPS
    classes[moisture < -0.75] = BARE
    grain = _cells(x, y, (40, 40), seed + 10)
    classes[(town > 0.55) & (grain < 0.8)] = BUILT
    classes[height > 0.95] = BARE
    classes[height > 1.1] = SNOW
    classes[(height < -0.85) | (river < 0.07)] = FLOODED
    classes[(height < -0.95) | (river < 0.04)] = WATER
    for passed in range(1, year + 1):
        changing = _cells(x, y, (CHANGE_CELL, CHANGE_CELL), seed + 100 + passed) < change
        before = classes.copy()
        classes[changing & (before == TREES)] = CROPS
        classes[changing & ((before == GRASS) | (before == SHRUB))] = BUILT
        classes[changing & (before == CROPS)] = GRASS
    return classes


@dataclass(frozen=True)
class Overpass:
    """One date."""

    day: datetime
    year: int
    """Counted from 0."""
    number: int
    """Within the year."""
    cloud: float
    wedge: bool
    seed: int
    phenology: bool = False
    """Vegetation changes through the year as `pipelines.phenology` says, instead of a little."""

    def clouds(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Opacity, 0-1, `[H, W]`."""
        seed = self.seed + 1000 * (self.year + 1) + self.number
        share = self.cloud * (0.2 + 1.6 * _hash(np.array([self.number]), np.array([self.year]), seed)[0])
        field = _noise(x, y, 5000, seed) + 0.35 * _noise(x, y, 900, seed + 500)
        # The field is about normal with this deviation; its quantile gives the share.
        limit = 0.42 * float(np.sqrt(2) * _inverse_erf(1 - 2 * min(share, 0.98)))
        return np.clip((field - limit) * 5, 0, 1) if share > 0 else np.zeros(field.shape, np.float32)

    def look(self, classes: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reflectance x 10,000 `[bands, H, W]`, and scene classification `[H, W]`, over a true land cover `[H, W]`."""
        season = float(np.cos(2 * np.pi * (self.day.timetuple().tm_yday - 200) / 365))
        # In winter fields and meadows are drier: less infrared, more red and short-wave infrared.
        winter = np.array([1.05, 1.02, 1.15, 0.8, 1.05, 1.1], np.float32)
        spectra = SPECTRA.copy()
        spectra[[CROPS, GRASS]] *= 1 + (winter - 1) * np.float32((1 - season) / 2)
        marsh, frost = 10, 11
        spectra = np.vstack([spectra, 0.7 * SPECTRA[FLOODED] + 0.3 * SPECTRA[WATER], SPECTRA[SNOW]])
        shown = classes.copy()
        shown[(classes == FLOODED) & (_noise(x, y, 300, self.seed + 20) > season)] = marsh
        other = None
        if self.phenology:
            spectra, other = self._grown(shown, spectra, x, y)
            # No field is pure: a part of each, mostly a small one, looks like something else that grows.
            mixed = 0.7 * _cells(x, y, (240, 160), self.seed + 25) ** 2
            mixed = np.where(np.isin(classes, (TREES, GRASS, FLOODED, CROPS, SHRUB)), mixed, 0).astype(np.float32)
        if season < -0.8:
            shown[(_noise(x, y, 6000, self.seed) > 0.5) & (classes != WATER)] = frost
        light = 1 + 0.05 * _noise(x, y, 60, self.seed + 21) + 0.03 * (_cells(x, y, (10, 10), self.seed + 22) - 0.5)
        opacity = self.clouds(x, y)
        shadow = (self.clouds(x + 320, y - 260) > 0.5) & (opacity < 0.1)
        light[shadow] *= np.float32(0.4)
        cloudy = opacity > 0
        reflectance = np.empty((len(BANDS), *classes.shape), np.float32)
        for number in range(len(BANDS)):
            ground = spectra[:, number][shown]
            if other is not None:
                ground += (spectra[:, number][other] - ground) * mixed
            np.multiply(ground, light, out=reflectance[number])
            thick = opacity[cloudy]
            reflectance[number][cloudy] = reflectance[number][cloudy] * (1 - thick) + SPECTRA[CLOUD, number] * thick
        scl = np.full(len(spectra), 4, np.uint8)
        scl[:12] = (6, 4, 4, 4, 5, 4, 5, 5, 11, 9, 4, 11)
        scl = scl[shown]
        scl[shadow] = 3
        scl[opacity > 0.2] = 8
        scl[opacity > 0.6] = 9
        return reflectance, scl

    def _grown(
        self, shown: np.ndarray, spectra: np.ndarray, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put the vegetation of the day in the place of the classes `[H, W]`.

        Returns:
            The spectra that are shown; and which of them grows among what is shown, `[H, W]`.
        """
        named = {name: number for number, name in enumerate(MODEL_CLASSES)}
        today, rows = spectra_of(self.day.timetuple().tm_yday, SPECTRA, named)
        first, fields = len(spectra), _cells(x, y, (240, 160), self.seed + 23)
        stands = _cells(x, y, (400, 400), self.seed + 24)
        of_class = {
            GRASS: [("grass", np.ones(fields.shape, bool))],
            SHRUB: [("shrub", np.ones(fields.shape, bool))],
            CROPS: [("winter crops", fields < 0.6), ("summer crops", fields >= 0.6)],
            TREES: [("leafy trees", stands < 0.5)],
            FLOODED: [("marsh", np.ones(fields.shape, bool))],
        }
        truth = shown.copy()
        truth[shown == len(SPECTRA)] = FLOODED
        late = (100 * fields).astype(int)
        for number, kinds in of_class.items():
            for kind, where in kinds:
                which = np.array(rows[kind])[late % len(rows[kind])] + first
                np.copyto(shown, which.astype(shown.dtype), where=(truth == number) & where)
        others = np.array([first + rows[kind][0] for kind in ("grass", "shrub", "leafy trees", "summer crops")])
        among = others[(len(others) * _cells(x, y, (240, 160), self.seed + 26)).astype(int) % len(others)]
        return np.vstack([spectra, today]), among


def backscatter(
    classes: np.ndarray, x: np.ndarray, y: np.ndarray, day: datetime, ascending: bool, seed: int
) -> np.ndarray:
    """Mean gamma0 of a true land cover, without speckle.

    Besides the class it depends on the ground's roughness, by about 1 dB from place to place, on slopes that the two
    orbit directions see from two sides, and for crops on the season, by 2 dB.

    Args:
        classes: `[H, W]`, no cloud among them.
        x: eastings of columns, metres, `[W]`.
        y: northings of rows, metres, `[H]`.
        day: of the pass.
        ascending: orbit direction.
        seed: of the landscape.

    Returns:
        float32 `[2, H, W]`, VV and VH in linear power.
    """
    summer = float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 200) / 365))
    level = BACKSCATTER.copy()
    level[CROPS] += 2 * summer
    roughness = 2 * _noise(x, y, 80, seed + 30) + (1 if ascending else -1) * _noise(x, y, 800, seed + 31)
    decibels = np.moveaxis(level[classes], -1, 0) + roughness
    return np.power(np.float32(10), decibels / 10, dtype=np.float32)


def _noise(x: np.ndarray, y: np.ndarray, wavelength: float, seed: int) -> np.ndarray:
    """Smooth noise, about -1..1, `[H, W]`: random values on a lattice, joined by cubics; the same wherever cut out."""
    (rows, along_y), (cols, along_x) = _joints(y, wavelength), _joints(x, wavelength)
    lattice = 2 * _hash(cols[np.newaxis, :], rows[:, np.newaxis], seed) - 1
    return along_y @ lattice @ along_x.T


def _joints(positions: np.ndarray, wavelength: float) -> tuple[np.ndarray, np.ndarray]:
    """Lattice points round positions, and the weights of each position on them."""
    scaled = positions / wavelength
    floor = np.floor(scaled).astype(np.int64)
    points = np.arange(floor.min(), floor.max() + 2)
    part = (scaled - floor).astype(np.float32)
    smooth = part * part * (3 - 2 * part)
    weights = np.zeros((len(positions), len(points)), np.float32)
    each = np.arange(len(positions))
    weights[each, floor - points[0]] = 1 - smooth
    weights[each, floor - points[0] + 1] = smooth
    return points, weights


def _cells(x: np.ndarray, y: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    """A random number 0-1 for each rectangle of a chequered plane, `[H, W]`."""
    cols, rows = np.floor(x / size[0]).astype(np.int64), np.floor(y / size[1]).astype(np.int64)
    first_col, first_row = cols.min(), rows.min()
    lattice = _hash(np.arange(first_col, cols.max() + 1)[None], np.arange(first_row, rows.max() + 1)[:, None], seed)
    return lattice[(rows - first_row)[:, None], (cols - first_col)[None]]


def _hash(col: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    """A random number 0-1 that depends on nothing but its arguments."""
    with np.errstate(over="ignore"):
        value = col.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ row.astype(np.uint64) * np.uint64(
            0xC2B2AE3D27D4EB4F
        )
        value ^= np.uint64(seed) * np.uint64(0x165667B19E3779F9)
        for _ in range(2):
            value ^= value >> np.uint64(29)
            value *= np.uint64(0xBF58476D1CE4E5B9)
        value ^= value >> np.uint64(32)
    return ((value >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)).astype(np.float32)


def _inverse_erf(value: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(value))
