"""Servers that several folders of tests use."""

from tests.servers.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]
