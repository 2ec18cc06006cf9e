"""The job that Dataflow gets, as Beam's own client makes it; and what is refused before there is one."""

from __future__ import annotations

import base64
import bz2
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from apache_beam.portability.api import beam_runner_api_pb2

from catalog.errors import BadInput
from catalog.legend import load_legend
from catalog.store import open_store
from pipelines.cli import app
from pipelines.dataflow import submit
from pipelines.dataflow.submit import check, complete
from pipelines.dataflow.template import arguments_of
from pipelines.job import Job
from pipelines.plan import Settings
from pipelines.request import Request
from services.inference import model_spec
from tests.environments import fresh_environment
from tests.pipelines.running import ROOT, contents, map_tiles
from tests.servers.gcs import GcsServer

IMAGE = f"europe-docker.pkg.dev/my-project/landloom/worker:{version('landloom')}"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAWEAVER",
    "AWS_SECRET_ACCESS_KEY": "warp-and-weft",
    "LANDLOOM_TRITON_TOKEN": "shuttle-and-bobbin",
}
OPTIONS = [
    "--runner=DataflowRunner",
    "--project=my-project",
    "--region=europe-west4",
    "--temp_location=gs://my-staging/temp",
    f"--sdk_container_image={IMAGE}",
]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """With Dataflow's client, which all of Beam would start slower with."""
    if sys.version_info[:2] != submit.PYTHON:
        pytest.skip("another Python than that of the workers' image")
    folder = tmp_path_factory.mktemp("gcp") / "environment"
    try:
        return fresh_environment(folder, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[gcp,triton]")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the extra gcp cannot be installed here: {error}")


@pytest.fixture(scope="module")
def bucket(gcs_server: GcsServer, simulated) -> Iterator[str]:
    """A bucket with a static catalog in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs_server.address)
        name = gcs_server.new_bucket()
        store = open_store(f"gs://{name}/source")
        for path in Path(simulated.catalog).parent.rglob("*.json"):
            store.write(path.relative_to(Path(simulated.catalog).parent).as_posix(), path.read_bytes())
        yield name


@pytest.fixture(scope="module")
def job(python, bucket) -> str:
    """The bucket, once a job was made by the Flex Template's start: its request, its steps, the run's records."""
    arguments = [
        f"--source=gs://{bucket}/source/catalog.json",
        f"--out=gs://{bucket}/maps",
        "--tiles=33UUU",
        "--year=2021",
    ]
    ours = ["--max_scenes=12", "--overwrite=false", "--scores=true"]
    machines = ["--machine_type=n2-standard-8", "--max_num_workers=40", "--disk_size_gb=40", "--no_use_public_ips"]
    place = ["--subnetwork=regions/europe-west4/subnetworks/landloom", "--flexrs_goal=COST_OPTIMIZED"]
    who = ["--service_account_email=worker@my-project.iam.gserviceaccount.com", "--no_auth"]
    template = [f"--template_location=gs://{bucket}/template.json"]
    run(python, "infra/dataflow/main.py", *arguments, *ours, *options(bucket), *machines, *place, *who, *template)
    return bucket


def options(bucket: str) -> list[str]:
    return [one.replace("gs://my-staging", f"gs://{bucket}") for one in OPTIONS]


def run(python: Path, *command: str) -> None:
    done = subprocess.run([python, *command], cwd=ROOT, env={**os.environ, **SECRETS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def request(bucket: str) -> dict:
    return json.loads(open_store(f"gs://{bucket}").read("template.json"))


def steps(bucket: str, folder: str = "temp") -> beam_runner_api_pb2.Pipeline:
    store = open_store(f"gs://{bucket}")
    (key,) = (key for key in store.list(f"{folder}/") if key.endswith("/pipeline.pb"))
    return beam_runner_api_pb2.Pipeline.FromString(store.read(key))


def pickled(pipeline: beam_runner_api_pb2.Pipeline) -> bytes:
    """What workers get of our objects, as Beam packed it: bytes in which a text can be looked for."""
    found = b""
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
            found += bz2.decompress(base64.b64decode(payload))
    return found


@pytest.mark.slow
def test_the_request_asks_for_the_machines_and_the_image_that_were_named(job):
    environment = request(job)["environment"]
    (pool,) = environment["workerPools"]
    assert (pool["machineType"], pool["diskSizeGb"], pool["numThreadsPerWorker"]) == ("n2-standard-8", 40, 1)
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 40
    assert (pool["ipConfiguration"], pool["subnetwork"]) == (
        "WORKER_IP_PRIVATE",
        "regions/europe-west4/subnetworks/landloom",
    )
    assert "use_multiple_sdk_containers" in environment["experiments"], "one process per core"
    (image,) = pool["sdkHarnessContainerImages"]
    assert image["containerImage"] == IMAGE
    assert environment["serviceAccountEmail"] == "worker@my-project.iam.gserviceaccount.com"
    assert environment["flexResourceSchedulingGoal"] == "FLEXRS_COST_OPTIMIZED"


@pytest.mark.slow
def test_nothing_is_installed_when_a_worker_starts(job):
    (pool,) = request(job)["environment"]["workerPools"]
    assert "packages" not in pool
    assert not any(one.dependencies for one in steps(job).components.environments.values())


@pytest.mark.slow
def test_steps_have_names_that_stay(job):
    names = {one.unique_name for one in steps(job).components.transforms.values()}
    for step in ("Tile-years/Plan", "Classify", "Publish", "Account", "Register/Index part", "Register/Collection"):
        assert f"MapTileYears/{step}" in names
    assert request(job)["name"].startswith("landloom-20")


@pytest.mark.slow
def test_what_was_asked_for_is_written_beside_the_output(job):
    store = open_store(f"gs://{job}/maps")
    (key,) = (key for key in store.list("runs/") if key.endswith("/request.json"))
    settings = json.loads(store.read(key))["request"]["settings"]
    assert (settings["max_scenes"], settings["scores"], settings["overwrite"]) == (12, True, False)
    assert not store.exists(f"runs/{key.split('/')[1]}.json"), "nobody waited for it: it has no accounts"
    assert any(key.endswith(".onnx") for key in store.list("models/"))


@pytest.mark.slow
def test_servers_are_named_and_no_secret_travels(python, job):
    program = """
