"""Triton's model repository: the folder from which a Triton server serves Landloom's networks.

For a network `unet-small` of version 2 it holds two models, each version with its own copy of the weights:

    unet-small/config.pbtxt           bands -> scores
    unet-small/2/model.onnx           (and model.py with the Python backend)
    unet-small-labels/config.pbtxt    bands -> class, confidence
    unet-small-labels/2/model.onnx

Labels are a model of their own and no ensemble, because an ensemble has one configuration for all versions, so it
could not answer by the version that it is asked for.

The form is described in Triton's `model_repository.md` and `model_configuration.md`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from catalog.errors import BadInput, StoreError
from catalog.model import ModelSpec
from services.inference.onnx import OnnxNetwork
from services.inference.registry import model_file
from services.inference.triton_contract import INPUT, LABELS, LABELS_SUFFIX, SCORES, parameter
from services.inference.triton_graphs import write_labels_graph, write_scores_graph

Backend = Literal["onnxruntime", "python"]
MAX_BATCH = 16
"""Chips of a batch, at most."""
_WARM_UP_SIDE = 256
_GPU_QUEUE_MICROSECONDS = 2_000
_CONFIG = "config.pbtxt"
_MODEL_PY = Path(__file__).with_name("triton_model.py")


def write_repository(
    out: Path,
    model: str,
    *,
    backend: Backend = "onnxruntime",
    gpu: bool = False,
    instances: int | None = None,
) -> list[Path]:
    """Write a network into a model repository, beside those and the other versions that are there.

    A server that polls the folder sees a version whole or not at all. Writing what is there already changes nothing
    but the instances.

    Args:
        out: the repository's folder.
        model: the network's ID or ONNX file.
        backend: `onnxruntime` for the server's own ONNX Runtime backend, `python` for servers that lack it.
        gpu: run it on every GPU of the server, by TensorRT in FP16 where it can be; the processor otherwise.
        instances: copies that answer at the same time (per GPU); by default as many as there are cores, or two per GPU,
            so that one copies while the other computes.

    Returns:
        The folders of its two models.

    Raises:
        BadInput: the version is no whole number, the folder holds other forms of the same network, or the network
            cannot be served.
        StoreError: the folder cannot be written.
    """
    if gpu and backend == "python":
        raise BadInput("The Python backend runs on the processor. For a GPU use --backend onnxruntime.")
    if instances is not None and instances < 1:
        raise BadInput(f"--instances {instances}: at least one is needed.")
    file = model_file(model)
    spec = OnnxNetwork(file).spec
    if not (spec.version.isdecimal() and spec.version.isascii() and not spec.version.startswith("0")):
        raise BadInput(
            f"Network {spec.id} has version {spec.version!r}, but Triton's versions are whole numbers from 1. "
            "Export it with one: landloom export --version 3."
        )
    sizes = _sizes(file)
    written = []
    for name, outputs in ((spec.id, (SCORES,)), (spec.id + LABELS_SUFFIX, LABELS)):
        config = _config(name, outputs, spec, sizes, backend, gpu, instances or (2 if gpu else cores()))
        folder = out / name
        try:
            _add_version(folder, config, spec, file)
        except OSError as error:
            raise StoreError(f"The model repository {str(out)!r} cannot be written: {error}.") from error
        written.append(folder)
    return written


def cores() -> int:
    """Of the processor, as many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _config(
    name: str,
    outputs: tuple[str, ...],
    spec: ModelSpec,
    sizes: tuple[int, int],
    backend: Backend,
    gpu: bool,
    instances: int,
) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, backend=backend, max_batch_size=MAX_BATCH)
    config.input.add(name=INPUT, data_type=pb.TYPE_UINT16, dims=(len(spec.bands), *sizes))
    for output in outputs:
        dims = (len(spec.classes), *sizes) if output == SCORES else sizes
        config.output.add(name=output, data_type=pb.TYPE_UINT8, dims=dims)
    config.version_policy.all.SetInParent()
    kind = pb.ModelInstanceGroup.KIND_GPU if gpu else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind, count=instances)
    told = spec.model_dump_json()
    for key in (parameter(), parameter(spec.version)):
        config.parameters[key].string_value = told
    if gpu:
        # A GPU is worth a short wait for a fuller batch. On a processor a batch is no faster than its chips, and to
        # look for batches takes an eighth of it while requests wait.
        config.dynamic_batching.preferred_batch_size.extend((MAX_BATCH // 2, MAX_BATCH))
        config.dynamic_batching.max_queue_delay_microseconds = _GPU_QUEUE_MICROSECONDS
        tensorrt = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
        tensorrt.parameters["precision_mode"] = "FP16"
        tensorrt.parameters["trt_engine_cache_enable"] = "1"
        tensorrt.parameters["trt_engine_cache_path"] = "/tmp/tensorrt"
    elif backend == "onnxruntime":
        config.parameters["intra_op_thread_count"].string_value = "1"
        config.parameters["inter_op_thread_count"].string_value = "1"
    # TensorRT builds its engines at the first chip of each size, which takes minutes: the smallest and the largest
    # batch give it the range to build for.
    for batch in (1, MAX_BATCH) if gpu else (1,):
        warm_up = config.model_warmup.add(name=f"{batch} chips", batch_size=batch)
        side = -(-_WARM_UP_SIDE // spec.stride) * spec.stride
        sample = warm_up.inputs[INPUT]
        sample.data_type, sample.random_data = pb.TYPE_UINT16, True
        sample.dims.extend((len(spec.bands), *(side if size == -1 else size for size in sizes)))
    return config


def _add_version(folder: Path, config: pb.ModelConfig, spec: ModelSpec, file: Path) -> None:
    """Put a version into a model's folder, whose configuration tells of all versions."""
    version = folder / spec.version
    if (folder / _CONFIG).is_file():
        _merge(text_format.Parse((folder / _CONFIG).read_text(), pb.ModelConfig()), config, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A server that polls just now takes the temporary folder for a model without configuration, and passes over it.
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        made.mkdir(mode=0o755)
        (made / _CONFIG).write_text(text_format.MessageToString(config))
        if not version.exists():
            _write_version(made / spec.version, config, spec, file)
        if not folder.exists():
            made.rename(folder)
            return
        # The configuration first: a version that it does not tell of would not load.
        (made / _CONFIG).replace(folder / _CONFIG)
        if not version.exists():
            (made / spec.version).rename(version)


def _merge(there: pb.ModelConfig, config: pb.ModelConfig, folder: Path) -> None:
    """Take over what a configuration tells of other versions, and make sure that they go together."""
    versions = {key: told for key, told in there.parameters.items() if key.startswith(f"{parameter()}:")}
    for key, told in versions.items():
        if key in config.parameters and config.parameters[key].string_value != told.string_value:
            raise BadInput(
                f"{str(folder)!r} holds another network as version {key.split(':')[1]}. Give the new one a version of "
                "its own, or remove that folder."
            )
    same = ("backend", "input", "output")
    kinds = [group.instance_group[0].kind for group in (there, config)]
    if kinds[0] != kinds[1] or any(getattr(there, field) != getattr(config, field) for field in same):
        raise BadInput(
            f"{str(folder)!r} holds versions with another backend, device, or number of bands or classes. "
            "All versions of a model share them: write to another folder."
        )
    for key, told in versions.items():
        config.parameters[key].CopyFrom(told)
    newest = max(
        versions | {key: None for key in config.parameters if ":" in key}, key=lambda key: int(key.split(":")[1])
    )
    config.parameters[parameter()].CopyFrom(config.parameters[newest])


def _write_version(folder: Path, config: pb.ModelConfig, spec: ModelSpec, file: Path) -> None:
    folder.mkdir(mode=0o755)
    if config.backend == "python":
        shutil.copyfile(file, folder / "model.onnx")
        shutil.copyfile(_MODEL_PY, folder / "model.py")
        return
    write = write_scores_graph if config.output[0].name == SCORES else write_labels_graph
    gpu = config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU
    write(file, spec, folder / "model.onnx", gpu)


def _sizes(file: Path) -> tuple[int, int]:
    """Height and width of the chips that a network takes, -1 for any."""
    (one,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()
    batch, _, *sizes = one.shape
    if isinstance(batch, int):
        raise BadInput(
            f"Network {str(file)!r} takes batches of {batch} only, but a server puts chips together as they come. "
            "Export it with a free first dimension."
        )
    height, width = (size if isinstance(size, int) else -1 for size in sizes)
    return height, width
