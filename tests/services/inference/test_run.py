"""A training run: it stops where it must, says so, and goes on from its checkpoint."""

from __future__ import annotations

import os
import signal
import zipfile

import pytest

from catalog.errors import LandloomError
from tests.training_sets import write_lakes

torch = pytest.importorskip("torch")

from services.inference import checkpoint, run  # noqa: E402
from services.inference.recipe import Recipe  # noqa: E402
from services.inference.train import train  # noqa: E402


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return str(write_lakes(tmp_path_factory.mktemp("lakes")))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end_has_saved_its_last_step(dataset, tmp_path, sent):
    """As Ctrl-C does, and a cluster that takes the pod away."""
    recipe = Recipe(widths=(8, 16), learn_from="labels", epochs=3, batch=2, held_out=0)
    before, steps = signal.getsignal(sent), []

    def tell(now):
        steps.append(now.step)
        if now.step == 4:
            os.kill(os.getpid(), sent)

    with pytest.raises(LandloomError, match=rf"{sent.name} came after step 4, and .*unet\.pt' holds .*same command"):
        train([dataset], recipe, tmp_path / "unet.pt", threads=1, on_progress=tell)
    assert checkpoint.load(tmp_path / "unet.pt", {})["step"] == 4 and signal.getsignal(sent) is before
    train([dataset], recipe, tmp_path / "unet.pt", threads=1, on_progress=tell)
    assert steps == list(range(1, 10)), "of three chips with two crops each"


def test_a_temperature_softens_answers_and_leaves_out_what_is_not_learned():
    one_learned = torch.tensor([[0.8, 0.0], [0.2, 0.0]]).reshape(1, 2, 1, 2)
    found = run.softened(one_learned, 2.0)
    assert found[0, :, 0, 0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert (found[0, :, 0, 1] == 0).all()
    assert run.softened(one_learned, 0.5)[0, :, 0, 0].tolist() == pytest.approx([16 / 17, 1 / 17])
    assert run.softened(one_learned, 1.0) is one_learned


def test_a_loss_that_is_no_number_stops_the_run(dataset, tmp_path, monkeypatch):
    recipe = Recipe(widths=(8, 16), learn_from="labels", epochs=1, batch=1, held_out=0)
    monkeypatch.setattr(run, "normalise", lambda x: x * float("nan"))
    with pytest.raises(LandloomError, match=r"loss is nan at step 0: lower the recipe's learning_rate.* Nothing was"):
        train([dataset], recipe, tmp_path / "unet.pt", threads=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_checkpoint_of_a_gpu_is_read_without_one(tmp_path):
    written, moved = tmp_path / "cpu.pt", tmp_path / "gpu.pt"
    torch.save({"network": {"weight": torch.ones(3)}}, written)
    # As PyTorch writes where the tensor was.
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(moved, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0"))
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(moved, weights_only=True)
    assert checkpoint.load(moved, {})["network"]["weight"].tolist() == [1, 1, 1]


def test_curves_that_find_no_room_are_named(dataset, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run.SummaryWriter, "add_scalar", full)
    recipe = Recipe(widths=(8, 16), learn_from="labels", epochs=10, batch=1, held_out=0)
    with pytest.raises(LandloomError, match=r"curves beside .*unet\.pt' cannot be written: .*No space left"):
        train([dataset], recipe, tmp_path / "unet.pt", threads=1)


def test_a_checkpoint_that_finds_no_room_is_named(dataset, tmp_path):
    recipe = Recipe(widths=(8, 16), learn_from="labels", epochs=1, batch=1, held_out=0)
    (tmp_path / "unet.partial").mkdir()
    with pytest.raises(LandloomError, match=r"unet\.pt' cannot be written: .*Make room"):
        train([dataset], recipe, tmp_path / "unet.pt", threads=1)
