"""The simulator: its truth is true, and its scenes are as Sentinel-2's are."""

import json
import sys

import numpy as np
import pystac
import pytest
import rasterio

from catalog.grid import Tile
from catalog.manifest import Period
from catalog.scenes import BANDS
from catalog.sources import open_source
from catalog.validation import validate
from pipelines.cli import run
from pipelines.landscape import (
    BARE,
    BUILT,
    CHANGE_CELL,
    CLOUD,
    CROPS,
    FLOODED,
    GRASS,
    SHRUB,
    SNOW,
    SPECTRA,
    TREES,
    WATER,
    land_cover,
)
from pipelines.simulate import Product, simulate
from tests.pipelines.items import ground

SHADOW, CLOUDS = 3, (8, 9)


def scenes(simulation):
    """Items in order of time."""
    found = pystac.Catalog.from_file(str(simulation.catalog)).get_items(recursive=True)
    return sorted(found, key=lambda item: item.id[11:])


def read(item, *names):
    """Bands of an item as they are in its files, `[bands, rows, cols]`, those of 20 m repeated."""
    layers = []
    for name in names:
        with rasterio.open(item.assets[name].get_absolute_href()) as source:
            step = round(source.res[0] / 10)
            layers.append(source.read(1).repeat(step, axis=0).repeat(step, axis=1))
    return np.stack(layers)


def reflectance(item):
    """x 10,000, `[6, rows, cols]`, by what the item says of scale and offset; and the scene classification."""
    bands = read(item, *BANDS).astype(float)
    for number, name in enumerate(BANDS):
        stated = item.assets[name].extra_fields["raster:bands"][0]
        bands[number] = (bands[number] * stated["scale"] + stated["offset"]) * 10_000
    return bands, read(item, "SCL")[0]


def truth(simulation, tile, year):
    with rasterio.open(simulation.truth[tile, year]) as source:
        return source.read(1)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    """Two years, in the second of which the offset begins: the first date lies before 25 January."""
    product = Product("33UUU", col=2000, row=4000, size=(300, 400))
    return simulate(tmp_path_factory.mktemp("simulated"), [product], dates_per_year=4, cloud=0.35, seed=7)


@pytest.fixture(scope="module")
def overcast(tmp_path_factory):
    """Many cloudy dates of one year."""
    product = Product("33UUU", col=2000, row=4000, size=(600, 600))
    return simulate(tmp_path_factory.mktemp("overcast"), [product], years=(2021,), dates_per_year=8, cloud=0.5, seed=2)


# The land


def test_a_large_landscape_has_every_class():
    metres = np.arange(0, 60_000, 100.0)
    shares = np.bincount(land_cover(400_000 + metres, 5_800_000 + metres, 0, 0.1, 1).ravel(), minlength=10) / 600**2
    assert shares[CLOUD] == 0
    assert (np.delete(shares, CLOUD) > 0.002).all(), "each is there"
    assert shares.max() < 0.5, "none is nearly everywhere"


@pytest.mark.slow
def test_what_is_seen_has_the_spectrum_of_what_is_there(simulation):
    """Where it is clear, the nearest spectrum of summer is the true class."""
    year = truth(simulation, "33UUU", 2021)
    summer = next(item for item in scenes(simulation) if item.id[11:17] == "202107")
    seen, scl = reflectance(summer)
    clear = ~np.isin(scl, (SHADOW, *CLOUDS))
    distance = ((seen[np.newaxis] - SPECTRA[:, :, np.newaxis, np.newaxis]) ** 2).sum(axis=1)
    assert clear.mean() > 0.3
    assert (distance.argmin(axis=0) == year)[clear].mean() > 0.9


