"""The command line: what it refuses, what it tells, and with which exit code."""

import json
import re
import warnings
from datetime import UTC, datetime

import geopandas
import numpy as np
import pytest
import shapely
import typer

from catalog.chips import Pixels
from catalog.legend import load_legend
from catalog.store import open_store
from pipelines import cli, run
from services.inference import DEFAULT_MODEL, open_network
from services.inference.chips import NINE_TO_SIX
from services.inference.evaluate import predict
from tests.networks import write_spectral_network
from tests.pipelines.running import landloom
from tests.training_sets import CLOUD, CROPS, LAKES, a_chip, a_lake, write_lakes

BOX = ("--bbox", "12.3,52.3,12.4,52.4")
YEAR = ("--year", "2021")


def polygons(path, *geometries, crs="EPSG:4326"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # A file without a CRS is what one test wants.
        geopandas.GeoDataFrame(geometry=list(geometries), crs=crs).to_file(path)
    return path


NEXT_YEAR = datetime.now(UTC).year + 1
BAD_PLACES_AND_TIMES = {
    "a year before Landsat 5": ((*BOX, "--year", "1983"), "Year 1983", "from 1984"),
    "a year to come": ((*BOX, "--year", f"2021,{NEXT_YEAR}"), f"Year {NEXT_YEAR}", "from 1984"),
    "no year": ((*BOX, "--year", "MMXX"), "'MMXX'", "2020,2021"),
    "neither year nor period": (BOX, "--year", "--period"),
    "both year and period": ((*BOX, *YEAR, "--period", "2021-01-01"), "either", "--period START/END"),
    "a period that is none": ((*BOX, "--period", "spring 2021"), "'spring 2021'", "2020-03-01/2020-05-31"),
    "a day that is none": ((*BOX, "--period", "2021-02-30"), "'2021-02-30'", "START/END"),
    "a period back to front": ((*BOX, "--period", "2021-05-01/2021-03-01"), "'2021-05-01/2021-03-01'", "in order"),
    "a period before Landsat 5": ((*BOX, "--period", "1982-03-01/1982-05-31"), "'1982-03-01/1982-05-31'", "1984"),
    "a box upside down": ((*YEAR, "--bbox", "12,53,13,52"), "'12,53,13,52'", "S below N"),
    "a box without height": ((*YEAR, "--bbox", "12,52,13,52"), "'12,52,13,52'", "S below N"),
    "a box without width": ((*YEAR, "--bbox", "12,52,12,53"), "'12,52,12,53'", "W left of E"),
    "a box from east to west": ((*YEAR, "--bbox", "13,52,12,53"), "'13,52,12,53'", "antimeridian"),
    "a box of words": ((*YEAR, "--bbox", "a,b,c,d"), "'a,b,c,d'", "W,S,E,N in degrees"),
    "a box of three numbers": ((*YEAR, "--bbox", "12,52,13"), "'12,52,13'", "W,S,E,N in degrees"),
    "a box with a number that is none": ((*YEAR, "--bbox", "nan,52,13,53"), "'nan,52,13,53'", "W,S,E,N"),
    "a box off the globe": ((*YEAR, "--bbox", "-190,52,-185,53"), "'-190,52,-185,53'", "-180 to 180"),
    "a box at the pole": ((*YEAR, "--bbox", "0,85,10,89"), "'0,85,10,89'", "84 N"),
    "a centre off the globe": ((*YEAR, "--centre", "12,95", "--size-km", "5,5"), "'12,95'", "-90 to 90"),
    "a centre without a size": ((*YEAR, "--centre", "12,52"), "--centre", "--size-km"),
    "a size without a centre": ((*YEAR, *BOX, "--size-km", "5,5"), "--centre", "--size-km"),
    "a size of nothing": ((*YEAR, "--centre", "12,52", "--size-km", "0,5"), "'0,5'", "above 0"),
    "an unknown tile": ((*YEAR, "--tiles", "33UUU,33IOO"), "'33IOO'", "as 48QUE"),
    "no tile": ((*YEAR, "--tiles", ","), "','", "48QUE"),
    "a box and tiles": ((*YEAR, *BOX, "--tiles", "33UUU"), "--bbox", "Give one area"),
    "no area": (YEAR, "none", "--bbox"),
    "a name in square brackets": ((*YEAR, "--aoi", "[old]/[/x].gpkg"), "'[old]/[/x].gpkg'", "polygon file"),
    "a file that is not there": ((*YEAR, "--aoi", "no-such.geojson"), "'no-such.geojson'", "polygon file"),
}


@pytest.mark.parametrize(("arguments", "named", "remedy"), BAD_PLACES_AND_TIMES.values(), ids=BAD_PLACES_AND_TIMES)
def test_places_and_times_that_cannot_be_mapped(command, simulated, tmp_path, arguments, named, remedy):
    refused(command, simulated.catalog, tmp_path / "out", arguments, named, remedy)


BAD_SETTINGS = {
    "no scene at all": (("--max-scenes", "0"), "--max-scenes 0", "1 to 1000"),
    "more than all cloud": (("--max-cloud", "101"), "--max-cloud 101", "0 to 100"),
    "less than no cloud": (("--max-cloud=-1",), "--max-cloud -1", "0 to 100"),
    "more looks than scenes": (("--min-observations", "30"), "--min-observations 30", "--max-scenes (24)"),
    "a number of scenes that is none": (("--max-scenes", "many"), "'many'", "whole number"),
    "a share of cloud that is none": (("--max-cloud", "some"), "'some'", "a number"),
    "an unknown legend": (("--legend", "eleven"), "'eleven'", "nine, ten"),
    "an unknown network": (("--model", "unet-huge"), "'unet-huge'", "unet-small"),
    "a network that is not there": (("--model", "no-such.onnx"), "'no-such.onnx'", "ONNX file"),
    "a misspelt option": (("--max-scense", "3"), "'--max-scense'", "Did you mean --max-scenes?"),
    "a misspelt option of Beam": (("--direct_num_wokers=2",), "--direct_num_wokers=2", "--direct_num_workers?"),
    "a bad value of Beam": (("--direct_num_workers=two",), "'two'", "--direct_num_workers"),
    "a word too many": (("everything",), "'everything'", "landloom map --help"),
    "another store": (("--out", "azure://bucket/maps"), "'azure://bucket/maps'", "s3://BUCKET/PREFIX"),
    "a mapping that is not there": (("--mapping", "no-such.json"), "'no-such.json'", "JSON file"),
}


@pytest.mark.parametrize(("arguments", "named", "remedy"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings_that_make_no_map(command, simulated, tmp_path, arguments, named, remedy):
    refused(command, simulated.catalog, tmp_path / "out", (*BOX, *YEAR, *arguments), named, remedy)


def refused(command, source, out, arguments, named, remedy):
    """One paragraph that names the value and the remedy, exit code 2, nothing written."""
    code, printed, told = command("map", "--source", source, "--out", out, *arguments)
    assert code == 2, told
    assert named in told and remedy in told
    assert "Traceback" not in told and "\n\n" not in told.strip() and len(told) < 1200
    assert not printed and not out.exists()


def test_polygon_files_that_hold_no_place(command, simulated, tmp_path):
    lonely, outside = shapely.Point(12.35, 52.35), shapely.box(190, 10, 200, 20)
    (tmp_path / "text.geojson").write_text("this is no GeoJSON")
    for path, remedy in (
        (polygons(tmp_path / "points.geojson", lonely), "a file with polygons"),
        (polygons(tmp_path / "outside.gpkg", outside), "Check their CRS"),
        (polygons(tmp_path / "nowhere.gpkg", shapely.box(0, 0, 1, 1), crs=None), "EPSG:4326"),
        (tmp_path / "text.geojson", "GeoPackage"),
    ):
        refused(command, simulated.catalog, tmp_path / "out", (*YEAR, "--aoi", path), path.name, remedy)


def test_sources_that_are_none(command, simulated, tmp_path):
    empty, table = tmp_path / "empty.json", tmp_path / "table.json"
    empty.write_text(json.dumps({"type": "Catalog", "id": "empty", "links": []}))
    table.write_text("band,file")
    for source, remedy in (
        ("no-such-source", "planetary-computer"),
        ("ftp://example.org/scenes", "planetary-computer"),
        (tmp_path / "no-such.json", "static catalog"),
        (empty, "a catalog with scenes"),
        (table, "Give a STAC catalog"),
    ):
        refused(command, source, tmp_path / "out", (*BOX, *YEAR), str(source), remedy)


def test_a_source_without_the_six_bands(command, simulated, tmp_path):
    items = []
    for path in sorted(simulated.catalog.parent.glob("sentinel-2-l2a/*/*.json")):
        item = json.loads(path.read_text())
        item["assets"] = {name: asset for name, asset in item["assets"].items() if name not in ("B11", "B12")}
        items.append(tmp_path / path.name)
        items[-1].write_text(json.dumps(item))
    links = [{"rel": "item", "href": f"./{path.name}"} for path in items]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "four", "links": links}))
    refused(command, tmp_path / "catalog.json", tmp_path / "out", (*BOX, *YEAR), "without band B11, B12", "--mapping")


