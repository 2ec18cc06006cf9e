"""Chips that are ready: a folder of rasters with an index.

The index is `chips.csv` or `index.csv`, with a row a chip (`id`, `split`; `place`, or `group`; and `scene`, `level`,
`source`, `teacher`, `date`, `sun_zenith`, `biome` where known); the rasters lie beside it or in `chips/`:
`{id}_image.tif` with its bands named, and labels in one of two forms: `{id}_label.tif` with numbers of classes, 255
where nothing is known; or a teacher's probabilities `{id}_teacher.tif` (uint8, 250 = 1), learned where
`{id}_valid.tif` is 1; or both: then labels correct the teacher where they are known. `{id}_cloud.tif` marks cloud where
it is there. With a tree of finer classes labels may be of any depth, and a word in a chip's scene may tell one of them:
in a chip that is called `…-residential-…`, what is built is residential.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
from catalog.radar import RADAR_CHANNELS
from catalog.store import Store
from catalog.tree import TEN, Tree
from pipelines.chip_source import ChipSource

_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_WEIGHT = {"train": 0, "validation": 1, "test": 2}
_WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
_TYPES = {"image": ("uint16",), "label": _WHOLE, "teacher": ("uint8",), "valid": _WHOLE, "cloud": _WHOLE}
"""Of the pixels of a chip's rasters."""
_MEANING = {
    "image": "reflectance x 10,000 without offset",
    "label": "numbers of classes",
    "teacher": "probabilities x 250",
    "valid": "1 where the teacher is to be learned",
    "cloud": "1 where there is cloud",
}


def chip_folder(folder: Path, tree: Tree = TEN, words: Mapping[str, str] | None = None) -> ChipSource:
    """The chips of a folder; every row of its index is a candidate.

    Args:
        folder: of chips.
        tree: of the classes that labels name.
        words: word in the name of a chip's scene, between its hyphens, to what the pixels of its parent are there.

    Raises:
        BadInput: no index there, one that names a chip twice, or one without a chip that can be used; a word for a
            class that the tree lacks, or for a root of it.
    """
    _check_words(words or {}, tree)
    index = _index(folder)
    rows = _rows(index)
    chips, bands_of, dropped = _readable(index.parent, rows)
    chips, straddling = _one_split_a_place(chips)
    dropped |= straddling
    if not chips:
        told = "; ".join(f"{chip}: {reason}" for chip, reason in list(dropped.items())[:3])
        raise BadInput(f"No chip of {str(index)!r} can be used ({told or 'it has no row'}).")
    # One whose bands are others is dropped, wherever in the index it stands.
    (bands, _), *_ = Counter(bands_of[chip.id] for chip in chips).most_common(1)
    elements = [chip.model_dump_json() for chip in chips]
    return ChipSource(
        bands=bands,
        candidates=len(rows),
        steps=len(chips),
        chips=lambda store: beam.Create(elements, reshuffle=False),
        cutter=_FolderCutter(index.parent, bands, tree, words or {}),
        dropped=dropped,
        finer=tree.finer,
    )


