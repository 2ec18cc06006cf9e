from __future__ import annotations

import json
import re
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from PIL import Image

from catalog.collections import rebuild
from catalog.errors import BadInput
from catalog.index import parts_of
from catalog.products import CHANGE
from catalog.store import Store, open_store
from catalog.validation import validate
from services.api.snapshot import Snapshot, read_item
from services.change.publish import ChangeAccount, publish_change
from services.change.series import open_series
from services.change.settings import Settings
from services.change.source_accuracy import SourceAccuracy
from services.change.tables import TITLES
from services.change.themes import load_themes
from services.change.uncertainty import Uncertainty
from tests.catalog.tile_years import publish_all
from tests.services.change.maps import CLOUDS, CROPS, TREES, UTM, write_collection, write_map

KNOWN = Uncertainty((2017, 2018, 2019), (SourceAccuracy(overall=0.85, origin="Karra et al. 2021"),) * 3)
EAST = UTM @ Affine.translation(300, 0)


def _maps(folder: Path, years: tuple[int, ...] = (2017, 2018, 2019)) -> str:
    """Two places of 9 km2: in each, 100 px of trees become crops every year."""
    for place, transform in (("33UVU", UTM), ("33UWU", EAST)):
        for number, year in enumerate(years):
            codes = np.full((300, 300), TREES, np.uint8)
            codes[:number, :100] = CROPS
            write_map(folder, codes, year, place=place, transform=transform)
    return write_collection(folder)


def _published(out: Path, maps: str, **options: object) -> tuple[ChangeAccount, Store]:
    store = open_store(str(out))
    settings = Settings(**{"name": "here", "themes": load_themes(), **options})
    return publish_change(store, open_series(maps), settings), store


def _items(store: Store) -> dict[str, dict]:
    keys = [key for key in store.list(f"{CHANGE.id}/") if re.search(r"/([^/]+)/([^/]+)/\1-\2\.json$", key)]
    return {key.rpartition("/")[2].removesuffix(".json"): json.loads(store.read(key)) for key in keys}


