"""`landloom load`: a real PostgreSQL made to hold what a catalog holds, whatever happens on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from catalog.collections import rebuild
from catalog.errors import BadInput, StoreError
from catalog.items import read_items
from catalog.store import Store, open_store
from services.api.load import Loaded, load
from services.api.pgstac import PgstacIndex
from services.api.search import Search
from tests.catalog.tile_years import manifest_of, register
from tests.servers.postgres import serve_postgres

pytestmark = pytest.mark.slow

ROLES = Path(__file__).parents[3] / "k8s/postgres/roles.sql"
ANNUAL = "lulc-annual"
TILES = ("48QUE", "48QUF", "33UUU", "33UUV", "32UQD", "21LYG", "10SEG", "55HFA")


@pytest.fixture
def own(tmp_path) -> Store:
    store = open_store(str(tmp_path / "out"))
    for tile in TILES:
        register(store, manifest_of(tile))
    rebuild(store)
    return store


@pytest.fixture
def database(postgres_server) -> str:
    return postgres_server.new_database()


def held(database: str) -> set[str]:
    index = PgstacIndex(database)
    found = {item["id"] for item in index.search(Search(limit=100), "").items}
    index.close()
    return found


def landloom(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])


def test_what_is_new_changed_and_gone_follows_and_nothing_else_is_written(own, database):
    assert load(database, own) == [Loaded(ANNUAL, added=8)]
    assert load(database, own) == [Loaded(ANNUAL, same=8)]
    register(own, manifest_of("31TCJ"))
    register(own, manifest_of("48QUE", version="2"))
    own.delete([manifest_of("55HFA").item_key])
    rebuild(own)
    assert load(database, own) == [Loaded(ANNUAL, added=1, changed=1, same=7 - 1, deleted=1)]
    assert held(database) == {f"{tile}-2020" for tile in ("31TCJ", *TILES[:-1])}


def test_other_clients_of_pgstac_find_the_very_items(own, database):
    load(database, own)
    with psycopg.connect(database) as connection:
        connection.execute("SET search_path TO pgstac, public")
        search = """{"ids": ["48QUE-2020"], "filter-lang": "cql2-json", "filter":
            {"op": ">", "args": [{"property": "landloom:mean_observations"}, 1]}}"""
        (found,) = connection.execute("SELECT search(%s)", (search,)).fetchall()[0][0]["features"]
    (published,) = (item for item in read_items(own, ANNUAL) if item["id"] == "48QUE-2020")
    assert found["properties"] == published["properties"] and found["geometry"] == published["geometry"]
    for name, asset in found["assets"].items():
        assert {**asset, "href": ""} == {**published["assets"][name], "href": ""}
        assert own.exists(asset["href"].removeprefix(own.href("x")[:-1]).lstrip("/")) is False  # No files, only items.


def test_a_load_that_is_killed_leaves_whole_batches_and_the_next_goes_on(own, database):
    dying = f"""
import os, signal
from catalog.store import open_store
from services.api import load
load._BATCH = 3
def die(collection, done, total):
    if done == 6:
        os.kill(os.getpid(), signal.SIGKILL)
