"""Estimates: sums over what was planned; the files of the scenes do not even exist."""

import json

import pytest

from catalog.area import Area, area_of_tiles
from catalog.errors import BadInput
from catalog.grid import BLOCKS
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.store import open_store
from pipelines.capacity import Fleet, Work, forecast
from pipelines.estimate import default_prices, estimate, load_prices
from pipelines.plan import Settings
from pipelines.request import Request
from tests.catalog.test_radar import radar_item
from tests.pipelines.items import ground, item, write_items

NETWORK = ModelSpec(id="unet", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=32, sha256="ab")
PER_CORE = ("pixels_per_core_second", "reader_pixels_per_core_second")
WEST_HALF, CORNER = (0, 10_000, 0, 5000), (0, 1700, 0, 1700)


def settings_of(network: ModelSpec, **asked) -> Settings:
    return Settings(model=network, legend=load_legend("nine"), **asked)


@pytest.fixture
def estimated(tmp_path):
    """What a year will take: `estimated(items, …)`."""

    def run(items, *, tiles="33UUU", over=None, prices=""):
        area = Area(area_of_tiles(tiles).tiles, over)
        settings = settings_of(NETWORK)
        request = Request.of(str(write_items(tmp_path / "scenes", items)), area, [Period.of_year(2021)], settings)
        source, store = request.open(), open_store(str(tmp_path / "out"))
        planned = [request.plan(*one, source, store) for one in request.tile_years()]
        return estimate(planned, load_prices(prices))

    return run


@pytest.fixture
def edited(tmp_path):
    """The default table with other values, `edited(rates={…}, prices_usd={…})`; returns its path."""

    def write(**changes):
        table = json.loads(default_prices())
        for part, values in changes.items():
            table[part].update(values)
        (tmp_path / "prices.json").write_text(json.dumps(table))
        return str(tmp_path / "prices.json")

    return write


def test_a_tile_seen_twice(estimated):
    found = estimated([item("2021-06-01"), item("2021-07-01")])
    assert (found.tile_years, found.blocks, found.datatakes, found.scenes) == (1, 25, 2, 2)
    assert found.pixels == 1e8
    assert found.looks == pytest.approx(2e8)
    rates = load_prices("").rates
    assert found.core_hours == pytest.approx(2e8 / rates.pixels_per_core_second / 3600)
    assert found.gpu_hours == pytest.approx(2e8 / rates.pixels_per_gpu_second / 3600)
    assert found.read_gigabytes == pytest.approx(0.2 * rates.bytes_per_pixel)
    assert found.written_gigabytes == pytest.approx(0.1 * rates.output_bytes_per_pixel)


def test_radar_adds_its_overpasses_where_they_lie(tmp_path):
    """Two passes in June, one of them over the western half; the month without a look is not read."""
    bands = (*BANDS, "VV_ascending", "VH_ascending")
    settings = settings_of(NETWORK.model_copy(update={"bands": bands}))
    passes = [radar_item("2021-06-03", turn=1), radar_item("2021-06-15", turn=2), radar_item("2021-08-03", turn=3)]
    passes[1]["geometry"] = ground("33UUU", WEST_HALF).__geo_interface__
    request = Request.of(
        str(write_items(tmp_path / "scenes", [item("2021-06-01")])),
        area_of_tiles("33UUU"),
        [Period.of_year(2021)],
        settings,
        radar=str(write_items(tmp_path / "radar", passes)),
    )
    source, store = request.open(), open_store(str(tmp_path / "out"))
    request.check(source, store)
    found = estimate([request.plan("33UUU", Period.of_year(2021), source, store)], load_prices(""))
    rates = load_prices("").rates
    assert (found.radar_scenes, found.scenes) == (2, 1) and found.radar_looks == pytest.approx(1.5e8, rel=1e-3)
    assert found.radar_gigabytes == pytest.approx(0.15 * rates.radar_bytes_per_pixel, rel=1e-3)
    assert found.read_gigabytes == pytest.approx(0.1 * rates.bytes_per_pixel + found.radar_gigabytes)
    assert found.worker_gigabytes == rates.worker_gigabytes + rates.radar_worker_gigabytes
    light = 1e8 / rates.pixels_per_core_second / 3600
    assert found.core_hours == pytest.approx(light + 1.5e8 / rates.radar_pixels_per_core_second / 3600, rel=1e-3)


