"""Code written for Planetary Computer's io-lulc-annual-v02 runs with only the URL and the collection's ID changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.collections import ZONES
from pipelines.supercells import make_supercells
from tests.catalog.tile_years import publish_all
from tests.environments import fresh_environment
from tests.servers.catalog import serve_catalog

NOTEBOOK = Path(__file__).with_name("notebook.py")
BOX = "11.9,53.1,13.6,53.3"
OLD = ("pystac==1.13.0", "pystac-client==0.8.6", "odc-stac==0.4.0", "planetary-computer==1.0.0", "dask")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Two years of one tile, one year of its neighbour in the east; and the same by grid zones."""
    folder = tmp_path_factory.mktemp("drop")
    make_supercells(publish_all(folder / "out", ("33UUU", 2019), ("33UUU", 2020), ("33UVU", 2020), folder=folder))
    with serve_catalog(str(folder / "out")) as running:
        yield running


@pytest.fixture(scope="module", params=["today's versions", pytest.param("older versions", marks=pytest.mark.slow)])
def notebook(request, tmp_path_factory):
    """Runs the notebook with libraries of today, and of when most such code was written."""
    python = Path(sys.executable)
    if request.param == "older versions":
        python = fresh_environment(tmp_path_factory.mktemp("older") / "environment", *OLD)

    def run(*arguments: str) -> dict:
        done = subprocess.run([python, NOTEBOOK, *arguments], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.old = request.param == "older versions"
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("collection", "tiles"),
    [
        ("lulc-annual", {"33UUU-2019": "33UUU", "33UUU-2020": "33UUU", "33UVU-2020": "33UVU"}),
        (ZONES, {"33U-2019": "33U", "33U-2020": "33U"}),
    ],
)
def test_a_notebook_runs_with_only_the_address_and_the_collection_changed(notebook, url, collection, tiles):
    found = notebook(url, collection, BOX)
    if notebook.old:
        assert found["versions"] == {"pystac": "1.13.0", "pystac_client": "0.8.6", "odc.stac": "0.4.0"}
    assert found["items"] == tiles
    # Signing leaves our addresses alone.
    assert found["signed"] == found["hrefs"] and all(href.startswith(f"{url}/files/") for href in found["hrefs"])
    # A year is one time step, whether items are grouped or not.
    assert found["years"] == [[2019, 2020]] * 2
    for steps in found["codes"]:
        assert all({1, 2, 5, 7, 11} < set(codes) <= {0, 1, 2, 4, 5, 7, 8, 9, 10, 11} for codes in steps)
    assert found["seen twice"] == 2
    # Classes have their names in the collection and their colours in the file.
    assert found["names"]["7"] == "Built area" and found["names"]["11"] == "Rangeland"
    assert found["colours"]["1"] == [0x41, 0x9B, 0xDF, 255]
