"""Scenes with label rasters, markups, polygons or a teacher become a training set; every candidate is accounted for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.warp import Resampling, calculate_default_transform, reproject

from catalog.area import area_of_geometry
from catalog.chips import UNLABELLED, Chip, Pixels, cell_at
from catalog.errors import BadInput
from catalog.grid import Tile
from catalog.manifest import Period
from catalog.model import MODEL_CLASSES
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from pipelines.dataset import Report, make_training_set
from pipelines.dataset_request import DatasetRequest
from pipelines.sampling import split_of
from pipelines.scene_cutter import Choice
from pipelines.simulate import Simulation
from services.inference.chips import read_chips
from tests.pipelines.running import landloom

pytestmark = pytest.mark.slow

CLOUD, WATER = MODEL_CLASSES.index("cloud"), MODEL_CLASSES.index("water")
TILE = Tile.from_name("33UUU")
COL, ROW, ROWS, COLS = 1592, 300, 320, 400
"""Of the tile's pixels, what the simulated scenes cover."""
GROUND = geopandas.GeoSeries(
    [
        shapely.box(
            TILE.left + 10 * COL, TILE.top - 10 * (ROW + ROWS), TILE.left + 10 * (COL + COLS), TILE.top - 10 * ROW
        )
    ],
    crs=TILE.epsg,
).to_crs(4326)[0]
HERE = area_of_geometry(GROUND, "the scenes")
YEAR = (Period.of_year(2021),)
CODES = {"10": "trees", "20": "shrub", "30": "grass", "40": "crops", "50": "built", "60": "bare", "70": "snow_ice",
         "80": "water", "90": "flooded_vegetation"}  # fmt: skip
"""As WorldCover has them."""
VALUE = np.array([next((int(v) for v, name in CODES.items() if name == one), 0) for one in MODEL_CLASSES], np.uint8)


@pytest.fixture(scope="module")
def truth(simulated: Simulation) -> np.ndarray:
    """Model classes of 2021 on the scenes' own grid."""
    with rasterio.open(simulated.truth["33UUU", 2021]) as source:
        return source.read(1)


@pytest.fixture(scope="module")
def worldcover(simulated: Simulation, truth: np.ndarray, tmp_path_factory) -> Path:
    """The truth in WorldCover's codes."""
    return write(tmp_path_factory.mktemp("labels") / "worldcover.tif", VALUE[truth])


def write(path: Path, values: np.ndarray, col: int = COL, row: int = ROW, **profile: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"crs": f"EPSG:{TILE.epsg}", "transform": TILE.transform @ Affine.translation(col, row), "nodata": 0}
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], dtype=values.dtype,
        **{"count": 1, **known, **profile},
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path


def made(out: Path, source: Path, name: str = "made", **options: object) -> Report:
    """A training set of chips of 64 px."""
    store = open_store(str(out))
    request = DatasetRequest(**{"source": str(source), "side": 64, **options})  # type: ignore[arg-type]
    report = make_training_set(request.chip_source(store), store, name)
    assert report.candidates == report.written + report.not_drawn + len(report.dropped), "each is accounted for"
    assert sum(report.reasons.values()) == len(report.dropped)
    return report


def chips_of(out: Path) -> list[tuple[Chip, Pixels]]:
    store = open_store(str(out))
    return [(chip, read_pixels(store, chip)) for chip in open_training_set(store)[1]]


def true_labels(chip: Chip, truth: np.ndarray) -> np.ndarray:
    """What lies under a chip, by its transform alone; 255 beside the scene."""
    col, row = (round(v) for v in ~TILE.transform @ (chip.transform[2], chip.transform[5]))
    padded = np.full((12_000, 3000), UNLABELLED, np.uint8)
    padded[ROW : ROW + ROWS, COL : COL + COLS] = truth
    return padded[row : row + chip.shape[0], col : col + chip.shape[1]]


def agreement(chips: list[tuple[Chip, Pixels]], truth: np.ndarray) -> float:
    """Share of the pixels labelled with land cover that have the true class."""
    pairs = [(pixels.labels, true_labels(chip, truth)) for chip, pixels in chips]
    found, there = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    known = found < CLOUD
    return float((found == there)[known].mean())


# A raster of a year


