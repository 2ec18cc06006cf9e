"""The Triton deployment asks for what the image and the server give."""

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
FOLDER = ROOT / "k8s" / "triton"
DOCKERFILE = (ROOT / "infra" / "images" / "triton.Dockerfile").read_text()


def manifest(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text())


def pod() -> dict:
    return manifest("deployment.yaml")["spec"]["template"]


def test_the_image_is_made_by_a_command_that_there_is():
    (line,) = (line for line in DOCKERFILE.splitlines() if line.startswith("RUN landloom"))
    _, _, group, name, *arguments = line.split()
    command = typer.main.get_command(app).commands[group].commands[name]
    given = command.make_context(name, arguments).params
    assert given["gpu"] and given["backend"] == "onnxruntime"
    assert f"--model-repository={given['out']}" in DOCKERFILE
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    assert all((ROOT / source).exists() for sources in copied for source in sources)


def test_nobody_is_root_and_the_engines_have_a_place():
    assert "USER 1000" in DOCKERFILE
    spec = pod()["spec"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 1000)
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    source = (ROOT / "services" / "inference" / "triton_repository.py").read_text()
    (cache,) = re.findall(r'"trt_engine_cache_path"\] = "(.+)"', source)
    assert any(Path(cache).is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"])


def test_ports_and_probes_are_the_servers():
    (container,) = pod()["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    assert {port["targetPort"]: port["port"] for port in manifest("service.yaml")["spec"]["ports"]} == ports
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert [probe["path"].rsplit("/")[-1] for probe in probes.values()] == ["ready", "ready", "live"]
    assert pod()["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_server_has_time_to_answer_what_it_was_asked():
    (seconds,) = re.findall(r"--exit-timeout-secs=(\d+)", DOCKERFILE)
    pause = int(pod()["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod()["spec"]["terminationGracePeriodSeconds"] > int(seconds) + pause


def test_all_select_the_same_pods():
    labels = pod()["metadata"]["labels"]
    deployment = manifest("deployment.yaml")
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service.yaml")["spec"]["selector"] == labels
    assert manifest("disruption.yaml")["spec"]["selector"]["matchLabels"] == labels
    target = manifest("autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])


def test_the_autoscaler_reads_the_metric_that_the_rule_makes():
    (metric,) = manifest("autoscaler.yaml")["spec"]["metrics"]
    (rule,) = manifest("adapter-values.yaml")["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("nv_inference_queue_duration_us{")
    assert rule["metricsQuery"].count("<<.LabelMatchers>>") == rule["metricsQuery"].count("<<.GroupBy>>") == 2


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl")
def test_kustomize_puts_the_parts_together():
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(made) == {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"}
    (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert re.fullmatch(r"landloom-triton:\d+\.\d+\.\d+", container["image"])
