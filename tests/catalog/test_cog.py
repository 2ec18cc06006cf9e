from __future__ import annotations

import subprocess
import sys
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rio_cogeo.cogeo import cog_validate

from catalog.cog import write_cog, write_thumbnail
from catalog.errors import StoreError
from catalog.legend import load_legend
from tests.catalog.tile_years import class_map, write_plain

LEGEND = load_legend("nine")
UTM = Affine(10, 0, 300_000, 0, -10, 1_700_000)


@pytest.fixture
def class_cog(tmp_path: Path) -> Path:
    write_plain(tmp_path / "plain.tif", class_map(LEGEND, 2048)[np.newaxis], UTM, 32648, nodata=0, legend=LEGEND)
    write_cog(tmp_path / "plain.tif", tmp_path / "data.tif", classes=True)
    return tmp_path / "data.tif"


def test_is_a_cog_that_opens_everywhere(class_cog: Path) -> None:
    assert cog_validate(class_cog, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(class_cog) as cog:
        assert cog.profile["compress"] == "deflate"
        assert cog.block_shapes == [(512, 512)]
        assert (cog.nodata, cog.crs.to_epsg(), cog.transform) == (0, 32648, UTM)
        assert cog.overviews(1) == [2, 4]
        np.testing.assert_array_equal(cog.read(1), class_map(LEGEND, 2048))


def test_carries_palette_and_class_names(class_cog: Path) -> None:
    with rasterio.open(class_cog) as cog:
        assert cog.colormap(1)[1] == (0x41, 0x9B, 0xDF, 255)
        assert cog.colormap(1)[11] == (0xE3, 0xE2, 0xC3, 255)
        assert cog.tags(1)["CLASS_5"] == "Crops"


def test_an_overview_holds_only_codes_that_are_present_below_it(class_cog: Path) -> None:
    with rasterio.open(class_cog) as cog:
        below, factors = cog.read(1), cog.overviews(1)
    assert factors == [2, 4]
    for level in range(len(factors)):
        with rasterio.open(class_cog, overview_level=level) as cog:
            overview = cog.read(1)
        rows, cols = overview.shape
        cells = below.reshape(rows, 2, cols, 2).transpose(0, 2, 1, 3).reshape(rows, cols, 4)
        assert (cells == overview[..., None]).any(axis=2).all(), f"level {level}: a code that is not below it"
        for code in [one.code for one in LEGEND.classes]:
            most = (cells == code).sum(axis=2) > ((cells != code) & (cells != 0)).sum(axis=2)
            assert (overview[most] == code).all(), f"level {level}: not the most frequent class"
        below = overview


def test_so_it_is_where_the_size_is_no_power_of_two(tmp_path: Path) -> None:
    """10,000 px are 312.5 at a 32nd: an overview pixel then covers a little more than two below."""
    write_plain(tmp_path / "plain.tif", class_map(LEGEND, 1050)[np.newaxis], UTM, 32648, nodata=0, legend=LEGEND)
    write_cog(tmp_path / "plain.tif", tmp_path / "data.tif", classes=True)
    with rasterio.open(tmp_path / "data.tif", overview_level=0) as cog:
        below = cog.read(1)
    with rasterio.open(tmp_path / "data.tif", overview_level=1) as cog:
        overview = cog.read(1)
    ratio = below.shape[0] / overview.shape[0]
    assert ratio != 2
    edges = [(int(i * ratio), ceil((i + 1) * ratio)) for i in range(overview.shape[0])]
    for (row, col), code in np.ndenumerate(overview):
        assert code in below[slice(*edges[row]), slice(*edges[col])]


def test_overviews_of_values_are_means_of_what_is_there(tmp_path: Path) -> None:
    values = np.full((1, 1024, 1024), 80, np.uint8)
    values[:, ::2, ::2] = 40
    values[:, :512, :512] = 255
    values[:, 1:512:2, 1:512:2] = 10
    write_plain(tmp_path / "plain.tif", values, UTM, 32648, nodata=255, legend=None)
    write_cog(tmp_path / "plain.tif", tmp_path / "values.tif", classes=False)
    assert cog_validate(tmp_path / "values.tif", strict=True, quiet=True)[0]
    with rasterio.open(tmp_path / "values.tif", overview_level=0) as cog:
        overview = cog.read(1)
    assert set(np.unique(overview[:256, :256])) == {10}, "no data is left out of the mean"
    assert set(np.unique(overview[256:, 256:])) == {70}


def test_every_score_has_its_band_and_name(tmp_path: Path) -> None:
    scores = np.arange(9, dtype=np.uint8)[:, None, None] * np.ones((1, 600, 600), np.uint8)
    write_plain(tmp_path / "plain.tif", scores, UTM, 32648, nodata=255, legend=None)
    with rasterio.open(tmp_path / "plain.tif", "r+") as plain:
        plain.descriptions = [f"class {band}" for band in range(9)]
    write_cog(tmp_path / "plain.tif", tmp_path / "scores.tif", classes=False)
    with rasterio.open(tmp_path / "scores.tif") as cog:
        assert cog.descriptions[8] == "class 8"
        assert cog.read(9).max() == cog.read(9).min() == 8


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Ten bands of 4,000 x 4,000 px are 160 MB of pixels, and as much again for each copy held."""
    bands = np.broadcast_to(np.arange(4000, dtype=np.uint8) % 100, (10, 4000, 4000))
    write_plain(tmp_path / "plain.tif", bands, UTM, 32648, nodata=255, legend=None)
    program = (
        "import resource, sys; from pathlib import Path; from catalog.cog import write_cog\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        f"write_cog(Path({str(tmp_path / 'plain.tif')!r}), Path({str(tmp_path / 'scores.tif')!r}), classes=False)\n"
        "print(peak() - before)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 150


def test_a_broken_source_is_told(tmp_path: Path) -> None:
    (tmp_path / "plain.tif").write_bytes(b"II*\0 nothing more")
    with pytest.raises(StoreError, match=r"data\.tif"):
        write_cog(tmp_path / "plain.tif", tmp_path / "data.tif", classes=True)


def test_the_thumbnail_shows_the_mapped_part_in_the_legends_colours(tmp_path: Path) -> None:
    data = np.zeros((1, 2000, 2000), np.uint8)
    data[0, 200:1200, 400:900] = 1
    data[0, 200:1200, 900:1400] = 2
    write_plain(tmp_path / "plain.tif", data, UTM, 32648, nodata=0, legend=LEGEND)
    write_cog(tmp_path / "plain.tif", tmp_path / "data.tif", classes=True)
    write_thumbnail(tmp_path / "data.tif", tmp_path / "thumbnail.png", LEGEND)
    picture = Image.open(tmp_path / "thumbnail.png").convert("RGBA")
    assert picture.size == (512, 512)
    assert picture.getpixel((100, 256)) == (0x41, 0x9B, 0xDF, 255)
    assert picture.getpixel((400, 256)) == (0x39, 0x7D, 0x49, 255)


@pytest.mark.parametrize(("width", "height"), [(2048, 2064), (4096, 4112), (2048, 8208), (1024, 1400), (300, 200)])
def test_a_map_of_a_few_blocks_of_any_shape_is_a_valid_cog(tmp_path: Path, width: int, height: int) -> None:
    """An overview of just a block's width, 512 x 516 px, would be taken for untiled."""
    data = np.ones((1, height, width), np.uint8)
    write_plain(tmp_path / "plain.tif", data, UTM, 32648, nodata=0, legend=LEGEND)
    write_cog(tmp_path / "plain.tif", tmp_path / "data.tif", classes=True)
    valid, problems, _ = cog_validate(tmp_path / "data.tif", quiet=True)
    assert valid and not problems