def test_labels_lie_on_their_pixels_and_clouds_are_of_the_day(simulated, truth, worldcover, tmp_path) -> None:
    report = made(
        tmp_path / "set", simulated.catalog, labels=str(worldcover), classes="worldcover", periods=YEAR,
    )  # fmt: skip
    chips = chips_of(tmp_path / "set")
    assert report.written == len(chips) > 20
    assert agreement(chips, truth) == 1.0
    assert {chip.scene[11:19] for chip, _ in chips} == {"20210108", "20210509", "20210908"}
    assert any((pixels.labels == CLOUD).any() for _, pixels in chips)
    for chip, pixels in chips:
        assert (chip.shape, chip.teacher, chip.level) == ((64, 64), None, "L2A")
        assert pixels.image.dtype == np.uint16 and (pixels.labels[pixels.image[0] == 0] == UNLABELLED).all()
        assert chip.place == cell_at(*centre(chip)) and chip.split == split_of(chip.place, (0.8, 0.1, 0.1), 0)
        col, row = ~TILE.transform @ (chip.transform[2], chip.transform[5])
        assert round(row, 6) % 16 == round(col, 6) % 16 == 0
    found, _ = open_training_set(open_store(str(tmp_path / "set")))
    assert found.bands == BANDS and found.classes == MODEL_CLASSES


def centre(chip: Chip) -> tuple[float, float]:
    x, y = Affine(*chip.transform) @ (chip.shape[1] / 2, chip.shape[0] / 2)
    (point,) = geopandas.GeoSeries([shapely.Point(x, y)], crs=chip.epsg).to_crs(4326)
    return point.x, point.y


def test_images_are_what_mapping_reads(simulated, worldcover, tmp_path) -> None:
    """The second year's scenes carry an offset, which is taken off."""
    periods = (Period.of_year(2022),)
    made(tmp_path / "set", simulated.catalog, labels=str(worldcover), classes="worldcover", periods=periods)
    chips = chips_of(tmp_path / "set")
    chip, pixels = next((c, p) for c, p in chips if c.scene[11:19] != "20220108" and p.image[0].all())
    (item,) = simulated.catalog.parent.glob(f"*/{chip.scene}/{chip.scene}.json")
    with rasterio.open(item.parent / "B04.tif") as source:
        window = source.window(*rasterio.transform.array_bounds(*chip.shape, Affine(*chip.transform)))
        numbers = source.read(1, window=window.round_offsets().round_lengths()).astype(int)
    assert "04.00" in item.read_text()
    assert (pixels.image[2] == np.maximum(numbers - 1000, 1)).all()


@pytest.mark.parametrize(("crs", "resolution", "least"), [("EPSG:4326", None, 0.9), ("EPSG:3035", 20, 0.7)])
def test_labels_of_another_grid_are_warped_by_nearest(
    simulated, truth, worldcover, tmp_path, crs, resolution, least
) -> None:
    with rasterio.open(worldcover) as source:
        transform, width, height = calculate_default_transform(
            source.crs, crs, source.width, source.height, *source.bounds, resolution=resolution
        )
        warped = np.zeros((height, width), np.uint8)
        reproject(
            rasterio.band(source, 1), warped, dst_transform=transform, dst_crs=crs, resampling=Resampling.nearest,
            dst_nodata=0,
        )  # fmt: skip
    path = write(tmp_path / "other.tif", warped, crs=crs, transform=transform)
    made(tmp_path / "set", simulated.catalog, labels=str(path), classes="worldcover", periods=YEAR)
    chips = chips_of(tmp_path / "set")
    assert agreement(chips, truth) > least
    assert {value for _, pixels in chips for value in np.unique(pixels.labels)} <= {
        *np.unique(truth),
        CLOUD,
        UNLABELLED,
    }


def test_beside_a_raster_without_nodata_nothing_is_labelled(simulated, truth, tmp_path) -> None:
    """Landloom's own numbers, in which 0 is water: what lies beside the raster is none."""
    path = write(tmp_path / "part.tif", truth[:200, :200], nodata=None)
    report = made(
        tmp_path / "set", simulated.catalog, labels=str(path), classes="landloom", periods=YEAR,
        area=HERE, choice=Choice(min_labelled=10),
    )  # fmt: skip
    assert agreement(chips_of(tmp_path / "set"), truth) == 1.0
    assert any(reason.startswith("unlabelled: 0 %") for reason in report.dropped.values())


def test_a_value_without_a_class_is_told(simulated, truth, tmp_path) -> None:
    codes = VALUE[truth].copy()
    codes[:64, :64] = 37
    path = write(tmp_path / "odd.tif", codes)
    report = made(tmp_path / "set", simulated.catalog, labels=str(path), classes="worldcover", periods=YEAR)
    assert report.reasons["value without a class"] >= 3
    assert "value without a class: 37 in odd.tif; --classes may say null" in report.dropped.values()


