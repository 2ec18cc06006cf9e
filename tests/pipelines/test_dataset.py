"""A folder of chips becomes a training set, and every chip is accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from catalog.chips import UNLABELLED, Pixels
from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.model import MODEL_CLASSES
from catalog.store import open_store
from catalog.training_set import open_training_set, read_pixels
from catalog.tree import class_tree
from pipelines.aggregate import aggregate
from pipelines.chip_folder import chip_folder
from pipelines.dataset import Report, make_training_set
from pipelines.dataset_request import DatasetRequest
from tests.pipelines.running import landloom
from tests.training_sets import BUILT, CLOUD, CROPS, WATER, a_lake

NINE = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
TREE = class_tree(load_legend("finer").finer(), "finer")
HEAD = "id,scene,place,level,date,sun_zenith,split"


def made(folder: Path, out: Path, name: str) -> Report:
    return make_training_set(chip_folder(folder), open_store(str(out)), name)


def write(path: Path, raster: np.ndarray, names: tuple[str, ...] = (), east: float = 6e5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(raster), height=raster.shape[1], width=raster.shape[2], dtype=raster.dtype,
        crs="EPSG:32632", transform=rasterio.Affine(10, 0, east, 0, -10, 5.4e6),
    ) as file:  # fmt: skip
        file.write(raster)
        if names:
            file.descriptions = names


def taught(folder: Path, name: str, side: int = 160, east: float = 6e5) -> None:
    """A chip with a teacher's answers for its south, and a cloud in a corner."""
    lake = a_lake()
    assert lake.scores is not None
    cloud = np.zeros((1, side, side), np.uint8)
    cloud[:, -20:, -20:] = 1
    valid = (lake.labels != UNLABELLED)[np.newaxis, :side, :side].astype(np.uint8) * (1 - cloud)
    write(folder / "chips" / f"{name}_image.tif", lake.image[:, :side, :side], NINE, east)
    write(folder / "chips" / f"{name}_teacher.tif", lake.scores[:9, :side, :side], MODEL_CLASSES[:9], east)
    write(folder / "chips" / f"{name}_valid.tif", valid, (), east)
    write(folder / "chips" / f"{name}_cloud.tif", cloud, (), east)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two whole chips, and a row for each way in which one can be unusable."""
    folder = tmp_path / "chips"
    rows = [HEAD]
    # The odd ones first: the bands are those that most chips have.
    splits = {"odd": "train", "unnamed": "train", "lake": "train", "shore": "val", "broken": "train", "adrift": "new"}
    for name, split in splits.items():
        taught(folder, name)
        rows.append(f"{name},{name}-2021,{name},L2A,2021-06-04,33.5,{split}")
    write(folder / "chips" / "odd_image.tif", a_lake().image[:6], NINE[:6])
    write(folder / "chips" / "unnamed_image.tif", a_lake().image)
    (folder / "chips" / "broken_teacher.tif").write_bytes(b"II*")
    for name, split, east in (("here", "train", 6.4e5), ("near", "test", 6.42e5)):
        taught(folder, name, 64, east)
        rows.append(f"{name},{name}-2021,{name},L1C,,,{split}")
    rows.append("gone,gone-2021,gone,L2A,2021-06-04,33.5,train")
    (folder / "chips.csv").write_text("\n".join(rows))
    return folder


def test_every_chip_is_written_or_dropped_with_the_reason(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    report = made(folder, out, "lakes")
    assert (report.candidates, report.written) == (9, 3)
    assert report.dropped.keys() == {"odd", "unnamed", "broken", "adrift", "here", "gone"}
    assert "split is 'new'; use train" in report.dropped["adrift"]
    assert "has the bands B02, B03, B04, B05, B06, B07" in report.dropped["odd"]
    assert "does not name its bands" in report.dropped["unnamed"]
    assert "broken_teacher.tif" in report.dropped["broken"] and "gone_image.tif" in report.dropped["gone"]
    assert report.dropped["here"] == "in train, but its place p48.5p10.5 also lies in test"
    assert json.loads((out / "report.json").read_text())["dropped"] == report.dropped
    assert {split: told["chips"] for split, told in report.splits.items()} == {"train": 1, "validation": 1, "test": 1}


def test_labels_come_from_the_teacher_where_it_is_to_be_learned_and_from_the_cloud_mask(
    folder: Path, tmp_path: Path
) -> None:
    made(folder, tmp_path / "set", "lakes")
    store = open_store(str(tmp_path / "set"))
    found, chips = open_training_set(store)
    assert (found.id, found.bands) == ("lakes", NINE)
    chip = next(chip for chip in chips if chip.id == "lake")
    assert (chip.scene, chip.sun_zenith, str(chip.date)[:10]) == ("lake-2021", 33.5, "2021-06-04")
    pixels = read_pixels(store, chip)
    assert (pixels.labels[:10] == UNLABELLED).all() and (pixels.labels[-20:, -20:] == CLOUD).all()
    assert (pixels.labels[10:, :80] == WATER).all() and (pixels.labels[10:140, 80:] == CROPS).all()
    assert pixels.scores is not None and (pixels.scores[CROPS, :, 80:] == 250).all()
    assert (pixels.image == a_lake().image).all()


def test_labels_correct_the_teacher_where_they_are_known(folder: Path, tmp_path: Path) -> None:
    corrections = np.full((1, 160, 160), UNLABELLED, np.uint8)
    corrections[:, 30:60] = BUILT
    write(folder / "chips" / "lake_label.tif", corrections)
    made(folder, tmp_path / "set", "lakes")
    store = open_store(str(tmp_path / "set"))
    pixels = read_pixels(store, next(chip for chip in open_training_set(store)[1] if chip.id == "lake"))
    assert (pixels.labels[30:60] == BUILT).all() and (pixels.labels[60:140, :80] == WATER).all()
    assert pixels.scores is not None and (pixels.scores[CROPS, 30:60, 80:] == 250).all()


@pytest.mark.parametrize(("east", "side", "told"), [(6.1e5, 160, "has the transform"), (6e5, 64, "has the size")])
def test_labels_that_lie_elsewhere_than_their_image_are_no_labels(
    folder: Path, tmp_path: Path, east: float, side: int, told: str
) -> None:
    write(folder / "chips" / "lake_label.tif", np.full((1, side, side), BUILT, np.uint8), (), east)
    report = made(folder, tmp_path / "set", "lakes")
    assert f"lake_label.tif {told}" in report.dropped["lake"]


def test_rasters_of_another_form_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    folder, lake = tmp_path / "chips", a_lake()
    scores = lake.scores[:9]
    odd = {
        "reflectance": ("image", (lake.image / 10_000).astype(np.float32), NINE, "image.tif is float32; uint16 is"),
        "signed": ("image", lake.image.astype(np.int16), NINE, "image.tif is int16; uint16 is needed"),
        "negative": ("label", np.full((1, 160, 160), -1, np.int16), (), "label.tif has the value -1: classes"),
        "wide": ("label", np.full((1, 160, 160), 256, np.uint16), (), "label.tif has the value 256: classes"),
        "halves": ("label", np.full((1, 160, 160), 1.5, np.float32), (), "label.tif is float32; a type of whole"),
        "masks": ("valid", np.ones((2, 160, 160), np.uint8), (), "valid.tif has 2 bands; 1 is needed"),
        "hazes": ("cloud", np.full((1, 160, 160), 255, np.uint8), (), "cloud.tif has the value 255: 0 or 1 is"),
        "few": ("teacher", scores[:5], (), "teacher.tif has 5 bands; a band for each of water, trees"),
        "many": ("teacher", np.concatenate([scores, scores[:3]]), (), "teacher.tif has 12 bands"),
        "turned": ("teacher", scores, MODEL_CLASSES[8::-1], r"teacher.tif has 9 bands (snow_ice, bare, built"),
        "shares": ("teacher", (scores / 250).astype(np.float32), (), "teacher.tif is float32; uint8 is needed"),
    }  # fmt: skip
    for name in ("whole", "nowhere", "low", *odd):
        taught(folder, name)
    for name, (raster, pixels, names, _) in odd.items():
        write(folder / "chips" / f"{name}_{raster}.tif", pixels, names)
    with rasterio.open(folder / "chips" / "nowhere_image.tif", "r+") as image:
        image.crs = "+proj=laea +lat_0=52 +lon_0=10 +ellps=sphere"
    zenith = {"low": 95}
    rows = [f"{name},{name},{name},L2A,,{zenith.get(name, 30)},train" for name in ("whole", "nowhere", "low", *odd)]
    (folder / "chips.csv").write_text("\n".join([HEAD, *rows]))
    report = made(folder, tmp_path / "set", "lakes")
    assert report.written == 1 and report.dropped.keys() == {"nowhere", "low", *odd}
    for name, (*_, told) in odd.items():
        assert report.dropped[name].startswith(f"{name}_{told}")
    assert "CRS of its image has no EPSG code" in report.dropped["nowhere"]
    assert report.dropped["low"] == "sun_zenith is 95.0; degrees from 0 to 90 are needed"


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (f"{HEAD}\nlake,a,a,L2A,,,train\nlake,b,b,L2A,,,test", "names the chip 'lake' twice"),
        (f"{HEAD}\nlake,a,a,L2A,,,train\n,b,b,L2A,,,test", "has no id in line 3"),
        ("name,split\nlake,train", "has no column 'id'. It has name, split"),
        ("", "is no table"),
    ],
)
def test_an_index_of_another_form_is_refused(folder: Path, index: str, told: str) -> None:
    (folder / "chips.csv").write_text(index)
    with pytest.raises(BadInput, match=told):
        chip_folder(folder)


def test_labels_of_a_map_with_an_index_of_groups(tmp_path: Path) -> None:
    folder = tmp_path / "worldcover"
    write(folder / "a_image.tif", a_lake().image[:6], ("B02", "B03", "B04", "B08", "B11", "B12"))
    write(folder / "a_label.tif", a_lake().labels[np.newaxis])
    (folder / "index.csv").write_text("id,group,split\na,17,train")
    report = made(folder, tmp_path / "set", "mapped")
    _, (chip,) = open_training_set(open_store(str(tmp_path / "set")))
    assert (report.written, chip.place, chip.teacher, chip.level) == (1, "17", None, "L2A")


def test_a_word_in_a_scenes_name_tells_finer_classes(folder: Path, tmp_path: Path) -> None:
    """In a chip of pasture crops are pasture; what is labelled more closely, or is no crops, stays."""
    index = folder / "chips.csv"
    index.write_text(index.read_text().replace("lake,lake-2021", "lake,lake-Pasture-2021"))
    labels = np.full((1, 160, 160), UNLABELLED, np.uint8)
    labels[:, 30:60], labels[:, 60:80] = TREE.names.index("annual_crops"), BUILT
    write(folder / "chips" / "lake_label.tif", labels)
    source = chip_folder(folder, TREE, {"pasture": "pasture"})
    make_training_set(source, open_store(str(tmp_path / "set")), "fields")
    found, chips = open_training_set(open_store(str(tmp_path / "set")))
    assert (found.classes, found.parents) == (TREE.names, TREE.finer)
    lake = next(chip for chip in chips if chip.id == "lake")
    pixels = read_pixels(open_store(str(tmp_path / "set")), lake)
    assert (pixels.labels[80:140, 80:] == TREE.names.index("pasture")).all()
    assert (pixels.labels[80:, :80] == WATER).all()
    assert (pixels.labels[30:60] == TREE.names.index("annual_crops")).all() and (pixels.labels[60:80] == BUILT).all()
    assert pixels.scores is not None and pixels.scores.shape[0] == len(TREE.names)
    assert "pasture" not in next(chip for chip in chips if chip.id == "shore").class_pixels
    with pytest.raises(BadInput, match=r"holds the training set fields \(.*; pasture of crops"):
        made(folder, tmp_path / "set", "fields")


def test_classes_that_the_tree_lacks_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'vines' is 'vineyard', which is no finer class of the legend: it has annual"):
        chip_folder(folder, TREE, {"vines": "vineyard"})
    with pytest.raises(BadInput, match="'farm' is 'crops', which is no finer class"):
        chip_folder(folder, TREE, {"farm": "crops"})
    write(folder / "chips" / "lake_label.tif", np.full((1, 160, 160), len(TREE.names), np.uint8))
    report = make_training_set(chip_folder(folder, TREE), open_store(str(tmp_path / "set")), "fields")
    assert "lake_label.tif has the value 15: classes are 0 to 14 (water" in report.dropped["lake"]


def test_chips_are_aggregated_to_larger_pixels(folder: Path, tmp_path: Path) -> None:
    found = DatasetRequest(chips=str(folder), aggregate=3)
    store = open_store(str(tmp_path / "set"))
    report = make_training_set(found.chip_source(store), store, found.name)
    assert report.written == 3 and found.name == "chips-by-3"
    chip = next(chip for chip in open_training_set(store)[1] if chip.id == "lake")
    assert (chip.shape, chip.transform, chip.gsd, chip.place) == ((53, 53), (30, 0, 6e5, 0, -30, 5.4e6), 30, "lake")
    pixels, lake = read_pixels(store, chip), a_lake()
    assert np.allclose(pixels.image[0, 5, 5], lake.image[0, 15:18, 15:18].mean(), atol=0.5)
    # The shore lies within a pixel: of its nine six are water.
    assert pixels.labels[20, 26] == WATER and pixels.labels[20, 27] == CROPS
    assert pixels.labels[-1, -1] == CLOUD and pixels.labels[0, 0] == UNLABELLED
    assert pixels.scores is not None and pixels.scores[WATER, 20, 26] > 125
    with pytest.raises(BadInput, match="--aggregate 0"):
        DatasetRequest(chips=str(folder), aggregate=0).chip_source(store)


def test_a_pixel_is_known_only_where_half_of_its_own_are_and_lacks_data_where_any_does() -> None:
    labels = np.full((3, 9), UNLABELLED, np.uint8)
    labels[:2, :2], labels[:2, 3:6], labels[0, 6:8] = WATER, CROPS, CROPS
    labels[1, 6:9], labels[2, 6] = WATER, BUILT
    image = np.full((2, 3, 9), 900, np.uint16)
    image[:, 0, 3:6] = 300
    made = aggregate(Pixels(image, labels), 3)
    assert made.labels.tolist() == [[UNLABELLED, CROPS, WATER]]
    assert made.image[0].tolist() == [[900, 700, 900]]
    image[1, 0, 0] = 0
    made = aggregate(Pixels(image, labels), 3)
    assert made.image[:, 0, 0].tolist() == [0, 0] and made.scores is None


def test_a_run_that_was_stopped_is_finished(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    made(folder, out, "lakes")
    kept, lost = out / "lake" / "lake", out / "shore" / "shore"
    before = kept.joinpath("image.tif").stat().st_mtime_ns
    (lost / "shore.json").unlink()
    (out / "collection.json").unlink()
    taught(folder, "odd")
    report = made(folder, out, "lakes")
    assert report.written == 4 and "odd" not in report.dropped
    assert (lost / "shore.json").exists() and kept.joinpath("image.tif").stat().st_mtime_ns == before


def test_a_folder_that_holds_another_set_or_no_chips_is_refused(folder: Path, tmp_path: Path) -> None:
    made(folder, tmp_path / "set", "lakes")
    with pytest.raises(BadInput, match="holds the training set lakes"):
        made(folder, tmp_path / "set", "ponds")
    with pytest.raises(BadInput, match=r"no chips\.csv"):
        made(tmp_path, tmp_path / "other", "lakes")
    (tmp_path / "chips.csv").write_text(HEAD)
    with pytest.raises(BadInput, match="it has no row"):
        made(tmp_path, tmp_path / "other", "lakes")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_the_command_tells_what_became_of_the_chips(folder: Path, tmp_path: Path) -> None:
    done = landloom("dataset", "--chips", folder, "--out", tmp_path / "set", "--direct_num_workers=2")
    assert done.stdout.strip() == f"{tmp_path / 'set'}/collection.json"
    assert "3 of 9 chips written" in done.stderr and "Dropped here: in train, but its place" in done.stderr
    done = landloom("dataset", "--chips", folder, "--out", tmp_path / "set", "--direct_num_worker=2", check=2)
    assert "Did you mean --direct_num_workers?" in done.stderr
