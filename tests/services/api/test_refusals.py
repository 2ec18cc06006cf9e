"""What is wrong is said, with the status of a client's mistake; nothing of the server's own is told."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.servers.catalog import serve_catalog

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("bbox=1,2,3", "'1,2,3' has 3 numbers"),
        ("bbox=a,b,c,d", "a,b,c,d"),
        ("bbox=10,50,20,40", "south before north"),
        ("bbox=-190,0,10,10", "-180 to 180"),
        ("bbox=nan,0,1,1", "-180 to 180"),
        ("bbox=0,0,1,1&intersects={}", "both"),
        ("datetime=2020", "RFC3339"),
        ("datetime=2020-13-01T00:00:00Z", "2020-13-01"),
        ("datetime=2021-01-01T00:00:00Z/2020-01-01T00:00:00Z", "before"),
        ("datetime=../..", "open"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "many"),
        ("token=abc", "abc"),
        ("token=next:lulc-annual:48QUE-2020", "next"),
        ("sortby=nowhere", "nowhere"),
        ("sortby=geometry", "geometry"),
        ("sortby=a,b,c,d,e,f", "at most 5"),
        ("filter=gsd >", "CQL2"),
        ("filter=gsd = 'ten'", "ten"),
        ("filter=nowhere = 1", "nowhere"),
        ("filter=gsd", "true nor false"),
        ("filter=read_text('/etc/passwd') = 'x'", "read_text"),
        ("filter=id = 'x'; DROP TABLE items", "CQL2"),
        ("filter=" + "(" * 3000 + "gsd=10" + ")" * 3000, "nested"),
        ("filter=" + "NOT " * 3000 + "gsd=10", "nested"),
        ("filter=" + "gsd+" * 2000 + "gsd=10", "nested"),
        ("filter=gsd=10&filter-crs=EPSG:3857", "EPSG:3857"),
        ("filter={}&filter-lang=cql2-json", "CQL2"),
        ("filter=[1&filter-lang=cql2-json", "JSON"),
        ("filter-lang=sql&filter=1", "sql"),
        ("intersects=POINT(1 2)", "GeoJSON"),
        ('intersects={"type":"Point","coordinates":[500,1]}', "globe"),
        ('intersects={"type":"Polygon","coordinates":[[[0,0],[1,1],[0,1],[1,0],[0,0]]]}', "valid"),
    ],
)
def test_a_malformed_search_is_refused_by_name_and_value(url, query, said):
    answer = requests.get(f"{url}/search?{query.replace('+', '%2B')}", timeout=30)
    assert answer.status_code == 400, answer.text[:500]
    assert said in answer.json()["description"]


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{",
        '{"limit": "x"}',
        '{"bbox": [1, 2]}',
        '{"bbox": [1, 2, 3, "x"]}',
        '{"bbox": 5}',
        '{"filter": "gsd="}',
        '{"filter": {"op": "=", "args": []}}',
        '{"filter": {"op": "sleep", "args": [1]}}',
        '{"filter": {"op": "in", "args": [{"property": "id"}, []]}}',
        '{"filter": {"op": "=", "args": [{"property": {"op": "x"}}, 1]}}',
        '{"intersects": {"type": "Polygon", "coordinates": "x"}}',
        '{"sortby": [{"field": "id", "direction": "up"}]}',
        '{"datetime": 2020}',
        '{"token": 5}',
        '{"ids": 5}',
        '{"filter": ' + '{"op":"not","args":[' * 5000 + "1" + "]}" * 5000 + "}",
    ],
)
def test_a_malformed_body_is_refused(url, body):
    answer = requests.post(f"{url}/search", data=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 400, answer.text[:500]
    assert answer.json()


@pytest.mark.parametrize(
    "path",
    [
        "collections/nothing",
        "collections/nothing/items",
        "collections/nothing/items/48QUE-2020",
        "collections/nothing/queryables",
        "collections/lulc-annual/items/nothing",
        "collections/lulc-annual/items/48QUE-2020' OR '1'='1",
        "collections/lulc-annual/items/..%2F..%2Fcatalog.json",
        "collections/..%2F..%2Fetc/items/passwd",
        "collections/%00/items/%00",
        "nothing",
    ],
)
def test_what_is_not_there_is_missing(url, path):
    answer = requests.get(f"{url}/{path}", timeout=30)
    assert answer.status_code == 404, answer.text[:500]
    assert answer.json()["description"]


@pytest.mark.parametrize(
    "path",
    [
        "/files/",
        "/files/lulc-annual",
        "/files/../catalog.json",
        "/files/../../etc/passwd",
        "/files/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/files//etc/passwd",
        "/files/%2Fetc%2Fpasswd",
        "/files/lulc-annual/../../../etc/passwd",
        "/files/.landloom/lock",
        "/files/catalog.json%00.png",
        "/files/catalog.json/",
        "/files/" + "a" * 5000,
    ],
)
def test_no_file_outside_the_catalog_is_read(url, path):
    host = urlsplit(url).netloc
    with socket.create_connection(host.split(":")) as connection:  # Other clients clean up the path first.
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] in (b"404", b"400"), answer[:500]
    assert b"root:" not in answer


def test_no_file_outside_the_catalog_is_read_through_a_link(url, folder):
    (folder / "lulc-annual" / "passwd").symlink_to("/etc/passwd")
    assert requests.get(f"{url}/files/lulc-annual/passwd", timeout=30).status_code == 404
    (folder / "lulc-annual" / "passwd").unlink()


def test_large_bodies_and_addresses_are_refused(url):
    large = json.dumps({"ids": ["x" * 10_000_000]})
    assert requests.post(f"{url}/search", data=large, timeout=30).status_code == 413

    def pieces():
        for _ in range(100):
            yield b" " * 100_000

    assert requests.post(f"{url}/search", data=pieces(), timeout=30).status_code == 413
    assert requests.get(f"{url}/search?ids={'x' * 40_000}", timeout=30).status_code == 414
    assert requests.get(f"{url}/search?limit=1000000", timeout=30).status_code == 200, (
        "as OGC wants it: the most there is"
    )


@pytest.mark.slow
def test_who_asks_too_much_is_told_to_wait(store):
    with serve_catalog(store.href("x").removesuffix("/x"), "--rate", "3") as url:
        statuses = [requests.get(f"{url}/conformance", timeout=30).status_code for _ in range(40)]
        assert 20 <= statuses.count(200) <= 31
        refused = requests.get(f"{url}/conformance", timeout=30)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
