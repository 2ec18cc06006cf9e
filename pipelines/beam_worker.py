"""A worker process of Beam's, as a runner in another language starts it.

It stands in for the program that Beam's container images start with, where code and network are at hand already:
nothing is fetched or installed. Flink starts it itself (environment type PROCESS), or a worker pool beside it does.
"""

from __future__ import annotations

import argparse
import gc
import os

import grpc
from google.protobuf import json_format, text_format

from pipelines.beam_import import import_beam
from pipelines.tries import take_back_when_terminated

_WAIT_SECONDS = 60


class _WorkerId(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """A runner knows who asks by the call's metadata."""

    def __init__(self, worker: str):
        self._worker = worker

    def intercept_unary_unary(self, continuation, details, request):  # type: ignore[no-untyped-def]
        metadata = [*(details.metadata or ()), ("worker_id", self._worker)]
        return continuation(details._replace(metadata=metadata), request)


def main() -> None:
    """Ask the runner what to do, and do it until it has gone."""
    # A run waits for its workers to start, and imports make many objects and no rubbish.
    gc.set_threshold(100_000)
    import_beam()
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
    from apache_beam.runners.worker import sdk_worker_main

    parser = argparse.ArgumentParser(prog="landloom-worker", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--id", required=True, help="of the worker, given by the runner")
    parser.add_argument("--provision_endpoint", required=True, help="where the runner tells what to do")
    given, _ = parser.parse_known_args()
    channel = grpc.intercept_channel(grpc.insecure_channel(given.provision_endpoint), _WorkerId(given.id))
    asked = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
    told = asked.GetProvisionInfo(
        beam_provision_api_pb2.GetProvisionInfoRequest(), timeout=_WAIT_SECONDS, wait_for_ready=True
    ).info
    os.environ.update(
        WORKER_ID=given.id,
        PIPELINE_OPTIONS=json_format.MessageToJson(told.pipeline_options),
        LOGGING_API_SERVICE_DESCRIPTOR=text_format.MessageToString(told.logging_endpoint),
        CONTROL_API_SERVICE_DESCRIPTOR=text_format.MessageToString(told.control_endpoint),
        RUNNER_CAPABILITIES=" ".join(told.runner_capabilities),
    )
    if told.status_endpoint.url:
        os.environ["STATUS_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(told.status_endpoint)
    take_back_when_terminated()
    sdk_worker_main.main([])


if __name__ == "__main__":
    main()
