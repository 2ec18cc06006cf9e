"""A small simulated year, and the network that knows its spectra."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.simulate import Product, Simulation, simulate
from tests.networks import write_spectral_network


@pytest.fixture(scope="session")
def network(tmp_path_factory) -> Path:
    return write_spectral_network(tmp_path_factory.mktemp("network") / "spectral.onnx")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Simulation:
    """Two blocks of tile 33UUU (the scene lies across their border), three dates in each of two years."""
    product = Product("33UUU", col=1792 - 200, row=300, size=(320, 400))
    return simulate(
        tmp_path_factory.mktemp("simulated"), [product], years=(2021, 2022), dates_per_year=3, cloud=0.2, seed=4
    )


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process: `command("map", …)` gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["landloom", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stopped:
            cli.run()
        told = capsys.readouterr()
        return stopped.value.code or 0, told.out, told.err

    return run
