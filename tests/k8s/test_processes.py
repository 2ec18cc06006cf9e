"""The deployment of the processes asks for what the image and the command give."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from pipelines.cli import app
from services.processes.jobs import read_limits

ROOT = Path(__file__).parents[2]
HERE = ROOT / "k8s" / "processes"
DOCKERFILE = (ROOT / "infra" / "images" / "serve.Dockerfile").read_text()


def manifest(name: str) -> dict:
    return yaml.safe_load((HERE / name).read_text())


def spec() -> dict:
    return manifest("deployment.yaml")["spec"]


def container() -> dict:
    (one,) = spec()["template"]["spec"]["containers"]
    return one


def test_the_image_runs_the_command_as_the_deployment_does():
    (line,) = (line for line in DOCKERFILE.splitlines() if line.startswith("ENTRYPOINT"))
    _, name, *image = re.findall(r'"([^"]+)"', line)
    given = [*image, *(part.replace("$(CATALOG)", "s3://landloom/maps") for part in container()["args"])]
    parameters = typer.main.get_command(app).commands[name].make_context(name, given).params
    assert "'.[processes]'" in DOCKERFILE, "the image has what jobs need"
    mounts = {one["mountPath"]: one for one in container()["volumeMounts"]}
    assert not mounts[str(parameters["jobs"])].get("readOnly")
    assert mounts[str(parameters["jobs_token_file"].parent)]["readOnly"]
    assert mounts[str(parameters["jobs_limits"].parent)]["readOnly"]
    assert parameters["port"] == container()["ports"][0]["containerPort"]


def test_a_folder_of_jobs_has_one_server_and_outlives_it():
    assert spec()["replicas"] == 1 and spec()["strategy"]["type"] == "Recreate"
    volumes = {one["name"]: one for one in spec()["template"]["spec"]["volumes"]}
    claim = volumes["jobs"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifest("volume.yaml")["metadata"]["name"]


def test_what_jobs_may_take_is_there():
    limits = read_limits(HERE / "limits.toml")
    (limit,) = re.findall(r"(\d+)Gi", container()["resources"]["limits"]["memory"])
    assert limits.at_once * limits.memory_mb * 1e6 + 1.5 * 2**30 < int(limit) * 2**30


def test_the_network_reaches_neither_metadata_nor_the_cluster():
    policy = manifest("network.yaml")["spec"]
    labels = spec()["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    (block,) = (to["ipBlock"] for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to)
    assert "169.254.0.0/16" in block["except"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
def test_kustomize_puts_the_limits_into_the_pod():
    done = subprocess.run(["kubectl", "kustomize", str(HERE)], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    volumes = {one["name"]: one for one in deployment["spec"]["template"]["spec"]["volumes"]}
    (limits,) = (one for one in made if one["metadata"]["name"] == volumes["limits"]["configMap"]["name"])
    assert set(limits["data"]) == {"limits.toml"}
