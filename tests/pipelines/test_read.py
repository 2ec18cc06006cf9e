"""Windows of scenes, on disk and over HTTP: right pixels, right reflectance, and what goes wrong on the way."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import boto3
import numpy as np
import planetary_computer.sas
import pytest
import rasterio
import rasterio.warp
from affine import Affine

from catalog.errors import SourceUnavailable
from catalog.scenes import BANDS, Datatake, Raster, Scene
from pipelines.read import SceneReader
from pipelines.window import upsample
from tests.networks import SIX_BANDS
from tests.servers.http import WebServer, serve
from tests.servers.s3 import ENVIRONMENT

EPSG, LEFT, TOP = 32633, 300_000, 5_900_000
FOOTPRINT = {"type": "Polygon", "coordinates": [[[11, 52], [14, 52], [14, 54], [11, 54], [11, 52]]]}
SIZE = 1024


def transform(col: int = 0, row: int = 0, pixel: float = 10.0) -> Affine:
    return Affine(pixel, 0, LEFT + 10 * col, 0, -pixel, TOP - 10 * row)


def write_band(path: Path, values: np.ndarray, where: Affine, epsg: int = EPSG, nodata: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype, "nodata": nodata}
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "DEFLATE"}
    with rasterio.open(path, "w", driver="GTiff", crs=f"EPSG:{epsg}", transform=where, **profile, **tiled) as target:
        target.write(values, 1)


def scene(folder: Path | str, name: str = "one", *, with_scl: bool = False, **of_raster) -> Scene:
    return Scene(
        id=name,
        collection="sentinel-2-l2a",
        href=f"{folder}/{name}.json",
        datetime=datetime(2021, 5, 1, tzinfo=UTC),
        datatake="GS2A_1",
        datastrip="",
        tile="33UUU",
        level="L2A",
        baseline="05.00",
        processed=None,
        cloud_cover=0.0,
        footprint=FOOTPRINT,
        bands={band: Raster(href=f"{folder}/{name}/{band}.tif", **of_raster) for band in BANDS},
        scl=Raster(href=f"{folder}/{name}/SCL.tif") if with_scl else None,
    )


def numbers(seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(1000, 6000, (size, size), np.uint16)


def write_scene(
    folder: Path, name: str = "one", *, values: np.ndarray | None = None, where: Affine | None = None
) -> None:
    """All bands at 10 m, each with its own numbers unless some are given."""
    for k, band in enumerate(BANDS):
        write_band(folder / name / f"{band}.tif", numbers(k) if values is None else values, where or transform())


def look(
    *scenes: Scene,
    col: int = 100,
    row: int = 200,
    size: int = 256,
    retry_seconds: float = 2.0,
    level: str | None = None,
):
    reader, spec = SceneReader(retry_seconds), SIX_BANDS.model_copy(update={"level": level})
    datatake = Datatake(id="GS2A_1", datetime=scenes[0].datetime, scenes=scenes)
    return reader.read(datatake, spec, EPSG, transform(col, row), (size, size))


def test_bands_of_20_m_are_interpolated_between_pixel_centres_with_the_edges_kept():
    fine = upsample(np.array([[100, 200], [300, 400]], np.uint16), 2, nodata=0)
    assert fine.shape == (4, 4)
    assert fine[0].tolist() == [100, 125, 175, 200]
    assert fine[:, 0].tolist() == [100, 150, 250, 300]
    # Rounded, not cut off.
    assert upsample(np.array([[100, 101]], np.uint16), 2, nodata=0)[0].tolist() == [100, 100, 101, 101]
    # The mean of a coarse pixel's four fine ones is its value where the surface is a plane.
    plane = np.add.outer(np.arange(20) * 40, np.arange(20) * 8).astype(np.uint16) + np.uint16(500)
    means = upsample(plane, 2, nodata=0).reshape(20, 2, 20, 2).mean(axis=(1, 3))
    assert np.abs(means - plane)[1:-1, 1:-1].max() <= 0.5


def test_no_data_lends_nothing_to_its_neighbours():
    fine = upsample(np.array([[0, 200, 200]], np.uint16), 2, nodata=0)
    assert fine[0].tolist() == [0, 0, 200, 200, 200, 200]


def test_a_window_across_the_edge_of_a_scene_is_empty_beyond_it(tmp_path):
    write_scene(tmp_path)
    found = look(scene(tmp_path), col=-10, row=-20, size=64)
    assert not found.bands[:, :20].any()
    assert not found.bands[:, :, :10].any()
    assert (found.bands[0, 20:, 10:] == numbers(0)[:44, :54]).all()


def test_coarse_bands_fall_on_the_same_ground_wherever_the_window_begins(tmp_path):
    write_scene(tmp_path)
    write_band(tmp_path / "one" / "B11.tif", numbers(9, SIZE // 2), transform(pixel=20.0))
    whole = look(scene(tmp_path), col=90, row=190, size=300).bands
    # Windows that begin on a coarse pixel's edge, and within one.
    for col, row in ((100, 200), (101, 203)):
        part = look(scene(tmp_path), col=col, row=row, size=200).bands
        assert (part == whole[:, row - 190 : row + 10, col - 90 : col + 110]).all()


def test_the_offset_is_removed_exactly_once(tmp_path):
    write_scene(tmp_path, values=np.full((SIZE, SIZE), 1500, np.uint16))
    assert (look(scene(tmp_path, offset=-0.1)).bands == 500).all()
    assert (look(scene(tmp_path, offset=0.0)).bands == 1500).all()
    # Rufiji's scale: 0.001 a number.
    assert (look(scene(tmp_path, scale=0.001)).bands == 15000).all()


def test_a_network_sees_the_level_that_it_was_made_for(tmp_path):
    write_scene(tmp_path, values=np.full((SIZE, SIZE), 1500, np.uint16))
    surface = scene(tmp_path)
    top = surface.model_copy(update={"level": "L1C", "sun_zenith": 60.0})
    for wanted, one, changed in (("L2A", top, -1), ("L1C", surface, 1), ("L2A", surface, 0), (None, top, 0)):
        blue = look(one, level=wanted).bands[0, 5, 5]
        assert np.sign(int(blue) - 1500) == changed, (wanted, one.level)


def test_no_data_is_decided_on_the_sources_numbers(tmp_path):
    values = np.full((SIZE, SIZE), 1000, np.uint16)
    values[200, 100] = 0
    write_scene(tmp_path, values=values)
    found = look(scene(tmp_path, offset=-0.1)).bands
    # 1,000 is a reflectance of 0, not a hole; it becomes the least that is valid.
    assert found[0, 0, 0] == 0
    assert (found.reshape(6, -1)[:, 1:] == 1).all()


def test_a_source_may_mark_no_data_by_another_number(tmp_path):
    values = np.full((SIZE, SIZE), 1500, np.uint16)
    values[200, 100:102] = 65535, 0
    write_scene(tmp_path, values=values)
    found = look(scene(tmp_path, nodata=65535, offset=-0.1)).bands
    assert found[0, 0, :3].tolist() == [0, 1, 500]


def test_the_scene_classification_is_never_interpolated(tmp_path):
    write_scene(tmp_path)
    classes = np.random.default_rng(1).choice(np.array([4, 8, 11], np.uint8), (SIZE // 2, SIZE // 2))
    write_band(tmp_path / "one" / "SCL.tif", classes, transform(pixel=20.0))
    found = look(scene(tmp_path, with_scl=True), col=101, row=203)
    assert (found.scl == classes.repeat(2, 0).repeat(2, 1)[203:459, 101:357]).all()
    assert look(scene(tmp_path)).scl is None


def test_a_pixel_without_one_band_is_without_all(tmp_path):
    write_scene(tmp_path)
    holed = numbers(5)
    holed[210, 110] = 0
    write_band(tmp_path / "one" / "B12.tif", holed, transform())
    found = look(scene(tmp_path)).bands
    assert not found[:, 10, 10].any()
    assert found[:, 10, 11].all()


@pytest.mark.parametrize(
    ("value", "offset", "told"), [(900, -0.1, "implausibly dark"), (30000, 0.0, "implausibly bright")]
)
def test_an_implausible_scene_is_used_and_reported(tmp_path, value, offset, told):
    write_scene(tmp_path, values=np.full((SIZE, SIZE), value, np.uint16))
    found = look(scene(tmp_path, offset=offset))
    assert found.bands.all()
    (warning,) = found.warnings
    assert warning.scene == "one"
    assert told in warning.reason


def test_a_neighbour_fills_only_what_the_tiles_own_scene_lacks(tmp_path):
    own = np.full((SIZE, SIZE), 2000, np.uint16)
    own[:, 200:] = 0
    write_scene(tmp_path, "own", values=own)
    write_scene(tmp_path, "neighbour", values=np.full((SIZE, SIZE), 3000, np.uint16))
    found = look(scene(tmp_path, "own"), scene(tmp_path, "neighbour")).bands
    assert (found[:, :, :100] == 2000).all()
    assert (found[:, :, 100:] == 3000).all()


def test_a_shifted_grid_and_another_crs_are_warped_onto_the_tiles(tmp_path):
    # A slope that any right resampling gives back: reflectance rises by 2 a pixel to the east.
    ramp = np.tile(np.arange(SIZE, dtype=np.uint16) * 2 + 1000, (SIZE, 1))
    write_scene(tmp_path, "plain", values=ramp)
    straight = look(scene(tmp_path, "plain")).bands.astype(int)
    shifted = Affine(10, 0, LEFT + 4, 0, -10, TOP - 4)
    write_scene(tmp_path, "shifted", values=ramp, where=shifted)
    assert np.abs(look(scene(tmp_path, "shifted")).bands - straight + 0.8).max() <= 1
    where, width, height = rasterio.warp.calculate_default_transform(
        f"EPSG:{EPSG}", "EPSG:32632", SIZE, SIZE, *rasterio.transform.array_bounds(SIZE, SIZE, transform())
    )
    other = np.zeros((height, width), np.uint16)
    rasterio.warp.reproject(
        ramp, other, src_crs=f"EPSG:{EPSG}", src_transform=transform(), dst_crs="EPSG:32632", dst_transform=where,
        src_nodata=0, dst_nodata=0, resampling=rasterio.warp.Resampling.bilinear,
    )  # fmt: skip
    for band in BANDS:
        write_band(tmp_path / "other" / f"{band}.tif", other, where, epsg=32632)
    assert np.abs(look(scene(tmp_path, "other"), size=128).bands - straight[:, :128, :128]).max() <= 2


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def web(server, tmp_path):
    write_scene(tmp_path)
    server.turn_to(tmp_path)
    return server


def assert_whole(found) -> None:
    assert not found.problems
    assert (found.bands[3] == numbers(3)[200:456, 100:356]).all()


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again_when_it_says(web: WebServer, status):
    # GDAL makes six requests of an open that fails; the seventh is the reader's own, which sees how long to wait.
    web.behave(fail={"path": "B08.tif", "status": status, "retry_after": 2, "times": 7})
    assert_whole(look(scene(web.url), retry_seconds=20))
    asked = [entry for entry in web.log() if entry["path"].endswith("B08.tif")]
    assert [entry["status"] for entry in asked[:8]] == [status] * 7 + [200]
    assert asked[7]["at"] - asked[6]["at"] >= 2


@pytest.mark.slow
def test_a_scene_is_not_given_up_because_its_server_recovers_between_two_questions(web: WebServer, monkeypatch):
    # Four opens of two requests fail, with the reader's question after each; only the last question is answered.
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    web.behave(fail={"path": "B08.tif", "status": 503, "times": 4 * 2 + 3})
    assert_whole(look(scene(web.url), retry_seconds=60))
    asked = [(entry["range"], entry["status"]) for entry in web.log() if entry["path"].endswith("B08.tif")]
    assert [status for range_, status in asked if range_ == "bytes=0-0"] == [503, 503, 503, 206]


@pytest.mark.parametrize("how", [{"drop": True}, {"drop_after": 0}, {"drop_after": 60_000}])
def test_a_dropped_connection_is_tried_again(web: WebServer, how):
    web.behave(fail={"path": "B08.tif", "times": 7, **how})
    assert_whole(look(scene(web.url), retry_seconds=20))
    cut = [entry for entry in web.log() if entry["path"].endswith("B08.tif") and entry["status"] in (0, 206)]
    assert len(cut) > 3


@pytest.mark.slow
def test_a_source_that_stays_down_is_given_up_after_the_time_allowed(web: WebServer):
    web.behave(fail={"path": "B08.tif", "status": 503, "times": 10_000})
    with pytest.raises(SourceUnavailable, match=r"one/B08\.tif could not be read for 2 s"):
        look(scene(web.url))


def test_what_is_not_there_is_left_out_and_told_once(web: WebServer, tmp_path):
    (tmp_path / "one" / "B08.tif").unlink()
    found = look(scene(web.url))
    assert not found.bands.any()
    assert [(problem.scene, problem.reason) for problem in found.problems] == [("one", "B08.tif: HTTP 404")]


@pytest.mark.slow
@pytest.mark.parametrize("over_http", [False, True])
def test_a_truncated_file_is_left_out(web: WebServer, tmp_path, over_http):
    path = tmp_path / "one" / "B08.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    found = look(scene(web.url if over_http else tmp_path), row=700, retry_seconds=20)
    assert not found.bands.any()
    assert [problem.scene for problem in found.problems] == ["one"]


@pytest.fixture
def signing(web: WebServer, monkeypatch):
    """Planetary Computer's library, asking the web server for signatures."""
    # The library signs only what lies on Azure; its domain is the one thing to be told otherwise.
    monkeypatch.setattr(planetary_computer.sas, "BLOB_STORAGE_DOMAIN", web.url.removeprefix("http://"))
    monkeypatch.setattr(planetary_computer.sas, "TOKEN_CACHE", {})
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{web.url}/token")
    planetary_computer.sas.Settings.get.cache_clear()
    web.behave(signature="one")
    yield scene(web.url).model_copy(update={"signer": "planetary-computer"})
    planetary_computer.sas.Settings.get.cache_clear()


