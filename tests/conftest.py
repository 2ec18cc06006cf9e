"""Servers that several folders of tests use."""

import pytest

from tests.servers.gcs import gcs, gcs_server
from tests.servers.postgres import postgres_server
from tests.servers.s3 import s3, s3_server

__all__ = ["gcs", "gcs_server", "postgres_server", "s3", "s3_server"]
_FIXTURES = {"postgres_server", "s3", "s3_server"}
_PARAMETERS = ("pgstac", "s3")


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Tests that start PostgreSQL or an S3 server are left out of `make quick`."""
    for item in items:
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if _FIXTURES & set(item.fixturenames) or any(one in _PARAMETERS for one in given if isinstance(one, str)):
            item.add_marker(pytest.mark.slow)