@pytest.mark.slow
def test_seasons_dry_the_fields_and_leave_the_woods(overcast):
    year, ratio = truth(overcast, "33UUU", 2021), {}
    for item in scenes(overcast):
        seen, scl = reflectance(item)
        clear = ~np.isin(scl, (SHADOW, *CLOUDS, 11))
        for name, code in (("crops", CROPS), ("trees", TREES)):
            there = clear & (year == code)
            if there.sum() > 100:
                ratio[name, item.datetime.month] = np.median(seen[3][there]) / SPECTRA[code, 3]
    fields = [value for (name, _), value in ratio.items() if name == "crops"]
    woods = [value for (name, _), value in ratio.items() if name == "trees"]
    assert max(fields) - min(fields) > 0.12
    assert max(woods) - min(woods) < 0.03


def test_neighbouring_products_show_the_same_ground(tmp_path):
    west = Product("33UUU", col=9900, row=0, size=(100, 300))
    east = Product("33UVU", col=0, row=0, size=(100, 300))
    both = simulate(tmp_path, [west, east], years=(2021,), dates_per_year=1, cloud=0.3)
    assert (truth(both, "33UUU", 2021)[:, 100:] == truth(both, "33UVU", 2021)[:, :200]).mean() > 0.999
    first, second = (read(item, *BANDS, "SCL") for item in sorted(scenes(both), key=lambda item: item.id))
    # Sums of floating-point numbers may round differently in arrays of other sizes.
    assert (np.abs(first[:, :, 100:].astype(int) - second[:, :, :200]) <= 1).mean() > 0.999


# The years


def test_land_cover_changes_where_and_how_it_is_said_to():
    x, y = 400_050 + np.arange(0, 40_000, 100.0), 5_799_950 - np.arange(0, 40_000, 100.0)
    before, after = (land_cover(x, y, year, 0.2, 1) for year in (0, 1))
    kinds = set(zip(before[before != after].tolist(), after[before != after].tolist(), strict=True))
    assert kinds == {(TREES, CROPS), (GRASS, BUILT), (SHRUB, BUILT), (CROPS, GRASS)}
    may_change = np.isin(before, (TREES, GRASS, SHRUB, CROPS))
    assert (before != after)[may_change].mean() == pytest.approx(0.2, abs=0.03)
    cells = (before != after).reshape(100, 4, 100, 4).transpose(0, 2, 1, 3).reshape(100, 100, 16)
    allowed = may_change.reshape(100, 4, 100, 4).transpose(0, 2, 1, 3).reshape(100, 100, 16)
    changed = cells.any(axis=2)
    assert CHANGE_CELL == 400
    np.testing.assert_array_equal(cells[changed], allowed[changed])


def test_without_change_the_years_are_alike_and_with_it_they_go_on():
    x, y = 400_000 + np.arange(0, 20_000, 50.0), 5_800_000 - np.arange(0, 20_000, 50.0)
    still = [land_cover(x, y, year, 0.0, 1) for year in range(3)]
    np.testing.assert_array_equal(still[0], still[2])
    first, second, third = (land_cover(x, y, year, 0.3, 1) for year in range(3))
    assert (first != second).any() and (second != third).any()
    assert ((first != second) & (second == third)).any(), "what has changed stays"


def test_the_truth_of_each_year_is_written(simulation):
    before, after = (truth(simulation, "33UUU", year) for year in (2021, 2022))
    assert before.shape == after.shape == (300, 400)
    assert 0 < (before != after).mean() < 0.2
    assert set(np.unique(before)) <= {WATER, TREES, GRASS, FLOODED, CROPS, SHRUB, BUILT, BARE, SNOW}


# The sensor


def test_numbers_carry_the_offset_from_baseline_4_on(simulation):
    items = scenes(simulation)
    early = [item for item in items if f"{item.datetime:%Y-%m-%d}" < "2022-01-25"]
    late = [item for item in items if f"{item.datetime:%Y-%m-%d}" >= "2022-01-25"]
    assert (len(early), len(late)) == (5, 3), "the offset begins within the second year"
    for some, baseline, offset in ((early, "03.01", 0.0), (late, "04.00", -0.1)):
        for item in some:
            assert item.properties["s2:processing_baseline"] == baseline
            assert item.assets["B02"].extra_fields["raster:bands"][0]["offset"] == offset
            assert (read(item, *BANDS).min() > 1000) == bool(offset)