def test_a_network_of_another_input(command, simulated, tmp_path):
    network = write_spectral_network(tmp_path / "radar.onnx", bands=("B02", "B03", "VV", "VH"))
    arguments = (*BOX, *YEAR, "--model", network)
    refused(command, simulated.catalog, tmp_path / "out", arguments, "radar.onnx", "wants band 'VV'")


def test_a_network_of_bands_that_the_source_lacks(command, simulated, tmp_path):
    network = write_spectral_network(tmp_path / "edge.onnx", bands=("B02", "B03", "B04", "B05"))
    arguments = (*BOX, *YEAR, "--model", network)
    refused(command, simulated.catalog, tmp_path / "out", arguments, "without band B05", "--mapping")


def test_a_legend_that_does_not_fit(command, simulated, tmp_path):
    broken, short = tmp_path / "broken.json", tmp_path / "short.json"
    broken.write_text('{"id": "broken"}')
    classes = [{"code": k, "name": name, "title": name, "color": "000000", "model_classes": [name]} for k, name in
               enumerate(("water", "trees"), 1)]  # fmt: skip
    short.write_text(json.dumps({"id": "short", "version": "1", "description": "two", "classes": classes}))
    for path, named, remedy in ((broken, "broken.json", "version"), (short, "Legend short", "every class")):
        refused(command, simulated.catalog, tmp_path / "out", (*BOX, *YEAR, "--legend", path), named, remedy)