def test_a_signature_that_expires_is_asked_for_anew(web: WebServer, signing: Scene):
    reader, datatake = SceneReader(20), Datatake(id="GS2A_1", datetime=signing.datetime, scenes=(signing,))
    assert_whole(reader.read(datatake, SIX_BANDS, EPSG, transform(100, 200), (256, 256)))
    # The signature is changed behind the library's back, which believes it good for an hour.
    web.behave(signature="two")
    log = web.log()
    later = reader.read(datatake, SIX_BANDS, EPSG, transform(100, 600), (256, 256))
    assert not later.problems
    assert (later.bands[3] == numbers(3)[600:856, 100:356]).all()
    log_later = web.log()
    assert {403, 206} <= {entry["status"] for entry in log_later}
    # Six bands are read at once; they share one signature each time.
    assert [sum(entry["path"].startswith("/token/") for entry in part) for part in (log, log_later)] == [1, 1]


@pytest.mark.slow
def test_who_signs_may_fail_for_a_while_but_not_for_long(web: WebServer, signing: Scene):
    web.behave(fail={"path": "/token/", "status": 503, "times": 8})
    assert_whole(look(signing, retry_seconds=20))
    planetary_computer.sas.TOKEN_CACHE.clear()
    web.behave(fail={"path": "/token/", "status": 503, "times": 10_000})
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"could not be read for 2 s: .*/token/"):
        look(signing)
    assert time.monotonic() - started < 6


