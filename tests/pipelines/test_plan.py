"""Planning: which scenes, which blocks, and what is done with what was planned or published before."""

import random
from collections import Counter

import pytest
import shapely

from catalog.area import Area, area_of_tiles
from catalog.collections import add_items
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.manifest import Period
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from catalog.sources import open_source
from catalog.store import open_store
from pipelines.plan import Settings, known_manifests
from pipelines.request import Request
from tests.catalog.tile_years import register
from tests.pipelines.items import ground, item, write_items

NETWORK = ModelSpec(id="unet", version="1", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=32, sha256="ab")
YEAR = Period.of_year(2021)
MONTHS = [f"2021-{month:02d}-15" for month in range(1, 13)]


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "out"))


@pytest.fixture
def planned(tmp_path, store):
    """Plans one tile-year: `planned(items, …)`."""

    def run(items, *, tile="33UUU", over=None, period=YEAR, network=NETWORK, legend="nine", **settings):
        area = Area(area_of_tiles(tile).tiles, over)
        chosen = Settings(model=network, legend=load_legend(legend), **settings)
        request = Request.of(str(write_items(tmp_path / "scenes", items)), area, [period], chosen)
        source = request.open()
        request.check(source, store)
        return request.plan(tile, period, source, store)

    return run


def days(planned):
    return [f"{datatake.datetime:%Y-%m-%d}" for datatake in planned.manifest.datatakes]


def reasons(planned):
    """Day to the reason why its scene was left out."""
    return {one.scene[11:19]: one.reason for one in planned.manifest.excluded}


# Which datatakes


def test_a_clear_month_does_not_take_the_place_of_the_others(planned):
    july = [item(f"2021-07-{day:02d}", cloud=0) for day in range(1, 11)]
    year = [item(day, cloud=40) for day in MONTHS if day != "2021-07-15"]
    chosen = days(planned([*july, *year], max_scenes=12))
    assert sorted(day[:7] for day in chosen) == [f"2021-{month:02d}" for month in range(1, 13)]


def test_with_room_for_more_the_clear_month_gives_most(planned):
    july = [item(f"2021-07-{day:02d}", cloud=0) for day in range(1, 11)]
    year = [item(day, cloud=80) for day in MONTHS if day != "2021-07-15"]
    chosen = Counter(day[:7] for day in days(planned([*july, *year], max_scenes=15)))
    assert chosen["2021-07"] == 4 and len(chosen) == 12


def test_the_cloudiest_of_a_month_are_left_out(planned):
    one = planned([item(f"2021-06-{10 + k}", cloud=cloud) for k, cloud in enumerate((60, 5, 90, 20))], max_scenes=2)
    assert days(one) == ["2021-06-11", "2021-06-13"]
    assert reasons(one) == {"20210610": "beyond --max-scenes 2", "20210612": "beyond --max-scenes 2"}


def test_scenes_above_the_limit_of_cloud_are_left_out_even_if_there_is_room(planned):
    one = planned([item("2021-06-01", cloud=60.1), item("2021-06-02", cloud=60)], max_cloud=60)
    assert days(one) == ["2021-06-02"]
    assert reasons(one) == {"20210601": "cloudier than --max-cloud 60 %"}


def test_an_orbit_that_alone_sees_a_corner_is_taken_for_it(planned):
    corner = ground("33UUU", (0, 1500, 0, 1500))
    rest = ground("33UUU").difference(corner)
    often = [item(f"2021-{month:02d}-{day}", over=rest, cloud=0) for month in range(1, 13) for day in (10, 15, 20)]
    seldom = [item(f"2021-0{month}-28", over=corner.buffer(0.01), cloud=50) for month in (5, 6, 7)]
    chosen = planned([*often, *seldom], max_scenes=12)
    assert any(day in days(chosen) for day in ("2021-05-28", "2021-06-28", "2021-07-28"))
    seen = shapely.union_all([shapely.geometry.shape(d.scenes[0].footprint) for d in chosen.manifest.datatakes])
    assert seen.buffer(1e-6).covers(ground("33UUU"))
    assert len({day[:7] for day in days(chosen)}) >= 10, "the rest keeps its months"


def test_orbits_that_overlap_little_share_the_places(planned):
    west, east = ground("33UUU", (0, 10_000, 0, 6000)), ground("33UUU", (0, 10_000, 4000, 10_000))
    both = [item(day, over=west) for day in MONTHS] + [item(day[:8] + "18", over=east) for day in MONTHS]
    chosen = Counter(day[8:] for day in days(planned(both, max_scenes=8)))
    assert chosen == {"15": 4, "18": 4}


