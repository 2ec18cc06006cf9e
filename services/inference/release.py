"""From a checkpoint to a network that can be shipped: calibrated, exported, judged as it was written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catalog.atmosphere import Level
from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec, Provenance
from catalog.models import floats_beside
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set
from services.evaluation.result import Agreement, Estimate
from services.inference.begin import unfolded
from services.inference.checkpoint import best_network
from services.inference.chips import Chip, gsd_of, read_chips
from services.inference.evaluate import evaluate_network
from services.inference.export import describe, export
from services.inference.head import divide_logits, has_head, logits_of
from services.inference.mean_weights import average
from services.inference.onnx import OnnxNetwork
from services.inference.recipe import level_learned
from services.inference.registry import model_file
from services.inference.temperature import Temperature, fit_temperature
from services.inference.unet import UNet
from services.inference.votes import calibrate

_NORMALISED = 320
"""Chips by which the mean of several networks is normalised."""
UNCALIBRATED = Provenance(training_sets=(), temperature=1, reference="", metrics={})
"""Of a network that tells nothing of its making."""


def export_checkpoint(
    checkpoint: Path,
    datasets: Sequence[str],
    out: Path,
    name: str,
    version: str,
    leave_out: Sequence[str] = (),
    mean_with: Sequence[str] = (),
) -> Temperature | None:
    """Export what `train` wrote: in 8-bit integers, and beside them in floats, as GPUs want it.

    The class weights of the training are taken back, and the scores, and the confidence of votes over several of them,
    are brought to mean what they say on the training sets' split `validation`.

    Args:
        checkpoint: as `train` wrote it.
        datasets: training sets whose large chips set the ranges of 8-bit integers, and whose validation places the
            temperature; without any: float32, and scores as they were learned.
        out: ONNX file; the floats lie `floats_beside` it.
        name: ID of the network.
        version: of the network.
        leave_out: places that were not learned, and set no range either.
        mean_with: IDs, ONNX files or checkpoints of networks whose weights are averaged with the checkpoint's, which
            has learned on from one of them, or from the same one as they.

    Returns:
        The temperature of the integers, if one was fitted.

    Raises:
        BadInput: no such checkpoint, one of another network, or training sets that do not suffice.
    """
    if mean_with and not datasets:
        raise BadInput(
            f"By which chips is the mean with {mean_with[0]!r} to be normalised? Give the training set: --dataset."
        )
    network, recipe, steps = _open(checkpoint)
    bands = _bands_of(recipe)
    spec = ModelSpec(
        id=name,
        version=version,
        bands=bands,
        classes=MODEL_CLASSES,
        stride=network.stride,
        halo=network.halo,
        level=level_learned(recipe.get("learn_from")),
        architecture="U-Net",
        gsd=gsd_of(datasets),
    )
    if not datasets:
        export(network, spec, out)
        floats_beside(out).unlink(missing_ok=True)  # Of an earlier network.
        return None
    chips = read_chips(datasets, "train", leave_out)
    ranges = range_samples(chips, bands, spec.level)
    others = {one: _trained(one, ranges) for one in mean_with}
    if others:
        average(network, others, range_samples(chips, bands, spec.level, _NORMALISED))
    made = UNCALIBRATED.model_copy(
        update={
            "left_out": tuple(leave_out),
            "recipe": recipe,
            "steps": steps,
            "mean_with": tuple(map(_name_of, others)),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "network.onnx"
        for file, samples in ((exported, ranges), (floats_beside(exported), [])):
            export(network, spec, file, samples)
            describe(file, spec, file, made)
        return calibrate_network(exported, datasets, out, version)


def calibrate_network(
    file: Path, datasets: Sequence[str], out: Path, version: str, reference: str = ""
) -> Temperature | None:
    """Write a network anew whose scores, and the confidence of whose maps, mean what they say; its weights stay.

    So is the same in floats that lies beside it. Its logits are divided by a temperature if Landloom exported it, and
    the correlation of the errors of two looks is fitted if there are two places of several dates. It is judged as it
    was written, 8-bit integers and all.

    Args:
        file: of the network.
        datasets: training sets, by their split `validation`.
        out: ONNX file to write.
        version: of what is written.
        reference: whose labels they are; by default as the training sets tell.

    Returns:
        The temperature by which the logits of `file` were divided; None for a network of another maker.

    Raises:
        BadInput: no such network or training sets, one of other bands or classes or with finer ones, labels in fewer
            than two places, or neither can be fitted.
    """
    chips = read_chips(datasets, "validation")
    names = [open_training_set(open_store(dataset))[0].id for dataset in datasets]
    if (floats := floats_beside(file)).exists():
        _calibrate(floats, chips, names, floats_beside(out), version, reference)
    else:
        floats_beside(out).unlink(missing_ok=True)  # Of an earlier network.
    return _calibrate(file, chips, names, out, version, reference)


def _calibrate(
    file: Path, chips: Sequence[Chip], names: Sequence[str], out: Path, version: str, reference: str
) -> Temperature | None:
    """Calibrate one file on the chips of the training sets of these names."""
    network = OnnxNetwork(file)
    spec, before = network.spec, network.provenance or UNCALIBRATED
    if spec.parents:
        raise BadInput(
            f"{spec.id} has a branch for finer classes. Calibrate the network without it, and give it the "
            "branch anew: landloom train-finer."
        )
    if not has_head(file):
        vote = calibrate(network, chips, reference)
        if vote is None:
            raise BadInput(
                f"The scores of {spec.id} stay as they are, since Landloom did not export it, and a vote's confidence "
                "is fitted across places: give training sets whose split validation has two or more places with "
                "several dates on one grid."
            )
        describe(file, spec.model_copy(update={"version": version, "vote": vote}), out)
        return None
    fitted = fit_temperature(logits_of(file, spec), chips, spec.bands, spec.level)
    made = before.model_copy(
        update={
            "training_sets": (*before.training_sets, *(name for name in names if name not in before.training_sets)),
            "temperature": before.temperature * fitted.value,
            "temperature_without": {place: before.temperature * one for place, one in fitted.without.items()},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        divided = Path(folder) / "network.onnx"
        divide_logits(file, fitted.value, divided)
        network = OnnxNetwork(divided)
        judged, _ = evaluate_network(network, chips, f"{', '.join(names)}, validation", reference, provenance=made)
        vote = calibrate(network, chips, reference, made)
        groups = (judged.pooled, *judged.groups["level"])
        made = made.model_copy(
            update={"reference": judged.reference.name, "metrics": {one.name: metrics_of(one) for one in groups}}
        )
        describe(divided, spec.model_copy(update={"version": version, "vote": vote}), out, made)
    return fitted


def metrics_of(one: Agreement) -> dict[str, Any]:
    """An agreement's figures as a provenance tells them: shares, rounded."""

    def rounded(estimate: Estimate) -> float | None:
        return None if estimate.value is None else round(estimate.value, 4)

    return {
        "pixels": one.pixels,
        "places": one.places,
        "overall": rounded(one.overall),
        "mean_over_places": rounded(one.mean_over_places),
        "calibration_error": rounded(one.calibration.error),
        "classes": {
            each.name: {what: rounded(getattr(each, what)) for what in ("precision", "recall", "f1", "iou")}
            for each in one.classes
        },
    }


