"""A job for Dataflow: Beam's options completed, and what its workers would lack found before it is sent.

A job takes minutes until its first worker starts, and retries for an hour what can never work; so all that can be told
from the options is told at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from catalog.errors import BadInput
from pipelines.annual_map import MapTileYears
from pipelines.beam_options import option, with_defaults
from pipelines.job import Job
from pipelines.request import Request
from pipelines.run import begin
from pipelines.runner import run_pipeline
from services.inference import shipped_models

WORKER_GB = 1.5
"""Memory of a worker process with one thread (docs/benchmarks.md)."""
PYTHON = (3, 11)
"""Of the worker image: functions travel as byte code, which is of one version."""
_MACHINE = "n2-standard-4"
_GB_PER_CORE = {"highcpu": 2.0, "standard": 4.0, "highmem": 8.0}
_ONE_GB_PER_CORE = ("n1", "n2", "n2d", "e2")
"""Families whose `highcpu` machines have about 1 GB a core; those of later ones have 2."""
_NEEDED = {
    "--project": "the project that pays, as --project=my-project",
    "--region": "where the workers run, as --region=europe-west4",
    "--temp_location": "a folder of a bucket for the job's own files, as --temp_location=gs://my-staging/temp",
    "--sdk_container_image": "the workers' image, built from infra/images/worker.Dockerfile",
}


def complete(beam_options: Sequence[str], run: str) -> list[str]:
    """Beam's options for Dataflow with what the user left open.

    Args:
        beam_options: as the user gave them.
        run: its name, which the job gets.

    Raises:
        BadInput: an option is missing, or cannot go well.
    """
    for name, what in _NEEDED.items():
        if not option(beam_options, name):
            raise BadInput(f"Dataflow needs {name}: {what}. See docs/dataflow.md.")
    for name in ("--temp_location", "--staging_location"):
        if (place := option(beam_options, name)) and not place.startswith("gs://"):
            raise BadInput(f"{name}={place} is no bucket of Google's. Give gs://BUCKET/FOLDER.")
    _check_image(option(beam_options, "--sdk_container_image") or "")
    machine = option(beam_options, "--machine_type") or option(beam_options, "--worker_machine_type")
    threads = option(beam_options, "--number_of_worker_harness_threads") or "1"
    if not any("no_use_multiple_sdk_containers" in one for one in beam_options):
        _check_memory(machine or _MACHINE, threads)
    if sys.version_info[:2] != PYTHON:
        raise BadInput(
            f"This is Python {_dotted(sys.version_info[:2])}; the workers' image has {_dotted(PYTHON)}, and what is "
            "sent to them is read by the same alone. Start the job from that Python, or from the launcher's image."
        )
    if find_spec("google.cloud.dataflow_v1beta3") is None:
        raise BadInput("Dataflow's runner is not installed: pip install 'landloom[gcp]'.")
    defaults = {
        # One process per core, of one thread: a thread more would hold a block of its own.
        "--number_of_worker_harness_threads": threads,
        "--machine_type": machine or _MACHINE,
        # It is in the image.
        "--sdk_location": "container",
        "--job_name": f"landloom-{run.lower()}",
    }
    # All that workers run is in the image, so that the state of this process need not travel.
    return [*with_defaults(beam_options, defaults), "--no_save_main_session"]


def check(job: Job, request: Request) -> None:
    """Whether machines elsewhere can reach what the job names.

    Raises:
        BadInput: one thing that they cannot.
    """
    if not job.out.startswith(("gs://", "s3://")):
        raise BadInput(f"Dataflow's workers do not see --out {job.out!r}. Give gs://BUCKET/PREFIX.")
    if "://" not in request.source and ("/" in request.source or request.source.endswith(".json")):
        raise BadInput(
            f"Dataflow's workers do not see --source {request.source!r}. Give planetary-computer, earth-search, a URL, "
            "or a static catalog at gs://BUCKET/PREFIX."
        )
    if request.radar and "://" not in request.radar and ("/" in request.radar or request.radar.endswith(".json")):
        raise BadInput(
            f"Dataflow's workers do not see --radar {request.radar!r}. Give planetary-computer, a URL, or a static "
            "catalog at gs://BUCKET/PREFIX."
        )
    needed = [] if job.inference else [job.model]
    if missing := [one for one in [*needed, job.second_stage] if one and one not in shipped_models()]:
        raise BadInput(
            f"The workers' image has no network {missing[0]!r}, only {', '.join(shipped_models())}. Name one of these, "
            "or servers that run yours: --inference triton://HOST:8001."
        )


def write_template(job: Job, request: Request, beam_options: Sequence[str]) -> None:
    """Write the job where `--template_location` says, for whoever starts it; nobody waits for its end here.

    Raises:
        StoreError: the output cannot be written.
    """
    begin(job, request)
    run_pipeline(MapTileYears(job, request), beam_options)


def _check_image(image: str) -> None:
    release = version("landloom")
    _, at, _ = image.partition("@sha256:")
    tag = image.rpartition("/")[2].partition(":")[2]
    if not at and not re.match(rf"{re.escape(release)}(\W|$)", tag):
        raise BadInput(
            f"--sdk_container_image={image} is not of this Landloom, {release}: its tag is {tag or 'latest'!r}. Images "
            f"are tagged with their version ({release}, {release}-mine); a digest (…@sha256:…) is taken as it is."
        )


def _check_memory(machine: str, threads: str) -> None:
    if not threads.isdecimal() or int(threads) < 1:
        raise BadInput(f"--number_of_worker_harness_threads={threads} is no count of threads. Give 1.")
    family, _, rest = machine.partition("-")
    if custom := re.match(r"custom-(\d+)-(\d+)", rest if rest.startswith("custom") else machine):
        memory: float | None = int(custom[2]) / 1024 / max(1, int(custom[1]))
    else:
        kind = rest.partition("-")[0]
        memory = 1.0 if kind == "highcpu" and family in _ONE_GB_PER_CORE else _GB_PER_CORE.get(kind)
    if memory is not None and memory < WORKER_GB * int(threads):
        raise BadInput(
            f"--machine_type={machine} has {memory:g} GB a core, and each core's process of {threads} threads needs "
            f"{WORKER_GB * int(threads):g} GB. Give a machine with more, as {_MACHINE}, or one thread."
        )


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
