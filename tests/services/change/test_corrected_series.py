from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

from catalog.collections import TEMPORAL, rebuild
from catalog.errors import BadInput
from catalog.legend import CLOUD, load_legend
from catalog.model import MODEL_CLASSES
from catalog.store import Store, open_store
from catalog.validation import validate
from services.change import blocks, by_scores
from services.change.corrected_series import CorrectedAccount, correct_series
from services.change.correction import Settings, transition_matrix
from services.change.error_matrix import ErrorMatrix, read_error_matrix
from services.change.series import open_series
from tests.pipelines.running import landloom
from tests.services.change.maps import (
    BUILT,
    CLOUDS,
    CROPS,
    RANGELAND,
    TREES,
    UTM,
    write_collection,
    write_map,
    write_years,
)
from tests.services.change.simulated_years import CLASSES, Years, simulate_scores, simulate_years

SIDE = 90
CODES = np.array([1, 2, 4, 5, 7, 8, 11, CLOUDS], np.uint8)
"""Of the simulated classes, the last one for a missing year (-1)."""
PLACE = "33UVU"


@pytest.fixture(scope="module")
def years() -> Years:
    return simulate_years(years=5, pixels=SIDE * SIDE)


@pytest.fixture(scope="module")
def matrix(years: Years) -> ErrorMatrix:
    names = tuple(next(c.name for c in load_legend("nine").classes if c.code == code) for code in CODES[:-1])
    return ErrorMatrix(names, years.sample(400))


@pytest.fixture
def maps(years: Years, tmp_path: Path) -> str:
    return write_years(tmp_path / "maps", *CODES[years.mapped].reshape(-1, SIDE, SIDE))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


def run(maps: str, store: Store, matrix: ErrorMatrix | None, **options: Any) -> CorrectedAccount:
    return correct_series(open_series(maps), store, Settings(error_matrix=matrix), **options)


def item_of(store: Store, year: int, place: str = PLACE) -> dict[str, Any]:
    return json.loads(store.read(f"{TEMPORAL}/{place}/{year}/{place}-{year}.json"))


def file_of(store: Store, year: int, asset: str, place: str = PLACE) -> str:
    href = item_of(store, year, place)["assets"][asset]["href"].removeprefix("./")
    return store.href(f"{TEMPORAL}/{place}/{year}/{href}")


def read(store: Store, year: int, asset: str = "data", place: str = PLACE) -> np.ndarray:
    with rasterio.open(file_of(store, year, asset, place)) as source:
        return source.read(1)


def test_the_corrected_series_is_nearer_to_the_truth(
    maps: str, store: Store, matrix: ErrorMatrix, years: Years
) -> None:
    account = run(maps, store, matrix)
    assert (account.planned, account.published, account.failed) == (1, [PLACE], {})
    found = np.stack([read(store, year).ravel() for year in range(2017, 2022)])
    right, before = found == CODES[years.truth], CODES[years.mapped] == CODES[years.truth]
    assert right.mean() > before.mean() + 0.05
    confidence = np.stack([read(store, year, "confidence").ravel() for year in range(2017, 2022)])
    seen = (years.mapped >= 0).any(axis=0)
    assert confidence[:, seen].min() >= 1 and confidence.max() <= 99 and not confidence[:, ~seen].any()
    assert confidence.mean() / 100 == pytest.approx(right.mean(), abs=0.03)
    missing = (years.mapped < 0) & seen
    assert right[missing].mean() > 0.75, "years without data are filled from the others"


def test_items_are_valid_and_tell_the_change_that_was_removed(maps: str, store: Store, matrix: ErrorMatrix) -> None:
    tally = run(maps, store, matrix).tallies[PLACE]
    for year in range(2017, 2022):
        item = item_of(store, year)
        validate(item)
        assert cog_validate(file_of(store, year, "data"), quiet=True)[0]
        assert item["properties"]["landloom:provisional"] is (year == 2021)
        assert item["properties"]["datetime"] == f"{year}-01-01T00:00:00Z"
        assert sum(one["rel"] == "derived_from" for one in item["links"]) == 5
        codes = np.bincount(read(store, year).ravel(), minlength=256)
        classes = item["assets"]["data"]["classification:classes"]
        pixels = item["properties"]["landloom:class_pixels"]
        assert all(pixels[one["name"]] == codes[one["value"]] for one in classes if one["name"] in pixels)
    assert "change" not in item_of(store, 2017)["assets"]
    mapped, corrected = tally.changed
    assert corrected < 0.3 * mapped
    table = pandas.concat([pandas.read_csv(file_of(store, year, "change")) for year in range(2018, 2022)])
    assert table["mapped_ha"].sum() == pytest.approx(mapped, rel=1e-4)
    assert table["corrected_ha"].sum() == pytest.approx(corrected, rel=1e-4)
    assert table["removed_ha"].sum() == pytest.approx(mapped - corrected, rel=1e-4)
    told = sum(item_of(store, year)["properties"]["landloom:change_mapped_ha"] for year in range(2018, 2022))
    assert told == pytest.approx(mapped, rel=1e-6)


