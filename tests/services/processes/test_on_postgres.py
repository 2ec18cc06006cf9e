"""Jobs of a server that answers from PostgreSQL: what they publish is in the catalog, and in the STAC API at once."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import requests

from catalog.store import open_store
from services.api.load import load
from tests.servers.postgres import PostgresServer
from tests.services.processes.conftest import serve_jobs

pytestmark = pytest.mark.slow


def test_what_a_job_publishes_is_in_the_stac_api(
    catalog: Path, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    database = postgres_server.new_database()
    load(database, open_store(str(catalog)))
    with serve_jobs(database, tmp_path / "one") as service:
        result = service.done("change", {"collection": "maps", "name": "field"})
        assert result["published"] == 2 and not any("landloom load" in note for note in result["notes"])
        for told in result["items"]:
            item = requests.get(told["api"], timeout=60).json()
            assert item["id"] == told["title"] and requests.get(told["href"], timeout=60).json()["id"] == item["id"]
        found = service.read("/search?collections=lulc-change&ids=field-2017-2018-2019")["features"]
        assert [one["properties"]["landloom:years"] for one in found] == [[2017, 2018, 2019]]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DO $$ BEGIN CREATE ROLE reader LOGIN IN ROLE pgstac_read; END $$")
    reads = database.replace("//landloom@", "//reader@")
    with serve_jobs(reads, tmp_path / "two") as service:
        result = service.done("change", {"collection": "maps", "name": "other"})
        assert result["notes"][-1] == "The STAC API knows these items after the next landloom load."
        told = result["items"][-1]
        assert requests.get(told["href"], timeout=60).json()["id"] == told["title"]
        assert requests.get(told["api"], timeout=60).status_code == 404
