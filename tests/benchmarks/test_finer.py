"""The branch is judged in places that it did not learn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from benchmarks.finer import crossed  # noqa: E402
from catalog.legend import load_legend  # noqa: E402
from catalog.tree import class_tree  # noqa: E402
from services.inference import branch  # noqa: E402
from services.inference.branch import Pixels  # noqa: E402

TREE = class_tree(load_legend("finer").finer(), "finer")


@pytest.mark.slow
def test_parts_are_judged_class_by_class_and_level_by_level_in_places_held_out(monkeypatch):
    monkeypatch.setattr(branch, "STEPS", 60)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randint(0, 5, (1000,), generator=generator)
    chip = torch.randint(0, 10, (1000,), generator=generator)
    # One feature tells each part; the last tells the place by heart and nothing else.
    seen = torch.cat([torch.eye(5)[wanted], chip[:, None]], dim=1) + 0.1 * torch.randn(1000, 6, generator=generator)
    pixels = Pixels(seen, wanted, chip, torch.arange(1000) % 2 == 0)
    chips = [SimpleNamespace(place=f"place {number}", tree=TREE) for number in range(10)]
    told = crossed(chips, pixels, torch.arange(6), folds=2)
    assert set(told) == {"L1C", "L2A"}
    crops, built = told["L2A"]
    assert built.name == "residential or industrial" and crops.places == built.places == 10
    assert crops.overall.value > 0.85 and built.overall.value > 0.85
    blind = crossed(chips, pixels, torch.tensor([5]), folds=2)["L1C"][0]
    assert blind.overall.value < 0.6
