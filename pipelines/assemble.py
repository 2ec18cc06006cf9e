"""Assemble a tile-year from its staged blocks and publish it: COGs, thumbnail, and last the item, the only commit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from catalog.area import mapped_geometry
from catalog.assets import AssetFile
from catalog.cog import BLOCK, label_classes, plain_profile, write_cog, write_thumbnail
from catalog.errors import LandloomError
from catalog.items import build_item, fingerprint_of, published_fingerprint
from catalog.legend import CLOUD
from catalog.manifest import Manifest
from catalog.scenes import Exclusion
from catalog.season import SEASON_BANDS, SEASON_NODATA, band_scales
from catalog.store import NotFound, Store
from catalog.vote import NO_SCORE
from pipelines.stage import read_staged


class CannotPublish(LandloomError):
    """This tile-year cannot be published; the run goes on and reports it."""


@dataclass
class Mosaic:
    """The blocks of a tile-year laid side by side, each asset a plain GeoTIFF on local disk."""

    files: dict[str, Path]
    transform: Affine
    shape: tuple[int, int]
    class_pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    """Pixels of each published code."""
    looks: int = 0
    """Clear looks, summed over pixels."""
    few_looks: int = 0
    """Pixels with a look, but too few for a season that is to be relied on."""
    second_stage_pixels: int = 0
    """Pixels whose class the second stage decided."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Scenes left out in any block, with the reason."""
    odd: dict[str, str] = field(default_factory=dict)
    """Scenes used, but implausible."""
    made: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    """Of each block the run that made it, and the figures of its making."""


def publish(store: Store, manifest: Manifest, *, overwrite: bool) -> list[tuple[str, dict[str, float]]]:
    """Publish a tile-year whose blocks are all staged. Doing so twice gives the same.

    Returns:
        Of each block the run that made it, and the figures of its making; nothing if another run has published the
        tile-year meanwhile.

    Raises:
        CannotPublish: nothing was mapped, no radar scene could be used, or another map was published meanwhile.
        StoreError: the output cannot be written; the staged blocks stay.
    """
    with tempfile.TemporaryDirectory(prefix="landloom-") as folder:
        try:
            mosaic = lay_out(store, manifest, Path(folder))
        except NotFound:
            if published_fingerprint(store, manifest.item_key) == manifest.fingerprint:
                return []  # Another run published it and cleared the staged blocks meanwhile.
            raise
        if not mosaic.class_pixels[1:].any():
            raise CannotPublish(_why_empty(manifest, mosaic))
        _refuse_without_radar(manifest, mosaic)
        assets = list(_write_assets(store, manifest, mosaic, Path(folder)))
    _register(store, manifest, mosaic, assets, overwrite)
    store.delete(store.list(manifest.staging))
    return mosaic.made


def lay_out(store: Store, manifest: Manifest, folder: Path) -> Mosaic:
    """Write the staged blocks side by side, one block in memory at a time."""
    tile, blocks = manifest.ground, [manifest.block(number) for number in manifest.blocks]
    row0, col0 = min(one.row0 for one in blocks), min(one.col0 for one in blocks)
    # The last blocks of 30 m reach beyond the tile.
    row1, col1 = (
        min(max(one.row1 for one in blocks), tile.shape[0]),
        min(max(one.col1 for one in blocks), tile.shape[1]),
    )
    shape = (row1 - row0, col1 - col0)
    land = [name for name in manifest.model.classes if name != CLOUD]
    bands = {"data": (1, "uint8", 0), "confidence": (1, "uint8", 0), "observations": (1, "uint16", None)}
    if manifest.scores:
        bands["scores"] = (len(land), "uint8", NO_SCORE)
    if manifest.seasons:
        bands["seasons"] = (len(SEASON_BANDS), "int16", SEASON_NODATA)
    files = {name: folder / f"{name}.plain.tif" for name in bands}
    mosaic = Mosaic(files, tile.transform @ Affine.translation(col0, row0), shape)
    with ExitStack() as stack:
        targets = {}
        for name, (count, dtype, nodata) in bands.items():
            targets[name] = stack.enter_context(
                rasterio.open(
                    files[name],
                    "w",
                    height=shape[0],
                    width=shape[1],
                    count=count,
                    dtype=dtype,
                    nodata=nodata,
                    crs=f"EPSG:{tile.epsg}",
                    transform=mosaic.transform,
                    **plain_profile(manifest.legend if name == "data" else None),
                )
            )
        label_classes(targets["data"], manifest.legend)
        if manifest.scores:
            targets["scores"].descriptions = land
        seasons = targets.pop("seasons", None)
        if seasons:
            seasons.descriptions, seasons.scales = SEASON_BANDS, band_scales()
        for one in blocks:
            staged = read_staged(store, manifest, one.number)
            rows, cols = min(one.row1, row1) - one.row0, min(one.col1, col1) - one.col0
            window = Window(one.col0 - col0, one.row0 - row0, cols, rows)
            for name, target in targets.items():
                array = getattr(staged.voted, name)[..., :rows, :cols]
                target.write(array if array.ndim == 3 else array[np.newaxis], window=window)
            if seasons:
                _lay_season(store, manifest.season_key(one.number), seasons, one.row0 - row0, one.col0 - col0, folder)
            mosaic.few_looks += int(staged.figures.get("few_looks", 0))
            mosaic.second_stage_pixels += int(staged.figures.get("second_stage_pixels", 0))
            mosaic.class_pixels += np.bincount(staged.voted.data.ravel(), minlength=256)
            mosaic.looks += int(staged.voted.observations.sum(dtype=np.int64))
            mosaic.left_out.update({problem["scene"]: problem["reason"] for problem in staged.problems})
            mosaic.made.append((staged.run, staged.figures))
            mosaic.odd.update({warning["scene"]: warning["reason"] for warning in staged.warnings})
    return mosaic


