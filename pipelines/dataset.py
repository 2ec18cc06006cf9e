"""The Beam pipeline that makes a training set from a folder of chips.

The folder holds an index, `chips.csv` or `index.csv`, with a row a chip (`id`, `split`; `place`, or `group`; and
`scene`, `level`, `source`, `teacher`, `date`, `sun_zenith`, `biome` where known), and rasters beside it or in `chips/`:
`{id}_image.tif` with its bands named, and labels in one of two forms: `{id}_label.tif` with numbers of classes, 255
where nothing is known; or a teacher's probabilities `{id}_teacher.tif` (uint8, 250 = 1), learned where
`{id}_valid.tif` is 1; or both: then labels correct the teacher where they are known. `{id}_cloud.tif` marks cloud where
it is there.

Every row is accounted for: written, written before, or dropped with the reason.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import rasterio
from pydantic import ValidationError
from rasterio.errors import RasterioError

from catalog.chips import UNLABELLED, Chip, Pixels, place_of
from catalog.errors import BadInput
from catalog.legend import CLOUD
from catalog.model import MODEL_CLASSES
from catalog.store import Store, open_store
from catalog.training_set import TrainingSet, is_item, open_training_set, summary
from pipelines.runner import run_pipeline, watched

_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_WEIGHT = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Report:
    """What became of a folder's chips: indexed = written + dropped."""

    indexed: int
    written: int
    dropped: dict[str, str]
    """Chip to reason."""
    splits: dict[str, dict[str, Any]]
    """Chips, places and labelled pixels of each class, by split."""


