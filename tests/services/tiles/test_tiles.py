"""Tiles of a served catalog: the legend's colours at the right places, and nothing but what the catalog holds."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import morecantile
import numpy as np
import pytest
import rasterio
import requests
from PIL import Image
from rasterio.warp import transform

from catalog.collections import rebuild
from catalog.legend import load_legend
from catalog.store import Store, open_store
from services.change.publish import publish_change
from services.change.series import open_series
from services.change.settings import Settings
from services.change.themes import load_themes
from tests.catalog.tile_years import manifest_of, publish, publish_all
from tests.servers.catalog import serve_catalog
from tests.services.change.maps import CROPS, TREES, write_years

pytestmark = pytest.mark.slow

GRID = morecantile.tms.get("WebMercatorQuad")
COLOURS = load_legend("nine").palette()
ANNUAL = "lulc-annual"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two maps that are neighbours across a zone's edge in 2020, one of them in 2019 too."""
    folder = tmp_path_factory.mktemp("tiles")
    return publish_all(folder / "out", ("33UUU", 2020), ("33UVU", 2020), ("33UUU", 2019), folder=folder)


@pytest.fixture(scope="module")
def url(store: Store) -> Iterator[str]:
    with serve_catalog(store.href("x").removesuffix("/x")) as running:
        yield f"{running}/tiles/{ANNUAL}"


