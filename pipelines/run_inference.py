"""Networks behind Triton in Beam pipelines of one's own: a model handler for Beam's RunInference.

    chips | RunInference(TritonModelHandler("triton://host:8001", "unet-small"))

gives a `PredictionResult` a chip, whose `inference` is uint8 `[classes, H, W]`, 255 x probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import PredictionResult, RemoteModelHandler

from catalog.model import ModelSpec, Network
from services.inference import model_spec, reach_network


class TritonModelHandler(RemoteModelHandler[np.ndarray, PredictionResult, Network]):  # type: ignore[misc]
    """Sends chips, uint16 `[bands, H, W]` as `catalog.model.Network` takes them, to Triton servers."""

    def __init__(
        self, inference: str, model: str | ModelSpec, *, retry_seconds: float = 300.0, max_batch_size: int = 16
    ):
        """Describe the servers; workers connect to them.

        Args:
            inference: address of the servers, `triton://HOST:8001,OTHER:8001`.
            model: the network that they must run: its ID or ONNX file here, or its description.
            retry_seconds: how long servers that do not answer are tried again.
            max_batch_size: chips that Beam hands over at a time, at most.

        Raises:
            BadInput: no such network.
        """
        # Our client tries again what is worth it; whatever else it raises would fail a second time, too.
        super().__init__(namespace="landloom", num_retries=0, retry_filter=lambda error: False)
        self._inference, self._retry_seconds, self._max_batch_size = inference, retry_seconds, max_batch_size
        self._spec = model if isinstance(model, ModelSpec) else model_spec(model)

    def create_client(self) -> Network:
        """Connect; see `RemoteModelHandler`."""
        return reach_network(self._inference, self._spec, self._retry_seconds)

    def request(
        self, batch: Sequence[np.ndarray], model: Network, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """Scores of some chips, of any sizes; see `RemoteModelHandler`."""
        version = f"{self._spec.id}-{self._spec.version}-{self._spec.sha256[:8]}"
        return [
            PredictionResult(chip, scores, version) for chip, scores in zip(batch, model.each(iter(batch)), strict=True)
        ]

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """How Beam puts chips together; see `ModelHandler`."""
        return {"min_batch_size": 1, "max_batch_size": self._max_batch_size}
