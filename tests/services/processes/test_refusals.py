"""What is refused, and what is said: bad input, addresses of elsewhere, who has no token."""

from __future__ import annotations

import json

import pytest
import requests

from tests.servers.catalog import serve_catalog
from tests.services.processes.conftest import TOKEN

pytestmark = pytest.mark.slow
POINT = {"type": "Polygon", "coordinates": [[[15, 52], [15.1, 52], [15.1, 52.1], [15, 52]]]}
FEATURE = {"type": "Feature", "geometry": POINT, "properties": {}}


@pytest.mark.parametrize(
    ("process", "inputs", "told"),
    [
        ("change", {"maps": "/etc/passwd"}, "maps"),
        ("change", {"years": ["2019"]}, "years.0"),
        ("change", {"years": [2019.5]}, "years.0"),
        ("change", {"bbox": [15, 52, 15, 52]}, "empty or upside down"),
        ("change", {"bbox": [15, 52, 16]}, "bbox"),
        ("change", {"bbox": [15, 52, 500, 53]}, "bbox.2"),
        ("change", {"centre": [15, 52]}, "size_km go together"),
        ("change", {"centre": [15, 52], "size_km": [-1, 1]}, "Size '-1.0,1.0' is not possible"),
        ("change", {"bbox": [15, 52, 16, 53], "area": POINT}, "Give one area"),
        ("change", {"area": {"type": "Point", "coordinates": [15, 52]}}, "area.type"),
        ("change", {"area": {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"]]]}}, "area is no GeoJSON geometry"),
        ("change", {"area": {"href": "http://169.254.169.254/latest/meta-data/"}}, "fetches nothing"),
        ("change", {"area": {"href": "file:///etc/passwd", "type": "application/geo+json"}}, "fetches nothing"),
        ("change", {"crosswalk": "../../../etc/passwd"}, "crosswalk"),
        ("change", {"degradation": "/etc/passwd"}, "degradation"),
        ("change", {"themes": "/etc/passwd"}, "themes"),
        ("change", {"name": "../up"}, "name"),
        ("change", {"accuracy": "/etc/accuracy.json"}, "accuracy"),
        ("zonal", {"reference": "s3://elsewhere/item.json"}, "reference"),
        ("change", {"minimum_mapping_unit": -1}, "minimum_mapping_unit"),
        ("change", {"overwrite": "yes"}, "overwrite"),
        ("temporal", {"repeated": 2}, "repeated"),
        ("temporal", {"error_matrix": {"classes": ["a", "b"], "counts": [[1, 2], [3, -4]]}}, "error_matrix.counts"),
        ("temporal", {"error_matrix": "/etc/passwd"}, "error_matrix"),
        ("zonal", {}, "Give zones"),
        ("zonal", {"zones_file": "../token"}, "zones_file"),
        ("zonal", {"zones_file": "/etc/passwd"}, "zones_file"),
        ("zonal", {"zones_file": "none.gpkg"}, "There are linked.gpkg, ready.geojson"),
        ("zonal", {"zones_file": "linked.gpkg"}, "there is no file 'linked.gpkg'"),
        ("zonal", {"zones": "http://example.com/zones.geojson"}, "zones"),
        ("zonal", {"zones": {"type": "FeatureCollection", "features": []}}, "zones.features"),
        ("zonal", {"zones": {"type": "FeatureCollection", "features": [FEATURE] * 4}}, "3 at most"),
        (
            "zonal",
            {"zones": {"type": "FeatureCollection", "features": [FEATURE]}, "zones_file": "ready.geojson"},
            "both",
        ),
        ("accuracy-design", {}, "years"),
        ("accuracy-design", {"years": [2017], "size": 0}, "size"),
        ("accuracy-report", {"design": {}, "sample": "x"}, "design"),
        ("accuracy-report", {"design": "file:///etc/passwd", "sample": "x"}, "design"),
    ],
)
def test_bad_input_is_refused_before_a_job_is_made(limited, process, inputs, told):
    answer = limited.start(process, inputs)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert told in problem["detail"] and problem["status"] == 400 and problem["type"]
    assert str(limited.folder) not in answer.text, "where things lie is for who runs the server"
    assert limited.read("/jobs")["jobs"] == []


@pytest.fixture(scope="module")
def limited(maps, tmp_path_factory):
    from tests.services.processes.conftest import serve_jobs

    folder = tmp_path_factory.mktemp("limited")
    (folder / "files").mkdir()
    (folder / "files" / "ready.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [FEATURE]}))
    (folder / "secret.gpkg").write_text("secret")
    (folder / "files" / "linked.gpkg").symlink_to(folder / "secret.gpkg")
    with serve_jobs(maps, folder, "--jobs-files", str(folder / "files"), limits="zones = 3") as running:
        running.folder = folder
        yield running


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{", "JSON"),
        ("[]", "body"),
        ('{"inputs": {}, "subscriber": {"successUri": "http://169.254.169.254/"}}', "calls nobody"),
        ('{"inputs": {}, "outputs": {"map": {}}}', "There is one output"),
        ('{"inputs": {}, "outputs": {"result": {"transmissionMode": "reference"}}}', "'value' alone"),
        ('{"inputs": {}, "response": "xml"}', "response"),
        ('{"inputs": {"bbox": [NaN, 1, 2, 3]}}', "bbox"),
    ],
)
def test_a_body_that_is_none_is_refused(limited, body, told):
    answer = limited.ask("POST", "/processes/change/execution", data=body)
    assert answer.status_code == 400 and told in answer.json()["detail"], answer.text


def test_what_is_not_there_is_said_as_the_standard_says(limited):
    kind = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
    for method, path, name in (
        ("GET", "/processes/none", "no-such-process"),
        ("POST", "/processes/none/execution", "no-such-process"),
        ("GET", "/jobs/none", "no-such-job"),
        ("DELETE", "/jobs/none", "no-such-job"),
        ("GET", "/jobs/none/results", "no-such-job"),
        ("GET", "/jobs/none/files/design.json", "no-such-job"),
    ):
        answer = limited.ask(method, path)
        assert answer.status_code == 404 and answer.json()["type"] == f"{kind}/{name}", path


def test_jobs_are_read_by_all_and_started_by_who_has_the_token(limited):
    for headers in ({}, {"Authorization": "Bearer of bad news"}, {"Authorization": f"Basic {TOKEN}"}):
        for method, path in (("POST", "/processes/change/execution"), ("DELETE", "/jobs/none")):
            answer = requests.request(method, f"{limited.url}{path}", json={"inputs": {}}, headers=headers, timeout=60)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert requests.get(f"{limited.url}/jobs", timeout=60).status_code == 200
    assert requests.get(f"{limited.url}/processes/change", timeout=60).status_code == 200


def test_without_a_token_no_job_is_started_and_without_jobs_there_are_no_processes(maps, tmp_path):
    processes = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/core"
    with serve_catalog(str(maps), "--jobs", str(tmp_path / "jobs")) as url:
        answer = requests.post(f"{url}/processes/change/execution", json={"inputs": {}}, timeout=60)
        assert answer.status_code == 403 and "given no token" in answer.json()["detail"]
        assert processes in requests.get(f"{url}/conformance", timeout=60).json()["conformsTo"]
        links = {one["rel"] for one in requests.get(f"{url}/", timeout=60).json()["links"]}
        assert {f"http://www.opengis.net/def/rel/ogc/1.0/{one}" for one in ("processes", "job-list")} <= links
    with serve_catalog(str(maps)) as url:
        assert requests.get(f"{url}/processes", timeout=60).status_code == 404
        assert processes not in requests.get(f"{url}/conformance", timeout=60).json()["conformsTo"]


def test_what_the_maps_do_not_have_fails_the_job_and_is_said_in_its_inputs_names(limited):
    for inputs, told in (
        ({"collection": "others"}, "Give one of maps by collection"),
        ({"collection": "maps", "years": [2017, 2031]}, "no map of 2031"),
        ({"collection": "maps", "bbox": [0, 0, 1, 1]}, "No map of 'the catalog' lies in the area of interest"),
    ):
        name = limited.start("change", inputs).json()["jobID"]
        job = limited.until(name, lambda job: job["status"] == "failed")
        assert told in job["message"] and "--" not in job["message"] and str(limited.folder) not in job["message"]
        answer = limited.ask("GET", f"/jobs/{name}/results")
        assert answer.status_code == 400 and answer.json()["detail"] == job["message"]
        limited.ask("DELETE", f"/jobs/{name}")