def _open(checkpoint: Path) -> tuple[UNet, dict[str, Any], int]:
    """The best network of a checkpoint, without the class weights of its training; its recipe; the steps it took.

    A loss whose classes weigh `w` teaches probabilities in proportion to `w p`.
    """
    network, state = best_network(checkpoint)
    recipe = json.loads(state.get("recipe") or "{}")
    bands = _bands_of(recipe)
    if (found := (network.down[0][0].in_channels, network.head.out_channels)) != (len(bands), len(MODEL_CLASSES)):  # type: ignore[index]
        raise BadInput(
            f"{str(checkpoint)!r} holds a network of {found[0]} bands and {found[1]} classes; {len(bands)} "
            f"({', '.join(bands)}) and {len(MODEL_CLASSES)} are needed."
        )
    shift = torch.tensor(state.get("class_weights", [1.0] * len(MODEL_CLASSES))).log()
    with torch.no_grad():
        network.head.bias.sub_(shift)  # type: ignore[union-attr]
    return network.eval(), recipe, state.get("step", 0)


def _trained(name: str, images: Sequence[np.ndarray]) -> UNet:
    """A network by its ID, ONNX file or checkpoint."""
    return _open(Path(name))[0] if name.endswith(".pt") else unfolded(model_file(name), images)


def _name_of(name: str) -> str:
    """ID and version of a network, or what its checkpoint is called: where a file lies is nobody's concern."""
    if name.endswith(".pt"):
        return Path(name).stem
    spec = OnnxNetwork(model_file(name)).spec
    return f"{spec.id} {spec.version}"


def _bands_of(recipe: dict[str, Any]) -> tuple[str, ...]:
    """The bands of a recipe's network, and its radar channels."""
    return (*BANDS, *recipe.get("radar", ()))


def range_samples(
    learned: Sequence[Chip], bands: Sequence[str], level: Level | None, count: int = 32
) -> list[np.ndarray]:
    """Images that set the ranges of 8-bit integers: large chips from end to end of the list, which is ordered by place.

    Where none is of 256 px and labelled by a teacher, those of 64 px and more, cut to multiples of 16.

    Args:
        learned: the chips that a network learned.
        bands: of the network.
        level: that it was made for.
        count: about so many.

    Returns:
        uint16 `[bands, H, W]` each.
    """
    chips = [chip for chip in learned if chip.taught and min(chip.classes.shape) >= 256]
    chips = chips or [chip for chip in learned if min(chip.classes.shape) >= 64]
    some = [chip.shown(bands, level) for chip in chips[:: max(1, len(chips) // count)]]
    return [image[:, : image.shape[1] // 16 * 16, : image.shape[2] // 16 * 16] for image in some]
