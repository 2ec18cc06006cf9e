"""The deployment of the catalog's server asks for what the image and the command give."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from pipelines.cli import app

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s" / "serve" / "base"
DOCKERFILE = (ROOT / "infra" / "images" / "serve.Dockerfile").read_text()


def manifest(name: str) -> dict:
    return yaml.safe_load((BASE / name).read_text())


def container() -> dict:
    (one,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    return one


def test_the_image_runs_the_command_as_the_deployment_does():
    (line,) = (line for line in DOCKERFILE.splitlines() if line.startswith("ENTRYPOINT"))
    _, name, *image = re.findall(r'"([^"]+)"', line)
    given = [*image, *(part.replace("$(CATALOG)", "s3://landloom/maps") for part in container()["args"])]
    parameters = typer.main.get_command(app).commands[name].make_context(name, given).params
    assert parameters["catalog"] == "s3://landloom/maps" and parameters["host"] == "0.0.0.0"
    assert (
        parameters["port"]
        == container()["ports"][0]["containerPort"]
        == int(re.findall(r"EXPOSE (\d+)", DOCKERFILE)[0])
    )
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    assert all((ROOT / source).exists() for sources in copied for source in sources)


def test_nobody_is_root_and_only_the_index_is_written():
    spec = manifest("deployment.yaml")["spec"]["template"]["spec"]
    assert "USER 1000" in DOCKERFILE and spec["securityContext"]["runAsNonRoot"]
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    assert [mount["mountPath"] for mount in container()["volumeMounts"]] == ["/tmp"]


def test_probes_and_metrics_are_paths_that_answer():
    source = (ROOT / "tests" / "services" / "api" / "test_operations.py").read_text()
    paths = [container()[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")]
    annotations = manifest("deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    for path in {*paths, annotations["prometheus.io/path"]}:
        assert path in source, "each is asked in a test of the running server"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
def test_the_local_overlay_serves_a_folder_of_the_node():
    folder = ROOT / "k8s" / "serve" / "local"
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(made) == {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"}
    (one,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    mount = next(mount for mount in one["volumeMounts"] if mount["mountPath"] == made["ConfigMap"]["data"]["CATALOG"])
    assert mount["readOnly"]
    assert one["envFrom"][0]["configMapRef"]["name"] == made["ConfigMap"]["metadata"]["name"]
