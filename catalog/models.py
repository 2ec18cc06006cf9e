"""The collection `models`: every network that made a map of the catalog, weights and all, with the MLM extension."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac

from catalog.assets import AssetFile
from catalog.errors import BadInput
from catalog.links import JSON, dumped, linked, root_with
from catalog.model import ModelSpec, Provenance
from catalog.store import Store

MODELS = "models"
TITLE = "Networks"
_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json" for name in ("mlm/v1.5.2", "classification/v1.1.0")
]
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_WORLD = [-180.0, -90.0, 180.0, 90.0]
_FROM = "2015-06-23T00:00:00Z"
"""Launch of Sentinel-2A."""
_TASK = "semantic-segmentation"
FLOATS = "float32"
"""Asset with the same network in floats."""


def floats_beside(weights: Path) -> Path:
    """Where the same network lies in floats, if its maker wrote it: `unet.float32.onnx` beside `unet.onnx`."""
    return weights.with_suffix(f".{FLOATS}{weights.suffix}")


def model_key(spec: ModelSpec) -> str:
    """Where a network's item lies: two networks of one name and version, but other weights, lie apart."""
    name = f"{spec.id}-{spec.version}-{spec.sha256[:8]}"
    return f"{MODELS}/{name}/{name}.json"


def add_model(store: Store, spec: ModelSpec, weights: Path, provenance: Provenance | None = None) -> str:
    """Register a network in a catalog, if it is not there yet.

    Args:
        store: the catalog.
        spec: of the network.
        weights: its ONNX file; the file beside it with the same in floats goes with it.
        provenance: how it was made, where known.

    Returns:
        The key of its item.

    Raises:
        BadInput: the weights are not those of the description.
        StoreError: the catalog cannot be written.
    """
    key = model_key(spec)
    if store.exists(key):
        return key
    files = [AssetFile.of("model", weights)]
    if files[0].checksum != "1220" + spec.sha256:
        raise BadInput(f"{str(weights)!r} has changed since its description was read. Start again.")
    folder = key.rpartition("/")[0]
    if floats_beside(weights).exists():
        files.append(AssetFile.of(FLOATS, floats_beside(weights)))
    for file in files:
        store.upload(f"{folder}/{_published_as(spec, file)}", weights.with_name(file.file))
    item = _item(spec, files, key.rpartition("/")[2].removesuffix(".json"))
    if provenance:
        told = provenance.model_dump(mode="json")
        item["properties"] |= {"landloom:metrics": told.pop("metrics"), "landloom:training": told}
    store.write(key, dumped(item))
    store.update(f"{MODELS}/collection.json", lambda content: _grown(content, key, spec))
    store.update("catalog.json", lambda content: root_with(content, {MODELS: TITLE}))
    return key


def _published_as(spec: ModelSpec, file: AssetFile) -> str:
    return floats_beside(Path(f"{spec.id}.onnx")).name if file.name == FLOATS else f"{spec.id}.onnx"


def _asset(spec: ModelSpec, file: AssetFile) -> pystac.Asset:
    within = "Weights, normalisation and softmax inside"
    return pystac.Asset(
        f"./{_published_as(spec, file)}",
        title=f"{within}, in floats" if file.name == FLOATS else within,
        media_type="application/octet-stream; application=onnx",
        roles=["mlm:model", "mlm:weights", "data"],
        extra_fields={
            # MLM wants the bands in the properties, and STAC allows them there only if an asset has some.
            "bands": [{"name": band} for band in spec.bands],
            "mlm:artifact_type": "onnx",
            "file:size": file.size,
            "file:checksum": file.checksum,
        },
    )


def _item(spec: ModelSpec, files: list[AssetFile], name: str) -> dict[str, Any]:
    west, south, east, north = _WORLD
    item = pystac.Item(
        id=name,
        geometry={
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        },
        bbox=_WORLD,
        # The imagery for which it is made, as MLM advises: so the item tells nothing of the day it was written.
        # Not null: STAC servers drop a null, and what they then give is no valid item.
        datetime=datetime.fromisoformat(_FROM),
        properties={
            "start_datetime": _FROM,
            "end_datetime": "9999-12-31T23:59:59Z",
            "title": f"{spec.id} {spec.version}",
            "bands": [{"name": band} for band in spec.bands],
            "mlm:name": spec.id,
            "mlm:architecture": spec.architecture,
            "mlm:framework": "ONNX",
            "mlm:tasks": [_TASK],
            "mlm:input": [_input(spec)],
            "mlm:output": [_output(spec)],
            "version": spec.version,
            "landloom:stride": spec.stride,
            "landloom:halo": spec.halo,
            **({"landloom:level": spec.level} if spec.level else {}),
            **({} if spec.gsd == 10 else {"gsd": spec.gsd}),
            "landloom:confidence": spec.confidence,
            **({"landloom:parents": dict(spec.parents)} if spec.parents else {}),
            **({"landloom:second_stage_of": spec.first} if spec.first else {}),
        },
        stac_extensions=[*_EXTENSIONS, _FILE],
        collection=MODELS,
    )
    for file in files:
        item.add_asset(file.name, _asset(spec, file))
    for rel, href in (("collection", ".."), ("parent", ".."), ("root", "../..")):
        target = "catalog.json" if rel == "root" else "collection.json"
        item.add_link(pystac.Link(rel, f"{href}/{target}", JSON))
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _input(spec: ModelSpec) -> dict[str, Any]:
    of = {"L1C": "Top-of-atmosphere reflectance", "L2A": "Surface reflectance", None: "Reflectance"}[spec.level]
    scene = f"{of} x 10,000 without offset, valid values at least 1, 0 = no data"
    if spec.radar:
        scene += "; radar channels (gamma0 in dB + 50) x 200, 0 = missing"
    planes = "Shares of the vote x 10,000 (vote:CLASS), and bands of the asset seasons in its own numbers"
    return {
        "name": planes if spec.first else scene,
        "bands": list(spec.bands),
        "input": {
            "shape": [-1, len(spec.bands), -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "int16" if spec.first else "uint16",
        },
        # The network itself normalises.
        "value_scaling": None,
        "resize_type": None,
    }


def _output(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": "255 x probability of each class",
        "tasks": [_TASK],
        "result": {
            "shape": [-1, len(spec.classes), -1, -1],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "uint8",
        },
        "classification:classes": [
            {"value": value, "name": name, "title": name} for value, name in enumerate(spec.classes)
        ],
    }


def _grown(content: bytes | None, key: str, spec: ModelSpec) -> bytes:
    empty: dict[str, Any] = {
        "type": "Collection",
        "id": MODELS,
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "title": TITLE,
        "description": "The networks that made the maps of this catalog",
        "license": "other",
        "extent": {"spatial": {"bbox": [_WORLD]}, "temporal": {"interval": [[_FROM, None]]}},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": JSON},
            {"rel": "parent", "href": "../catalog.json", "type": JSON},
        ],
    }
    known = json.loads(content) if content else empty
    item = {f"./{key.removeprefix(f'{MODELS}/')}": f"{spec.id} {spec.version}"}
    known["links"] = linked(known["links"], "item", "application/geo+json", item)
    return dumped(known)
