"""Beam's RunInference with networks behind a real Triton server."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that

from pipelines.run_inference import TritonModelHandler
from services.inference.onnx import OnnxNetwork
from tests.servers.triton import serve_triton

pytestmark = pytest.mark.slow


def test_chips_of_a_pipeline_get_their_scores_and_bad_ones_are_set_aside(network, tmp_path) -> None:
    random = np.random.default_rng(0)
    chips = [random.integers(1, 6_000, (6, 16 * k, 32)).astype(np.uint16) for k in range(1, 9)]
    odd = np.ones((6, 13, 32), np.uint16)

    def right(found) -> None:
        here = OnnxNetwork(network)
        assert len(found) == len(chips)
        for one in found:
            assert (one.inference == here.scores(one.example[np.newaxis])[0]).all()
            assert one.model_id.startswith("spectral-1-")

    def told(failed) -> None:
        ((_, error),) = failed
        assert "multiples of 8" in str(error)

    with serve_triton(tmp_path / "models", network) as server:
        handler = TritonModelHandler(f"triton://{server.grpc}", str(network), max_batch_size=1)
        with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
            good, bad = (
                pipeline | beam.Create([*chips, odd], reshuffle=False) | RunInference(handler).with_exception_handling()
            )
            assert_that(good, right)
            assert_that(bad.failed_inferences, told, label="failed")
