"""A published map against polygons and points."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from catalog.errors import BadInput
from catalog.grid import Tile
from catalog.legend import load_legend
from catalog.store import open_store
from services.evaluation.maps import evaluate_map
from tests.catalog.tile_years import class_map, manifest_of, publish

LEGEND = load_legend("nine")
CODE = {one.name: one.code for one in LEGEND.classes}
MAP = class_map(LEGEND)
TILE = Tile.from_name("48QUE")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory) -> str:
    """The item of a published map with all classes in patches, 73 % confident everywhere."""
    folder, work = tmp_path_factory.mktemp("maps"), tmp_path_factory.mktemp("work")
    manifest = manifest_of()
    publish(open_store(str(folder)), manifest, work)
    return str(folder / manifest.item_key)


def square(row0: int, row1: int, col0: int, col1: int) -> shapely.Polygon:
    """Ground of some rows and columns of the tile, ends not included."""
    return shapely.box(TILE.left + 10 * col0, TILE.top - 10 * row1, TILE.left + 10 * col1, TILE.top - 10 * row0)


def spot(row: float, col: float) -> shapely.Point:
    return shapely.Point(TILE.left + 10 * col, TILE.top - 10 * row)


def written(path: Path, *features: tuple[str | None, shapely.Geometry], crs: str | None = "EPSG:32648") -> Path:
    uses = [use for use, _ in features]
    geopandas.GeoDataFrame({"use": uses}, geometry=[one for _, one in features], crs=crs).to_file(path)
    return path


def classes(path: Path, **names: str | None) -> Path:
    path.write_text(json.dumps(names))
    return path


def of_class(evaluation, name):
    return next(one for one in evaluation.pooled.classes if one.name == name)


def test_pixels_with_their_centre_in_a_polygon_are_counted(mapped, tmp_path):
    reference = written(
        tmp_path / "ground.gpkg", ("trees", square(200, 300, 300, 500)), ("water", square(400, 500, 300, 500))
    )
    found, pictures = evaluate_map(mapped, reference, "use")
    trees, water = MAP[200:300, 300:500], MAP[400:500, 300:500]
    cloud = sum(int((one == CODE["clouds"]).sum()) for one in (trees, water))
    right = int((trees == CODE["trees"]).sum() + (water == CODE["water"]).sum())
    assert found.pooled.pixels == 2 * 100 * 200 - cloud
    assert found.pooled.overall.value == pytest.approx(right / found.pooled.pixels)
    assert found.left_out == {"px under cloud in the map": cloud}
    names = [one.name for one in found.classes]
    row = dict(zip(names, found.pooled.confusion[names.index("trees")], strict=True))
    assert row == {name: int((trees == CODE[name]).sum()) for name in names}
    assert found.pooled.calibration.confidence == pytest.approx(0.73)
    assert [(one.name, one.pixels) for one in found.groups["use"]] == [
        (name, int((part != CODE["clouds"]).sum())) for name, part in (("trees", trees), ("water", water))
    ]
    assert {one.name for one in found.groups["polygon"]} == {"1 trees", "2 water"}
    (picture,) = pictures
    (_, drawn), (_, of_map), (_, differ) = picture.panels
    assert tuple(drawn[50, 100]) == tuple(bytes.fromhex("397D49")) and tuple(drawn[250, 100]) == (0x41, 0x9B, 0xDF)
    palette = LEGEND.palette()
    assert [tuple(of_map[row, 100]) for row in range(100)] == [
        (0xF1, 0xF3, 0xF5) if code == CODE["clouds"] else palette[code][:3] for code in map(int, MAP[200:300, 400])
    ]
    assert len(np.unique(differ.reshape(-1, 3), axis=0)) == 3
    assert found.title == "Agreement of 48QUE-2020 with the polygons of ground.gpkg"


def test_a_degree_file_and_other_names_give_the_same(mapped, tmp_path):
    features = ("forest", square(200, 300, 300, 500)), ("lake", square(400, 500, 300, 500))
    own = written(tmp_path / "own.gpkg", *(({"forest": "trees"}.get(use, "water"), one) for use, one in features))
    frame = geopandas.GeoDataFrame({"use": [use for use, _ in features]}, geometry=[one for _, one in features])
    frame.set_crs("EPSG:32648").to_crs("EPSG:4326").to_file(tmp_path / "degrees.geojson")
    names = classes(tmp_path / "names.json", forest="trees", lake="water")
    found, _ = evaluate_map(mapped, tmp_path / "degrees.geojson", "use", names, name="the survey")
    assert found.pooled.confusion == evaluate_map(mapped, own, "use")[0].pooled.confusion
    assert found.title.endswith("with the survey")


def test_the_networks_classes_are_names_too(mapped, tmp_path):
    """Grass and shrub are both rangeland in this legend."""
    reference = written(
        tmp_path / "ground.gpkg", ("grass", square(200, 300, 300, 500)), ("shrub", square(400, 500, 300, 500))
    )
    found, _ = evaluate_map(mapped, reference, "use")
    assert of_class(found, "rangeland").pixels == found.pooled.pixels


def test_where_polygons_overlap_the_later_one_lies_on_top(mapped, tmp_path):
    wood, lake = ("trees", square(200, 300, 300, 500)), ("water", square(250, 280, 350, 400))
    above, _ = evaluate_map(mapped, written(tmp_path / "above.gpkg", wood, lake), "use")
    below, _ = evaluate_map(mapped, written(tmp_path / "below.gpkg", lake, wood), "use")
    assert of_class(above, "water").pixels == int((MAP[250:280, 350:400] != CODE["clouds"]).sum())
    assert of_class(below, "water").pixels == 0


def test_places_without_data_are_left_out_and_told(mapped, tmp_path):
    found, _ = evaluate_map(mapped, written(tmp_path / "edge.gpkg", ("trees", square(100, 300, 100, 400))), "use")
    data = MAP[100:300, 100:400]
    assert found.left_out["px without data in the map"] == int((data == 0).sum()) > 0
    assert found.pooled.pixels == int((~np.isin(data, (0, CODE["clouds"]))).sum())


def test_values_without_a_class_are_left_out_and_told(mapped, tmp_path):
    reference = written(
        tmp_path / "ground.gpkg", ("forest", square(200, 300, 300, 500)), ("quarry", square(400, 500, 300, 500)),
        (None, square(400, 500, 500, 550)),
    )  # fmt: skip
    found, _ = evaluate_map(mapped, reference, "use", classes(tmp_path / "c.json", forest="trees", quarry=None))
    assert found.left_out["features whose value --classes leaves out"] == 1
    assert found.left_out["features without use"] == 1
    assert [one.name for one in found.groups["use"]] == ["forest"]


def test_points_take_the_pixel_they_lie_in(mapped, tmp_path):
    rows, cols = np.random.default_rng(0).integers(180, 690, (2, 300))
    truth = MAP[rows, cols]
    names = {code: name for name, code in CODE.items()}
    # In the pixels' last corners, too: the centre is not needed.
    points = [(names[int(code)], spot(r + 0.95, c + 0.05)) for code, r, c in zip(truth, rows, cols, strict=True)]
    points = [(name, one) for name, one in points if name != "clouds"]
    beside = ("trees", spot(-5.5, 300))
    reference = written(tmp_path / "points.geojson", *points, beside)
    found, pictures = evaluate_map(mapped, reference, "use")
    assert (found.reference.kind, found.reference.unit, pictures) == ("points", "point", [])
    assert found.pooled.pixels == found.pooled.places == len(points)
    assert found.pooled.overall.value == 1.0
    assert found.left_out == {"points beside the map": 1}


def test_polygons_are_what_is_resampled(mapped, tmp_path):
    squares = [("trees", square(200 + 40 * k, 230 + 40 * k, 300, 400)) for k in range(8)]
    found, _ = evaluate_map(mapped, written(tmp_path / "eight.gpkg", *squares), "use")
    trees = of_class(found, "trees")
    assert trees.places == found.pooled.places == 8
    assert trees.recall.low < trees.recall.value < trees.recall.high
    assert all(one.overall.low is None for one in found.groups["polygon"])


FIELD = ("trees", square(200, 300, 300, 500))


@pytest.mark.parametrize(
    ("features", "attribute", "names", "told"),
    [
        ([("trees", square(5000, 5100, 5000, 5100))], "use", None, r"Nothing of .*gpkg' lies on the map 48QUE-2020"),
        ([("trees", spot(5000, 5000))], "use", None, r"Nothing of .*gpkg' lies on the map 48QUE-2020"),
        ([("trees", square(200, 200.3, 300, 500))], "use", None, r"No pixel of .*48QUE-2020 has its centre in"),
        ([("trees", square(10, 20, 10, 20))], "use", None, r"Nothing of .* no pixel has a class in both"),
        ([FIELD], "landuse", None, r"ground.gpkg' has no column 'landuse'. It has use"),
        ([("oaks", FIELD[1])], "use", None, r"'oaks' \(column 'use' of .*ground.gpkg'\) is none of the classes water"),
        ([FIELD], "use", {"trees": "oaks"}, r"'oaks' \(column 'use' of .*names.json'\) is none of the classes water"),
        ([FIELD], "use", {"forest": "trees"}, r"names.json' lacks 'trees', of column 'use'"),
        ([FIELD], "use", {"trees": None}, r"No feature of .*ground.gpkg' has a class"),
        ([FIELD], "use", {"trees": 2}, r"names.json' is no JSON object of names"),
        ([FIELD, ("trees", spot(250, 350))], "use", None, r"ground.gpkg' holds Point, Polygon. Give polygons alone"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(mapped, tmp_path, features, attribute, names, told):
    reference = written(tmp_path / "ground.gpkg", *features)
    file = None if names is None else classes(tmp_path / "names.json", **names)
    with pytest.raises(BadInput, match=told):
        evaluate_map(mapped, reference, attribute, file)


def test_files_that_cannot_be_read_are_named(mapped, tmp_path):
    good = written(tmp_path / "ground.gpkg", FIELD)
    with pytest.raises(BadInput, match=r"Reference '.*gone.gpkg' cannot be read"):
        evaluate_map(mapped, tmp_path / "gone.gpkg", "use")
    with pytest.raises(BadInput, match=r"'.*gone.json' cannot be read as a STAC item"):
        evaluate_map(str(tmp_path / "gone.json"), good, "use")
    with pytest.raises(BadInput, match=r"--classes '.*gone.json' cannot be read as JSON"):
        evaluate_map(mapped, good, "use", tmp_path / "gone.json")
    item = json.loads(Path(mapped).read_text())
    del item["assets"]["confidence"]
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(BadInput, match=r"Item 48QUE-2020 needs the assets 'data' .* and 'confidence'"):
        evaluate_map(str(tmp_path / "item.json"), good, "use")
