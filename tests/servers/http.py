"""A web server in a process of its own: files with ranges, a STAC API over them, and everything that goes wrong.

`with serve(folder) as server:` starts one on a free loopback port. What it does wrong is set while it runs:

    server.behave(latency=0.06, bytes_per_second=30e6)       # an object store far away
    server.behave(fail={"path": "B04.tif", "status": 503, "retry_after": 1, "times": 2})
    server.behave(fail={"path": "B04.tif", "drop": True, "times": 1})
    server.behave(fail={"path": "B04.tif", "drop_after": 1000, "times": 1})  # bytes of the answer
    server.behave(signature="two")                           # files only with `?sig=two`; else 403

It also stands in for a failing bucket to read from: with `AWS_ENDPOINT_URL` set to it, `s3://a/b.tif` is `a/b.tif`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
import shapely
from shapely.geometry import shape

ROOT = Path(__file__).parents[2]
_PIECE = 1 << 16
_WELL: dict[str, Any] = {"latency": 0.0, "bytes_per_second": 0.0, "fail": {}, "signature": "", "page": 100}


@dataclass(frozen=True)
class WebServer:
    """A running server, as its user sees it."""

    url: str
    """`http://127.0.0.1:PORT`: the folder's files; under `/stac` an API over its items, under `/token` signatures."""

    def behave(self, **behaviour: Any) -> None:
        """Change some of `latency`, `bytes_per_second`, `fail`, `signature`, `page` (items on a page)."""
        requests.post(f"{self.url}/_behave", json=behaviour, timeout=10).raise_for_status()

    def turn_to(self, folder: Path) -> None:
        """Serve another folder from now on, as a server does that has just begun: to start one takes half a second."""
        requests.post(f"{self.url}/_behave", json={**_WELL, "folder": str(folder)}, timeout=10).raise_for_status()
        self.log()

    def log(self) -> list[dict[str, Any]]:
        """Requests since the last call: `at` (seconds), `method`, `path`, `query`, `range`, `status`, `bytes`."""
        return requests.get(f"{self.url}/_log", timeout=10).json()