@pytest.mark.slow
def test_a_level_of_a_legend_is_mapped(command, simulated, network, tmp_path):
    """Water and ground at level 1; at level 2 ground is eight classes."""
    ground = {"code": 20, "name": "ground", "title": "Ground", "color": "886644"}
    ten = [one.model_dump(mode="json") for one in load_legend("ten").classes]
    classes = [ground, *(one if one["code"] in (1, 10) else {**one, "parent": "ground"} for one in ten)]
    told = {"id": "ground", "version": "3", "description": "Water or not", "classes": classes}
    (legend := tmp_path / "ground.json").write_text(json.dumps(told))
    asked = ("map", "--source", simulated.catalog, "--tiles", "33UUU", *YEAR, "--model", network, "--legend", legend)
    code, _, error = command(*asked, "--out", tmp_path / "out", "--level", "3")
    assert code == 2 and "There is no level 3 of legend ground: it has the levels 1 to 2." in error
    shown = {}
    for level in ("1", "2"):
        code, _, error = command(*asked, "--out", tmp_path / f"out-{level}", "--level", level)
        assert code == 0, error
        item = json.loads((tmp_path / f"out-{level}/lulc-annual/33UUU/2021/33UUU-2021.json").read_text())
        assert item["properties"]["landloom:legend"] == f"ground 3 level {level}"
        assert len(item["properties"]["landloom:legend_tree"]) == 11
        shown[level] = {name for name, pixels in item["properties"]["landloom:class_pixels"].items() if pixels}
    assert "ground" in shown["1"] <= {"ground", "water", "clouds"}
    assert len(shown["2"]) > 3 and "ground" not in shown["2"]
    code, _, error = command(*asked[:-2], "--legend", "finer", "--out", tmp_path / "out")
    assert code == 2 and "Legend finer at level 2 has no class for crops of network spectral" in error


@pytest.mark.slow
def test_an_error_of_the_command_itself(simulated, tmp_path):
    """As the user's shell sees it."""
    arguments = ("--source", simulated.catalog, "--out", tmp_path / "out", *YEAR)
    told = landloom("map", *arguments, "--bbox", "12,53,13,52", check=2).stderr
    assert told.startswith("Error: Box '12,53,13,52'") and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_option_that_is_missing_is_named(command, tmp_path):
    code, _, told = command("map", *BOX, *YEAR, "--out", tmp_path / "out")
    assert code == 2 and "Missing option '--source'" in told


def test_west_longitudes_are_no_options(command, simulated, tmp_path):
    code, _, told = command(
        *("map", "--source", simulated.catalog, "--out", tmp_path, "--bbox", "-70.1,-10.2,-70.0,-10.1", *YEAR)
    )
    assert code == 0 and "no usable scene" in told