@dataclass(frozen=True)
class _FolderCutter:
    folder: Path
    bands: tuple[str, ...]
    tree: Tree
    words: Mapping[str, str]

    def chip(self, store: Store, element: str) -> Chip:
        return Chip.model_validate_json(element)

    def pixels(self, store: Store, element: str) -> Pixels:
        chip = self.chip(store, element)
        try:
            return self._pixels(chip)
        except RasterioError as error:
            raise BadInput(str(error)) from error

    def _pixels(self, chip: Chip) -> Pixels:
        _check_rasters(self.folder, chip)
        image = _read(self.folder, chip.id, "image")
        if (found := _bands(self.folder, chip.id)) != self.bands:
            raise BadInput(f"Chip {chip.id} has the bands {', '.join(found)}, others {', '.join(self.bands)}.")
        seen = image[[band not in RADAR_CHANNELS for band in self.bands]].any(axis=0)
        lit = np.array([band not in RADAR_CHANNELS for band in self.bands])[:, np.newaxis, np.newaxis]
        # Of light 0 is dark where other bands are there; of radar it is missing.
        image = np.where(seen & lit, np.maximum(image, 1), image).astype(np.uint16)
        scores = None
        if chip.teacher:
            teacher = _read(self.folder, chip.id, "teacher")
            learned = _mask(self.folder, chip.id, "valid")
            labels = np.where(learned, teacher.argmax(axis=0), UNLABELLED).astype(np.uint8)
            missing = len(self.tree.names) - len(teacher)
            scores = np.concatenate([teacher, np.zeros((missing, *labels.shape), np.uint8)])
            if _path(self.folder, chip.id, "label").exists():
                corrected = _labels(self.folder, chip.id, self.tree)
                labels = np.where(corrected == UNLABELLED, labels, corrected)
        else:
            labels = _labels(self.folder, chip.id, self.tree)
        if _path(self.folder, chip.id, "cloud").exists():
            labels[_mask(self.folder, chip.id, "cloud")] = MODEL_CLASSES.index(CLOUD)
        for word in set(chip.scene.lower().split("-")) & self.words.keys():
            name = self.words[word]
            above = [self.tree.names.index(one) for one in self.tree.path(name)[:-1]]
            labels[np.isin(labels, above)] = self.tree.names.index(name)
        labels[~seen] = UNLABELLED
        if (labels == UNLABELLED).all():
            raise BadInput("nothing in it is labelled")
        return Pixels(image, labels, scores)


def _check_words(words: Mapping[str, str], tree: Tree) -> None:
    finer = [name for name in tree.names if tree.parents[name]]
    for word, name in words.items():
        if name not in finer:
            raise BadInput(
                f"--finer says that {word!r} is {name!r}, which is no finer class of the legend: it has "
                f"{', '.join(finer) or 'none'}. Give a --legend that has it."
            )


def _index(folder: Path) -> Path:
    for name in ("chips.csv", "index.csv"):
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"There is no chips.csv in {str(folder)!r}. Give a folder of chips with its index.")


def _rows(index: Path) -> list[dict[Any, Any]]:
    try:
        found = pd.read_csv(index, dtype={"id": str, "place": str, "group": str})
    except ValueError as error:
        raise BadInput(
            f"{str(index)!r} is no table: {error}. Give a row a chip, with a column id and a column split."
        ) from error
    if missing := [column for column in ("id", "split") if column not in found]:
        raise BadInput(f"{str(index)!r} has no column {missing[0]!r}. It has {', '.join(map(str, found.columns))}.")
    if found["id"].isna().any():
        row = 2 + int(found["id"].isna().argmax())
        raise BadInput(f"{str(index)!r} has no id in line {row}. Give each chip one: its rasters are named by it.")
    if (twice := found["id"][found["id"].duplicated()]).size:
        raise BadInput(f"{str(index)!r} names the chip {twice.iloc[0]!r} twice. Give each chip an id of its own.")
    return found.to_dict("records")


def _readable(
    folder: Path, rows: Sequence[dict[Any, Any]]
) -> tuple[list[Chip], dict[str, tuple[str, ...]], dict[str, str]]:
    """The index's rows as chips, the bands of each, and those that cannot be, with the reason."""
    chips, bands_of, dropped = [], {}, {}
    for row in rows:
        name = str(row.get("id"))
        try:
            chip = _chip(folder, name, {key: value for key, value in row.items() if pd.notna(value)})
            bands_of[name] = _bands(folder, name)
            chips.append(chip)
        except ValidationError as error:
            first = error.errors()[0]
            dropped[name] = f"{'.'.join(map(str, first['loc']))} {first.get('input')!r}: {first['msg']}"
        except (RasterioError, BadInput) as error:
            dropped[name] = str(error)
    return chips, bands_of, dropped


