"""The Rufiji delta, 2016 to 2019: maps, change and corrected series of real scenes, and what NDVI says was cleared.

`python -m tests.real.rufiji PICTURE` maps it, prints the figures, and draws where they lie.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy.ndimage import binary_dilation

from catalog.store import open_store
from services.change.corrected_series import correct_series
from services.change.correction import Settings as Correction
from services.change.persistence import CHANGED, KINDS, UNCONFIRMED
from services.change.publish import publish_change
from services.change.series import open_series
from services.change.settings import Settings
from services.change.themes import load_themes
from services.inference import DEFAULT_MODEL
from tests.pipelines.running import landloom, map_tiles

SCENES = Path(__file__).parents[2].parent / "shared" / "data" / "scenes"
TILE, YEARS, DATES = "37MEM", (2016, 2017, 2018, 2019), ("20160710", "20190615")
WATER_DATES = ("20160710", "20180819", "20190610", "20190615", "20190809")
"""Those with little cloud, at several heights of the tide."""
TREES = 2
HECTARES = 0.01
"""Of a pixel."""


@dataclass(frozen=True)
class Rufiji:
    """All on the maps' grid, cropped to the scenes."""

    days: np.ndarray
    """Codes of the maps of single scenes, 10 July 2016 and 15 June 2019, `[2, H, W]`."""
    maps: np.ndarray
    """Codes of the annual maps, `[4, H, W]`."""
    kind: np.ndarray
    """Of change, as the persistence product has it, `[H, W]`."""
    series: np.ndarray
    """Codes of the corrected series, `[4, H, W]`."""
    land: np.ndarray
    """Mapped in all years, and not within 40 m of open water, bool `[H, W]`."""
    cleared: np.ndarray
    """NDVI above 0.75 in 2016 and below 0.65 in 2019, on land: compares two dates, and is not the truth."""
    grown: np.ndarray
    """The other way."""

    def lost(self) -> dict[str, np.ndarray]:
        """Where each product says that trees of 2016 are none in 2019, on land."""
        maps = _lost(self.maps)
        told = {"maps of the two dates": _lost(self.days), "annual maps": maps}
        told |= {f"  {KINDS[kind][0].replace('_', ' ')}": maps & (self.kind == kind) for kind in CHANGED}
        told |= {"  confirmed": maps & (self.kind != UNCONFIRMED), "temporal model": _lost(self.series)}
        return {name: one & self.land for name, one in told.items()}


def measure(out: Path) -> Rufiji:
    """Map, publish what changed, correct the series, and compare with NDVI.

    Args:
        out: a folder for all that is published.
    """
    map_tiles(SCENES, out, Path(DEFAULT_MODEL), tiles=TILE, years=YEARS, scores=True)
    for day in DATES:
        period = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        landloom("map", "--source", SCENES, "--tiles", TILE, "--period", f"{period}/{period}", "--out", out)
    store, series = open_store(str(out)), open_series(str(out), YEARS)
    publish_change(store, series, Settings("rufiji", load_themes()))
    correct_series(series, store, Correction())
    files = {
        "days": [f"lulc-period/{TILE}/{day}-{day}/*/data.tif" for day in DATES],
        "maps": [f"lulc-annual/{TILE}/{year}/*/data.tif" for year in YEARS],
        "kind": [f"lulc-change/{TILE}/**/persistence.tif"],
        "series": [f"lulc-temporal/{TILE}/{year}/*/data.tif" for year in YEARS],
    }
    found = {name: [_one(out, pattern) for pattern in patterns] for name, patterns in files.items()}
    with rasterio.open(found["maps"][0]) as source:
        profile = source.profile
    rows, cols = (slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(_read(found["maps"][0])))
    codes = {name: np.stack([_read(path)[rows, cols] for path in paths]) for name, paths in found.items()}
    bands = {(day, band): _on_grid(day, band, profile)[rows, cols] for day in DATES for band in ("B04", "B08")}
    before, after = (
        (bands[day, "B08"] - bands[day, "B04"]) / np.maximum(bands[day, "B08"] + bands[day, "B04"], 1) for day in DATES
    )
    shores = ([_on_grid(day, band, profile)[rows, cols] for band in ("B03", "B08")] for day in WATER_DATES)
    water = np.any([green > infrared for green, infrared in shores], axis=0)
    land = (codes["maps"] > 0).all(axis=0) & ~binary_dilation(water, iterations=4)
    return Rufiji(
        days=codes["days"],
        maps=codes["maps"],
        kind=codes["kind"][0],
        series=codes["series"],
        land=land,
        cleared=land & (before > 0.75) & (after < 0.65),
        grown=land & (before < 0.65) & (after > 0.75),
    )