def test_the_choice_does_not_depend_on_the_order_in_which_a_source_answers(planned):
    scenes = [item(f"2021-{month:02d}-{day}", cloud=10) for month in range(1, 13) for day in (10, 20)]
    first = planned(scenes, max_scenes=5)
    for seed in range(3):
        random.Random(seed).shuffle(scenes)
        again = planned(scenes, max_scenes=5)
        assert again.manifest.fingerprint == first.manifest.fingerprint
        assert sorted(reasons(again)) == sorted(reasons(first))
    assert days(first) == sorted(days(first))


# What counts once


def test_a_product_cut_in_two_counts_once(planned):
    north, south = ground("33UUU", (0, 5100, 0, 10_000)), ground("33UUU", (4900, 10_000, 0, 10_000))
    cut = [item("2021-06-01", over=north, part=0), item("2021-06-01", over=south, part=1)]
    one = planned([*cut, item("2021-07-01")], max_scenes=2)
    assert [len(datatake.scenes) for datatake in one.manifest.datatakes] == [2, 1]
    assert not one.manifest.excluded


def test_neighbours_fill_the_halo_and_count_once(planned):
    overpass = [item("2021-06-01", tile=name) for name in ("33UTU", "33UUT", "33UUU")]
    one = planned([*overpass, item("2021-07-01", tile="33UTU")])
    (datatake,) = one.manifest.datatakes
    assert [scene.tile for scene in datatake.scenes] == ["33UUU", "33UTU", "33UUT"], "the tile's own comes first"
    assert reasons(one) == {"20210701": "touches only the halo of the tile"}


def test_only_the_newest_processing_of_the_same_data_is_used(planned):
    one = planned([item("2021-06-01", baseline="03.01"), item("2021-06-01", baseline="05.00")])
    (datatake,) = one.manifest.datatakes
    assert [scene.baseline for scene in datatake.scenes] == ["05.00"]
    assert reasons(one) == {"20210601": "older processing of the same data"}


def test_a_cloudy_neighbour_does_not_count_against_the_tile(planned):
    one = planned([item("2021-06-01", cloud=5), item("2021-06-01", tile="33UTU", cloud=100)], max_cloud=10)
    assert len(one.manifest.datatakes[0].scenes) == 2


# Which blocks


def test_only_blocks_that_a_scene_touches_are_mapped(planned):
    one = planned([item("2021-06-01", over=ground("33UUU", (0, 1700, 0, 4000)))])
    assert one.manifest.requested == tuple(range(25))
    assert one.manifest.blocks == (0, 1, 2)


def test_only_blocks_of_the_area_are_mapped_though_the_scenes_are_those_of_the_tile(planned):
    far = item("2021-07-01", over=ground("33UUU", (9000, 9900, 9000, 9900)))
    one = planned([item("2021-06-01"), far], over=ground("33UUU", (100, 200, 100, 2000)))
    assert one.manifest.requested == one.manifest.blocks == (0, 1)
    assert days(one) == ["2021-06-01", "2021-07-01"], "the choice does not depend on the part that is asked for"


def test_what_cannot_be_mapped_says_why(planned):
    north = ground("33UUU", (0, 1000, 0, 10_000))
    south = ground("33UUU", (9000, 10_000, 0, 10_000))
    assert planned([item("2020-06-01")]).skipped == "no usable scene"
    assert planned([item("2021-06-01", cloud=90)], max_cloud=50).skipped == (
        "no usable scene (cloudier than --max-cloud 50 %)"
    )
    assert planned([item("2021-06-01", over=north)], over=south).skipped == "no scene touches the area"


def test_every_tile_and_year_is_planned(tmp_path, store):
    scenes = write_items(tmp_path / "scenes", [item("2021-06-01"), item("2020-06-01")])
    settings = Settings(model=NETWORK, legend=load_legend("nine"))
    request = Request.of(str(scenes), area_of_tiles("33UUU,33UUT"), [Period.of_year(2020), YEAR], settings)
    found = [request.plan(*one, request.open(), store) for one in request.tile_years()]
    assert [one.id for one in found] == ["33UUT-2020", "33UUU-2020", "33UUT-2021", "33UUU-2021"]
    assert all(one.manifest is not None or one.skipped for one in found)
    assert not store.list(""), "planning writes nothing"


# What was planned or published before


@pytest.fixture
def resumed(tmp_path, store):
    """Plans again, when the source has other scenes than before; a search says so by failing."""

    def run(name, *, over=None, **settings):
        source = open_source(str(write_items(tmp_path / "later", [item("2021-12-01")])))
        source.name = name
        source.search = lambda *_: pytest.fail("the source was searched again")
        chosen = Settings(model=NETWORK, legend=load_legend("nine"), **settings)
        request = Request.of(name, Area(area_of_tiles("33UUU").tiles, over), [YEAR], chosen)
        return request.plan("33UUU", YEAR, source, store)

    return run