def test_a_map_of_landlooms_own_kind_tells_its_year(simulated, worldcover, tmp_path) -> None:
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "WorldCover_2021", "bbox": [0, 0, 1, 1], "links": [],
        "geometry": json.loads(shapely.to_geojson(shapely.box(0, 0, 1, 1))),
        "properties": {"datetime": None, "start_datetime": "2021-01-01T00:00:00Z",
                       "end_datetime": "2021-12-31T23:59:59Z"},
        "assets": {"map": {"href": str(worldcover)}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    report = made(tmp_path / "set", simulated.catalog, labels=str(tmp_path / "item.json"), classes="worldcover")
    assert report.written and {str(chip.date)[:4] for chip, _ in chips_of(tmp_path / "set")} == {"2021"}


# Markups


def markup(folder: Path, name: str, truth: np.ndarray, cloud: int = 0) -> Path:
    """As Dynamic World's: 1 to 10, 0 no data; 150 px, at no multiple of 16."""
    value = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], np.uint8)[truth[40:190, 50:200]]
    value[:cloud] = 10
    return write(folder / f"{name}.tif", value, COL + 50, ROW + 40)


def test_markups_find_their_scenes(simulated, truth, tmp_path) -> None:
    folder = tmp_path / "markups"
    scene = next(one.stem for one in simulated.catalog.parent.glob("*/*/*.json") if "20210908" in one.stem)
    markup(folder, "dw_12.1234567_52.12345678-20210509", truth)
    markup(folder, f"marked {scene}", truth, cloud=50)
    markup(folder, "S2A_MSIL2A_20210108T103000_N0301_R022_T33UUU_20210109T000000", truth)
    markup(folder, "dw_12.1_52.1-20210510", truth)
    markup(folder, "somewhere", truth)
    (folder / "broken-20210509.tif").write_bytes(b"II*")
    report = made(tmp_path / "set", simulated.catalog, labels=str(folder))
    assert report.dropped["dw_12.1_52.1-20210510"].startswith("no scene for the markup: ")
    assert report.dropped["somewhere"].startswith("markup of no use: its name tells no day")
    assert "broken" in " ".join(report.dropped)
    chips = chips_of(tmp_path / "set")
    by_day: dict[str, list] = {}
    for chip, pixels in chips:
        by_day.setdefault(chip.scene[11:19], []).append((chip, pixels))
    assert {day: len(some) for day, some in by_day.items()} == {"20210108": 4, "20210509": 4, "20210908": 4}
    assert agreement(chips, truth) == 1.0
    labels = np.concatenate([pixels.labels.ravel() for _, pixels in by_day["20210908"]])
    assert (labels == CLOUD).mean() > 0.25, "the markup's own clouds"
    labels = np.concatenate([pixels.labels.ravel() for _, pixels in by_day["20210509"]])
    assert not (labels == CLOUD).any(), "who looked at the scene saw no cloud, whatever its classification says"


def test_two_markups_of_one_square_count_once(simulated, truth, tmp_path) -> None:
    for annotator in ("expert", "other"):
        markup(tmp_path / "markups" / annotator, "dw_12.1_52.1-20210509", truth)
    report = made(tmp_path / "set", simulated.catalog, labels=str(tmp_path / "markups"))
    assert (report.candidates, report.written) == (8, 4)
    assert report.reasons == {"another markup has the same square": 4}


# Polygons


@pytest.fixture(scope="module")
def polygons(tmp_path_factory) -> Path:
    """A large wood, and a lake in it that lies on top."""

    def square(row: int, col: int, side: int) -> shapely.Polygon:
        left, top = TILE.left + 10 * (COL + col), TILE.top - 10 * (ROW + row)
        return shapely.box(left, top - 10 * side, left + 10 * side, top)

    frame = geopandas.GeoDataFrame(
        {"use": ["forest", "lake", "unknown"]}, geometry=[square(0, 0, 256), square(64, 64, 64), square(300, 0, 10)],
        crs=TILE.epsg,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("polygons") / "uses.parquet"
    frame.to_crs(4326).to_parquet(path)
    return path


def test_polygons_are_burned_the_later_on_top(simulated, polygons, tmp_path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"forest": "trees", "lake": "water", "unknown": None}))
    report = made(
        tmp_path / "set", simulated.catalog, labels=str(polygons), attribute="use", classes=str(names), periods=YEAR,
        choice=Choice(min_labelled=20),
    )  # fmt: skip
    assert report.written
    wanted = np.full((ROWS, COLS), UNLABELLED, np.uint8)
    wanted[:256, :256] = MODEL_CLASSES.index("trees")
    wanted[64:128, 64:128] = WATER
    for chip, pixels in chips_of(tmp_path / "set"):
        expected = true_labels(chip, wanted)
        known = (pixels.labels < CLOUD) & (expected < CLOUD)
        assert (pixels.labels != expected)[known].sum() <= 0.001 * known.sum(), "but for rounding at the edges"
        beside = expected == UNLABELLED
        assert (pixels.labels[beside] >= CLOUD).sum() >= 0.999 * beside.sum()