def test_only_what_a_scene_covers_is_read(estimated):
    found = estimated([item("2021-06-01"), item("2021-07-01", over=ground("33UUU", WEST_HALF))])
    assert found.looks == pytest.approx(1.5e8, rel=1e-3)
    assert found.pixels == 1e8


def test_a_part_of_a_tile_takes_only_its_blocks(estimated):
    found = estimated([item("2021-06-01")], over=ground("33UUU", (10, 20, 10, 20)))
    assert found.blocks == 1
    assert found.pixels == BLOCKS[0].pixels
    assert found.looks == pytest.approx(found.pixels, rel=1e-4)


def test_products_of_one_datatake_are_read_where_they_lie_but_once(estimated):
    cut = [
        item("2021-06-01", over=ground("33UUU", (0, 5200, 0, 10_000)), part=0),
        item("2021-06-01", over=ground("33UUU", (4800, 10_000, 0, 10_000)), part=1),
        item("2021-06-01", tile="33UTU"),
    ]
    found = estimated(cut)
    assert (found.datatakes, found.scenes) == (1, 3)
    assert found.looks == pytest.approx(1e8, rel=1e-3)


def test_tile_years_without_scenes_cost_nothing(estimated):
    found = estimated([item("2021-06-01", over=ground("33UUU", CORNER))], tiles="33UUU,33UVU,48QUE")
    assert found.tile_years == 1 and found.blocks == 1
    nothing = estimated([item("2020-06-01")])
    assert set(nothing.model_dump().values()) == {0}


def test_a_tile_cut_by_its_zone(estimated):
    """31UGT owns a strip; its blocks are counted in full, those beyond the zone not at all."""
    found = estimated([item("2021-06-01", tile="31UGT")], tiles="31UGT")
    assert 0 < found.blocks < 25
    assert found.looks == pytest.approx(found.pixels, rel=0.01)


def test_prices_that_the_user_edited_are_used(estimated, edited):
    scenes = [item("2021-06-01")]
    before = estimated(scenes)
    mine = edited(
        rates={"pixels_per_core_second": 1_000_000, "reader_pixels_per_core_second": 1e30},
        prices_usd={"core_hour": 1, "gpu_hour": 10, "read_gigabyte": 0.5, "stored_gigabyte_month": 2},
    )
    after = estimated(scenes, prices=mine)
    assert after.core_usd == after.core_hours == pytest.approx(1e8 / 1e6 / 3600)
    assert after.gpu_usd == pytest.approx(10 * before.gpu_hours)
    assert after.read_usd == pytest.approx(0.5 * before.read_gigabytes)
    assert after.storage_usd_month == pytest.approx(2 * before.written_gigabytes)


def test_seasons_and_a_second_stage_cost_core_hours_and_bytes_that_the_table_tells():
    plain = load_prices("")
    before = plain.rates

    def added(**asked) -> tuple[float, float]:
        """Core-seconds a pixel and look, and bytes written a pixel."""
        found = plain.suited(settings_of(NETWORK, **asked), []).rates
        assert found.pixels_per_gpu_second == before.pixels_per_gpu_second
        slower = [1 / getattr(found, name) - 1 / getattr(before, name) for name in PER_CORE]
        assert slower[0] == pytest.approx(slower[1]), "readers for GPUs have this to do, too"
        return slower[0], found.output_bytes_per_pixel - before.output_bytes_per_pixel

    second = NETWORK.model_copy(update={"id": "second", "first": "unet 1"})
    own, told = 1 / before.second_stage_pixels_per_core_second, 1 / before.told_season_pixels_per_core_second
    published = 1 / before.season_pixels_per_core_second
    assert added() == (0, 0)
    assert added(seasons=True) == pytest.approx((published, before.season_bytes_per_pixel))
    assert added(second_stage=second) == pytest.approx((told + own, 0)), "what it sees is not published"
    assert added(seasons=True, second_stage=second) == pytest.approx((published + own, before.season_bytes_per_pixel))


