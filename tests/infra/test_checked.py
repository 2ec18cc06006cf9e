"""What is declared (Terraform, images, Kubernetes) passes the checkers of the field; each exception has its reason."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "infra" / "terraform"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "landloom"
CHECKOV = shutil.which("checkov", path=f"{_CACHE / 'checkov/bin'}{os.pathsep}{os.environ['PATH']}")
needs_terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="there is no terraform")
needs_checkov = pytest.mark.skipif(not CHECKOV, reason="there is no checkov, which .ci/run installs")


@needs_terraform
def test_terraform_is_laid_out_as_it_wants():
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-recursive", str(TERRAFORM)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


OF_KUBERNETES = {
    "CKV_K8S_11": "a limit of processors would slow a pod while others are idle; memory is limited",
    "CKV_K8S_14": "kustomize gives images their tags; test_flink looks at what it makes",
    "CKV_K8S_15": "the same: tags do not change",
    "CKV_K8S_21": "overlays name the namespace",
    "CKV_K8S_35": "who reaches buckets reads keys from the environment, as every tool does",
    "CKV_K8S_40": "the user of the images is 1000, that of folders of a node, too",
    "CKV_K8S_43": "digests are a registry's own",
}
"""What is not asked of manifests, and why."""


@needs_checkov
@pytest.mark.slow
def test_checkov_finds_nothing():
    command = [CHECKOV, "--directory", "infra", "--directory", "k8s", "--skip-download", "--output", "json"]
    command += ["--framework", "terraform", "dockerfile", "kubernetes", f"--skip-check={','.join(OF_KUBERNETES)}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # After each folder it tells all that it has found so far: the last list is whole.
    scans = json.loads("[" + done.stdout.rpartition("\n[\n")[2])
    assert {one["check_type"] for one in scans if one["summary"]["passed"]} == {"terraform", "dockerfile", "kubernetes"}
    failed = [found for one in scans for found in one["results"]["failed_checks"]]
    assert [f"{found['check_id']} {found['file_path']} {found['resource']}" for found in failed] == []


def test_what_is_skipped_has_a_reason():
    for path in [*ROOT.glob("infra/**/*.tf"), *ROOT.glob("infra/**/*Dockerfile")]:
        for line in re.findall(r".*checkov:skip.*", path.read_text()):
            assert re.search(r"checkov:skip=CKV\w+:\S+( \S+){3,}", line), f"{path.name}: {line}"


def test_accounts_of_the_cluster_are_those_of_terraform():
    told = (TERRAFORM / "accounts.tf").read_text()
    pods = re.findall(r"(landloom-\w+) = google_service_account\.(\w+)\.name", told)
    overlay = ROOT / "k8s" / "overlays" / "production"
    used = "".join(path.read_text() for path in sorted(overlay.glob("*.yaml")))
    assert len(pods) == 2
    for _, account in pods:
        (name,) = re.findall(rf'"google_service_account" "{account}" {{\n  account_id   = "([\w-]+)"', told)
        assert f"gcp-service-account: {name}@" in used
    for pod, _ in pods:
        assert f"name: {pod}" in used


def test_the_template_describes_what_the_launcher_takes():
    told = (TERRAFORM / "template.tf").read_text()
    (path,) = re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', told)
    assert json.loads((TERRAFORM / path).read_text())["parameters"]