def table(rufiji: Rufiji) -> str:
    """What each product says was cleared, and how much of it NDVI says as well, in hectares."""
    cleared = rufiji.cleared.sum()
    lines = [f"{'trees lost, ha':24}{'claimed':>9}{'of NDVI':>9}{'share':>7}{'else':>7}{'right':>7}"]
    for name, lost in rufiji.lost().items():
        both = (lost & rufiji.cleared).sum()
        shares = f"{both / cleared:7.0%}{(lost.sum() - both) * HECTARES:7.1f}{both / max(1, lost.sum()):7.0%}"
        lines.append(f"{name:24}{lost.sum() * HECTARES:9.1f}{both * HECTARES:9.1f}{shares}")
    return "\n".join(
        [*lines, f"NDVI: {cleared * HECTARES:.1f} ha cleared, {rufiji.grown.sum() * HECTARES:.1f} ha grown"]
    )


def draw(rufiji: Rufiji, picture: Path) -> None:
    """Three maps of trees lost: those NDVI says as well, those it does not, and those that are missed."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    kinds = {"NDVI and product": "#1a9850", "product alone": "#d7191c", "NDVI alone": "#2b83ba"}
    shown = {name: rufiji.lost()[name] for name in ("annual maps", "  confirmed", "temporal model")}
    told = np.any([rufiji.cleared, *shown.values()], axis=0)
    rows, cols = (slice(max(0, int(at.min()) - 15), int(at.max()) + 15) for at in np.nonzero(told))
    figure = Figure((11, 6.2), layout="constrained")
    for axis, (name, lost) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        image = np.full((*lost.shape, 3), 1.0)
        image[rufiji.maps[0] == TREES] = 0.93
        image[~rufiji.land & (rufiji.maps[0] > 0)] = (0.80, 0.87, 0.95)
        parts = lost & rufiji.cleared, lost & ~rufiji.cleared, ~lost & rufiji.cleared
        for part, color in zip(parts, kinds.values(), strict=True):
            image[part] = [number / 255 for number in bytes.fromhex(color[1:])]
        axis.imshow(image[rows, cols], interpolation="nearest")
        axis.set_title(name.strip(), loc="left", fontsize=10)
        axis.set_axis_off()
    figure.legend(
        handles=[Patch(color=color, label=name) for name, color in kinds.items()],
        loc="outside lower left",
        ncols=3,
        frameon=False,
    )
    figure.savefig(picture, dpi=90)


def _lost(codes: np.ndarray) -> np.ndarray:
    return (codes[0] == TREES) & (codes[-1] != TREES) & (codes[-1] > 0)


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


def _one(out: Path, pattern: str) -> Path:
    (path,) = out.glob(pattern)
    return path


def _on_grid(day: str, band: str, profile: dict) -> np.ndarray:
    """A band on the maps' grid, float32 `[H, W]`, 0 where there is no data."""
    (path,) = (SCENES / "sentinel-2-l2a" / f"S2_MSIL2A_{day}_T{TILE}_rufiji").glob(f"*{band}.tif")
    values = np.zeros((profile["height"], profile["width"]), np.float32)
    with rasterio.open(path) as source:
        reproject(
            rasterio.band(source, 1),
            values,
            dst_transform=profile["transform"],
            dst_crs=profile["crs"],
            resampling=Resampling.nearest,
        )
    return values


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder))
    print(table(measured))
    draw(measured, Path(sys.argv[1]))
