"""Figures of change: grouped bars of areas, bars of net change, a Sankey diagram; as PNG and as one interactive page.

Needs the extra `change` (matplotlib, plotly, jinja2). The page holds plotly's script and opens without a network.
"""

from __future__ import annotations

import html
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from services.change.interval_columns import interval_of
from services.change.map_legend import MapLegend
from services.change.tally import UNOBSERVED
from services.change.transitions import TransitionMatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _LINE = "#1f2933", "#66717d", "#e3e7eb"
_FIGURES = ("mapped", "low", "high", "estimated")
_FLOWS = 0.001
"""Share of the changed area below which a flow is not drawn; the tables have it."""


def areas_png(areas: pd.DataFrame, legend: MapLegend, note: str) -> bytes:
    """Grouped bars: the area of each class in each year, as PNG.

    Args:
        areas: the table of areas.
        legend: for titles and colours.
        note: what is known of the maps' accuracy; stands below the bars.
    """
    table, low, high, estimate = (_pivoted(areas, legend, f"{one}_hectares") for one in _FIGURES)
    figure, axes = _figure(1.2 + 1.1 * len(table.columns), 4.2, note)
    width = 0.8 / len(table)
    for number, (year, row) in enumerate(table.iterrows()):
        # Earlier years are paler; the classes keep their colours.
        alpha = 0.45 + 0.55 * (number + 1) / len(table)
        at = np.arange(len(row)) + (number - (len(table) - 1) / 2) * width
        colors = [f"#{one.color}" for one in legend.classes]
        axes.bar(at, row, width, color=colors, alpha=alpha, edgecolor=_INK, linewidth=0.4, label=str(year))
        _error_bars(axes, at, *(one.iloc[number].to_numpy() for one in (low, high, estimate)))
        if len(table) <= 4:
            for x, hectares in zip(at, np.fmax(row, high.iloc[number]), strict=True):
                axes.text(x, hectares, f" {year}", rotation=90, ha="center", va="bottom", fontsize=6, color=_MUTED)
    axes.set_xticks(range(len(table.columns)), [one.title for one in legend.classes], rotation=25, ha="right")
    axes.set_ylabel(_ylabel(high))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.15)
    axes.set_title(f"Area by class, {table.index[0]} to {table.index[-1]}", loc="left", fontsize=11, color=_INK)
    return _png(figure)


def net_png(net: pd.DataFrame, legend: MapLegend, note: str) -> bytes:
    """Bars of net change, in colour, between those of gain and loss, in grey; as PNG.

    Args:
        net: the table of net change, of two years.
        legend: for titles and colours.
        note: see `areas_png`.
    """
    figure, axes = _figure(1.2 + 0.9 * len(net), 4.2, note)
    at = np.arange(len(net))
    axes.bar(at, net.gain_hectares, 0.8, color=_LINE, label="gain and loss")
    axes.bar(at, -net.loss_hectares, 0.8, color=_LINE)
    axes.bar(
        at, net.net_hectares, 0.5, color=[f"#{one.color}" for one in legend.classes], edgecolor=_INK, linewidth=0.5
    )
    _error_bars(axes, at, *(net[f"{one}_net_hectares"].to_numpy() for one in _FIGURES[1:]))
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set_xticks(at, [one.title for one in legend.classes], rotation=25, ha="right")
    axes.set_ylabel(_ylabel(net.high_net_hectares))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, fontsize=8)
    first, last = net.from_year.iloc[0], net.to_year.iloc[0]
    axes.set_title(f"Net change, {first} to {last}", loc="left", fontsize=11, color=_INK)
    return _png(figure)


