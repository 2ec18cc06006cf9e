"""Figures of zonal statistics: choropleths, bars of composition, and an interactive map that needs no network.

Needs the extra `change` (matplotlib, plotly).
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pandas as pd
import shapely

from services.change.map_legend import MapLegend
from services.change.zonal_tables import OUTSIDE
from services.change.zones import ZONE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = 40
"""Zones whose composition is drawn, at most: the largest."""
DRAWN = 5_000
"""Zones of an interactive map, at most: more are a download that no browser draws."""
_INK, _MUTED, _NONE = "#1f2933", "#66717d", "#dfe3e7"
_LAYERS = ("coastlines", "countries", "lakes", "land", "ocean", "rivers", "subunits")
_NO_COASTS = "window.PlotlyGeoAssets = " + json.dumps(
    {
        "topojson": {
            "world_110m": {
                "type": "Topology",
                "arcs": [],
                "objects": {name: {"type": "GeometryCollection", "geometries": []} for name in _LAYERS},
            }
        }
    }
)
"""Plotly would fetch the coast lines of the world before it draws anything, though none are shown: here are none."""
_DETAIL = 1_500
"""Parts of the map's longer side that are told apart by the interactive map."""


def choropleth_png(
    zones: geopandas.GeoDataFrame, changes: pd.DataFrame | None, legend: MapLegend, name: str, year: int, note: str
) -> bytes:
    """One class: its share in a year, and beside it its relative change, as PNG.

    Args:
        zones: the table of zones.
        changes: the table of changes; None: the share alone.
        legend: for titles.
        name: of the class.
        year: of the share.
        note: what is known of the maps' accuracy; stands below.
    """
    title = next(entry.title for entry in legend.classes if entry.name == name)
    zones = _together(zones)
    values = geopandas.GeoDataFrame(
        {"share": 100 * zones[f"{name}_share_{year}"].to_numpy(np.float64)},
        geometry=zones.geometry.to_numpy(),
        crs=zones.crs,
    )
    panels = 1 if changes is None else 2
    figure, axes = _figure(5.5 * panels, 5.2, f"Hatched: no value. {note}", panels)
    _draw(values, "share", axes[0], "YlGn", 0, _most(values["share"], 1.0), "% of the observed area")
    axes[0].set_title(f"{title}, {year}", loc="left", fontsize=11, color=_INK)
    if changes is not None:
        one = changes[changes["class"] == name].set_index(ZONE)
        values["relative"] = 100 * one["relative_change"].reindex(zones[ZONE]).to_numpy(np.float64)
        most = _most(values["relative"].abs(), 1.0, 95)
        _draw(values, "relative", axes[1], "BrBG", -most, most, "% of the first year's area")
        years = f"{one['from_year'].iloc[0]} to {one['to_year'].iloc[0]}"
        axes[1].set_title(f"{title}, relative change {years}", loc="left", fontsize=11, color=_INK)
    for axis in axes:
        west, south, east, north = _view(zones)
        axis.set_xlim(west, east)
        axis.set_ylim(south, north)
    return _png(figure)


def composition_png(zones: geopandas.GeoDataFrame, legend: MapLegend, years: tuple[int, ...], note: str) -> bytes:
    """Stacked bars of the shares of all classes in the first and the last year, of the largest zones, as PNG.

    Args:
        zones: the table of zones.
        legend: for titles and colours.
        years: of the series.
        note: see `choropleth_png`.
    """
    largest = zones.sort_values("zone_hectares", ascending=False).head(BARS)
    labels = _labels(largest)
    drawn = tuple(dict.fromkeys((years[0], years[-1])))
    figure, axes = _figure(10.5, 1.6 + 0.24 * len(largest), note, len(drawn))
    at = np.arange(len(largest))[::-1]
    for axis, year in zip(axes, drawn, strict=True):
        start = np.zeros(len(largest))
        for one in legend.classes:
            share = 100 * largest[f"{one.name}_share_{year}"].fillna(0).to_numpy(np.float64)
            axis.barh(at, share, 0.8, left=start, color=f"#{one.color}", label=one.title)
            start += share
        axis.set_xlim(0, 100)
        axis.margins(y=0.01)
        axis.set_yticks(at, labels if axis is axes[0] else [""] * len(at), fontsize=7)
        axis.set_xlabel("% of the observed area")
        axis.set_title(f"{year}", loc="left", fontsize=11, color=_INK)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
    if len(zones) > len(largest):
        figure.suptitle(f"The {len(largest)} largest of {len(zones):,} zones", x=0.01, ha="left", fontsize=9)
    return _png(figure)


