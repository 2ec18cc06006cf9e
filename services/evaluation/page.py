"""Writing an evaluation down: JSON, plots, and one HTML page that holds all of it. Needs the extra `evaluate`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from catalog.errors import StoreError
from services.evaluation.pictures import Picture, png
from services.evaluation.plots import plot_confusion, plot_reliability
from services.evaluation.result import Agreement, Estimate, Evaluation

ROWS = 60
"""Groups of a kind shown on the page, at most; the JSON has all."""


def write_evaluation(evaluation: Evaluation, pictures: Sequence[Picture], out: Path) -> Path:
    """Write `evaluation.json`, `confusion.png`, `reliability.png`, and `evaluation.html`, which needs no other file.

    Args:
        evaluation: what to tell.
        pictures: to be shown on the page.
        out: folder.

    Returns:
        The page.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        return _write(evaluation, pictures, out)
    except OSError as error:
        raise StoreError(f"The evaluation cannot be written into {str(out)!r}: {error}. Give another --out.") from error


def _write(evaluation: Evaluation, pictures: Sequence[Picture], out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    plots = {"confusion": plot_confusion(evaluation), "reliability": plot_reliability(evaluation)}
    (out / "evaluation.json").write_text(evaluation.model_dump_json(indent=1))
    for name, content in plots.items():
        (out / f"{name}.png").write_bytes(content)
    environment = Environment(
        loader=PackageLoader("services.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        evaluation=evaluation,
        groups={kind: _worst_first(kind, found) for kind, found in evaluation.groups.items()},
        plots={name: _embedded(content) for name, content in plots.items()},
        pictures=[
            (one.title, one.caption, [(name, _embedded(png(panel))) for name, panel in one.panels]) for one in pictures
        ],
        share=_share,
        interval=_interval,
    )
    (out / "evaluation.html").write_text(page)
    return out / "evaluation.html"


def _worst_first(kind: str, groups: Sequence[Agreement]) -> tuple[list[Agreement], int]:
    """The groups to show, and how many are not shown."""
    ranked = list(groups) if kind == "level" else sorted(groups, key=lambda one: one.overall.value or 0)
    return ranked[:ROWS], max(0, len(ranked) - ROWS)


def _embedded(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"


def _share(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}"


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return "not estimable"
    return f"{100 * estimate.low:.1f} – {100 * estimate.high:.1f}"
