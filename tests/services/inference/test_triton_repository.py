"""The model repository: what Triton reads there, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from scipy.ndimage import gaussian_filter
from tritonclient.grpc import model_config_pb2 as pb

from catalog.errors import BadInput
from services.inference import DEFAULT_MODEL, model_file, open_network
from services.inference.triton_contract import spec_of
from services.inference.triton_repository import write_repository
from tests.networks import write_spectral_network


def config_of(folder: Path) -> pb.ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), pb.ModelConfig())


def chips(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(count).integers(1, 6_000, (count, 6, side, side)).astype(np.uint16)


def smooth_chip() -> np.ndarray:
    """Fields, dark and bright places: uint16 `[1, 6, 256, 256]`."""
    random = np.random.default_rng(3)
    coarse, fine = (gaussian_filter(random.normal(size=(6, 256, 256)), (0, width, width)) for width in (20, 2))
    return np.exp(7.2 + 0.8 * coarse / coarse.std() + 0.3 * fine / fine.std()).clip(1, 12_000).astype(np.uint16)[None]


@pytest.fixture
def network(tmp_path):
    return write_spectral_network(tmp_path / "spectral.onnx", version="1")


def test_a_model_tells_what_it_takes_and_gives_and_which_network_it_is(tmp_path, network):
    scores, labels = write_repository(tmp_path / "repository", str(network), instances=3)
    assert (scores.name, labels.name) == ("spectral", "spectral-labels")
    config = config_of(scores)
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [
        ("bands", pb.TYPE_UINT16, [6, -1, -1])
    ]
    assert [(one.name, list(one.dims)) for one in config.output] == [("scores", [10, -1, -1])]
    assert [(one.name, list(one.dims)) for one in config_of(labels).output] == [
        ("class", [-1, -1]),
        ("confidence", [-1, -1]),
    ]
    assert config.version_policy.HasField("all")
    assert not config.HasField("dynamic_batching"), "on a processor batches gain nothing, and cost the server time"
    assert (config.instance_group[0].kind, config.instance_group[0].count) == (pb.ModelInstanceGroup.KIND_CPU, 3)
    assert spec_of(config) == spec_of(config, "1") == open_network(str(network)).spec


@pytest.mark.parametrize("model", [DEFAULT_MODEL, "spectral", "newer"])
def test_the_graphs_of_the_onnx_runtime_backend_answer_as_the_network_does(tmp_path, network, model):
    file = model_file(model) if model == DEFAULT_MODEL else network
    if model == "newer":
        newer = onnx.load(network)
        newer.opset_import[0].version = 18
        onnx.save(newer, file)
    folders = write_repository(tmp_path / "repository", str(file))
    version = open_network(str(file)).spec.version
    scores, labels = (onnxruntime.InferenceSession(folder / version / "model.onnx") for folder in folders)
    given, known = chips(2), open_network(str(file)).scores(chips(2))
    (found,) = scores.run(["scores"], {"bands": given})
    classes, confidence = labels.run(["class", "confidence"], {"bands": given})
    assert classes.dtype == confidence.dtype == np.uint8
    assert np.array_equal(classes, found.argmax(axis=1)) and np.array_equal(confidence, found.max(axis=1))
    assert np.array_equal(found, known)


def test_for_gpus_integers_of_8_bits_become_floats_and_the_scores_stay_near(tmp_path):
    known = open_network(DEFAULT_MODEL).scores(smooth_chip())
    folder, _ = write_repository(tmp_path / "repository", DEFAULT_MODEL, gpu=True)
    (file,) = folder.glob("*/model.onnx")
    assert not {node.op_type for node in onnx.load(file).graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    (found,) = onnxruntime.InferenceSession(file).run(["scores"], {"bands": smooth_chip()})
    assert np.abs(found.astype(int) - known).mean() < 3
    assert (found.argmax(axis=1) == known.argmax(axis=1)).mean() > 0.95


def test_the_graph_refuses_chips_off_the_stride_and_says_so(tmp_path, network):
    folder, _ = write_repository(tmp_path / "repository", str(network))
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    with pytest.raises(Exception, match="sides_of_chips_must_be_multiples_of_8"):
        session.run(None, {"bands": chips(1, side=60)})


def test_for_gpus_tensorrt_in_half_precision_with_batches_worth_it(tmp_path, network):
    for folder in write_repository(tmp_path / "repository", str(network), gpu=True):
        config = config_of(folder)
        assert config.backend == "onnxruntime"
        assert (config.instance_group[0].kind, config.instance_group[0].count) == (pb.ModelInstanceGroup.KIND_GPU, 2)
        (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert (accelerator.name, accelerator.parameters["precision_mode"]) == ("tensorrt", "FP16")
        assert max(config.dynamic_batching.preferred_batch_size) == config.max_batch_size
        assert {one.batch_size for one in config.model_warmup} == {1, config.max_batch_size}


def test_versions_lie_side_by_side_and_the_newest_is_told_first(tmp_path, network):
    newer = write_spectral_network(tmp_path / "newer.onnx", version="10")
    middle = write_spectral_network(tmp_path / "middle.onnx", version="9")
    for one in (network, newer, middle, newer):
        folder, _ = write_repository(tmp_path / "repository", str(one))
    assert sorted(path.name for path in folder.iterdir()) == ["1", "10", "9", "config.pbtxt"]
    config = config_of(folder)
    assert spec_of(config).version == "10"
    assert spec_of(config, "1") == open_network(str(network)).spec
    assert sorted(path.name for path in (tmp_path / "repository").iterdir()) == ["spectral", "spectral-labels"]


def test_a_version_is_never_seen_in_part(tmp_path, network):
    repository = tmp_path / "repository"
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            for folder in repository.glob("[!.]*"):
                seen.add(tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    newer = write_spectral_network(tmp_path / "newer.onnx", version="2")
    for one in (network, newer):
        write_repository(repository, str(one), backend="python")
    done.set()
    watcher.join()
    first = ("1/model.onnx", "1/model.py", "config.pbtxt")
    assert seen <= {first, (*first[:2], "2/model.onnx", "2/model.py", "config.pbtxt")}


def test_another_network_of_the_same_version_is_refused(tmp_path, network):
    write_repository(tmp_path / "repository", str(network))
    other = write_spectral_network(tmp_path / "other.onnx", version="1")
    model = onnx.load(other)
    model.doc_string = "trained again"
    onnx.save(model, other)
    with pytest.raises(BadInput, match="holds another network as version 1"):
        write_repository(tmp_path / "repository", str(other))


@pytest.mark.parametrize("version", ["1.2", "two", "0", "01"])
def test_versions_that_triton_does_not_know_are_refused(tmp_path, version):
    file = write_spectral_network(tmp_path / "network.onnx", version=version)
    with pytest.raises(BadInput, match="whole numbers from 1"):
        write_repository(tmp_path / "repository", str(file))


def test_versions_of_another_form_want_a_folder_of_their_own(tmp_path, network):
    write_repository(tmp_path / "repository", str(network))
    newer = write_spectral_network(tmp_path / "newer.onnx", version="2")
    with pytest.raises(BadInput, match="write to another folder"):
        write_repository(tmp_path / "repository", str(newer), backend="python")
    with pytest.raises(BadInput, match="write to another folder"):
        write_repository(tmp_path / "repository", str(newer), gpu=True)


@pytest.mark.slow
def test_the_command_writes_it_and_prints_the_folders(tmp_path, network):
    command = [sys.executable, "-m", "pipelines", "triton", "repository", "--out", str(tmp_path / "repository")]
    done = subprocess.run([*command, "--model", str(network)], capture_output=True, text=True, check=True)
    assert [Path(line).name for line in done.stdout.splitlines()] == ["spectral", "spectral-labels"]
    done = subprocess.run([*command, "--backend", "tensorflow"], capture_output=True, text=True)
    assert done.returncode == 2 and "'tensorflow' is none of onnxruntime, python" in done.stderr


def test_the_python_backend_has_no_gpu(tmp_path, network):
    with pytest.raises(BadInput, match="Python backend runs on the processor"):
        write_repository(tmp_path / "repository", str(network), backend="python", gpu=True)