load.load({database!r}, open_store({own.href("x").removesuffix("/x")!r}), progress=die)
"""
    killed = subprocess.run([sys.executable, "-c", dying], cwd=Path(__file__).parents[3])
    assert killed.returncode == -9
    assert len(held(database)) == 6
    assert load(database, own) == [Loaded(ANNUAL, added=2, same=6)]
    assert held(database) == {f"{tile}-2020" for tile in TILES}


def test_a_second_load_at_the_same_time_is_refused(own, database):
    def again(*_):
        with pytest.raises(BadInput, match="Another load into this database is running"):
            load(database, own)

    load(database, own, progress=again)


def test_another_catalog_takes_the_place_of_one_only_if_told_to(own, database, tmp_path):
    load(database, own)
    other = open_store(str(tmp_path / "other"))
    register(other, manifest_of("33UUU"))
    rebuild(other)
    with pytest.raises(BadInput, match=r"holds the catalog of .*/out, and can hold one.*--replace"):
        load(database, other)
    assert len(held(database)) == 8
    assert load(database, other, replace=True) == [Loaded(ANNUAL, changed=1, deleted=7)]
    index = PgstacIndex(database)
    assert index.source == str(tmp_path / "other")
    item = index.item(ANNUAL, "33UUU-2020", "https://example.com/files")
    assert item is not None
    assert item["assets"]["data"]["href"].startswith("https://example.com/files/lulc-annual/33UUU/2020/")
    index.close()


def test_a_collection_that_leaves_the_catalog_leaves_the_database(own, database):
    load(database, own)
    root = json.loads(own.read("catalog.json"))
    root["links"] = [link for link in root["links"] if link["rel"] != "child"]
    own.write("catalog.json", json.dumps(root).encode())
    assert load(database, own) == [Loaded(ANNUAL, deleted=8)]
    assert held(database) == set()


def test_a_collection_of_others_is_not_overwritten(own, database):
    load(database, own)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE pgstac.collections SET private = NULL")
    with pytest.raises(BadInput, match=r"has a collection 'lulc-annual' that was loaded from no catalog"):
        load(database, own)


def test_a_role_without_power_loads_and_another_that_may_only_read_serves(own):
    with serve_postgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE loader LOGIN")
            connection.execute("CREATE DATABASE maps OWNER loader")
        loader = server.url("maps", "loader")
        with pytest.raises(BadInput, match=r"cannot be installed: permission denied .*GRANT pgstac_admin TO loader"):
            load(loader, own)
        with psycopg.connect(server.url("maps"), autocommit=True) as connection:
            connection.execute(ROLES.read_text().replace("landloom", "loader").encode())
        assert load(loader, own) == [Loaded(ANNUAL, added=8)]
        assert load(loader, own) == [Loaded(ANNUAL, same=8)]
        assert len(held(server.url("maps", "loader_reader"))) == 8


def test_the_command_reports_what_it_did(own, database):
    done = landloom("load", database, "--catalog", own.href("x").removesuffix("/x"))
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stderr.splitlines() + done.stdout.splitlines() if ANNUAL in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [ANNUAL, "8", "0", "0", "0"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://landloom:secret@127.0.0.1:1/x", "The database cannot be asked: .*refused"),
        ("postgresql://landloom:secret@127.0.0.1/x?what=1", "This is no address of a database"),
        ("mysql://landloom:secret@127.0.0.1/x", "DATABASE is no address of PostgreSQL"),
    ],
)
def test_a_database_that_is_not_there_is_said_without_its_password(own, address, said):
    done = landloom("load", address, "--catalog", own.href("x").removesuffix("/x"))
    text = " ".join(done.stderr.split())
    assert done.returncode in (1, 2, 3) and re.search(said, text), text
    assert "Traceback" not in text and "secret" not in text


def test_a_database_without_a_catalog_is_said(database):
    done = landloom("serve", "--catalog", database, "--port", "0")
    assert done.returncode == 2 and "holds no pgSTAC" in " ".join(done.stderr.split())


def test_a_pgstac_that_is_not_known_is_said(own, database):
    load(database, own)
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO pgstac.migrations (version) VALUES ('0.99.1')")
    with pytest.raises(BadInput, match=r"holds pgSTAC 0\.99\.1; Landloom knows 0\.10"):
        PgstacIndex(database)


def test_a_database_that_goes_away_is_said_and_comes_back(own):
    from tests.servers.postgres import serve_postgres

    with serve_postgres() as server:
        database = server.new_database()
        load(database, own)
        index = PgstacIndex(database)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert len(index.search(Search(), "").items) == 8
    with pytest.raises(StoreError, match="The database cannot be asked"):
        index.search(Search(), "")
    index.close()