def test_options_of_beam_are_passed_on(command, simulated, network, tmp_path, monkeypatch):
    passed = []
    whole = run.map_tile_years
    monkeypatch.setattr(run, "map_tile_years", lambda job, plan, beam, tell: passed.append(beam) or whole(job, plan))
    code, _, _ = command(
        *("map", "--source", simulated.catalog, "--out", tmp_path, "--model", network, "--tiles", "33UUT", *YEAR),
        *("--direct_num_workers=2", "--direct_running_mode", "multi_processing", "--job_name=belgium"),
    )
    assert code == 0
    assert passed == [
        ["--direct_num_workers=2", "--direct_running_mode", "multi_processing", "--job_name=belgium"],
    ]


@pytest.mark.slow
def test_a_map_prints_what_was_published_and_what_was_not(command, simulated, network, tmp_path):
    arguments = ("map", "--source", simulated.catalog, "--out", tmp_path, "--model", network, "--tiles", "33UUU,33UUT")
    code, printed, told = command(*arguments, *YEAR)
    assert code == 0
    assert printed == f"{tmp_path}/lulc-annual/33UUU/2021/33UUU-2021.json\n"
    assert "Skipped 33UUT-2021: no usable scene" in told


@pytest.mark.slow
def test_a_dead_lettered_tile_year_is_told_by_the_exit_code(command, simulated, network, tmp_path):
    code, printed, told = command(
        *("map", "--source", simulated.catalog, "--out", tmp_path, "--model", network, "--tiles", "33UUU"),
        *(*YEAR, "--min-observations", 4),
    )
    assert code == 3 and not printed
    assert "Dead-lettered 33UUU-2021: no pixel has --min-observations 4" in told


@pytest.mark.parametrize("name", ["map", "estimate", "sample", "dataset", "evaluate", "show", "index"])
def test_help_explains_every_option(command, name):
    code, told, _ = command(name, "--help")
    assert code == 0
    parameters = typer.main.get_command(cli.app).commands[name].params
    assert parameters
    for parameter in parameters:
        assert parameter.help, f"{parameter.name} is not explained"
        shown = parameter.opts[0] if parameter.opts[0].startswith("--") else parameter.opts[0].lower()
        assert re.search(rf"{re.escape(shown)}\b", told.lower()), shown
    if name == "map":
        assert "--direct_num_workers=2" in told and "3 some tile-years dead-lettered" in told


def test_an_estimate_as_json(command, simulated, tmp_path):
    code, printed, _ = command("estimate", "--source", simulated.catalog, "--tiles", "33UUU", *YEAR, "--json")
    found = json.loads(printed)
    assert code == 0
    assert (found["tile_years"], found["blocks"], found["datatakes"], found["scenes"]) == (1, 2, 3, 3)


def test_an_estimate_as_a_table_marks_what_is_assumed(command, simulated):
    code, _, told = command("estimate", "--source", simulated.catalog, "--tiles", "33UUU,33UUT", *YEAR)
    assert code == 0
    assert "1 (of 2; the others have no usable scene)" in told
    assert "pixels_per_gpu_second: ASSUMED" in told


