"""What `landloom dataset` was asked for, checked, and turned into chips that could be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pystac
import rasterio
import shapely
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from catalog.area import Area, area_of_file, area_of_geometry
from catalog.atmosphere import BANDS as NINE_BANDS
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.radar import RADAR_CHANNELS
from catalog.radar_source import choose_radar, open_radar, search_radar
from catalog.scenes import BANDS, interval_of
from catalog.sensors import ALL_BANDS
from catalog.sources import open_source, read_mapping
from catalog.store import Store
from catalog.translation import load_translation, numbers
from catalog.tree import TEN, Tree, class_tree
from pipelines.aggregate import LEAST, Aggregated
from pipelines.candidates import STEP, Biomes, Candidates, Wanted, candidates_of_area, plain
from pipelines.chip_folder import chip_folder
from pipelines.chip_source import ChipSource
from pipelines.label_sources import LabelSource, PolygonLabels, RasterLabels, TeacherLabels, check_teacher
from pipelines.markups import candidates_of_markups
from pipelines.scene_chips import scene_chips
from pipelines.scene_cutter import Choice
from services.inference import model_spec

Track = Callable[[Sequence[Any]], Iterable[Any]]
_OF_SCENES = {
    *("--source", "--mapping", "--year", "--period", "--bbox", "--centre", "--size-km", "--tiles", "--aoi", "--biomes"),
    *("--biome-column", "--chip", "--count", "--seed", "--split", "--min-labelled", "--max-cloud", "--max-scenes"),
    *("--bands", "--radar", "--retry-seconds"),
}
_OF_LABELS, _OF_TEACHERS = {"--labels", "--attribute", "--classes"}, {"--teacher", "--sure"}
_APART = {
    "--chips": _OF_SCENES | _OF_LABELS | _OF_TEACHERS,
    "--labels": {"--chips", "--finer"} | _OF_TEACHERS,
    "--teacher": {"--chips", "--finer", "--legend"} | _OF_LABELS,
}
"""Options that do not go with those that say what chips are made from."""
_POLYGONS = (".geojson", ".json", ".gpkg", ".parquet", ".geoparquet", ".shp", ".fgb")


@dataclass(frozen=True)
class DatasetRequest:
    """The options of `landloom dataset`; see its help for what they mean."""

    chips: str = ""
    source: str = ""
    mapping: str = ""
    radar: str = ""
    labels: str = ""
    attribute: str = ""
    classes: str = ""
    legend: str = ""
    finer: str = ""
    teacher: str = ""
    sure: float = 0.5
    area: Area | None = None
    periods: tuple[Period, ...] = ()
    biomes: str = ""
    biome_column: str = ""
    side: int = 256
    bands: str = ""
    max_scenes: int = 24
    choice: Choice = field(default_factory=Choice)
    retry_seconds: float = 300.0
    aggregate: int = 1

    @property
    def name(self) -> str:
        """What the training set is called, if the user does not say."""
        if self.chips:
            return Path(self.chips).name + (f"-by-{self.aggregate}" if self.aggregate > 1 else "")
        return plain(Path(self.labels or self.teacher).absolute().stem)

    def chip_source(self, store: Store, track: Track = lambda things: things) -> ChipSource:
        """The chips that could be.

        Args:
            store: of the training set.
            track: is given what is searched for scenes and gives it back one by one, to show the progress.

        Raises:
            BadInput: options that do not go together, or a value that is not possible.
            SourceUnavailable: the source does not answer.
        """
        self._check_together()
        found = self._chips(store, track)
        return (
            found
            if self.aggregate == 1
            else dataclasses.replace(found, cutter=Aggregated(found.cutter, self.aggregate))
        )

    def _chips(self, store: Store, track: Track) -> ChipSource:
        """Those that could be, at their own resolution."""
        if self.chips:
            return chip_folder(Path(self.chips), self._tree(), self._words())
        self._check_values()
        markups = bool(self.labels) and Path(self.labels).is_dir()
        labels, periods = (self._teacher(), self.periods) if self.teacher else self._labels(markups)
        if not markups and not periods:
            raise BadInput("--year is missing: give the year whose scenes are to be used, or --period START/END.")
        if markups and periods:
            raise BadInput("--year and --period do not go with markups: the name of each tells its own day.")
        area = self.area or (None if markups else self._extent(labels))
        tree = self._tree()
        found = scene_chips(
            store,
            lambda: self._find(labels, area, periods, track),
            self._told(labels, area, periods),
            labels,
            self.choice,
            self.side,
            tuple(self.bands.split(",")) if self.bands else (),
            self.retry_seconds,
            tree.names,
        )
        return dataclasses.replace(found, finer=tree.finer)

    def _check_together(self) -> None:
        if not 1 <= self.aggregate <= 100:
            raise BadInput(
                f"--aggregate {self.aggregate} is not possible. Give how many pixels along a side become one, as 3 for "
                f"30 m from chips of 10 m; at least {LEAST} px must be left."
            )
        given = {"--chips": self.chips, "--labels": self.labels, "--teacher": self.teacher}
        named = [name for name, value in given.items() if value]
        if len(named) != 1:
            raise BadInput(
                f"Give one of --chips FOLDER (ready chips), --labels PATH with --source, or --teacher NETWORK with "
                f"--source (given: {', '.join(named) or 'none'})."
            )
        if named[0] != "--chips" and not self.source:
            raise BadInput(f"{named[0]} needs --source, the catalog of the scenes from which chips are cut.")
        if self.teacher and not self.area:
            raise BadInput("--teacher needs an area: --bbox, --centre with --size-km, --tiles or --aoi.")
        if bool(self.biomes) != bool(self.biome_column):
            raise BadInput("--biomes FILE and --biome-column COLUMN go together; one of them is missing.")

    def _tree(self) -> Tree:
        """Of the classes that labels may name."""
        return class_tree(load_legend(self.legend).finer(), f"legend {self.legend}") if self.legend else TEN

    def _words(self) -> dict[str, str]:
        """Of chips' names, to the finer classes that they tell."""
        if not self.finer:
            return {}
        if not self.legend:
            raise BadInput("--finer needs --legend, whose finer classes its words tell.")
        told = load_translation(self.finer, "--finer")
        return {word.lower(): name for word, name in told.items() if name is not None}

    def _check_values(self) -> None:
        if not 2 * STEP <= self.side <= 2048 or self.side % STEP:
            raise BadInput(
                f"--chip {self.side} is not possible. Give a multiple of {STEP} px, from {2 * STEP} to 2048."
            )
        if not 0 < self.sure < 1:
            raise BadInput(f"--sure {self.sure:g} is not a probability. Give one between 0 and 1, as 0.5.")
        if not 1 <= self.max_scenes <= 1000:
            raise BadInput(f"--max-scenes {self.max_scenes} is not possible. Give 1 to 1000 datatakes a tile-year.")
        if unknown := [band for band in self.bands.split(",") if self.bands and band not in ALL_BANDS]:
            raise BadInput(f"--bands {self.bands!r} names {unknown[0]!r}; Sentinel-2 has {', '.join(ALL_BANDS)}.")
        self.choice.check()

    def _teacher(self) -> TeacherLabels:
        spec = model_spec(self.teacher)
        if spec.radar:
            raise BadInput(
                f"--teacher {spec.id} has the radar channels {', '.join(spec.radar)}; scenes are cut without radar. "
                "Give a network of Sentinel-2's bands alone."
            )
        check_teacher(spec)
        return TeacherLabels(self.teacher, spec, self.sure)

    def _labels(self, markups: bool) -> tuple[LabelSource, tuple[Period, ...]]:
        """The labels, and the periods that they are good for."""
        name = self.name
        if markups:
            self._refuse_attribute("a folder of markups")
            return RasterLabels(name, None, numbers(self.classes or "dynamic-world", self._tree().names)), self.periods
        if item := _item(self.labels):
            self._refuse_attribute("a STAC item of a map")
            path, period = _map_of(item)
            return RasterLabels(item.id, path, self._numbers()), self.periods or (period,)
        if self.labels.lower().endswith(_POLYGONS):
            if not self.attribute:
                raise BadInput("--attribute is missing: the column of --labels that tells the class.")
            path, names = _absolute(self.labels), self._tree().names
            polygons = PolygonLabels(name, path, self.attribute, self.classes or None, names)
            polygons.features(4326)
            return polygons, self.periods
        self._refuse_attribute("a raster")
        meant = self._numbers()
        return RasterLabels(name, _absolute(self.labels), meant), self.periods

    def _numbers(self) -> dict[str, int | None]:
        if not self.classes:
            raise BadInput(
                "--classes is missing: what the raster's values mean. Give worldcover, esri, dynamic-world, landloom, "
                'or a JSON file as {"10": "trees", "100": null}.'
            )
        return numbers(self.classes, self._tree().names)

    def _refuse_attribute(self, what: str) -> None:
        if self.attribute:
            raise BadInput(f"--attribute {self.attribute!r} is a column of polygons, but --labels is {what}.")

    def _extent(self, labels: LabelSource) -> Area:
        """The ground of the labels."""
        if isinstance(labels, PolygonLabels):
            return area_of_file(labels.path)
        assert isinstance(labels, RasterLabels) and labels.path
        try:
            with rasterio.open(labels.path) as raster:
                if raster.crs is None:
                    raise BadInput(f"--labels {self.labels!r} does not say its CRS. Write it with one.")
                bounds = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds)
        except RasterioError as error:
            raise BadInput(f"--labels {self.labels!r} cannot be read: {error}. Give a raster or polygons.") from error
        return area_of_geometry(shapely.box(*bounds), self.labels)

    def _find(self, labels: LabelSource, area: Area | None, periods: Sequence[Period], track: Track) -> Candidates:
        source = open_source(self.source, read_mapping(self.mapping, self.source) if self.mapping else None)
        needed = self.bands.split(",") if self.bands else list(BANDS)
        if isinstance(labels, TeacherLabels):
            needed += labels.spec.bands
        wanted = Wanted(
            side=self.side,
            bands=tuple(dict.fromkeys(needed)),
            also=() if self.bands else NINE_BANDS,
            max_scenes=self.max_scenes,
            max_cloud=self.choice.max_cloud,
            biomes=Biomes(self.biomes, self.biome_column) if self.biomes else None,
        )
        if isinstance(labels, RasterLabels) and labels.path is None:
            found = candidates_of_markups(Path(self.labels), source, wanted, area and area.geometry, track)
        else:
            assert area
            found = candidates_of_area(area, periods, source, wanted, track)
        return self._with_radar(found) if self.radar else found

    def _with_radar(self, found: Candidates) -> Candidates:
        """The same with the radar scenes of each overpass's month.

        Raises:
            BadInput: no scene has radar beside it.
        """
        source = open_radar(self.radar)
        for number, sighting in enumerate(found.sightings):
            months = {(sighting.datatake.datetime.year, sighting.datatake.datetime.month)}
            scenes, excluded = search_radar(source, sighting.ground(self.side), months)
            chosen, left_out = choose_radar(scenes, months, RADAR_CHANNELS)
            found.sightings[number] = sighting.model_copy(update={"radar": tuple(chosen)})
            found.unused |= {one.scene: one.reason for one in (*excluded, *left_out)}
        if found.sightings and not any(one.radar for one in found.sightings):
            raise BadInput(
                f"--radar {self.radar!r} has nothing in the months of the {len(found.sightings)} overpasses that chips "
                "are cut from. Give another source, or leave it out."
            )
        return found

    def _told(self, labels: LabelSource, area: Area | None, periods: Sequence[Period]) -> dict[str, Any]:
        """All that decides the outcome, as JSON."""
        where = None
        if area:
            ground = area.geometry.wkb if area.geometry is not None else b""
            where = _digest(" ".join(tile.name for tile in area.tiles).encode() + ground)
        told = {
            "source": self.source,
            "mapping": self.mapping,
            "labels": self.labels,
            "attribute": self.attribute,
            "classes": self.classes,
            "area": where,
            "periods": [period.label for period in periods],
            "biomes": self.biomes,
            "chip": self.side,
            "bands": self.bands,
            "max_scenes": self.max_scenes,
            **dataclasses.asdict(self.choice),
        }
        if self.radar:
            told["radar"] = self.radar
        if self.legend:
            told["finer"] = [list(one) for one in self._tree().finer]
        if isinstance(labels, TeacherLabels):
            told |= {"teacher": labels.spec.sha256, "sure": self.sure}
        if isinstance(labels, RasterLabels):
            told["classes"] = dict(labels.numbers)
        return told


