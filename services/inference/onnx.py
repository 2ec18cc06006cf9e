"""Networks in ONNX files, run in this process by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import ValidationError

from catalog.errors import BadInput
from catalog.legend import CLOUD
from catalog.model import METADATA_KEY, PROVENANCE_KEY, ModelSpec, Provenance
from catalog.radar import RADAR_CHANNELS, bands_apart
from catalog.second_stage import planes_of
from catalog.sensors import ALL_BANDS


class OnnxNetwork:
    """A network on this process's CPU, one thread unless told otherwise; Beam's workers are the parallelism."""

    spec: ModelSpec
    provenance: Provenance | None
    """How it was made, if its file tells."""

    def __init__(self, path: Path, threads: int = 1):
        """Open a network.

        Raises:
            BadInput: no such file, no network of Landloom's, or one of another input.
        """
        if not path.is_file():
            raise BadInput(f"There is no network {str(path)!r}. Give the ID of a shipped one, or an ONNX file.")
        content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena is kept (without it the network takes twice as long, in page faults), and so memory stays at what
        # the largest chip needs; plans for each size of chip would come on top.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadInput(f"{str(path)!r} is not an ONNX network that can be opened: {error}") from error
        self.spec = _read_spec(self._session, path).model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
        self.provenance = _read_provenance(self._session)
        self._input = self._session.get_inputs()[0].name

    def scores(self, chips: np.ndarray) -> np.ndarray:
        """See `catalog.model.Network`.

        Raises:
            ValueError: chips of another type, number of bands or size.
        """
        stride, bands, wanted = self.spec.stride, len(self.spec.bands), "int16" if self.spec.first else "uint16"
        if (
            chips.dtype != wanted
            or chips.ndim != 4
            or chips.shape[1] != bands
            or any(side % stride or not side for side in chips.shape[2:])
        ):
            raise ValueError(
                f"Chips are {wanted} [N, {bands}, H, W] with H and W multiples of {stride}; "
                f"these are {chips.dtype} {list(chips.shape)}."
            )
        return self._session.run(None, {self._input: chips})[0]

    def each(self, chips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """See `catalog.model.Network`."""
        for chip in chips:
            yield self.scores(np.ascontiguousarray(chip[np.newaxis]))[0]

    def check(self) -> dict[str, float]:
        """See `catalog.model.Network`: weights in memory stay what they are."""
        return {}


def _read_spec(session: onnxruntime.InferenceSession, path: Path) -> ModelSpec:
    """The description inside, checked against the network itself and against what mapping feeds it."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise BadInput(
            f"{str(path)!r} says nothing of its bands and classes (metadata key {METADATA_KEY!r}). "
            "Write it with `landloom export`, or register another maker's: landloom models add FILE --bands …"
        )
    try:
        spec = ModelSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"The description inside {str(path)!r} is not valid: {where}: {first['msg']}.") from error
    found = (_form(session.get_inputs(), "bands"), _form(session.get_outputs(), "classes"))
    kind, known = ("int16", planes_of((*spec.classes, CLOUD))) if spec.first else ("uint16", ALL_BANDS)
    if unknown := [band for band in bands_apart(spec.bands)[0] if band not in known]:
        whose = (
            "for a second stage there are" if spec.first else f"Sentinel-1 has {', '.join(RADAR_CHANNELS)}, Sentinel-2"
        )
        raise BadInput(f"Network {str(path)!r} wants band {unknown[0]!r}; {whose} {', '.join(known)}.")
    wanted = (f"tensor({kind}) with {len(spec.bands)} bands", f"tensor(uint8) with {len(spec.classes)} classes")
    if found != wanted:
        raise BadInput(
            f"Network {str(path)!r} takes {found[0]} and gives {found[1]}; "
            f"{wanted[0]} ({', '.join(spec.bands)}) in and {wanted[1]} out are needed, as its description says. "
            "Use a network of that form."
        )
    return spec


def _read_provenance(session: onnxruntime.InferenceSession) -> Provenance | None:
    text = session.get_modelmeta().custom_metadata_map.get(PROVENANCE_KEY)
    return Provenance.model_validate_json(text) if text else None


def _form(tensors: list[onnxruntime.NodeArg], axis: str) -> str:
    """As `tensor(uint16) with 6 bands`, of the only input or output."""
    if len(tensors) != 1 or len(tensors[0].shape) != 4:
        return ", ".join(f"{tensor.type} {tensor.shape}" for tensor in tensors)
    return f"{tensors[0].type} with {tensors[0].shape[1]} {axis}"
