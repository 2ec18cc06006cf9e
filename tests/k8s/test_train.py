"""The training job asks for what the command and the image give."""

from __future__ import annotations

from pathlib import Path

import typer
import yaml

from pipelines.cli import app
from services.inference.recipe import load_recipe

ROOT = Path(__file__).parents[2]


def test_the_job_gives_the_command_arguments_that_it_takes():
    volume, job = yaml.safe_load_all((ROOT / "k8s" / "train" / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    name, *arguments = container["args"]
    command = typer.main.get_command(app).commands[name]
    given = command.make_context(name, arguments).params
    # What must outlive the pod lies in the volume.
    mount, _scratch = container["volumeMounts"]
    assert given["out"].is_relative_to(mount["mountPath"])
    assert container["env"][0]["value"].startswith(mount["mountPath"])
    claim = job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == volume["metadata"]["name"]
    assert load_recipe(given["config"], given["minutes"]).learn_from == "teacher" and given["teacher"]


def test_the_image_is_made_from_what_is_there():
    lines = (ROOT / "infra" / "images" / "train.Dockerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert {"catalog", "pipelines", "services", "constraints.txt"} <= set(copied)
    assert all((ROOT / source).exists() for source in copied)
