"""No seam shows: not between chips, blocks, tiles, nor where a product was cut in two."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform_geom
from rasterio.windows import Window, from_bounds

from catalog.area import area_of_tiles
from catalog.clear import clear_pixels, grow
from catalog.grid import Tile
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.model import MODEL_CLASSES
from catalog.store import open_store
from catalog.vote import Vote
from pipelines import classify
from pipelines.classify import Frame, classify_block
from pipelines.plan import Settings
from pipelines.read import SceneReader
from pipelines.request import Request
from pipelines.simulate import Product, simulate
from services.inference import DEFAULT_MODEL, open_network
from tests.networks import SIX_BANDS
from tests.pipelines.items import write_items
from tests.pipelines.running import map_tiles

pytestmark = pytest.mark.slow

ASSETS = ("data", "confidence", "observations")
NINE = load_legend("nine")


def items_of(simulation):
    """The items of a simulation, with absolute addresses."""
    found = []
    for path in sorted(simulation.catalog.parent.glob("sentinel-2-l2a/*/*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
        found.append(item)
    return found


def cut(item, folder, *, tile="33UUU", part=0, rows=None, cols=None, kept=None):
    """A part of a product, as the ground segment would deliver it.

    Args:
        item: of the whole product.
        folder: for its files.
        tile: whose product it becomes.
        part: parts of one product differ in it.
        rows: of the whole product, first and one past the last; None: all.
        cols: as `rows`.
        kept: bool `[rows, cols]` at 20 m; the other pixels become no data.
    """
    part_item = copy.deepcopy(item)
    part_item["id"] = f"{item['id']}_{tile}_{part}"
    folder = folder / part_item["id"]
    folder.mkdir(parents=True)
    for name, asset in part_item["assets"].items():
        with rasterio.open(asset["href"]) as whole:
            step = round(whole.res[0] / 10)
            (row0, row1), (col0, col1) = (
                (span[0] // step, span[1] // step) if span else (0, size)
                for span, size in ((rows, whole.height), (cols, whole.width))
            )
            window = Window(col0, row0, col1 - col0, row1 - row0)
            values = whole.read(1, window=window)
            if kept is not None:
                values[~np.kron(kept, np.ones((2 // step, 2 // step), bool))] = 0
            profile = whole.profile | {
                "driver": "GTiff",
                "width": window.width,
                "height": window.height,
                "transform": whole.transform @ Affine.translation(col0, row0),
                "blockxsize": 128,
                "blockysize": 128,
            }
            asset["href"] = str(folder / f"{name}.tif")
            with rasterio.open(asset["href"], "w", **profile) as target:
                target.write(values, 1)
                bounds, crs = target.bounds, target.crs
    outline = json.loads(shapely.to_geojson(shapely.box(*bounds)))
    part_item["geometry"] = transform_geom(crs, "EPSG:4326", outline)
    part_item["properties"]["s2:mgrs_tile"] = tile
    strip = part_item["properties"]["s2:datastrip_id"]
    begun = strip.rpartition("_S")[2][:15]
    part_item["properties"]["s2:datastrip_id"] = strip.replace(f"_S{begun}", f"_S{begun[:-2]}{part:02d}")
    return part_item


def published(out, tile, bounds):
    """What was published inside UTM bounds: asset to array `[rows, cols]`."""
    item = json.loads((Path(out) / f"lulc-annual/{tile}/2021/{tile}-2021.json").read_text())
    found = {}
    for name in ASSETS:
        href = Path(out) / f"lulc-annual/{tile}/2021" / item["assets"][name]["href"]
        with rasterio.open(href) as source:
            found[name] = source.read(1, window=from_bounds(*bounds, source.transform))
    return found


def differing(one, other):
    """Where two maps differ in any asset."""
    return np.any([one[name] != other[name] for name in ASSETS], axis=0)


# Between tiles


def test_neighbouring_tiles_join_as_if_they_were_one_scene(network, tmp_path):
    """Each tile is mapped from its own product, and from the neighbour's where its halo reaches beyond."""
    whole = simulate(
        tmp_path / "whole", [Product("33UUU", 9700, 500, (400, 600))], years=(2021,), dates_per_year=3, cloud=0.2
    )
    delivered = []
    for item in items_of(whole):
        # A product of the western tile reaches into the eastern one; that of the eastern tile begins at its edge.
        delivered.append(cut(item, tmp_path / "cut", tile="33UUU", cols=(0, 500)))
        delivered.append(cut(item, tmp_path / "cut", tile="33UVU", cols=(300, 600)))
    apart = write_items(tmp_path / "apart", delivered)
    map_tiles(whole.catalog, tmp_path / "one", network, tiles="33UUU,33UVU")
    map_tiles(apart, tmp_path / "two", network, tiles="33UUU,33UVU")
    west, east = Tile.from_name("33UUU"), Tile.from_name("33UVU")
    top, bottom = west.top - 5000, west.top - 9000
    for tile, bounds in (
        ("33UUU", (west.left + 97_000, bottom, east.left, top)),
        ("33UVU", (east.left, bottom, east.left + 3000, top)),
    ):
        one, two = published(tmp_path / "one", tile, bounds), published(tmp_path / "two", tile, bounds)
        assert one["data"].shape == (400, 300) and (one["observations"] > 0).mean() > 0.8
        # At the very edge of a product its 20 m bands are interpolated with one neighbour less.
        at_edge = np.zeros((400, 300), bool)
        at_edge[:, :2] = tile == "33UVU"
        assert not differing(one, two)[~at_edge].any()
        assert (one["data"] != two["data"]).sum() <= 0.01 * 400


