"""Designs of networks, trained alike and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.networks import write_spectral_network
from tests.training_sets import write_lakes

torch = pytest.importorskip("torch")

from benchmarks import designs  # noqa: E402
from benchmarks.designs import Design, coarsened  # noqa: E402
from services.inference.chips import read_chips  # noqa: E402
from services.inference.unet import UNet  # noqa: E402

PLACES = ("lake", "delta", "shore", "pond", "sky")


def test_every_place_lies_in_one_fold(tmp_path: Path):
    chips = read_chips([str(write_lakes(tmp_path, *((place, "train") for place in PLACES)))], "train")
    folds = designs._folds(chips)
    assert sorted(place for fold in folds for place in fold) == sorted(PLACES)
    assert all(1 <= len(fold) <= 2 for fold in folds)


def test_a_coarse_network_computes_with_the_means_of_squares_and_answers_for_each_pixel():
    torch.manual_seed(0)
    network = coarsened(UNet(6, 10, (8, 16)), 2).eval()
    image = torch.rand(1, 6, 32, 48)
    means = torch.nn.functional.avg_pool2d(image, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    with torch.no_grad():
        logits = network(image)
        assert logits.shape == (1, 10, 32, 48) and torch.allclose(logits, network(means), atol=1e-5)


@pytest.mark.slow
def test_designs_are_trained_judged_after_each_leg_and_told_once(tmp_path: Path, monkeypatch, capsys):
    dataset = write_lakes(tmp_path / "lakes", *((place, "train") for place in PLACES))
    teacher = write_spectral_network(tmp_path / "teacher.onnx")
    compared = (Design((8, 16)), Design((8, 16), separable=True, temperature=2.0), Design((16, 32)))
    monkeypatch.setattr(designs, "DESIGNS", compared)
    monkeypatch.setattr(designs, "_ROUNDS", 1)

    def compare(*steps: str) -> dict[str, dict]:
        chosen = [part for design in compared[:2] for part in ("--design", design.name)]
        asked = ("--folds", "1", "--patches", "4", "--out", str(tmp_path / "designs"), *chosen, "--steps", *steps)
        monkeypatch.setattr(sys, "argv", ["designs", str(dataset), str(teacher), *asked])
        designs.main()
        (folder,) = (tmp_path / "designs").iterdir()
        return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}

    results = compare("2")
    assert set(results) == {"8-16-2", "8-16, separable, temperature 2-2"}
    assert [0 <= one["integers"]["agreement"] <= 1 for one in results.values()] == [True, True]
    assert results["8-16, separable, temperature 2-2"]["weights"] < results["8-16-2"]["weights"] / 2
    told = capsys.readouterr().out
    assert "8-16, separable, temperature 2" in told and "kept px per core-second" in told

    longer = compare("2", "4")
    assert longer["8-16-2"] == results["8-16-2"]
    assert "8-16-4" in longer
    with pytest.raises(SystemExit, match="8-16 is at step 4 already and cannot be judged at 3"):
        compare("3")
