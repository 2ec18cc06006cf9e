"""A real Triton server answers as the network in this process does, says what is wrong, and stops without a trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import requests
import tritonclient.grpc
from onnx import numpy_helper
from tritonclient.utils import InferenceServerException

from services.inference import DEFAULT_MODEL, open_network
from services.inference.triton_package import TritonUnavailable, triton_package
from services.inference.triton_repository import MAX_BATCH, write_repository
from services.inference.triton_server import TritonServer, TritonStopped, running_server
from services.inference.triton_status import ModelStatus, TritonUnreachable, server_status
from tests.networks import write_spectral_network
from tests.servers.triton import serve_triton

pytestmark = pytest.mark.slow


def write_reversed_network(path: Path, *, version: str) -> Path:
    """The spectral network with its classes in reverse order."""
    model = onnx.load(write_spectral_network(path, version=version))
    for constant in model.graph.initializer:
        if constant.name in ("weights", "bias"):
            flipped = np.ascontiguousarray(numpy_helper.to_array(constant)[::-1])
            constant.CopyFrom(numpy_helper.from_array(flipped, constant.name))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> tuple[Path, Path]:
    """Versions 1 and 2 of one network."""
    folder = tmp_path_factory.mktemp("networks")
    return write_spectral_network(folder / "1.onnx"), write_reversed_network(folder / "2.onnx", version="2")


@pytest.fixture(scope="module")
def server(tmp_path_factory, networks) -> Iterator[TritonServer]:
    with serve_triton(tmp_path_factory.mktemp("served") / "models", *networks, DEFAULT_MODEL) as running:
        yield running


def chips(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(count).integers(1, 6_000, (count, 6, side, side)).astype(np.uint16)


def ask(server: TritonServer, model: str, given: np.ndarray, version: str = "") -> dict[str, np.ndarray]:
    """Its answer to chips, by name of the output."""
    tensor = tritonclient.grpc.InferInput("bands", given.shape, {"u": "UINT16", "f": "FP32"}[given.dtype.kind])
    tensor.set_data_from_numpy(given)
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        answer = client.infer(model, [tensor], model_version=version)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def status_of(server: TritonServer, model: str, version: str) -> ModelStatus:
    models = server_status(server.metrics).models
    return next(one for one in models if (one.model, one.version) == (model, version))


def children(server: TritonServer) -> list[psutil.Process]:
    """Processes that serve its repository."""
    told = str(server.repository)
    return [one for one in psutil.process_iter() if any(told in part for part in _command(one))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("count", [1, 3])
def test_scores_are_those_of_the_network_bit_for_bit(server, networks, count):
    known = open_network(str(networks[0])).scores(chips(count))
    assert np.array_equal(ask(server, "spectral", chips(count), "1")["scores"], known)


def test_so_are_those_of_the_network_that_is_shipped(server):
    known = open_network(DEFAULT_MODEL).scores(chips(1, side=256))
    assert np.array_equal(ask(server, DEFAULT_MODEL, chips(1, side=256))["scores"], known)


def ask_together(server: TritonServer) -> tuple[int, int, int]:
    """Ask six things at once, and check the answers; what the server counted: requests, chips, runs of the network."""
    network = open_network(DEFAULT_MODEL)
    before = status_of(server, DEFAULT_MODEL, network.spec.version)
    given = [chip[np.newaxis] for chip in chips(6, side=256)]
    with ThreadPoolExecutor(len(given)) as clients:
        answers = list(clients.map(lambda one: ask(server, DEFAULT_MODEL, one)["scores"], given))
    assert all(np.array_equal(answer, network.scores(one)) for answer, one in zip(answers, given, strict=True))
    after = status_of(server, DEFAULT_MODEL, network.spec.version)
    return after.done - before.done, after.chips - before.chips, after.runs - before.runs


def test_requests_that_come_together_get_each_its_own_answer(server):
    assert ask_together(server) == (6, 6, 6)


def test_so_do_those_that_share_a_run_where_an_operator_has_it_so(tmp_path):
    def share_runs(folder: Path) -> None:
        with (folder / DEFAULT_MODEL / "config.pbtxt").open("a") as config:
            config.write("dynamic_batching { max_queue_delay_microseconds: 200000 }\n")

    with serve_triton(tmp_path / "models", DEFAULT_MODEL, prepare=share_runs) as server:
        *asked, runs = ask_together(server)
    assert asked == [6, 6]
    assert 1 <= runs < 6


def test_a_batch_of_the_largest_size_passes(server, networks):
    given = chips(MAX_BATCH, side=512)
    known = open_network(str(networks[0])).scores(given)
    assert np.array_equal(ask(server, "spectral", given, "1")["scores"], known)


def test_labels_are_the_class_with_most_score_and_that_score(server, networks):
    known = open_network(str(networks[0])).scores(chips(2))
    answer = ask(server, "spectral-labels", chips(2), "1")
    assert set(answer) == {"class", "confidence"}
    assert answer["class"].dtype == answer["confidence"].dtype == np.uint8
    assert np.array_equal(answer["class"], known.argmax(axis=1))
    assert np.array_equal(answer["confidence"], known.max(axis=1))


def test_versions_answer_side_by_side_the_newest_by_default(server, networks):
    first, second = (open_network(str(file)).scores(chips(1)) for file in networks)
    assert not np.array_equal(first, second)
    for model, names in (("spectral", ("scores",)), ("spectral-labels", ("class",))):
        for version, known in (("1", first), ("2", second), ("", second)):
            expected = known if names == ("scores",) else known.argmax(axis=1)
            assert np.array_equal(ask(server, model, chips(1), version)[names[0]], expected)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (chips(1, side=60), r"H and W multiples of 8; these are uint16 \[1, 6, 60, 60\]"),
        (chips(1)[:, :5], r"unexpected shape for input 'bands'"),
        (chips(1).astype(np.float32), r"data-type is 'FP32', but model 'spectral' expects 'UINT16'"),
        (chips(MAX_BATCH + 1), rf"batch-size must be <= {MAX_BATCH}"),
    ],
)
def test_what_is_wrong_with_chips_is_said(server, wrong, said):
    with pytest.raises(InferenceServerException, match=said):
        ask(server, "spectral", wrong)


def test_the_status_counts_requests_and_chips(server):
    before = status_of(server, "spectral", "1")
    for count in (1, 3, 1):
        ask(server, "spectral", chips(count), "1")
    # Triton counts a request when it is done with it, a moment after it has answered.
    deadline = time.monotonic() + 10
    while (after := status_of(server, "spectral", "1")).done - before.done < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (after.done - before.done, after.chips - before.chips, after.failed) == (3, 5, before.failed)
    assert after.compute_ms > 0 and after.pending == 0


def test_the_autoscalers_rule_is_made_of_metrics_that_there_are(server):
    rule = (Path(__file__).parents[3] / "k8s" / "triton" / "adapter-values.yaml").read_text()
    told = requests.get(f"http://{server.metrics}/metrics", timeout=5).text
    assert all(f"\n{name}{{model=" in told for name in set(re.findall(r"nv_\w+", rule)))


def test_the_status_is_a_table_on_the_command_line(server):
    command = [sys.executable, "-m", "pipelines", "triton", "status"]
    wide = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run([*command, server.metrics], capture_output=True, text=True, env=wide)
    assert done.returncode == 0
    assert re.search(rf"{server.metrics}.*\n{DEFAULT_MODEL}-labels +\d+ ", done.stderr, re.DOTALL)
    # One that is down does not hide the others.
    done = subprocess.run([*command, f"127.0.0.1:1,{server.metrics}"], capture_output=True, text=True, env=wide)
    assert done.returncode == 1
    assert server.metrics in done.stderr and "No Triton metrics at 127.0.0.1:1 (ConnectionError)" in done.stderr


def test_a_server_that_is_none_is_told(server):
    with pytest.raises(TritonUnreachable, match="HOST:PORT of its metrics"):
        server_status(server.http)


def test_a_version_written_while_it_runs_is_served_and_the_others_go_on(tmp_path, networks):
    with serve_triton(tmp_path / "models", networks[0]) as server:
        known = ask(server, "spectral", chips(1), "1")["scores"]
        write_repository(server.repository, str(networks[1]), backend="python", instances=1)
        deadline = time.monotonic() + 30
        while not requests.get(f"http://{server.http}/v2/models/spectral/versions/2/ready", timeout=5).ok:
            assert np.array_equal(ask(server, "spectral", chips(1), "1")["scores"], known)
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert np.array_equal(ask(server, "spectral", chips(1), "1")["scores"], known)


def test_it_comes_back_on_the_same_ports_and_leaves_nothing_behind(tmp_path, networks):
    with serve_triton(tmp_path / "models", networks[0]) as server:
        assert server.ready() and children(server)
        server.kill()
        assert not server.ready() and not children(server)
        with pytest.raises(InferenceServerException):
            ask(server, "spectral", chips(1))
        server.restart()
        assert ask(server, "spectral", chips(1))["scores"].size
        regions = set(Path("/dev/shm").glob(f"{server._id}-*"))
        assert regions
    assert not children(server)
    assert not regions & set(Path("/dev/shm").iterdir())


def test_a_port_that_is_taken_is_said(server):
    port = int(server.http.split(":")[1])
    with pytest.raises(TritonStopped, match="in use"), running_server(server.repository, http_port=port):
        pass


def test_a_machine_on_which_no_server_can_be_installed_is_told(tmp_path, monkeypatch):
    for name, value in (("LANDLOOM_CACHE", tmp_path), ("UV_OFFLINE", 1), ("UV_NO_CACHE", 1), ("PIP_NO_INDEX", 1)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(TritonUnavailable, match=r"nvidia-pytriton.* cannot be installed"):
        triton_package()
    assert not list((tmp_path / "triton").iterdir())


def test_why_a_server_does_not_start_is_said(tmp_path, networks):
    repository = tmp_path / "models"
    folder, _ = write_repository(repository, str(networks[0]), backend="python", instances=1)
    (folder / "1" / "model.onnx").write_bytes(networks[1].read_bytes())
    said = r"model\.onnx of version 1 is not the network of the configuration"
    with pytest.raises(TritonStopped, match=said), serve_triton(repository):
        pass


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path, networks, told):
    command = [sys.executable, "-m", "pipelines", "triton", "serve", "--model", str(networks[0]), "--instances", "1"]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "models")],
        stdout=subprocess.PIPE,
        text=True,
        # Tests that a shell runs in the background ignore SIGINT, and so would what they start.
        preexec_fn=lambda: signal.signal(told, signal.SIG_DFL),
    ) as process:
        addresses = dict(process.stdout.readline().split() for _ in range(3))
        assert requests.get(f"http://{addresses['http']}/v2/health/ready", timeout=5).ok
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.send_signal(told)
        assert process.wait(30) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


def test_a_server_that_dies_ends_the_command_with_the_end_of_its_log(tmp_path, networks):
    command = [sys.executable, "-m", "pipelines", "triton", "serve", "--model", str(networks[0]), "--instances", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(3):
        process.stdout.readline()
    (server,) = psutil.Process(process.pid).children()
    server.kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "The Triton server ended with -9" in said and "Started Metrics Service" in said