def interactive_map(tables: dict[str, pd.DataFrame], legend: MapLegend, years: tuple[int, ...], note: str) -> str:
    """An HTML page with one map: what is shown is chosen from a list, figures stand at the pointer.

    It holds all it needs and opens without a network. Outlines are simplified to what a screen shows.

    Args:
        tables: of zones, at most `DRAWN`, of areas, and of changes if there are two years.
        legend: for titles.
        years: of the series.
        note: see `choropleth_png`.
    """
    import plotly.graph_objects as go

    zones = geopandas.GeoDataFrame(tables["zones"])
    drawn = zones[~zones.geometry.is_empty]
    west, south, east, north = _view(_together(drawn))
    shapes = _simplified(drawn.geometry, max(east - west, north - south) / _DETAIL)
    layers = _layers(drawn, tables["areas"], tables.get("changes"), legend, years)
    seen, when = (f"covered_share_{years[0]}", "") if len(years) == 1 else ("covered_share_both", " in both years")
    labels = [
        f"{label}<br>{coverage}, {share:.0%} observed{when}"
        for label, coverage, share in zip(_labels(drawn), drawn["coverage"], drawn[seen], strict=True)
    ]
    common = {
        "geojson": shapes,
        "locations": list(range(len(drawn))),
        "featureidkey": "id",
        "locationmode": "geojson-id",
        "text": labels,
        "marker": {"line": {"width": 0.5, "color": "#8a949e"}},
    }
    # Below it all zones in grey: those without a value are not drawn, but must not seem to be missing.
    grey = {"z": [0] * len(drawn), "colorscale": [[0, _NONE], [1, _NONE]], "showscale": False}
    value = "%{text}<br>%{z:.2f}<br>%{customdata}<extra></extra>"
    figure = go.Figure(
        [
            go.Choropleth(**common, **grey, hovertemplate="%{text}<br>no value<extra></extra>"),
            go.Choropleth(**common, **layers[0][1], hovertemplate=value),
        ]
    )
    buttons = [
        # Of a list, each element is for one trace: the second alone is changed.
        {"label": title, "method": "restyle", "args": [{key: [value] for key, value in layer.items()}, [1]]}
        for title, layer in layers
    ]
    figure.update_geos(
        visible=False,
        lonaxis_range=[west, east],
        lataxis_range=[south, north],
        projection_type="mercator",
        bgcolor="white",
    )
    figure.update_layout(
        template="plotly_white",
        margin={"l": 10, "r": 10, "t": 60, "b": 50},
        updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.08, "yanchor": "top"}],
        annotations=[
            {"text": note, "showarrow": False, "x": 0, "y": -0.06, "xref": "paper", "yref": "paper"}
            | {"xanchor": "left", "font": {"size": 11, "color": _MUTED}}
        ],
    )
    page = figure.to_html(include_plotlyjs=True, config={"displaylogo": False, "plotlyServerURL": ""}, div_id="map")
    return page.replace("<head>", f"<head><script>{_NO_COASTS}</script>", 1)


def _layers(
    zones: geopandas.GeoDataFrame,
    areas: pd.DataFrame,
    changes: pd.DataFrame | None,
    legend: MapLegend,
    years: tuple[int, ...],
) -> list[tuple[str, dict[str, Any]]]:
    """Title, values and intervals of what can be shown."""
    found = [] if changes is None else [("Changed, %", _layer(zones, "changed_share", 100, "YlOrRd", None))]
    for one in legend.classes:
        for year in dict.fromkeys((years[0], years[-1])):
            own = areas[(areas["class"] == one.name) & (areas["year"] == year)].set_index(ZONE).reindex(zones[ZONE])
            found.append((f"{one.title} {year}, %", _layer(own, "share", 100, "YlGn", None)))
        if changes is None:
            continue
        own = changes[changes["class"] == one.name].set_index(ZONE).reindex(zones[ZONE])
        title = f"{one.title}, change {years[0]} to {years[-1]}"
        found.append((f"{title}, points", _layer(own, "change_points", 1, "BrBG", 0)))
        found.append((f"{title}, relative, %", _layer(own, "relative_change", 100, "BrBG", 0)))
    return found


