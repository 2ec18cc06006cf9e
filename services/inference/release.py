"""From a checkpoint to a network that can be shipped: calibrated, exported, judged as it was written."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from catalog.errors import BadInput
from catalog.model import ModelSpec, Provenance, VoteCalibration
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set
from catalog.tree import Tree
from services.evaluation.result import Agreement, Estimate
from services.inference.checkpoint import load
from services.inference.chips import Chip, mirror, read_chips
from services.inference.evaluate import evaluate_network
from services.inference.export import add_provenance, describe, export
from services.inference.finer import tree_in
from services.inference.onnx import OnnxNetwork
from services.inference.temperature import Temperature, fit_temperature
from services.inference.unet import UNet, normalise
from services.inference.votes import calibrate


def export_checkpoint(
    checkpoint: Path, datasets: Sequence[str], out: Path, name: str, version: str, leave_out: Sequence[str] = ()
) -> Temperature | None:
    """Export what `train` wrote.

    The class weights of the training are taken back, and the scores, and the confidence of votes over several of them,
    are brought to mean what they say on the training sets' split `validation`.

    Args:
        checkpoint: as `train` wrote it.
        datasets: training sets whose large chips set the ranges of 8-bit integers, and whose validation places the
            temperature; without any: float32, and scores as they were learned.
        out: ONNX file.
        name: ID of the network.
        version: of the network.
        leave_out: places that were not learned, and set no range either.

    Returns:
        The temperature, if one was fitted.

    Raises:
        BadInput: no such checkpoint, one of another network, or training sets that do not suffice.
    """
    network, bands, tree = _open(checkpoint)
    temperature = None
    spec = ModelSpec(
        id=name,
        version=version,
        bands=bands,
        classes=tree.leaves,
        parents=tree.finer,
        stride=network.stride,
        halo=network.halo,
        architecture="U-Net",
        gsd=_gsd_of(datasets),
    )
    if datasets:
        logits_of = functools.partial(_logits, network)
        temperature = fit_temperature(logits_of, read_chips(datasets, "validation"), tree, bands)
        with torch.no_grad():
            network.head.weight.div_(temperature.value)
            network.head.bias.div_(temperature.value)  # type: ignore[union-attr]
    export(network, spec, out, range_samples(read_chips(datasets, "train", leave_out), bands) if datasets else ())
    if temperature:
        calibrate_maps(out, datasets, out, version)
        add_provenance(out, _provenance(out, checkpoint, datasets, leave_out, temperature))
    return temperature


def _gsd_of(datasets: Sequence[str]) -> Literal[10, 30]:
    """Metres a pixel of the chips of training sets, as maps have them; 10 without any.

    Raises:
        BadInput: one set is of 10 m and another of 30 m.
    """
    found: dict[str, Literal[10, 30]] = {}
    for dataset in datasets:
        _, chips = open_training_set(open_store(dataset))
        usual = float(np.median([chip.gsd for chip in chips]))
        found[dataset] = 10 if usual < math.sqrt(10 * 30) else 30
    if len(set(found.values())) > 1:
        told = ", ".join(f"{dataset} {gsd} m" for dataset, gsd in found.items())
        raise BadInput(f"The training sets differ in resolution ({told}). Give sets of one; --aggregate makes them so.")
    return next(iter(found.values()), 10)


def calibrate_maps(
    file: Path, datasets: Sequence[str], out: Path, version: str, reference: str = ""
) -> VoteCalibration | None:
    """Write a network's ONNX file with what makes the confidence of its maps mean what it says; its weights stay.

    Args:
        file: of the network.
        datasets: training sets whose split `validation` holds places of several dates.
        out: ONNX file to write.
        version: of what is written.
        reference: whose labels they are; by default as the training sets tell.

    Returns:
        What was fitted; None, and nothing written, with fewer than two such places.

    Raises:
        BadInput: no such network or training sets, or one of other bands or classes.
    """
    network = OnnxNetwork(file)
    fitted = calibrate(network, read_chips(datasets, "validation"), reference)
    if fitted:
        describe(file, network.spec.model_copy(update={"version": version, "vote": fitted}), out)
    return fitted


def _provenance(
    out: Path, checkpoint: Path, datasets: Sequence[str], leave_out: Sequence[str], temperature: Temperature
) -> Provenance:
    """Judges the network as it was written, 8-bit integers and all."""
    names = tuple(open_training_set(open_store(dataset))[0].id for dataset in datasets)
    judged, _ = evaluate_network(
        OnnxNetwork(out), read_chips(datasets, "validation"), f"{', '.join(names)}, validation"
    )
    state = load(checkpoint, {})
    return Provenance(
        training_sets=names,
        left_out=tuple(leave_out),
        recipe=json.loads(state.get("recipe", "{}")),
        steps=state["step"],
        temperature=round(temperature.value, 4),
        reference=judged.reference.name,
        metrics={one.name: _metrics(one) for one in (judged.pooled, *judged.groups["level"])},
    )


def _metrics(one: Agreement) -> dict[str, Any]:
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


def _open(checkpoint: Path) -> tuple[UNet, tuple[str, ...], Tree]:
    """The best network of a checkpoint, without the class weights of its training; its bands, its classes' tree.

    A loss whose classes weigh `w` teaches probabilities in proportion to `w p`.
    """
    state = load(checkpoint, {})
    try:
        network = UNet.of(state.get("best") or state["network"]).eval()
    except (KeyError, RuntimeError, AttributeError) as error:
        raise BadInput(f"{str(checkpoint)!r} holds no U-Net: {error}. Give one that `landloom train` wrote.") from error
    tree, bands = tree_in(state, repr(str(checkpoint))), _bands_in(state)
    if (found := (network.down[0][0].in_channels, network.head.out_channels)) != (len(bands), len(tree.leaves)):  # type: ignore[index]
        raise BadInput(
            f"{str(checkpoint)!r} holds a network of {found[0]} bands and {found[1]} classes; {len(bands)} "
            f"({', '.join(bands)}) and {len(tree.leaves)} are needed."
        )
    shift = torch.tensor(state.get("class_weights", [1.0] * len(tree.leaves))).log()
    with torch.no_grad():
        network.head.bias.sub_(shift)  # type: ignore[union-attr]
    return network, bands, tree


def _bands_in(state: dict[str, Any]) -> tuple[str, ...]:
    """The bands of a checkpoint's network, and the radar channels of its recipe."""
    return (*BANDS, *json.loads(state.get("recipe") or "{}").get("radar", ()))


