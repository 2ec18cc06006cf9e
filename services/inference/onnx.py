"""Networks in ONNX files, run in this process by ONNX Runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import ValidationError

from catalog.errors import BadInput
from catalog.model import ModelSpec
from catalog.scenes import BANDS

_TYPES = {"tensor(uint16)": "uint16", "tensor(uint8)": "uint8"}


class OnnxNetwork:
    """A network on one thread of this process's CPU; Beam's workers are the parallelism."""

    spec: ModelSpec

    def __init__(self, path: Path):
        """Open a network.

        Raises:
            BadInput: no such file, no network of Landloom's, or one of another input.
        """
        if not path.is_file():
            raise BadInput(f"There is no network {str(path)!r}. Give the ID of a shipped one, or an ONNX file.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Chips come in a few sizes; planning memory for each would keep the largest of all of them.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadInput(f"{str(path)!r} is not an ONNX network that can be opened: {error}") from error
        self.spec = _read_spec(self._session, path)
        self._input = self._session.get_inputs()[0].name

    def scores(self, chips: np.ndarray) -> np.ndarray:
        """See `catalog.model.Network`."""
        return self._session.run(None, {self._input: chips})[0]


def _read_spec(session: onnxruntime.InferenceSession, path: Path) -> ModelSpec:
    text = session.get_modelmeta().custom_metadata_map.get("landloom")
    if text is None:
        raise BadInput(f"{str(path)!r} says nothing of its bands and classes: it was not exported by Landloom.")
    try:
        spec = ModelSpec.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"The description inside {str(path)!r} is not valid: {error.errors()[0]['msg']}.") from error
    entrance, exit_ = session.get_inputs()[0], session.get_outputs()[0]
    found = (
        f"{_TYPES.get(entrance.type, entrance.type)} with {entrance.shape[1]} bands ({', '.join(spec.bands)})",
        f"{_TYPES.get(exit_.type, exit_.type)} with {exit_.shape[1]} classes",
    )
    wanted = (f"uint16 with {len(BANDS)} bands ({', '.join(BANDS)})", f"uint8 with {len(spec.classes)} classes")
    if found != wanted:
        raise BadInput(
            f"Network {str(path)!r} takes {found[0]} and gives {found[1]}; Landloom maps with {wanted[0]} in "
            f"and {wanted[1]} out. Use a network of that form."
        )
    return spec.model_copy(update={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