def truth_at(store: Store, item: str, asset: str, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Values of an asset at web-mercator coordinates, 0 outside."""
    (key,) = (key for key in store.list(f"{ANNUAL}/{item.replace('-', '/')}/") if key.endswith(f"{asset}.tif"))
    with rasterio.open(store.href(key)) as cog:
        lon, lat = transform("EPSG:3857", cog.crs, xs.ravel(), ys.ravel())
        return np.array([value[0] for value in cog.sample(zip(lon, lat, strict=True))]).reshape(xs.shape)


def picture(url: str, **asked: object) -> np.ndarray:
    answer = requests.get(url, params=asked, timeout=30)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text[:300]
    assert answer.headers["content-type"] == "image/png"
    return np.array(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def centre(store: Store, item: str) -> tuple[float, float]:
    (key,) = (key for key in store.list(f"{ANNUAL}/{item.replace('-', '/')}/") if key.endswith("data.tif"))
    with rasterio.open(store.href(key)) as cog:
        x, y = cog.transform * (450, 450)
        lon, lat = transform(cog.crs, "EPSG:4326", [x], [y])
    return lon[0], lat[0]


def pixels(tile: morecantile.Tile) -> tuple[np.ndarray, np.ndarray]:
    """Web-mercator coordinates of the centres of a tile's pixels."""
    box = GRID.xy_bounds(tile)
    step = (box.right - box.left) / 256
    return np.meshgrid(box.left + step * (np.arange(256) + 0.5), box.top - step * (np.arange(256) + 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["items/33UUU-2020", "years/2020"])
def test_a_tile_has_the_legends_colours_at_the_right_places(url, store, kind):
    tile = GRID.tile(*centre(store, "33UUU-2020"), 14)
    found = picture(f"{url}/{kind}/{tile.z}/{tile.x}/{tile.y}.png")
    codes = truth_at(store, "33UUU-2020", "data", *pixels(tile))
    wanted = np.array([COLOURS[code] for code in codes.ravel()], np.uint8).reshape(256, 256, 4)
    same = ((found == wanted) | ((found[..., 3:] == 0) & (wanted[..., 3:] == 0))).all(axis=2)
    # Pixels whose centre lies at the edge of one of 10 m may have either neighbour.
    assert same.mean() > 0.97 and len(np.unique(codes)) > 5


def test_overviews_show_the_commonest_class_and_no_mixed_colour(url, store):
    tile = GRID.tile(*centre(store, "33UUU-2020"), 9)
    found = picture(f"{url}/years/2020/{tile.z}/{tile.x}/{tile.y}.png")
    assert {tuple(one) for one in np.unique(found.reshape(-1, 4), axis=0) if one[3]} <= {*COLOURS.values()}


def test_a_year_shows_all_its_maps_and_a_year_without_any_nothing(url, store):
    tile = GRID.tile(*centre(store, "33UUU-2020"), 6)
    path = f"{tile.z}/{tile.x}/{tile.y}.png"
    seen = {kind: picture(f"{url}/{kind}/{path}")[..., 3] > 0 for kind in ("items/33UUU-2020", "items/33UVU-2020")}
    assert all(one.any() for one in seen.values())
    assert ((picture(f"{url}/years/2020/{path}")[..., 3] > 0) == np.any([*seen.values()], axis=0)).all()
    assert ((picture(f"{url}/years/2019/{path}")[..., 3] > 0) == seen["items/33UUU-2020"]).all()
    assert not picture(f"{url}/years/1999/{path}")[..., 3].any()


def test_confidence_and_looks_are_ramps_and_large_tiles_twice_as_large(url, store):
    tile = GRID.tile(*centre(store, "33UUU-2020"), 13)
    path = f"{url}/items/33UUU-2020/{tile.z}/{tile.x}/{tile.y}.png"
    for asset in ("confidence", "observations"):
        colours = np.unique(picture(path, asset=asset).reshape(-1, 4), axis=0)
        assert len([one for one in colours if one[3]]) == 1, "the one value of these maps"
    assert picture(path, scale=2).shape == (512, 512, 4)


def test_a_point_is_told_its_class_by_name(url, store):
    lon, lat = centre(store, "33UUU-2020")
    x, y = transform("EPSG:4326", "EPSG:3857", [lon], [lat])
    code = int(truth_at(store, "33UUU-2020", "data", np.array(x), np.array(y))[0])
    named = next(one for one in load_legend("nine").classes if one.code == code)
    for kind in ("items/33UUU-2020", "years/2020"):
        told = requests.get(f"{url}/{kind}/point", params={"lon": lon, "lat": lat}, timeout=30).json()
        assert told == {
            "item": "33UUU-2020",
            "class": {"code": code, "name": named.name, "title": named.title},
            "confidence": 73,
            "observations": 12,
        }
    nothing = {"item": None, "class": None, "confidence": None, "observations": None}
    assert requests.get(f"{url}/years/2020/point?lon=0&lat=0", timeout=30).json() == nothing


def test_tilejson_leads_to_tiles(url, store):
    for kind in ("items/33UUU-2020", "years/2020"):
        told = requests.get(f"{url}/{kind}/tilejson.json", timeout=30).json()
        lon, lat = centre(store, "33UUU-2020")
        west, south, east, north = told["bounds"]
        assert west < lon < east and south < lat < north
        tile = GRID.tile(lon, lat, told["maxzoom"])
        assert picture(told["tiles"][0].format(z=tile.z, x=tile.x, y=tile.y))[..., 3].any()
        assert {"value": 1, "title": "Water", "color": "#419BDF"} in told["legend"]


def test_maps_of_change_are_drawn_in_the_colours_that_their_item_tells(tmp_path):
    codes = np.full((300, 300), TREES)
    maps = write_years(tmp_path / "maps", codes, np.where(np.arange(300) < 150, CROPS, codes))
    made = publish_change(open_store(str(tmp_path / "out")), open_series(maps), Settings("here", load_themes()))
    item = json.loads((tmp_path / "out" / made.items[0]).read_text())
    named = {one["name"]: one for one in item["assets"]["transition"]["classification:classes"]}
    with serve_catalog(str(tmp_path / "out")) as running:
        tiles = f"{running}/tiles/{item['collection']}/items/{item['id']}"
        told = requests.get(f"{tiles}/tilejson.json?asset=transition", timeout=30).json()
        assert [one["title"] for one in told["legend"]] == ["No change", "Trees to Crops"]
        west, south, east, north = item["bbox"]
        tile = GRID.tile(west + (east - west) / 4, (south + north) / 2, 14)
        found = picture(told["tiles"][0].format(z=tile.z, x=tile.x, y=tile.y))
        assert requests.get(f"{tiles}/14/1/1.png", timeout=30).status_code == 404, "it has no classes"
    colours = {
        "".join(f"{one:02X}" for one in colour[:3]) for colour in np.unique(found.reshape(-1, 4), axis=0) if colour[3]
    }
    assert colours <= {named["no_change"]["color_hint"], named["trees_to_crops"]["color_hint"]}
    assert named["trees_to_crops"]["color_hint"] in colours


def test_a_tile_that_has_not_changed_is_not_sent_again(url, store):
    tile = GRID.tile(*centre(store, "33UUU-2020"), 12)
    path = f"{url}/years/2020/{tile.z}/{tile.x}/{tile.y}.png"
    tag = requests.get(path, timeout=30).headers["etag"]
    assert requests.get(path, headers={"if-none-match": tag}, timeout=30).status_code == 304
    assert requests.get(path, params={"asset": "confidence"}, timeout=30).headers["etag"] != tag


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("items/33UUU-2020/10/1/1.png?url=http://169.254.169.254/latest/meta-data", 400, "'url'"),
        ("items/33UUU-2020/10/1/1.png?url=file:///etc/passwd", 400, "'url'"),
        ("years/2020/10/1/1.png?url=https://example.com/a.tif", 400, "'url'"),
        ("years/2020/tilejson.json?url=x", 400, "'url'"),
        ("items/nothing/10/1/1.png", 404, "'nothing'"),
        ("items/nothing/point?lon=1&lat=1", 404, "'nothing'"),
        ("items/' OR 1=1 --/10/1/1.png", 404, "OR 1=1"),
        ("items/..%2f..%2f..%2fetc%2fpasswd/10/1/1.png", 404, ""),
        ("items/33UUU-2020/10/1/1.png?asset=thumbnail", 400, "thumbnail"),
        ("items/33UUU-2020/10/1/1.png?asset=../data", 400, "../data"),
        ("items/33UUU-2020/10/1/1.png?scale=1000", 400, "1000"),
        ("items/33UUU-2020/99/1/1.png", 400, "99"),
        ("items/33UUU-2020/-1/1/1.png", 400, "-1"),
        ("items/33UUU-2020/3/8/1.png", 404, "8/1"),
        ("items/33UUU-2020/x/y/z.png", 400, "'x'"),
        ("years/2020/3/1/1.png", 400, "zoom 6"),
        ("years/20000/10/1/1.png", 400, "20000"),
        ("years/2020/point?lon=200&lat=0", 400, "200"),
        ("years/2020/point?lon=nan&lat=0", 400, "nan"),
        ("years/2020/point", 400, "lon"),
    ],
)
def test_what_is_wrong_or_not_in_the_catalog_is_refused(url, path, status, said):
    answer = requests.get(f"{url}/{path}", timeout=30)
    assert answer.status_code == status, answer.text[:300]
    assert said in answer.json()["description"]


