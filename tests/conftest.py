"""Servers that several folders of tests use."""

from tests.servers.postgres import postgres_server
from tests.servers.s3 import s3, s3_server

__all__ = ["postgres_server", "s3", "s3_server"]