def test_polygons_may_name_finer_classes(simulated, polygons, tmp_path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"forest": "built", "lake": "industrial", "unknown": None}))
    asked = {"labels": str(polygons), "attribute": "use", "classes": str(names), "periods": YEAR}
    made(tmp_path / "set", simulated.catalog, legend="finer", choice=Choice(min_labelled=90), **asked)
    shown = {name for chip, _ in chips_of(tmp_path / "set") for name in chip.class_pixels}
    assert {"built", "industrial"} <= shown <= {"built", "industrial", "cloud"}
    found, _ = open_training_set(open_store(str(tmp_path / "set")))
    assert ("industrial", "built") in found.parents and found.classes[: len(MODEL_CLASSES)] == MODEL_CLASSES
    with pytest.raises(BadInput, match=r"industrial"):
        made(tmp_path / "other", simulated.catalog, **asked)


# A teacher


def test_a_teacher_labels_scenes_where_it_is_sure(simulated, network, truth, tmp_path) -> None:
    report = made(
        tmp_path / "set", simulated.catalog, teacher=str(network), sure=0.6, area=HERE, periods=YEAR,
        choice=Choice(count=20, max_cloud=60),
    )  # fmt: skip
    chips = chips_of(tmp_path / "set")
    assert report.written == 20 and report.not_drawn > 0
    assert agreement(chips, truth) > 0.7
    for chip, pixels in chips:
        assert chip.teacher == "spectral" and pixels.scores is not None
        taught = pixels.labels < CLOUD
        assert (pixels.scores.argmax(axis=0) == pixels.labels)[taught].all()
        assert (pixels.scores.max(axis=0)[taught] >= 0.6 * 250).all() and pixels.scores.max() <= 250
        assert not pixels.scores[:, pixels.image[0] == 0].any()


def test_a_teacher_sees_what_lies_round_a_chip(simulated, network, tmp_path) -> None:
    """So the seam between two chips does not show: they say the same as one chip of twice the size."""
    for side in (64, 128):
        made(
            tmp_path / str(side), simulated.catalog, teacher=str(network), area=HERE, side=side,
            periods=(Period.parse("2021-09-01/2021-09-30"),), choice=Choice(min_labelled=0),
        )  # fmt: skip
    large = {(chip.transform[2], chip.transform[5]): pixels for chip, pixels in chips_of(tmp_path / "128")}
    compared = 0
    for chip, pixels in chips_of(tmp_path / "64"):
        corner = chip.transform[2], chip.transform[5]
        if corner in large:
            assert (large[corner].scores[:, :64, :64] == pixels.scores).all()
            compared += 1
    assert compared


# The draw, the split, the accounts


def test_a_draw_evens_out_a_rare_class(simulated, truth, worldcover, tmp_path) -> None:
    options = {"labels": str(worldcover), "classes": "worldcover", "periods": YEAR}
    every = made(tmp_path / "all", simulated.catalog, **options)
    some = made(tmp_path / "some", simulated.catalog, choice=Choice(count=6, seed=2), **options)
    assert some.written == 6 and some.candidates == every.candidates

    def shares(report: Report) -> np.ndarray:
        pixels = sum((np.array([told["class_pixels"].get(name, 0) for name in MODEL_CLASSES])
                      for told in report.splits.values()), np.zeros(10))  # fmt: skip
        return np.sort(pixels[pixels > 0] / pixels.sum())

    assert shares(some).max() <= shares(every).max()
    assert shares(some)[0] >= shares(every)[0]


