"""Finer classes: a branch on a trained network tells the parts of a class apart, and the network stays as it is.

A part is as probable as the class it is of, which the network tells, times its share of that class, which the branch
tells from the network's features. So the scores of parts add up to the network's score of the class, to the unit. Needs
the extra `train`.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from catalog.errors import BadInput
from catalog.model import MODEL_CLASSES, ModelSpec, Provenance
from catalog.models import floats_beside
from catalog.scenes import BANDS
from catalog.store import open_store
from catalog.training_set import open_training_set
from catalog.tree import Tree
from services.evaluation.result import SIBLINGS, Evaluation
from services.inference.branch import STEPS, Branch, fitted, pixels_of, split_classes
from services.inference.chips import Chip, gsd_of, read_chips
from services.inference.evaluate import evaluate_network
from services.inference.export import describe, write
from services.inference.features import Features, tapped
from services.inference.onnx import OnnxNetwork
from services.inference.release import metrics_of


def train_finer(
    file: Path,
    datasets: Sequence[str],
    out: Path,
    name: str,
    version: str,
    leave_out: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Learn to tell the parts of classes apart, and write the network with its branch as one ONNX file.

    Parts are learned as equally common, see `fitted`: so the branch tells what the image says of them, to someone who
    holds all parts of a class for equally probable beforehand.

    Args:
        file: ONNX file of the network, as `landloom export` writes it.
        datasets: training sets of one tree of classes; pixels are learned whose label is a leaf of it, below one of
            the ten classes.
        out: ONNX file to write; the same in floats, if `file` has that beside it, is written beside it, too.
        name: ID of what is written.
        version: its version.
        leave_out: places of the split `train` that are not learned.
        on_progress: called with the images seen and in all.

    Returns:
        How far the written network agrees with the split `validation` at the finest level.

    Raises:
        BadInput: a network that is no U-Net of the six bands and the ten classes, training sets of another resolution
            or without finer classes, or no chip to learn from that shows one.
    """
    base = OnnxNetwork(file)
    if (base.spec.bands, base.spec.classes) != (BANDS, MODEL_CLASSES):
        raise BadInput(
            f"{str(file)!r} takes {', '.join(base.spec.bands)} and tells {', '.join(base.spec.classes)}; a branch is "
            f"for networks that take {', '.join(BANDS)} and tell {', '.join(MODEL_CLASSES)}."
        )
    if (gsd := gsd_of(datasets)) != base.spec.gsd:
        raise BadInput(f"The training sets are of {gsd} m, and {base.spec.id} is for {base.spec.gsd} m.")
    chips = read_chips(datasets, "train", leave_out)
    features, tree = Features(file), chips[0].tree
    pixels = pixels_of(base.spec, features, chips, on_progress)
    branch = Branch.of(fitted(pixels.seen, pixels.wanted, [len(one) for one in split_classes(tree)]), features)
    spec = base.spec.model_copy(
        update={
            "id": name,
            "version": version,
            "classes": tree.leaves,
            "parents": tree.finer,
            "architecture": f"{base.spec.architecture} with a branch for finer classes",
        }
    )
    titles = tuple(open_training_set(open_store(dataset))[0].id for dataset in datasets)
    unseen = read_chips(datasets, "validation")
    floats_beside(out).unlink(missing_ok=True)  # Of an earlier network.
    for whole, grown in ((floats_beside(file), floats_beside(out)), (file, out)):
        if whole.exists():
            write(_grown(whole, features, branch, tree), spec, grown)
            judged = _judge(grown, spec, unseen, titles, tree.depth, leave_out, OnnxNetwork(whole))
    return judged


def _judge(
    file: Path,
    spec: ModelSpec,
    unseen: Sequence[Chip],
    titles: tuple[str, ...],
    level: int,
    left_out: Sequence[str],
    base: OnnxNetwork,
) -> Evaluation:
    """Judge a network with its branch by the split `validation`; its file then tells how it was made and how good."""
    judged, _ = evaluate_network(OnnxNetwork(file), unseen, f"{', '.join(titles)}, validation", level=level)
    made = Provenance(
        training_sets=titles,
        left_out=tuple(left_out),
        recipe={"branch_of": f"{base.spec.id} {base.spec.version}"},
        steps=STEPS,
        temperature=base.provenance.temperature if base.provenance else 1.0,
        reference=judged.reference.name,
        metrics={one.name: metrics_of(one) for one in (judged.pooled, *judged.groups.get(SIBLINGS, ()))},
    )
    describe(file, spec, file, made)
    return judged


def _grown(file: Path, features: Features, branch: Branch, tree: Tree) -> onnx.ModelProto:
    """A network and its branch as one, which gives the scores of the leaves."""
    base, names = tapped(file)
    # What describes the network does not describe both.
    del base.metadata_props[:]
    (last,) = (node for node in base.graph.node if "scores" in node.output)
    last.output[0] = base.graph.output[0].name = "scores_of_ten"
    inputs = ["whole", *(f"feature_{number}" for number in range(len(names)))]
    shown = [
        torch.zeros(1, len(MODEL_CLASSES), 64, 64, dtype=torch.uint8),
        *(torch.zeros(1, c, 64 // s, 64 // s) for c, s in zip(features.channels, features.strides, strict=True)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "branch.onnx"
        torch.onnx.export(
            _Parts(branch, tree).eval(),
            tuple(shown),
            traced,
            input_names=inputs,
            output_names=["scores"],
            dynamic_axes={one: {0: "n", 2: "h", 3: "w"} for one in [*inputs, "scores"]},
            opset_version=17,
            dynamo=False,
        )
        parts = onnx.load(traced)
    parts = onnx.compose.add_prefix(parts, "branch/", rename_outputs=False)
    links = [(name, f"branch/{one}") for name, one in zip(["scores_of_ten", *names], inputs, strict=True)]
    return onnx.compose.merge_models(base, parts, links)


class _Parts(nn.Module):
    """From a network's scores, uint8 `[N, 10, H, W]`, and its features to the leaves', uint8 `[N, leaves, H, W]`."""

    def __init__(self, branch: Branch, tree: Tree):
        super().__init__()
        self.branch, self.stride = branch, min(branch.strides)
        self.sizes = [len(tree.under(name)) for name in MODEL_CLASSES]

    def forward(self, scores: torch.Tensor, *features: torch.Tensor) -> torch.Tensor:
        logits, first, planes = self.branch(features), 0, []
        for number, size in enumerate(self.sizes):
            whole = scores[:, number : number + 1]
            planes.append(whole)
            if size > 1:
                planes[-1:] = _dealt(whole, logits[:, first : first + size], self.stride)
                first += size
        return torch.cat(planes, dim=1)


def _dealt(whole: torch.Tensor, logits: torch.Tensor, stride: int) -> list[torch.Tensor]:
    """A score, uint8 `[N, 1, H, W]`, dealt out among its parts by their odds: whole numbers that add up to it.

    What is rounded is the sum of the parts so far, not each part.

    Args:
        whole: the score.
        logits: of its parts, `[N, parts, H / stride, W / stride]`.
        stride: pixels a side for which each of them stands.
    """
    odds = torch.exp(logits - logits.amax(dim=1, keepdim=True))
    so_far = torch.cumsum(odds, dim=1)
    shares = so_far[:, :-1] / so_far[:, -1:]
    upto = nn.functional.interpolate(shares, scale_factor=float(stride), mode="bilinear") * whole + 0.5
    bounds = [torch.zeros_like(whole), *upto.to(torch.uint8).split(1, dim=1), whole]
    return [high - low for low, high in itertools.pairwise(bounds)]
