"""Nothing that the OpenAPI document of the processes allows makes the server fail."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from tests.services.processes.conftest import TOKEN, serve_jobs

pytestmark = pytest.mark.slow
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)


def test_nothing_that_its_document_allows_makes_it_fail(maps, tmp_path):
    # Jobs of what is made up would run for hours: one waits, more are refused.
    limits = "seconds = 1\nqueued = 0"
    with serve_jobs(maps, tmp_path, limits=limits) as service:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/api", "--seed", "7"]
        command += ["--max-examples", "15", "--no-color", "--checks", ",".join(CHECKS)]
        command += ["--include-path-regex", "^/(processes|jobs)", "--header", f"Authorization: Bearer {TOKEN}"]
        found = subprocess.run(command, capture_output=True, text=True)
        assert requests.get(f"{service.url}/_mgmt/ping", timeout=60).ok
    assert found.returncode == 0, found.stdout[-6000:]