def _layer(table: pd.DataFrame, name: str, factor: float, scale: str, middle: float | None) -> dict[str, Any]:
    """A figure of zones; at the pointer stands what is known of the true one."""
    numbers, low, high = (
        factor * table[column].to_numpy(np.float64)
        for column in (name if name in table else f"mapped_{name}", f"low_{name}", f"high_{name}")
    )
    told = [
        "no interval" if np.isnan(lowest) else f"{lowest:.2f} to {highest:.2f} ({kind})"
        for lowest, highest, kind in zip(low, high, table["interval"], strict=True)
    ]
    most = _most(pd.Series(np.abs(numbers)), 0.1, 95 if middle is not None else 100)
    return {
        "customdata": told,
        "z": [None if np.isnan(one) else round(float(one), 3) for one in numbers],
        "colorscale": scale,
        "zmin": 0 if middle is None else -most,
        "zmax": most,
    }


def _simplified(shapes: geopandas.GeoSeries, step: float) -> dict[str, Any]:
    simple = shapely.simplify(shapes.to_numpy(), step, preserve_topology=True)
    # Rings the other way round would be the rest of the globe to the library that draws them.
    turned = shapely.orient_polygons(simple, exterior_cw=True)
    digits = max(0, int(np.ceil(-np.log10(max(step, 1e-7)))) + 1)
    features = []
    for number, shape in enumerate(turned):
        geometry = json.loads(shapely.to_geojson(shape), parse_float=lambda text: round(float(text), digits))
        features.append({"type": "Feature", "id": number, "properties": {}, "geometry": geometry})
    return {"type": "FeatureCollection", "features": features}


def _together(zones: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Zones on both sides of the antimeridian side by side: with longitudes of 0 to 360 degrees."""
    west, _, east, _ = zones.total_bounds
    turned = zones.geometry.transform(lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    narrow = np.ptp(turned.total_bounds[[0, 2]]) < 180 < east - west
    return zones.set_geometry(turned) if narrow else zones


def _view(zones: geopandas.GeoDataFrame) -> tuple[float, float, float, float]:
    """What is shown: all zones but those far from any map, of which one would shrink the others to a point."""
    mapped = zones["coverage"] != OUTSIDE
    mapped |= not mapped.any()
    west, south, east, north = zones[mapped].total_bounds
    side = max(east - west, north - south)
    near = zones.within(shapely.box(west - side, south - side, east + side, north + side))
    west, south, east, north = zones[mapped | near].total_bounds
    edge = 0.02 * max(east - west, north - south)
    return west - edge, south - edge, east + edge, north + edge


def _labels(zones: geopandas.GeoDataFrame) -> list[str]:
    """Names of zones, from a column `name` where there is one."""
    column = next((one for one in zones.columns if str(one).lower() in ("name", "nome", "nam", "label")), ZONE)
    return zones[column].astype(str).tolist()


def _draw(
    values: geopandas.GeoDataFrame, column: str, axes: Axes, scale: str, low: float, high: float, label: str
) -> None:
    values[~values.geometry.is_empty & values.geometry.notna()].plot(
        column=column,
        ax=axes,
        cmap=scale,
        vmin=low,
        vmax=high,
        legend=True,
        legend_kwds={"label": label, "shrink": 0.7},
        edgecolor=_INK,
        linewidth=0.2 if len(values) < 2_000 else 0.0,
        missing_kwds={"color": _NONE, "hatch": "///", "edgecolor": _MUTED, "linewidth": 0.2},
    )
    axes.set_axis_off()


def _most(values: pd.Series, least: float, percentile: float = 100) -> float:
    """Upper end of a colour scale."""
    known = values.dropna().to_numpy(np.float64)
    return max(least, float(np.percentile(known, percentile))) if known.size else least


def _figure(width: float, height: float, note: str, panels: int) -> tuple[Figure, Any]:
    # Without pyplot, which would look for a display and keep every figure.
    from matplotlib.figure import Figure as New

    figure = New((width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    figure.supxlabel(note, fontsize=7, color=_MUTED, x=0.01, ha="left", wrap=True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