@torch.no_grad()
def _logits(network: UNet, image: np.ndarray) -> np.ndarray:
    """Of uint16 `[bands, H, W]`, mirrored at its borders: float32 `[leaves, H, W]`."""
    mirrored, here = mirror(image, network.stride, network.halo)
    return network(normalise(torch.from_numpy(mirrored[np.newaxis].astype(np.float32))))[0].numpy()[
        (slice(None), *here)
    ]


def range_samples(learned: Sequence[Chip], bands: Sequence[str] = BANDS, count: int = 32) -> list[np.ndarray]:
    """Images that set the ranges of 8-bit integers: large chips from end to end of the list, which is ordered by place.

    Where none is of 256 px and labelled by a teacher, those of 64 px and more, cut to multiples of 16.

    Args:
        learned: the chips that a network learned.
        bands: of the network.
        count: about so many.

    Returns:
        uint16 `[bands, H, W]` each.
    """
    chips = [chip for chip in learned if chip.taught and min(chip.classes.shape) >= 256]
    chips = chips or [chip for chip in learned if min(chip.classes.shape) >= 64]
    some = [chip.shown(bands) for chip in chips[:: max(1, len(chips) // count)]]
    return [image[:, : image.shape[1] // 16 * 16, : image.shape[2] // 16 * 16] for image in some]
