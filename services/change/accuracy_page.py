"""An accuracy report written down: JSON, CSV, a figure, and one HTML page that holds all of it. Needs `change`."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.change.accuracy_report import Report, table
from services.change.design import Design
from services.change.estimation import Estimate

FILES = ("report.json", "areas.csv", "areas.png", "report.html")
ROWS = 200
"""Rows of zones on the page, at most; the CSV has all."""
_INK, _MUTED, _PALE, _BLUE = "#1f2933", "#7b8794", "#cfe0f3", "#2b6cb0"


def write_report(report: Report, design: Design, out: Path) -> list[Path]:
    """Write `report.json`, `areas.csv`, `areas.png` and `report.html`, which needs no other file.

    Args:
        report: what to tell.
        design: from which it was made.
        out: folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    figure = plot_areas(report)
    (out / "report.json").write_text(report.model_dump_json(indent=1))
    table(report).to_csv(out / "areas.csv", index=False)
    (out / "areas.png").write_bytes(figure)
    environment = Environment(
        loader=PackageLoader("services.change", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("accuracy.html").render(
        report=report,
        design=design,
        figure=f"data:image/png;base64,{b64encode(figure).decode()}",
        zones=report.zones[:ROWS],
        more_zones=max(0, len(report.zones) - ROWS),
        colors={one.name: one.color for one in design.classes},
        titles={one.name: one.title for one in design.classes},
        limits=_limits,
    )
    (out / "report.html").write_text(page)
    return [out / name for name in FILES]


def plot_areas(report: Report) -> bytes:
    """Mapped and estimated areas with both intervals, of each year and of the net change, as PNG."""
    panels = [(str(one.year), one.accuracy.classes) for one in report.years]
    rows = max(len(classes) for _, classes in panels)
    count = len(panels) + bool(report.changes)
    figure = Figure(figsize=(4.4 * count + 0.8, 0.42 * rows + 2.0), dpi=130, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, count, sharey=True))
    for panel, (title, classes) in zip(axes, panels, strict=False):
        shown = [(one.name, one.mapped or 0.0, one.area) for one in classes]
        _bars(panel, shown, f"{title}, hectares")
    if report.changes:
        net = [(one.name, one.mapped or 0.0, one.net) for one in report.changes]
        _bars(axes[-1], net, "net change, hectares")
        axes[-1].axvline(0, color=_MUTED, linewidth=0.8)
    axes[0].legend(loc="best", fontsize=7, frameon=False)
    told = report.years[-1].source.partition(" Published")[0]
    figure.suptitle(f"{report.title}\n{told}", x=0.01, ha="left", fontsize=9, color=_INK)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _bars(axes: Axes, rows: list[tuple[str, float, Estimate]], title: str) -> None:
    """Mapped areas as bars, estimates as points: a thick line for the interval that holds, a thin one for the usual."""
    place = np.arange(len(rows))
    axes.barh(place, [mapped for _, mapped, _ in rows], color=_PALE, label="mapped")
    values = np.array([one.value for _, _, one in rows])
    low, high = ([getattr(one, limit) for _, _, one in rows] for limit in ("low", "high"))
    axes.hlines(place, low, high, color=_BLUE, linewidth=2.5, label="95 % interval")
    usual = [one.half_width for _, _, one in rows]
    axes.errorbar(
        values, place, xerr=usual, fmt="o", color=_INK, markersize=3, linewidth=0.8, label="estimated, usual interval"
    )
    axes.set_yticks(place, [name for name, _, _ in rows])
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.set_xlabel(title, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(one: Estimate | None, factor: float = 1.0, digits: int = 1) -> str:
    """`low to high`, of a share in per cent with the factor 100."""
    if one is None:
        return ""
    return f"{one.low * factor:,.{digits}f} to {one.high * factor:,.{digits}f}"