def sankey_png(matrix: TransitionMatrix, legend: MapLegend, note: str) -> bytes:
    """A Sankey diagram of the changed area between two years, as PNG.

    Args:
        matrix: of the two years.
        legend: for titles and colours.
        note: see `areas_png`.
    """
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    figure, axes = _figure(8.0, 5.4, note)
    flows = _flows(matrix)
    # Labels tell all of a class's loss or gain, also what is too narrow to be drawn.
    kept = np.diag(matrix.hectares)
    totals = matrix.hectares.sum(axis=1) - kept, matrix.hectares.sum(axis=0) - kept
    total = flows.sum() or 1.0
    gap = 0.02 * total
    tops = [_stacked(flows.sum(axis=axis), gap) for axis in (1, 0)]
    used = [one.copy() for one in tops]
    for i, j in zip(*np.nonzero(flows), strict=True):
        hectares, left, right = flows[i, j], used[0][i], used[1][j]
        used[0][i] -= hectares
        used[1][j] -= hectares
        upper = [(0.04, left), (0.5, left), (0.5, right), (0.96, right)]
        lower = [(0.96, right - hectares), (0.5, right - hectares), (0.5, left - hectares), (0.04, left - hectares)]
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
        path = Path([*upper, *lower, upper[0]], codes)
        axes.add_patch(PathPatch(path, facecolor=f"#{legend.classes[i].color}", alpha=0.55, linewidth=0))
    for side, (x, align, axis) in enumerate(((0.0, "right", 1), (0.96, "left", 0))):
        for k, hectares in enumerate(flows.sum(axis=axis)):
            if hectares:
                low = tops[side][k] - hectares
                axes.add_patch(Rectangle((x, low), 0.04, hectares, color=f"#{legend.classes[k].color}"))
                text = f" {legend.classes[k].title}  {totals[side][k]:,.0f} ha "
                axes.text(1.0 if side else 0.0, low + hectares / 2, text, ha=align, va="center", fontsize=8, color=_INK)
    if not flows.any():
        axes.text(0.5, 0.5, _nothing(matrix), ha="center", va="center", fontsize=10, color=_MUTED)
    axes.set_xlim(-0.45, 1.45)
    bottom = min([0.0, *(float(one.min()) for one in used)])
    axes.set_ylim(bottom - gap, max(float(one.max()) for one in tops) + gap if flows.any() else 1.0)
    axes.axis("off")
    title = f"Transitions, {matrix.from_year} to {matrix.to_year}: {matrix.changed_hectares:,.0f} ha changed"
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    return _png(figure)


def interactive(areas: pd.DataFrame, net: pd.DataFrame, matrix: TransitionMatrix, legend: MapLegend) -> list[str]:
    """The three figures as HTML for one page, the first with plotly's script in it."""
    import plotly.graph_objects as go

    titles, colors = [one.title for one in legend.classes], [f"#{one.color}" for one in legend.classes]
    table = _pivoted(areas, legend)
    bars = go.Figure()
    for number, (year, row) in enumerate(table.iterrows()):
        opacity = 0.45 + 0.55 * (number + 1) / len(table)
        told = areas[(areas.year == year) & (areas["class"] != UNOBSERVED)].set_index("class").statement
        bars.add_bar(
            name=str(year),
            x=titles,
            y=row.tolist(),
            marker_color=colors,
            opacity=opacity,
            hovertext=[html.escape(told[one.name]) for one in legend.classes],
        )
    bars.update_layout(title="Area by class and year", barmode="group", yaxis_title="mapped area, ha", showlegend=False)
    changes = go.Figure()
    changes.add_bar(name="gain", x=titles, y=net.gain_hectares.tolist(), marker_color="#c9d0d6")
    changes.add_bar(name="loss", x=titles, y=(-net.loss_hectares).tolist(), marker_color="#c9d0d6")
    changes.add_bar(
        name="net",
        x=titles,
        y=net.net_hectares.tolist(),
        marker_color=colors,
        width=0.45,
        hovertext=[html.escape(one) for one in net_told(net)],
    )
    changes.update_layout(
        title=f"Gain, loss and net change, {matrix.from_year} to {matrix.to_year}",
        barmode="overlay",
        yaxis_title="mapped area, ha",
        showlegend=False,
    )
    flows, count = _flows(matrix), len(titles)
    before, after = np.nonzero(flows)
    sankey = go.Figure(
        go.Sankey(
            valuesuffix=" ha",
            valueformat=",.1f",
            node={"label": titles * 2, "color": colors * 2, "pad": 14},
            link={
                "source": before.tolist(),
                "target": (after + count).tolist(),
                "value": flows[before, after].tolist(),
                "color": [_translucent(legend.classes[i].color) for i in before],
            },
        )
    )
    sankey.update_layout(title=f"Transitions, {matrix.from_year} to {matrix.to_year}, without what did not change")
    if not flows.any():
        sankey.add_annotation(text=_nothing(matrix), showarrow=False, font={"size": 14, "color": _MUTED})
        sankey.update_layout(xaxis={"visible": False}, yaxis={"visible": False})
    pages = []
    for number, figure in enumerate((bars, changes, sankey)):
        figure.update_layout(template="plotly_white", margin={"l": 60, "r": 20, "t": 50, "b": 40}, height=440)
        pages.append(
            figure.to_html(
                full_html=False,
                include_plotlyjs=number == 0,
                div_id=("areas", "net", "sankey")[number],
                config={"displaylogo": False, "plotlyServerURL": ""},
            )
        )
    return pages