def check_options(given: Collection[str]) -> None:
    """Refuse options that would have no effect together.

    Args:
        given: by the user, as `--chips`.

    Raises:
        BadInput: naming two of them.
    """
    for way, apart in _APART.items():
        if way in given and (strange := sorted(apart & set(given))):
            raise BadInput(f"{way} and {strange[0]} do not go together. Leave one of them away.")


def _item(path: str) -> pystac.Item | None:
    """A STAC item, if the file is one."""
    if not path.endswith(".json"):
        return None
    try:
        told = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None
    if told.get("type") != "Feature" or "assets" not in told:
        return None
    return pystac.Item.from_file(path)


def _map_of(item: pystac.Item) -> tuple[str, Period]:
    """The raster of classes of a published map, and the year that it shows."""
    asset = next((item.assets[key] for key in ("map", "data") if key in item.assets), None)
    if asset is None:
        raise BadInput(f"--labels: item {item.id} has no asset 'map' or 'data'. Give the raster itself, with --year.")
    start, _ = interval_of(item.properties)
    return str(asset.get_absolute_href()), Period.of_year(start.year)


def _absolute(path: str) -> str:
    """The same file for every worker, whatever its folder.

    Raises:
        BadInput: there is none.
    """
    if "://" in path or path.startswith("/vsi"):
        return path
    if not Path(path).exists():
        raise BadInput(f"There is no {path!r}. Give --labels a raster, polygons, or a folder of markups.")
    return str(Path(path).absolute())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
