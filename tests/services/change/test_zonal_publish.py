from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from PIL import Image

from catalog.errors import BadInput
from catalog.store import Store, open_store
from catalog.validation import validate
from services.api.snapshot import Snapshot, read_item
from services.change import zonal_publish
from services.change.series import Series, open_series
from services.change.source_accuracy import SourceAccuracy
from services.change.uncertainty import Uncertainty
from services.change.zonal_publish import ZonalAccount, ZonalSettings, publish_zonal
from services.change.zonal_tables import Ratio
from services.change.zones import Zones, read_zones
from tests.pipelines.running import landloom
from tests.services.change.maps import CROPS, RANGELAND, TREES, write_years

GRID = Affine(0.001, 0, 15.0, 0, -0.001, 50.0)
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def zones_file(tmp_path: Path) -> Path:
    """Nine squares; the last column of them lies half beyond the maps, and one zone far beyond."""
    boxes = [
        shapely.box(15 + 0.02 * x, 49.98 - 0.02 * y, 15.02 + 0.02 * x, 50 - 0.02 * y)
        for y in range(3)
        for x in range(3)
    ]
    frame = geopandas.GeoDataFrame(
        {"id": range(10), "name": [f"Zone {k}" for k in range(10)], "coverage": "the file's own"},
        geometry=[*boxes, shapely.box(15.3, 49.9, 15.35, 49.95)],
        crs="EPSG:4326",
    )
    frame.to_crs("EPSG:3857").to_file(tmp_path / "My zones.gpkg")
    return tmp_path / "My zones.gpkg"


@pytest.fixture
def maps(tmp_path: Path) -> str:
    first = np.full((60, 50), TREES)
    first[:, ::5] = RANGELAND
    last = first.copy()
    last[:20] = CROPS
    return write_years(tmp_path / "maps", first, first, last, crs="EPSG:4326", transform=GRID)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


def published(store: Store, made: ZonalAccount) -> dict[str, Any]:
    return json.loads(store.read(made.key))


def read(store: Store, made: ZonalAccount, asset: str) -> bytes:
    href = published(store, made)["assets"][asset]["href"].removeprefix("./")
    return store.read(f"{made.key.rpartition('/')[0]}/{href}")


@pytest.fixture
def series(maps: str) -> Series:
    return open_series(maps)


@pytest.fixture
def zones(zones_file: Path) -> Zones:
    return read_zones(zones_file)


KNOWN = Uncertainty((2017, 2018, 2019), (SourceAccuracy(overall=0.85, origin="made up"),) * 3)
SETTINGS = ZonalSettings("squares", ratio=Ratio("crops", "rangeland"), uncertainty=KNOWN)


def test_an_item_with_all_tables_and_figures(store: Store, series: Series, zones: Zones) -> None:
    made = publish_zonal(store, series, zones, SETTINGS)
    assert made.key == "lulc-zonal/squares/2017-2019/squares-2017-2019.json"
    assert made.planned == 2 and made.published == ["33UVU", "squares-2017-2019"]
    assert made.coverage == {"covered": 6, "partly covered": 3, "outside": 1}
    item = published(store, made)
    validate(item)
    validate(json.loads(store.read("lulc-zonal/collection.json")))
    assert item["properties"]["landloom:parameters"]["class"] in ("trees", "crops")
    assert item["properties"]["landloom:source_accuracy"]["accuracy"] == "overall accuracy 85.0 %, made up"
    assert sum(link["rel"] == "derived_from" for link in item["links"]) == 3
    table = geopandas.read_parquet(io.BytesIO(read(store, made, "zones")))
    assert table.crs.to_epsg() == 4326 and len(table) == 10 and table.geometry.is_valid.all()
    assert table["coverage_given"].unique().tolist() == ["the file's own"]
    assert table["name"].tolist() == [f"Zone {k}" for k in range(10)]
    for name in ("zones", "areas", "changes", "transitions"):
        plain = pd.read_csv(io.BytesIO(read(store, made, f"{name}_csv")))
        parquet = pd.read_parquet(io.BytesIO(read(store, made, name)))
        assert len(plain) == len(parquet) > 0 and "geometry" not in plain
    for name in ("choropleth", "composition"):
        assert Image.open(io.BytesIO(read(store, made, name))).width > 1000


