"""The web pages in headless Chromium, over a catalog that `landloom serve` serves."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from services.browser.routes import BUILT
from tests.catalog.tile_years import publish_all
from tests.servers.catalog import serve_catalog

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not (BUILT / "done").is_file(), reason="the pages are not built: make browser"),
]
WATER, TREES = (0x41, 0x9B, 0xDF), (0x39, 0x7D, 0x49)
# WebGL without a graphics card; no attempt to reach the network.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Maps of two years, and of a neighbour."""
    folder = tmp_path_factory.mktemp("pages")
    publish_all(folder / "out", ("33UUU", 2019), ("33UUU", 2020), ("33UVU", 2020), folder=folder)
    with serve_catalog(str(folder / "out")) as running:
        yield running


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    """A page that fails the test if it asks any other server, or writes an error to its console."""
    wrong: list[str] = []
    with sync_playwright() as play, play.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 750})
        page.on("request", lambda one: one.url.startswith((url, "data:", "blob:")) or wrong.append(one.url))
        page.on("console", lambda one: one.type == "error" and wrong.append(one.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
        assert not wrong


def shown(page: Page) -> np.ndarray:
    """What the page looks like, uint8 `[H, W, 3]`."""
    return np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture[:, 280:].astype(int) - colour).max(axis=2) <= 2).mean())


def wait_for_colours(page: Page, *, there: bool) -> np.ndarray:
    for _ in range(100):
        picture = shown(page)
        if (share(picture, WATER) > 0.001) == there and (share(picture, TREES) > 0.001) == there:
            return picture
        page.wait_for_timeout(100)
    raise AssertionError(f"classes are {'not ' if there else ''}drawn")


def open_map(page: Page, url: str) -> None:
    west, south, east, north = requests.get(f"{url}/collections/lulc-annual/items/33UUU-2020", timeout=30).json()[
        "bbox"
    ]
    page.goto(f"{url}/map/#view=12/{(south + north) / 2}/{(west + east) / 2}")
    expect(page.locator("#title")).to_have_text("Annual land cover, 10 m")


def test_the_map_is_drawn_in_the_legends_colours(page, url):
    open_map(page, url)
    wait_for_colours(page, there=True)
    expect(page.locator("#legend li").first).to_have_text("Water")
    expect(page.locator("#year-told")).to_have_text("2020")


def test_a_point_is_told_with_links(page, url):
    open_map(page, url)
    wait_for_colours(page, there=True)
    page.mouse.move(640, 300)
    page.mouse.move(650, 420)
    expect(page.locator("#here")).to_contain_text("73 %")
    expect(page.locator("#here")).to_contain_text("12")
    links = [link.get_attribute("href") for link in page.locator("#here a").all()]
    assert re.fullmatch(rf"{url}/collections/lulc-annual/items/33U[UV]U-2020", links[0])
    assert links[1].startswith(f"{url}/files/") and links[1].endswith("data.tif")


def test_years_are_chosen_and_compared(page, url):
    open_map(page, url)
    wait_for_colours(page, there=True)
    page.locator("#year").fill("2019")
    expect(page.locator("#year-told")).to_have_text("2019")
    page.locator("#other").select_option("2020")
    expect(page.locator("#divider")).to_be_visible()
    page.mouse.move(550, 700)
    page.mouse.move(640, 420)
    expect(page.locator("#here table")).to_have_count(2)
    divider = page.locator("#divider").bounding_box()
    page.mouse.move(divider["x"] + 2, 200)
    page.mouse.down()
    page.mouse.move(900, 200)
    page.mouse.up()
    assert page.locator("#divider").bounding_box()["x"] == pytest.approx(898, abs=6)


def test_confidence_is_a_ramp(page, url):
    open_map(page, url)
    wait_for_colours(page, there=True)
    page.locator("#asset").select_option("confidence")
    wait_for_colours(page, there=False)
    expect(page.locator("#legend .ramp")).to_have_count(1)


def test_stac_browser_shows_an_item_with_its_tiles(page, url):
    page.goto(f"{url}/browser/")
    expect(page.get_by_text("Annual land cover, 10 m").first).to_be_visible(timeout=20_000)
    page.goto(f"{url}/browser/#/collections/lulc-annual/items/33UUU-2020")
    expect(page.get_by_text("Land cover 33UUU 2020").first).to_be_visible(timeout=20_000)
