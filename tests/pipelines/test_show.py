"""Pictures of published maps."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.store import open_store
from pipelines.show import LONGEST_SIDE, show
from tests.catalog.tile_years import class_map, manifest_of, publish

LEGEND = load_legend("nine")
COLORS = {one.code: tuple(bytes.fromhex(one.color)) for one in LEGEND.classes}


@pytest.fixture
def published(tmp_path):
    """The item of a map of 700 x 700 px; `published(codes)` puts other codes into it."""
    manifest = manifest_of()
    (tmp_path / "work").mkdir()
    publish(open_store(str(tmp_path)), manifest, tmp_path / "work")
    item = tmp_path / manifest.item_key

    def with_codes(codes=None):
        if codes is not None:
            content = json.loads(item.read_text())
            path = item.parent / content["assets"]["data"]["href"]
            with rasterio.open(path) as source:
                profile = source.profile | {"driver": "GTiff", "height": codes.shape[0], "width": codes.shape[1]}
            with rasterio.open(path, "w", **profile) as target:
                target.write(codes, 1)
        return str(item)

    return with_codes


def picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_map_is_drawn_in_the_legends_colours(published, tmp_path):
    png = show(published(), tmp_path / "pictures" / "map.png")
    assert png == tmp_path / "pictures" / "map.png"
    drawn, codes = picture(png), class_map(LEGEND)
    # The map is enlarged or reduced to the longest side, so pixels are looked up from its middle.
    height = LONGEST_SIDE
    for row, col in ((300, 400), (650, 20), (500, 500), (20, 690)):
        there = drawn[round((row + 0.5) * height / 700), round((col + 0.5) * height / 700)]
        assert tuple(there) == COLORS[codes[row, col]]


def test_no_data_stays_white(published, tmp_path):
    drawn = picture(show(published(), tmp_path / "map.png"))
    assert (drawn[:250, :250] == 255).all()


def test_the_legend_has_every_class_that_occurs_the_largest_first(published, tmp_path):
    codes = np.full((600, 600), 5, np.uint8)
    codes[:100] = 2
    codes[:20, :20] = 1
    drawn = picture(show(published(codes), tmp_path / "map.png"))
    column = drawn[:, LONGEST_SIDE + 16 + 11]
    swatches = [tuple(column[row]) for row in range(84, 84 + 30 * 3, 30)]
    assert swatches == [COLORS[5], COLORS[2], COLORS[1]]
    assert (column[84 + 30 * 3 : 84 + 30 * 8] == 255).all(), "classes that do not occur are not listed"


def test_only_the_mapped_part_is_drawn(published, tmp_path):
    codes = np.zeros((3000, 3000), np.uint8)
    codes[1000:1200, 2000:2400] = 2
    drawn = picture(show(published(codes), tmp_path / "map.png"))
    assert drawn.shape[0] == LONGEST_SIDE // 2
    assert (drawn[:, :LONGEST_SIDE] == COLORS[2]).all()


def test_a_map_larger_than_the_picture_is_made_smaller(published, tmp_path):
    codes = np.ones((5000, 2500), np.uint8)
    codes[:, 1250:] = 11
    drawn = picture(show(published(codes), tmp_path / "map.png"))
    assert drawn.shape[0] == LONGEST_SIDE
    assert tuple(drawn[600, 100]) == COLORS[1] and tuple(drawn[600, 500]) == COLORS[11]


def test_a_narrow_map_leaves_room_for_its_legend(published, tmp_path):
    drawn = picture(show(published(np.full((10, 700), 2, np.uint8)), tmp_path / "map.png"))
    assert drawn.shape[0] >= 90 + 30 * len(LEGEND.classes)


def test_a_map_without_data_is_drawn_all_the_same(published, tmp_path):
    drawn = picture(show(published(np.zeros((100, 100), np.uint8)), tmp_path / "map.png"))
    assert (drawn[:, :LONGEST_SIDE] == 255).all()


def test_what_is_no_map_is_refused(published, tmp_path):
    (tmp_path / "no.json").write_text("{}")
    for wrong in ("no-such.json", str(tmp_path / "no.json")):
        with pytest.raises(BadInput, match="cannot be read as a STAC item"):
            show(wrong, tmp_path / "map.png")
    with pytest.raises(BadInput, match=r"no class map 'confidence'.*data, confidence"):
        show(published(), tmp_path / "map.png", asset="confidence")
    assert not (tmp_path / "map.png").exists()
