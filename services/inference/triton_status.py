"""What Triton servers tell of their work, from their Prometheus metrics.

Names and meaning: Triton's `metrics.md`. All counts are since the server's start; durations are sums of microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from catalog.errors import LandloomError


class TritonUnreachable(LandloomError):
    """A server that does not answer."""


@dataclass(frozen=True)
class ModelStatus:
    """One model and version, since the server's start."""

    model: str
    version: str
    done: int
    """Requests answered; those of the warm-up may be among them."""
    failed: int
    """Requests that ended in an error."""
    chips: int
    """Chips in the requests answered."""
    runs: int
    """Runs of the network: fewer than requests, where requests were put together."""
    queue_ms: float
    """Mean wait of a request for a free instance, milliseconds."""
    compute_ms: float
    """Mean time of a request in the network, milliseconds."""
    pending: int
    """Requests that wait now."""


@dataclass(frozen=True)
class ServerStatus:
    """One server."""

    address: str
    models: tuple[ModelStatus, ...]
    gpu_utilisation: tuple[float, ...]
    """Share of the last seconds in which each GPU worked, 0 to 1; empty without GPUs."""


def server_status(address: str, timeout: float = 5.0) -> ServerStatus:
    """Read a server's metrics.

    Args:
        address: host and metrics port, as `127.0.0.1:8002`.
        timeout: seconds.

    Raises:
        TritonUnreachable: no server answers there, or it is none of Triton's metrics.
    """
    try:
        answer = requests.get(f"http://{address}/metrics", timeout=timeout)
        answer.raise_for_status()
        samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    except (requests.RequestException, ValueError) as error:
        raise TritonUnreachable(
            f"No Triton metrics at {address} ({type(error).__name__}). Give HOST:PORT of its metrics (8002 by default)."
        ) from error
    if not any(sample.name.startswith("nv_") for sample in samples):
        raise TritonUnreachable(f"What answers at {address} is no Triton server. Give HOST:PORT of its metrics.")
    found = sorted({(s.labels["model"], s.labels["version"]) for s in samples if "version" in s.labels}, key=_by_number)
    gpus = tuple(sample.value for sample in samples if sample.name == "nv_gpu_utilization")
    return ServerStatus(address, tuple(_model_status(*one, samples) for one in found), gpus)


def _model_status(model: str, version: str, samples: list[Sample]) -> ModelStatus:
    def total(name: str) -> float:
        # The parser adds `_total` to the names of counters; failures are told by reason.
        names = (f"nv_inference_{name}", f"nv_inference_{name}_total")
        return sum(
            sample.value
            for sample in samples
            if sample.name in names and (sample.labels.get("model"), sample.labels.get("version")) == (model, version)
        )

    done = total("request_success")
    return ModelStatus(
        model=model,
        version=version,
        done=int(done),
        failed=int(total("request_failure")),
        chips=int(total("count")),
        runs=int(total("exec_count")),
        queue_ms=total("queue_duration_us") / 1000 / max(done, 1),
        compute_ms=total("compute_infer_duration_us") / 1000 / max(done, 1),
        pending=int(total("pending_request_count")),
    )


def _by_number(one: tuple[str, str]) -> tuple[str, int]:
    return one[0], int(one[1])
