"""The grid of 30 m: the same tiles, every pixel one owner, nine whole pixels of 10 m in each."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import zones
from catalog.errors import BadInput
from catalog.grid import Tile, block, blocks, blocks_intersecting, owned_geometry, owned_mask, tile_at

TILES = ["33UUU", "33UVU", "33UUT", "36MZU", "36MYU", "60KXF", "31NAA", "48QUE"]


@pytest.mark.parametrize("name", TILES)
def test_a_tile_has_the_pixels_whose_centres_lie_in_its_square(name):
    tile = Tile.from_name(name, 30)
    left, top = tile.transform @ (0.5, 0.5)
    right, bottom = tile.transform @ (tile.shape[1] - 0.5, tile.shape[0] - 0.5)
    assert set(tile.shape) <= {3333, 3334}
    assert left - 30 < tile.left < left and right < tile.left + 100_000 < right + 30
    assert bottom - 30 < tile.bottom < bottom and top < tile.top < top + 30


@pytest.mark.parametrize("name", TILES)
def test_pixels_lie_on_the_lattice_of_hls_from_the_equator_on(name):
    tile = Tile.from_name(name, 30)
    equator = 10_000_000 if tile.epsg > 32700 else 0
    assert tile.transform.c % 30 == 0 and (tile.transform.f - equator) % 30 == 0
    # So each holds nine whole pixels of 10 m, those of the tile's own map but at its edges.
    fine = Tile.from_name(name)
    assert (tile.transform.c - fine.transform.c) % 10 == 0 and (tile.transform.f - fine.transform.f) % 10 == 0


def test_neighbours_lie_side_by_side_without_gap_or_overlap():
    west, east, south = (Tile.from_name(name, 30) for name in ("33UUU", "33UVU", "33UUT"))
    assert west.transform @ (west.shape[1], 0) == east.transform @ (0, 0)
    assert west.transform @ (0, west.shape[0]) == south.transform @ (0, 0)


def test_the_last_blocks_reach_beyond_the_tile_where_nobody_owns_anything():
    tile = Tile.from_name("33UUU", 30)
    last = block(3, 30)
    assert [one % 16 for one in last.window] == [0] * 4 and last.row1 > tile.shape[0]
    mask = owned_mask(tile, *last.window)
    inside = (tile.shape[0] - last.row0, tile.shape[1] - last.col0)
    assert mask[: inside[0], : inside[1]].all()
    assert not mask[inside[0] :].any() and not mask[:, inside[1] :].any()
    assert sum(one.pixels for one in blocks(30)) == 3344**2
    with pytest.raises(BadInput, match="no block 4 at 30 m"):
        block(4, 30)


def test_where_a_zone_ends_each_pixel_of_30_m_goes_to_the_zone_of_its_centre():
    tile = Tile.from_name("32UQU", 30)  # The zone ends at 12 degrees east, within it.
    rows, cols = (1600, 1640), (0, tile.shape[1])
    mask = owned_mask(tile, *rows, *cols)
    assert mask.any() and not mask.all()
    mine, beyond = _points(tile, mask, rows[0])
    assert tile_at(*mine).name == "32UQU" and tile_at(*beyond).zone == 33


def _points(tile: Tile, mask: np.ndarray, row: int) -> list[tuple[float, float]]:
    """The last owned and the first other pixel centre of a row, degrees."""
    col = int(np.flatnonzero(mask[0])[-1])
    return [zones.to_lonlat(tile.epsg, *(tile.transform @ (one + 0.5, row + 0.5))) for one in (col, col + 1)]


def test_blocks_are_chosen_and_drawn_as_at_10_m():
    tile = Tile.from_name("33UUU", 30)
    assert blocks_intersecting(tile) == (0, 1, 2, 3)
    inner = owned_geometry(tile, (10, 20, 10, 20))
    assert blocks_intersecting(tile, inner) == (0,)
    # A window that reaches beyond the tile ends with it.
    assert owned_geometry(tile, (0, 3344, 0, 3344)).equals(owned_geometry(tile))
