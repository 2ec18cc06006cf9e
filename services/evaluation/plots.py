"""Plots of an evaluation: the confusion matrix and the reliability diagram, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from services.evaluation.result import Evaluation

_INK, _MUTED, _BLUE, _PALE = "#1f2933", "#7b8794", "#2b6cb0", "#cfe0f3"


def plot_confusion(evaluation: Evaluation) -> bytes:
    """The pooled confusion matrix, each row in per cent of the reference's class, as PNG."""
    matrix = np.array(evaluation.pooled.confusion)
    kept = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    matrix, titles = matrix[np.ix_(kept, kept)], [evaluation.classes[k].title for k in kept]
    total = matrix.sum(axis=1, keepdims=True)
    shares = 100 * matrix / np.maximum(1, total)
    figure, axes = _figure(0.62 * len(kept) + 2.6, 0.5 * len(kept) + 2.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        if matrix[row, column]:
            text = f"{share:.0f}" if share >= 0.5 else "<1"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 55 else _INK)
    axes.set_xticks(range(len(kept)), titles, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(kept)), [f"{title}  {_short(n)}" for title, n in zip(titles, total[:, 0], strict=True)])
    axes.set_xticks(np.arange(len(kept) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(kept) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel(f"found by {evaluation.subject}")
    axes.set_ylabel(f"{evaluation.reference.name}  (class, pixels)")
    axes.set_title("Per cent of the reference's class", loc="left", fontsize=10, color=_INK)
    return _png(figure)


def plot_reliability(evaluation: Evaluation) -> bytes:
    """The reliability diagram: agreement against confidence, and how many pixels have it, as PNG."""
    found = evaluation.pooled.calibration
    bins = [one for one in found.bins if one.agreement is not None and one.confidence is not None]
    figure, (axes, below) = _figure(4.8, 5.2, rows=(4, 1))
    width = found.bins[0].high - found.bins[0].low
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle="--")
    axes.text(0.97, 0.04, f"calibration error\n{found.error}", transform=axes.transAxes, ha="right", fontsize=9)
    axes.bar([one.low for one in bins], [one.agreement for one in bins], width, align="edge", color=_PALE)
    axes.plot([one.confidence for one in bins], [one.agreement for one in bins], color=_BLUE, marker="o", markersize=4)
    axes.set_ylabel(f"agreement with {evaluation.reference.name}")
    pixels = [one.pixels / evaluation.pooled.pixels for one in bins]
    below.bar([one.low for one in bins], pixels, width, align="edge", color=_MUTED)
    below.set_xlabel("confidence")
    below.set_ylabel("pixels")
    for one in (axes, below):
        one.set_xlim(0, 1)
        one.spines[["top", "right"]].set_visible(False)
        one.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        one.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1)
    return _png(figure)


def _figure(width: float, height: float, rows: Sequence[int] = (1,)) -> tuple[Figure, Any]:
    # Without pyplot, which would look for a display and keep every figure.
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(len(rows), sharex=True, height_ratios=rows, squeeze=True)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()


def _short(pixels: int) -> str:
    return f"{pixels / 1e6:.1f}M" if pixels >= 1e6 else f"{pixels / 1e3:.0f}k" if pixels >= 1e3 else str(pixels)