def _table(store: Store, account: ChangeAccount, name: str) -> pd.DataFrame:
    item = json.loads(store.read(account.item))
    return pd.read_parquet(store.href(f"{account.item.rpartition('/')[0]}/{item['assets'][name]['href'][2:]}"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChangeAccount, Store, Path]:
    """Both places and their area, of three years; read only."""
    folder = tmp_path_factory.mktemp("published")
    return *_published(folder / "out", _maps(folder / "maps"), notes=("Mind the <gap>.",)), folder


def test_places_and_their_area_are_valid_items_of_one_collection(published: tuple[ChangeAccount, Store, Path]) -> None:
    account, store, made = published
    assert account.planned == len(account.published) == 3
    items = _items(store)
    assert list(items) == ["33UVU-here-2017-2018-2019", "33UWU-here-2017-2018-2019", "here-2017-2018-2019"]
    collection = json.loads(store.read(f"{CHANGE.id}/collection.json"))
    for one in (*items.values(), collection, json.loads(store.read("catalog.json"))):
        validate(one)
    assert {link["title"] for link in collection["links"] if link["rel"] == "item"} == set(items)
    for key, item in items.items():
        subject, _, label = key.partition("-")
        folder = made / "out" / CHANGE.id / subject / label
        assert all((folder / asset["href"]).is_file() for asset in item["assets"].values())
        sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
        assert sources and all((folder / href).is_file() for href in sources)
    area = items["here-2017-2018-2019"]["properties"]
    # 200 px in each of two places, half of them in the last year alone.
    assert area["landloom:changed_hectares"] == pytest.approx(4, rel=1e-3)
    assert area["landloom:persistence_hectares"]["sustained"] == pytest.approx(2, rel=1e-3)
    assert area["landloom:persistence_hectares"]["unconfirmed"] == pytest.approx(2, rel=1e-3)
    assert area["landloom:source_accuracy"]["accuracy"] == "unknown"
    assert area["landloom:source_accuracy"]["interval"].startswith("none: the accuracy of the source maps is not known")


@pytest.mark.slow
def test_tables_of_the_area_add_its_places_and_tell_the_accuracy(tmp_path: Path) -> None:
    account, store = _published(tmp_path / "out", _maps(tmp_path / "maps"), uncertainty=KNOWN)
    for name in TITLES.keys() - {"degradation"}:
        table = _table(store, account, name)
        assert len(table) and (table.source_accuracy == "overall accuracy 85.0 %, Karra et al. 2021").all()
        item = json.loads(store.read(account.item))
        text = store.href(f"{account.item.rpartition('/')[0]}/{item['assets'][f'{name}_csv']['href'][2:]}")
        assert len(pd.read_csv(text)) == len(table)
    areas = _table(store, account, "areas").set_index(["year", "class"])
    assert areas.loc[2018].mapped_hectares["crops"] == pytest.approx(2, rel=1e-3)
    assert areas.loc[2019].mapped_hectares.sum() == pytest.approx(2 * 900, rel=1e-3)
    transitions = _table(store, account, "transitions")
    ends = transitions[(transitions.from_year == 2017) & (transitions.to_year == 2019)]
    assert ends.sustained_percent.tolist() == pytest.approx([50])
    assert ends.near_edge_percent.item() > 50


def test_the_matrix_holds_what_stayed_too(published: tuple[ChangeAccount, Store, Path]) -> None:
    account, store, _ = published
    matrix = _table(store, account, "matrix")
    ends = matrix[(matrix.from_year == 2017) & (matrix.to_year == 2019)].set_index(["from_class", "to_class"])
    assert len(ends) == 8 * 8 and ends.pixels.sum() == 2 * 300 * 300
    assert ends.pixels["trees"].drop(["trees", "crops"]).sum() == 0
    assert ends.pixels["trees", "trees"] == 2 * 300 * 300 - 400 and ends.pixels["trees", "crops"] == 400
    assert ends.percent_of_observed.sum() == pytest.approx(100)


def test_where_nothing_was_seen_twice_no_change_is_not_claimed(tmp_path: Path) -> None:
    for year, code in ((2018, TREES), (2019, CLOUDS)):
        write_map(tmp_path / "maps", np.full((100, 100), code, np.uint8), year)
    account, store = _published(tmp_path / "out", write_collection(tmp_path / "maps"))
    item = json.loads(store.read(account.item))
    assert item["properties"]["landloom:changed_hectares"] is None
    assert item["properties"]["landloom:unobserved_hectares"] == pytest.approx(100, rel=1e-2)
    page = (Path(store.href(account.item)).parent / item["assets"]["page"]["href"]).read_text()
    assert page.count("Nothing was observed in both 2018 and 2019") == 2, "card and diagram"


def test_pictures_open_and_the_page_needs_no_network(published: tuple[ChangeAccount, Store, Path]) -> None:
    account, store, _ = published
    item = json.loads(store.read(account.item))
    folder = Path(store.href(account.item)).parent
    for name in ("areas_png", "net_change_png", "sankey_png"):
        with Image.open(folder / item["assets"][name]["href"]) as picture:
            assert min(picture.size) > 400
            assert len(set(picture.convert("RGB").resize((80, 80)).getdata())) > 10
    page = (folder / item["assets"]["page"]["href"]).read_text()
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']?http""", page)
    assert "Mind the &lt;gap&gt;." in page and "Trees to Crops" in page and "no interval can be given" in page
    assert page.count("Plotly.newPlot(") >= 3


@pytest.mark.slow
def test_a_second_run_makes_only_what_has_changed(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "maps")
    first, store = _published(tmp_path / "out", maps)
    before = {key: store.read(key) for key in store.list()}
    again, _ = _published(tmp_path / "out", maps)
    assert (again.published, again.skipped) == ([], first.published)
    assert {key: store.read(key) for key in store.list()} == before
    write_map(tmp_path / "maps", np.full((300, 300), CROPS, np.uint8), 2019, place="33UWU", transform=EAST, updated="x")
    changed, _ = _published(tmp_path / "out", maps)
    assert changed.skipped == ["33UVU-here-2017-2018-2019"]
    assert changed.published == ["33UWU-here-2017-2018-2019", "here-2017-2018-2019"]
    assert _items(store)["here-2017-2018-2019"]["properties"]["landloom:changed_hectares"] > 900
    # What was made before is gone, and nothing is left over.
    assert len(store.list()) == len(before)


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.change import place as places

    maps, real = _maps(tmp_path / "maps"), places.tally_place

    def stopped(place, sink):
        if place.place.name == "33UWU":
            raise KeyboardInterrupt
        return real(place, sink)

    monkeypatch.setattr(places, "tally_place", stopped)
    with pytest.raises(KeyboardInterrupt):
        _published(tmp_path / "out", maps)
    monkeypatch.setattr(places, "tally_place", real)
    account, _ = _published(tmp_path / "out", maps)
    assert account.skipped == ["33UVU-here-2017-2018-2019"] and len(account.published) == 2


def test_a_place_whose_file_is_gone_is_left_out_and_its_area_is_told(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "maps")
    (tmp_path / "maps" / "33UWU-2018" / "map.tif").unlink()
    account, store = _published(tmp_path / "out", maps)
    assert "33UWU-2018 cannot be opened" in account.failed["33UWU"]
    assert account.planned == len(account.published) + len(account.failed) == 3
    item = json.loads(store.read(account.item))
    told = item["properties"]["landloom:excluded"]["33UWU"]
    assert told["hectares"] == pytest.approx(900, rel=0.01) and "33UWU-2018" in told["reason"]
    assert item["properties"]["landloom:observed_hectares"] == pytest.approx(900, rel=0.01)
    folder = Path(store.href(account.item)).parent
    assert "Not in these figures: 33UWU, 901 ha" in (folder / item["assets"]["page"]["href"]).read_text()
    (tmp_path / "maps" / "33UVU-2018" / "map.tif").unlink()
    with pytest.raises(BadInput, match="No place could be counted"):
        _published(tmp_path / "other", maps)


def test_an_area_between_the_pixels_centres_is_refused(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "maps")
    west, _, _, north = open_series(maps).places[0].geometry.bounds
    series = open_series(maps, geometry=shapely.box(west + 5e-4, north - 5e-4, west + 5.001e-4, north - 4.999e-4))
    with pytest.raises(BadInput, match="no pixel's centre lies in the area of interest"):
        publish_change(open_store(str(tmp_path / "out")), series, Settings("here", load_themes()))


def test_the_catalogs_server_finds_the_products(published: tuple[ChangeAccount, Store, Path]) -> None:
    _, store, _ = published
    snapshot = Snapshot.of(store)
    items = map(read_item, snapshot.lines(CHANGE.id, "https://example.com"))
    served = {one["id"]: one for one in items}
    assert list(served) == list(_items(store))
    told = served["here-2017-2018-2019"]["properties"]
    assert told["landloom:persistence_hectares"]["sustained"] == pytest.approx(2, rel=1e-3)
    page = served["here-2017-2018-2019"]["assets"]["page"]["href"]
    assert page.startswith("https://example.com/lulc-change/here/2017-2018-2019/")


def test_products_stand_beside_the_maps_in_one_catalog(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_all(out, ("33UUU", 2020), ("33UUU", 2021), folder=tmp_path, size=300)
    account, store = _published(out, str(out))
    children = [link["href"] for link in json.loads(store.read("catalog.json"))["links"] if link["rel"] == "child"]
    assert children == ["./lulc-annual/collection.json", "./lulc-change/collection.json"]
    item = json.loads(store.read(account.item))
    sources = {link["href"] for link in item["links"] if link["rel"] == "derived_from"}
    assert "../../../lulc-annual/33UUU/2020/33UUU-2020.json" in sources
    assert item["properties"]["landloom:changed_hectares"] == 0
    written = {key: json.loads(store.read(key)) for key in ("catalog.json", f"{CHANGE.id}/collection.json")}
    index = _indexed(store)
    store.delete([*written, *store.list(f"{CHANGE.id}/items/")])
    assert rebuild(store) == {"lulc-annual": 2, CHANGE.id: 2}
    assert {key: json.loads(store.read(key)) for key in written} == written
    again = _indexed(store)
    assert again["id"].tolist() == index["id"].tolist() == ["33UUU-here-2020-2021", "here-2020-2021"]
    area = index.iloc[1]
    assert Path(area["assets"]["areas"]["href"]).is_file(), "hrefs are absolute"
    assert area["landloom:changed_hectares"] == 0


def _indexed(store: Store) -> pd.DataFrame:
    parts = parts_of(json.loads(store.read(f"{CHANGE.id}/collection.json")))
    return pd.concat([geopandas.read_parquet(store.href(part)) for _, part in sorted(parts.items())])


def test_ground_of_the_area_without_any_map_is_told(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "maps")
    west, south, east, north = open_series(maps).places[0].geometry.bounds
    half = shapely.box(west - (east - west) / 2, south, (west + east) / 2, north)
    account = publish_change(
        store := open_store(str(tmp_path / "out")), open_series(maps, geometry=half), Settings("here", load_themes())
    )
    told = json.loads(store.read(account.item))["properties"]
    assert told["landloom:observed_hectares"] == pytest.approx(450, rel=0.01)
    assert told["landloom:not_mapped_hectares"] == pytest.approx(450, rel=0.01)