@contextmanager
def serve(folder: Path) -> Iterator[WebServer]:
    """Serve a folder."""
    command = [sys.executable, "-m", "tests.servers.http", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        port = process.stdout.readline().strip()  # type: ignore[union-attr]
        assert port, "the web server did not start"
        yield WebServer(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


@dataclass
class _State:
    folder: Path
    latency: float = 0.0
    bytes_per_second: float = 0.0
    fail: dict[str, Any] = field(default_factory=dict)
    signature: str = ""
    page: int = 100
    log: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def failure(self, path: str) -> dict[str, Any] | None:
        """The failure that this request meets, counted."""
        with self.lock:
            if self.fail and self.fail.get("path", "") in path and self.fail.get("times", 1) > 0:
                self.fail["times"] = self.fail.get("times", 1) - 1
                return self.fail
        return None

    def items(self, url: str) -> list[dict[str, Any]]:
        """The folder's items, their hrefs made absolute as an API's are."""
        found = []
        for path in sorted(self.folder.rglob("*.json")):
            item = json.loads(path.read_text())
            if item.get("type") == "Feature":
                here = f"{url}/{path.relative_to(self.folder).as_posix()}"
                for asset in item["assets"].values():
                    asset["href"] = urljoin(here, asset["href"])
                found.append({**item, "links": [{"rel": "self", "href": here}]})
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else the body waits for the client to acknowledge the head: 40 ms on top of every latency asked for.
    disable_nagle_algorithm = True
    state: _State
    _drop_after: int | None = None
    """Bytes of this answer's body that are sent before the connection breaks."""

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/_log":
            with self.state.lock:
                log, self.state.log = self.state.log, []
            self._send_json(log)
        elif path.startswith("/token/"):
            # As Planetary Computer answers who asks for a signature: it claims to be good for an hour.
            expiry = datetime.now(UTC) + timedelta(hours=1)
            token = {"token": f"sig={self.state.signature}", "msft:expiry": expiry.isoformat()}
            if not self._failing():
                self._send_json(token)
        elif path.rstrip("/") == "/stac":
            if not self._failing():
                self._send_json(self._landing())
        else:
            self._answer()

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        path = urlsplit(self.path).path
        if path == "/_behave":
            self.state.folder = Path(content.pop("folder", self.state.folder))
            unknown = content.keys() - _WELL.keys()
            if not unknown:
                vars(self.state).update(content)
            self._send(400 if unknown else 200, b"")
        elif path == "/stac/search":
            if not self._failing():
                self._send_json(self._search(content))
        else:
            self._send(404, b"")

    def _answer(self, head: bool = False) -> None:
        """A file, or a range of it."""
        if self._failing():
            return
        split = urlsplit(self.path)
        path = self.state.folder / split.path.lstrip("/")
        unsigned = self.state.signature and parse_qs(split.query).get("sig") != [self.state.signature]
        if unsigned and path.suffix == ".tif":
            self._send(403, b"Signature not valid")
            return
        if not path.is_file():
            self._send(404, b"")
            return
        size = path.stat().st_size
        asked = self.headers.get("Range")
        first, last, headers = 0, size - 1, {"Accept-Ranges": "bytes", "ETag": f'"{size}"'}
        if asked:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or size - 1), size - 1)
            if first > last:
                self._send(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        with path.open("rb") as file:
            file.seek(first)
            content = b"" if head else file.read(last - first + 1)
        self._send(206 if asked else 200, content, headers, length=last - first + 1)

    def _failing(self) -> bool:
        """Meet the failure that was ordered, if any; waits for the latency, too."""
        time.sleep(self.state.latency)
        failure = self.state.failure(self.path)
        self._drop_after = None if failure is None else failure.get("drop_after")
        if failure is None or self._drop_after is not None:
            return False
        if failure.get("drop"):
            self._note(0, 0)
            self.close_connection = True
            self.connection.close()
            return True
        headers = {"Retry-After": str(failure["retry_after"])} if "retry_after" in failure else {}
        self._send(failure["status"], b"", headers)
        return True

    def _landing(self) -> dict[str, Any]:
        api = f"http://{self.headers['Host']}/stac"
        core = ("core", "item-search", "item-search#fields")
        return {
            "type": "Catalog",
            "id": "loopback",
            "stac_version": "1.0.0",
            "description": "Items of a folder",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in core],
            "links": [
                {"rel": "self", "href": api, "type": "application/json"},
                {"rel": "root", "href": api, "type": "application/json"},
                {"rel": "search", "href": f"{api}/search", "type": "application/geo+json", "method": "POST"},
            ],
        }

    def _search(self, query: dict[str, Any]) -> dict[str, Any]:
        start, _, end = query["datetime"].partition("/")
        area = shape(query["intersects"]) if "intersects" in query else shapely.box(*query["bbox"])
        found = [
            item
            for item in self.state.items(f"http://{self.headers['Host']}")
            if item.get("collection") in query["collections"]
            and shape(item["geometry"]).intersects(area)
            and _overlaps(item["properties"], start, end)
        ]
        size, first = min(query.get("limit", 10), self.state.page), int(query.get("token", 0))
        links = []
        if first + size < len(found):
            body = {**query, "token": str(first + size)}
            href = f"http://{self.headers['Host']}/stac/search"
            links.append({"rel": "next", "href": href, "method": "POST", "body": body})
        parts = query.get("fields", {}).get("include", [])
        page = [_part(item, parts) if parts else item for item in found[first : first + size]]
        return {"type": "FeatureCollection", "features": page, "links": links}

    def _send_json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None, length: int = -1) -> None:
        length = len(content) if length < 0 else length
        if self._drop_after is not None:
            content, self._drop_after, self.close_connection = content[: self._drop_after], None, True
        self._note(status, len(content))
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        rate, started = self.state.bytes_per_second, time.monotonic()
        for first in range(0, len(content), _PIECE):
            self.wfile.write(content[first : first + _PIECE])
            if rate:
                time.sleep(max(0.0, started + (first + _PIECE) / rate - time.monotonic()))

    def _note(self, status: int, count: int) -> None:
        split = urlsplit(self.path)
        if split.path in ("/_log", "/_behave"):
            return
        entry = {"method": self.command, "path": split.path, "query": split.query, "status": status, "bytes": count}
        with self.state.lock:
            self.state.log.append({**entry, "at": time.monotonic(), "range": self.headers.get("Range")})

    def log_message(self, *args: Any) -> None:
        """Requests are in the log that can be asked for."""


def _part(item: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    """What the fields extension gives of an item where parts are named."""
    assets = {key: asset for key, asset in item["assets"].items() if f"assets.{key}" in parts}
    return {key: value for key, value in item.items() if key in parts} | ({"assets": assets} if assets else {})


def _overlaps(properties: dict[str, Any], start: str, end: str) -> bool:
    """As the STAC API has it: an item's interval counts where it has one; without any date it is never found."""
    moment = properties.get("datetime")
    first, last = properties.get("start_datetime") or moment, properties.get("end_datetime") or moment
    parse = datetime.fromisoformat
    return bool(first and last) and parse(first) <= parse(end) and parse(last) >= parse(start)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # Clients hang up; that is theirs to report.


def main(folder: str) -> None:
    """Serve until killed; the port is printed first."""
    handler = type("Handler", (_Handler,), {"state": _State(Path(folder))})
    server = _Server(("127.0.0.1", 0), handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
