"""Designs of networks, trained alike and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.networks import write_spectral_network
from tests.training_sets import write_lakes

pytest.importorskip("torch")

from benchmarks import designs
from benchmarks.designs import Design, Softened
from services.inference.chips import read_chips

PLACES = ("lake", "delta", "shore", "pond", "sky")


class Fixed:
    """One pixel of 80 and 20 %, one that is not learned."""

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((1, 6, 1, 2)), np.array([[0.8, 0], [0.2, 0]], np.float32).reshape(1, 2, 1, 2)


def test_a_temperature_softens_answers_and_leaves_out_what_is_not_learned():
    _, softened = Softened(Fixed(), 2.0).batch()
    assert softened[0, :, 0, 0] == pytest.approx([2 / 3, 1 / 3])
    assert (softened[0, :, 0, 1] == 0).all()
    _, same = Softened(Fixed(), 1.0).batch()
    assert same[0, :, 0, 0] == pytest.approx([0.8, 0.2])


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
