"""What a season tells of looks whose greenness through the year is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BadInput
from catalog.scenes import BANDS
from catalog.season import (
    FEWEST_LOOKS,
    SEASON_BANDS,
    SEASON_NODATA,
    SEASON_SCALE,
    STATISTICS,
    Season,
    indices,
)
from catalog.season_fit import harmonics

SHAPE = (40, 70)
MONTHLY = [10 + 30 * month for month in range(12)]


def day(number: int) -> datetime:
    return datetime(2021, 1, 1, 10, 30, tzinfo=UTC) + timedelta(days=number - 1)


def greenness(level: float, swing: float, peak: int, days: list[int]) -> np.ndarray:
    """NDVI of each day, `[days]`: a level, and a swing to both sides of it, highest on one day of the year."""
    return level + swing * np.cos(2 * np.pi * (np.array(days) - peak) / 365.25)


def look(ndvi: np.ndarray | float) -> np.ndarray:
    """Six bands of such an NDVI everywhere: red and infrared together reflect 40 %."""
    bands = np.full((len(BANDS), *SHAPE), 500, np.uint16)
    bands[BANDS.index("B04")] = np.rint(2000 * (1 - np.asarray(ndvi)))
    bands[BANDS.index("B08")] = np.rint(2000 * (1 + np.asarray(ndvi)))
    return bands


def season(folder: Path, ndvi: np.ndarray, days: list[int], clear: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Features of the whole block by name, in their own units, from a strip in its middle and the rest."""
    made = Season(BANDS, SHAPE, folder)
    for number, one in enumerate(days):
        made.add(day(one), look(ndvi[number]), np.ones(SHAPE, bool) if clear is None else clear[number])
    found = np.concatenate([made.features(slice(0, 32)), made.features(slice(32, 40))], axis=1)
    made.close()
    assert not any(folder.iterdir()), "the looks on disk are gone"
    units = [1 if name.endswith(("day", "looks")) else SEASON_SCALE for name in SEASON_BANDS]
    return {
        name: np.where(band == SEASON_NODATA, np.nan, band * unit)
        for name, band, unit in zip(SEASON_BANDS, found, units, strict=True)
    }


def test_a_wave_of_a_year_is_found_again(tmp_path: Path) -> None:
    found = season(tmp_path, greenness(0.5, 0.3, 196, MONTHLY), MONTHLY)
    assert found["ndvi_mean"] == pytest.approx(0.5, abs=0.005)
    assert found["ndvi_amplitude"] == pytest.approx(0.6, abs=0.02)
    assert np.abs(found["ndvi_peak_day"] - 196).max() <= 5
    assert found["ndvi_residual"].max() < 0.02
    assert found["ndvi_p10"].max() < 0.3 < found["ndvi_p50"].min() < 0.6 < found["ndvi_p90"].min()
    assert (found["looks"] == 12).all()


def test_percentiles_and_fit_are_those_of_numpy_whatever_looks_a_pixel_has(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    ndvi = random.uniform(-0.2, 0.9, (14, *SHAPE))
    days = sorted(random.choice(np.arange(1, 366), 14, replace=False).tolist())
    clear = random.random((14, *SHAPE)) < 0.6
    found = season(tmp_path, ndvi, days, clear)
    looks = clear.sum(axis=0)
    assert (found["looks"] == looks).all()
    angle = 2 * np.pi * np.array(days) / 365.25
    terms = np.stack([np.ones(14), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    ridge = np.diag([0, 0.0625, 0.0625, 0.25, 0.25])
    for row, col in random.integers(0, 40, (60, 2)):
        known = clear[:, row, col]
        values, x = ndvi[known, row, col], terms[known]
        for share in (10, 50, 90):
            assert found[f"ndvi_p{share}"][row, col] == pytest.approx(np.percentile(values, share), abs=2e-3)
        fit = np.linalg.solve(x.T @ x + ridge, x.T @ values)
        for name, term in zip(("mean", "cos1", "sin1", "cos2", "sin2"), fit, strict=True):
            assert found[f"ndvi_{name}"][row, col] == pytest.approx(term, abs=2e-3)
        residual = np.sqrt(((values - x @ fit) ** 2).mean())
        assert found["ndvi_residual"][row, col] == pytest.approx(residual, abs=2e-3)


def test_few_and_uneven_looks_make_no_wild_curve(tmp_path: Path) -> None:
    summer = [170, 180, 190, 200]
    found = season(tmp_path, np.array([0.6, 0.7, 0.62, 0.71]), summer)
    assert found["ndvi_amplitude"].max() < 0.5, "nothing was seen in winter"
    assert (found["looks"] == 4).all()
    plain = np.linalg.lstsq(harmonics(np.array(summer)), [0.6, 0.7, 0.62, 0.71], rcond=None)[0]
    assert np.abs(plain[1:]).max() > 1, "without a ridge it would be wild"


def test_no_peak_lies_in_months_that_nobody_saw(tmp_path: Path) -> None:
    days = [15, 45, 75, 105, 135, 165]
    found = season(tmp_path, greenness(0.4, 0.3, 240, days), days)
    assert found["ndvi_peak_day"].max() <= 165 + 20
    assert found["ndvi_amplitude"].max() < 0.6, "the swing of a whole year was not seen"


def test_a_block_that_nobody_saw_has_no_season(tmp_path: Path) -> None:
    found = season(tmp_path, np.empty(0), [])
    assert np.isnan(found["ndvi_p50"]).all() and (found["looks"] == 0).all()


def test_a_pixel_with_too_few_looks_has_percentiles_but_no_fit(tmp_path: Path) -> None:
    clear = np.zeros((12, *SHAPE), bool)
    clear[: FEWEST_LOOKS - 1, :, 0] = clear[:FEWEST_LOOKS, :, 1] = True
    found = season(tmp_path, np.full(12, 0.5), MONTHLY, clear)
    assert np.isnan(found["ndvi_mean"][:, 0]).all() and found["evi_p50"][0, 0] > 0
    assert not np.isnan(found["ndvi_mean"][:, 1]).any()
    assert all(np.isnan(found[f"{index}_{name}"][:, 2:]).all() for index in ("ndvi", "evi") for name in STATISTICS)
    assert (found["looks"][0, :3] == [2, 3, 0]).all()


@pytest.mark.parametrize(
    ("what", "blue", "red", "infrared"),
    [("dark water", 0.0004, 0.0001, 0.0003), ("snow", 0.95, 0.9, 0.85), ("blue glint", 0.6, 0.2, 0.1)],
)
def test_indices_do_not_run_away(what: str, blue: float, red: float, infrared: float) -> None:
    ndvi, evi = (float(one[0]) for one in indices(*(np.array([v], np.float32) for v in (blue, red, infrared))))
    assert abs(ndvi) < 0.4 and abs(evi) < 0.3, what


def test_green_fields_have_the_indices_of_the_literature() -> None:
    ndvi, evi = (float(one[0]) for one in indices(*(np.array([v], np.float32) for v in (0.03, 0.05, 0.45))))
    assert ndvi == pytest.approx(0.8) and evi == pytest.approx(2.5 * 0.4 / (0.45 + 0.3 - 0.225 + 1))


def test_bands_that_a_season_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="B08 is not among the bands"):
        Season(("B02", "B03", "B04"), SHAPE, tmp_path)
