"""Where labels come from: rasters of classes, polygons, or a network that is asked."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import geopandas
import numpy as np
import rasterio
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

from catalog.chips import SCORE_STEPS, UNLABELLED
from catalog.errors import BadInput
from catalog.features import read_features
from catalog.legend import CLOUD
from catalog.model import MODEL_CLASSES, ModelSpec, Network
from pipelines.candidates import Grid, Sighting
from pipelines.classify import Frame
from pipelines.read import SceneReader
from services.inference import open_network

_CLOUD = MODEL_CLASSES.index(CLOUD)
_network = functools.lru_cache(maxsize=1)(open_network)


class LabelSource(Protocol):
    """Gives labels. Goes to the workers, so it is small and is pickled."""

    @property
    def name(self) -> str:
        """Whose labels they are."""
        ...

    @property
    def teacher(self) -> str | None:
        """The network that is asked; None if none is."""
        ...

    @property
    def tells_clouds(self) -> bool:
        """Its labels are of the overpass itself and say where clouds are: the scene classification need not."""
        ...

    def labels(self, sighting: Sighting, grid: Grid, reader: SceneReader) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels on a grid.

        Returns:
            uint8 `[H, W]`, numbers of the training set's classes, 255 where nothing is known; and a network's scores,
            uint8 `[classes, H, W]`, probabilities x 250.

        Raises:
            BadInput: they cannot be used; the reason.
        """
        ...


@dataclass(frozen=True)
class RasterLabels:
    """Rasters of classes, in any CRS and resolution: one for all scenes, or one for each that a sighting names."""

    name: str
    path: str | None
    """Of the one for all scenes."""
    numbers: Mapping[str, int | None]
    """Value to class; None: left out."""
    teacher: None = None

    @property
    def tells_clouds(self) -> bool:
        """Markups say where clouds are, if they have such a class; in a map of a year clouds are those of no day."""
        return self.path is None and _CLOUD in self.numbers.values()

    def labels(self, sighting: Sighting, grid: Grid, reader: SceneReader) -> tuple[np.ndarray, None]:
        """See `LabelSource`."""
        path = self.path or sighting.markup or ""
        try:
            values, known = _warped(path, grid)
        except RasterioError as error:
            raise BadInput(f"labels unreadable: {Path(path).name}: {error}") from error
        labels = np.full(grid.shape, UNLABELLED, np.uint8)
        for value in np.unique(values[known]).tolist():
            key = str(int(value)) if float(value).is_integer() else str(value)
            if key not in self.numbers:
                raise BadInput(f"value without a class: {key} in {Path(path).name}; --classes may say null")
            number = self.numbers[key]
            if number is not None and (number != _CLOUD or self.tells_clouds):
                labels[known & (values == value)] = number
        return labels, None


@dataclass(frozen=True)
class PolygonLabels:
    """Polygons with a column of classes; where they overlap, the later one lies on top."""

    name: str
    path: str
    attribute: str
    classes: str | None
    """A translation of the column's values; None: they are names of classes."""
    names: tuple[str, ...] = MODEL_CLASSES
    """Classes of the training set, in order."""
    teacher: None = None
    tells_clouds: bool = False

    def labels(self, sighting: Sighting, grid: Grid, reader: SceneReader) -> tuple[np.ndarray, None]:
        """See `LabelSource`."""
        features = self.features(grid.epsg)
        bounds = rasterio.transform.array_bounds(*grid.shape, grid.transform)
        here = features.iloc[sorted(features.sindex.intersection(bounds))]
        labels = np.full(grid.shape, UNLABELLED, np.uint8)
        if len(here):
            shapes = zip(here.geometry, here["number"], strict=True)
            rasterize(shapes, out=labels, transform=grid.transform)
        return labels, None

    def features(self, epsg: int) -> geopandas.GeoDataFrame:
        """The polygons with the numbers of their classes.

        Raises:
            BadInput: they cannot be read, or a value is no class.
        """
        return _features(self.path, self.attribute, self.classes, self.names, epsg)


@dataclass(frozen=True)
class TeacherLabels:
    """What a network says that sees the chip in its surroundings, where it is sure enough."""

    model: str
    """As for `open_network`."""
    spec: ModelSpec
    sure: float
    """Least probability of a label."""
    tells_clouds: bool = False

    @property
    def name(self) -> str:
        """Whose labels they are."""
        return self.spec.id

    @property
    def teacher(self) -> str:
        """The network that is asked."""
        return self.spec.id

    def labels(self, sighting: Sighting, grid: Grid, reader: SceneReader) -> tuple[np.ndarray, np.ndarray]:
        """See `LabelSource`. A network sees the level that it was made for."""
        network: Network = _network(self.model)
        halo = Frame.of(network.spec).halo
        look = reader.read(sighting.datatake, network.spec, *grid.grown(halo))
        here = (slice(None), *(slice(halo, halo + side) for side in grid.shape))
        scores = np.zeros((len(MODEL_CLASSES), *grid.shape), np.uint8)
        valid = look.bands[here][0] > 0
        if valid.any():
            found = network.scores(look.bands[np.newaxis])[0][here]
            told = [MODEL_CLASSES.index(name) for name in network.spec.classes]
            scores[told] = np.rint(found * np.float32(SCORE_STEPS / 255)) * valid
        labels = scores.argmax(axis=0).astype(np.uint8)
        labels[scores.max(axis=0) < max(1, self.sure * SCORE_STEPS)] = UNLABELLED
        return labels, scores


def check_teacher(spec: ModelSpec) -> None:
    """Make sure that a network's answers can be labels.

    Raises:
        BadInput: it has other classes, or a stride that does not fit.
    """
    if strange := [name for name in spec.classes if name not in MODEL_CLASSES]:
        raise BadInput(f"--teacher {spec.id} knows {strange[0]!r}, which is none of {', '.join(MODEL_CLASSES)}.")
    Frame.of(spec)


def _warped(path: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The nearest values of a raster on a grid, and where it has any."""
    with rasterio.open(path) as source:
        if source.crs is None:
            raise BadInput(f"labels unreadable: {Path(path).name} does not say its CRS")
        if source.count != 1:
            raise BadInput(f"labels unreadable: {Path(path).name} has {source.count} bands; 1 of classes is needed")
        with WarpedVRT(
            source,
            crs=f"EPSG:{grid.epsg}",
            transform=grid.transform,
            height=grid.shape[0],
            width=grid.shape[1],
            resampling=Resampling.nearest,
            # Beside the raster there must be nothing, not zeros.
            add_alpha=source.nodata is None and MaskFlags.alpha not in source.mask_flag_enums[0],
        ) as warped:
            return warped.read(1), warped.read_masks(1) > 0


@functools.lru_cache(maxsize=8)
def _features(
    path: str, attribute: str, classes: str | None, names: tuple[str, ...], epsg: int
) -> geopandas.GeoDataFrame:
    number = {name: k for k, name in enumerate(names)}
    return read_features(path, attribute, number, classes)[0].to_crs(epsg)