def test_biomes_are_told_and_drawn_from(simulated, worldcover, tmp_path) -> None:
    west, south, east, north = 11.0, 51.0, 12.1, 54.0
    middle = GROUND.centroid.x
    frame = geopandas.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=[shapely.box(west, south, middle, north), shapely.box(middle, south, east + 2, north)], crs=4326,
    )  # fmt: skip
    frame.to_file(tmp_path / "biomes.gpkg")
    report = made(
        tmp_path / "set", simulated.catalog, labels=str(worldcover), classes="worldcover", periods=YEAR,
        biomes=str(tmp_path / "biomes.gpkg"), biome_column="name", choice=Choice(count=12),
    )  # fmt: skip
    assert set(report.biomes) == {"west", "east"}
    assert sum(told["chips"] for told in report.biomes.values()) == 12
    for chip, _ in chips_of(tmp_path / "set"):
        assert chip.biome == ("west" if centre(chip)[0] < middle else "east")


def test_scenes_that_cannot_be_read_are_told(simulated, worldcover, tmp_path) -> None:
    source = tmp_path / "scenes"
    shutil.copytree(simulated.catalog.parent, source)
    for band in ("B12", "B02"):
        (broken,) = source.glob(f"*/*_{'20210509' if band == 'B12' else '20210908'}T*/{band}.tif")
        broken.write_bytes(broken.read_bytes()[:2000])
    report = made(
        tmp_path / "set", source / "catalog.json", labels=str(worldcover), classes="worldcover", periods=YEAR,
    )  # fmt: skip
    assert report.reasons["scene unreadable"] > 20
    assert {chip.scene[11:19] for chip, _ in chips_of(tmp_path / "set")} == {"20210108"}


def test_a_run_that_was_stopped_is_finished_without_another_search(simulated, worldcover, tmp_path) -> None:
    source, out = tmp_path / "scenes", tmp_path / "set"
    shutil.copytree(simulated.catalog.parent, source)
    options = {"labels": str(worldcover), "classes": "worldcover", "periods": YEAR, "choice": Choice(count=8)}
    before = made(out, source / "catalog.json", **options)
    first, second = (path.parent for path in sorted(out.glob("*/*/*.json"))[:2])
    kept = first.joinpath("image.tif").stat().st_mtime_ns
    whole = second.joinpath("labels.tif").read_bytes()
    (second / f"{second.name}.json").unlink()
    next(out.glob("candidates/*.counted.json")).unlink()
    (out / "collection.json").unlink()
    (source / "catalog.json").write_text("{}")
    assert made(out, source / "catalog.json", **options) == before
    assert first.joinpath("image.tif").stat().st_mtime_ns == kept
    assert second.joinpath("labels.tif").read_bytes() == whole
    with pytest.raises(BadInput, match=r"was begun with count = 8, now it is 9"):
        made(out, source / "catalog.json", **{**options, "choice": Choice(count=9)})


def test_nothing_of_use_is_an_error_that_says_why(simulated, worldcover, truth, tmp_path) -> None:
    options = {"labels": str(worldcover), "classes": "worldcover"}
    with pytest.raises(BadInput, match=r"nothing to make chips from .no scene"):
        made(tmp_path / "none", simulated.catalog, periods=(Period.of_year(2018),), **options)
    assert not (tmp_path / "none").exists()
    holes = VALUE[truth].copy()
    holes[::10, ::10] = 0
    options["labels"] = str(write(tmp_path / "holes.tif", holes))
    with pytest.raises(BadInput, match=r"None of \d+ chips can be used .*--min-labelled 100"):
        made(tmp_path / "all", simulated.catalog, periods=YEAR, choice=Choice(min_labelled=100), **options)
    options["labels"] = str(write(tmp_path / "two.tif", holes, count=2))
    with pytest.raises(BadInput, match=r"labels unreadable: two\.tif has 2 bands"):
        made(tmp_path / "two", simulated.catalog, periods=YEAR, **options)


# Use


def test_the_set_is_read_as_any_other_and_the_command_tells_all(simulated, worldcover, tmp_path) -> None:
    out = tmp_path / "set"
    done = landloom(
        *("dataset", "--source", simulated.catalog, "--labels", worldcover, "--classes", "worldcover", "--out", out),
        *("--year", "2021", "--chip", "64", "--count", "12", "--split", "1,0,0"),
    )
    assert done.stdout.strip() == f"{out}/collection.json"
    assert "12 of" in done.stderr and "not drawn" in done.stderr and "flooded_vegetation" in done.stderr
    chips = read_chips([str(out)], "train")
    assert len(chips) == 12 and all(chip.image.shape == (9, 64, 64) for chip in chips)
    report = json.loads((out / "report.json").read_text())
    assert report["written"] == 12 and report["candidates"] == 12 + report["not_drawn"] + len(report["dropped"])
