"""What radar channels cost a network where they are missing, and give where they are there: on simulated scenes alone.

`python -m benchmarks.radar` writes a training set of simulated places (`pipelines.landscape`, the light made harder
than the simulator's own: each pixel's bands are 50 % off, each place's 30 %), with radar channels made as maps have
them: two passes a month of 4.4 looks, averaged, filtered. For each seed two networks learn for the same steps: one
from the six bands alone, one from radar, too, which half of its patches do not show. Both are exported and judged on
places of their own. Nothing here tells how well radar of real land is used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from catalog.chips import UNLABELLED, Chip, Pixels
from catalog.grid import RESOLUTION, Tile
from catalog.model import MODEL_CLASSES
from catalog.radar import ENL, ORBITS, RADAR_CHANNELS, encode
from catalog.radar_speckle import lee_filter
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import TrainingSet
from pipelines.landscape import CLOUD, Overpass, backscatter, land_cover
from services.inference import chips as learned
from services.inference import open_network
from services.inference.evaluate import as_wanted, predict
from services.inference.recipe import Recipe
from services.inference.release import export_checkpoint
from services.inference.train import train

SIDE = 128
PASSES = 2
_CLOUDY = (8, 9)
"""Of the scene classification."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=200, help="to learn from; half as many to be judged on")
    parser.add_argument("--epochs", type=int, default=24, help="of four crops a place")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder, "places")
        write_places(dataset, given.places)
        told = [_compared(dataset, Path(folder), seed, given.epochs) for seed in range(given.seeds)]
    names = list(told[0])
    for name in names:
        each = ", ".join(f"{100 * one[name].mean():.2f}" for one in told)
        low, high = _interval(np.mean([one[name] for one in told], axis=0))
        mean = 100 * np.mean([one[name] for one in told])
        print(f"{name}: {mean:.2f} % ({low:.2f} to {high:.2f} when the places are drawn anew); by seed {each}")
    print(json.dumps({name: [round(float(one[name].mean()), 5) for one in told] for name in names}))


def write_places(folder: Path, places: int) -> None:
    """Simulated places with light, radar and the true land cover, clouds among the labels."""
    made = TrainingSet(
        id="simulated-radar", title="Simulated places", description="Light and radar of simulated landscapes",
        bands=(*BANDS, *RADAR_CHANNELS), classes=MODEL_CLASSES,
    )  # fmt: skip
    store = open_store(str(folder))
    for number in range(places + places // 2):
        chip, pixels = _place(number, "train" if number < places else "validation")
        made.write_chip(store, chip, pixels)
    made.publish(store)


def _place(seed: int, split: str) -> tuple[Chip, Pixels]:
    random, tile = np.random.default_rng(seed), Tile.from_name("33UUU")
    col, row = (int(one) for one in random.integers(0, 9000, 2))
    x = tile.left + (col + np.arange(SIDE) + 0.5) * RESOLUTION
    y = tile.top - (row + np.arange(SIDE) + 0.5) * RESOLUTION
    day = datetime(2021, 1, 1, 10, 30, tzinfo=UTC) + timedelta(days=int(random.integers(365)))
    classes = land_cover(x, y, 0, 0.1, seed)
    light, scl = Overpass(day, 0, 0, 0.2, False, seed).look(classes, x, y)
    light *= np.exp(random.normal(0, 0.3, (len(BANDS), 1, 1)) + random.normal(0, 0.5, light.shape))
    radar = [one for orbit in ORBITS for one in _channels(classes, x, y, day, orbit == "ascending", seed, random)]
    image = np.concatenate([np.clip(light, 1, 20_000).astype(np.uint16), radar])
    labels = np.where(np.isin(scl, _CLOUDY), CLOUD, classes).astype(np.uint8)
    name = f"place-{seed:04d}"
    transform = (RESOLUTION, 0, x[0] - RESOLUTION / 2, 0, -RESOLUTION, y[0] + RESOLUTION / 2)
    return Chip(
        id=name, place=name, split=split, scene=name, level="L2A", source="simulated", date=day, epsg=tile.epsg,  # type: ignore[arg-type]
        transform=transform, shape=(SIDE, SIDE),
    ), Pixels(image, labels)  # fmt: skip


def _channels(
    classes: np.ndarray, x: np.ndarray, y: np.ndarray, day: datetime, ascending: bool, seed: int,
    random: np.random.Generator,
) -> list[np.ndarray]:  # fmt: skip
    """VV and VH of one orbit direction, as a map has them."""
    mean = backscatter(classes, x, y, day, ascending, seed)
    power = mean * random.gamma(ENL, 1 / ENL, (PASSES, *mean.shape)).mean(axis=0)
    looks = np.full(classes.shape, ENL * PASSES, np.float32)
    return [encode(lee_filter(one.astype(np.float32), looks)) for one in power]


def _compared(dataset: Path, folder: Path, seed: int, epochs: int) -> dict[str, np.ndarray]:
    """Share of the pixels that are right, `[places]`, of each network and way of looking."""
    places = [chip for chip in learned.read_chips([str(dataset)], "validation") if (chip.classes <= CLOUD).any()]
    blind = [dataclasses.replace(chip, radar=None) for chip in places]
    files = {}
    for name, radar in (("light", ()), ("both", RADAR_CHANNELS)):
        recipe = Recipe(
            learn_from="labels", widths=(16, 32, 64), radar=radar, patch=64, batch=16, epochs=epochs, held_out=0,
            label_smoothing=0.1, seed=seed,
        )  # fmt: skip
        checkpoint = folder / f"{name}-{seed}.pt"
        train([str(dataset)], recipe, checkpoint, threads=1)
        files[name] = checkpoint.with_suffix(".onnx")
        export_checkpoint(checkpoint, [], files[name], name, "1")
    light, both = _right(files["light"], places), _right(files["both"], blind)
    seen = _right(files["both"], places)
    print(f"seed {seed}: {light.mean():.4f}, {both.mean():.4f} without radar, {seen.mean():.4f} with it", flush=True)
    return {
        "trained without radar": light,
        "trained with radar, radar missing": both,
        "trained with radar, radar there": seen,
        "difference where radar is missing": both - light,
        "difference where radar is there": seen - light,
    }


def _right(file: Path, places: list[learned.Chip]) -> np.ndarray:
    network = open_network(str(file))
    found = [predict(network, as_wanted(chip, network.spec)).argmax(axis=0) for chip in places]
    known = [chip.classes != UNLABELLED for chip in places]
    return np.array([(one == chip.classes)[k].mean() for one, chip, k in zip(found, places, known, strict=True)])


def _interval(shares: np.ndarray) -> tuple[float, float]:
    """Of the mean over places, per cent: 2.5th and 97.5th percentile of 2,000 draws of them."""
    random = np.random.default_rng(0)
    means = shares[random.integers(0, len(shares), (2000, len(shares)))].mean(axis=1)
    low, high = np.percentile(100 * means, (2.5, 97.5))
    return float(low), float(high)


if __name__ == "__main__":
    main()
