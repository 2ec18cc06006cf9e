"""Values of maps at tiles and points: only from hrefs that lie in the catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import rasterio
from rio_tiler.errors import PointOutsideBounds, TileOutsideBounds
from rio_tiler.io import Reader

from catalog.store import Store
from catalog.store_s3 import S3Store, gdal_settings
from services.tiles.palettes import ASSETS

_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_CACHEMAX": 128,  # Megabytes of the process.
    "GDAL_HTTP_TIMEOUT": "20",
    "GDAL_HTTP_MAX_RETRY": "2",
}


class MapReader:
    """Reads the COGs of a catalog. May be asked by many threads at once."""

    def __init__(self, store: Store):
        """Args:
        store: where the catalog's files lie.
        """
        self.root = store.href("x").removesuffix("/x")
        """What the hrefs of its files begin with."""
        self._settings = _SETTINGS | (gdal_settings(store.endpoint) if isinstance(store, S3Store) else {})
        # Few: on two cores more would wait for each other.
        self._readers = ThreadPoolExecutor(8, thread_name_prefix="tiles")

    def tile(self, items: Sequence[dict[str, Any]], asset: str, z: int, x: int, y: int, side: int) -> np.ndarray:
        """The values of a web-mercator tile, `[side, side]`: of the first item that has one there, 0 where none has.

        Maps do not overlap: a pixel has one owner.
        """

        def read(source: Reader) -> np.ndarray:
            return source.tile(x, y, z, tilesize=side, resampling_method="nearest", reproject_method="nearest").data[0]

        values = np.zeros((side, side), np.uint8)
        for found in self._each(items, asset, read):
            if found is not None:
                values = np.where(values == 0, found, values)
        return values

    def point(self, item: dict[str, Any], lon: float, lat: float) -> dict[str, int | None]:
        """Asset to its value at a point, None where there is none."""

        def read(source: Reader) -> np.ndarray:
            return source.point(lon, lat).data

        values = {}
        for asset in ASSETS:
            (found,) = self._each([item], asset, read)
            values[asset] = None if found is None else int(found[0])
        return values

    def _each(
        self, items: Sequence[dict[str, Any]], asset: str, read: Callable[[Reader], np.ndarray]
    ) -> list[np.ndarray | None]:
        def one(item: dict[str, Any]) -> np.ndarray | None:
            href = item["assets"].get(asset, {}).get("href", "")
            if not href.startswith(f"{self.root}/"):
                return None
            with rasterio.Env(**self._settings):
                try:
                    with Reader(href) as source:
                        return read(source)
                except (TileOutsideBounds, PointOutsideBounds):
                    return None

        return [one(items[0])] if len(items) == 1 else list(self._readers.map(one, items))