def test_of_one_year_cover_is_told_and_no_change(store: Store, maps: str, zones: Zones) -> None:
    alone = open_series(maps, [2019], least=1)
    made = publish_zonal(store, alone, zones, replace(SETTINGS, uncertainty=Uncertainty()))
    assert made.key == "lulc-zonal/squares/2019/squares-2019.json"
    item = published(store, made)
    assert item["properties"]["title"] == "Land cover by zone, squares, 2019"
    kinds = {"zones", "zones_csv", "areas", "areas_csv", "choropleth", "composition", "map"}
    assert set(item["assets"]) == kinds, "no changes, no transitions"
    table = geopandas.read_parquet(io.BytesIO(read(store, made, "zones"))).set_index("zone")
    assert table.crops_share_2019.loc["0"] == pytest.approx(1, abs=1e-3)
    assert not [name for name in table if "changed" in name or name.endswith("_both")]


def test_a_zone_far_away_does_not_shrink_the_picture(store: Store, series: Series, zones: Zones) -> None:
    far = zones.frame.assign(geometry=[*zones.frame.geometry[:-1], shapely.box(100, 0, 101, 1)])
    made = publish_zonal(store, series, replace(zones, frame=far), SETTINGS)
    with Image.open(io.BytesIO(read(store, made, "choropleth"))) as picture:
        white = np.asarray(picture.convert("L")) > 250
    assert white.mean() < 0.75, "the zones fill their panels"


def test_zones_on_both_sides_of_the_antimeridian_stand_side_by_side(store: Store, zones: Zones, tmp_path: Path) -> None:
    codes = np.full((40, 40), TREES)
    maps = write_years(tmp_path / "fiji", codes, codes, crs="EPSG:4326", transform=Affine.translation(164.96, 0) @ GRID)
    sides = [shapely.box(179.96, 49.96, 180, 50), shapely.box(-180, 49.96, -179.96, 50)]
    two = replace(zones, frame=zones.frame.iloc[:2].set_geometry(sides, crs="EPSG:4326"), hectares=zones.hectares[:2])
    made = publish_zonal(store, open_series(maps), two, replace(SETTINGS, uncertainty=Uncertainty()))
    assert made.coverage == {"covered": 1, "partly covered": 0, "outside": 1}
    with Image.open(io.BytesIO(read(store, made, "choropleth"))) as picture:
        white = np.asarray(picture.convert("L")) > 250
    assert white.mean() < 0.65, "both are seen, and fill their panels"


@pytest.mark.slow
def test_the_catalogs_server_finds_it(store: Store, series: Series, zones: Zones) -> None:
    publish_zonal(store, series, zones, SETTINGS)
    (served,) = map(read_item, Snapshot.of(store).lines("lulc-zonal", "https://example.com"))
    assert served["id"] == "squares-2017-2019"
    assert served["assets"]["map"]["href"].startswith("https://example.com/lulc-zonal/squares/2017-2019/")


@pytest.mark.slow
def test_columns_of_the_item_s_tables_can_be_joined(store: Store, series: Series, zones: Zones) -> None:
    made = publish_zonal(store, series, zones, SETTINGS)
    areas, table = (pd.read_parquet(io.BytesIO(read(store, made, name))) for name in ("areas", "zones"))
    both = areas.merge(table[["zone", "name"]], on="zone", validate="many_to_one")
    assert len(both) == len(areas) and both["name"].notna().all()


@pytest.mark.slow
def test_what_is_up_to_date_is_skipped(store: Store, series: Series, zones: Zones) -> None:
    made = publish_zonal(store, series, zones, SETTINGS)
    folder = made.key.rpartition("/")[0]
    before = store.list(folder)
    again = publish_zonal(store, series, zones, SETTINGS)
    assert again == replace(made, published=[], skipped=made.published) and store.list(folder) == before
    changed = publish_zonal(store, series, zones, replace(SETTINGS, shown="crops"))
    assert not changed.skipped and len(store.list(folder)) == len(before)
    assert not set(store.list(folder)) & set(before) - {made.key}, "the former files are gone"
    moved = replace(zones, frame=zones.frame.assign(geometry=zones.frame.translate(0.001)))
    assert not publish_zonal(store, series, moved, replace(SETTINGS, shown="crops")).skipped
    links = [link for link in json.loads(store.read("lulc-zonal/collection.json"))["links"] if link["rel"] == "item"]
    assert len(links) == 1