@pytest.mark.slow
def test_a_map_whose_file_is_lost_says_so_and_not_where_it_lay(store, tmp_path):
    publish(own := open_store(str(tmp_path / "out")), manifest_of("33UUU"), tmp_path)
    rebuild(own)
    own.delete([key for key in own.list(ANNUAL) if key.endswith("data.tif")])
    with serve_catalog(str(tmp_path / "out")) as url:
        tile = GRID.tile(*centre(store, "33UUU-2020"), 12)
        answer = requests.get(f"{url}/tiles/{ANNUAL}/years/2020/{tile.z}/{tile.x}/{tile.y}.png", timeout=30)
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text


@pytest.mark.slow
def test_maps_in_a_bucket_are_drawn_as_those_in_a_folder(s3, tmp_path, url, store):
    catalog = f"s3://{s3.new_bucket()}/maps"
    own = open_store(catalog, s3_endpoint=s3.endpoint)
    publish(own, manifest_of("33UUU"), tmp_path)
    rebuild(own)
    tile = GRID.tile(*centre(store, "33UUU-2020"), 12)
    path = f"items/33UUU-2020/{tile.z}/{tile.x}/{tile.y}.png"
    with serve_catalog(catalog, "--s3-endpoint", s3.endpoint) as far:
        assert (picture(f"{far}/tiles/{ANNUAL}/{path}") == picture(f"{url}/{path}")).all()