def test_with_the_offset_removed_both_baselines_show_the_same(simulation):
    woods = (truth(simulation, "33UUU", 2021) == TREES) & (truth(simulation, "33UUU", 2022) == TREES)
    medians = []
    for item in scenes(simulation):
        seen, scl = reflectance(item)
        clear = woods & ~np.isin(scl, (SHADOW, *CLOUDS, 11))
        if clear.sum() > 500:
            medians.append(np.median(seen[:, clear], axis=1))
    assert len(medians) > 4
    np.testing.assert_allclose(medians, np.tile(SPECTRA[TREES], (len(medians), 1)), rtol=0.05, atol=10)


# Clouds


def test_clouds_are_bright_and_their_shadows_dark(overcast):
    woods, compared = truth(overcast, "33UUU", 2021) == TREES, 0
    for item in scenes(overcast):
        seen, scl = reflectance(item)
        if (scl == 9).any():
            assert np.median(seen[2][scl == 9]) > 4000
        lit, dark = woods & (scl == 4), woods & (scl == SHADOW)
        # In winter there may be frost on the trees.
        if 4 <= item.datetime.month <= 9 and min(lit.sum(), dark.sum()) > 200:
            assert np.median(seen[3][dark]) == pytest.approx(0.4 * np.median(seen[3][lit]), rel=0.1)
            compared += 1
    assert compared


def test_shadows_lie_beside_the_clouds_that_cast_them(overcast):
    """Each is a cloud, moved by 320 m to the west and 260 m to the north."""
    found = 0
    for item in scenes(overcast):
        scl = read(item, "SCL")[0]
        rows, cols = np.nonzero(scl == SHADOW)
        there = (rows + 26 < scl.shape[0]) & (cols + 32 < scl.shape[1])
        rows, cols = rows[there], cols[there]
        found += rows.size
        assert np.isin(scl[rows + 26, cols + 32], CLOUDS).all()
    assert found > 1000


def test_the_share_of_cloud_is_as_stated_and_varies_from_date_to_date(overcast):
    shares = []
    for item in scenes(overcast):
        shares.append(np.isin(read(item, "SCL")[0], CLOUDS).mean() * 100)
        assert item.properties["eo:cloud_cover"] == pytest.approx(shares[-1], abs=0.3)
    assert np.ptp(shares) > 20
    assert 20 < np.mean(shares) < 80


def test_a_clear_sky_has_neither_cloud_nor_shadow(tmp_path):
    clear = simulate(tmp_path, [Product("33UUU", size=(100, 100))], years=(2021,), dates_per_year=2, cloud=0)
    for item in scenes(clear):
        assert not np.isin(read(item, "SCL"), (SHADOW, *CLOUDS)).any()
        assert item.properties["eo:cloud_cover"] == 0


# Products


def test_every_second_overpass_ends_within_the_tile(tmp_path):
    wedge = simulate(
        tmp_path, [Product("33UUU", 4800, 4800, (400, 400))], years=(2021,), dates_per_year=4, cloud=0.2, wedge=True
    )
    for number, item in enumerate(scenes(wedge)):
        bands, scl = read(item, "B02", "B03", "B04", "B08"), read(item, "SCL")[0]
        empty = bands[0] == 0
        assert empty.any() == (number % 2 == 1)
        assert ((bands == 0) == empty).all(), "all bands end at the same place"
        if empty.any():
            assert 0.3 < empty.mean() < 0.7
            assert not empty[:, 0].any() and empty[:, -1].all(), "data lie to the west"
            first = empty.argmax(axis=1)
            assert (np.diff(first) <= 0).all() and np.ptp(first) == pytest.approx(400 * 0.2, abs=2), "the edge slants"
            assert (scl[empty][::4] == 0).mean() > 0.95
            assert ((read(item, "B11")[0] == 0) >= empty).all()


