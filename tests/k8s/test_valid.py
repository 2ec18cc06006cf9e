"""All manifests are what Kubernetes takes, as they stand and as kustomize puts them together."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
VERSION = "1.32"
PLAIN = sorted(path for path in K8S.rglob("*.yaml") if path.name not in ("kustomization.yaml", "adapter-values.yaml"))
OPERATORS = ("postgresql.cnpg.io/v1", "flink.apache.org/v1beta1")
"""What only an operator knows, and no schema of Kubernetes: left out."""
KUSTOMIZED = sorted(path.parent for path in K8S.rglob("kustomization.yaml"))


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(K8S)))
def test_a_manifest_is_valid(path):
    check(path.read_text())


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
@pytest.mark.parametrize("folder", KUSTOMIZED, ids=lambda path: str(path.relative_to(K8S)))
def test_what_kustomize_makes_is_valid(folder):
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    check(done.stdout)


def check(text: str) -> None:
    manifests = list(yaml.safe_load_all(text))
    assert manifests
    for one in manifests:
        if one["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(one, VERSION, strict=True)


def test_containers_are_not_root_and_write_nothing_of_their_own():
    templates = [one for path in PLAIN for part in yaml.safe_load_all(path.read_text()) for one in pods(part)]
    assert len(templates) == 6
    for template in templates:
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], container["name"]
            assert not container["securityContext"]["allowPrivilegeEscalation"], container["name"]


def pods(part: Any) -> Iterator[dict[str, Any]]:
    """Templates of pods, however deep: a CronJob's stands in a Job's."""
    for key, value in part.items() if isinstance(part, dict) else ():
        if key == "template" and "containers" in value["spec"]:
            yield value
        else:
            yield from pods(value)
