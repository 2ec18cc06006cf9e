"""A network behind Triton's Python backend, run by ONNX Runtime on the processor.

`triton_repository` copies this file beside each network as `model.py`. It runs inside the server, where nothing of
Landloom is installed, so all it knows comes from the model's configuration: the bands, the stride and the checksum
from the parameter `landloom:{version}`, and whether scores or labels are wanted from the names of the outputs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: one network, one thread. Triton starts as many as the configuration asks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the network.

        Raises:
            TritonModelException: the server then refuses to load the model, and its log says why.
        """
        if int(np.__version__.split(".")[0]) >= 2:
            raise pb_utils.TritonModelException(
                f"numpy {np.__version__} makes this server's answers empty. Run it with numpy 1.26."
            )
        config = json.loads(args["model_config"])
        version = args["model_version"]
        told = config["parameters"].get(f"landloom:{version}")
        if told is None:
            raise pb_utils.TritonModelException(
                f"The configuration has no parameter 'landloom:{version}'. Write the repository with "
                "`landloom triton repository`."
            )
        spec = json.loads(told["string_value"])
        self._bands, self._classes, self._stride = len(spec["bands"]), len(spec["classes"]), spec["stride"]
        self._outputs = [output["name"] for output in config["output"]]
        content = (Path(args["model_repository"]) / version / "model.onnx").read_bytes()
        if hashlib.sha256(content).hexdigest() != spec["sha256"]:
            raise pb_utils.TritonModelException(
                f"model.onnx of version {version} is not the network of the configuration (SHA-256 {spec['sha256']})."
            )
        options = onnxruntime.SessionOptions()
        # The instances are the parallelism. Everything else is as it is when a network runs without a server, so that
        # the scores are the same.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests one by one: on one thread a larger batch is no faster, and takes more memory."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        chips = pb_utils.get_input_tensor_by_name(request, "bands").as_numpy()
        try:
            scores = self._scores(chips)
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        if self._outputs == ["scores"]:
            found = {"scores": scores}
        else:
            found = {"class": scores.argmax(axis=1).astype(np.uint8), "confidence": scores.max(axis=1)}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, found[name]) for name in self._outputs])

    def _scores(self, chips: np.ndarray) -> np.ndarray:
        """uint16 `[N, bands, H, W]` to uint8 `[N, classes, H, W]`."""
        stride, bands = self._stride, self._bands
        if (
            chips.dtype != np.uint16
            or chips.ndim != 4
            or chips.shape[1] != bands
            or any(side % stride or not side for side in chips.shape[2:])
        ):
            raise ValueError(
                f"Chips are uint16 [N, {bands}, H, W] with H and W multiples of {stride}; "
                f"these are {chips.dtype} {list(chips.shape)}."
            )
        scores = self._session.run(None, {self._input: np.ascontiguousarray(chips)})[0]
        if scores.shape != (len(chips), self._classes, *chips.shape[2:]):
            raise ValueError(f"The network answered {list(scores.shape)} to chips {list(chips.shape)}.")
        return scores
