"""Which pixels a zone has, and how much of each: by exactextract along its border, by whole squares inside.

exactextract looks at every cell of a polygon's box, so a large zone is taken apart: squares of `PART` pixels that lie
wholly in it are told from its coverage of a coarse grid, and only the pieces along its border are looked at closely.
"""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import shapely

from services.change.blocks import Block
from services.change.zones import polygons

SLIVER = 1e-6
"""Share of a pixel below which it is not in a zone: what is left of edges on pixels' edges after two projections."""
PART = 32
"""Pixels along the sides of the parts of a block that are counted at once where they lie wholly in a zone."""


def cells_of(raster: Any, shapes: np.ndarray, crs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each cell that a polygon touches: the polygon's number, the cell's, and its share that lies inside."""
    from exactextract import exact_extract

    nothing = np.zeros(0, np.int64)
    if not shapes.size:
        return nothing, nothing, np.zeros(0)
    # Where a polygon only touches what it was cut with, a line stays.
    shapes = np.array([polygons(one) for one in shapes])
    frame = geopandas.GeoDataFrame(geometry=shapes, crs=crs)
    table = exact_extract(raster, frame, ["cell_id", "coverage"], output="pandas")
    number = np.repeat(np.arange(len(shapes)), table["cell_id"].map(len).to_numpy(np.int64))
    cells = np.concatenate([nothing, *table["cell_id"]]).astype(np.int64)
    return number, cells, np.concatenate([np.zeros(0), *table["coverage"]])


def cell_grid(shape: tuple[int, ...], crs: Any, box: tuple[float, float, float, float]) -> Any:
    """A raster for exactextract, of which only the cells matter."""
    from exactextract.raster import NumPyRasterSource

    return NumPyRasterSource(np.broadcast_to(np.uint8(0), shape), *box, srs_wkt=crs.to_wkt())


def parts_of(
    shapes: np.ndarray, block: Block, crs: Any, box: tuple[float, float, float, float], size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of a block that a polygon touches: the polygon's number, in order, the part's, and whether it is inside."""
    left, top = box[0], box[3]
    rows, cols = part_grid(block.codes.shape[1:])
    number, part, coverage = cells_of(
        cell_grid((rows, cols), crs, (left, top - rows * size[1], left + cols * size[0], top)), shapes, crs
    )
    # Polygons end at the block's edge, where the last parts reach beyond it.
    row, col = part // cols, part % cols
    share = np.minimum(1, (block.codes.shape[1] - row * PART) / PART)
    share = share * np.minimum(1, (block.codes.shape[2] - col * PART) / PART)
    return number, part, coverage > share * (1 - SLIVER)


def pieces_of(
    shapes: np.ndarray,
    number: np.ndarray,
    part: np.ndarray,
    block: Block,
    box: tuple[float, float, float, float],
    size: np.ndarray,
) -> np.ndarray:
    """What of a polygon lies in a part: exactextract looks at all cells of a polygon's box, so boxes are kept small."""
    row, col = np.divmod(part, part_grid(block.codes.shape[1:])[1])
    west, north = box[0] + col * size[0], box[3] - row * size[1]
    return shapely.intersection(shapes[number], shapely.box(west, north - size[1], west + size[0], north))


def part_grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the parts of a block."""
    return -(-shape[0] // PART), -(-shape[1] // PART)