def in_bucket(folder: Path, bucket: str) -> Scene:
    for path in (folder / "one").glob("*.tif"):
        boto3.client("s3").upload_file(str(path), bucket, f"scenes/one/{path.name}")
    return scene(f"s3://{bucket}/scenes")


def test_a_bucket_is_read_wherever_it_lies(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    write_scene(tmp_path)
    bucket = s3.new_bucket()
    one = in_bucket(tmp_path, bucket)
    assert_whole(look(one))
    boto3.client("s3").delete_object(Bucket=bucket, Key="scenes/one/B08.tif")
    found = look(one)
    assert [(problem.scene, problem.reason) for problem in found.problems] == [("one", "B08.tif: not in the bucket")]


@pytest.fixture
def failing_bucket(web: WebServer, tmp_path, monkeypatch):
    """The web server as an S3 server; it asks for no credentials, though the clients insist on sending some."""
    shutil.copytree(tmp_path / "one", tmp_path / "bucket" / "one")
    settings = {**ENVIRONMENT, "AWS_ENDPOINT_URL": web.url, "AWS_MAX_ATTEMPTS": "1", "GDAL_HTTP_MAX_RETRY": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return scene("s3://bucket")


@pytest.mark.slow
def test_a_bucket_that_fails_is_tried_again_and_given_up_in_time(web: WebServer, failing_bucket: Scene):
    web.behave(fail={"path": "B08.tif", "status": 503, "times": 12})
    assert_whole(look(failing_bucket, retry_seconds=60))
    web.behave(fail={"path": "B08.tif", "status": 503, "times": 10_000})
    with pytest.raises(SourceUnavailable, match=r"s3://bucket/one/B08\.tif could not be read for 2 s"):
        look(failing_bucket)


@pytest.mark.slow
def test_a_truncated_file_in_a_bucket_is_left_out(failing_bucket: Scene, tmp_path):
    path = tmp_path / "bucket" / "one" / "B08.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    found = look(failing_bucket, row=700, retry_seconds=20)
    assert not found.bands.any()
    assert [problem.scene for problem in found.problems] == ["one"]


def test_headers_are_read_once_and_little_more_than_the_windows(web: WebServer, tmp_path):
    reader, one = SceneReader(20), scene(web.url)
    datatake = Datatake(id="GS2A_1", datetime=one.datetime, scenes=(one,))
    # Windows overlap by their halos and begin anywhere in the file's own tiles of 256 px.
    for row in (0, 324, 668):
        reader.read(datatake, SIX_BANDS, EPSG, transform(0, row), (356, SIZE))
    log = web.log()
    assert sum((entry["range"] or "").startswith("bytes=0-") for entry in log) == len(BANDS)
    fetched = sum(entry["bytes"] for entry in log)
    assert fetched < 1.6 * sum(path.stat().st_size for path in (tmp_path / "one").iterdir())


def test_files_are_closed_so_that_what_replaces_them_is_read(tmp_path):
    write_scene(tmp_path)
    before = look(scene(tmp_path)).bands
    shutil.rmtree(tmp_path / "one")
    write_scene(tmp_path, values=numbers(77))
    assert (look(scene(tmp_path)).bands != before).any()