def test_an_estimate_plays_the_run_through(command, simulated):
    estimate = ("estimate", "--source", simulated.catalog, "--tiles", "33UUU", *YEAR, "--runner", "dataflow")
    code, printed, _ = command(*estimate, "--workers", "1,2", "--gpus", "0,1", "--json")
    found = json.loads(printed)["forecasts"]
    assert code == 0
    assert [(one["workers"], one["gpus"]) for one in found] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert all(one["hours"] > 0.05 and one["limit"] == "start and planning" for one in found)
    _, _, told = command(*estimate, "--workers", "10")
    assert "On dataflow" in told and "start_seconds: ASSUMED" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--runner", "spark", "--workers", "10"), "--runner 'spark' cannot be planned for. Give one of dataflow"),
        (("--runner", "flink", "--workers", "0"), "--workers 0 is not possible"),
        (("--runner", "flink", "--workers", "many"), "--workers 'many' is not a list of whole numbers"),
        (("--runner", "flink"), "How many workers has --runner flink?"),
        (("--workers", "10"), "Give --runner dataflow, too"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_before_anything_is_planned(command, options, told):
    code, _, error = command("estimate", "--source", "no-such-catalog", "--tiles", "33UUU", *YEAR, *options)
    assert code == 2 and told in error


def test_the_price_table_is_written_edited_and_used(command, simulated, tmp_path):
    estimate = ("estimate", "--source", simulated.catalog, "--tiles", "33UUU", *YEAR, "--json")
    mine = tmp_path / "prices.json"
    _, before, _ = command(*estimate, "--write-prices", mine)
    table = json.loads(mine.read_text())
    table["prices_usd"]["core_hour"] *= 3
    mine.write_text(json.dumps(table))
    _, after, _ = command(*estimate, "--prices", mine)
    assert json.loads(after)["core_usd"] == pytest.approx(3 * json.loads(before)["core_usd"])


def test_show_and_evaluate_name_what_they_cannot_read(command, tmp_path):
    for arguments in (
        ("show", "no-such-item.json", "--png", tmp_path / "map.png"),
        ("evaluate", "--item", "no-such-item.json", "--reference", "x", "--attribute", "y", "--out", tmp_path / "out"),
    ):
        code, _, told = command(*arguments)
        assert code == 2 and "'no-such-item.json'" in told and "Traceback" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model", "unet-small", "--item", "item.json"), "--model and --item do not go together"),
        (("--dataset", "set", "--reference", "r.gpkg"), "--dataset and --reference do not go together"),
        ((), "--dataset is missing"),
        (("--model", "unet-small"), "--dataset is missing"),
        (("--item", "item.json", "--reference", "r.gpkg"), "--attribute is missing"),
        (("--classes", "classes.json"), "--item, --reference, --attribute is missing"),
        (("--dataset", "no-such-set"), "no-such-set/collection.json' is no training set"),
        (("--dataset", "set", "--split", "half"), "--split 'half' is none of train, validation, test"),
        (("--dataset", "set", "--model", "other"), "no network 'other'"),
        (("--dataset", "set", "--votes", "mine"), "--votes 'mine' is none of published, cross-fitted, share"),
        (("--item", "item.json", "--votes", "share"), "--votes and --item do not go together"),
    ],
)
def test_an_evaluation_names_what_is_missing_or_too_much(command, tmp_path, arguments, told):
    code, _, error = command("evaluate", *arguments, "--out", tmp_path / "out")
    assert code == 2 and told in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


SCENES = ("--source", "scenes")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Give one of --chips FOLDER"),
        (("--chips", "chips", "--labels", "map.tif"), "--chips and --labels do not go together"),
        (("--chips", "chips", "--count", "5"), "--chips and --count do not go together"),
        (("--chips", "chips", *BOX), "--chips and --bbox do not go together"),
        (("--labels", "map.tif", "--teacher", "unet-small", *SCENES), "--labels and --teacher do not go together"),
        (("--labels", "map.tif", "--sure", "0.9", *SCENES), "--labels and --sure do not go together"),
        (("--teacher", "unet-small", "--classes", "esri", *SCENES), "--teacher and --classes do not go together"),
        (("--labels", "map.tif"), "--labels needs --source"),
        (("--teacher", "unet-small", *SCENES, *YEAR), "--teacher needs an area"),
        (("--teacher", "unet-small", *SCENES, *BOX), "--year is missing"),
        (("--teacher", "unet-huge", *SCENES, *BOX, *YEAR), "no network 'unet-huge'"),
        (("--teacher", "unet-small", *SCENES, *BOX, *YEAR, "--sure", "2"), "--sure 2 is not a probability"),
        (("--labels", "map.tif", *SCENES, *YEAR), "--classes is missing"),
        (("--labels", "map.tif", *SCENES, *YEAR, "--classes", "worldcover"), "There is no 'map.tif'"),
        (("--labels", "map.tif", *SCENES, *YEAR, "--classes", "mine.json"), "'mine.json' cannot be read as JSON"),
        (("--labels", "map.tif", *SCENES, *YEAR, "--attribute", "use"), "is a column of polygons"),
        (("--labels", "ground.gpkg", *SCENES, *YEAR), "--attribute is missing"),
        (("--labels", ".", *SCENES, *YEAR), "do not go with markups"),
        (("--labels", "map.tif", *SCENES, "--chip", "100"), "--chip 100 is not possible"),
        (("--labels", "map.tif", *SCENES, "--count", "0"), "--count 0 is not possible"),
        (("--labels", "map.tif", *SCENES, "--split", "0.8,0.2"), "--split '0.8,0.2' is not possible"),
        (("--labels", "map.tif", *SCENES, "--min-labelled", "101"), "--min-labelled 101 is not a percentage"),
        (("--labels", "map.tif", *SCENES, "--bands", "B02,VV"), "--bands 'B02,VV' names 'VV'"),
        (("--labels", "map.tif", *SCENES, "--biomes", "b.gpkg"), "--biomes FILE and --biome-column COLUMN go together"),
    ],
)
def test_a_training_set_that_cannot_be_is_refused(command, tmp_path, arguments, told):
    code, printed, error = command("dataset", *arguments, "--out", tmp_path / "out")
    assert code == 2 and told in error, error
    assert "Traceback" not in error and not printed and not list(tmp_path.iterdir())