def test_more_zones_than_a_browser_draws_have_no_map_and_it_is_told(
    store: Store, series: Series, zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zonal_publish, "DRAWN", 9)
    made = publish_zonal(store, series, zones, SETTINGS)
    assert "map" not in published(store, made)["assets"]
    assert any("interactive map" in note for note in made.notes)


def test_a_class_that_the_maps_lack_is_refused(store: Store, series: Series, zones: Zones) -> None:
    with pytest.raises(BadInput, match=r"'meadow'.*water, trees"):
        publish_zonal(store, series, zones, replace(SETTINGS, shown="meadow"))


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium (Debian: apt-get install chromium)")
def test_the_map_opens_without_a_network_and_draws_every_zone(
    store: Store, series: Series, zones: Zones, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "map.html").write_bytes(read(store, publish_zonal(store, series, zones, SETTINGS), "map"))
    asked: list[str] = []
    with sync_playwright() as play, play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
        page = browser.new_page()
        page.on("request", lambda one: asked.append(one.url))
        page.goto((tmp_path / "map.html").as_uri())
        page.wait_for_selector(".choroplethlayer path")
        outlines = page.locator(".choroplethlayer path")
        assert outlines.count() == 20, "in grey, and with a value above"
        # The tenth lies beyond the maps, and so beyond the picture.
        boxes = [outlines.nth(k).bounding_box() for k in range(9)]
        assert all(box and 0 < box["width"] < 400 for box in boxes), "none is missing, none is the rest of the globe"
        page.locator(".updatemenu-header").click()
        page.get_by_text("Crops 2019, %").click()
        page.wait_for_function("document.getElementById('map').data[1].z.some(one => one > 99)")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.slow
def test_the_command(maps: str, zones_file: Path, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,people\n" + "".join(f"{k},{k * 100}\n" for k in range(10)))
    common = ("zonal", "--maps", maps, "--zones", zones_file, "--out", tmp_path / "out", "--years", "2017,2019")
    done = landloom(*common, "--key", "id", "--join", tmp_path / "people.csv", "--ratio", "crops/rangeland")
    assert "10 zones: 6 covered, 3 partly covered, 1 outside" in done.stderr
    item = json.loads(Path(done.stdout.strip()).read_text())
    assert item["id"] == "my-zones-2017-2019" and item["properties"]["landloom:years"] == [2017, 2019]
    table = pd.read_parquet(Path(done.stdout.strip()).parent / item["assets"]["zones"]["href"])
    assert table["people"].tolist() == [k * 100 for k in range(10)]
    assert item["properties"]["landloom:source_accuracy"]["accuracy"] == "unknown"
    refused = landloom(*common, "--ratio", "crops/meadow", check=2).stderr
    assert "crops/meadow" in refused and "Traceback" not in refused


@pytest.mark.slow
def test_the_command_names_what_is_published_of_the_maps_accuracy(zones_file: Path, tmp_path: Path) -> None:
    cover, options = np.full((60, 50), TREES), {"collection": "io-lulc-annual-v02", "crs": "EPSG:4326"}
    cover[:, ::5] = RANGELAND
    maps = write_years(tmp_path / "maps", cover, cover, transform=GRID, **options)
    common = ("zonal", "--maps", maps, "--zones", zones_file, "--out", tmp_path / "out")
    for arguments, expected in (
        ((), "overall accuracy 86.0 %"),
        (("--accuracy", "85 % (made up)"), "overall accuracy 85.0 %, made up"),
    ):
        item = json.loads(Path(landloom(*common, *arguments).stdout.strip()).read_text())
        assert expected in item["properties"]["landloom:source_accuracy"]["accuracy"]
