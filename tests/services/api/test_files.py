"""The catalog's files: whole, by ranges, and as GDAL reads them."""

from __future__ import annotations

import geopandas
import pytest
import rasterio
import requests

from catalog.collections import rebuild
from catalog.manifest import Period
from catalog.store import open_store
from tests.catalog.tile_years import manifest_of, publish
from tests.servers.catalog import serve_catalog
from tests.services.api.conftest import WHOLE


@pytest.fixture
def cog(url):
    item = requests.get(f"{url}/collections/lulc-annual/items/{WHOLE}", timeout=30).json()
    return item["assets"]["data"]["href"]


@pytest.fixture
def content(store, cog):
    return store.read(cog.partition("/files/")[2])


def test_a_file_is_what_lies_there(cog, content):
    whole = requests.get(cog, timeout=30)
    assert whole.content == content
    assert whole.headers["content-type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert whole.headers["accept-ranges"] == "bytes"
    head = requests.head(cog, timeout=30)
    assert head.headers["content-length"] == str(len(content)) and not head.content


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-50", -50, None), ("bytes=5-99999999", 5, None)],
)
def test_a_range_is_that_part(cog, content, asked, start, stop):
    part = requests.get(cog, headers={"range": asked}, timeout=30)
    assert part.status_code == 206
    assert part.content == content[start:stop]
    first = start % len(content)
    assert part.headers["content-range"] == f"bytes {first}-{first + len(part.content) - 1}/{len(content)}"


def test_a_range_beyond_the_end_is_refused_and_a_strange_one_passed_over(cog, content):
    beyond = requests.get(cog, headers={"range": f"bytes={len(content)}-"}, timeout=30)
    assert beyond.status_code == 416 and beyond.headers["content-range"] == f"bytes */{len(content)}"
    assert requests.get(cog, headers={"range": "pages=1-2"}, timeout=30).content == content


def test_what_has_not_changed_is_not_sent_again(cog):
    tag = requests.get(cog, timeout=30).headers["etag"]
    assert requests.get(cog, headers={"if-none-match": tag}, timeout=30).status_code == 304
    assert requests.get(cog, headers={"range": "bytes=0-9", "if-range": '"old"'}, timeout=30).status_code == 200


def test_pages_of_other_addresses_may_read_it(cog):
    asked = {"origin": "https://example.com", "range": "bytes=0-9"}
    headers = requests.get(cog, headers=asked, timeout=30).headers
    assert headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in headers["access-control-expose-headers"]
    asked = {
        "origin": "https://example.com",
        "access-control-request-method": "GET",
        "access-control-request-headers": "range",
    }
    assert requests.options(cog, headers=asked, timeout=30).status_code == 200


def test_gdal_reads_the_cog(cog, store):
    with rasterio.open(cog) as far, rasterio.open(store.href(cog.partition("/files/")[2])) as near:
        assert (far.read(1, window=((0, 100), (300, 400))) == near.read(1, window=((0, 100), (300, 400)))).all()
        assert far.colormap(1) == near.colormap(1)


def test_geopandas_reads_the_index(url, tmp_path):
    assets = requests.get(f"{url}/collections/lulc-annual", timeout=30).json()["assets"]
    parts = [asset["href"] for asset in assets.values() if "collection-mirror" in asset["roles"]]
    for number, href in enumerate(parts):
        (tmp_path / f"{number}.parquet").write_bytes(requests.get(href, timeout=30).content)
    assert len(geopandas.read_parquet(tmp_path)) == 36


@pytest.mark.slow
def test_a_bucket_is_served_as_a_folder_is(s3, tmp_path):
    catalog = f"s3://{s3.new_bucket()}/maps"
    store = open_store(catalog, s3_endpoint=s3.endpoint)
    publish(store, manifest_of("33UUU", Period.of_year(2019)), tmp_path)
    rebuild(store)
    with serve_catalog(catalog, "--s3-endpoint", s3.endpoint) as url:
        (item,) = requests.get(f"{url}/search", timeout=30).json()["features"]
        href = item["assets"]["data"]["href"]
        content = store.read(href.partition("/files/")[2])
        assert requests.get(href, timeout=30).content == content
        assert requests.get(href, headers={"range": "bytes=10-19"}, timeout=30).content == content[10:20]
        assert requests.get(f"{url}/files/nothing", timeout=30).status_code == 404
