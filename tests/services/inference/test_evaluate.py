"""A network whose answers are known against labelled chips, and what is written of it."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from catalog.chips import UNLABELLED
from catalog.errors import BadInput, StoreError
from catalog.model import MODEL_CLASSES, ModelSpec
from catalog.scenes import BANDS
from services.evaluation.page import write_evaluation
from services.evaluation.result import Evaluation
from services.inference.chips import CLOUD, TEACHER_BANDS, Chip
from services.inference.clouds import under_clouds
from services.inference.evaluate import PICTURES, evaluate_network, predict
from tests.training_sets import CROPS, WATER

SPEC = ModelSpec(id="threshold", version="2", bands=BANDS, classes=MODEL_CLASSES, stride=8, halo=16)


class Threshold:
    """Crops where the first band is above 1,600, else water; 80 % sure."""

    def __init__(self, **changes: object) -> None:
        self.spec = SPEC.model_copy(update=changes)

    def scores(self, chips: np.ndarray) -> np.ndarray:
        assert chips.dtype == np.uint16 and not any(side % self.spec.stride for side in chips.shape[2:])
        crops = chips[:, 0] > 1600
        scores = np.zeros((len(chips), len(self.spec.classes), *chips.shape[2:]), np.uint8)
        for name, here in (("crops", crops), ("water", ~crops)):
            scores[:, self.spec.classes.index(name)] = np.where(here, 204, 0)
        return scores


def chip(name: str, place: str = "", *, level: str = "L2A", side: int = 128, teacher: str | None = "threshold") -> Chip:
    """Dark water in the west, bright crops in the east, labelled but for ten rows in the north."""
    image = np.full((len(TEACHER_BANDS), side, side), 400, np.uint16)
    image[:, :, side // 2 :] = 2500
    labels = np.full((side, side), CROPS, np.uint8)
    labels[:, : side // 2] = WATER
    labels[:10] = UNLABELLED
    return Chip(
        name,
        place or name,
        f"{name}-2021",
        image,
        labels,
        level,
        40.0,
        True,
        "made",
        teacher,
        np.zeros(labels.shape, bool),
    )


def wrong(chip: Chip, rows: int) -> Chip:
    """The same with some rows of water labelled crops."""
    labels = chip.classes.copy()
    labels[10 : 10 + rows, : labels.shape[1] // 2] = CROPS
    return dataclasses.replace(chip, classes=labels)


def test_it_is_told_pooled_and_by_level_source_scene_and_place():
    chips = [chip("lake"), wrong(chip("shore", level="L1C"), 59), chip("delta", "shore"), chip("pond", side=64)]
    found, _ = evaluate_network(Threshold(), chips, "lakes")
    large, small, bad = 118 * 128, 54 * 64, 59 * 64
    assert found.pooled.pixels == 3 * large + small
    assert found.pooled.overall.value == pytest.approx(1 - bad / (3 * large + small))
    by = {kind: {one.name: one for one in groups} for kind, groups in found.groups.items()}
    assert by["level"]["L1C"].overall.value == pytest.approx(0.75) and by["level"]["L2A"].overall.value == 1
    assert by["place"]["shore"].overall.value == pytest.approx(1 - bad / (2 * large))
    assert by["scene"].keys() == {"lake-2021", "shore-2021", "delta-2021", "pond-2021"}
    assert by["source"]["made"].overall == found.pooled.overall
    assert found.pooled.mean_over_places.value == pytest.approx((1 + (1 - bad / (2 * large)) + 1) / 3)
    assert found.pooled.calibration.confidence == pytest.approx(0.8)
    assert found.left_out == {"px with data but without a label": 3 * 10 * 128 + 10 * 64}


def test_clouds_are_laid_over_clear_chips_at_their_own_level():
    cloudy = dataclasses.replace(chip("sky"), image=np.full((9, 160, 160), 6000, np.uint16))
    cloudy = dataclasses.replace(cloudy, classes=np.full((160, 160), CLOUD, np.uint8))
    clear = [chip("lake"), chip("shore", level="L1C"), chip("pond", side=64), cloudy]
    laid = under_clouds(clear, [cloudy])
    assert [one.id for one in laid] == ["lake", "shore", "pond"]
    for before, after in zip(clear, laid, strict=False):
        cloud = after.classes == CLOUD
        same = after.classes == before.classes
        assert 0.05 < cloud.mean() < 0.8
        # Bright, or over dark ground at least twice as bright as that.
        assert (after.image[:, cloud] > np.minimum(1500, 1.5 * before.image[:, cloud])).all()
        assert (cloud | same | (after.classes == UNLABELLED)).all()
        unchanged = (after.image == before.image).all(axis=0)
        assert unchanged.mean() > 0.1 and same[unchanged].all()
    with pytest.raises(BadInput, match="nothing to lay on"):
        under_clouds([chip("lake", side=192)], [cloudy])


def test_cloud_has_recall_precision_and_the_worst_false_alarm():
    class Cloudy(Threshold):
        def scores(self, chips: np.ndarray) -> np.ndarray:
            scores = super().scores(chips)
            scores[:, CLOUD] = np.where(chips[:, 0] > 3000, 255, 0)
            return scores

    cloudy, clear = chip("cloudy"), chip("clear")
    cloudy.image[:, 10:20], cloudy.classes[10:30] = 7000, CLOUD
    clear.image[:, 10:20, :13] = 7000
    found, _ = evaluate_network(Cloudy(), [cloudy, clear], "lakes")
    cloud = next(one for one in found.pooled.classes if one.name == "cloud")
    assert cloud.recall.value == 0.5
    assert cloud.precision.value == pytest.approx(1280 / (1280 + 130))
    told = found.pooled.false_cloud
    assert (told.place, told.clear_places, told.share) == ("clear", 1, pytest.approx(130 / (118 * 128)))


@pytest.mark.parametrize(
    ("teachers", "given", "name", "kind"),
    [
        (("dynamic-world", "dynamic-world"), "", "teacher dynamic-world", "teacher"),
        (("unnamed", "unnamed"), "", "teacher", "teacher"),
        ((None, None), "", "the labels of made", "labels"),
        (("dynamic-world", None), "", "teacher dynamic-world and the labels of made", "teacher"),
        (("unnamed", "unnamed"), "Dynamic World", "Dynamic World", "teacher"),
    ],
)
def test_the_reference_is_named(teachers, given, name, kind):
    chips = [chip(f"lake-{k}", teacher=teacher) for k, teacher in enumerate(teachers)]
    found, _ = evaluate_network(Threshold(), chips, "lakes", given)
    assert (found.reference.name, found.reference.kind) == (name, kind)
    assert found.title == f"Agreement of threshold 2 with {name}"


def test_a_network_of_fewer_classes_in_another_order_and_of_other_bands():
    found, _ = evaluate_network(Threshold(classes=("crops", "water"), bands=("B12", "B05")), [chip("lake")], "lakes")
    assert found.pooled.overall.value == 1


def test_surface_reflectance_is_raised_for_a_network_that_knows_only_the_top_of_the_atmosphere():
    dark = chip("lake")
    dark.image[:] = 1500
    surface, _ = evaluate_network(Threshold(), [dark], "lakes")
    raised, _ = evaluate_network(Threshold(level="L1C"), [dark], "lakes")
    for evaluation, share in ((surface, 1), (raised, 0)):
        assert next(one for one in evaluation.pooled.classes if one.name == "water").recall.value == share


def test_reflectance_at_the_top_is_lowered_for_a_network_that_knows_only_surfaces():
    bright = chip("lake", level="L1C")
    bright.image[:] = 1700
    for level, share in ((None, 0), ("L2A", 1)):
        found, _ = evaluate_network(Threshold(level=level), [bright], "lakes")
        assert next(one for one in found.pooled.classes if one.name == "water").recall.value == share


def test_chips_of_any_size_are_answered_pixel_by_pixel():
    image = np.full((6, 45, 70), 400, np.uint16)
    image[:, 20:] = 2500
    scores = predict(Threshold(), image)
    assert scores.shape == (10, 45, 70)
    assert (scores.argmax(axis=0)[:20] == WATER).all() and (scores.argmax(axis=0)[20:] == CROPS).all()


@pytest.mark.parametrize(
    ("changes", "spoil", "told"),
    [
        ({"bands": ("B02", "B8A")}, lambda chip: None, "Network threshold has the band 'B8A'; chips hold B02, B03"),
        ({"classes": ("water", "crops", "moss")}, lambda chip: None, "has the class 'moss'; chips hold water, trees"),
        (
            {"bands": ("B02", "B05")},
            lambda chip: chip.image[3].fill(0),
            "Chip lake lacks band B05, which network",
        ),
        ({}, lambda chip: chip.classes[50:].fill(17), "Chip lake has the label 17 in labels.tif; classes are 0 to 9"),
        ({}, lambda chip: chip.classes.fill(UNLABELLED), "Nothing of lakes can be compared with teacher threshold"),
    ],
)
def test_what_does_not_fit_is_named(changes, spoil, told):
    lake = chip("lake")
    spoil(lake)
    with pytest.raises(BadInput, match=told):
        evaluate_network(Threshold(**changes), [lake], "lakes")


def test_large_chips_are_shown_every_place_first():
    chips = [chip(f"lake-{k}") for k in range(PICTURES)] + [chip("again", "lake-0"), chip("pond", side=64)]
    _, pictures = evaluate_network(Threshold(), [chips[0], *chips[-3:]], "lakes")
    assert [one.title for one in pictures] == ["lake-0-2021", "lake-23-2021", "again-2021"]
    _, many = evaluate_network(Threshold(), chips, "lakes")
    assert len(many) == PICTURES and "again-2021" not in {one.title for one in many}


# What is written


class Sources(HTMLParser):
    """Every address that a page refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_holds_all_and_the_json_is_the_result(tmp_path: Path):
    chips = [wrong(chip(f"lake-{k}"), 10 * k) for k in range(6)] + [chip("<b>odd</b>")]
    evaluation, pictures = evaluate_network(Threshold(), chips, "lakes")
    page = write_evaluation(evaluation, pictures, tmp_path / "out")
    assert {path.name for path in page.parent.iterdir()} == {
        "evaluation.json", "evaluation.html", "confusion.png", "reliability.png",
    }  # fmt: skip
    assert Evaluation.model_validate_json((page.parent / "evaluation.json").read_text()) == evaluation
    for name in ("confusion", "reliability"):
        assert min(Image.open(page.parent / f"{name}.png").size) > 400
    text = page.read_text()
    assert text.count(evaluation.title) == 2 and "with teacher threshold" in text
    assert "<b>odd</b>" not in text
    with pytest.raises(StoreError, match=r"evaluation cannot be written into .*evaluation\.json'.* Give another --out"):
        write_evaluation(evaluation, pictures, page.parent / "evaluation.json")
    addresses = Sources(text).found
    assert len(addresses) == 2 + 3 * len(pictures)
    assert all(one.startswith("data:image/png;base64,") for one in addresses)
    told = "\n".join([text, (page.parent / "evaluation.json").read_text(), *evaluation.remarks()])
    assert "accuracy" not in told.lower()
    fields = json.dumps(Evaluation.model_json_schema())
    assert "accuracy" not in fields.lower()


