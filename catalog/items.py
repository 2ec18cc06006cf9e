"""The STAC item of a published tile-year. Its JSON beside the COGs is the truth; everything else is derived from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import antimeridian
import numpy as np
import pyproj
import pystac
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from catalog.assets import AssetFile, build_asset, legend_tree, renders
from catalog.manifest import Manifest
from catalog.model import ModelSpec
from catalog.models import model_key
from catalog.radar import RadarScene
from catalog.scenes import Exclusion, Scene
from catalog.season import FEW_LOOKS
from catalog.sensors import SENSORS
from catalog.store import NotFound, Store

EXTENSIONS = [
    "https://stac-extensions.github.io/classification/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/render/v2.0.0/schema.json",
]
FINGERPRINT = "landloom:fingerprint"


def build_item(
    manifest: Manifest,
    *,
    epsg: int,
    transform: Affine,
    shape: tuple[int, int],
    geometry: BaseGeometry,
    scenes: Sequence[Scene],
    left_out: Sequence[Exclusion],
    odd: Sequence[Exclusion],
    class_pixels: np.ndarray,
    looks: int,
    few_looks: int = 0,
    second_stage_pixels: int = 0,
    assets: Sequence[AssetFile],
) -> bytes:
    """The JSON of a tile-year's item.

    Args:
        manifest: what it was made from.
        epsg: of the COGs.
        transform: of the COGs.
        shape: rows and columns of the COGs.
        geometry: the part that is mapped, longitude and latitude.
        scenes: that were used.
        left_out: scenes that could not be read.
        odd: scenes that were used, but are implausible.
        class_pixels: `[256]`, pixels of each published code.
        looks: clear looks, summed over pixels.
        few_looks: pixels with a look, but too few for a season that is to be relied on.
        second_stage_pixels: whose class the second stage decided.
        assets: the files.
    """
    unused = {exclusion.scene for exclusion in left_out}
    radar = [scene for scene in manifest.radar if scene.id not in unused]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (manifest.period.start, manifest.period.end))
    seen = int(class_pixels[1:].sum())
    legend, second = manifest.legend, manifest.second_stage
    item = pystac.Item(
        id=manifest.id,
        geometry=rounded(geometry),
        bbox=bbox_of(geometry),
        # Not null, and the same for all items of a period: loaders group by it.
        datetime=manifest.period.start,
        properties={
            "start_datetime": start,
            "end_datetime": end,
            "created": now,
            "updated": now,
            "title": f"Land cover {manifest.tile} {manifest.period.label}",
            "gsd": manifest.gsd,
            **_seen_by(scenes, bool(radar)),
            "io:tile_id": manifest.tile,
            "grid:code": f"MGRS-{manifest.tile}",
            **projection(epsg, transform, shape),
            "processing:level": "L4",
            "processing:datetime": now,
            "processing:lineage": (
                f"{len(manifest.datatakes)} datatakes of {' and '.join(sorted({_kind(one) for one in scenes}))} "
                f"{f'and {len(radar)} scenes of Sentinel-1 ' if radar else ''}"
                f"classified by {manifest.model.id} {manifest.model.version} and voted month by month"
                + _decided(second)
            ),
            "processing:software": {"landloom": manifest.software},
            "landloom:recipe": manifest.recipe,
            FINGERPRINT: manifest.fingerprint,
            "landloom:legend": legend.told,
            **legend_tree(legend, manifest.model),
            "landloom:model": f"{manifest.model.id} {manifest.model.version}",
            # Of the second stage's answers nobody has fitted how often they are right.
            "landloom:confidence": {"calibrated": False} if second else manifest.model.confidence,
            **_of_season(manifest, few_looks, second_stage_pixels),
            "landloom:blocks": list(manifest.blocks),
            "landloom:datatakes": len(manifest.datatakes),
            "landloom:mean_observations": round(looks / seen, 2) if seen else 0,
            "landloom:class_pixels": {c.name: int(class_pixels[c.code]) for c in legend.classes},
            "landloom:scenes_left_out": [exclusion.model_dump() for exclusion in left_out],
            "landloom:scenes_implausible": [exclusion.model_dump() for exclusion in odd],
            "renders": renders(legend, seasons=manifest.seasons),
            **_radar(manifest, radar),
        },
        stac_extensions=EXTENSIONS,
        collection=manifest.collection,
    )
    for file in assets:
        item.add_asset(file.name, build_asset(file, manifest))
    item.add_link(pystac.Link("collection", "../../collection.json", "application/json"))
    item.add_link(pystac.Link("parent", f"../../{zone_of(manifest.tile)}/catalog.json", "application/json"))
    item.add_link(pystac.Link("root", "../../../catalog.json", "application/json"))
    for href, name in [*((one.href, one.id) for one in scenes), *((one.href, one.id) for one in radar)]:
        item.add_link(pystac.Link("derived_from", href, "application/geo+json", title=name))
    for spec in (manifest.model, second) if second else (manifest.model,):
        model = f"../../../{model_key(spec)}"
        item.add_link(pystac.Link("derived_from", model, "application/geo+json", title=spec.id))
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    content["links"].append(
        {
            "rel": "via",
            "href": f"./{manifest.fingerprint}/manifest.json",
            "type": "application/json",
            "title": "Manifest",
        }
    )
    return json.dumps(content, indent=1).encode()


def _radar(manifest: Manifest, used: Sequence[RadarScene]) -> dict[str, Any]:
    """What the network saw of radar, if it has channels for it."""
    if not manifest.model.radar:
        return {}
    told: dict[str, Any] = {
        "channels": list(manifest.model.radar),
        "scenes": len(used),
        "months": sorted({f"{scene.datetime:%Y-%m}" for scene in used}),
    }
    if not used:
        told["note"] = "the network did without radar: its channels were missing in every look"
    return {"landloom:radar": told}


def _decided(second: ModelSpec | None) -> str:
    """What lineage says of the second stage."""
    if second is None:
        return ""
    which = f"{second.id} {second.version}"
    return f"; where a pixel has {FEW_LOOKS} looks or more, {which} decided from the vote and the season"


def _of_season(manifest: Manifest, few_looks: int, second_stage_pixels: int) -> dict[str, Any]:
    """What an item tells of the season and of the second stage; nothing where neither was asked for."""
    if not manifest.sees_season:
        return {}
    told: dict[str, Any] = {"landloom:season": {"few_looks": FEW_LOOKS, "pixels_with_few_looks": few_looks}}
    if second := manifest.second_stage:
        named = f"{second.id} {second.version}"
        told["landloom:second_stage"] = {"model": named, "sha256": second.sha256, "pixels": second_stage_pixels}
    return told


def _seen_by(scenes: Sequence[Scene], radar: bool) -> dict[str, Any]:
    """Constellation, platform and instruments of the scenes: what has one value stands for all of them.

    Radar is named beside the light: no field of STAC's holds two constellations.
    """
    platforms = sorted({one.platform for one in scenes if one.platform})
    constellations = {_constellation(one) for one in scenes}
    named = f"{constellations.pop()}{', sentinel-1' if radar else ''}" if len(constellations) == 1 else ""
    told: dict[str, Any] = {"constellation": named} if named else {}
    if platforms:
        told |= {"platform": platforms[0]} if len(platforms) == 1 else {}
        told |= {"landloom:platforms": platforms}
    return told | {"instruments": sorted({name for one in scenes for name in one.instruments}) + ["c-sar"] * radar}


def _constellation(scene: Scene) -> str:
    return "landsat" if scene.sensor in ("landsat", "hls-l30") else "sentinel-2"


def _kind(scene: Scene) -> str:
    title = SENSORS[scene.sensor].title
    return f"{title} {scene.level}" if scene.sensor == "sentinel-2" else f"{title} ({scene.platform or scene.sensor})"


def fingerprint_of(item: bytes | None) -> str | None:
    """The fingerprint in an item's JSON."""
    return None if item is None else str(json.loads(item)["properties"][FINGERPRINT])


