"""Whether a Flink cluster's workers have what a job needs, asked before it is sent.

A worker that cannot start makes a job wait for ever; so a few elements that only look at what a worker has go first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from catalog.errors import LandloomError
from catalog.model import ModelSpec
from pipelines.beam_options import option
from pipelines.flink.cluster import call_off
from pipelines.flink.submit import master_of
from pipelines.job import Job
from services.inference import model_spec

_STARTS_SECONDS = 90
_LOOKS_PER_SLOT = 4
_PAUSE_SECONDS = 0.2


class CannotWork(LandloomError):
    """A worker lacks what the job needs."""


def check_workers(job: Job, beam_options: Sequence[str]) -> None:
    """Have the cluster's workers start, and look whether they see the output, the code and the network.

    Args:
        job: what is to be run.
        beam_options: from `complete`.

    Raises:
        CannotWork: one of them does not, or does not start, and why.
    """
    store, folder = job.store(), f"runs/{job.run}/check"
    store.write(f"{folder}/launcher", b"")
    networks = [one for one in ("" if job.inference else job.model, job.second_stage) if one]
    specs = {network: model_spec(network) for network in networks}
    looks = [(one, one) for one in range(_LOOKS_PER_SLOT * int(option(beam_options, "--parallelism") or 1))]
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_options)))
    numbers = pipeline | "Looks" >> beam.Create(looks, reshuffle=False) | "Spread" >> beam.GroupByKey()
    numbers | "Look" >> beam.ParDo(_Look(job, folder, specs, version("landloom")))
    try:
        running = pipeline.run()
        until = time.monotonic() + _STARTS_SECONDS
        while True:
            ended = PipelineState.is_terminal(running.state)
            answered = [key for key in store.list(folder) if not key.endswith("/launcher")]
            # All answers are all that is wanted: Beam and Flink notice the end of a job seconds later.
            if ended or len(answered) == len(looks) or time.monotonic() > until:
                break
            time.sleep(_PAUSE_SECONDS)
        if len(answered) < len(looks) and running.state != PipelineState.DONE:
            # Beam's own way to cancel does not reach a job that begins anew again and again. Flink knows the job by
            # what Beam calls it, a suffix apart.
            call_off(master_of(beam_options), str(getattr(running, "_job_id", "")).rpartition("_")[0])
            raise CannotWork(
                f"The cluster's workers do not start within {_STARTS_SECONDS} s. Each machine needs this version of "
                "Landloom, as `landloom-worker`; a TaskManager's log tells more."
            )
        if reasons := {store.read(key).decode() for key in answered} - {""}:
            raise CannotWork(f"{min(reasons)} Give every worker the same as the launcher.")
        if len(answered) < len(looks):
            raise CannotWork(
                f"{len(looks) - len(answered)} of {len(looks)} workers' answers are not in {job.out}. Give an output "
                "that all machines share: s3://bucket/prefix, or a folder that lies at the same path on each."
            )
    finally:
        store.delete(store.list(folder))


class _Look(beam.DoFn):  # type: ignore[misc]
    """Writes what a worker lacks; nothing, if it lacks nothing."""

    def __init__(self, job: Job, folder: str, specs: dict[str, ModelSpec], release: str):
        self._job, self._folder, self._specs, self._release = job, folder, specs, release

    def process(self, element: tuple[int, Iterable[int]]) -> None:
        self._job.store().write(f"{self._folder}/{element[0]}", self._lacks().encode())

    def _lacks(self) -> str:
        if (here := version("landloom")) != self._release:
            return f"A worker has Landloom {here}, the launcher {self._release}."
        for network, spec in self._specs.items():
            try:
                if model_spec(network) != spec:
                    return f"A worker's network {network} is not the launcher's ({spec.sha256[:12]})."
            except LandloomError as error:
                return f"A worker cannot open the network: {error}"
        return ""
