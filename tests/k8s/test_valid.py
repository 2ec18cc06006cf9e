"""All manifests are what Kubernetes takes, as they stand and as kustomize puts them together."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
VERSION = "1.32"
PLAIN = sorted(path for path in K8S.rglob("*.yaml") if path.name not in ("kustomization.yaml", "adapter-values.yaml"))
KUSTOMIZED = sorted(path.parent for path in K8S.rglob("kustomization.yaml"))


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(K8S)))
def test_a_manifest_is_valid(path):
    for one in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(one, VERSION, strict=True)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
@pytest.mark.parametrize("folder", KUSTOMIZED, ids=lambda path: str(path.relative_to(K8S)))
def test_what_kustomize_makes_is_valid(folder):
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    for one in yaml.safe_load_all(done.stdout):
        kubernetes_validate.validate(one, VERSION, strict=True)