def published_fingerprint(store: Store, key: str) -> str | None:
    """The fingerprint of the item under a key, or None if none is published there."""
    try:
        return fingerprint_of(store.read(key))
    except NotFound:
        return None


def read_items(store: Store, collection: str) -> Iterator[dict[str, Any]]:
    """The JSON of every item of a collection, see `items_by_key`."""
    return (item for _, item in items_by_key(store, collection))


def items_by_key(store: Store, collection: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and JSON of every item of a collection, by name: `{collection}/{tile}/{label}/{tile}-{label}.json`."""
    return items_of(store, item_keys(store, collection))


def items_of(store: Store, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and JSON of some items.

    Sixteen are read at once and few are held at a time: a far store answers slowly, and all would not fit in memory.
    """
    with ThreadPoolExecutor(16) as readers:
        for start in range(0, len(keys), 64):
            some = keys[start : start + 64]
            for key, content in zip(some, readers.map(store.read, some), strict=True):
                yield key, json.loads(content)


def item_keys(store: Store, collection: str) -> list[str]:
    """The names of the JSON of all items of a collection, sorted."""
    return [key for key in store.list(f"{collection}/") if _is_item(key)]


def item_key_of(item: dict[str, Any]) -> str:
    """Where an item's JSON lies, relative to the output."""
    tile = item["properties"]["io:tile_id"]
    return f"{item['collection']}/{tile}/{item['id'].removeprefix(tile + '-')}/{item['id']}.json"


def zone_of(tile: str) -> str:
    """The grid zone of a tile, `48Q` of `48QUE`, or of the zone itself: items are grouped by it for browsing."""
    return tile[:3]


def projection(epsg: int, transform: Affine, shape: tuple[int, int]) -> dict[str, Any]:
    """The fields of the projection extension, of a grid with north up."""
    left, top = transform.c, transform.f
    bbox = [left, top + shape[0] * transform.e, left + shape[1] * transform.a, top]
    return {
        "proj:code": f"EPSG:{epsg}",
        "proj:shape": list(shape),
        "proj:transform": list(transform)[:6],
        "proj:bbox": bbox,
        "proj:centroid": _centroid(epsg, bbox),
    }


def bbox_of(geometry: BaseGeometry) -> list[float]:
    """West, south, east, north; west is the larger number where the antimeridian is crossed (RFC 7946, section 5.2)."""
    parts = antimeridian.bbox(shapely.geometry.mapping(geometry))
    return [round(float(value), 7) for value in parts]


def _is_item(key: str) -> bool:
    parts = key.split("/")
    return len(parts) == 4 and parts[3] == f"{parts[1]}-{parts[2]}.json"


def _centroid(epsg: int, bbox: list[float]) -> dict[str, float]:
    to_lonlat = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    lon, lat = to_lonlat.transform((bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2)
    return {"lat": round(lat, 6), "lon": round(lon, 6)}


def rounded(geometry: BaseGeometry) -> dict[str, Any]:
    """A geometry as GeoJSON, to 7 decimals: a centimetre."""
    return json.loads(shapely.to_geojson(shapely.set_precision(geometry, 1e-7)))
