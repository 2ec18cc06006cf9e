"""Which pixels a zone has, and how much of each: exact shares along its border, whole runs of pixels inside.

A polygon's edges are cut where they cross the lines between pixels. Each piece lies in one pixel and covers some of its
height: so much of the pixel as lies to the piece's right, and as high a strip of all pixels beyond it in the row. Down
the left side of a polygon this counts as positive, up its right side as negative, and the sums are the shares. It is
how fonts are drawn; the work grows with the length of the borders, and no decision hangs on rounding.

exactextract gives the same shares (the tests compare them) but looks at each pixel of a polygon's box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine

SLIVER = 1e-6
"""Share of a pixel below which it is not in a zone: what is left of edges on pixels' edges after two projections."""
Edges = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Number of the polygon, then x and y of the start and of the end, in pixels, each `[n]`."""


@dataclass(frozen=True)
class ZoneCells:
    """Pixels of several polygons, told by `row * columns + column`; where polygons overlap, each has its own."""

    border: np.ndarray
    """Number of the polygon, of each pixel that an edge crosses, int64 `[n]`."""
    cell: np.ndarray
    """The pixel, int64 `[n]`."""
    share: np.ndarray
    """Of the pixel that lies in the polygon, 0 to 1, `[n]`."""
    run: np.ndarray
    """Number of the polygon, of each run of pixels in a row that lie in it wholly, int64 `[m]`."""
    start: np.ndarray
    """First pixel of the run, int64 `[m]`, in ascending order."""
    stop: np.ndarray
    """The pixel after its last one, int64 `[m]`."""


def cells_of(shapes: np.ndarray, grid: Affine, shape: tuple[int, int]) -> ZoneCells:
    """The pixels of each polygon in a window.

    Args:
        shapes: valid geometries in the map's coordinates `[polygons]`, of which the polygons count; they may reach
            beyond the window.
        grid: pixel (column, row) of the window to coordinates; north up.
        shape: rows and columns of the window.
    """
    rows, cols = shape
    polygon, x0, y0, x1, y1 = _cut(_cut(_edges(shapes, grid, shape), across=True, lines=rows), across=False, lines=cols)
    # What lies left of the window covers its rows from their first pixel on.
    middle, row = np.maximum((x0 + x1) / 2, 0), np.floor((y0 + y1) / 2).astype(np.int64)
    there = (row >= 0) & (row < rows) & (middle < cols)
    middle, row, height, polygon = middle[there], row[there], (y1 - y0)[there], polygon[there]
    col = middle.astype(np.int64)
    key, place = np.unique((polygon * rows + row) * cols + col, return_inverse=True)
    covered = np.bincount(place, height * (col + 1 - middle), key.size)
    line, col = np.divmod(key, cols)
    beyond = np.cumsum(np.bincount(place, height, key.size))
    first = np.diff(line, prepend=-1) != 0
    # Cover of the pixels between an edge and the next one in the row; what was summed in rows before is taken off.
    before = np.concatenate([[0.0], beyond[:-1]])
    base = before[first][np.cumsum(first) - 1]
    polygon, row = np.divmod(line, rows)
    cell = row * cols + col
    share = before - base + covered
    stop = np.where(np.append(first[1:], True), (row + 1) * cols, np.append(cell[1:], 0))
    inside = (beyond - base > 0.5) & (stop > cell + 1)
    order = np.argsort(cell[inside], kind="stable")
    real = share > SLIVER
    return ZoneCells(
        polygon[real],
        cell[real],
        np.minimum(share[real], 1),
        polygon[inside][order],
        cell[inside][order] + 1,
        stop[inside][order],
    )


def _edges(shapes: np.ndarray, grid: Affine, shape: tuple[int, int]) -> Edges:
    """Edges that lie in the window's rows and not beyond its right side; outer rings run anticlockwise on the map."""
    parts, number = shapely.get_parts(shapes, return_index=True)
    # Mended polygons may come with lines, in a collection.
    parts, collected = shapely.get_parts(parts, return_index=True)
    rings, part = shapely.get_rings(shapely.orient_polygons(parts), return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    x, y = (points[:, 0] - grid.c) / grid.a, (points[:, 1] - grid.f) / grid.e
    # Level edges, too: they cover nothing, but the pixels that they cross belong to no run.
    edge = (ring[1:] == ring[:-1]) & (np.minimum(x[1:], x[:-1]) < shape[1])
    edge &= (np.maximum(y[1:], y[:-1]) > 0) & (np.minimum(y[1:], y[:-1]) < shape[0])
    start = np.flatnonzero(edge)
    return number[collected[part[ring[start]]]], x[start], y[start], x[start + 1], y[start + 1]


def _cut(edges: Edges, *, across: bool, lines: int) -> Edges:
    """Cut edges at the lines between rows (`across`) or columns, from 0 to `lines`."""
    polygon, x0, y0, x1, y1 = edges
    a0, a1, b0, b1 = (y0, y1, x0, x1) if across else (x0, x1, y0, y1)
    least = np.maximum(np.floor(np.minimum(a0, a1)) + 1, 0)
    most = np.minimum(np.ceil(np.maximum(a0, a1)) - 1, lines)
    crossed = np.maximum(most - least + 1, 0).astype(np.int64)
    edge = np.repeat(np.arange(crossed.size), crossed + 1)
    # Of the pieces of each edge: after how many lines it starts.
    ends = np.cumsum(crossed + 1)
    after = np.arange(edge.size) - np.repeat(ends - crossed - 1, crossed + 1)
    first, step = np.where(a0 < a1, least, most)[edge], np.where(a0 < a1, 1, -1)[edge]
    slope = np.divide(b1 - b0, a1 - a0, out=np.zeros_like(a0), where=a1 != a0)[edge]
    a = np.where(after == 0, a0[edge], first + (after - 1) * step)
    b = np.where(after == 0, b0[edge], b0[edge] + (a - a0[edge]) * slope)
    # A piece ends where the next one starts, the last one where its edge does.
    a_end, b_end = np.append(a[1:], 0), np.append(b[1:], 0)
    a_end[ends - 1], b_end[ends - 1] = a1, b1
    return (polygon[edge], b, a, b_end, a_end) if across else (polygon[edge], a, b, a_end, b_end)
