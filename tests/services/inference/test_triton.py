"""The client of real Triton servers: the same scores as in this process, whatever happens to a server meanwhile."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from catalog.errors import BadInput, ServerUnavailable
from catalog.model import ModelSpec
from services.inference import reach_network
from services.inference.onnx import OnnxNetwork
from services.inference.triton_address import TOKEN, TritonAddress
from services.inference.triton_repository import write_repository
from services.inference.triton_server import TritonServer
from tests.networks import write_spectral_network
from tests.servers.triton import serve_triton

pytestmark = pytest.mark.slow
NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_spectral_network(tmp_path_factory.mktemp("network") / "spectral.onnx")


@pytest.fixture(scope="module")
def here(file) -> OnnxNetwork:
    return OnnxNetwork(file)


@pytest.fixture(scope="module")
def server(tmp_path_factory, file) -> Iterator[TritonServer]:
    """The one server of these tests; each leaves it running."""
    with serve_triton(tmp_path_factory.mktemp("served") / "models", file) as running:
        yield running


def chips(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 6_000, shape).astype(np.uint16)


def without_regions() -> set[str]:
    """Shared memory of this machine that Python made."""
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


@pytest.mark.parametrize("options", ["", "?shared-memory=0"], ids=["shared memory", "grpc"])
def test_scores_are_those_of_this_process(server, here, options) -> None:
    before = without_regions()
    served = reach_network(f"triton://{server.grpc}{options}", here.spec)
    assert served.spec == here.spec
    batch = chips(0, 3, 6, 128, 96)
    assert (served.scores(batch) == here.scores(batch)).all()
    many = [chips(side, 6, 16 * side, 64) for side in range(1, 24)]
    for given, answer in zip(many, served.each(iter(many)), strict=True):
        assert (answer == here.scores(given[np.newaxis])[0]).all()
    served.close()
    assert without_regions() <= before


def test_more_chips_than_the_server_takes_at_once(server, here) -> None:
    batch = chips(1, 37, 6, 16, 16)
    assert (reach_network(f"triton://{server.grpc}", here.spec).scores(batch) == here.scores(batch)).all()


def test_no_more_chips_are_drawn_than_are_under_way(server, here) -> None:
    served, drawn = reach_network(f"triton://{server.grpc}?in-flight=3", here.spec), 0

    def source() -> Iterator[np.ndarray]:
        nonlocal drawn
        for seed in range(20):
            drawn += 1
            yield chips(seed, 6, 16, 16)

    for answered, _ in enumerate(served.each(source())):
        assert drawn <= answered + 3


def test_figures_of_the_server_are_told(server, here) -> None:
    served = reach_network(f"triton://{server.grpc}", here.spec)
    served.scores(chips(2, 1, 6, 256, 256))
    figures = served.check()
    assert figures["server_compute_ms"] > 0 and figures["server_queue_ms"] >= 0


def test_a_wrong_chip_is_an_error_of_its_own(server, here) -> None:
    served = reach_network(f"triton://{server.grpc}", here.spec)
    with pytest.raises(BadInput, match=r"multiples of 8; these are uint16 \[1, 6, 16, 13\]"):
        served.scores(chips(3, 1, 6, 16, 13))
    good = chips(3, 1, 6, 16, 16)
    assert (served.scores(good) == here.scores(good)).all()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"id": "another"}, "refuses another version 1: Request for unknown model: 'another' is not found"),
        ({"version": "7"}, "'spectral' version 7 is not found"),
        ({"sha256": "0" * 64}, "serves another network as spectral version 1: its sha256 is"),
        ({"classes": ("land", "water")}, "serves another network as spectral version 1: its classes is"),
    ],
)
def test_another_network_is_refused_at_once(server, here, changed, told) -> None:
    with pytest.raises(BadInput, match=told):
        reach_network(f"triton://{server.grpc}", here.spec.model_copy(update=changed))


def test_a_server_that_does_not_come_is_told(here) -> None:
    started = time.monotonic()
    with pytest.raises(ServerUnavailable, match=rf"for 1 s \({NOWHERE}: .*landloom triton serve"):
        reach_network(f"triton://{NOWHERE}", here.spec, retry_seconds=1)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://host:8000", "no address of a Triton server"),
        ("triton://", "no address of a Triton server"),
        ("triton://host:8001?deadline=soon", "deadline: Input should be a valid number"),
        ("triton://host:8001?shm=0", "shm: Extra inputs are not permitted"),
    ],
)
def test_an_address_that_is_none(address, told) -> None:
    with pytest.raises(BadInput, match=told):
        TritonAddress.parse(address)


def test_addresses() -> None:
    found = TritonAddress.parse("tritons://one,two:9001?deadline=5&in-flight=2")
    assert found.endpoints == ("one:8001", "two:9001") and found.tls
    assert (found.deadline, found.in_flight, found.shared_memory) == (5, 2, True)


# Faults


def test_one_of_two_servers_is_down(server, here) -> None:
    served = reach_network(f"triton://{NOWHERE},{server.grpc}", here.spec, retry_seconds=10)
    many = [chips(seed, 6, 64, 64) for seed in range(12)]
    answers = list(served.each(iter(many)))
    assert all((answer == here.scores(given[None])[0]).all() for given, answer in zip(many, answers, strict=True))
    served.check()


@pytest.mark.parametrize("options", ["", "?shared-memory=0"], ids=["shared memory", "grpc"])
def test_a_killed_server_is_waited_for(server, here, options) -> None:
    served = reach_network(f"triton://{server.grpc}{options}", here.spec, retry_seconds=60)
    many = [chips(seed, 6, 256, 256) for seed in range(40)]
    restart = threading.Thread(target=server.start)

    def source() -> Iterator[np.ndarray]:
        for number, chip in enumerate(many):
            if number == 20:
                server.kill()
                restart.start()
            yield chip

    answers = list(served.each(source()))
    restart.join()
    assert len(answers) == len(many)
    assert all((answer == here.scores(given[None])[0]).all() for given, answer in zip(many, answers, strict=True))


def test_a_server_that_hangs_is_given_up_and_its_late_answer_spoils_nothing(server, here) -> None:
    served = reach_network(f"triton://{server.grpc}?deadline=1", here.spec, retry_seconds=60)
    one, two = chips(5, 1, 6, 128, 128), chips(6, 1, 6, 128, 128)
    served.scores(one)
    server.signal(signal.SIGSTOP)
    threading.Timer(3, server.signal, [signal.SIGCONT]).start()
    assert (served.scores(two) == here.scores(two)).all()
    assert (served.scores(one) == here.scores(one)).all()


def test_a_server_that_hangs_for_good(server, here) -> None:
    served = reach_network(f"triton://{server.grpc}?deadline=1", here.spec, retry_seconds=2)
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(ServerUnavailable, match=r"no answer in time"):
            served.scores(chips(7, 1, 6, 64, 64))
    finally:
        server.signal(signal.SIGCONT)


def test_weights_exchanged_under_the_same_version_are_noticed(tmp_path, here, file) -> None:
    """As when somebody copies another file over the one that is served."""
    with serve_triton(tmp_path / "models", file) as server:
        served = reach_network(f"triton://{server.grpc}", here.spec, retry_seconds=20)
        served.scores(chips(8, 1, 6, 64, 64))
        served.check()
        other = write_spectral_network(tmp_path / "other.onnx", stride=16)
        write_repository(tmp_path / "new", str(other), backend="python", instances=1)
        for model in ("spectral", "spectral-labels"):
            shutil.copytree(tmp_path / "new" / model, tmp_path / "models" / model, dirs_exist_ok=True)
        wait_until(lambda: served_sha(server) == OnnxNetwork(other).spec.sha256)
        with pytest.raises(BadInput, match="serves another network as spectral version 1"):
            served.check()


def test_a_version_taken_away_is_no_other(tmp_path, here, file) -> None:
    two = write_spectral_network(tmp_path / "two.onnx", version="2")
    with serve_triton(tmp_path / "models", file, two) as server:
        served = reach_network(f"triton://{server.grpc}", here.spec, retry_seconds=2)
        given = chips(9, 1, 6, 64, 64)
        assert (served.scores(given) == here.scores(given)).all()
        shutil.rmtree(tmp_path / "models" / "spectral" / "1")
        wait_until(lambda: answers(served, given) is not None)
        assert isinstance(answers(served, given), BadInput | ServerUnavailable)


def test_a_token_is_wanted(tmp_path, here, file, monkeypatch) -> None:
    options = [f"--grpc-restricted-protocol={name}:token=secret" for name in ("inference", "model-config")]
    with serve_triton(tmp_path / "models", file, options=options) as server:
        monkeypatch.setenv(TOKEN, "guess")
        with pytest.raises(BadInput, match=f"refuses us: .* Set {TOKEN}"):
            reach_network(f"triton://{server.grpc}", here.spec)
        monkeypatch.setenv(TOKEN, "secret")
        given = chips(10, 1, 6, 64, 64)
        assert (reach_network(f"triton://{server.grpc}", here.spec).scores(given) == here.scores(given)).all()


def wait_until(happened, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


def served_sha(server: TritonServer) -> str:
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(server.grpc) as client:
        told = client.get_model_config("spectral", "1").config.parameters["landloom:1"].string_value
    return ModelSpec.model_validate_json(told).sha256


def answers(served, given: np.ndarray) -> Exception | None:
    try:
        served.scores(given)
    except Exception as error:
        return error
    return None


@contextmanager
def proxy(behind: str, megabytes: float) -> Iterator[str]:
    """A gRPC proxy that passes requests on, but none larger than this, as gateways in front of a server do."""
    with grpc.insecure_channel(behind) as channel:

        class Forward(grpc.GenericRpcHandler):
            def service(self, call):
                onward = channel.unary_unary(call.method)
                return grpc.unary_unary_rpc_method_handler(lambda request, context: onward(request))

        server = grpc.server(
            ThreadPoolExecutor(4), [Forward()], options=[("grpc.max_receive_message_length", int(megabytes * 1e6))]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_a_chip_larger_than_what_is_let_through_is_told(server, here) -> None:
    with proxy(server.grpc, 0.5) as gateway:
        served = reach_network(f"triton://{gateway}?shared-memory=0", here.spec, retry_seconds=5)
        small = chips(11, 1, 6, 128, 128)
        assert (served.scores(small) == here.scores(small)).all()
        with pytest.raises(BadInput, match=r"does not take chips \[1, 6, 256, 256\] of 0.8 MB: .* Raise its limit"):
            served.scores(chips(12, 1, 6, 256, 256))