def _nothing(matrix: TransitionMatrix) -> str:
    seen = matrix.observed_hectares > 0
    return "No change is mapped." if seen else f"Nothing was observed in both {matrix.from_year} and {matrix.to_year}."


def net_told(net: pd.DataFrame) -> list[str]:
    """Net change of each class, and what is known of the true one."""
    return [interval_of(row, "net_hectares").told(row["net_hectares"], "ha") for _, row in net.iterrows()]


def _pivoted(areas: pd.DataFrame, legend: MapLegend, values: str = "mapped_hectares") -> pd.DataFrame:
    """A column by year and class, in the legend's order."""
    seen = areas[areas["class"] != UNOBSERVED]
    return seen.pivot(index="year", columns="class", values=values)[list(legend.names)]


def _error_bars(axes: Axes, at: np.ndarray, low: np.ndarray, high: np.ndarray, estimate: np.ndarray) -> None:
    """Lines from the lower to the upper limit, and points for estimates, wherever there are any."""
    axes.vlines(at, low, high, color=_INK, linewidth=1.0)
    axes.plot(at, estimate, "o", color=_INK, markersize=2.5)


def _ylabel(limits: pd.DataFrame | pd.Series) -> str:
    known = bool(limits.notna().to_numpy().any())
    return "mapped area, ha" + ("\n(lines: interval or range)" if known else "")


def _flows(matrix: TransitionMatrix) -> np.ndarray:
    """Hectares of what changed and is wide enough to be seen, `[K, K]`."""
    flows = matrix.hectares.copy()
    np.fill_diagonal(flows, 0)
    flows[flows < _FLOWS * matrix.changed_hectares] = 0
    return flows


def _stacked(heights: np.ndarray, gap: float) -> np.ndarray:
    """Upper ends of boxes one below another, the first at the top; empty ones take no room."""
    steps = heights + gap * (heights > 0)
    return steps.sum() - np.concatenate([[0.0], np.cumsum(steps)[:-1]])


def _translucent(color: str) -> str:
    red, green, blue = bytes.fromhex(color)
    return f"rgba({red},{green},{blue},0.5)"


def _figure(width: float, height: float, note: str) -> tuple[Figure, Axes]:
    # Without pyplot, which would look for a display and keep every figure.
    from matplotlib.figure import Figure as New

    figure = New((max(width, 6.5), height), layout="constrained")
    axes: Any = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(note, fontsize=7, color=_MUTED, x=0.01, ha="left", wrap=True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
