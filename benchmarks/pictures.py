"""Draws what the card of the shipped network shows, to be looked at: validation chips, and maps of whole scenes.

Run as `python -m benchmarks.pictures TRAINING SCENES FOLDER`, where TRAINING was made by `landloom dataset` and SCENES
is a static catalog with the scenes of `_SCENES`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pystac
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window, from_bounds

from catalog.legend import Legend, load_legend
from services.evaluation.pictures import in_colours, true_colour
from services.inference import DEFAULT_MODEL, open_network
from services.inference.chips import Chip, read_chips
from services.inference.evaluate import evaluate_network

CHIPS = {
    "Andalusia": "andalusia-20180805_01_01",
    "Vietnam": "sr-vietnam_00_00",
    "Iceland": "sr-iceland_00_00",
    "Belgium": "belgium-202105_00_00",
    "New Zealand": "newzealand-20201002_00_00",
    "Australia": "sr-australia_00_00",
    "Saskatchewan": "satclip-saskatchewan-322265_00_00",
    "Sea": "hydro-1_00_00",
}


@dataclass(frozen=True)
class Place:
    """One to be mapped."""

    title: str
    scene: str
    """A word in the IDs of its scenes."""
    shown: str
    """A word in the ID of the scene that is drawn."""
    year: int


_SCENES = (
    Place("New Zealand, one L1C scene, 2 October 2020", "newzealand", "newzealand", 2020),
    Place("Rufiji, 3 scenes of 2019 (image: 9 August)", "rufiji", "20190809", 2019),
    Place("Belgium, 10 months (image: June 2021)", "belgium", "202106", 2021),
)
_THAILAND = Place("Thailand, one L2A scene, 23 February 2020", "T48QUE", "T48QUE", 2020)


def draw_chips(chips: Sequence[Chip], model: str) -> Figure:
    """Image, labels and what the network says, two chips a row."""
    network, by_id = open_network(model), {chip.id: chip for chip in chips}
    figure, axes = plt.subplots(len(CHIPS) // 2, 6, figsize=(12.4, 9.2), layout="compressed")
    for number, (name, chip_id) in enumerate(CHIPS.items()):
        chip, here = by_id[chip_id], axes.flat[3 * number : 3 * number + 3]
        _, (picture,) = evaluate_network(network, [chip], chip.id)
        for axis, (_, panel) in zip(here, picture.panels, strict=True):
            _show(axis, panel)
        here[0].set_title(f"{name}, {picture.caption.partition(', ')[2]}", loc="left", fontsize=10)
    _legend(figure, load_legend("ten"))
    return figure


def draw_maps(places: Sequence[Place], legend: str, scenes: Path, size: tuple[float, float]) -> Figure:
    """Scenes, and under each its map; of a single one beside it."""
    shape, drawn_with = (2, len(places)) if len(places) > 1 else (1, 2), load_legend(legend)
    figure, axes = plt.subplots(*shape, figsize=size, layout="compressed")
    codes_to_colours = {one.code: one.color for one in drawn_with.classes}
    colours = [codes_to_colours.get(code, "000000") for code in range(max(codes_to_colours) + 1)]
    for place, (scene, mapped) in zip(places, axes.reshape(2, -1).T, strict=True):
        image, codes = map_scene(place, legend, scenes)
        _show(scene, image)
        scene.set_title(place.title, fontsize=10)
        _show(mapped, in_colours(codes, colours, 0))
    _legend(figure, drawn_with)
    return figure


def map_scene(place: Place, legend: str, scenes: Path) -> tuple[np.ndarray, np.ndarray]:
    """A scene in true colour, `[H, W, 3]`, and the codes of the map of its ground, `[H, W]`, on the map's grid."""
    items = [one for one in pystac.Catalog.from_file(str(scenes)).get_items(recursive=True) if place.scene in one.id]
    drawn = next(one for one in items if place.shown in one.id)
    assert drawn.bbox
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [sys.executable, "-m", "pipelines", "map", "--source", str(scenes), "--year", str(place.year),
             "--legend", legend, "--bbox", ",".join(map(str, drawn.bbox)), "--out", out],
            check=True,
        )  # fmt: skip
        (published,) = Path(out).glob("lulc-annual/*/*/*.json")
        item = pystac.Item.from_file(str(published))
        with rasterio.open(item.assets["data"].get_absolute_href()) as codes:
            bands = []
            for band in ("B04", "B03", "B02"):
                with (
                    rasterio.open(drawn.assets[band].get_absolute_href()) as source,
                    WarpedVRT(source, crs=codes.crs, resampling=Resampling.bilinear) as there,
                ):
                    bounds = there.bounds
                    window = from_bounds(*bounds, transform=codes.transform).round_offsets().round_lengths()
                    shape = (int(window.height), int(window.width))
                    bands.append(there.read(1, out_shape=shape) * round(_scale(drawn, band) * 10_000))
            found = codes.read(1, window=Window(window.col_off, window.row_off, window.width, window.height))
    return true_colour(np.stack(bands)), found


def _scale(scene: pystac.Item, band: str) -> float:
    """Reflectance of one DN."""
    return float(scene.assets[band].extra_fields["raster:bands"][0]["scale"])


def _show(axis: Axes, picture: np.ndarray) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.axis("off")


def _legend(figure: Figure, legend: Legend) -> None:
    handles = [Patch(facecolor=f"#{one.color}", edgecolor="grey", label=one.title) for one in legend.classes]
    figure.legend(handles=handles, loc="outside lower center", ncols=(len(handles) + 1) // 2, frameon=False, fontsize=9)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", help="training set made by `landloom dataset`")
    parser.add_argument("scenes", type=Path, help="static catalog of the scenes")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    drawn = {
        "places": draw_chips(read_chips([arguments.training], "validation"), DEFAULT_MODEL),
        "three-places": draw_maps(_SCENES, "ten", arguments.scenes, (9.6, 6.8)),
        "thailand": draw_maps([_THAILAND], "nine", arguments.scenes, (9.3, 5.0)),
    }
    for name, figure in drawn.items():
        figure.savefig(arguments.folder / f"{DEFAULT_MODEL}-{name}.png", dpi=100)


if __name__ == "__main__":
    main()