def _lay_season(store: Store, key: str, target: rasterio.io.DatasetWriter, row0: int, col0: int, folder: Path) -> None:
    """Copy a block's season to its place, a row of the target's tiles at a time: all bands would not fit in memory."""
    plain = folder / "season.tif"
    store.download(key, plain)
    with rasterio.open(plain) as source:
        height, width = min(source.height, target.height - row0), min(source.width, target.width - col0)
        start = 0
        while start < height:
            stop = min(height, start + BLOCK - (row0 + start) % BLOCK)
            part = source.read(window=Window(0, start, width, stop - start))
            target.write(part, window=Window(col0, row0 + start, width, stop - start))
            start = stop
    plain.unlink()


def _write_assets(store: Store, manifest: Manifest, mosaic: Mosaic, folder: Path) -> Iterator[AssetFile]:
    def write(name: str) -> AssetFile:
        cog = folder / f"{name}.tif"
        # Days of the year and terms of a fit have no mean that says anything: overviews show a pixel of those below.
        write_cog(mosaic.files[name], cog, classes=name == "data", overviews="nearest" if name == "seasons" else "")
        store.upload(f"{manifest.folder}/{manifest.fingerprint}/{cog.name}", cog)
        mosaic.files[name].unlink()
        return AssetFile.of(name, cog)

    # Two at a time: GDAL makes the overviews of a file on one core, and each adds to the worker's memory.
    with ThreadPoolExecutor(2, thread_name_prefix="cog") as pool:
        yield from pool.map(write, mosaic.files)
    png = folder / "thumbnail.png"
    write_thumbnail(folder / "data.tif", png, manifest.legend)
    store.upload(f"{manifest.folder}/{manifest.fingerprint}/{png.name}", png)
    yield AssetFile.of("thumbnail", png)


def _register(store: Store, manifest: Manifest, mosaic: Mosaic, assets: list[AssetFile], overwrite: bool) -> None:
    tile = manifest.ground
    used = [
        datatake.model_copy(update={"scenes": tuple(s for s in datatake.scenes if s.id not in mosaic.left_out)})
        for datatake in manifest.datatakes
    ]
    item = build_item(
        manifest,
        epsg=tile.epsg,
        transform=mosaic.transform,
        shape=mosaic.shape,
        geometry=mapped_geometry(tile, [manifest.block(number).window for number in manifest.blocks]),
        scenes=[scene for datatake in used for scene in datatake.scenes],
        left_out=[Exclusion(scene=scene, reason=reason) for scene, reason in sorted(mosaic.left_out.items())],
        odd=[Exclusion(scene=scene, reason=reason) for scene, reason in sorted(mosaic.odd.items())],
        class_pixels=mosaic.class_pixels,
        looks=mosaic.looks,
        few_looks=mosaic.few_looks,
        second_stage_pixels=mosaic.second_stage_pixels,
        assets=assets,
    )
    there, version = store.read_versioned(manifest.item_key)
    before = fingerprint_of(there)
    if before not in (None, manifest.fingerprint) and not (overwrite or _covers(store, manifest, before)):
        raise CannotPublish(
            f"another map (fingerprint {before}) was published while this one was made. "
            "Pass --overwrite to replace it, or another --out"
        )
    if not store.write_if(manifest.item_key, item, version):
        raise CannotPublish("another run published this tile-year at the same moment; run again")
    if before not in (None, manifest.fingerprint):
        store.delete(store.list(f"{manifest.folder}/{before}/"))


def _covers(store: Store, manifest: Manifest, before: str) -> bool:
    """Whether this map shows all that the published one shows, made in the same way."""
    published = Manifest.model_validate_json(store.read(f"{manifest.folder}/{before}/manifest.json"))
    return published.recipe == manifest.recipe and set(published.requested) <= set(manifest.requested)


def _refuse_without_radar(manifest: Manifest, mosaic: Mosaic) -> None:
    """A map that was asked for with radar, all of which turned out to be of no use, would show what nobody asked for.

    Raises:
        CannotPublish: with the reasons.
    """
    reasons = [mosaic.left_out.get(scene.id, "") for scene in manifest.radar]
    if reasons and all(reasons):
        told = "; ".join(sorted(set(reasons))[:3])
        raise CannotPublish(
            f"none of {len(reasons)} radar scenes can be used: {told}. Mend them, or map without --radar"
        )


def _why_empty(manifest: Manifest, mosaic: Mosaic) -> str:
    reasons = sorted(set(mosaic.left_out.values()))
    return (
        f"no pixel has --min-observations {manifest.min_observations} clear looks in {len(manifest.datatakes)} "
        "datatakes" + (f"; scenes left out: {'; '.join(reasons[:3])}" if reasons else "")
    )
