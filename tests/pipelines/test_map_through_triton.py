"""Maps whose network is run by real Triton servers: the same, whatever happens to the servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import LandloomError
from catalog.manifest import Manifest
from catalog.store import open_store
from pipelines import block_step
from pipelines.stage import read_staged
from services.inference.triton_server import TritonServer
from tests.networks import write_spectral_network
from tests.pipelines.running import contents, landloom, map_tiles
from tests.servers.triton import serve_triton

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory, network) -> Iterator[TritonServer]:
    with serve_triton(tmp_path_factory.mktemp("served") / "models", network) as running:
        yield running


@pytest.fixture(scope="module")
def in_process(simulated, network, tmp_path_factory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("in-process")
    map_tiles(simulated.catalog, out, network)
    return contents(out)


@pytest.mark.parametrize("options", ["", "?shared-memory=0"], ids=["shared memory", "grpc"])
def test_maps_are_bit_for_bit_those_of_this_process(simulated, network, server, in_process, tmp_path, options) -> None:
    accounts = map_tiles(simulated.catalog, tmp_path, network, inference=f"triton://{server.grpc}{options}")
    assert accounts.published == ["33UUU-2021"]
    assert contents(tmp_path) == in_process


def test_several_workers_share_servers(simulated, network, server, in_process, tmp_path) -> None:
    landloom(
        *("map", "--source", simulated.catalog, "--year", "2021", "--tiles", "33UUU", "--out", tmp_path),
        *("--model", network, "--inference", f"triton://127.0.0.1:1,{server.grpc}"),
        *("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
    )
    assert contents(tmp_path) == in_process


def test_a_server_killed_between_blocks_comes_back(
    simulated, network, server, in_process, tmp_path, monkeypatch
) -> None:
    whole, restarts = block_step.stage, []

    def stage(*arguments) -> None:
        whole(*arguments)
        if not restarts:
            server.kill()
            restarts.append(threading.Thread(target=server.start))
            restarts[0].start()

    monkeypatch.setattr(block_step, "stage", stage)
    accounts = map_tiles(
        simulated.catalog, tmp_path, network, inference=f"triton://{server.grpc}", retry_seconds=60
    )  # fmt: skip
    restarts[0].join()
    assert accounts.published == ["33UUU-2021"] and not accounts.dead_lettered
    assert contents(tmp_path) == in_process


def test_a_server_that_stays_away_dead_letters(simulated, network, tmp_path, server, monkeypatch) -> None:
    """What was staged before stays, and the next run finishes it."""
    whole = block_step.stage

    def stage(*arguments) -> None:
        whole(*arguments)
        server.kill()

    with monkeypatch.context() as patched:
        patched.setattr(block_step, "stage", stage)
        accounts = map_tiles(simulated.catalog, tmp_path, network, inference=f"triton://{server.grpc}")
    assert list(accounts.dead_lettered) == ["33UUU-2021"] and accounts.blocks["failed"] == 1
    assert "No Triton server answered for 2 s" in accounts.dead_lettered["33UUU-2021"]
    server.start()
    accounts = map_tiles(
        simulated.catalog, tmp_path, network, inference=f"triton://{server.grpc}", retry_seconds=30
    )  # fmt: skip
    assert accounts.published == ["33UUU-2021"] and accounts.blocks["staged before"] == 1


def test_what_is_refused_before_anything_is_mapped(simulated, network, server, tmp_path) -> None:
    run = ("map", "--source", simulated.catalog, "--year", "2021", "--tiles", "33UUU", "--out", tmp_path / "out")
    other = write_spectral_network(tmp_path / "other.onnx", stride=16)
    served = f"triton://{server.grpc}"
    done = landloom(*run, "--model", other, "--inference", served, check=2)
    assert "serves another network as spectral version 1: its stride is 8" in done.stderr
    done = landloom(*run, "--model", "unet-small", "--inference", served, check=2)
    assert "unknown model: 'unet-small'" in done.stderr
    done = landloom(*run, "--model", network, "--inference", "127.0.0.1:8001", check=2)
    assert "is no address of a Triton server" in done.stderr
    gone = ("--model", network, "--inference", "triton://127.0.0.1:1", "--retry-seconds", "1")
    assert "No Triton server answered for 1 s" in landloom(*run, *gone, check=1).stderr
    assert not (tmp_path / "out" / "lulc-annual").exists()


def test_a_block_of_another_network_is_not_assembled(simulated, network, tmp_path, monkeypatch) -> None:
    """As workers of two releases might leave it."""
    whole = block_step.classify_block

    def other(*arguments):
        voted, report = whole(*arguments)
        report.model = "0" * 64
        return voted, report

    monkeypatch.setattr(block_step, "classify_block", other)
    with pytest.raises(Exception, match="was made by another network"):
        map_tiles(simulated.catalog, tmp_path, network)
    assert not list(tmp_path.glob("lulc-annual/33UUU/2021/*.json"))
    (manifest_file,) = Path(tmp_path).glob("lulc-annual/33UUU/2021/*/manifest.json")
    manifest = Manifest.model_validate(json.loads(manifest_file.read_text()))
    with pytest.raises(LandloomError, match="Delete staging/"):
        read_staged(open_store(str(tmp_path)), manifest, manifest.blocks[0])