def test_change_is_counted_in_hectares_of_pixels_seen_in_both_years(store: Store, tmp_path: Path) -> None:
    steady = np.full((20, 20), TREES)
    steady[:, 10:] = CROPS
    cleared, hidden = steady.copy(), steady.copy()
    cleared[:5, :10], hidden[10:] = CROPS, CLOUDS
    maps = write_years(tmp_path / "maps", steady, steady, hidden, cleared, cleared, cleared)
    names = ("trees", "crops")
    tally = run(maps, store, ErrorMatrix(names, np.array([[95, 5], [5, 95]]))).tallies[PLACE]
    trees, crops = 2, 4
    assert tally.mapped[2, trees, crops] == pytest.approx(0.5, rel=1e-3)
    assert tally.corrected[2, trees, crops] == pytest.approx(0.5, rel=1e-3)
    assert tally.filled[2] == pytest.approx(2.0, rel=1e-3)
    assert tally.mapped[1].sum() == pytest.approx(2.0, rel=1e-3)
    np.testing.assert_array_equal(read(store, 2019), steady)


def test_blocks_and_places_change_nothing(
    maps: str, matrix: ErrorMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = open_store(str(tmp_path / "whole")), open_store(str(tmp_path / "parts"))
    run(maps, whole, matrix)
    monkeypatch.setattr(blocks, "BLOCK", 32)
    run(maps, parts, matrix)
    for year in (2017, 2019, 2021):
        for asset in ("data", "confidence"):
            np.testing.assert_array_equal(read(whole, year, asset), read(parts, year, asset))


def test_an_area_of_interest_is_all_that_is_published(maps: str, store: Store, matrix: ErrorMatrix) -> None:
    west, south, east, north = open_series(maps).places[0].geometry.bounds
    half = shapely.box(west - 1, south - 1, (west + east) / 2, north + 1)
    correct_series(open_series(maps, geometry=half), store, Settings(error_matrix=matrix))
    found = read(store, 2019)
    assert found.shape[1] in (45, 46) and (found[:, :44] > 0).mean() > 0.99


def test_what_is_up_to_date_is_skipped_and_what_changed_is_made_anew(
    maps: str, store: Store, matrix: ErrorMatrix
) -> None:
    run(maps, store, matrix)
    before = item_of(store, 2019), file_of(store, 2019, "data")
    again = run(maps, store, matrix)
    assert (again.skipped, again.published) == ([PLACE], []) and item_of(store, 2019) == before[0]
    other = correct_series(open_series(maps), store, Settings(error_matrix=matrix, change_weight=1.0))
    assert other.published == [PLACE] and not Path(before[1]).exists()
    assert run(maps, store, matrix, overwrite=True).published == [PLACE]
    collection = json.loads(store.read(f"{TEMPORAL}/collection.json"))
    validate(collection)
    assert rebuild(store) == {TEMPORAL: 5}
    assert json.loads(store.read(f"{TEMPORAL}/collection.json")) == collection


def test_a_lost_map_is_reported_and_the_other_place_is_made(
    maps: str, store: Store, matrix: ErrorMatrix, years: Years
) -> None:
    folder = Path(maps).parent
    for year, codes in enumerate(CODES[years.mapped].reshape(-1, SIDE, SIDE), start=2017):
        write_map(folder, codes, year, place="33UWU", transform=UTM @ UTM.translation(200, 0))
    (folder / "33UWU-2019" / "map.tif").unlink()
    account = run(write_collection(folder), store, matrix)
    assert account.published == [PLACE]
    assert "33UWU-2019" in account.failed["33UWU"] and account.planned == 2


def write_scores(maps: str, scores: np.ndarray) -> None:
    """Add scores in per cent, `[years, classes, H, W]`, to the items of a collection, as `landloom map` does."""
    bands = [one for one in MODEL_CLASSES if one != CLOUD]
    class_of = {"shrub": "rangeland", "grass": "rangeland", **dict(zip(CLASSES, CLASSES, strict=True))}
    for number, year in enumerate(range(2017, 2017 + len(scores))):
        folder = Path(maps).parent / f"{PLACE}-{year}"
        with rasterio.open(folder / "map.tif") as source:
            profile, hidden = source.profile | {"count": len(bands), "nodata": 255}, source.read(1) == CLOUDS
        with rasterio.open(folder / "scores.tif", "w", **profile) as target:
            for band, name in enumerate(bands, start=1):
                layer = np.zeros((SIDE, SIDE))
                if class_of.get(name) in CLASSES:
                    layer = 100 * scores[number, CLASSES.index(class_of[name])]
                    # What is published as rangeland is split among two of the network's classes.
                    layer = np.ceil(layer / 2) if name == "grass" else np.floor(layer / 2) if name == "shrub" else layer
                target.write(np.where(hidden, 255, layer).astype(np.uint8), band)
        path = folder / f"{PLACE}-{year}.json"
        item = json.loads(path.read_text())
        item["assets"]["scores"] = {"href": "./scores.tif", "bands": [{"name": one} for one in bands]}
        item["properties"]["landloom:legend"] = "nine 1"
        path.write_text(json.dumps(item))


def test_published_scores_correct_without_an_error_matrix(
    years: Years, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = simulate_scores(years.truth)
    mapped = np.where(years.mapped < 0, -1, scores.argmax(axis=1))
    # Only the upper third is mapped: what the chain is learnt from has to be found there.
    mapped.reshape(-1, SIDE, SIDE)[:, SIDE // 3 :] = -1
    maps = write_years(tmp_path / "maps", *CODES[mapped].reshape(-1, SIDE, SIDE))
    write_scores(maps, scores.reshape(5, -1, SIDE, SIDE))
    monkeypatch.setattr(by_scores, "_PIXELS", 1000)
    account = run(maps, store, None)
    mapped_change, corrected_change = account.tallies[PLACE].changed
    assert corrected_change < 0.6 * mapped_change
    found = np.stack([read(store, year)[: SIDE // 3].ravel() for year in range(2017, 2022)])
    mapped, truth = (CODES[one[:, : found.shape[1]]] for one in (mapped, years.truth))
    assert (found == truth).mean() > (mapped == truth).mean() + 0.05
    assert "scores" in item_of(store, 2018)["properties"]["processing:lineage"]


@pytest.mark.slow
def test_scores_make_no_class_that_no_map_shows_and_a_prior_may_be_given(
    years: Years, store: Store, tmp_path: Path
) -> None:
    scores = simulate_scores(years.truth)
    built, trees = CLASSES.index("built"), CLASSES.index("trees")
    hidden = scores.copy()
    hidden[:, built] = 0
    # Never on top, yet always there: 8 of 100 in a third of the pixels, every year.
    hidden[:, trees, ::3] -= 0.08
    hidden[:, built, ::3] += 0.08
    hidden = np.clip(hidden, 1e-3, 1)
    hidden /= hidden.sum(axis=1, keepdims=True)
    visible = np.delete(hidden, built, axis=1).argmax(axis=1)
    maps = write_years(tmp_path / "maps", *np.delete(CODES, built)[visible].reshape(-1, SIDE, SIDE))
    write_scores(maps, hidden.reshape(5, -1, SIDE, SIDE))
    run(maps, store, None)
    told = item_of(store, 2018)["properties"]
    assert BUILT not in np.unique(read(store, 2018)) and 0.5 < told["landloom:sharpness"] < 3
    assert json.loads(told["landloom:correction"])["prior"] == "mean, at least 0.05"
    prior = dict.fromkeys(CLASSES, 1 / len(CLASSES))
    series = open_series(maps)
    assert correct_series(series, store, Settings(prior=prior)).published, "made anew: another prior"
    assert json.loads(item_of(store, 2018)["properties"]["landloom:correction"])["prior"] == prior
    del prior["trees"]
    with pytest.raises(BadInput, match="lacks trees"):
        correct_series(series, store, Settings(prior=prior))


def test_without_scores_or_an_error_matrix_nothing_is_guessed(maps: str, store: Store) -> None:
    with pytest.raises(BadInput, match="no scores"):
        run(maps, store, None)


@pytest.mark.parametrize(
    ("names", "counts", "told"),
    [
        (("trees", "crops"), [[9, 1], [1, 9]], "no class 'rangeland'"),
        (("trees", "meadow"), [[9, 1], [1, 9]], "'meadow'"),
        (("trees", "rangeland"), [[9, 0], [9, 0]], "Column 1"),
    ],
)
def test_error_matrices_that_do_not_fit_the_map_are_refused(
    tmp_path: Path, store: Store, names: tuple[str, ...], counts: list[list[int]], told: str
) -> None:
    flat = np.full((10, 10), TREES)
    flat[5:] = RANGELAND
    maps = write_years(tmp_path / "maps", flat, flat, flat)
    with pytest.raises(BadInput, match=told):
        run(maps, store, ErrorMatrix(names, np.array(counts)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x,trees,crops\ntrees,1,2\n", "1 rows"),
        ("x,trees,crops\ntrees,1,2\nbuilt,1,2\n", "built"),
        ("x,trees,crops\ntrees,1,two\ncrops,1,2\n", "two"),
        ("x,trees,crops\ntrees,1,-2\ncrops,1,2\n", "negative"),
        ("x,trees,trees\ntrees,1,2\ntrees,1,2\n", "'trees' twice"),
        ("x,trees,crops\ntrees,0,0\ncrops,0,0\n", "zeros alone"),
        ("", "cannot be read"),
    ],
)
def test_broken_error_matrix_files_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "matrix.csv").write_text(text)
    with pytest.raises(BadInput, match=told):
        read_error_matrix(tmp_path / "matrix.csv", any_order=True)


@pytest.mark.slow
def test_the_command_tells_what_was_removed_and_refuses_bad_input(
    maps: str, matrix: ErrorMatrix, tmp_path: Path
) -> None:
    table = pandas.DataFrame(matrix.counts, index=matrix.names, columns=matrix.names)
    table.iloc[::-1].to_csv(tmp_path / "matrix.csv")
    common = ("temporal", "--maps", maps, "--out", tmp_path / "out", "--error-matrix", tmp_path / "matrix.csv")
    told = landloom(*common).stderr
    assert "removed" in told and PLACE in told and "2021 is provisional" in told and "1 published" in told
    item = item_of(open_store(str(tmp_path / "out")), 2021)
    assert item["properties"]["landloom:source_accuracy"]["accuracy"] == "unknown"
    refused = landloom(*common, "--repeated", "2", check=2).stderr
    assert "--repeated 2.0: Input should be less than or equal to 1" in " ".join(refused.split())


@pytest.mark.slow
def test_items_and_tables_name_what_is_published_of_the_maps_accuracy(matrix: ErrorMatrix, tmp_path: Path) -> None:
    flat = np.full((10, 10), TREES)
    flat[5:] = RANGELAND
    maps = write_years(tmp_path / "maps", flat, flat, flat, collection="io-lulc-annual-v02")
    pandas.DataFrame(matrix.counts, index=matrix.names, columns=matrix.names).to_csv(tmp_path / "matrix.csv")
    common = ("temporal", "--maps", maps, "--out", tmp_path / "out", "--error-matrix", tmp_path / "matrix.csv")
    landloom(*common)
    store = open_store(str(tmp_path / "out"))
    told = item_of(store, 2018)["properties"]["landloom:source_accuracy"]["accuracy"]
    assert "overall accuracy 86.0 %" in told and "Karra et al. 2021" in told
    table = pandas.read_csv(file_of(store, 2018, "change"))
    assert (table["source_accuracy"] == told).all() and (table["interval"] == "no interval").all()
    assert table["interval_reason"].str.contains("of the maps before they were corrected").all()
    assert "1 published" in landloom(*common, "--accuracy", "85 % (made up)").stderr, (
        "made anew: it says something else"
    )
    assert (
        item_of(store, 2018)["properties"]["landloom:source_accuracy"]["accuracy"] == "overall accuracy 85.0 %, made up"
    )


def test_transitions_may_be_configured(maps: str, store: Store, matrix: ErrorMatrix) -> None:
    series = open_series(maps)
    names, steady = series.legend.names, {one: {one: 1.0} for one in matrix.names}
    settings = Settings(error_matrix=matrix, transition=transition_matrix(steady, names))
    assert correct_series(series, store, settings).tallies[PLACE].changed[1] == 0
    for wrong, told in (({"trees": {"trees": 0.5}}, "'trees'"), ({"meadow": {"meadow": 1.0}}, "'meadow'")):
        with pytest.raises(BadInput, match=told):
            transition_matrix(steady | wrong, names)
