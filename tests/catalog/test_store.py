"""One suite for all stores: a folder, and buckets of servers that speak S3 and Google Cloud Storage."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from catalog.errors import BadInput, StoreError
from catalog.store import PIECE, NotFound, Store, open_store
from tests.servers.gcs import GcsServer
from tests.servers.s3 import PUBLIC, S3Server

CATALOG = "lulc-annual/collection.json"


@pytest.fixture(params=["disk", "s3", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(str(tmp_path / "out"))
    if request.param == "gcs":
        return open_store(f"gs://{request.getfixturevalue('gcs').new_bucket()}/some/prefix")
    server: S3Server = request.getfixturevalue("s3")
    return open_store(f"s3://{server.new_bucket()}/some/prefix", s3_endpoint=server.endpoint)


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write(CATALOG, b"one")
    store.write(CATALOG, b"two")
    assert store.read(CATALOG) == b"two"
    assert store.exists(CATALOG)
    assert not store.exists("lulc-annual")


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(NotFound, match=r"lulc-annual/collection\.json"):
        store.read(CATALOG)
    assert not store.exists(CATALOG)
    assert store.version(CATALOG) is None
    assert store.read_versioned(CATALOG) == (None, None)
    assert store.list() == []
    store.delete([CATALOG])


def test_lists_by_prefix_of_the_name_as_object_stores_do(store: Store) -> None:
    names = ["a/48QUE/1", "a/48QUE/2", "a/48QUF/1", "a.json", "b/1"]
    for name in names:
        store.write(name, b"")
    assert store.list() == sorted(names)
    assert store.list("a/48QUE/") == ["a/48QUE/1", "a/48QUE/2"]
    assert store.list("a/48QU") == ["a/48QUE/1", "a/48QUE/2", "a/48QUF/1"]
    assert store.list("a") == ["a.json", "a/48QUE/1", "a/48QUE/2", "a/48QUF/1"]
    assert store.list("nothing/") == []


def test_a_listing_longer_than_one_page_is_whole(s3: S3Server) -> None:
    store = open_store(f"s3://{s3.new_bucket()}", s3_endpoint=s3.endpoint)
    names = [f"staging/{number:04d}" for number in range(1003)]
    for name in names:
        store.write(name, b"")
    assert store.list("staging/") == names
    store.delete(names)
    assert store.list() == []


def test_deletes_only_what_is_named(store: Store) -> None:
    store.write("staging/x/1", b"")
    store.write("staging/x/2", b"")
    store.delete(["staging/x/1", "staging/never-there"])
    assert store.list() == ["staging/x/2"]


def test_a_large_file_arrives_whole(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "data.tif"
    file.write_bytes(os.urandom(40 * 2**20))
    store.upload("x/data.tif", file)
    assert hashlib.sha256(store.read("x/data.tif")).digest() == hashlib.sha256(file.read_bytes()).digest()
    assert store.list() == ["x/data.tif"]


def test_writes_only_what_nobody_changed_meanwhile(store: Store, tmp_path: Path) -> None:
    assert store.write_if(CATALOG, b"one", None)
    assert not store.write_if(CATALOG, b"mine", None)
    content, version = store.read_versioned(CATALOG)
    assert (content, version) == (b"one", store.version(CATALOG))
    (tmp_path / "two").write_bytes(b"two")
    assert store.write_if(CATALOG, tmp_path / "two", version)
    assert not store.write_if(CATALOG, b"late", version)
    assert store.read(CATALOG) == b"two"
    store.delete([CATALOG])
    assert not store.write_if(CATALOG, b"late", version)


def test_update_starts_again_when_another_writer_came_between(store: Store) -> None:
    calls = []

    def append(content: bytes | None) -> bytes:
        calls.append(content)
        if len(calls) == 1:
            store.write(CATALOG, b"other ")
        return content if content and b"mine" in content else (content or b"") + b"mine"

    assert store.update(CATALOG, append) == b"other mine"
    assert calls == [None, b"other "]


def _count_up(store: Store, key: str, times: int) -> None:
    for _ in range(times):
        store.update(key, lambda content: str(int(content or b"0") + 1).encode())


def test_two_processes_that_update_at_once_both_count(store: Store) -> None:
    processes = [
        multiprocessing.get_context("fork").Process(target=_count_up, args=(store, CATALOG, 15)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert store.read(CATALOG) == b"30"


def test_is_picklable(store: Store) -> None:
    store.write("x", b"1")
    assert pickle.loads(pickle.dumps(store)).read("x") == b"1"


def test_gives_addresses_that_readers_understand(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).href("a/b.tif") == str(tmp_path / "a/b.tif")
    assert open_store(f"file://{tmp_path}").href("a/b.tif") == str(tmp_path / "a/b.tif")
    assert open_store("s3://bucket/prefix/").href("a/b.tif") == "s3://bucket/prefix/a/b.tif"
    assert open_store("gs://bucket/prefix/").href("a/b.tif") == "gs://bucket/prefix/a/b.tif"


@pytest.mark.parametrize("url", ["", "az://bucket/x", "s3:///x", "gs:///x", "https://example.com"])
def test_an_address_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"(s3|gs)://BUCKET/PREFIX"):
        open_store(url)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b"])
def test_a_name_that_leads_out_of_the_store_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leads out"):
        open_store(str(tmp_path)).write(key, b"")


def test_opening_creates_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "out")).list()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_its_remedy(tmp_path: Path) -> None:
    """On a real file system of 64 KiB, mounted in a name space of its own."""
    program = (
        "from catalog.store import open_store; from catalog.errors import StoreError\n"
        f"store = open_store({str(tmp_path)!r}); store.write('small', b'1')\n"
        "try: store.write('x/data.tif', b'0' * 100_000)\n"
        "except StoreError as error: print(error)\n"
        "print(store.list())"
    )
    mount = f"mount -t tmpfs -o size=64k tmpfs '{tmp_path}'"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("this machine lets no user mount a small file system")
    command = f"{mount} && exec '{sys.executable}' -c \"$0\""
    told = subprocess.run(["unshare", "-rm", "sh", "-c", command, program], capture_output=True, text=True, check=True)
    assert "x/data.tif: No space left on device. The disk is full: free space" in told.stdout
    assert told.stdout.endswith("['small']\n")


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="give a folder"):
        open_store(str(tmp_path / "out")).write("x", b"")


def test_streams_the_part_that_is_asked_for(store: Store) -> None:
    content = os.urandom(3 * PIECE)
    store.write("x/data.tif", content)
    assert b"".join(store.stream("x/data.tif")) == content
    assert b"".join(store.stream("x/data.tif", 7, PIECE + 7)) == content[7 : PIECE + 7]
    assert b"".join(store.stream("x/data.tif", 2 * PIECE + 1)) == content[2 * PIECE + 1 :]
    with pytest.raises(NotFound, match=r"x/none\.tif"):
        list(store.stream("x/none.tif"))


def test_a_missing_bucket_of_google_is_told(gcs: GcsServer) -> None:
    store = open_store("gs://no-such-bucket/x")
    for attempt in (lambda: store.write("a", b""), lambda: store.write_if("a", b"", None), lambda: store.list()):
        with pytest.raises(StoreError, match="Create the bucket 'no-such-bucket'"):
            attempt()


def test_a_missing_account_of_google_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog import store_gcs

    (tmp_path / "key.json").write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    store_gcs._client.cache_clear()
    with pytest.raises(StoreError, match=r"Cannot reach gs://bucket/a: .*gcloud auth application-default login"):
        open_store("gs://bucket").write("a", b"")


def test_a_missing_bucket_is_told(s3: S3Server) -> None:
    store = open_store("s3://no-such-bucket/x", s3_endpoint=s3.endpoint)
    for attempt in (lambda: store.write("a", b""), lambda: store.read("a"), lambda: store.list()):
        with pytest.raises(StoreError, match="Create the bucket 'no-such-bucket'"):
            attempt()


def test_refused_credentials_are_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog import store_s3

    bucket = s3.new_bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store_s3._client.cache_clear()
    try:
        with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY"):
            open_store(f"s3://{bucket}", s3_endpoint=s3.endpoint).write("a", b"")
    finally:
        store_s3._client.cache_clear()


def test_a_public_bucket_is_read_without_an_account(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog import store_s3

    boto3.client("s3", endpoint_url=s3.endpoint).create_bucket(Bucket=PUBLIC)
    open_store(f"s3://{PUBLIC}", s3_endpoint=s3.endpoint).write("catalog.json", b"{}")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    store_s3._client.cache_clear()
    public = open_store(f"s3://{PUBLIC}", s3_endpoint=s3.endpoint)
    assert public.read("catalog.json") == b"{}"
    with pytest.raises(StoreError, match="AWS_NO_SIGN_REQUEST"):
        public.write("catalog.json", b"[]")
    store_s3._client.cache_clear()


def test_an_unreachable_server_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StoreError, match=f"{endpoint}.*Check the address"):
            open_store("s3://bucket", s3_endpoint=endpoint).write("a", b"")


def test_objects_carry_their_media_type(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    store = open_store(f"s3://{bucket}", s3_endpoint=s3.endpoint)
    (tmp_path / "x").write_bytes(b"1")
    store.write("a.json", b"{}")
    store.upload("a.tif", tmp_path / "x")
    client = boto3.client("s3", endpoint_url=s3.endpoint)
    assert client.head_object(Bucket=bucket, Key="a.json")["ContentType"] == "application/json"
    assert client.head_object(Bucket=bucket, Key="a.tif")["ContentType"].startswith("image/tiff")