def test_a_tile_of_30_m_has_its_own_pixels_blocks_and_rates(tmp_path):
    """Of scenes of 10 m, which are read by their overviews of 20 m: 13.5 numbers a pixel instead of 4.5."""
    settings = settings_of(NETWORK.model_copy(update={"gsd": 30}))
    request = Request.of(
        str(write_items(tmp_path / "scenes", [item("2021-06-01"), item("2021-07-01")])),
        area_of_tiles("33UUU"), [Period.of_year(2021)], settings,
    )  # fmt: skip
    planned = request.plan("33UUU", Period.of_year(2021), request.open(), open_store(str(tmp_path / "out")))
    table = load_prices("")
    found = estimate([planned], table.suited(settings, [planned.manifest]))
    assert found.blocks == 4 and found.pixels == pytest.approx(1e8 / 9, rel=0.01)
    seconds = 3600 * found.core_hours
    assert seconds == pytest.approx(found.looks / (0.62 * table.rates_30m["pixels_per_core_second"]))
    assert found.read_gigabytes == pytest.approx(3 * table.rates.bytes_per_pixel * found.looks / 1e9)
    direct, work = Fleet("direct", 1), Work.of([planned.manifest])
    assert work.blocks == 4
    hours = forecast(work, direct, table.suited(settings, [planned.manifest])).hours
    whole = forecast(work, direct, table).hours
    assert hours < whole, "a ninth of the pixels is assembled"


def test_gpus_are_paid_with_the_cores_that_feed_them(estimated):
    found, table = estimated([item("2021-06-01")]), load_prices("")
    cores = table.rates.pixels_per_gpu_second / table.rates.reader_pixels_per_core_second * table.prices_usd.core_hour
    assert found.gpu_usd == pytest.approx(found.gpu_hours * (table.prices_usd.gpu_hour + cores))


def test_the_table_says_which_rates_are_assumed():
    table = load_prices("")
    values = {*table.rates.model_dump(), *table.running.model_dump(), *table.prices_usd.model_dump()}
    assert set(table.notes) <= values
    assert {*table.rates.model_dump(), *table.running.model_dump()} <= set(table.notes)
    assert set(table.notes_30m) == set(table.rates_30m)
    assert "measured" in table.notes["pixels_per_core_second"]
    assert table.notes["pixels_per_gpu_second"].startswith("ASSUMED")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"rates": {"pixels_per_core_second": 0}}, "rates.pixels_per_core_second.*greater than 0"),
        ({"rates_30m": {"bytes_per_pixel": -2}}, "rates_30m.*bytes_per_pixel = -2"),
        ({"rates_30m": {"speed": 2}}, "rates_30m.*speed = 2.*pixels_per_core_second"),
        ({"prices_usd": {"core_hour": -1}}, "prices_usd.core_hour.*greater than or equal to 0"),
        ({"prices_usd": {"gpu_hour": "dear"}}, "prices_usd.gpu_hour.*number"),
        ({"prices_usd": {"tea": 1}}, "prices_usd.tea"),
    ],
    ids=[
        "a rate of nothing",
        "a rate of 30 m below nothing",
        "an unknown rate of 30 m",
        "a price below nothing",
        "a word",
        "an unknown price",
    ],
)
def test_a_bad_table_is_refused_by_the_value(edited, changes, where):
    with pytest.raises(BadInput, match=f"prices.json.*{where}"):
        load_prices(edited(**changes))


def test_a_table_that_is_none(tmp_path):
    (tmp_path / "notes.txt").write_text("dear")
    with pytest.raises(BadInput, match=r"notes.txt.*the file"):
        load_prices(str(tmp_path / "notes.txt"))
    with pytest.raises(BadInput, match=r"no-such.json.*--write-prices"):
        load_prices("no-such.json")
