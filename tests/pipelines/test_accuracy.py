"""`landloom accuracy` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pytest

from catalog.validation import validate
from pipelines.cli import console, run
from tests.services.change.maps import write_years
from tests.services.change.truths import truth_and_maps

SEEN = {1: "water", 2: "trees", 5: "crops"}


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> str:
    return write_years(tmp_path_factory.mktemp("maps"), *truth_and_maps()[1])


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `landloom accuracy` in this process, which spares its start; what it prints on stdout and stderr."""

    def run_it(*arguments: str | Path, check: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(console, "width", 200)
        monkeypatch.setattr("sys.argv", ["landloom", "accuracy", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            run()
        assert done.value.code == check
        printed = capsys.readouterr()
        return printed.out, " ".join(printed.err.split())

    return run_it


def fill(design: Path, sample: Path, truths: list[np.ndarray]) -> None:
    """What interpreters do."""
    where = {one["unit"]: (one["row"], one["col"]) for one in json.loads(design.read_text())["sample"]}
    rows = pandas.read_csv(sample)
    for year, truth in zip((2017, 2018), truths, strict=True):
        rows[f"reference_{year}"] = [SEEN[int(truth[where[unit]])] for unit in rows["unit"]]
    rows.to_csv(sample, index=False)


@pytest.mark.slow
def test_from_maps_to_a_published_report(command, maps, tmp_path):
    files, told = command(
        "design", "--maps", maps, "--years", "2017,2018", "--expected-accuracy", "0.9", "--size", "500",
        "--merge-below", "2", "--interest", "trees>crops", "--out", tmp_path / "sample",
    )  # fmt: skip
    design, sample = tmp_path / "sample" / "design.json", tmp_path / "sample" / "sample.csv"
    assert files.split()[0] == str(design) and "trees>crops" in told
    assert len(geopandas.read_file(tmp_path / "sample" / "sample.gpkg")) >= 500
    truths, _ = truth_and_maps()
    fill(design, sample, truths)
    arguments = "report", "--design", design, "--sample", sample, "--out", tmp_path / "out"
    address, told = command(*arguments)
    path = Path(address.strip())
    assert path == tmp_path / "out/lulc-accuracy/33UVU/2017-2018/33UVU-2017-2018.json"
    item = json.loads(path.read_text())
    validate(item)
    changed = item["properties"]["landloom:changed_hectares"]
    assert changed["low"] < (truths[0] != truths[1]).sum() / 100 < changed["high"]
    assert "Changed class:" in told and "Published." in told
    assert "nothing is changed" in command(*arguments)[1]


def test_ranges_without_a_sample(command, maps, tmp_path):
    (tmp_path / "matrix.csv").write_text("map,water,trees,crops\nwater,90,5,5\ntrees,4,90,6\ncrops,1,9,90\n")
    _, told = command(
        "range", "--maps", maps, "--years", "2017,2018", "--error-matrix", tmp_path / "matrix.csv",
        "--tiles", "30", "--origin", "a survey", "--csv", tmp_path / "ranges.csv",
    )  # fmt: skip
    assert "no 95 % interval" in told and "30 validation tiles, a survey" in told
    rows = pandas.read_csv(tmp_path / "ranges.csv")
    assert set(rows["table"]) == {"2017", "2018", "net change"}
    ranges = rows[rows["class"] == "crops"]
    assert set(ranges["kind"]) == {"scenario range"} and ranges["statement"].str.endswith("(scenario range)").all()
    assert sorted(ranges["correlation"].dropna()) == [0, 0.5, 1]
    assert set(rows[rows["class"] == "built"]["kind"]) == {"no interval"}
    assert rows["source_accuracy"].str.contains("a survey").all()


def test_statements_scaled_by_overall_accuracy(command, maps, tmp_path):
    _, told = command(
        "range", "--maps", maps, "--years", "2017", "--overall-accuracy", "0.85", "--origin", "its makers",
        "--csv", tmp_path / "ranges.csv",
    )  # fmt: skip
    assert "(scaled by overall accuracy)" in told and "no interval of any kind" in told
    crops = pandas.read_csv(tmp_path / "ranges.csv").set_index("class").loc["crops"]
    share = crops["mapped_percent"]
    assert crops["statement"] == f"crops 2017: {share:.1f} % +- {0.15 * share:.2f} % (scaled by overall accuracy)"


def test_where_nothing_is_known_the_reason_is_told(command, maps):
    _, told = command("range", "--maps", maps, "--years", "2017")
    assert "No interval: no accuracy of the source map is known" in told
    assert "Accuracy of the source map: unknown." in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["design", "--years", "2017", "--out", "x"], "Give --expected-accuracy"),
        (["design", "--years", "2031", "--out", "x"], "no map of 2031"),
        (
            ["design", "--years", "2017,2018,2019", "--out", "x"],
            "(2017, 2018, 2019): Tuple should have at most 2",
        ),
        (["design", "--years", "twenty", "--out", "x"], "--years 'twenty' is not a list of years"),
        (
            ["design", "--years", "2017", "--out", "x", "--size", "0"],
            "--size 0: Input should be greater",
        ),
        (
            ["design", "--years", "2017", "--out", "x", "--merge-below", "200"],
            "--merge-below 200.0: Input should be less",
        ),
        (["range", "--years", "2017", "--correlation", "2"], "--correlation '2' is not a list of numbers from 0 to 1"),
        (["range", "--years", "2017", "--error-matrix", "gone.csv"], "needs --tiles N"),
        (["range", "--years", "2017", "--overall-accuracy", "85", "--origin", "x"], "85 is not possible"),
        (["range", "--years", "2017", "--overall-accuracy", "0.85"], "needs --origin TEXT"),
        (["range", "--years", "2017", "--tiles", "9"], "--tiles and --origin belong to --error-matrix"),
    ],
)
def test_what_is_wrong_is_named(command, maps, tmp_path, arguments, told):
    which, *rest = [str(tmp_path) if one == "x" and "--out" in arguments else one for one in arguments]
    assert told in command(which, "--maps", maps, *rest, check=2)[1]