def test_a_product_in_two_parts_is_one_datatake(tmp_path):
    parts = [Product("33UUU", size=(100, 200), part=0), Product("33UUU", row=100, size=(100, 200), part=1)]
    written = simulate(tmp_path, parts, years=(2021,), dates_per_year=1, cloud=0)
    first, second = scenes(written)
    assert first.id != second.id
    assert first.properties["s2:datatake_id"] == second.properties["s2:datatake_id"]
    assert first.properties["s2:datastrip_id"] != second.properties["s2:datastrip_id"]


def test_a_shifted_product_lies_off_the_grid(tmp_path):
    shifted = simulate(
        tmp_path, [Product("48QUE", size=(100, 100), shift=3.7)], years=(2021,), dates_per_year=1, cloud=0
    )
    (item,) = scenes(shifted)
    tile = Tile.from_name("48QUE")
    with rasterio.open(item.assets["B12"].get_absolute_href()) as source:
        assert (source.bounds.left, source.bounds.top) == (tile.left + 3.7, tile.top - 3.7)
        assert source.crs.to_epsg() == 32648


def test_the_catalog_is_valid_and_its_scenes_are_found(simulation):
    for path in simulation.catalog.parent.rglob("*.json"):
        content = json.loads(path.read_text())
        # Of this extension, which only scenes use, no schema is at hand.
        content["stac_extensions"] = [one for one in content.get("stac_extensions", []) if "/eo/" not in one]
        validate(content)
    period = Period.of_year(2022)
    found = open_source(str(simulation.catalog)).search(ground("33UUU"), period.start, period.end)
    assert len(found.scenes) == 4 and not found.excluded
    assert {scene.level for scene in found.scenes} == {"L2A"}
    assert all(scene.scl for scene in found.scenes)


def test_files_are_those_that_the_item_describes(simulation):
    item = scenes(simulation)[0]
    for name, asset in item.assets.items():
        with rasterio.open(asset.get_absolute_href()) as source:
            assert list(source.shape) == asset.extra_fields["proj:shape"]
            assert list(source.transform)[:6] == asset.extra_fields["proj:transform"]
            assert source.res[0] == (10 if name in BANDS[:4] else 20)
            assert source.dtypes == ("uint8" if name == "SCL" else "uint16",)


def test_the_same_seed_gives_the_same_and_another_another(tmp_path):
    product = Product("33UUU", size=(100, 100))
    one, same, other = (
        simulate(tmp_path / name, [product], years=(2021,), dates_per_year=1, seed=seed)
        for name, seed in (("one", 5), ("same", 5), ("other", 6))
    )
    names = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*") if path.is_file())
    assert len(names) == 11
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert (truth(one, "33UUU", 2021) == truth(same, "33UUU", 2021)).all()
    assert (truth(one, "33UUU", 2021) != truth(other, "33UUU", 2021)).any()


def command(out, *arguments):
    return ["landloom", "simulate", "--out", str(out), *arguments]


def test_the_command_line(tmp_path, monkeypatch, capsys):
    scenes = ("--size", "100", "--at", "300,200", "--years", "2021", "--dates", "1")
    monkeypatch.setattr(sys, "argv", command(tmp_path, *scenes))
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 0
    catalog = capsys.readouterr().out.strip()
    (item,) = pystac.Catalog.from_file(catalog).get_items(recursive=True)
    tile = Tile.from_name("33UUU")
    assert item.assets["B02"].extra_fields["proj:transform"] == [10, 0, tile.left + 3000, 0, -10, tile.top - 2000]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--size", "101"), "101 x 101 px"),
        (("--size", "2000", "--at", "9000,0"), "from column 9000, row 0"),
        (("--at", "here"), "--at 'here' is no pixel"),
        (("--years", ""), "0 years of 5 dates"),
        (("--cloud", "30"), "a share of cloud of 30.0"),
        (("--tile", "nowhere"), "nowhere"),
    ],
)
def test_scenes_that_cannot_be_are_refused(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.setattr(sys, "argv", command(tmp_path / "out", *arguments))
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2 and told in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()
