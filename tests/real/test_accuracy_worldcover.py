"""Sample design and ranges of published maps of two years: ESA WorldCover over São Tomé."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from catalog.validation import validate
from pipelines.cli import run
from services.change.designing import Wishes, make_design
from services.change.interpretation import read_interpreted, write_sample
from services.change.scenarios import area_ranges
from services.change.source_accuracy import known_accuracy
from services.change.strata import count_cells, open_maps

WORLDCOVER = Path(__file__).parents[2].parent / "shared" / "data" / "reference" / "esa-worldcover"
pytestmark = pytest.mark.skipif(not WORLDCOVER.is_dir(), reason=f"no published maps in {WORLDCOVER}")
MAPS = str(WORLDCOVER / "collection.json")
NORTH = box(6.55, 0.3, 6.75, 0.42)
"""Of the island: the town and its surroundings."""


@pytest.fixture(scope="module")
def change():
    series = open_maps(MAPS, [2020, 2021], NORTH)
    return series, *make_design(series, Wishes(size=900))


def codes_at(year: str, lon: list[float], lat: list[float]) -> np.ndarray:
    (file,) = WORLDCOVER.glob(f"*{year}*/*_Map.tif")
    with rasterio.open(file) as source:
        return np.array([value[0] for value in source.sample(zip(lon, lat, strict=True))])


def test_units_lie_where_the_maps_have_their_classes(change):
    series, design, _ = change
    k = len(series.legend.classes)
    value = np.array([one.value for one in series.legend.classes])
    lon, lat = [one.lon for one in design.sample], [one.lat for one in design.sample]
    cell = np.array([one.cell for one in design.sample])
    np.testing.assert_array_equal(codes_at("2020", lon, lat), value[cell // k])
    np.testing.assert_array_equal(codes_at("2021", lon, lat), value[cell % k])
    assert all(NORTH.contains_properly(box(x, y, x, y).centroid) for x, y in zip(lon, lat, strict=True))


def test_areas_are_of_the_ground(change):
    """0.2 x 0.12 degrees at the equator, by the ellipsoid: 22.26 x 13.27 km."""
    _, design, _ = change
    whole = geopandas.GeoSeries([NORTH], crs=4326).to_crs("+proj=cea +ellps=WGS84").area[0] / 10_000
    assert sum(design.cells) + design.unobserved == pytest.approx(whole, rel=1e-3)


def test_the_design_says_that_the_versions_differ_and_how_accurate_they_are(change):
    _, design, _ = change
    assert any("part of the change is a change of method" in note for note in design.notes)
    assert [one.overall for one in design.accuracies] == [0.744, 0.767]
    assert all("WorldCover Product Validation Report" in one.told for one in design.accuracies)
    assert {"tree_cover", "built_up", "all_rare"} <= {one.name for one in design.strata}


def test_from_the_sample_to_a_published_report(change, tmp_path, monkeypatch, capsys):
    """Interpreted here by the later map itself, as if it were the truth: so it is right and the earlier one is not."""
    series, design, drawn = change
    write_sample(design, drawn, tmp_path)
    frame, k = geopandas.read_file(tmp_path / "sample.geojson"), len(series.legend.classes)
    cells = {one.unit: one.cell for one in design.sample}
    for year in ("2020", "2021"):
        frame[f"reference_{year}"] = [series.legend.names[cells[unit] % k] for unit in frame["unit"]]
    frame.to_file(tmp_path / "filled.geojson", driver="GeoJSON")
    assert not read_interpreted(design, tmp_path / "filled.geojson").missing
    arguments = "--design", tmp_path / "design.json", "--sample", tmp_path / "filled.geojson", "--out", tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["landloom", "accuracy", "report", *map(str, arguments), "--name", "sao-tome"])
    with pytest.raises(SystemExit) as done:
        run()
    assert done.value.code == 0
    item = json.loads(Path(capsys.readouterr().out.strip()).read_text())
    validate(item)
    told = item["properties"]
    assert told["landloom:overall_accuracy"]["2021"]["value"] == pytest.approx(1)
    same = np.trace(np.array(design.cells).reshape(k, k)) / sum(design.cells)
    earlier = told["landloom:overall_accuracy"]["2020"]
    assert earlier["low"] < same < earlier["high"] and earlier["value"] == pytest.approx(same, abs=0.01)
    assert told["landloom:changed_hectares"]["value"] == 0 < told["landloom:changed_mapped_hectares"]
    assert {link["title"] for link in item["links"] if link["rel"] == "derived_from"} == {
        one.id for place in series.places for one in place.maps
    }


def test_shares_scaled_by_the_published_accuracy():
    series = open_maps(MAPS, [2021], NORTH)
    counts = count_cells(series)
    mapped = dict(zip(series.legend.names, counts.hectares.tolist(), strict=True))
    trees = area_ranges(mapped, known_accuracy("esa-worldcover", 2021, series.legend.names))[0]
    assert trees.statement(counts.hectares.sum()).endswith("% (scaled by overall accuracy)")
    assert trees.high - trees.low == pytest.approx(2 * 0.233 * trees.mapped)