def _chip(folder: Path, name: str, row: dict[Any, Any]) -> Chip:
    if row.get("split") not in _SPLITS:
        raise BadInput(f"split is {row.get('split')!r}; use train, validation (or val) or test")
    with rasterio.open(_path(folder, name, "image")) as image:
        epsg, transform, shape = image.crs and image.crs.to_epsg(), tuple(image.transform)[:6], image.shape
        if image.crs and not epsg:
            raise BadInput("the CRS of its image has no EPSG code, so its place is not known: warp it to one that has")
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
    if not 0 <= (chip.sun_zenith or 0) <= 90:
        raise BadInput(f"sun_zenith is {chip.sun_zenith}; degrees from 0 to 90 are needed")
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


def _path(folder: Path, name: str, raster: str) -> Path:
    inside = folder / "chips" / f"{name}_{raster}.tif"
    return inside if inside.parent.is_dir() else folder / f"{name}_{raster}.tif"


def _read(folder: Path, name: str, raster: str) -> np.ndarray:
    with rasterio.open(_path(folder, name, raster)) as source:
        return source.read()


def _labels(folder: Path, name: str, tree: Tree) -> np.ndarray:
    """Numbers of classes, uint8 `[H, W]`; looked at before they are made so small, which would turn 256 into 0."""
    labels = _read(folder, name, "label")[0]
    if (strange := np.setdiff1d(labels, [*range(len(tree.names)), UNLABELLED])).size:
        raise BadInput(
            f"{name}_label.tif has the value {strange[0]}: classes are 0 to {len(tree.names) - 1} "
            f"({', '.join(tree.names)}), and {UNLABELLED} stands where nothing is known"
        )
    return labels.astype(np.uint8)


def _mask(folder: Path, name: str, raster: str) -> np.ndarray:
    """Where a mask is 1, boolean `[H, W]`."""
    mask = _read(folder, name, raster)[0]
    if (strange := np.setdiff1d(mask, [0, 1])).size:
        raise BadInput(f"{name}_{raster}.tif has the value {strange[0]}: 0 or 1 is needed, {_MEANING[raster]}")
    return mask == 1


def _check_rasters(folder: Path, chip: Chip) -> None:
    """Labels that lie elsewhere than the image are labels of something else, and other numbers mean something else.

    Raises:
        BadInput: naming the raster, and what differs.
    """
    wanted = {"CRS": chip.epsg, "size": chip.shape, "transform": tuple(round(one, 6) for one in chip.transform)}
    for raster, types in _TYPES.items():
        path = _path(folder, chip.id, raster)
        if not path.exists():
            continue
        with rasterio.open(path) as source:
            found = {
                "CRS": source.crs and source.crs.to_epsg(),
                "size": source.shape,
                "transform": tuple(round(number, 6) for number in source.transform[:6]),
            }
            kind, count, names = source.dtypes[0], source.count, source.descriptions
        for what, value in wanted.items():
            if found[what] != value:
                raise BadInput(f"{path.name} has the {what} {found[what]}, its image {value}")
        if kind not in types:
            wanted_type = types[0] if len(types) == 1 else "a type of whole numbers"
            raise BadInput(f"{path.name} is {kind}; {wanted_type} is needed, {_MEANING[raster]}")
        if raster == "teacher":
            _check_teacher(path, count, names)
        elif raster != "image" and count != 1:
            raise BadInput(f"{path.name} has {count} bands; 1 is needed, {_MEANING[raster]}")


def _check_teacher(path: Path, count: int, names: Sequence[str | None]) -> None:
    """A teacher's bands are the classes in their order, the last of which, cloud, may be missing."""
    fitting = [MODEL_CLASSES, MODEL_CLASSES[:-1]]
    if count not in map(len, fitting) or (all(names) and tuple(names) not in fitting):
        told = f"{count} bands" + (f" ({', '.join(map(str, names))})" if all(names) else "")
        raise BadInput(
            f"{path.name} has {told}; a band for each of {', '.join(MODEL_CLASSES)} is needed (cloud may be missing)"
        )


def _bands(folder: Path, name: str) -> tuple[str, ...]:
    with rasterio.open(_path(folder, name, "image")) as source:
        names = source.descriptions
    if not all(names):
        raise BadInput(f"Chip {name}: its image does not name its bands. Set the band descriptions to B02, B03, …")
    return tuple(str(one) for one in names)