def test_the_page_tells_each_class_by_level(tmp_path: Path):
    chips = [chip(f"lake-{k}", level="L1C" if k < 6 else "L2A") for k in range(12)]
    chips[0] = wrong(chips[0], 59)
    evaluation, pictures = evaluate_network(Threshold(), chips, "lakes")
    text = write_evaluation(evaluation, pictures, tmp_path / "out").read_text()
    (shown,) = re.findall(r'by-level"><table>(.*?)</table>', text, re.DOTALL)
    water, crops = shown.split("<tr>")[2:]
    of_level = {one.name: {each.name: each.recall.value for each in one.classes} for one in evaluation.groups["level"]}
    assert of_level["L1C"]["crops"] < 1 == of_level["L2A"]["crops"]
    for row, name in ((water, "water"), (crops, "crops")):
        recalls = [f"{100 * of_level[level][name]:.1f}" for level in ("L1C", "L2A")]
        cells = re.findall(r"<td>([\d.]+)<small>", row)
        assert cells[1::2] == recalls
    alone, _ = evaluate_network(Threshold(), chips[:6], "lakes")
    assert 'by-level"><table>' not in write_evaluation(alone, [], tmp_path / "alone").read_text()


def test_the_table_fits_a_terminal_of_80_characters():
    chips = [wrong(chip(f"lake-{k}"), 10 * k) for k in range(6)]
    evaluation, _ = evaluate_network(Threshold(), chips, "lakes")
    console = Console(width=80, record=True, file=StringIO())
    console.print(evaluation.table())
    shown = console.export_text()
    assert "…" not in shown and "(producer's)" in shown
    recall = evaluation.pooled.classes[0].recall
    assert f"{100 * recall.low:.1f}–{100 * recall.high:.1f}" in shown
