"""The whole job on scenes far away: a static catalog, a STAC API, a bucket, and a server that fails for a while."""

from __future__ import annotations

import boto3
import numpy as np
import pytest
import rasterio

from tests.pipelines.running import map_tiles
from tests.servers.http import serve

pytestmark = pytest.mark.slow


def pixels(out) -> list[np.ndarray]:
    """Class, confidence and observations of the one map."""
    found = []
    for name in ("data", "confidence", "observations"):
        (path,) = out.glob(f"lulc-annual/33UUU/2021/*/{name}.tif")
        with rasterio.open(path) as source:
            found.append(source.read())
    return found


@pytest.fixture(scope="module")
def from_disk(simulated, network, tmp_path_factory):
    out = tmp_path_factory.mktemp("from-disk")
    map_tiles(simulated.catalog, out, network)
    return pixels(out)


@pytest.mark.parametrize("where", ["catalog.json", "stac"])
def test_the_map_is_that_from_disk(simulated, network, tmp_path, from_disk, where):
    with serve(simulated.catalog.parent) as server:
        accounts = map_tiles(f"{server.url}/{where}", tmp_path, network)
    assert accounts.published == ["33UUU-2021"]
    for here, there in zip(pixels(tmp_path), from_disk, strict=True):
        assert (here == there).all()


def test_the_map_from_a_bucket_is_that_from_disk(simulated, network, tmp_path, from_disk, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    bucket, folder = s3.new_bucket(), simulated.catalog.parent
    for path in folder.rglob("*"):
        if path.is_file():
            boto3.client("s3").upload_file(str(path), bucket, path.relative_to(folder).as_posix())
    accounts = map_tiles(f"s3://{bucket}/catalog.json", tmp_path, network)
    assert accounts.published == ["33UUU-2021"]
    for here, there in zip(pixels(tmp_path), from_disk, strict=True):
        assert (here == there).all()


def test_a_server_that_fails_for_long_leaves_no_seam_but_a_dead_letter_that_the_next_run_takes_up(
    simulated, network, tmp_path, from_disk
):
    # One band of one scene of the year.
    scene = min(path.parent for path in simulated.catalog.parent.rglob("B11.tif") if "_2021" in path.parent.name)
    band = (scene / "B11.tif").relative_to(simulated.catalog.parent).as_posix()
    with serve(simulated.catalog.parent) as server:
        source = f"{server.url}/catalog.json"
        server.behave(fail={"path": band, "status": 503, "times": 100_000})
        accounts = map_tiles(source, tmp_path, network, retry_seconds=1)
        assert accounts.published == []
        assert f"{band} could not be read for 1 s" in accounts.dead_lettered["33UUU-2021"]
        assert not list(tmp_path.glob("lulc-annual/33UUU/2021/*.json"))
        server.behave(fail={})
        accounts = map_tiles(source, tmp_path, network)
    assert accounts.published == ["33UUU-2021"]
    assert accounts.dead_lettered == {}
    for here, there in zip(pixels(tmp_path), from_disk, strict=True):
        assert (here == there).all()
