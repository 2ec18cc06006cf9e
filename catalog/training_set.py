"""A training set: chips of imagery with labels, as a STAC collection in a folder of its own.

collection.json                derived from the items
{place}/{chip}/{chip}.json     the item, written last: a chip without it is not there
{place}/{chip}/image.tif       uint16 [bands, H, W]: reflectance x 10,000 without offset, at least 1; 0 = no data
{place}/{chip}/labels.tif      uint8 [H, W]: number of the class; 255 = not to be learned
{place}/{chip}/scores.tif      uint8 [classes, H, W]: a teacher's probabilities x 250; where one was asked
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pystac
import shapely
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rasterio.errors import RasterioError
from shapely.geometry import mapping

from catalog.chips import (
    SCORE_STEPS,
    UNLABELLED,
    Chip,
    Pixels,
    Split,
    check_places,
    outline_of,
    place_of,
    read_raster,
    write_raster,
)
from catalog.errors import BadInput, first_fault
from catalog.links import dumped
from catalog.radar import RADAR_CHANNELS
from catalog.store import NotFound, Store

_EXTENSIONS = ("classification/v1.1.0", "projection/v2.0.0", "raster/v2.0.0")
_FIRST = datetime(2015, 6, 23, tzinfo=UTC)
"""Launch of Sentinel-2A: chips of unknown date lie between it and the making of the set."""


class TrainingSet(BaseModel):
    """What all chips of a set share."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=r"^[\w.-]+$")
    title: str
    description: str
    license: str = "various"
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    parents: tuple[tuple[str, str], ...] = Field(
        default=(), description="class and what it is part of; labels may be of any depth"
    )

    def write_chip(self, store: Store, chip: Chip, pixels: Pixels) -> Chip:
        """Write a chip, its item last.

        Returns:
            The chip with its counts.

        Raises:
            BadInput: pixels of another type, size or number of bands, or labels that are no class.
        """
        self.check(chip, pixels)
        counts = np.bincount(pixels.labels.ravel(), minlength=256)
        counted = {name: int(counts[number]) for number, name in enumerate(self.classes) if counts[number]}
        chip = chip.model_copy(update={"class_pixels": counted})
        rasters = {"image": pixels.image, "labels": pixels.labels[np.newaxis]}
        if pixels.scores is not None:
            rasters["scores"] = pixels.scores
        with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
            for name, raster in rasters.items():
                file = Path(folder) / f"{name}.tif"
                write_raster(file, raster, chip, self._names(name))
                store.upload(f"{chip.folder}/{file.name}", file)
        store.write(f"{chip.folder}/{chip.id}.json", self._item(chip, sorted(rasters)))
        return chip

    def check(self, chip: Chip, pixels: Pixels) -> None:
        """Make sure that a chip's pixels are as all of the set are.

        Raises:
            BadInput: pixels of another type, size or number of bands, or labels that are no class; naming the chip.
        """
        wanted = {"image": ("uint16", (len(self.bands), *chip.shape)), "labels": ("uint8", chip.shape)}
        if pixels.scores is not None:
            wanted["scores"] = ("uint8", (len(self.classes), *chip.shape))
        for name, (dtype, shape) in wanted.items():
            found = getattr(pixels, name)
            if found.dtype != dtype or found.shape != shape:
                raise BadInput(
                    f"Chip {chip.id}: {name} is {found.dtype} {list(found.shape)}; {dtype} {list(shape)} is needed."
                )
        strange = np.setdiff1d(pixels.labels, [*range(len(self.classes)), UNLABELLED])
        if strange.size:
            raise BadInput(
                f"Chip {chip.id}: label {strange[0]} is none of the {len(self.classes)} classes of {self.id}. "
                f"Number them from 0 in the order {', '.join(self.classes)}, and 255 where nothing is known."
            )
        if pixels.scores is not None and pixels.scores.max(initial=0) > SCORE_STEPS:
            raise BadInput(f"Chip {chip.id}: scores reach {pixels.scores.max()}; 1 is written as {SCORE_STEPS}.")

    def _names(self, raster: str) -> Sequence[str]:
        return {"image": self.bands, "labels": ("class",), "scores": self.classes}[raster]

    def _item(self, chip: Chip, rasters: Sequence[str]) -> bytes:
        outline = outline_of(chip)
        item = pystac.Item(
            id=chip.id,
            geometry=None if outline is None else mapping(outline),
            bbox=None if outline is None else list(outline.bounds),
            datetime=chip.date,
            properties={} if chip.date else _sometime(),
            collection=self.id,
            stac_extensions=[f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        )
        if chip.epsg:
            item.properties["proj:code"] = f"EPSG:{chip.epsg}"
        item.properties |= {"proj:shape": list(chip.shape), "proj:transform": list(chip.transform)}
        # The geometry says where, and the properties above when; what STAC has no field for:
        own = chip.model_dump(mode="json", exclude={"id", "date", "epsg", "transform", "shape"}, exclude_none=True)
        item.properties |= {f"landloom:{name}": value for name, value in own.items()}
        for name in rasters:
            item.add_asset(name, self._asset(name))
        for rel in ("collection", "parent", "root"):
            item.add_link(pystac.Link(rel, "../../collection.json", "application/json"))
        return dumped(item.to_dict(include_self_link=False, transform_hrefs=False))

    def _asset(self, name: str) -> pystac.Asset:
        fields: dict[str, Any] = {"bands": [{"name": band} for band in self._names(name)]}
        if name == "image":
            fields |= {"data_type": "uint16", "nodata": 0, "raster:scale": 0.0001}
            for band in fields["bands"]:
                if band["name"] in RADAR_CHANNELS:
                    # As `catalog.radar.encode` writes it.
                    band |= {"unit": "dB", "raster:scale": 0.005, "raster:offset": -50}
        else:
            fields |= {"data_type": "uint8"}
        if name == "labels":
            fields |= {"nodata": UNLABELLED, "classification:classes": self._class_list()}
        if name == "scores":
            fields["raster:scale"] = 1 / SCORE_STEPS
        role = "data" if name == "image" else "labels"
        return pystac.Asset(f"./{name}.tif", media_type=pystac.MediaType.GEOTIFF, roles=[role], extra_fields=fields)

    def _class_list(self) -> list[dict[str, Any]]:
        return [{"value": value, "name": name, "title": name} for value, name in enumerate(self.classes)]

    def publish(self, store: Store) -> list[Chip]:
        """Write the collection from the items that are there.

        Returns:
            The chips.

        Raises:
            BadInput: a place lies in two splits.
        """
        chips = read_chips(store)
        check_places(chips)
        outlines = [outline for chip in chips if (outline := outline_of(chip)) is not None]
        dates = sorted(chip.date for chip in chips if chip.date)
        where = list(shapely.union_all(outlines).bounds) if outlines else [-180.0, -90.0, 180.0, 90.0]
        when: list[datetime | None] = [dates[0], dates[-1]] if dates else [_FIRST, None]
        collection = pystac.Collection(
            self.id,
            self.description,
            pystac.Extent(pystac.SpatialExtent(where), pystac.TemporalExtent([when])),
            title=self.title,
            license=self.license,
            summaries=pystac.Summaries(
                {"landloom:level": sorted({chip.level for chip in chips}), "landloom:splits": by_split(chips)}
            ),
        )
        collection.extra_fields |= {"landloom:bands": list(self.bands), "landloom:classes": list(self.classes)}
        if self.parents:
            collection.extra_fields["landloom:parents"] = dict(self.parents)
        for chip in chips:
            collection.add_link(pystac.Link("item", f"./{chip.folder}/{chip.id}.json", "application/geo+json"))
        content = collection.to_dict(include_self_link=False, transform_hrefs=False)
        store.write("collection.json", dumped(content))
        return chips


def read_chips(store: Store) -> list[Chip]:
    """Every chip of a set, by name.

    Raises:
        BadInput: there is none, or one's item is not of this form.
    """
    keys = [key for key in store.list() if is_item(key)]
    with ThreadPoolExecutor(16) as readers:
        chips = [_chip(store, key, content) for key, content in zip(keys, readers.map(store.read, keys), strict=True)]
    if not chips:
        folder = store.href("collection.json").rpartition("/")[0]
        raise BadInput(f"There are no chips in {folder!r}. Make a training set with `landloom dataset`.")
    return chips


def open_training_set(store: Store) -> tuple[TrainingSet, list[Chip]]:
    """A set and its chips.

    Raises:
        BadInput: there is none, or a place lies in two splits.
    """
    try:
        collection = json.loads(store.read("collection.json"))
        found = TrainingSet(
            **{name: collection[name] for name in ("id", "title", "description", "license")},
            bands=collection["landloom:bands"],
            classes=collection["landloom:classes"],
            parents=tuple(collection.get("landloom:parents", {}).items()),
        )
    except (NotFound, KeyError, ValueError) as error:
        raise BadInput(
            f"{store.href('collection.json')!r} is no training set ({error}). Make one with `landloom dataset`."
        ) from error
    chips = read_chips(store)
    check_places(chips)
    return found, chips


def read_pixels(store: Store, chip: Chip) -> Pixels:
    """The rasters of a chip.

    Raises:
        BadInput: one is missing or cannot be read; with its name.
    """
    names = ("image", "labels", *(["scores"] if chip.teacher else []))
    try:
        image, labels, *scores = (read_raster(store.href(f"{chip.folder}/{name}.tif")) for name in names)
    except RasterioError as error:
        raise BadInput(
            f"A raster of chip {chip.id} cannot be read: {error}. Delete {store.href(chip.folder)!r} and give the "
            "command that made the training set again: what is missing is made."
        ) from error
    return Pixels(image, labels[0], scores[0] if scores else None)


def by_split(chips: Sequence[Chip]) -> dict[str, dict[str, Any]]:
    """Chips, places and labelled pixels of each class, by split."""
    return {split: counts_of(chip for chip in chips if chip.split == split) for split in get_args(Split)}


def counts_of(chips: Iterable[Chip]) -> dict[str, Any]:
    """How many chips and places, and labelled pixels of each class."""
    mine = list(chips)
    pixels: Counter[str] = Counter()
    for chip in mine:
        pixels.update(chip.class_pixels)
    places = len({place_of(chip) for chip in mine})
    return {"chips": len(mine), "places": places, "class_pixels": dict(sorted(pixels.items()))}


def _sometime() -> dict[str, str]:
    now = datetime.now(UTC)
    return {name: f"{when:%Y-%m-%dT%H:%M:%SZ}" for name, when in (("start_datetime", _FIRST), ("end_datetime", now))}


def is_item(key: str) -> bool:
    """Whether an object of a training set's store is a chip's item."""
    parts = key.split("/")
    return len(parts) == 3 and parts[2] == f"{parts[1]}.json"


def _chip(store: Store, key: str, content: bytes) -> Chip:
    try:
        item = json.loads(content)
        properties = item["properties"]
        own = {name.removeprefix("landloom:"): one for name, one in properties.items() if name.startswith("landloom:")}
        code = properties.get("proj:code")
        return Chip(
            id=item["id"],
            date=properties["datetime"],
            epsg=int(code.split(":")[1]) if code else None,
            transform=properties["proj:transform"],
            shape=properties["proj:shape"],
            **own,
        )
    except ValidationError as error:
        raise BadInput(f"{store.href(key)!r} is no chip of a training set: {first_fault(error)}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{store.href(key)!r} is no chip of a training set: {error!r}.") from error