def test_an_evaluation_prints_the_table_and_where_the_page_lies(command, tmp_path):
    dataset, out = write_lakes(tmp_path / "lakes"), tmp_path / "out"
    code, printed, told = command("evaluate", "--dataset", dataset, "--split", "val", "--out", out)
    assert code == 0 and printed == f"{out}/evaluation.html\n"
    assert "with teacher threshold" in told and "not estimable" in told
    found = json.loads((out / "evaluation.json").read_text())
    assert found["data"] == "1 chips of lakes, split validation"
    assert [one["name"] for one in found["groups"]["place"]] == ["shore"]


@pytest.mark.slow
def test_the_confidence_of_maps_is_calibrated_on_places_of_several_dates_and_evaluated(command, tmp_path):
    store, out = open_store(str(tmp_path / "lakes")), tmp_path / "calibrated.onnx"
    before = open_network(DEFAULT_MODEL)
    for number in range(6):
        place, month = f"lake-{number // 3}", 4 + number % 3
        date = f"2021-0{month}-05T10:00:00Z"
        told = {"place": place, "scene": f"{place}-{month}", "date": date, "split": "validation", "teacher": None}
        image = a_lake(number).image[:, 40:104, 48:112]
        # As the network itself says, but for a fifth: it has learned nothing of made-up lakes.
        labels = predict(before, image[NINE_TO_SIX]).argmax(axis=0).astype(np.uint8)
        labels[np.random.default_rng(number).random(labels.shape) < 0.2] = CROPS
        LAKES.write_chip(store, a_chip(f"{place}-{month}", shape=(64, 64), **told), Pixels(image, labels, None))
    LAKES.publish(store)
    calibrate = ("models", "calibrate", DEFAULT_MODEL, "--out", out, "--version", "9")
    code, printed, told = command(*calibrate, "--dataset", tmp_path / "lakes", "--reference-name", "the lakes")
    assert code == 0 and printed == f"{out}\n" and "fitted on 2 places" in " ".join(told.split())
    after = open_network(str(out))
    assert (after.spec.version, after.spec.vote.places, after.spec.vote.reference) == ("9", 2, "the lakes")
    chip = a_lake().image[NINE_TO_SIX][np.newaxis]
    found, wanted = after.scores(chip).astype(int), before.scores(chip)
    best = np.take_along_axis(found, wanted.argmax(axis=1, keepdims=True), axis=1)[:, 0]
    # Scores that are equal but for their rounding may change places; cloud may gain, which gets what snow cannot be.
    same = (best + 1 >= found.max(axis=1)) | (found.argmax(axis=1) == CLOUD)
    assert same.all() and not np.array_equal(found, wanted)
    made, was = after.provenance, before.provenance
    assert made.temperature != was.temperature and made.temperature_without.keys() == {"lake-0", "lake-1"}
    assert (made.steps, made.recipe, made.reference) == (was.steps, was.recipe, "the lakes")
    evaluate = ("evaluate", "--model", out, "--dataset", tmp_path / "lakes", "--votes", "published", "--out")
    assert command(*evaluate, tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    names = {group: {one["name"] for one in found["groups"][group]} for group in ("level", "looks")}
    assert names["level"] == {"L2A, one look", "L2A, several looks"} and "3 and 4 looks" in names["looks"]
    code, printed, told = command(*calibrate, "--dataset", write_lakes(tmp_path / "single"))
    assert code == 2 and not printed and "the split validation has labels in 1" in told
    spectral = write_spectral_network(tmp_path / "spectral.onnx")
    code, _, told = command(*("models", "calibrate", spectral, *calibrate[3:]), "--dataset", tmp_path / "single")
    assert code == 2 and "The scores of spectral stay as they are" in " ".join(told.split())