@pytest.fixture
def name(tmp_path):
    return str(tmp_path / "scenes" / "catalog.json")


def test_a_run_that_was_stopped_goes_on_with_its_own_scenes(planned, resumed, store, name):
    before = planned([item("2021-06-01")]).manifest
    store.write(before.key, before.to_json())
    assert resumed(name).manifest == before


def test_another_request_searches_anew(planned, store):
    before = planned([item("2021-06-01")]).manifest
    store.write(before.key, before.to_json())
    after = planned([item("2021-06-01"), item("2021-07-01")], max_cloud=50).manifest
    assert len(after.datatakes) == 2
    assert known_manifests(store, "33UUU", YEAR) == (None, [before])


def test_what_is_published_is_skipped_without_a_search(planned, resumed, store, name):
    publish(store, planned([item("2021-06-01")]).manifest)
    assert resumed(name).skipped == "already published"
    assert resumed(name, over=ground("33UUU", (0, 100, 0, 100))).skipped == "already published"


def test_a_larger_request_adds_its_blocks_to_the_published_ones(planned, resumed, store, name):
    scene = item("2021-06-01", over=ground("33UUU", (0, 10_000, 0, 5000)))
    small = planned([scene], over=ground("33UUU", (100, 200, 100, 200))).manifest
    publish(store, small)
    beside = resumed(name, over=ground("33UUU", (100, 200, 2000, 2100))).manifest
    assert (small.blocks, beside.blocks) == ((0,), (0, 1))
    assert beside.recipe == small.recipe and beside.fingerprint != small.fingerprint
    whole = resumed(name).manifest
    assert whole.requested == tuple(range(25))
    assert whole.blocks == (0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17, 20, 21, 22), "those that the scene touches"


def test_a_request_that_asks_for_the_same_in_other_words_finds_it_published(planned, store):
    """Here --max-cloud changes the request, but not the scenes."""
    publish(store, planned([item("2021-06-01")]).manifest)
    assert planned([item("2021-06-01")], max_cloud=50).skipped == "already published"


OTHER_NETWORK = NETWORK.model_copy(update={"sha256": "cd"})


@pytest.mark.parametrize(
    "other",
    [{"max_scenes": 1}, {"scores": True}, {"min_observations": 2}, {"network": OTHER_NETWORK}],
    ids=["datatakes", "scores", "observations", "network"],
)
def test_another_recipe_is_refused_unless_it_may_overwrite(planned, store, other):
    scenes = [item("2021-06-01"), item("2021-07-01")]
    before = planned(scenes).manifest
    publish(store, before)
    refused = planned(scenes, **other)
    assert refused.manifest is None and before.fingerprint in refused.refused and "--overwrite" in refused.refused
    allowed = planned(scenes, **other, overwrite=True)
    assert allowed.manifest is not None and allowed.manifest.fingerprint != before.fingerprint


def test_overwriting_searches_anew(planned, store):
    publish(store, planned([item("2021-06-01")]).manifest)
    later = planned([item("2021-06-01"), item("2021-07-01")], overwrite=True)
    assert days(later) == ["2021-06-01", "2021-07-01"]


def test_a_legend_that_contradicts_the_published_one_is_refused(planned, store, tmp_path):
    publish(store, planned([item("2021-06-01")]).manifest)
    nine = load_legend("nine")
    water, *others = nine.classes
    renamed = water.model_copy(update={"name": "lakes"})
    mine = nine.model_copy(update={"id": "mine", "classes": (renamed, *others)})
    (tmp_path / "mine.json").write_text(mine.model_dump_json())
    with pytest.raises(BadInput, match=r"Code 1 is 'lakes'.*'water'.*another --out"):
        planned([item("2021-06-01")], legend=str(tmp_path / "mine.json"))


def test_a_season_is_planned_beside_the_year(planned, store):
    publish(store, planned([item("2021-06-01")]).manifest)
    summer = planned([item("2021-06-01"), item("2021-09-01")], period=Period.parse("2021-06-01/2021-08-31"))
    assert summer.manifest.id == "33UUU-20210601-20210831"
    assert days(summer) == ["2021-06-01"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_scenes": 0}, "--max-scenes 0"),
        ({"max_cloud": 101}, "--max-cloud 101"),
        ({"min_observations": 0}, "--min-observations 0"),
    ],
)
def test_settings_that_make_no_map_are_refused(planned, settings, named):
    with pytest.raises(BadInput, match=named):
        planned([item("2021-06-01")], **settings)


def publish(store, manifest):
    """As a run does, but for the pixels."""
    store.write(manifest.key, manifest.to_json())
    add_items(store, manifest.collection, [register(store, manifest)])
