"""Flink on Kubernetes asks for what images and commands give, and its workers are started as its pods start them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from pipelines.cli import app
from pipelines.cli.options import beam_options_of
from pipelines.flink import cluster as flink
from pipelines.flink.submit import complete
from tests.pipelines.conftest import network, simulated
from tests.pipelines.running import map_tiles

__all__ = ["network", "simulated"]
ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
IMAGES = {name: (ROOT / "infra" / "images" / f"{name}.Dockerfile").read_text() for name in ("flink", "worker")}
needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")


def deployment() -> dict:
    return yaml.safe_load((K8S / "flink" / "cluster.yaml").read_text())["spec"]


def python() -> dict:
    (one,) = deployment()["taskManager"]["podTemplate"]["spec"]["containers"]
    return one


def kustomized(folder: str) -> list[dict]:
    done = subprocess.run(["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def of_kind(made: list[dict], kind: str) -> dict[str, dict]:
    return {one["metadata"]["name"]: one for one in made if one["kind"] == kind}


def test_the_cluster_is_set_as_the_one_of_this_machine():
    told = deployment()["flinkConfiguration"]
    assert {name: flink._SETTINGS[name] for name in told} == told
    series = re.search(r"<flink.series>([\d.]+)<", (ROOT / "infra/flink/pom.xml").read_text())
    assert series and deployment()["flinkVersion"] == f"v{series[1].replace('.', '_')}"
    assert f"FROM flink:{series[1]}." in IMAGES["flink"]


def test_a_pool_is_addressed_where_it_listens():
    (port,) = (one.partition("=")[2] for one in python()["args"] if one.startswith("--service_port"))
    job = yaml.safe_load((K8S / "map" / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert f"--environment_config=127.0.0.1:{port}" in container["args"]


def test_the_job_gives_options_that_there_are():
    job = yaml.safe_load((K8S / "map" / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    name, *arguments = container["args"]
    made = typer.main.get_command(app).commands[name].make_context(name, arguments)
    assert made.params["out"] == "$(OUT)" and made.params["inference"] == "$(INFERENCE)"
    assert len(beam_options_of(made.args)) == 5
    jar = next(one.partition("=")[2] for one in made.args if one.startswith("--flink_job_server_jar"))
    assert f"COPY --from=jars /build/launcher.jar {jar}\n" in IMAGES["flink"]
    configured = yaml.safe_load((K8S / "map" / "kustomization.yaml").read_text())["configMapGenerator"][0]["literals"]
    assert {one.partition("=")[0] for one in configured} == set(re.findall(r"\$\((\w+)\)", str(container["args"])))


def test_nobody_is_root():
    for security in (deployment()["podTemplate"]["spec"]["securityContext"],):
        assert security["runAsNonRoot"] and security["seccompProfile"]["type"] == "RuntimeDefault"
    containers = [*deployment()["podTemplate"]["spec"]["containers"], python()]
    for one in containers:
        assert one["securityContext"]["capabilities"]["drop"] == ["ALL"], one["name"]
        assert not one["securityContext"]["allowPrivilegeEscalation"], one["name"]
    for name, text in IMAGES.items():
        assert re.findall(r"^USER (\w+)", text, re.M)[-1] != "root", name


@needs_kubectl
def test_production_runs_its_network_on_triton_and_lets_nobody_else_in():
    made = kustomized("overlays/production")
    assert {one["metadata"].get("namespace", "landloom") for one in made} == {"landloom"}
    assert (
        of_kind(made, "Namespace")["landloom"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )
    policies = of_kind(made, "NetworkPolicy")
    nothing = policies["landloom-nothing"]["spec"]
    assert nothing["podSelector"] == {} and set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(nothing)
    (address,) = of_kind(kustomized("overlays/production/map"), "ConfigMap").values()
    host, port = re.fullmatch(r"triton://([\w-]+):(\d+)", address["data"]["INFERENCE"]).groups()
    assert int(port) in [one["port"] for one in of_kind(made, "Service")[host]["spec"]["ports"]]
    workers = {"app.kubernetes.io/name": "landloom-flink"}
    assert deployment()["podTemplate"]["metadata"]["labels"] == workers
    allowed = [
        one["to"][0].get("podSelector", {}).get("matchLabels") for one in policies["landloom-flink"]["spec"]["egress"]
    ]
    assert of_kind(made, "Service")[host]["spec"]["selector"] in allowed
    images = re.findall(r"'image': '([^']+)'", str(made))
    assert images and all(re.fullmatch(r"registry\.example\.org/landloom/[\w-]+:\d+\.\d+\.\d+", one) for one in images)


@needs_kubectl
def test_locally_all_see_one_folder_and_workers_run_the_network():
    made, run = kustomized("overlays/local"), kustomized("overlays/local/map")
    cluster = of_kind(made, "FlinkDeployment")["landloom-flink"]["spec"]["taskManager"]["podTemplate"]["spec"]
    job = of_kind(run, "Job")["landloom-map"]["spec"]["template"]["spec"]
    (settings,) = of_kind(run, "ConfigMap").values()
    assert settings["data"]["INFERENCE"] == ""
    for spec in (cluster, job):
        (mount,) = (one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "maps")
        (volume,) = (one for one in spec["volumes"] if one["name"] == "maps")
        assert mount["mountPath"] == settings["data"]["OUT"]
        assert volume["hostPath"]["path"] == "/srv/landloom/maps"


@pytest.fixture
def master(tmp_path) -> Iterator[str]:
    """Of a cluster of one TaskManager."""
    cluster = flink.start(tmp_path / "flink", workers=1)
    yield cluster.master
    flink.stop(tmp_path / "flink")


@pytest.mark.slow
@pytest.mark.skipif(not flink.JAR.is_file(), reason="no runner for Flink: `make flink` builds it")
def test_workers_that_the_pool_of_a_pod_starts_map(simulated, network, master, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(sys.executable).parent
    command = [str(here / "python") if one == "python" else one for one in python()["command"]]
    pool = [one.replace("50000", str(port)).replace("/usr/local/bin", str(here)) for one in python()["args"]]
    started = subprocess.Popen([*command, *pool], cwd=ROOT)
    try:
        options = ["--runner=FlinkRunner", f"--flink_master={master}", "--environment_type=EXTERNAL"]
        options = complete([*options, f"--environment_config=127.0.0.1:{port}"])
        accounts = map_tiles(simulated.catalog, tmp_path / "maps", network, beam=options)
        assert (accounts.planned, len(accounts.published)) == (1, 1)
    finally:
        started.terminate()
        started.wait(30)