def make_training_set(
    folder: Path,
    out: str,
    name: str,
    beam_options: Sequence[str] = (),
    s3_endpoint: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Make a training set from a folder of chips, or finish one that was stopped.

    Args:
        folder: as above.
        out: folder or `s3://` of the training set.
        name: its ID.
        beam_options: Beam's own command-line options.
        s3_endpoint: of a server other than Amazon's.
        on_progress: called now and then with the chips written or dropped, and in all.

    Returns:
        What became of the chips, also written to `report.json` in the training set.

    Raises:
        BadInput: no index there, or one without chips; `out` holds another set.
        StoreError: the output cannot be written.
    """
    index = _index(folder)
    rows = pd.read_csv(index, dtype={"id": str, "place": str, "group": str}).to_dict("records")
    chips, dropped = _readable(index.parent, rows)
    chips, straddling = _one_split_a_place(chips)
    dropped |= straddling
    if not chips:
        told = "; ".join(f"{chip}: {reason}" for chip, reason in list(dropped.items())[:3])
        raise BadInput(f"No chip of {str(index)!r} can be used ({told or 'it has no row'}).")
    store = open_store(out, s3_endpoint=s3_endpoint)
    made = TrainingSet(
        id=name,
        title=f"Training set {name}",
        description=f"{len(chips)} chips with labels, for networks that map land cover",
        bands=_bands(index.parent, chips[0].id),
        classes=MODEL_CLASSES,
    )
    _refuse_another(store, made, out)
    store.delete(store.list("dropped/"))
    with watched(lambda: sum(map(is_item, store.list())) + len(store.list("dropped/")), len(chips), on_progress):
        run_pipeline(_WriteChips(_WriteChip(index.parent, out, s3_endpoint, made), chips), beam_options)
    for key in store.list("dropped/"):
        dropped[Path(key).stem] = store.read(key).decode()
    written = made.publish(store)
    report = Report(len(rows), len(written), dict(sorted(dropped.items())), summary(written))
    store.write("report.json", json.dumps(dataclasses.asdict(report), indent=1).encode())
    return report


class _WriteChips(beam.PTransform):
    def __init__(self, write: _WriteChip, chips: Sequence[Chip]):
        super().__init__()
        self._write, self._chips = write, chips

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[None]:
        numbered = [(number, chip.model_dump_json()) for number, chip in enumerate(self._chips)]
        # Grouping by a number of its own spreads the chips over the workers.
        return (
            root
            | "Chips" >> beam.Create(numbered, reshuffle=False)
            | "Spread" >> beam.GroupByKey()
            | "Chip" >> beam.FlatMap(lambda numbered: numbered[1])
            | "Write" >> beam.ParDo(self._write)
        )


class _WriteChip(beam.DoFn):
    """Writes a chip, or why it cannot be used; returns at once if it is there."""

    def __init__(self, folder: Path, out: str, s3_endpoint: str | None, made: TrainingSet):
        self._folder, self._out, self._s3_endpoint, self._made = folder, out, s3_endpoint, made

    def setup(self) -> None:
        self._store = open_store(self._out, s3_endpoint=self._s3_endpoint)

    def process(self, element: str) -> Iterator[None]:
        chip = Chip.model_validate_json(element)
        if not self._store.exists(f"{chip.folder}/{chip.id}.json"):
            try:
                self._made.write_chip(self._store, chip, self._pixels(chip))
            except (BadInput, RasterioError) as error:
                self._store.write(f"dropped/{chip.id}.txt", str(error).encode())
        yield from ()

    def _pixels(self, chip: Chip) -> Pixels:
        image = _read(self._folder, chip.id, "image")
        _same_grid(self._folder, chip)
        if (found := _bands(self._folder, chip.id)) != self._made.bands:
            raise BadInput(f"Chip {chip.id} has the bands {', '.join(found)}, others {', '.join(self._made.bands)}.")
        seen = image.any(axis=0)
        image = np.where(seen, np.maximum(image, 1), 0).astype(np.uint16)
        scores = None
        if chip.teacher:
            teacher = _read(self._folder, chip.id, "teacher")
            learned = _read(self._folder, chip.id, "valid")[0] > 0
            labels = np.where(learned, teacher.argmax(axis=0), UNLABELLED).astype(np.uint8)
            missing = len(self._made.classes) - len(teacher)
            scores = np.concatenate([teacher, np.zeros((missing, *labels.shape), np.uint8)])
            if _path(self._folder, chip.id, "label").exists():
                corrected = _read(self._folder, chip.id, "label")[0].astype(np.uint8)
                labels = np.where(corrected == UNLABELLED, labels, corrected)
        else:
            labels = _read(self._folder, chip.id, "label")[0].astype(np.uint8)
        if _path(self._folder, chip.id, "cloud").exists():
            labels[_read(self._folder, chip.id, "cloud")[0] > 0] = self._made.classes.index(CLOUD)
        labels[~seen] = UNLABELLED
        if (labels == UNLABELLED).all():
            raise BadInput("nothing in it is labelled")
        return Pixels(image, labels, scores)


def _index(folder: Path) -> Path:
    for name in ("chips.csv", "index.csv"):
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"There is no chips.csv in {str(folder)!r}. Give a folder of chips with its index.")


def _readable(folder: Path, rows: Sequence[dict[Any, Any]]) -> tuple[list[Chip], dict[str, str]]:
    """The index's rows as chips, and those that cannot be, with the reason."""
    chips, dropped = [], {}
    for row in rows:
        name = str(row.get("id"))
        try:
            chips.append(_chip(folder, name, {key: value for key, value in row.items() if pd.notna(value)}))
        except ValidationError as error:
            first = error.errors()[0]
            dropped[name] = f"{'.'.join(map(str, first['loc']))} {first.get('input')!r}: {first['msg']}"
        except (RasterioError, BadInput) as error:
            dropped[name] = str(error)
    return chips, dropped


def _chip(folder: Path, name: str, row: dict[Any, Any]) -> Chip:
    if row.get("split") not in _SPLITS:
        raise BadInput(f"split is {row.get('split')!r}; use train, validation (or val) or test")
    with rasterio.open(_path(folder, name, "image")) as image:
        epsg, transform, shape = image.crs and image.crs.to_epsg(), tuple(image.transform)[:6], image.shape
    scene = str(row.get("scene", name))
    date = str(row["date"]) if "date" in row else None
    chip = Chip(
        id=name,
        place=str(row.get("place", row.get("group", scene))),
        split=_SPLITS[row["split"]],  # type: ignore[arg-type]
        scene=scene,
        level=row.get("level", "L2A"),
        source=str(row.get("source", folder.name)),
        teacher=str(row.get("teacher", "unnamed")) if _path(folder, name, "teacher").exists() else None,
        date=f"{date}T00:00:00Z" if date and "T" not in date else date,  # type: ignore[arg-type]
        sun_zenith=row.get("sun_zenith"),
        biome=row.get("biome"),
        epsg=epsg,
        transform=transform,  # type: ignore[arg-type]
        shape=shape,
    )
    return chip.model_copy(update={"place": place_of(chip)})


def _one_split_a_place(chips: Sequence[Chip]) -> tuple[list[Chip], dict[str, str]]:
    """Where a place lies in several splits, keep its chips of the one that tests: what tests must stay unseen."""
    splits = defaultdict(set)
    for chip in chips:
        splits[chip.place].add(chip.split)
    kept, dropped = [], {}
    for chip in chips:
        strongest = max(splits[chip.place], key=lambda split: _WEIGHT[split])
        if chip.split == strongest:
            kept.append(chip)
        else:
            dropped[chip.id] = f"in {chip.split}, but its place {chip.place} also lies in {strongest}"
    return kept, dropped


def _refuse_another(store: Store, made: TrainingSet, out: str) -> None:
    if not store.exists("collection.json"):
        return
    there, _ = open_training_set(store)
    if (there.id, there.bands, there.classes) != (made.id, made.bands, made.classes):
        raise BadInput(f"{out!r} holds the training set {there.id} ({', '.join(there.bands)}). Give another folder.")


def _path(folder: Path, name: str, raster: str) -> Path:
    inside = folder / "chips" / f"{name}_{raster}.tif"
    return inside if inside.parent.is_dir() else folder / f"{name}_{raster}.tif"


def _read(folder: Path, name: str, raster: str) -> np.ndarray:
    with rasterio.open(_path(folder, name, raster)) as source:
        return source.read()


def _same_grid(folder: Path, chip: Chip) -> None:
    """Labels that lie elsewhere than the image are labels of something else.

    Raises:
        BadInput: naming the raster, and what differs.
    """
    for raster in ("label", "teacher", "valid", "cloud"):
        path = _path(folder, chip.id, raster)
        if not path.exists():
            continue
        with rasterio.open(path) as source:
            found = {
                "CRS": source.crs and source.crs.to_epsg(),
                "size": source.shape,
                "transform": tuple(round(number, 6) for number in source.transform[:6]),
            }
        wanted = {"CRS": chip.epsg, "size": chip.shape, "transform": tuple(round(one, 6) for one in chip.transform)}
        for what, value in wanted.items():
            if found[what] != value:
                raise BadInput(f"{path.name} has the {what} {found[what]}, its image {value}")


def _bands(folder: Path, name: str) -> tuple[str, ...]:
    with rasterio.open(_path(folder, name, "image")) as source:
        names = source.descriptions
    if not all(names):
        raise BadInput(f"Chip {name}: its image does not name its bands. Set the band descriptions to B02, B03, …")
    return tuple(str(one) for one in names)