from pipelines.job import Job
from pipelines.dataflow.submit import check, complete, write_template
from pipelines.records import Records
from catalog.store import open_store
import sys

bucket = sys.argv[1]
store = open_store(f"gs://{bucket}/maps")
(run,) = {key.split("/")[1] for key in store.list("runs/")}
request = Records(store, run).asked().request
job = Job("20260101T000000", f"gs://{bucket}/served", "unet-small", inference="triton://triton.internal:8001")
check(job, request)
options = ["--no_auth", f"--staging_location=gs://{bucket}/staged", f"--template_location=gs://{bucket}/served.json"]
write_template(job, request, complete([*sys.argv[2:], *options], job.run))
"""
    run(python, "-c", program, job, *options(job))
    sent = steps(job, "staged")
    assert b"triton://triton.internal:8001" in pickled(sent)
    store = open_store(f"gs://{job}")
    everything = pickled(sent) + b"".join(store.read(key) for key in store.list() if not key.endswith(".onnx"))
    assert b"triton.internal" in everything
    for name, secret in SECRETS.items():
        assert secret.encode() not in everything, name


def without(name: str) -> list[str]:
    return [one for one in OPTIONS if not one.startswith(name)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (without("--project"), r"needs --project: the project that pays"),
        (without("--sdk_container_image"), r"needs --sdk_container_image: .*worker\.Dockerfile"),
        ([*without("--temp_location"), "--temp_location=/tmp/x"], r"--temp_location=/tmp/x is no bucket"),
        ([*without("--sdk"), "--sdk_container_image=x.dev/worker:0.0.9"], r"its tag is '0\.0\.9'.*tagged with"),
        ([*without("--sdk"), "--sdk_container_image=x.dev/worker"], r"its tag is 'latest'"),
        ([*OPTIONS, "--machine_type=n2-highcpu-8"], r"has 1 GB a core, and .* of 1 threads needs 1\.5 GB"),
        ([*OPTIONS, "--machine_type=n2-custom-8-8192"], r"has 1 GB a core"),
        ([*OPTIONS, "--number_of_worker_harness_threads=12"], r"n2-standard-4 has 4 GB a core.*12 threads needs 18 GB"),
        ([*OPTIONS, "--number_of_worker_harness_threads=0"], r"=0 is no count of threads"),
    ],
)
def test_what_cannot_go_well_is_refused(given, said):
    with pytest.raises(BadInput, match=said):
        complete(given, "20260101T000000")


def test_a_machine_of_one_process_may_have_little_memory_for_each_core():
    one = "--experiments=no_use_multiple_sdk_containers"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submit, "find_spec", lambda name: True)
        assert "--number_of_worker_harness_threads=1" in complete([*OPTIONS, one, "--machine_type=n2-highcpu-8"], "r")


def test_another_python_than_the_workers_is_refused(monkeypatch):
    monkeypatch.setattr(submit, "PYTHON", (3, 9))
    with pytest.raises(BadInput, match=r"the workers' image has 3\.9"):
        complete(OPTIONS, "20260101T000000")


@pytest.mark.parametrize(
    ("job", "source", "said"),
    [
        (Job("r", "maps", "unet-small"), "earth-search", r"do not see --out 'maps'"),
        (Job("r", "gs://b/maps", "unet-small"), "out/sample/catalog.json", r"do not see --source"),
        (Job("r", "gs://b/maps", "mine.onnx"), "earth-search", r"no network 'mine\.onnx', only .*--inference triton"),
    ],
)
def test_what_workers_do_not_see_is_refused(job, source, said, network):
    request = Request(
        source=source,
        tiles=("33UUU",),
        periods=(),
        settings=Settings(model=model_spec(str(network)), legend=load_legend("nine")),
    )
    with pytest.raises(BadInput, match=said):
        check(job, request)


def test_each_parameter_of_the_template_is_an_option_and_takes_what_its_help_says():
    told = json.loads((ROOT / "infra" / "dataflow" / "metadata.json").read_text())["parameters"]
    good = {
        "model": "unet-30m",
        "source": "planetary-computer",
        "out": "gs://my-maps/maps",
        "sdk_container_image": IMAGE,
        "year": "2020,2021",
        "period": "2023-06-01/2023-08-31",
        "tiles": "48QUE,48QUF",
        "bbox": "11,50,-14.5,52",
        "centre": "12.55,52.41",
        "size_km": "10,10",
        "inference": "triton://one:8001,two:8001",
    }
    parameters = typer.main.get_command(app).commands["map"].params
    ours = {one.name for one in parameters} | {one.opts[0].strip("-").replace("-", "_") for one in parameters}
    for one in told:
        assert one["name"] in ours | {"sdk_container_image"} and one["label"] and one["helpText"], one["name"]
        (regex,) = one["regexes"]
        assert re.fullmatch(regex, one.get("defaultValue") or good[one["name"]]), one["name"]
        assert not re.fullmatch(regex, "; rm -rf /"), one["name"]
        shown = {parameter.name: parameter.default for parameter in parameters}
        if "defaultValue" in one:
            assert one["defaultValue"] in (str(shown[one["name"]]).lower(), str(shown[one["name"]]).removesuffix(".0"))


def test_a_switch_of_the_template_is_true_or_false():
    assert arguments_of(["--max_scenes=3", "--scores=true", "--overwrite=false", "--max_num_workers=9"]) == [
        "--max-scenes=3",
        "--scores",
        "--max_num_workers=9",
    ]
    with pytest.raises(BadInput, match="--scores=yes: a switch is true or false"):
        arguments_of(["--scores=yes"])


def test_the_images_are_made_from_what_is_there_and_have_the_versions_of_the_launcher():
    worker = (ROOT / "infra" / "images" / "worker.Dockerfile").read_text()
    launcher = (ROOT / "infra" / "dataflow" / "launcher.Dockerfile").read_text()
    assert f"ARG BEAM={version('apache-beam')}\n" in worker
    assert f"FROM python:{submit.PYTHON[0]}.{submit.PYTHON[1]}-" in worker
    assert f"landloom-worker:{version('landloom')}\n" in launcher
    copied = [line.split()[1:-1] for line in (worker + launcher).splitlines() if line.startswith("COPY ")]
    assert all((ROOT / source).exists() for sources in copied for source in sources if "--from" not in sources[0])


@pytest.mark.slow
def test_a_run_in_a_bucket_of_google_publishes_the_same(simulated, network, gcs, tmp_path):
    bucket = gcs.new_bucket()
    map_tiles(simulated.catalog, tmp_path / "disk", network)
    accounts = map_tiles(simulated.catalog, f"gs://{bucket}/maps", network)
    assert len(accounts.published) == 1
    store = open_store(f"gs://{bucket}/maps")
    for key in store.list():
        store.download(key, made(tmp_path / "bucket" / key))
    assert contents(tmp_path / "bucket") == contents(tmp_path / "disk")


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
