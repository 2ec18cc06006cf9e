"""Designs of networks, trained alike and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.networks import write_spectral_network
from tests.training_sets import write_lakes

pytest.importorskip("torch")

from benchmarks import designs
from benchmarks.designs import Design
from services.inference.chips import read_chips

PLACES = ("lake", "delta", "shore", "pond", "sky")


def test_every_place_lies_in_one_fold(tmp_path: Path):
    chips = read_chips([str(write_lakes(tmp_path, *((place, "train") for place in PLACES)))], "train")
    folds = designs._folds(chips)
    assert sorted(place for fold in folds for place in fold) == sorted(PLACES)
    assert all(1 <= len(fold) <= 2 for fold in folds)


@pytest.mark.slow
def test_designs_are_trained_judged_and_told_once(tmp_path: Path, monkeypatch, capsys):
    dataset = write_lakes(tmp_path / "lakes", *((place, "train") for place in PLACES))
    teacher = write_spectral_network(tmp_path / "teacher.onnx")
    out = tmp_path / "designs"
    compared = (Design((8, 16)), Design((8, 16), separable=True, temperature=2.0))
    monkeypatch.setattr(designs, "DESIGNS", compared)
    monkeypatch.setattr(designs, "_ROUNDS", 1)
    asked = ("--folds", "1", "--steps", "2", "--patches", "4", "--out", str(out))
    monkeypatch.setattr(sys, "argv", ["designs", str(dataset), str(teacher), *asked])
    designs.main()
    (folder,) = out.iterdir()
    results = {design.name: json.loads((folder / f"{design.name}.json").read_text()) for design in compared}
    assert [0 <= one["integers"]["agreement"] <= 1 for one in results.values()] == [True, True]
    plain, separable = (results[design.name]["weights"] for design in compared)
    assert separable < plain / 2
    told = capsys.readouterr().out
    assert "8-16, separable, temperature 2" in told and "kept px per core-second" in told
    written = (folder / "8-16.json").stat().st_mtime_ns
    designs.main()
    assert (folder / "8-16.json").stat().st_mtime_ns == written
