"""What operators ask the server: whether it lives, whether it is ready, how much it does, what it logged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_it_tells_that_it_lives_and_what_it_serves(url):
    assert requests.get(f"{url}/_mgmt/ping", timeout=30).json() == {"message": "PONG"}
    assert requests.get(f"{url}/_mgmt/health", timeout=30).json() == {"status": "UP", "collections": ["lulc-annual"]}


def test_it_counts_requests_by_what_they_are(url):
    def searches() -> float:
        families = text_string_to_metric_families(requests.get(f"{url}/_mgmt/metrics", timeout=30).text)
        samples = [sample for family in families for sample in family.samples if sample.name == "http_requests_total"]
        return sum(sample.value for sample in samples if sample.labels["operation"] == "search")

    before = searches()
    for _ in range(3):
        requests.get(f"{url}/search?limit=1", timeout=30)
    assert searches() == before + 3


def test_it_logs_every_request_as_a_line_of_json_if_asked_to(folder):
    command = [sys.executable, "-m", "pipelines", "serve", "--catalog", str(folder), "--port", "0", "--json-logs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        url = process.stdout.readline().strip()
        requests.get(f"{url}/search?limit=1", timeout=30)
        process.terminate()
        _, logged = process.communicate(timeout=30)
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    (line,) = (line for line in lines if line["logger"] == "uvicorn.access")
    assert '"GET /search?limit=1 HTTP/1.1" 200' in line["message"] and {"time", "level"} < set(line)
    assert process.returncode == -signal.SIGTERM, "it ends when it is told to, as a process does that was told"


def test_an_address_that_is_taken_is_said(url, folder):
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "pipelines", "serve", "--catalog", str(folder), "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be listened at" in done.stderr