def test_the_neighbour_is_needed_for_the_halo(network, tmp_path):
    """So that the test above can fail: without the western product the eastern tile's edge differs."""
    whole = simulate(
        tmp_path / "whole", [Product("33UUU", 9700, 500, (400, 600))], years=(2021,), dates_per_year=3, cloud=0.2
    )
    own = [cut(item, tmp_path / "cut", tile="33UVU", cols=(300, 600)) for item in items_of(whole)]
    map_tiles(whole.catalog, tmp_path / "one", network, tiles="33UVU")
    map_tiles(write_items(tmp_path / "own", own), tmp_path / "two", network, tiles="33UVU")
    east = Tile.from_name("33UVU")
    bounds = (east.left, east.top - 9000, east.left + 3000, east.top - 5000)
    odd = differing(published(tmp_path / "one", "33UVU", bounds), published(tmp_path / "two", "33UVU", bounds))
    assert odd[:, :8].any()


# Between the parts of a product


@pytest.mark.parametrize("slanting", [False, True], ids=["cut straight", "cut by no data"])
def test_a_product_cut_in_two_gives_the_map_of_the_whole(simulated, network, tmp_path, slanting):
    parts = []
    for item in items_of(simulated):
        if slanting:
            # Both parts have the product's full size, and no data beyond a line that crosses it.
            north = np.add.outer(np.arange(160), np.arange(200) * 0.3) < 110
            parts += [cut(item, tmp_path, part=1, kept=north), cut(item, tmp_path, part=2, kept=~north)]
        else:
            parts += [cut(item, tmp_path, part=1, rows=(0, 140)), cut(item, tmp_path, part=2, rows=(140, 320))]
            north = np.zeros((160, 200), bool)
            north[:70] = True
    map_tiles(simulated.catalog, tmp_path / "whole", network)
    accounts = map_tiles(write_items(tmp_path / "parts", parts), tmp_path / "out", network)
    assert accounts.published == ["33UUU-2021"]
    tile = Tile.from_name("33UUU")
    left, top = tile.left + (1792 - 200) * 10, tile.top - 3000
    bounds = (left, top - 3200, left + 4000, top)
    one, two = (published(tmp_path / out, "33UUU", bounds) for out in ("whole", "out"))
    assert one["observations"].max() == two["observations"].max() == 3, "the parts count once"
    line = np.kron(north, np.ones((2, 2), bool))
    near = grow(line, 3) & grow(~line, 3)
    assert not differing(one, two)[~near].any()
    assert (one["data"] != two["data"])[near].mean() < 0.01


# Between chips and blocks, with the network that is shipped


