"""`landloom change`, as a user runs it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rich.console import Console

from catalog.store import open_store
from pipelines.cli import progress, run
from tests.catalog.tile_years import publish_all
from tests.pipelines.running import landloom
from tests.servers.s3 import S3Server
from tests.services.change.maps import CROPS, TREES, write_years

pytestmark = pytest.mark.slow


@pytest.fixture
def maps(tmp_path: Path) -> str:
    """Three years of 4 km2; a field of 100 px grows every year."""
    years = [np.full((200, 200), TREES) for _ in range(3)]
    for number, codes in enumerate(years):
        codes[100 : 100 + 10 * number, 100:110] = CROPS
    return write_years(tmp_path / "maps", *years)


def test_change_of_an_area_of_interest(tmp_path: Path, maps: str) -> None:
    out = tmp_path / "out"
    arguments = ("change", "--maps", maps, "--out", out, "--centre", "15.0145,52.34", "--size-km", "1,1")
    done = landloom(*arguments, "--years", "2017,2019", "--name", "field", "--minimum-mapping-unit", "0.5")
    assert "2 planned: 2 published, 0 skipped (up to date), 0 left out" in done.stderr
    (account,) = (json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    assert account["published"] == ["33UVU-field-2017-2019", "field-2017-2019"]
    assert (account["command"], account["planned"], account["skipped"], account["failed"]) == ("change", 2, [], {})
    item = json.loads(Path(done.stdout.strip()).read_text())
    assert item["id"] == "field-2017-2019"
    assert item["properties"]["landloom:parameters"]["minimum_mapping_unit_hectares"] == 0.5
    assert item["properties"]["landloom:changed_hectares"] == pytest.approx(2, rel=1e-3)
    assert item["properties"]["landloom:observed_hectares"] == pytest.approx(100, rel=0.02)
    assert item["properties"]["landloom:not_mapped_hectares"] == 0
    place = json.loads((out / "lulc-change/33UVU/field-2017-2019/33UVU-field-2017-2019.json").read_text())
    with rasterio.open(out / "lulc-change/33UVU/field-2017-2019" / place["assets"]["transition"]["href"]) as source:
        assert source.shape[0] <= 103 and (source.read(1) > 1).sum() == 200
    other = landloom(*arguments, "--years", "2017,2019", "--name", "field", "--degradation", "sdg-15-3-1")
    translated = json.loads(Path(other.stdout.strip()).read_text())
    assert translated["id"] == "field-unccd-2017-2019"
    assert translated["properties"]["landloom:parameters"]["crosswalk"] == "unccd"
    again = landloom(*arguments, "--years", "2017,2019", "--name", "field", "--minimum-mapping-unit", "0.5")
    assert "0 published, 2 skipped" in again.stderr


def test_an_area_whose_polygons_cross_themselves_is_told(tmp_path: Path, maps: str) -> None:
    bow_tie = {
        "type": "Polygon",
        "coordinates": [[[15.002, 52.335], [15.02, 52.345], [15.02, 52.335], [15.002, 52.345]]],
    }
    bow_tie["coordinates"][0].append(bow_tie["coordinates"][0][0])
    (tmp_path / "bow.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": bow_tie}))
    done = landloom("change", "--maps", maps, "--out", tmp_path / "out", "--aoi", tmp_path / "bow.geojson")
    told = "Of the area's file bow.geojson 1 of 1 polygons are invalid: made valid."
    assert f"Note: {told}" in done.stderr
    assert told in json.loads(Path(done.stdout.strip()).read_text())["properties"]["landloom:notes"]


def test_change_of_everything_into_the_catalog_of_the_maps(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_all(out, ("33UUU", 2020), ("33UUU", 2021), ("48QUE", 2021), folder=tmp_path, size=300)
    done = landloom("change", "--maps", out, "--out", out, check=3)
    assert "3 planned: 2 published, 0 skipped (up to date), 1 left out" in done.stderr
    assert "Left out 48QUE: no map of 2020" in done.stderr
    (account,) = (json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    assert account["failed"] == {"48QUE": "no map of 2020"} and f"runs/{account['run']}.json" in done.stderr
    item = json.loads(Path(done.stdout.strip()).read_text())
    assert item["id"] == "whole-2020-2021" and "48QUE" in item["properties"]["landloom:excluded"]


def test_maps_and_products_in_a_bucket(tmp_path: Path, s3: S3Server) -> None:
    local = publish_all(tmp_path / "out", ("33UUU", 2020), ("33UUU", 2021), folder=tmp_path, size=300)
    url = f"s3://{s3.new_bucket()}/maps"
    store = open_store(url, s3_endpoint=s3.endpoint)
    for key in local.list():
        store.write(key, local.read(key))
    done = landloom("change", "--maps", url, "--out", url, "--s3-endpoint", s3.endpoint, AWS_ENDPOINT_URL=s3.endpoint)
    key = done.stdout.strip().removeprefix(f"{url}/")
    item = json.loads(store.read(key))
    areas = tmp_path / "areas.parquet"
    store.download(f"{key.rpartition('/')[0]}/{item['assets']['areas']['href'][2:]}", areas)
    assert pd.read_parquet(areas).mapped_hectares.sum() == pytest.approx(2 * 900, rel=2e-3)


@pytest.mark.parametrize("command", [("change",), ("temporal",), ("zonal", "--zones", "zones.geojson")])
def test_while_maps_are_looked_for_it_says_so(
    tmp_path: Path, maps: str, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    geopandas.GeoDataFrame(geometry=[shapely.box(15, 52, 16, 53)], crs=4326).to_file(tmp_path / "zones.geojson")
    terminal = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=terminal, force_terminal=True, width=500))
    monkeypatch.chdir(tmp_path)
    arguments = ["landloom", *command, "--maps", maps, "--out", str(tmp_path / "out"), "--years", "2031,2032"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        run()
    assert f"Looking for maps in {maps}" in terminal.getvalue()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--years", "2017,2031"), "no map of 2031"),
        (("--years", "2017"), "maps of 2017 alone"),
        (("--years", "soon"), "--years 'soon' is not a list of years"),
        (("--bbox", "0,0,1,1"), "No map of"),
        (("--bbox", "15,52,15,52"), "empty or upside down"),
        (("--size-km", "1,1"), "Give one area"),
        (("--minimum-mapping-unit", "-1"), "--minimum-mapping-unit -1.0: Input should be"),
        (("--name", "Über uns"), "--name 'Über uns': String should match"),
        (("--themes", "nowhere.json"), "There is no file of themes 'nowhere.json'"),
        (("--crosswalk", "corine"), "There is no crosswalk 'corine'"),
        (("--degradation", "sdg-15-3-1", "--crosswalk", "ipcc"), "needs --crosswalk unccd, not ipcc"),
        (("--collection", "others"), "is the collection 'maps', not 'others'"),
        (("--asset", "map"), "no asset 'map'"),
    ],
)
def test_bad_input_is_one_paragraph_that_names_it(
    tmp_path: Path,
    maps: str,
    arguments: tuple[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["landloom", "change", "--maps", maps, "--out", str(tmp_path / "out"), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        run()
    text = capsys.readouterr().err
    assert stopped.value.code == 2 and told in text
    assert len(text.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