@pytest.fixture(scope="module")
def shipped():
    return open_network(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def corner(tmp_path_factory, shipped):
    """A manifest of four blocks of 33UUU whose common corner lies amid the scenes."""
    folder = tmp_path_factory.mktemp("corner")
    product = Product("33UUU", col=1792 - 170, row=1792 - 190, size=(380, 360))
    simulation = simulate(folder, [product], years=(2021,), dates_per_year=3, cloud=0.35, seed=3)
    settings = Settings(model=shipped.spec, legend=NINE, scores=True)
    year, nowhere = Period.of_year(2021), open_store(str(folder / "out"))
    request = Request.of(str(simulation.catalog), area_of_tiles("33UUU"), [year], settings)
    return request.plan("33UUU", year, request.open(), nowhere).manifest


WINDOW = (1792 - 192, 1792 + 192, 1792 - 192, 1792 + 192)
"""Rows and columns that hold the scenes."""


def from_blocks(manifest, network):
    """Class, confidence, observations and scores of `WINDOW`, each block mapped on its own."""
    row0, row1, col0, col1 = WINDOW
    whole = {}
    for number in manifest.blocks:
        voted, _ = classify_block(manifest, number, SceneReader(), network, Path())
        here = manifest.block(number)
        top, bottom, left, right = (
            max(row0, here.row0),
            min(row1, here.row1),
            max(col0, here.col0),
            min(col1, here.col1),
        )
        for name in (*ASSETS, "scores"):
            part = getattr(voted, name)[..., top - here.row0 : bottom - here.row0, left - here.col0 : right - here.col0]
            into = whole.setdefault(name, np.zeros((*part.shape[:-2], row1 - row0, col1 - col0), part.dtype))
            into[..., top - row0 : bottom - row0, left - col0 : right - col0] = part
    return whole


def from_one_chip(manifest, network, pad):
    """The same from a single chip over all, `pad` pixels larger on each side."""
    tile, (row0, row1, col0, col1) = Tile.from_name(manifest.tile), WINDOW
    transform = tile.transform @ Affine.translation(col0 - pad, row0 - pad)
    vote = Vote(MODEL_CLASSES, NINE, (row1 - row0, col1 - col0), network.spec.vote.correlation)
    inner, reader = (slice(pad, -pad),) * 2, SceneReader()
    for datatake in manifest.datatakes:
        look = reader.read(datatake, SIX_BANDS, tile.epsg, transform, (row1 - row0 + 2 * pad, col1 - col0 + 2 * pad))
        scores = network.scores(look.bands[np.newaxis])[0]
        clear, seen = clear_pixels(scores, look.bands[0] > 0, look.scl, MODEL_CLASSES)
        when = (datatake.datetime.year, datatake.datetime.month)
        vote.add(when, scores[(slice(None), *inner)], clear[inner], seen[inner])
    voted = vote.result(1, with_scores=True)
    return {name: getattr(voted, name) for name in (*ASSETS, "scores")}


@pytest.fixture(scope="module")
def blocks(corner, shipped):
    assert corner.blocks == (0, 1, 5, 6)
    return from_blocks(corner, shipped)


@pytest.fixture(scope="module")
def one_chip(corner, shipped):
    return from_one_chip(corner, shipped, pad=64)


def test_four_blocks_join_as_if_they_were_one_chip(blocks, one_chip):
    at_border = one_chip["observations"][190:194], one_chip["observations"][:, 190:194]
    assert all({1, 2} <= set(np.unique(looks)) for looks in at_border), "clouds lie across the borders"
    assert len(np.unique(one_chip["data"])) >= 4
    for name in (*ASSETS, "scores"):
        np.testing.assert_array_equal(blocks[name], one_chip[name], err_msg=name)


def test_the_size_of_chips_cannot_be_seen(blocks, corner, shipped, monkeypatch):
    monkeypatch.setattr(classify, "CHIP", (64, 64))
    small = from_blocks(corner, shipped)
    for name in (*ASSETS, "scores"):
        np.testing.assert_array_equal(small[name], blocks[name], err_msg=name)


def test_a_smaller_halo_would_show(one_chip, corner, shipped, monkeypatch):
    """So that the tests above can fail."""
    frame = Frame.of(shipped.spec)
    monkeypatch.setattr(Frame, "of", lambda spec: Frame(frame.margin, frame.halo // 2, frame.stride))
    assert (from_blocks(corner, shipped)["scores"] != one_chip["scores"]).any()
